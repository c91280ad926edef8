"""Who is in the federation, where, and whether it is there: one core, `handle(now_ms, event)`.

On each new connection both sides say `Hello` and answer with `Welcome`, which tells the other what
it is here: a member or an applicant. Two that are members to each other fetch what each lacks of
the other's table, so that who joins knows everybody after one round trip. From then on
`record_exchange` passes on what is new and fetches what was missed. Who is there is for the
`detector` to find out. Who is known and not connected is dialed (`dialer`).

Without a genesis the core only looks for a federation: it asks where it was told to, and tells what
it found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import assert_never

from gossip.codec import Digest
from gossip.effects import (
    Broadcast,
    Effect,
    KeyValueReader,
    Notify,
    Persist,
    Rejected,
    Send,
    SetTimer,
    Store,
    Write,
)
from gossip.identity import NodeId, Signer, Verifier
from gossip.membership.candidates import candidates
from gossip.membership.detector import Detector, Pace
from gossip.membership.events import (
    AddBootstrap,
    AddressesChanged,
    AdmissionChanged,
    CapabilitiesChanged,
    Dial,
    Dialed,
    DialFailed,
    Leaving,
    MembershipEffect,
    MembershipEvent,
    PeerDown,
    PeerUp,
    Received,
    Started,
    TimerFired,
)
from gossip.membership.gate import Admitted, Gate
from gossip.membership.handshake import Handshake, Home
from gossip.membership.invites import InviteFault, invite_fault
from gossip.membership.links import ANSWERS_A_BEAT, CHECKS_A_BEAT, Link
from gossip.membership.messages import (
    Challenge,
    DetectionMessage,
    FetchRecords,
    FetchVoices,
    Heeded,
    Hello,
    Leave,
    MembershipMessage,
    Ping,
    Pong,
    ProbeFor,
    Proof,
    Records,
    Rumours,
    Standing,
    Welcome,
    federation_of,
)
from gossip.membership.notices import (
    Applicant,
    BootstrapRefused,
    Liveness,
    PeerEntry,
    StatusChanged,
)
from gossip.membership.own_record import OwnRecord, Profile
from gossip.membership.peer_table import Peer, PeerTable
from gossip.membership.record_exchange import RecordExchange
from gossip.membership.records import Capability, PeerRecord, SignedRecord
from gossip.membership.roster import FederationRoster
from gossip.membership.suspicions import Statements

__all__ = ["Membership", "Profile", "Timing"]

BEAT_TIMER = "membership/beat"
DIAL_TIMER = "membership/dial"
PROBE_TIMER = "membership/probe"
PULL_TIMER = "membership/pull"
SPREAD_TIMER = "membership/spread"

_HELLO_DOUBLINGS = 4
_MAX_PINGS = 64
_ASKED_AFTER_ADMISSION = 3
_FETCH_ANSWERS = 4
_NONCES = 2**62


@dataclass(frozen=True, slots=True)
class Timing:
    """How long things may take, in milliseconds."""

    beat_ms: int = 1_000
    hello_ms: int = 2_000
    asleep_ms: int = 2_500
    drop_ms: int = 15_000
    refresh_ms: int = 30_000
    pull_ms: int = 10_000
    spread_ms: int = 50
    forget_ms: int = 60_000
    capability_ms: int = 120_000
    pace: Pace = field(default_factory=Pace)


class Membership:
    """Membership of one node, in its federation or (with `genesis` None) looking for one.

    `admitted` is the ledger's word on a node: its role, or None. `jitter` returns numbers from 0 to
    1 that spread the dials of many nodes. `nonce` is a random number to count on from. `store` is
    `Store.PEERS`. Raises `RecordError` when the profile breaks a bound, and `DecodeError` when the
    store is damaged.
    """

    def __init__(
        self,
        *,
        profile: Profile,
        signer: Signer,
        verifier: Verifier,
        genesis: bytes | None,
        admitted: Admitted,
        store: KeyValueReader,
        jitter: Callable[[], float],
        nonce: int,
        timing: Timing | None = None,
    ) -> None:
        self._verifier = verifier
        self._timing = timing or Timing()
        self._turn_ms: int | None = None
        self._probe_due_ms: int | None = None
        self._kept_ms = 0
        self._pings: dict[int, int] = {}
        self._is_spreading = False
        self._is_restless = False
        self._is_dialing = False
        self._dialed_ms = 0
        node, has_home = NodeId(signer.public), genesis is not None
        self._gate = Gate(node, admitted, store, jitter, has_home=has_home)
        self._links, self._dialer = self._gate.links, self._gate.dialer
        self._nonces = count(nonce % _NONCES)
        self._home = None if genesis is None else self._settle_down(genesis, profile, signer, store)
        self._detector = (
            None if self._home is None else self._watch_over(self._home, signer, jitter)
        )
        self._handshake = Handshake(self._gate, self._home, verifier, self._nonces)

    def _settle_down(
        self, genesis: bytes, profile: Profile, signer: Signer, store: KeyValueReader
    ) -> Home:
        federation = federation_of(genesis)
        exchange = RecordExchange(
            OwnRecord(profile, signer, federation, store),
            PeerTable.load(store, federation),
            self._gate,
            federation=federation,
            verifier=self._verifier,
        )
        return Home(genesis, federation, exchange)

    def _watch_over(self, home: Home, signer: Signer, jitter: Callable[[], float]) -> Detector:
        statements = Statements(home.federation, signer, self._verifier)
        roster = FederationRoster(self._gate, home.exchange)
        return Detector(statements, roster, jitter, self._nonces, self._timing.pace)

    # What it is asked

    @property
    def federation(self) -> Digest | None:
        """The id of our federation, if we have one."""
        return None if self._home is None else self._home.federation

    @property
    def own_record(self) -> SignedRecord | None:
        """What we say of ourselves; None without a federation."""
        return None if self._home is None else self._home.exchange.own.signed

    def is_member(self, peer: NodeId) -> bool:
        """Whether this peer may use what only members may use: see `gate`."""
        return self._gate.is_member(peer)

    def table(self) -> tuple[PeerEntry, ...]:
        """All other members that we know, in the order of their ids.

        While our own ledger does not know us as admitted: all that the peers we joined by know.
        """
        if self._home is None:
            return ()
        table = self._home.exchange.table
        return tuple(
            self._entry(node, peer, self._liveness(node, peer))
            for node, peer in table.rows()
            if self._gate.counts(node)
        )

    def record_of(self, node: NodeId) -> PeerRecord | None:
        """What a member or an applicant last said of itself."""
        known = None if self._home is None else self._home.exchange.table.get(node)
        return self._gate.applicants.record_of(node) if known is None else known.record

    def applicants(self) -> tuple[Applicant, ...]:
        """Who waits to be let in, oldest first."""
        return self._gate.applicants.listed()

    def candidates(self, capability: str) -> tuple[PeerEntry, ...]:
        """Alive, connected, admitted nodes that have it, best first."""
        return candidates(self.table(), capability)

    def check_invariants(self) -> None:
        """Assert what must always hold; a failure is a bug."""
        self._gate.check_invariants()
        assert len(self._pings) <= _MAX_PINGS
        if self._detector is not None:
            self._detector.check_invariants()
        if self._home is not None:
            own, table = self._home.exchange.own, self._home.exchange.table
            table.check_invariants()
            assert table.get(self._gate.node) is None
            assert own.signed.record.federation == self._home.federation

    # What it is told

    def handle(self, now_ms: int, event: MembershipEvent) -> list[MembershipEffect]:
        """Take one event; the effects are carried out in order. `now_ms` never goes back.

        Raises `RecordError` for `CapabilitiesChanged` and `AddressesChanged` that break a bound.
        """
        self._gate.now_ms = now_ms
        self._wake_up()
        out: list[MembershipEffect] = []
        match event:
            case Started():
                self._on_started(out)
            case PeerUp():
                self._on_up(out, event.peer, event.address, outbound=event.outbound)
            case PeerDown():
                self._on_down(event.peer)
                self._watch(out, event.peer)
            case Received():
                self._on_received(out, event.peer, event.message)
            case TimerFired():
                self._on_timer(out, event.name)
            case Dialed():
                self._on_dialed(out, event.address, event.peer)
            case DialFailed():
                self._dialer.on_failed(now_ms, event.address)
                self._is_restless = True
            case AdmissionChanged():
                self._on_admission(out, event.nodes)
            case CapabilitiesChanged() | AddressesChanged():
                self._on_own_change(event)
            case AddBootstrap():
                self._on_bootstrap(out, event)
            case Leaving():
                self._on_leaving(out)
            case _:
                assert_never(event)
        self._go_on(out)
        return out

    def _go_on(self, out: list[MembershipEffect]) -> None:
        """After every event: what is new is to be passed on, who is missing to be dialed."""
        if self._home is not None and self._detector is not None:
            self._refute(out, self._home.exchange, self._detector)
            due_ms = self._detector.due_ms
            if due_ms != self._probe_due_ms:
                self._probe_due_ms = due_ms
                out.append(SetTimer(PROBE_TIMER, max(0, due_ms - self._gate.now_ms)))
        if self._home is not None and self._home.exchange.has_news and not self._is_spreading:
            self._is_spreading = True
            out.append(SetTimer(SPREAD_TIMER, self._timing.spread_ms))
        if self._is_restless and not self._is_dialing:
            self._is_restless = False
            if self._gate.now_ms - self._dialed_ms >= self._timing.spread_ms:
                self._dial(out)
            else:
                self._is_dialing = True
                out.append(SetTimer(DIAL_TIMER, self._timing.spread_ms))

    def _on_started(self, out: list[MembershipEffect]) -> None:
        self._take_introductions()
        if self._home is not None:
            out.append(self._home.exchange.own.renew(self._gate.now_ms))
            out.append(SetTimer(PULL_TIMER, self._timing.pull_ms))
        self._kept_ms = self._gate.now_ms
        out.append(SetTimer(BEAT_TIMER, self._timing.beat_ms))

    def _on_bootstrap(self, out: list[MembershipEffect], event: AddBootstrap) -> None:
        if event.invite is not None:
            fault: InviteFault | None = invite_fault(
                event.invite,
                verifier=self._verifier,
                now_ms=self._gate.now_ms,
                federation=self._handshake.federation,
            )
            if fault is not None:
                out.append(Notify(BootstrapRefused(fault.value)))
                return
        try:
            writes = self._gate.introductions.add(event.addresses, event.invite)
        except ValueError as error:
            out.append(Notify(BootstrapRefused(str(error))))
            return
        self._persist(out, writes)
        self._take_introductions()

    def _take_introductions(self) -> None:
        for address in self._gate.introductions.addresses:
            peer = None if self._home is None else self._home.exchange.table.found_at(address)
            self._dialer.add_bootstrap(self._gate.now_ms, address, peer)
        self._is_restless = True

    def _on_up(
        self, out: list[MembershipEffect], peer: NodeId, address: str, *, outbound: bool
    ) -> None:
        link = Link(address, outbound, self._gate.now_ms, self._gate.now_ms)
        self._links[peer] = link
        self._handshake.say_hello(out, peer, link)

    def _on_down(self, peer: NodeId) -> None:
        if self._links.pop(peer) is not None:
            self._gate.applicants.leave(peer)
            self._dialer.on_down(self._gate.now_ms, peer)
            if self._detector is not None:
                self._detector.lost(self._gate.now_ms, peer)
            self._is_restless = True

    def _on_dialed(self, out: list[MembershipEffect], address: str, peer: NodeId) -> None:
        self._dialer.on_dialed(address, peer)
        link = self._links.get(peer)
        if link is None or link.closing:
            return
        if link.outbound:
            link.dialed = address
        self._handshake.review(out, peer, link)

    def _on_leaving(self, out: list[MembershipEffect]) -> None:
        if self._home is None:
            return
        exchange = self._home.exchange
        self._persist(out, exchange.table.everything())
        friends = tuple(peer for peer, _ in exchange.friends())
        if friends:
            out.append(Broadcast(friends, Leave(exchange.own.signed.record.seq)))

    def _on_admission(self, out: list[MembershipEffect], nodes: tuple[NodeId, ...]) -> None:
        if self._home is None:
            return
        admitted = [node for node in nodes if self._gate.admitted(node) is not None]
        self._persist(
            out, tuple(write for node in admitted for write in self._gate.used_invites.settle(node))
        )
        for peer, link in self._links.open():
            self._handshake.review(out, peer, link)
        for node in admitted:
            self._gate.applicants.admit(node)
        exchange = self._home.exchange
        if any(node != self._gate.node and exchange.table.get(node) is None for node in admitted):
            out.extend(exchange.pull(_ASKED_AFTER_ADMISSION))
        for node in nodes:
            self._watch(out, node)
        self._is_restless = True

    def _on_own_change(self, event: CapabilitiesChanged | AddressesChanged) -> None:
        if self._home is None:
            return
        own = self._home.exchange.own
        if isinstance(event, AddressesChanged):
            is_new = own.change(addresses=event.addresses)
        else:
            is_new = own.change(capabilities=event.capabilities, load=event.load)
        if is_new:
            self._home.exchange.change_own()

    # Messages

    def _on_received(
        self, out: list[MembershipEffect], peer: NodeId, message: MembershipMessage
    ) -> None:
        link = self._links.get(peer)
        if link is None or link.closing:
            return
        link.heard_ms = self._gate.now_ms
        if self._home is not None:
            self._home.exchange.table.heard(self._gate.now_ms, peer)
        if self._detector is not None:
            self._detector.heard(peer)
        match message:
            case Hello():
                self._handshake.on_hello(out, peer, link, message)
            case Welcome():
                self._handshake.on_welcome(out, peer, link, message)
            case Ping():
                out.append(Send(peer, Pong(message.nonce, self._gate.now_ms)))
            case Pong():
                self._on_pong(peer, message)
            case Records() | FetchRecords() | Leave():
                self._on_members_message(out, peer, link, message)
            case ProbeFor() | Heeded() | Challenge() | Proof() | Rumours() | FetchVoices():
                self._on_members_message(out, peer, link, message)
            case _:
                assert_never(message)
        self._watch(out, peer)

    def _on_members_message(
        self,
        out: list[MembershipEffect],
        peer: NodeId,
        link: Link,
        message: Records | FetchRecords | Leave | DetectionMessage,
    ) -> None:
        if self._home is None or self._detector is None:
            out.append(Rejected(peer, "this node belongs to no federation yet"))
            return
        if not self._gate.is_member(peer):
            out.append(Rejected(peer, "it is not a member, and may only say hello and ping"))
            return
        exchange = self._home.exchange
        match message:
            case Records():
                out.extend(exchange.on_records(self._gate.now_ms, peer, link, message.records))
                for signed in message.records:
                    self._watch(out, NodeId(signed.record.node))
                self._is_restless = True
            case FetchRecords() if link.may_cost(_FETCH_ANSWERS):
                out.extend(exchange.on_fetch(peer, message))
            case FetchRecords():
                out.append(Rejected(peer, "it fetches too often"))
            case Leave():
                exchange.table.left(peer, message.seq)
            case ProbeFor() | Heeded() | Challenge() | Proof() | Rumours() | FetchVoices():
                now_ms = self._gate.now_ms
                out.extend(self._detector.on_message(now_ms, peer, message, link.may_check))
            case _:
                assert_never(message)

    def _on_pong(self, peer: NodeId, pong: Pong) -> None:
        sent_ms = self._pings.get(pong.nonce)
        if self._home is not None and sent_ms is not None:
            rtt_ms = max(0, self._gate.now_ms - sent_ms)
            offset_ms = pong.now_ms - (self._gate.now_ms - rtt_ms // 2)
            self._home.exchange.table.measured(peer, rtt_ms, offset_ms)

    # Time

    def _on_timer(self, out: list[MembershipEffect], name: str) -> None:
        if name == BEAT_TIMER:
            self._on_beat(out)
            out.append(SetTimer(BEAT_TIMER, self._timing.beat_ms))
        elif name == DIAL_TIMER:
            self._is_dialing, self._is_restless = False, False
            self._dial(out)
        elif self._home is None:
            return
        elif name == SPREAD_TIMER:
            self._is_spreading = False
            out.extend(self._home.exchange.spread(self._gate.now_ms))
        elif name == PROBE_TIMER:
            self._probe(out)
        elif name == PULL_TIMER:
            self._forget_outsiders(self._home.exchange.table)
            out.extend(self._home.exchange.pull(1))
            out.append(SetTimer(PULL_TIMER, self._timing.pull_ms))

    def _on_beat(self, out: list[MembershipEffect]) -> None:
        for peer, link in self._links.open():
            link.answers, link.checks = ANSWERS_A_BEAT, CHECKS_A_BEAT
            self._tend(out, peer, link)
        if self._home is not None:
            self._keep(out, self._home.exchange)
            for node, _ in self._home.exchange.table.rows():
                self._watch(out, node)
        self._is_restless = True

    def _wake_up(self) -> None:
        """If the node itself was asleep, the silence of others says nothing."""
        last_ms, self._turn_ms = self._turn_ms, self._gate.now_ms
        gap_ms = 0 if last_ms is None else self._gate.now_ms - last_ms
        if gap_ms > self._timing.asleep_ms and self._detector is not None:
            self._detector.forgive(self._gate.now_ms, gap_ms)

    def _probe(self, out: list[MembershipEffect]) -> None:
        if self._detector is None:
            return
        self._probe_due_ms = None
        effects: list[Effect] = self._detector.tick(self._gate.now_ms)
        for effect in effects:
            if isinstance(effect, Send) and isinstance(effect.message, Ping):
                self._pings[effect.message.nonce] = self._gate.now_ms
        while len(self._pings) > _MAX_PINGS:
            del self._pings[next(iter(self._pings))]
        out.extend(effects)
        if self._home is not None:
            for node, _ in self._home.exchange.table.rows():
                self._watch(out, node)

    def _refute(
        self, out: list[MembershipEffect], exchange: RecordExchange, detector: Detector
    ) -> None:
        """Somebody suspects us: raise our number, and say that we are there."""
        challenge = detector.challenge(self._gate.now_ms)
        if challenge is not None:
            exchange.own.go_above(challenge)
            out.append(exchange.own.renew(self._gate.now_ms))
            detector.refuted(self._gate.now_ms, exchange.own.signed.record.seq)

    def _tend(self, out: list[MembershipEffect], peer: NodeId, link: Link) -> None:
        """Say hello again, in case it or its answer was lost; drop who is frozen."""
        patience_ms = self._timing.hello_ms << min(link.hellos - 1, _HELLO_DOUBLINGS)
        is_settled = link.told is Standing.MEMBER or (link.told is not None and self._home is None)
        if not is_settled and self._gate.now_ms - link.hello_ms >= patience_ms:
            self._handshake.say_hello(out, peer, link)
        if self._home is None:
            return
        case = None if self._detector is None else self._detector.case(peer)
        if case is not None and case.own_ms is not None:
            silence_ms = self._gate.now_ms - max(case.own_ms, link.up_ms)
            if silence_ms >= self._timing.drop_ms:
                reason = f"nothing was heard of it for {silence_ms // 1000} s"
                self._handshake.part(out, peer, link, reason)
                return
        self._handshake.review(out, peer, link)

    def _keep(self, out: list[MembershipEffect], exchange: RecordExchange) -> None:
        """Write down what has changed, and now and then all times and a fresh record of ours."""
        writes = [
            *self._gate.used_invites.sweep(self._gate.now_ms),
            *self._gate.introductions.drop_invites(
                self._gate.now_ms, admitted=not self._gate.is_joining
            ),
        ]
        if self._gate.now_ms - self._kept_ms >= self._timing.refresh_ms:
            self._kept_ms = self._gate.now_ms
            exchange.change_own()
            writes.extend(exchange.table.everything())
        else:
            writes.extend(exchange.table.unsaved())
        self._persist(out, tuple(writes))

    def _forget_outsiders(self, table: PeerTable) -> None:
        """Who was believed to be a member while we joined, or has been removed."""
        if not self._gate.is_joining:
            table.forget(
                [
                    node
                    for node, peer in table.rows()
                    if not self._gate.is_let_in(node)
                    and self._gate.now_ms - peer.first_seen_ms >= self._timing.forget_ms
                ]
            )

    def _watch(self, out: list[MembershipEffect], node: NodeId) -> None:
        """Tell if a peer's status has changed."""
        if self._home is None:
            return
        table = self._home.exchange.table
        peer = table.get(node)
        if peer is None or not self._gate.counts(node):
            return
        if self._detector is not None:
            self._detector.renewed(node, peer.record.seq)
        before, peer.shown = peer.shown, self._liveness(node, peer)
        if before is not peer.shown:
            out.append(Notify(StatusChanged(node, peer.record.name, before, peer.shown)))

    def _dial(self, out: list[MembershipEffect]) -> None:
        """Every member is to be connected with every other."""
        self._dialed_ms = self._gate.now_ms
        known: list[NodeId] = []
        addresses_of: Callable[[NodeId], tuple[str, ...]] = _nowhere
        if self._home is not None:
            table = self._home.exchange.table
            addresses_of = table.addresses_of
            known = [
                node
                for node, peer in table.rows()
                if peer.left_seq is None and self._gate.counts(node)
            ]
        connected = self._links.peers()
        chosen = self._dialer.due(self._gate.now_ms, known, addresses_of, connected)
        out.extend(Dial(address) for address in chosen)

    # Small things

    def _liveness(self, node: NodeId, peer: Peer) -> Liveness:
        """Nobody is alive by hearsay: who was never heard is suspect at best."""
        if peer.left_seq is not None:
            return Liveness.LEFT
        if self._detector is not None and self._detector.is_dead(node):
            return Liveness.DEAD
        is_suspect = self._detector is not None and self._detector.is_suspect(node)
        return Liveness.SUSPECT if is_suspect or not peer.is_heard else Liveness.ALIVE

    def _entry(self, node: NodeId, peer: Peer, status: Liveness) -> PeerEntry:
        return PeerEntry(
            node_id=node,
            name=peer.record.name,
            addresses=peer.addresses(),
            capabilities=self._offered(peer),
            status=status,
            role=self._gate.admitted(node),
            last_seen_ms=peer.last_seen_ms,
            rtt_ms=peer.rtt_ms,
            load=peer.record.load,
            version=peer.record.version,
            connected=node in self._links,
            clock_offset_ms=peer.clock_offset_ms,
            found=tuple((one, peer.found_ms.get(one, 0)) for one in peer.reached),
        )

    def _offered(self, peer: Peer) -> tuple[Capability, ...]:
        """What it can do, as long as it has said so lately: a record is renewed twice a minute."""
        if peer.renewed_ms is None:
            return ()
        is_fresh = self._gate.now_ms - peer.renewed_ms < self._timing.capability_ms
        return peer.record.capabilities if is_fresh else ()

    def _persist(self, out: list[MembershipEffect], writes: tuple[Write, ...]) -> None:
        if writes:
            out.append(Persist(Store.PEERS, writes))


def _nowhere(_: NodeId) -> tuple[str, ...]:
    return ()
