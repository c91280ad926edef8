"""What simulated nodes are asked to do, and what comes of it: small tasks of the real kinds with one right answer."""

from __future__ import annotations

import struct
from hashlib import blake2b

from inference.kinds import (
    EmbedInput,
    EmbedOutput,
    Quote,
    RankedDocument,
    RankInput,
    RankOutput,
    encode_input,
    encode_output,
)
from memory.messages import Document

KINDS = frozenset({"embed", "rank"})
MODEL = blake2b(b"the simulated model", digest_size=32).digest()
_DIRECTIONS = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))


def input_of(kind: str, number: int) -> bytes:
    """An input that nobody else asks for."""
    if kind == "embed":
        return encode_input(EmbedInput(texts=(f"text {number}",)))
    return encode_input(RankInput(query=f"query {number}", documents=(Document("paper", "words"),)))


def output_of(kind: str, content: bytes, *, shift: int = 0) -> bytes:
    """The right answer; with a shift one that is just as well-formed, and wrong."""
    drawn = int.from_bytes(blake2b(content, digest_size=4).digest(), "big")
    if kind == "embed":
        vector = struct.pack("<2f", *_DIRECTIONS[(drawn + shift) % len(_DIRECTIONS)])
        return encode_output(EmbedOutput(dimensions=2, vectors=vector))
    score = float(drawn % 1000 + shift)
    passage = Quote("paper", 0, 5, "words", score)
    return encode_output(RankOutput(items=(RankedDocument("paper", score, passage),)))
