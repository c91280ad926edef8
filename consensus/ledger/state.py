"""The ledger's state as typed tables, and the draft on which a block is tried out.

A table is a one-byte prefix before its ids; prefix and id together are the state key that the state
tree commits to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from consensus.genesis import Genesis
from consensus.ledger.events import Event
from consensus.parameters import Parameters
from consensus.quorum import ValidatorSet
from gossip.codec import Wire
from gossip.identity import Verifier

V = TypeVar("V", bound=Wire)

STATE_PREFIX = b"state/"
"""Before a state key in the chain store."""


@dataclass(frozen=True, slots=True)
class Table(Generic[V]):
    """A family of values of one kind."""

    prefix: bytes
    kind: type[V]

    def key(self, name: bytes) -> bytes:
        """The state key of an id."""
        return self.prefix + name


class State:
    """All values after the last executed block, by state key."""

    __slots__ = ("tables",)

    def __init__(self) -> None:
        self.tables: dict[bytes, dict[bytes, Any]] = {bytes((one,)): {} for one in range(256)}
        """By prefix, all that there can be; who reads for every transaction asks here."""

    def get(self, key: bytes) -> Any:  # noqa: ANN401 - the table of the key says which type
        """The value of a state key, or None."""
        table = self.tables.get(key[:1])
        return None if table is None else table.get(key)

    def put(self, key: bytes, value: Wire | None) -> None:
        """Set or, with None, delete."""
        table = self.tables[key[:1]]
        if value is None:
            table.pop(key, None)
        else:
            table[key] = value

    def read(self, table: Table[V], name: bytes) -> V | None:
        """The value of an id, or None."""
        prefix = table.prefix
        value: V | None = self.tables[prefix].get(prefix + name)
        return value

    def items(self, table: Table[V]) -> Iterator[tuple[bytes, V]]:
        """The ids and values of a table, in no particular order."""
        cut = len(table.prefix)
        for key, value in self.tables[table.prefix].items():
            yield key[cut:], value

    def keyed(self, table: Table[V]) -> Mapping[bytes, V]:
        """The values of a table by state key."""
        return self.tables[table.prefix]

    def values(self, table: Table[V]) -> Iterable[V]:
        """The values of a table, in no particular order."""
        return self.tables[table.prefix].values()

    def everything(self) -> Iterator[tuple[bytes, Wire]]:
        """All state keys and values, in no particular order."""
        for table in self.tables.values():
            yield from table.items()


class Draft:
    """Changes of a block that are not yet state, and of a transaction not yet the block's.

    Rules read and write here. `keep` makes the transaction's changes the block's; `drop` forgets them.
    """

    __slots__ = ("_base", "_changes", "_events", "_kept_events", "_tried")

    def __init__(self, base: State) -> None:
        self._base = base
        self._changes: dict[bytes, Any] = {}
        self._tried: dict[bytes, Any] = {}
        self._events: list[Event] = []
        self._kept_events = 0

    def get(self, table: Table[V], name: bytes) -> V | None:
        """The value of an id as of now, or None."""
        prefix = table.prefix
        key = prefix + name
        value: V | None
        if key in self._tried:
            value = self._tried[key]
        elif key in self._changes:
            value = self._changes[key]
        else:
            value = self._base.tables[prefix].get(key)
        return value

    def put(self, table: Table[V], name: bytes, value: V | None) -> None:
        """Set or, with None, delete."""
        self._tried[table.prefix + name] = value

    def put_kept(self, table: Table[V], name: bytes, value: V) -> None:
        """The same whatever becomes of the transaction, which has changed nothing so far."""
        assert not self._tried
        self._changes[table.prefix + name] = value

    def items(self, table: Table[V]) -> list[tuple[bytes, V]]:
        """The ids and values of a table as of now, in the order of the ids."""
        found: dict[bytes, V | None] = dict(self._base.items(table))
        cut = len(table.prefix)
        found.update((key[cut:], value) for key, value in self._changed(table.prefix))
        return [(name, value) for name, value in sorted(found.items()) if value is not None]

    def those(self, table: Table[V], wanted: Callable[[V], object]) -> list[tuple[bytes, V]]:
        """The same of those that are wanted: hardly any, where this is asked after every block."""
        cut = len(table.prefix)
        changes = dict(self._changed(table.prefix))
        found = [
            (key[cut:], value)
            for key, value in self._base.keyed(table).items()
            if wanted(value) and key not in changes
        ]
        found += [
            (key[cut:], value)
            for key, value in changes.items()
            if value is not None and wanted(value)
        ]
        return sorted(found) if len(found) > 1 else found

    def _changed(self, prefix: bytes) -> Iterator[tuple[bytes, Any]]:
        """What was written in a table so far. Nearly all that a block changes is accounts."""
        code = prefix[0]
        for layer in (self._changes, self._tried):
            for key in [key for key in layer if key[0] == code]:
                yield key, layer[key]

    def emit(self, event: Event) -> None:
        """Tell what happened; forgotten with the transaction."""
        self._events.append(event)

    def keep(self) -> None:
        """The transaction succeeded."""
        self._changes.update(self._tried)
        self._tried.clear()
        self._kept_events = len(self._events)

    def drop(self) -> None:
        """The transaction failed, or begins."""
        self._tried.clear()
        del self._events[self._kept_events :]

    @property
    def changes(self) -> dict[bytes, Any]:
        """What the kept transactions changed, by state key; only after `keep` or `drop`."""
        assert not self._tried
        return self._changes

    @property
    def events(self) -> list[Event]:
        """What the kept transactions told, in order; only after `keep` or `drop`."""
        return self._events


class Context(msgspec.Struct, frozen=True, gc=False):
    """What a rule may look at besides the draft.

    `parameters` are the constants in force, `validators` is the set that votes on this very block.
    At the end of a block `transaction` is None and `sender` the treasury. `parent` is the digest of the block before.
    """

    genesis: Genesis
    parameters: Parameters
    verifier: Verifier
    validators: ValidatorSet
    height: int
    time_ms: int
    transaction: bytes | None
    sender: bytes
    parent: bytes

    @property
    def tx(self) -> bytes:
        """The id of the transaction that is executed."""
        assert self.transaction is not None
        return self.transaction
