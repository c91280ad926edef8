"""Several membership cores wired together: one clock, one queue, no threads, no waiting.

Messages take `LATENCY_MS` each way, in order, and pass the codec. A dial finds whoever lives at the
address. Every core's invariants are checked after every event.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any, TypeVar, cast

from gossip.codec import decode_canonical, encode
from gossip.effects import Broadcast, Notify, Persist, Rejected, Send, SetTimer, Store, Write
from gossip.identity import Ed25519Signer, Ed25519Verifier, NodeId
from gossip.membership import Membership, Profile, Timing
from gossip.membership.events import (
    AddBootstrap,
    Dial,
    Dialed,
    DialFailed,
    Disconnect,
    MembershipEffect,
    MembershipEvent,
    PeerDown,
    PeerUp,
    Received,
    Started,
    TimerFired,
)
from gossip.membership.invites import Invite, issue_invite
from gossip.membership.mesh import MeshHabits
from gossip.membership.messages import Hello, MembershipMessage, Records, Welcome, federation_of
from gossip.membership.notices import Liveness, PeerEntry
from gossip.membership.records import Capability, PeerRecord, SignedRecord, sign_record

N = TypeVar("N")

GENESIS = b"the genesis of the federation"
FEDERATION = federation_of(GENESIS)
VERIFIER = Ed25519Verifier()
START_MS = 1_700_000_000_000
LATENCY_MS = 5
EMBED = Capability("inference", "embed", None, 5, 2)


def signer(number: int) -> Ed25519Signer:
    return Ed25519Signer(number.to_bytes(32, "big"))


def address(number: int) -> str:
    return f"/ip4/10.0.0.{number}/tcp/7430"


def profile(number: int) -> Profile:
    return Profile(
        name=f"node {number}",
        addresses=(address(number),),
        capabilities=(EMBED,),
        load=0,
        voting_key=bytes([number]) * 32,
        version="0.1.0",
    )


def signed_record(number: int, seq: int = 1, **changes: object) -> SignedRecord:
    described: dict[str, Any] = {
        "federation": FEDERATION,
        "name": f"node {number}",
        "addresses": (address(number),),
        "capabilities": (EMBED,),
        "load": 0,
        "voting_key": bytes([number % 256]) * 32,
        "version": "0.1.0",
        "issued_at_ms": START_MS,
    }
    key = signer(number)
    return sign_record(PeerRecord(node=key.public, seq=seq, **(described | changes)), key)


def invite_from(issuer: int, *, number: int = 1, expires_ms: int = START_MS + 3_600_000) -> Invite:
    return issue_invite(
        signer(issuer),
        federation=FEDERATION,
        invite_id=bytes([number]) * 32,
        expires_ms=expires_ms,
        addresses=(address(issuer),),
    )


class Disk:
    """A `KeyValueReader` with what was persisted."""

    def __init__(self) -> None:
        self.pairs: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.pairs.get(key)

    def scan(self, prefix: bytes) -> list[tuple[bytes, bytes]]:
        return sorted(pair for pair in self.pairs.items() if pair[0].startswith(prefix))

    def write(self, writes: Sequence[Write]) -> None:
        for key, value in writes:
            if value is None:
                self.pairs.pop(key, None)
            else:
                self.pairs[key] = value


@dataclass
class Resident:
    """One node: its core, its disk, its ledger's word, and what it was told to do."""

    number: int
    core: Membership
    disk: Disk
    ledger: dict[NodeId, str]
    notices: list[object] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    dialed: list[tuple[int, str]] = field(default_factory=list)
    timers: dict[str, int] = field(default_factory=dict)
    up: bool = True
    silent: bool = False
    asleep_until_ms: int = 0

    @property
    def node(self) -> NodeId:
        return node(self.number)

    def row(self, number: int) -> PeerEntry:
        return next(row for row in self.core.table() if row.node_id == node(number))

    def status(self, number: int) -> Liveness:
        return self.row(number).status

    def knows(self) -> set[str]:
        return {row.name for row in self.core.table()}

    def told(self, kind: type[N]) -> list[N]:
        return [notice for notice in self.notices if isinstance(notice, kind)]


def node(number: int) -> NodeId:
    return signer(number).node_id


class Town:
    """The world. `ledger` is everybody's unless a resident is given one of its own."""

    def __init__(self) -> None:
        self.now_ms = START_MS
        self.ledger: dict[NodeId, str] = {}
        self.residents: dict[NodeId, Resident] = {}
        self.lines: set[frozenset[NodeId]] = set()
        self.broken: set[frozenset[NodeId]] = set()
        self.seqs_ahead_of_disk: list[int] = []
        self.sent: list[tuple[NodeId, NodeId, object]] = []
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()

    def settle(
        self,
        number: int,
        *,
        role: str | None = "validator",
        genesis: bytes | None = GENESIS,
        ledger: dict[NodeId, str] | None = None,
        disk: Disk | None = None,
        bootstrap: tuple[str, ...] = (),
        invite: Invite | None = None,
        timing: Timing | None = None,
        mesh: MeshHabits | None = None,
        jitter: Callable[[], float] | None = None,
    ) -> Resident:
        """A node moves in, or starts anew with the disk that it left."""
        if role is not None:
            self.ledger[node(number)] = role
        word = self.ledger if ledger is None else ledger
        disk = disk or Disk()
        core = Membership(
            profile=profile(number),
            signer=signer(number),
            verifier=VERIFIER,
            genesis=genesis,
            admitted=word.get,
            store=disk,
            jitter=jitter or Random(number).random,
            nonce=number,
            timing=timing,
            mesh=mesh,
        )
        resident = Resident(number, core, disk, word)
        self.residents[resident.node] = resident
        self.tell(number, Started())
        if bootstrap or invite:
            self.tell(number, AddBootstrap(bootstrap, invite))
        return resident

    def kill(self, number: int) -> None:
        """The process is gone; the others' connections with it break."""
        gone = self.residents[node(number)]
        gone.up = False
        for line in [line for line in self.lines if gone.node in line]:
            self.hang_up(line, "the connection was reset")

    def cut_off(self, one: int, other: int) -> None:
        """These two can't reach each other from now on."""
        line = frozenset((node(one), node(other)))
        self.broken.add(line)
        self.hang_up(line, "the cable was cut")

    def doze(self, number: int, duration_ms: int) -> None:
        """The machine of one node sleeps: its timers and its messages wait."""
        sleeper = self.residents[node(number)]
        sleeper.asleep_until_ms = self.now_ms + duration_ms
        self.run(duration_ms)

    def tell(self, number: int, event: MembershipEvent) -> list[MembershipEffect]:
        """An event from the node's own side."""
        return self._handle(self.residents[node(number)], event)

    def say(self, liar: int, to: int, message: object) -> None:
        """A message that no core would send, on a line that there is."""
        assert frozenset((node(liar), node(to))) in self.lines
        self._deliver(node(liar), node(to), message)

    def meet(self, caller: int, callee: int) -> None:
        """A line from one to the other, whether or not a core runs at the caller's end."""
        self._connect(node(caller), node(callee), address(callee))

    def run(self, duration_ms: int) -> None:
        end_ms = self.now_ms + duration_ms
        while self._queue and self._queue[0][0] <= end_ms:
            self.now_ms, _, action = heapq.heappop(self._queue)
            action()
        self.now_ms = end_ms

    def _at(self, delay_ms: int, action: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now_ms + delay_ms, next(self._order), action))

    def _handle(self, resident: Resident, event: MembershipEvent) -> list[MembershipEffect]:
        if not resident.up:
            return []
        if resident.asleep_until_ms > self.now_ms:
            self._at(resident.asleep_until_ms - self.now_ms, lambda: self._wake(resident, event))
            return []
        effects = resident.core.handle(self.now_ms, event)
        resident.core.check_invariants()
        for effect in effects:
            self._carry_out(resident, effect)
        return effects

    def _wake(self, resident: Resident, event: MembershipEvent) -> None:
        self._handle(resident, event)

    def _carry_out(self, resident: Resident, effect: MembershipEffect) -> None:
        match effect:
            case Send():
                self._deliver(resident.node, effect.to, effect.message)
            case Broadcast():
                for to in effect.to:
                    self._deliver(resident.node, to, effect.message)
            case Persist():
                assert effect.store is Store.PEERS
                resident.disk.write(effect.writes)
            case SetTimer():
                self._set_timer(resident, effect)
            case Notify():
                resident.notices.append(effect.what)
            case Rejected():
                resident.rejected.append(effect)
            case Dial():
                resident.dialed.append((self.now_ms, effect.address))
                self._at(LATENCY_MS, lambda: self._dial(resident, effect.address))
            case Disconnect():
                line = frozenset((resident.node, effect.peer))
                self._at(0, lambda: self.hang_up(line, effect.reason))
            case _:
                raise AssertionError(f"no shell knows {effect!r}")

    def _set_timer(self, resident: Resident, effect: SetTimer) -> None:
        due_ms = resident.timers[effect.name] = self.now_ms + effect.delay_ms

        def fire() -> None:
            if resident.timers.get(effect.name) == due_ms:
                del resident.timers[effect.name]
                self._handle(resident, TimerFired(effect.name))

        self._at(effect.delay_ms, fire)

    def _dial(self, resident: Resident, where: str) -> None:
        for callee in self.residents.values():
            line = frozenset((resident.node, callee.node))
            if where == address(callee.number) and callee.up and line not in self.broken:
                self._connect(resident.node, callee.node, where)
                self._handle(resident, Dialed(where, callee.node))
                return
        self._handle(resident, DialFailed(where, "connection refused"))

    def _connect(self, caller: NodeId, callee: NodeId, where: str) -> None:
        line = frozenset((caller, callee))
        if line in self.lines or line in self.broken:
            return
        self.lines.add(line)
        for end, other, outbound in ((caller, callee, True), (callee, caller, False)):
            seen = where if outbound else "/ip4/10.0.0.99/tcp/55555"
            if end in self.residents:
                self._handle(self.residents[end], PeerUp(other, seen, outbound))

    def hang_up(self, line: frozenset[NodeId], reason: str) -> None:
        if line not in self.lines:
            return
        self.lines.discard(line)
        for end, other in (tuple(line), tuple(line)[::-1]):
            if end in self.residents:
                self._handle(self.residents[end], PeerDown(other, reason))

    def _deliver(self, sender: NodeId, to: NodeId, message: object) -> None:
        self.sent.append((sender, to, message))
        line = frozenset((sender, to))
        frame = encode(message)
        self._check_number(sender, message)

        def arrive() -> None:
            origin = self.residents.get(sender)
            deaf = origin is not None and origin.silent
            if line in self.lines and to in self.residents and not deaf:
                decoded = decode_canonical(frame, cast("type[Any]", MembershipMessage))
                self._handle(self.residents[to], Received(sender, decoded))

        self._at(LATENCY_MS, arrive)

    def _check_number(self, sender: NodeId, message: object) -> None:
        """What a core says of itself must not have a number that its disk does not know."""
        shown = message.records if isinstance(message, Records) else ()
        if isinstance(message, Hello | Welcome) and message.record is not None:
            shown = (message.record,)
        if sender in self.residents:
            kept = decode_canonical(self.residents[sender].disk.pairs.get(b"own/seq", b"\0"), int)
            own = (signed.record.seq for signed in shown if signed.record.node == sender)
            self.seqs_ahead_of_disk.extend(seq for seq in own if seq > kept)
