"""Which file a server's model is: what the server tells, or the owner.

Identity is the SHA-256 of the model's file. llama.cpp's server names its file, Ollama the hash
itself; for other servers the owner names the file in `[[backend]]` under `files`. What can't be found
out is not known, and nobody is told that the model is there.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import msgspec

from inference.backends.servers import ServerSettings
from inference.backends.wire import Wire
from inference.failures import Failure
from inference.selection import ServerKind

_PROBE_S: Final = 3.0
_BLOB: Final = re.compile(r"^FROM .*sha256[-:]([0-9a-f]{64})\s*$", re.MULTILINE)


class Clue(msgspec.Struct, frozen=True):
    """A file to be hashed, or its hash already."""

    path: Path | None = None
    sha256: str = ""


async def clues_of(settings: ServerSettings, models: tuple[str, ...]) -> dict[str, Clue]:
    """What the server tells about the files of these models; nothing for what it does not tell."""
    base = settings.url.rstrip("/").removesuffix("/v1")
    wire = Wire(base, settings.api_key, _PROBE_S)
    try:
        if settings.kind is ServerKind.OLLAMA:
            return await _ollama(wire, models)
        return await _llama_cpp(wire, models)
    except Failure:
        return {}
    finally:
        await wire.aclose()


async def _llama_cpp(wire: Wire, models: tuple[str, ...]) -> dict[str, Clue]:
    """One file, whatever it is called there."""
    path = (await wire.get("/props", _PROBE_S)).get("model_path")
    if len(models) != 1 or not isinstance(path, str) or not path:
        return {}
    return {models[0]: Clue(Path(path))}


async def _ollama(wire: Wire, models: tuple[str, ...]) -> dict[str, Clue]:
    """Its store names a file by its hash."""
    found = {}
    for model in models:
        told = (await wire.post("/api/show", {"model": model})).get("modelfile")
        blob = _BLOB.search(told) if isinstance(told, str) else None
        if blob is not None:
            found[model] = Clue(sha256=blob[1])
    return found
