"""The event log: what each block did, as typed, versioned events in the order in which it happened.

The chain is the event store. The events of a block are made when it is executed and are written in the block's own
batch, so the log has no end of its own that could differ from the chain's. Executing the same blocks again yields the
same bytes (`consensus.replay` holds every node to that), and read models are functions of these events alone.

An event is named by its place, `HEIGHT.INDEX`; the same name is the cursor that readers resume from. It carries the id
of what it belongs to (`correlation`: the transaction, or the block for what the whole block did) and the place of the
event that caused it (`causation`).

Optimistic concurrency: an account's version is its nonce. A transaction names the version that it expects; executed
against any other it changes nothing, and its event says `bad_nonce` with both versions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Annotated, Any, TypeAlias, get_args

import msgspec

from consensus.blocks import MAX_BLOCK_TXS, Block
from consensus.certificates import StateStatement
from consensus.ledger.events import Event
from consensus.ledger.machine import BlockResult
from consensus.ledger.outcomes import Code, Figures
from consensus.operations.transactions import Operation, Transaction, TransactionBody
from gossip.codec import Bytes32, DecodeError, Name, Natural, Wire, decode, encode
from gossip.effects import KeyValueReader, Write

_EVENTS = b"w/"
"""Under `v/` stands the log of an earlier version, whose batches had no list of kinds; it is not read."""
_BLOCK_LEVEL = 0
_PARTIES = ("to", "node", "executor", "validator", "delegate")


class BlockCreated(Wire, frozen=True):
    """A proposer made the block."""

    height: Natural
    block: Bytes32
    prev: Bytes32
    proposer: Bytes32
    time_ms: Natural
    transactions: Natural


class TransactionSubmitted(Wire, frozen=True):
    """A signed command reached the ledger. `expected_nonce` is the version of the sender that it builds on."""

    transaction: Bytes32
    sender: Bytes32
    expected_nonce: Natural
    operations: tuple[Name, ...]


class TransactionExecuted(Wire, frozen=True):
    """What came of it: all of its operations, or none. `parties` are the accounts it names, its sender first."""

    transaction: Bytes32
    code: Code
    operation: Natural
    figures: Figures
    parties: tuple[Bytes32, ...]


class BlockValidated(Wire, frozen=True):
    """The block was executed here."""

    block: Bytes32
    results_root: Bytes32
    state_root: Bytes32
    accepted: Natural
    refused: Natural


class ConsensusReached(Wire, frozen=True):
    """A quorum of the epoch's power committed the block. Who signed stands in its certificate."""

    block: Bytes32
    epoch: Natural


class BlockFinalized(Wire, frozen=True):
    """The block and all before it stand for good."""

    height: Natural
    block: Bytes32
    time_ms: Natural


ChainEvent: TypeAlias = (
    Event
    | BlockCreated
    | TransactionSubmitted
    | TransactionExecuted
    | BlockValidated
    | ConsensusReached
    | BlockFinalized
)

Kinds: TypeAlias = "frozenset[type[Any]] | None"
"""The kinds of events that are wanted; None for all."""

KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in get_args(ChainEvent)}
"""Every kind of event by its name. A kind whose fields change raises its `VERSION` (1 if it names none)."""


class Kind(Wire, frozen=True):
    """A kind of event, as its batch names it."""

    name: Name
    version: Natural


class Record(Wire, frozen=True):
    """One event as stored.

    `kind` is an index into its batch's kinds; `about` is 0 for the block, else 1 + the index of a transaction; `cause`
    is the index of an event.
    """

    kind: Natural
    about: Natural
    cause: Natural | None
    event: Any


class Batch(Wire, frozen=True):
    """The events of one block as stored, and the kinds that are among them."""

    height: Natural
    block: Bytes32
    time_ms: Natural
    transactions: Annotated[tuple[Bytes32, ...], msgspec.Meta(max_length=MAX_BLOCK_TXS)]
    kinds: tuple[Kind, ...]
    records: tuple[Record, ...]


class StoredRecord(Wire, frozen=True):
    """A `Record` as read back: the event waits for the decoder of its kind."""

    kind: Natural
    about: Natural
    cause: Natural | None
    event: msgspec.Raw


class StoredBatch(Wire, frozen=True):
    """A `Batch` as read back."""

    height: Natural
    block: Bytes32
    time_ms: Natural
    transactions: Annotated[tuple[Bytes32, ...], msgspec.Meta(max_length=MAX_BLOCK_TXS)]
    kinds: tuple[Kind, ...]
    records: tuple[StoredRecord, ...]


def version_of(kind: type[Any]) -> int:
    """The version of a kind of event."""
    version: int = getattr(kind, "VERSION", 1)
    return version


_SHAPES = {kind: (name, version_of(kind)) for name, kind in KINDS.items()}
_TAGS: dict[type[Any], str] = {
    kind: str(kind.__struct_config__.tag) for kind in get_args(Operation)
}
_PARTY_FIELDS: dict[type[Any], tuple[str, ...]] = {
    kind: tuple(name for name in _PARTIES if name in kind.__struct_fields__)
    for kind in get_args(Operation)
}
_DECODERS = {shape: msgspec.msgpack.Decoder(kind) for kind, shape in _SHAPES.items()}


class Cursor(msgspec.Struct, frozen=True, order=True, gc=False):
    """A place in the log. Before the first event of a block stands index -1."""

    height: int
    index: int

    def __str__(self) -> str:
        return f"{self.height}.{self.index}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """From `HEIGHT.INDEX`, or `HEIGHT` for the end of that block. Raises `ValueError`."""
        height, dot, index = text.partition(".")
        parts = (height, index) if dot else (height,)
        if not all(
            part.isascii() and part.isdigit() and len(part) <= len(str(2**62)) for part in parts
        ):
            raise ValueError(
                f"{text[:60]!r} is no cursor such as 12.5, or 12 for the end of block 12"
            )
        return cls(int(height), int(index)) if dot else cls.end_of(int(height))

    @classmethod
    def end_of(cls, height: int) -> Cursor:
        """Behind all events of a block."""
        return cls(height, 2**62)


class Logged(msgspec.Struct, frozen=True, gc=False):
    """An event in its place."""

    place: Cursor
    block: bytes
    time_ms: int
    correlation: bytes
    causation: Cursor | None
    event: ChainEvent

    @property
    def kind(self) -> str:
        """Its name, as in `KINDS`."""
        return type(self.event).__name__

    @property
    def version(self) -> int:
        """The version of its kind."""
        return version_of(type(self.event))


def block_events(block: Block, statement: StateStatement, result: BlockResult) -> Batch:
    """The events of a block that was just executed."""
    transactions, header = block.transactions, block.header
    begun = BlockCreated(
        block.height,
        block.digest,
        header.prev_hash,
        header.proposer,
        header.timestamp_ms,
        len(transactions),
    )
    log = _Log()
    created = log.add(_BLOCK_LEVEL, None, begun)
    start, events = 0, result.events
    submitted_kind, executed_kind = map(log.kind, (TransactionSubmitted, TransactionExecuted))
    records = log.records
    for about, (transaction, outcome, end) in enumerate(
        zip(transactions, result.outcomes, result.event_ends, strict=True), 1
    ):
        body, name = transaction.body, transaction.id
        tags, fields = _layout(tuple(map(type, body.operations)))
        submitted = len(records)
        parties = _parties(body, fields)
        command = TransactionSubmitted(name, body.sender, body.nonce, tags)
        fate = TransactionExecuted(name, outcome.code, outcome.operation, outcome.figures, parties)
        records.append(Record(submitted_kind, about, created, command))
        records.append(Record(executed_kind, about, submitted, fate))
        if start < end:
            records += [log.record(about, submitted + 1, event) for event in events[start:end]]
            start = end
    accepted = sum([outcome.ok for outcome in result.outcomes])
    checked = BlockValidated(
        block.digest,
        statement.results_root,
        statement.state_root,
        accepted,
        len(transactions) - accepted,
    )
    validated = log.add(_BLOCK_LEVEL, created, checked)
    records += [log.record(_BLOCK_LEVEL, validated, event) for event in events[start:]]
    reached = log.add(_BLOCK_LEVEL, created, ConsensusReached(block.digest, header.epoch))
    log.add(_BLOCK_LEVEL, reached, BlockFinalized(block.height, block.digest, header.timestamp_ms))
    return Batch(
        block.height,
        block.digest,
        header.timestamp_ms,
        tuple([one.id for one in transactions]),
        tuple(log.kinds),
        tuple(records),
    )


class _Log:
    """Records being put together."""

    __slots__ = ("_numbers", "records")

    def __init__(self) -> None:
        self.records: list[Record] = []
        self._numbers: dict[type[Any], int] = {}

    @property
    def kinds(self) -> list[Kind]:
        """Those that were asked for so far, in the order of their numbers."""
        return [Kind(*_SHAPES[kind]) for kind in self._numbers]

    def kind(self, kind: type[Any]) -> int:
        """Its number here."""
        return self._numbers.setdefault(kind, len(self._numbers))

    def record(self, about: int, cause: int | None, event: ChainEvent) -> Record:
        """An event with the number of its kind."""
        numbers, kind = self._numbers, type(event)
        return Record(numbers.setdefault(kind, len(numbers)), about, cause, event)

    def add(self, about: int, cause: int | None, event: ChainEvent) -> int:
        """Its index."""
        self.records.append(self.record(about, cause, event))
        return len(self.records) - 1


def parties_of(transaction: Transaction) -> tuple[bytes, ...]:
    """The accounts that a transaction names, each once: its sender, then those in its operations."""
    body = transaction.body
    _, fields = _layout(tuple(map(type, body.operations)))
    return _parties(body, fields)


def _parties(body: TransactionBody, fields: tuple[tuple[int, str], ...]) -> tuple[bytes, ...]:
    found: dict[bytes, None] = {body.sender: None}
    operations = body.operations
    for at, name in fields:
        value = getattr(operations[at], name)
        if value is not None:
            found[value] = None
    return tuple(found)


@lru_cache(maxsize=64)
def _layout(
    kinds: tuple[type[Any], ...],
) -> tuple[tuple[str, ...], tuple[tuple[int, str], ...]]:
    """For operations of these kinds their tags, and where accounts stand: index and field."""
    return (
        tuple(_TAGS[kind] for kind in kinds),
        tuple((at, name) for at, kind in enumerate(kinds) for name in _PARTY_FIELDS[kind]),
    )


def event_write(batch: Batch) -> Write:
    """The write that belongs into the block's own batch."""
    return _EVENTS + batch.height.to_bytes(8, "big"), encode(batch)


class EventLog:
    """Reads the log from a chain database. Damage raises `DecodeError`."""

    def __init__(self, reader: KeyValueReader) -> None:
        self._reader = reader

    def raw(self, height: int) -> bytes | None:
        """The stored bytes of a block's events."""
        return self._reader.get(_EVENTS + height.to_bytes(8, "big"))

    def block(self, height: int, kinds: Kinds = None) -> tuple[Logged, ...] | None:
        """The events of the block at a height; None if there is none, or it is older than the log."""
        raw = self.raw(height)
        return None if raw is None else read_batch(raw, kinds)

    def after(self, cursor: Cursor, until_height: int, kinds: Kinds = None) -> Iterator[Logged]:
        """The events behind a cursor, up to the block at `until_height`."""
        for height in range(max(1, cursor.height), until_height + 1):
            for logged in self.block(height, kinds) or ():
                if logged.place > cursor:
                    yield logged


def read_batch(raw: bytes, kinds: Kinds = None) -> tuple[Logged, ...]:
    """The events in a stored batch, or those of some kinds. Raises `DecodeError`."""
    batch = decode(raw, StoredBatch)
    height, correlations = batch.height, (batch.block, *batch.transactions)
    places = [Cursor(height, index) for index in range(len(batch.records))]
    wanted = None if kinds is None else {kind.__name__ for kind in kinds}
    readers = [
        _reader(kind) if wanted is None or kind.name in wanted else None for kind in batch.kinds
    ]
    try:
        return tuple(
            [
                Logged(
                    place,
                    batch.block,
                    batch.time_ms,
                    correlations[record.about],
                    None if record.cause is None else places[record.cause],
                    reader(record.event),
                )
                for place, record in zip(places, batch.records, strict=True)
                if (reader := readers[record.kind]) is not None
            ]
        )
    except (msgspec.DecodeError, IndexError) as error:
        raise DecodeError(f"the events of block {height} are damaged in the log: {error}") from None


def _reader(kind: Kind) -> Callable[[msgspec.Raw], ChainEvent]:
    decoder = _DECODERS.get((kind.name, kind.version))
    if decoder is None:
        raise DecodeError(
            f"the log holds an event {kind.name} of version {kind.version}, "
            "which this program doesn't know: it is older than the database"
        )
    return decoder.decode
