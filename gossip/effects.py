"""What a pure core asks its shell to do.

A core is `handle(now_ms, event) -> list[Effect]`. It never does any of this itself. The shell carries effects out in
the order of the list, and these are its duties:

1. Nothing is sent before the `Persist` in front of it is on disk, unless that is lazy. A shell may gather several
   turns, write all their `Persist`s at once, and then send.
2. A failed write ends the process: what was promised can't be taken back.
3. A timer fires once, as an event with its name, unless it is set again or cancelled before.
4. A `CHAIN` batch is on disk before a `VOTES` batch behind it: whose votes stand above a block that a crash has taken
   away votes for no other at its height, and may be the only one who could.

Effects are structs and no dataclasses: a frozen dataclass takes seven times as long to make, and a core makes several
for each message.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

import msgspec

from gossip.codec import Wire
from gossip.identity import NodeId


class Store(StrEnum):
    """The databases of a node. Votes stand apart, so that nothing else can damage or delay them.

    All are synced but `POOL`: what waits there has been promised to nobody.
    """

    VOTES = "votes"
    CHAIN = "chain"
    POOL = "pool"
    PEERS = "peers"
    TASKS = "tasks"
    WORK = "work"


Write = tuple[bytes, bytes | None]
"""A key and its new value; None deletes the key."""


class Persist(msgspec.Struct, frozen=True, gc=False):
    """One atomic, synced batch of writes to one database.

    A lazy one costs no sync of its own: it goes to disk with the next batch, and is lost if the process ends before.
    Only for what can be had again from others.
    """

    store: Store
    writes: tuple[Write, ...]
    lazy: bool = False


class Send(msgspec.Struct, frozen=True, gc=False):
    """A message for one peer. Lost without notice if the peer is not connected or its queue is full."""

    to: NodeId
    message: Wire


class Broadcast(msgspec.Struct, frozen=True, gc=False):
    """A message for several peers, encoded once."""

    to: tuple[NodeId, ...]
    message: Wire


class SetTimer(msgspec.Struct, frozen=True, gc=False):
    """Wake the core with this name after `delay_ms`; replaces a running timer of the same name."""

    name: str
    delay_ms: int


class CancelTimer(msgspec.Struct, frozen=True, gc=False):
    """Forget the timer of this name; nothing happens if none runs."""

    name: str


class Notify(msgspec.Struct, frozen=True, gc=False):
    """Something happened that the rest of the node may want to know; `what` is a frozen value of the core."""

    what: object


class Cause(StrEnum):
    """Why a peer's input was refused, in the few words that are counted.

    What names another chain has a signature over other bytes, so most of it counts as `SIGNATURE`.
    """

    STALE = "stale"
    KNOWN = "known"
    EARLY = "early"
    UNASKED = "unasked"
    MALFORMED = "malformed"
    WRONG_CHAIN = "wrong_chain"
    WRONG_EPOCH = "wrong_epoch"
    SIGNATURE = "signature"
    NOT_ENTITLED = "not_entitled"
    CONTRADICTION = "contradiction"
    UNSOUND = "unsound"
    NOT_HERE = "not_here"
    NO_ROOM = "no_room"
    TOO_OFTEN = "too_often"

    @property
    def is_usual(self) -> bool:
        """Whether honest peers send such things too, because messages cross or come late."""
        return self in _USUAL


_USUAL = frozenset(
    (
        *(Cause.STALE, Cause.KNOWN, Cause.EARLY, Cause.UNASKED, Cause.WRONG_EPOCH),
        *(Cause.NOT_HERE, Cause.NO_ROOM),
    )
)


class Rejected(msgspec.Struct, frozen=True, gc=False):
    """A peer's input was refused. Counted and logged by the shell; costs nobody else anything."""

    peer: NodeId
    reason: str
    cause: Cause = Cause.UNSOUND


Effect = Persist | Send | Broadcast | SetTimer | CancelTimer | Notify | Rejected


class KeyValueReader(Protocol):
    """Reads from one database. What a core has persisted in an earlier turn is visible here."""

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, or None."""

    def scan(self, prefix: bytes) -> list[tuple[bytes, bytes]]:
        """All pairs whose key starts with `prefix`, in the order of their keys."""
