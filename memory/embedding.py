"""Sentences to vectors: all-MiniLM-L6-v2 on onnxruntime, in 32-bit floats, without torch.

The model's identity and its files are the matter of `memory/model_files.py`, the network that of
`memory/minilm_graph.py`; this module tokenises, batches and runs it. Importing it loads
onnxruntime: a daemon that shares its process with consensus must not (see `inference/embedded/`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Self, cast

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from tokenizers import Encoding, Tokenizer

from memory.minilm_graph import MiniLmGraph
from memory.model_files import (
    DIMENSIONS,
    MAX_TOKENS,
    MODEL_HASH,
    MODEL_NAME,
    ModelDamaged,
    ModelFiles,
    find_model_files,
)
from memory.quiet_onnx import ort

SPECIAL_TOKENS: Final = 2
"""[CLS] before each text and [SEP] after it."""
BATCH_TOKENS: Final = 512
"""Tokens run at once, padding included. Larger batches are no faster on one thread, only larger."""

_ALL_COUNT: Final = np.ones((1, MAX_TOKENS), np.int64)
_DISABLED: Final = ["BiasGeluFusion"]
"""Two operators in its place give the same bits, and take 1 to 2 % less of 128 tokens' time."""

Vectors = NDArray[np.float32]


class EmbeddingModel:
    """The loaded model. Two machines' vectors of one text agree to a cosine of 1 - 1e-6."""

    name: Final = MODEL_NAME
    model_hash: Final = MODEL_HASH
    dimensions: Final = DIMENSIONS
    batch_tokens: Final = BATCH_TOKENS
    max_tokens: Final = MAX_TOKENS - SPECIAL_TOKENS
    """The longest text that is read whole, in its own tokens."""

    def __init__(self, tokenizer: Tokenizer, session: ort.InferenceSession) -> None:
        self._tokenizer = tokenizer
        self._session = session

    @classmethod
    def load(cls, *, threads: int = 1, files: ModelFiles | None = None) -> Self:
        """Check the model's files and build the network: about 0.3 s. Raises `ModelDamaged`.

        `threads` bounds onnxruntime's computing threads; `files` stands in for the installed
        package's own.
        """
        files = files or find_model_files()
        files.verify()
        tokenizer = Tokenizer.from_file(str(files.tokenizer))
        tokenizer.no_padding()
        tokenizer.enable_truncation(MAX_TOKENS)
        return cls(tokenizer, _session(files, threads))

    def embed(self, texts: Sequence[str]) -> Vectors:
        """The vectors of `texts`, in their order: float32[len(texts), 384], each of length 1.

        A text longer than `MAX_TOKENS` tokens is read up to there: compare `token_counts`.
        """
        return self._vectors(self._encode(texts))

    def embed_counted(self, texts: Sequence[str]) -> tuple[Vectors, list[int]]:
        """Both `embed` and `token_counts`, for the price of one reading."""
        encodings = self._encode(texts)
        return self._vectors(encodings), _counts(encodings)

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        """How long each text is in tokens: whole, without the two that the model adds."""
        return _counts(self._encode(texts))

    def _vectors(self, encodings: Sequence[Encoding]) -> Vectors:
        token_ids = [encoding.ids for encoding in encodings]
        if len(token_ids) == 1:
            ids = np.array(token_ids, np.int64)
            return self.run_ids(ids, _ALL_COUNT[:, : ids.shape[1]])
        vectors = np.empty((len(token_ids), DIMENSIONS), np.float32)
        for rows in _batches([len(ids) for ids in token_ids]):
            vectors[rows] = self._run([token_ids[row] for row in rows])
        return vectors

    def _encode(self, texts: Sequence[str]) -> list[Encoding]:
        return self._tokenizer.encode_batch_fast(list(texts))

    def _run(self, token_ids: Sequence[Sequence[int]]) -> Vectors:
        """One batch through the network, padded to its longest row."""
        if len({len(tokens) for tokens in token_ids}) == 1:
            ids = np.array(token_ids, np.int64)
            return self.run_ids(ids, np.ones_like(ids))
        ids = np.zeros((len(token_ids), max(map(len, token_ids))), np.int64)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(token_ids):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        return self.run_ids(ids, mask)

    def run_ids(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> Vectors:
        """The network alone, on rows of token ids; `mask` has a 1 for each that counts."""
        (embeddings,) = self._session.run(["embeddings"], {"ids": ids, "mask": mask})
        return cast("Vectors", embeddings)


def _counts(encodings: Sequence[Encoding]) -> list[int]:
    return [_count(encoding) for encoding in encodings]


def _count(encoding: Encoding) -> int:
    if len(encoding) < MAX_TOKENS:
        return len(encoding) - SPECIAL_TOKENS
    return sum(len(part) - SPECIAL_TOKENS for part in (encoding, *encoding.overflowing))


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices in batches of like length (so little padding), of at most `BATCH_TOKENS` each."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[index] > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _session(files: ModelFiles, threads: int) -> ort.InferenceSession:
    try:
        with safe_open(files.weights, framework="numpy") as tensors:
            names = tensors.keys()
            graph = MiniLmGraph({name: tensors.get_tensor(name) for name in names})
    except (SafetensorError, KeyError) as error:
        raise ModelDamaged(
            f"the model's file {files.weights} does not hold the expected weights: {error}"
        ) from error
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    values = [ort.OrtValue.ortvalue_from_numpy(weight) for weight in graph.external.values()]
    options.add_external_initializers(list(graph.external), values)
    return ort.InferenceSession(
        graph.model.SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=_DISABLED,
    )
