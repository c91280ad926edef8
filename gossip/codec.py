"""Canonical MessagePack: the one encoding of everything that is sent, signed, hashed or stored.

Wire types are frozen, array-like `msgspec` structs: fields by position, a tag in front where a union needs one,
unknown fields refused, every integer within 64 bits and every sequence bounded by its annotation. Such a struct has
exactly one encoding; `decode_canonical` refuses every other spelling of the same value, so that a hash of the bytes
identifies the value.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from hashlib import blake2b
from threading import Lock
from typing import Annotated, Any, NewType, TypeVar

import msgspec

T = TypeVar("T")

Digest = NewType("Digest", bytes)
"""A blake2b-256 hash, 32 bytes. Printed as lower-case hex."""

Bytes32 = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Bytes64 = Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]
Natural = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Sentence = Annotated[str, msgspec.Meta(max_length=512)]

ZERO_DIGEST = Digest(bytes(32))

_encoder = msgspec.msgpack.Encoder(order="deterministic")


class DecodeError(ValueError):
    """The bytes are not a canonical encoding of the expected type; the text says what was wrong."""


class Wire(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Base of every type that crosses a wire, is signed, or is kept on disk."""


encode: Callable[[object], bytes] = _encoder.encode
"""The canonical bytes of a wire value. Not wrapped in a function: nothing is called as often."""


_making = Lock()


def _made(kind: type) -> msgspec.msgpack.Decoder[Any]:
    # msgspec notes what it knows of a struct before it knows all of it: a thread that meets a struct which another
    # thread is just reading about would end the process with a segmentation fault.
    with _making:
        return msgspec.msgpack.Decoder(kind)


_decoder: Callable[[type], msgspec.msgpack.Decoder[Any]] = cache(_made)


def decode(data: bytes, kind: type[T]) -> T:
    """Decode and check `data` against `kind`. Raises `DecodeError`."""
    try:
        value: T = _decoder(kind).decode(data)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise DecodeError(str(error)) from None
    return value


def decode_canonical(data: bytes, kind: type[T]) -> T:
    """Like `decode`, and refuses bytes that are not the one canonical spelling of their value."""
    value = decode(data, kind)
    if encode(value) != data:
        raise DecodeError("not the canonical encoding of its value")
    return value


def digest(domain: bytes, data: bytes) -> Digest:
    """blake2b-256 of `data`, personalised by `domain` (at most 16 bytes), so that kinds of hashes never collide."""
    hashing = begun(domain).copy()
    hashing.update(data)
    return Digest(hashing.digest())


@cache
def begun(domain: bytes) -> blake2b:
    """The hash of `digest` before its data: copying it takes a third of the time of making one.

    Domains are constants of the code, a few dozen.
    """
    return blake2b(digest_size=32, person=domain)
