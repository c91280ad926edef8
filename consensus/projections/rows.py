"""What projections are made of: rows under byte keys, some of them in the order in which lists are read.

A key begins with one byte for its table. Numbers in keys are eight big-endian bytes; where the greatest comes first,
they are taken from `TOP`. A row belongs to the subject that the first 33 bytes of its key name, and to its whole table
(the first byte): that is what caches are invalidated by.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from consensus.ledger.event_log import Logged
from consensus.ledger.machine import Ledger
from gossip.codec import Wire, decode, encode

T = TypeVar("T", bound=Wire)

TOP = 2**63 - 1
SUBJECT_BYTES = 33


class RowReader(Protocol):
    """The rows of one projection."""

    def get(self, key: bytes) -> bytes | None:
        """The value of a row, or None."""

    def range(self, start: bytes, stop: bytes, limit: int) -> Sequence[tuple[bytes, bytes]]:
        """The first rows with `start` <= key < `stop`, in order."""


class Rows(Protocol):
    """Rows while they are being changed."""

    def get(self, key: bytes) -> bytes | None:
        """The value of a row as of now, or None."""

    def put(self, key: bytes, value: bytes | None) -> None:
        """Set a row or, with None, delete it."""


@dataclass(frozen=True, slots=True)
class Projection:
    """A read model. A change of what its rows mean raises `version`, and nodes make it anew."""

    name: str
    version: int
    kinds: frozenset[type[Any]]
    """Only events of these kinds reach `apply`."""
    begin: Callable[[Rows, Ledger], None]
    """The rows of a state that was there before the first event: the genesis, or a snapshot."""
    apply: Callable[[Rows, Logged], None]
    is_of_state: bool = True
    """Whether a state holds all of it. Otherwise what was before a snapshot is not there."""
    subject: Callable[[Any], bytes] | None = None
    """Whose new state an event is, if it is one: of those taken in together only the last of each subject counts."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows of a list; `next_key` is where the next page begins, None at the end."""

    rows: tuple[tuple[bytes, bytes], ...]
    next_key: bytes | None


def subjects_of(keys: Collection[bytes]) -> frozenset[bytes]:
    """What changed rows make stale: the lists of their tables, and those of their subjects."""
    return frozenset({key[:1] for key in keys} | {key[:SUBJECT_BYTES] for key in keys})


def up(number: int) -> bytes:
    """A number in a key, least first."""
    return number.to_bytes(8, "big")


def down(number: int) -> bytes:
    """A number in a key, greatest first."""
    return (TOP - number).to_bytes(8, "big")


def end_of(prefix: bytes) -> bytes:
    """The first key behind all that begin with `prefix`; no table has the byte 255."""
    cut = prefix.rstrip(b"\xff")
    return cut[:-1] + bytes([cut[-1] + 1])


def page_of(reader: RowReader, prefix: bytes, after: bytes | None, limit: int) -> Page:
    """A page of the rows under a prefix. `after` is a former `next_key` without the prefix."""
    start = prefix if after is None else prefix + after
    rows = tuple(reader.range(start, end_of(prefix), limit + 1))
    more = rows[limit][0][len(prefix) :] if len(rows) > limit else None
    return Page(rows[:limit], more)


def read(rows: RowReader | Rows, key: bytes, kind: type[T]) -> T | None:
    """The typed value of a row."""
    value = rows.get(key)
    return None if value is None else decode(value, kind)


def write(rows: Rows, key: bytes, value: Wire) -> None:
    """Set a row to a typed value."""
    rows.put(key, encode(value))
