"""What a node does once it has a federation: records, detection, upkeep, and what is told of it.

`core` gives it the events; without a federation there is none of this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import assert_never

from gossip.effects import Broadcast, Cause, Effect, Rejected, Send, SetTimer
from gossip.identity import NodeId
from gossip.membership.detector import Detector
from gossip.membership.events import (
    AddressesChanged,
    CapabilitiesChanged,
    MembershipEffect,
)
from gossip.membership.gate import Gate
from gossip.membership.handshake import Handshake, Home
from gossip.membership.links import Link
from gossip.membership.mesh import Mesh
from gossip.membership.messages import (
    Challenge,
    DetectionMessage,
    FetchDeaths,
    FetchRecords,
    FetchRecordsOf,
    FetchSince,
    Heeded,
    Leave,
    NamesDiffer,
    Ping,
    Pong,
    ProbeFor,
    Proof,
    Records,
    Rumours,
    Spare,
)
from gossip.membership.outlook import Outlook
from gossip.membership.record_exchange import FETCH_ANSWERS
from gossip.membership.roster import FederationRoster
from gossip.membership.suspicions import Statements
from gossip.membership.timing import Timing, spaced
from gossip.membership.upkeep import Upkeep
from gossip.membership.voices import FetchVoices, Voices

PROBE_TIMER = "membership/probe"
PULL_TIMER = "membership/pull"
SPREAD_TIMER = "membership/spread"

MembersMessage = (
    Records
    | FetchRecords
    | FetchSince
    | NamesDiffer
    | FetchRecordsOf
    | Leave
    | Spare
    | DetectionMessage
)
"""What only members may say."""

_MAX_PINGS = 64


class Federated:
    """The parts of one member, and the timers that drive them."""

    def __init__(
        self,
        home: Home,
        gate: Gate,
        handshake: Handshake,
        statements: Statements,
        *,
        mesh: Mesh,
        jitter: Callable[[], float],
        nonces: Iterator[int],
        timing: Timing,
    ) -> None:
        self.exchange = home.exchange
        self.mesh = mesh
        self._gate, self._timing, self._statements = gate, timing, statements
        roster = FederationRoster(gate, home.exchange, mesh)
        self._detector = Detector(statements, roster, jitter, nonces, timing.pace)
        mesh.is_suspect, mesh.is_asked = self._detector.is_suspect, self._detector.asked
        home.exchange.is_doubted = lambda node: self._detector.case(node) is not None
        self.outlook = Outlook(gate, home.exchange, mesh, self._detector, timing)
        self._upkeep = Upkeep(gate, home.exchange, handshake, self._detector, timing)
        self._probe_due_ms: int | None = None
        self._pings: dict[int, int] = {}
        self._is_spreading = False

    def check_invariants(self) -> None:
        """Assert what must always hold; a failure is a bug."""
        assert len(self._pings) <= _MAX_PINGS
        self._detector.check_invariants()
        self.mesh.check_invariants()
        self.exchange.table.check_invariants()
        assert self.exchange.table.get(self._gate.node) is None

    @property
    def is_seeking(self) -> bool:
        """Whether somebody is to be asked who is not connected."""
        return any(node not in self._gate.links for node in self._detector.asked())

    @property
    def _pull_ms(self) -> int:
        return spaced(self._timing.pull_ms, self.exchange.table.members)

    def on_started(self, out: list[MembershipEffect]) -> None:
        """Sign a record of this start, which is on disk before anybody sees it."""
        out.append(self.exchange.own.renew(self._gate.now_ms))
        out.append(SetTimer(PULL_TIMER, self._pull_ms))
        self._upkeep.begin()

    def go_on(self, out: list[MembershipEffect]) -> None:
        """After every event: what is new is to be passed on."""
        self._refute(out)
        due_ms = self._detector.due_ms
        if due_ms != self._probe_due_ms:
            self._probe_due_ms = due_ms
            out.append(SetTimer(PROBE_TIMER, max(0, due_ms - self._gate.now_ms)))
        if self.exchange.has_news and not self._is_spreading:
            self._is_spreading = True
            out.append(SetTimer(SPREAD_TIMER, self._timing.spread_ms))

    def on_lost(self, peer: NodeId, link: Link) -> None:
        """The connection with a peer is gone."""
        if not self.mesh.is_parting(link):
            self._detector.lost(self._gate.now_ms, peer)

    def on_awake(self, gap_ms: int) -> None:
        """The node itself was asleep for so long: the silence of others says nothing."""
        self._detector.forgive(self._gate.now_ms, gap_ms)

    def on_beat(self, out: list[MembershipEffect]) -> None:
        """Once a second."""
        self._upkeep.beat(out, is_partial=self.mesh.is_partial())
        self.mesh.beat(out)
        away = self.mesh.stroll()
        if away is not None:
            self._detector.ask(self._gate.now_ms, away)
        self.outlook.watch_all(out)

    def on_timer(self, out: list[MembershipEffect], name: str) -> None:
        """One of the timers of this module."""
        if name == SPREAD_TIMER:
            self._is_spreading = False
            out.extend(self.exchange.spread(self._gate.now_ms))
        elif name == PROBE_TIMER:
            self._probe(out)
        elif name == PULL_TIMER:
            out.extend(self.exchange.pull(1))
            out.append(SetTimer(PULL_TIMER, self._pull_ms))

    def on_own_change(self, event: CapabilitiesChanged | AddressesChanged) -> None:
        """Our own record is to say something else. Raises `RecordError`."""
        own = self.exchange.own
        if isinstance(event, AddressesChanged):
            is_new = own.change(addresses=event.addresses)
        else:
            is_new = own.change(capabilities=event.capabilities, load=event.load)
        if is_new:
            self.exchange.change_own()

    def farewell(self, out: list[MembershipEffect]) -> None:
        """Tell everybody who is connected that we stop on purpose."""
        friends = tuple(peer for peer, _ in self.exchange.friends())
        if friends:
            seq = self.exchange.own.signed.record.seq
            leave = Leave(self._gate.node, seq, self._statements.leave(seq))
            out.append(Broadcast(friends, leave))

    # Messages

    def on_heard(self, peer: NodeId) -> None:
        """A connected peer has said anything at all."""
        self.exchange.table.heard(self._gate.now_ms, peer)
        self._detector.heard(self._gate.now_ms, peer)

    def on_message(
        self,
        out: list[MembershipEffect],
        peer: NodeId,
        link: Link,
        message: MembersMessage,
    ) -> None:
        """A member's word."""
        now_ms = self._gate.now_ms
        match message:
            case Records():
                out.extend(self.exchange.on_records(now_ms, peer, link, message.records))
                for signed in message.records:
                    self.outlook.watch(out, NodeId(signed.record.node))
            case FetchRecords() if link.may_cost(FETCH_ANSWERS):
                out.extend(self.exchange.on_fetch(peer, message))
            case FetchRecordsOf() if link.may_cost(1):
                out.extend(self.exchange.on_fetch_of(peer, message))
            case FetchDeaths() if link.may_cost(1):
                out.extend(self._detector.on_message(now_ms, peer, message, link.may_check))
            case FetchSince():
                out.extend(self.exchange.on_fetch_since(peer, link, message))
            case FetchRecords() | FetchRecordsOf() | FetchDeaths():
                out.append(Rejected(peer, "it fetches too often", Cause.TOO_OFTEN))
            case NamesDiffer():
                out.extend(self.exchange.on_names_differ(peer, link))
            case Leave():
                self._on_leave(out, peer, link, message)
            case Spare():
                self.mesh.on_spare(out, peer, link, is_full=message.full)
            case (
                ProbeFor() | Heeded() | Challenge() | Proof() | Rumours() | FetchVoices() | Voices()
            ):
                out.extend(self._detector.on_message(now_ms, peer, message, link.may_check))
            case _:
                assert_never(message)

    def _on_leave(
        self, out: list[MembershipEffect], peer: NodeId, link: Link, leave: Leave
    ) -> None:
        """A good-bye counts if its node has not spoken since; it is passed on to those who did not hear it."""
        node = NodeId(leave.node)
        known = self.exchange.table.get(node)
        if known is None or known.left_seq is not None or leave.seq < known.record.seq:
            return
        if not link.may_check():
            return
        if not self._statements.is_leave(node, leave.seq, leave.signature):
            out.append(Rejected(peer, "it brings a good-bye that its node did not say"))
            return
        self.exchange.table.left(node, leave.seq)
        self.outlook.watch(out, node)
        friends = tuple(one for one, _ in self.exchange.friends() if one not in {peer, node})
        if friends and self.mesh.is_partial():
            out.append(Broadcast(friends, leave))

    def dead_count(self, peer: NodeId) -> int:
        """What a pong to this peer says of the dead: to strangers nothing."""
        return self._detector.dead_count(self._gate.now_ms) if self._gate.is_member(peer) else 0

    def on_pong(self, out: list[MembershipEffect], peer: NodeId, pong: Pong) -> None:
        """An answer to one of our pings tells the distance, the other's clock, and whether we have missed deaths."""
        now_ms, sent_ms = self._gate.now_ms, self._pings.get(pong.nonce)
        if sent_ms is not None:
            rtt_ms = max(0, now_ms - sent_ms)
            offset_ms = pong.now_ms - (now_ms - rtt_ms // 2)
            self.exchange.table.measured(peer, rtt_ms, offset_ms)
            out.extend(self._detector.on_dead_count(now_ms, peer, pong.dead))

    # Detection

    def _probe(self, out: list[MembershipEffect]) -> None:
        self._probe_due_ms = None
        suspects = dict.fromkeys(self._detector.suspects())
        effects: list[Effect] = self._detector.tick(self._gate.now_ms)
        for effect in effects:
            if isinstance(effect, Send) and isinstance(effect.message, Ping):
                self._pings[effect.message.nonce] = self._gate.now_ms
        while len(self._pings) > _MAX_PINGS:
            del self._pings[next(iter(self._pings))]
        out.extend(effects)
        # Of all others nothing new was found out: the beat is early enough for what time alone changes.
        for node in suspects | dict.fromkeys(self._detector.suspects()):
            self.outlook.watch(out, node)

    def _refute(self, out: list[MembershipEffect]) -> None:
        """Somebody suspects us: raise our number, and say that we are there."""
        challenge = self._detector.challenge(self._gate.now_ms)
        if challenge is not None:
            self.exchange.own.go_above(challenge)
            out.append(self.exchange.own.renew(self._gate.now_ms))
            self._detector.refuted(self._gate.now_ms, self.exchange.own.signed.record.seq)
