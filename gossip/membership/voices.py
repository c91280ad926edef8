"""Voices against one member in short: what two nodes compare, and what one then sends the other.

A voice is named by a tag of two bytes under a salt of the question, so that two accusers are taken for one by
chance and not for long: a tag hides a voice only behind another one, and the next question has another salt. It is
sent as the first bytes of the accuser's id and its signature; member and incarnation are those of the message.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Annotated

import msgspec

from gossip.codec import Bytes32, Natural, Wire
from gossip.identity import NodeId
from gossip.membership.suspicions import Suspicion

MAX_VOICES = 1024
PREFIX_BYTES = 4
_TAG_BYTES = 2
_SIGNATURE_BYTES = 64
_VOICE_BYTES = PREFIX_BYTES + _SIGNATURE_BYTES

Tags = Annotated[bytes, msgspec.Meta(max_length=MAX_VOICES * _TAG_BYTES)]
ShortVoices = Annotated[bytes, msgspec.Meta(max_length=MAX_VOICES * _VOICE_BYTES)]
Salt = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]


class FetchVoices(Wire, frozen=True, tag="fetch_voices"):
    """A wish for suspicions against `node` in this incarnation, other than the `known` ones."""

    node: Bytes32
    incarnation: Natural
    salt: Salt
    known: Tags


class Voices(Wire, frozen=True, tag="voices"):
    """The answer, and a wish for those of the asker's that the sender lacks; it is answered with these."""

    node: Bytes32
    incarnation: Natural
    salt: Salt
    voices: ShortVoices
    wanted: Tags


def tagged(salt: int, accusers: Iterable[NodeId]) -> dict[bytes, NodeId]:
    """Who has which tag."""
    key = salt.to_bytes(4, "big")
    return {blake2b(one, digest_size=_TAG_BYTES, key=key).digest(): one for one in accusers}


def split_tags(joined: bytes) -> list[bytes]:
    """One after the other; what is left over at the end names nobody."""
    return [
        joined[at : at + _TAG_BYTES] for at in range(0, len(joined) - _TAG_BYTES + 1, _TAG_BYTES)
    ]


def shorten(voices: Iterable[Suspicion]) -> bytes:
    """Without what all of them have in common."""
    return b"".join(one.accuser[:PREFIX_BYTES] + one.signature for one in voices)


def lengthen(short: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The beginning of each accuser's id, and its signature."""
    for at in range(0, len(short) - _VOICE_BYTES + 1, _VOICE_BYTES):
        yield short[at : at + PREFIX_BYTES], short[at + PREFIX_BYTES : at + _VOICE_BYTES]
