"""Work over many peers: parts of one input, each done by one of them, checked and put together (row M6).

    asked -> parts placed on different nodes -> outputs checked against what the part was given
          -> the part of a lost, failed or wrong node goes to another one -> all done -> merged

A part's try is an ordinary task on the ledger. Who vanishes with one loses it here at once, and the
reward returns after the task's deadline; a node never gets the same part twice. A spread of one part
is a task that another peer takes over. Everything is on disk: after a restart the tasks that are
under way are followed again. Outputs of parts that are done are kept in memory too, so that the
merge does not wait for the disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, assert_never

import msgspec
from msgspec import structs

from gossip.codec import Bytes32, DecodeError, Digest, Name, Natural, Sentence, Wire, decode, encode
from gossip.effects import CancelTimer, KeyValueReader, Persist, SetTimer, Store
from gossip.identity import NodeId
from inference.chunks import MAX_PARTS, Piece, fault_of, merge, split
from inference.kinds import (
    TaskInput,
    TaskOutput,
    decode_input,
    decode_output,
    encode_input,
    encode_output,
)

MAX_OPEN = 8
KEPT_ENDED = 100
PER_NODE = 2
"""Parts of one spread that a node has in hand at once."""
MAX_TRIES = 5
_REASON_CHARS = 500

_SPREAD, _INPUT, _PART, _OUTPUT = b"spread/", b"spread-in/", b"spread-part/", b"spread-out/"


class TryState(Enum):
    """Where one node's try at a part stands."""

    PLACING = "placing"
    WORKING = "working"
    DONE = "done"
    FAILED = "failed"


class SpreadState(Enum):
    """Where a spread stands."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


UNDER_WAY = (TryState.PLACING, TryState.WORKING)


class Try(Wire, frozen=True):
    """A part at one node. `task` is its task on the ledger once it has one."""

    executor: Bytes32
    state: TryState
    task: Bytes32 | None = None
    reason: Sentence = ""


class Part(Wire, frozen=True):
    """The tries at a part, the newest last."""

    tries: Annotated[tuple[Try, ...], msgspec.Meta(max_length=MAX_TRIES)] = ()

    @property
    def is_done(self) -> bool:
        return bool(self.tries) and self.tries[-1].state is TryState.DONE

    @property
    def is_under_way(self) -> bool:
        return bool(self.tries) and self.tries[-1].state in UNDER_WAY


class Spread(Wire, frozen=True):
    """One input and its parts."""

    id: Bytes32
    kind: Name
    since_ms: Natural
    deadline_ms: Natural
    parts: Annotated[tuple[Part, ...], msgspec.Meta(max_length=8 * MAX_PARTS)] = ()
    state: SpreadState = SpreadState.RUNNING
    reason: Sentence = ""


@dataclass(frozen=True, slots=True)
class SpreadAsked:
    """A user's input for many: the canonical bytes of an input of the spread's kind, which decode."""

    spread: Spread
    given: bytes


@dataclass(frozen=True, slots=True)
class NodesChanged:
    """Who does tasks of a kind now, best first, and who is known to be gone."""

    able: Mapping[str, tuple[NodeId, ...]]
    gone: frozenset[NodeId]


@dataclass(frozen=True, slots=True)
class PartPlaced:
    """A try has its task."""

    spread: Digest
    part: int
    executor: NodeId
    task: Digest


@dataclass(frozen=True, slots=True)
class PartEnded:
    """A try's task is settled, with its output, or has failed."""

    spread: Digest
    part: int
    executor: NodeId
    output: bytes | None
    reason: str


@dataclass(frozen=True, slots=True)
class SpreadDropped:
    """Its user wants it no more."""

    spread: Digest


SpreadEvent = SpreadAsked | NodesChanged | PartPlaced | PartEnded | SpreadDropped


@dataclass(frozen=True, slots=True)
class PlacePart:
    """Hand a part in as a task; comes back as `PartPlaced` and `PartEnded`."""

    spread: Digest
    part: int
    executor: NodeId
    kind: str
    content: bytes
    deadline_ms: int


@dataclass(frozen=True, slots=True)
class FollowPart:
    """After a restart: tell how this task ends."""

    spread: Digest
    part: int
    executor: NodeId
    task: Digest


SpreadEffect = Persist | SetTimer | CancelTimer | PlacePart | FollowPart


class Spreads:
    """All spreads of one node."""

    def __init__(self, reader: KeyValueReader) -> None:
        self._reader = reader
        kept = sorted(
            (decode(raw, Spread) for _, raw in reader.scan(_SPREAD)),
            key=lambda one: (one.since_ms, one.id),
        )
        self._spreads = {Digest(one.id): one for one in kept}
        self._able: Mapping[str, tuple[NodeId, ...]] = {}
        self._cut: dict[Digest, tuple[TaskInput, list[Piece]]] = {}
        self._outputs: dict[tuple[Digest, int], bytes] = {}
        for spread in self._open():
            for at, part in enumerate(spread.parts):
                output = reader.get(_part_key(Digest(spread.id), at))
                if part.is_done and output is not None:
                    self._outputs[Digest(spread.id), at] = output

    # Questions

    def all(self) -> Sequence[Spread]:
        """The newest first."""
        return tuple(reversed(self._spreads.values()))

    def find(self, name: Digest) -> Spread | None:
        """One of them."""
        return self._spreads.get(name)

    def output(self, name: Digest) -> bytes | None:
        """The merged output, once it is done."""
        return self._reader.get(_OUTPUT + name)

    def refusal(self) -> str | None:
        """Why no more can be taken, or None."""
        return f"{MAX_OPEN} are under way already" if len(self._open()) >= MAX_OPEN else None

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._open()

    def _open(self) -> list[Spread]:
        return [one for one in self._spreads.values() if one.state is SpreadState.RUNNING]

    # Events

    def on_started(self, now_ms: int) -> list[SpreadEffect]:
        """Follow again what is under way; what had no task yet goes elsewhere."""
        out: list[SpreadEffect] = []
        for spread in self._open():
            name = Digest(spread.id)
            out.append(_deadline(spread, now_ms))
            for at, part in enumerate(spread.parts):
                last = part.tries[-1] if part.tries else None
                if last is not None and last.state is TryState.WORKING and last.task is not None:
                    out.append(FollowPart(name, at, NodeId(last.executor), Digest(last.task)))
                elif last is not None and last.state is TryState.PLACING:
                    out += self._fail_try(name, at, "lost by a restart")
        return out

    def handle(self, now_ms: int, event: SpreadEvent) -> list[SpreadEffect]:
        """Take one event."""
        match event:
            case SpreadAsked():
                return self._on_asked(now_ms, event)
            case NodesChanged():
                return self._on_nodes(event)
            case PartPlaced():
                return self._on_placed(event)
            case PartEnded():
                return self._on_ended(event)
            case SpreadDropped():
                return self._end(event.spread, SpreadState.CANCELLED, "cancelled by its owner")
            case _:
                assert_never(event)

    def on_timer(self, name: str) -> list[SpreadEffect]:
        """The deadline of the spread with this id."""
        reason = "its deadline passed before all parts were done"
        return self._end(Digest(bytes.fromhex(name)), SpreadState.FAILED, reason)

    def _on_asked(self, now_ms: int, event: SpreadAsked) -> list[SpreadEffect]:
        name = Digest(event.spread.id)
        whole = decode_input(event.spread.kind, event.given)
        pieces = split(whole)
        self._cut[name] = (whole, pieces)
        spread = structs.replace(event.spread, parts=(Part(),) * len(pieces))
        kept = Persist(Store.WORK, ((_INPUT + name, event.given),))
        return [kept, *self._put(spread), _deadline(spread, now_ms), *self._step(name)]

    def _on_nodes(self, event: NodesChanged) -> list[SpreadEffect]:
        self._able = event.able
        out: list[SpreadEffect] = []
        for spread in self._open():
            name = Digest(spread.id)
            for at, part in enumerate(spread.parts):
                if part.is_under_way and NodeId(part.tries[-1].executor) in event.gone:
                    out += self._fail_try(name, at, "the node is gone")
            out += self._step(name)
        return out

    def _on_placed(self, event: PartPlaced) -> list[SpreadEffect]:
        last = self._last(event.spread, event.part, event.executor)
        if last is None or last.state is not TryState.PLACING:
            return []
        working = structs.replace(last, state=TryState.WORKING, task=event.task)
        return self._put_try(event.spread, event.part, working)

    def _on_ended(self, event: PartEnded) -> list[SpreadEffect]:
        last = self._last(event.spread, event.part, event.executor)
        if last is None or last.state not in UNDER_WAY:
            return []
        fault = event.reason if event.output is None else self._fault(event)
        if fault is not None or event.output is None:
            out = self._fail_try(event.spread, event.part, fault or "no reason given")
            return [*out, *self._step(event.spread)]
        self._outputs[event.spread, event.part] = event.output
        done = structs.replace(last, state=TryState.DONE)
        return [
            Persist(Store.WORK, ((_part_key(event.spread, event.part), event.output),)),
            *self._put_try(event.spread, event.part, done),
            *self._step(event.spread),
        ]

    def _fault(self, event: PartEnded) -> str | None:
        assert event.output is not None
        _, pieces = self._parts_of(event.spread)
        try:
            output = decode_output(self._spreads[event.spread].kind, event.output)
        except DecodeError as error:
            return f"its output does not decode: {error}"
        return fault_of(pieces[event.part].given, output)

    def _step(self, name: Digest) -> list[SpreadEffect]:
        """Place what nobody works on, or come to the end."""
        spread = self._spreads.get(name)
        if spread is None or spread.state is not SpreadState.RUNNING:
            return []
        if all(part.is_done for part in spread.parts):
            return self._finish(name)
        out: list[SpreadEffect] = []
        for at, part in enumerate(spread.parts):
            if part.is_done or part.is_under_way:
                continue
            if len(part.tries) >= MAX_TRIES:
                reason = f"part {at + 1} failed {MAX_TRIES} times: {part.tries[-1].reason}"
                return [*out, *self._end(name, SpreadState.FAILED, reason)]
            executor = self._free_node(name, part)
            if executor is not None:
                out += self._place(name, at, executor)
        return out

    def _place(self, name: Digest, at: int, executor: NodeId) -> list[SpreadEffect]:
        spread = self._spreads[name]
        _, pieces = self._parts_of(name)
        fresh = (*spread.parts[at].tries, Try(executor, TryState.PLACING))
        content = encode_input(pieces[at].given)
        return [
            *self._put_part(name, at, Part(fresh)),
            PlacePart(name, at, executor, spread.kind, content, spread.deadline_ms),
        ]

    def _free_node(self, name: Digest, part: Part) -> NodeId | None:
        """The least busy of those that have not had this part, the best first."""
        spread = self._spreads[name]
        busy = Counter(NodeId(one.tries[-1].executor) for one in spread.parts if one.is_under_way)
        had = {NodeId(one.executor) for one in part.tries}
        fit = [
            (busy[node], rank, node)
            for rank, node in enumerate(self._able.get(spread.kind, ()))
            if node not in had and busy[node] < PER_NODE
        ]
        return min(fit)[2] if fit else None

    def _finish(self, name: Digest) -> list[SpreadEffect]:
        spread = self._spreads[name]
        whole, pieces = self._parts_of(name)
        outputs: list[TaskOutput] = [
            decode_output(spread.kind, self._outputs[name, at]) for at in range(len(spread.parts))
        ]
        try:
            merged = encode_output(merge(whole, pieces, outputs))
        except ValueError as error:
            return self._end(name, SpreadState.FAILED, f"the parts don't fit together: {error}")
        kept = Persist(Store.WORK, ((_OUTPUT + name, merged),))
        return [kept, *self._end(name, SpreadState.DONE, "")]

    def _end(self, name: Digest, state: SpreadState, reason: str) -> list[SpreadEffect]:
        spread = self._spreads.get(name)
        if spread is None or spread.state is not SpreadState.RUNNING:
            return []
        self._cut.pop(name, None)
        for at in range(len(spread.parts)):
            self._outputs.pop((name, at), None)
        keys = [_INPUT + name, *(_part_key(name, at) for at in range(len(spread.parts)))]
        ended = structs.replace(spread, state=state, reason=reason[:_REASON_CHARS])
        return [
            Persist(Store.WORK, tuple((key, None) for key in keys)),
            CancelTimer(f"spread/{name.hex()}"),
            *self._put(ended),
            *self._trim(),
        ]

    def _trim(self) -> list[SpreadEffect]:
        ended = [one for one in self._spreads.values() if one.state is not SpreadState.RUNNING]
        out: list[SpreadEffect] = []
        for oldest in ended[: max(0, len(ended) - KEPT_ENDED)]:
            del self._spreads[Digest(oldest.id)]
            writes = ((_SPREAD + oldest.id, None), (_OUTPUT + oldest.id, None))
            out.append(Persist(Store.WORK, writes))
        return out

    def _parts_of(self, name: Digest) -> tuple[TaskInput, list[Piece]]:
        if name not in self._cut:
            given = self._reader.get(_INPUT + name)
            assert given is not None, "an open spread's input is on disk"
            whole = decode_input(self._spreads[name].kind, given)
            self._cut[name] = (whole, split(whole))
        return self._cut[name]

    def _last(self, name: Digest, at: int, executor: NodeId) -> Try | None:
        """The newest try at a part, if it is this node's and the spread goes on."""
        spread = self._spreads.get(name)
        if spread is None or spread.state is not SpreadState.RUNNING:
            return None
        tries = spread.parts[at].tries
        return tries[-1] if tries and tries[-1].executor == executor else None

    def _fail_try(self, name: Digest, at: int, reason: str) -> list[SpreadEffect]:
        last = self._spreads[name].parts[at].tries[-1]
        failed = structs.replace(last, state=TryState.FAILED, reason=reason[:_REASON_CHARS])
        return self._put_try(name, at, failed)

    def _put_try(self, name: Digest, at: int, newest: Try) -> list[SpreadEffect]:
        tries = self._spreads[name].parts[at].tries
        return self._put_part(name, at, Part((*tries[:-1], newest)))

    def _put_part(self, name: Digest, at: int, part: Part) -> list[SpreadEffect]:
        spread = self._spreads[name]
        parts = (*spread.parts[:at], part, *spread.parts[at + 1 :])
        return self._put(structs.replace(spread, parts=parts))

    def _put(self, spread: Spread) -> list[SpreadEffect]:
        self._spreads[Digest(spread.id)] = spread
        return [Persist(Store.WORK, ((_SPREAD + spread.id, encode(spread)),))]

    def check_invariants(self) -> None:
        """What must hold after every event."""
        for name, spread in self._spreads.items():
            if spread.state is SpreadState.DONE:
                assert all(part.is_done for part in spread.parts)
            for at, part in enumerate(spread.parts):
                executors = [one.executor for one in part.tries]
                assert len(executors) == len(set(executors)) <= MAX_TRIES
                assert not any(one.state in UNDER_WAY for one in part.tries[:-1])
                if spread.state is SpreadState.RUNNING:
                    assert part.is_done == ((name, at) in self._outputs)


def _part_key(name: Digest, at: int) -> bytes:
    return _PART + name + at.to_bytes(2, "big")


def _deadline(spread: Spread, now_ms: int) -> SetTimer:
    return SetTimer(f"spread/{bytes(spread.id).hex()}", max(0, spread.deadline_ms - now_ms))
