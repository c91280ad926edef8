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
from itertools import count
from typing import assert_never

from gossip.codec import Digest
from gossip.effects import KeyValueReader, Notify, Persist, Rejected, Send, SetTimer, Store, Write
from gossip.identity import NodeId, Signer, Verifier
from gossip.membership.candidates import candidates
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
    Needed,
    PeerDown,
    PeerUp,
    Received,
    Started,
    TimerFired,
)
from gossip.membership.federated import PROBE_TIMER, PULL_TIMER, SPREAD_TIMER, Federated
from gossip.membership.gate import Admitted, Gate
from gossip.membership.handshake import Handshake, Home
from gossip.membership.invites import InviteFault, invite_fault
from gossip.membership.links import Link
from gossip.membership.mesh import Mesh, MeshHabits
from gossip.membership.messages import (
    Challenge,
    FetchDeaths,
    FetchRecords,
    FetchRecordsOf,
    FetchSince,
    Heeded,
    Hello,
    Leave,
    MembershipMessage,
    NamesDiffer,
    Ping,
    Pong,
    ProbeFor,
    Proof,
    Records,
    Rumours,
    Spare,
    Welcome,
    federation_of,
)
from gossip.membership.notices import Applicant, BootstrapRefused, PeerEntry
from gossip.membership.own_record import OwnRecord, Profile
from gossip.membership.peer_table import PeerTable
from gossip.membership.record_exchange import RecordExchange
from gossip.membership.records import PeerRecord, SignedRecord
from gossip.membership.suspicions import Statements
from gossip.membership.timing import Timing
from gossip.membership.upkeep import tend_strangers
from gossip.membership.voices import FetchVoices, Voices

__all__ = ["PROBE_TIMER", "PULL_TIMER", "SPREAD_TIMER", "Membership", "Profile", "Timing"]

BEAT_TIMER = "membership/beat"
DIAL_TIMER = "membership/dial"

_ASKED_AFTER_ADMISSION = 3
_NONCES = 2**62


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
        mesh: MeshHabits | None = None,
    ) -> None:
        self._verifier = verifier
        self._timing = timing or Timing()
        self._turn_ms: int | None = None
        self._is_restless = False
        self._is_dialing = False
        self._dialed_ms = 0
        node, has_home = NodeId(signer.public), genesis is not None
        self._gate = Gate(node, admitted, store, jitter, has_home=has_home)
        self._links, self._dialer = self._gate.links, self._gate.dialer
        nonces = count(nonce % _NONCES)
        self._home = None if genesis is None else self._settle_down(genesis, profile, signer, store)
        self._handshake = Handshake(self._gate, self._home, verifier, nonces)
        self._inside: Federated | None = None
        if self._home is not None:
            self._inside = Federated(
                self._home,
                self._gate,
                self._handshake,
                Statements(self._home.federation, signer, verifier),
                jitter=jitter,
                nonces=nonces,
                timing=self._timing,
                mesh=Mesh(
                    self._gate, self._home.exchange.table, signer, self._home.federation, mesh
                ),
            )

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
        return () if self._inside is None else self._inside.outlook.table()

    def record_of(self, node: NodeId) -> PeerRecord | None:
        """What a member or an applicant last said of itself."""
        known = None if self._home is None else self._home.exchange.table.get(node)
        return self._gate.applicants.record_of(node) if known is None else known.record

    def wants(self, node: NodeId) -> bool:
        """Whether a connection with this member is to be kept now: in a large federation not with each."""
        return self._inside is None or node in self._inside.mesh.wanted()

    @property
    def is_partial(self) -> bool:
        """Whether the members are too many for each to be connected with every other."""
        return self._inside is not None and self._inside.mesh.is_partial()

    def is_there(self, node: NodeId) -> bool:
        """Whether it is connected, or (in a partial mesh) known to be alive and dialed when it is needed."""
        return node in self._links or (
            self._inside is not None and self._inside.outlook.is_there(node)
        )

    def applicants(self) -> tuple[Applicant, ...]:
        """Who waits to be let in, oldest first."""
        return self._gate.applicants.listed()

    def candidates(self, capability: str) -> tuple[PeerEntry, ...]:
        """Alive, admitted nodes in reach that have it, best first."""
        return candidates(self.table(), capability)

    def check_invariants(self) -> None:
        """Assert what must always hold; a failure is a bug."""
        self._gate.check_invariants()
        if self._home is not None:
            assert self._home.exchange.own.signed.record.federation == self._home.federation
        if self._inside is not None:
            self._inside.check_invariants()

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
                self._on_down(out, event.peer)
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
            case AddBootstrap() | Needed():
                self._on_wish(out, event)
            case Leaving():
                self._on_leaving(out)
            case _:
                assert_never(event)
        self._go_on(out)
        return out

    def _go_on(self, out: list[MembershipEffect]) -> None:
        """After every event: what is new is to be passed on, who is missing to be dialed."""
        if self._inside is not None:
            self._inside.go_on(out)
        if self._is_restless and not self._is_dialing:
            self._is_restless = False
            if self._gate.now_ms - self._dialed_ms >= self._timing.spread_ms:
                self._dial(out)
            else:
                self._is_dialing = True
                out.append(SetTimer(DIAL_TIMER, self._timing.spread_ms))

    def _on_started(self, out: list[MembershipEffect]) -> None:
        self._take_introductions()
        if self._inside is not None:
            self._inside.on_started(out)
        out.append(SetTimer(BEAT_TIMER, self._timing.beat_ms))

    def _on_wish(self, out: list[MembershipEffect], event: AddBootstrap | Needed) -> None:
        if isinstance(event, AddBootstrap):
            self._on_bootstrap(out, event)
        elif self._inside is not None:
            self._inside.mesh.need(event.node)
            self._is_restless = True

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

    def _on_down(self, out: list[MembershipEffect], peer: NodeId) -> None:
        link = self._links.pop(peer)
        if link is not None:
            self._gate.applicants.leave(peer)
            self._dialer.on_down(self._gate.now_ms, peer)
            if self._inside is not None:
                self._inside.on_lost(peer, link)
            self._is_restless = True
        self._watch(out, peer)

    def _on_dialed(self, out: list[MembershipEffect], address: str, peer: NodeId) -> None:
        self._dialer.on_dialed(address, peer)
        link = self._links.get(peer)
        if link is None or link.closing:
            return
        if link.outbound:
            link.dialed = address
        self._handshake.review(out, peer, link)

    def _on_leaving(self, out: list[MembershipEffect]) -> None:
        if self._inside is not None:
            self._persist(out, self._inside.exchange.table.everything())
            self._inside.farewell(out)

    def _on_admission(self, out: list[MembershipEffect], nodes: tuple[NodeId, ...]) -> None:
        if self._home is None or self._inside is None:
            return
        self._inside.mesh.review()
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
        if self._inside is not None:
            self._inside.on_own_change(event)

    # Messages

    def _on_received(
        self, out: list[MembershipEffect], peer: NodeId, message: MembershipMessage
    ) -> None:
        link = self._links.get(peer)
        if link is None or link.closing:
            return
        link.heard_ms = self._gate.now_ms
        if self._inside is not None:
            self._inside.on_heard(peer)
        match message:
            case Hello():
                self._handshake.on_hello(out, peer, link, message)
            case Welcome():
                self._handshake.on_welcome(out, peer, link, message)
            case Ping():
                dead = 0 if self._inside is None else self._inside.dead_count(peer)
                out.append(Send(peer, Pong(message.nonce, self._gate.now_ms, dead)))
            case Pong():
                if self._inside is not None:
                    self._inside.on_pong(out, peer, message)
            case (
                Records()
                | FetchRecords()
                | FetchSince()
                | NamesDiffer()
                | FetchRecordsOf()
                | Leave()
                | Spare()
                | ProbeFor()
                | Heeded()
                | Challenge()
                | Proof()
                | Rumours()
                | FetchVoices()
                | Voices()
                | FetchDeaths()
            ):
                if self._inside is None:
                    out.append(Rejected(peer, "this node belongs to no federation yet"))
                elif not self._gate.is_member(peer):
                    out.append(
                        Rejected(peer, "it is not a member, and may only say hello and ping")
                    )
                else:
                    self._inside.on_message(out, peer, link, message)
                    self._is_restless |= isinstance(message, Records)
            case _:
                assert_never(message)
        self._watch(out, peer)

    # Time

    def _on_timer(self, out: list[MembershipEffect], name: str) -> None:
        if name == BEAT_TIMER:
            if self._inside is None:
                tend_strangers(out, self._gate, self._handshake, self._timing)
            else:
                self._inside.on_beat(out)
            self._is_restless = True
            out.append(SetTimer(BEAT_TIMER, self._timing.beat_ms))
        elif name == DIAL_TIMER:
            self._is_dialing, self._is_restless = False, False
            self._dial(out)
        elif self._inside is not None:
            self._inside.on_timer(out, name)
            self._is_restless |= self._inside.is_seeking

    def _wake_up(self) -> None:
        """If the node itself was asleep, the silence of others says nothing."""
        last_ms, self._turn_ms = self._turn_ms, self._gate.now_ms
        gap_ms = 0 if last_ms is None else self._gate.now_ms - last_ms
        if gap_ms > self._timing.asleep_ms and self._inside is not None:
            self._inside.on_awake(gap_ms)

    def _dial(self, out: list[MembershipEffect]) -> None:
        """Who is to be connected and is not."""
        self._dialed_ms = self._gate.now_ms
        known: list[NodeId] = []
        members: frozenset[NodeId] = frozenset()
        addresses_of: Callable[[NodeId], tuple[str, ...]] = _nowhere
        if self._inside is not None:
            mesh = self._inside.mesh
            known, members = mesh.wanted(), mesh.known()
            addresses_of = self._inside.exchange.table.addresses_of
            self._dialer.is_prompt = mesh.is_partial()
        connected = self._links.peers()
        chosen = self._dialer.due(self._gate.now_ms, known, addresses_of, connected, members)
        out.extend(Dial(address) for address in chosen)

    # Small things

    def _watch(self, out: list[MembershipEffect], node: NodeId) -> None:
        if self._inside is not None:
            self._inside.outlook.watch(out, node)

    def _persist(self, out: list[MembershipEffect], writes: tuple[Write, ...]) -> None:
        if writes:
            out.append(Persist(Store.PEERS, writes))


def _nowhere(_: NodeId) -> tuple[str, ...]:
    return ()
