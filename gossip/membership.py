"""Who is in the federation, where, and whether it is there: one core, `handle(now_ms, event)`.

On each new connection both sides say `Hello` and answer with `Welcome`, which tells the other what
it is here: a member or an applicant. Two that are members to each other fetch what each lacks of
the other's table, so that who joins knows everybody after one round trip. From then on
`record_exchange` passes on what is new and fetches what was missed. Every second all connected
members are pinged; silence makes a peer suspect, then dead. Who is known and not connected is
dialed (`dialer`).

Who is a member is for the ledger to say (`admitted`), with two exceptions that end with its word:
who shows an invite of ours is let in at once, and while the ledger does not know this node itself
as admitted, the peers that the user told us to join by are believed.

Without a genesis the core only looks for a federation: it asks where it was told to, and tells what
it found.

Failure detection is a timeout on what this node itself hears. Suspicions that members share and
refute will take the place of `_on_beat`, and a mesh of fewer connections that of `_dial`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from gossip.applicants import Applicants
from gossip.codec import DecodeError, Digest
from gossip.dialer import Dialer
from gossip.effects import (
    Broadcast,
    KeyValueReader,
    Notify,
    Persist,
    Rejected,
    Send,
    SetTimer,
    Store,
    Write,
)
from gossip.events import (
    AddBootstrap,
    AddressesChanged,
    AdmissionChanged,
    CapabilitiesChanged,
    Dial,
    Dialed,
    DialFailed,
    Disconnect,
    Leaving,
    MembershipEffect,
    MembershipEvent,
    PeerDown,
    PeerUp,
    Received,
    Started,
    TimerFired,
)
from gossip.identity import NodeId, Signer, Verifier
from gossip.introductions import Introductions
from gossip.invites import InviteFault, invite_fault
from gossip.links import ANSWERS_A_BEAT, CHECKS_A_BEAT, Link, Links
from gossip.messages import (
    FetchRecords,
    Hello,
    Leave,
    MembershipMessage,
    Ping,
    Pong,
    Records,
    Standing,
    Welcome,
    federation_of,
)
from gossip.notices import (
    Applicant,
    ApplicantArrived,
    BootstrapRefused,
    FederationFound,
    InvitePresented,
    Liveness,
    PeerEntry,
    StandingChanged,
    StatusChanged,
    WrongFederation,
)
from gossip.own_record import OwnRecord, Profile
from gossip.peer_table import Patience, Peer, PeerTable
from gossip.record_exchange import RecordExchange
from gossip.records import SignedRecord
from gossip.used_invites import UsedInvites

__all__ = ["Membership", "Profile", "Timing"]

BEAT_TIMER = "membership/beat"
PULL_TIMER = "membership/pull"
SPREAD_TIMER = "membership/spread"

_MAX_HELLOS = 5
_MAX_PINGS = 8
_ASKED_AFTER_ADMISSION = 3
_FETCH_ANSWERS = 4
_LAST_NONCE = 2**63 - 1
_WAITING = "the node waits to be let in: a member does that with `bizra-node admit`"


@dataclass(frozen=True, slots=True)
class Timing:
    """How long things may take, in milliseconds."""

    beat_ms: int = 1_000
    hello_ms: int = 2_000
    suspect_ms: int = 2_500
    dead_ms: int = 5_000
    drop_ms: int = 15_000
    refresh_ms: int = 30_000
    pull_ms: int = 10_000
    spread_ms: int = 50
    forget_ms: int = 60_000


@dataclass(frozen=True, slots=True)
class _Home:
    """What there is once there is a federation."""

    genesis: bytes
    federation: Digest
    exchange: RecordExchange


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
        admitted: Callable[[NodeId], str | None],
        store: KeyValueReader,
        jitter: Callable[[], float],
        nonce: int,
        timing: Timing | None = None,
    ) -> None:
        self._node = NodeId(signer.public)
        self._verifier = verifier
        self._admitted = admitted
        self._timing = timing or Timing()
        self._nonce = nonce % _LAST_NONCE
        self._now_ms = 0
        self._beat_ms: int | None = None
        self._kept_ms = 0
        self._pings: dict[int, int] = {}
        self._spreading = False
        self._restless = False
        self._found: Digest | None = None
        self._links = Links()
        self._dialer = Dialer(self._node, jitter)
        self._applicants = Applicants()
        self._used_invites = UsedInvites(store)
        self._introductions = Introductions(store)
        self._home = None if genesis is None else self._settle_down(genesis, profile, signer, store)

    def _settle_down(
        self, genesis: bytes, profile: Profile, signer: Signer, store: KeyValueReader
    ) -> _Home:
        federation = federation_of(genesis)
        patience = Patience(self._timing.suspect_ms, self._timing.dead_ms)
        exchange = RecordExchange(
            OwnRecord(profile, signer, federation, store),
            PeerTable.load(store, federation, patience),
            self._links,
            federation=federation,
            verifier=self._verifier,
            counts=self._counts,
            is_member=self.is_member,
        )
        return _Home(genesis, federation, exchange)

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
        """Whether this peer may use what only members may use.

        So may who is admitted by the ledger, who showed an invite of ours, and, while our own
        ledger does not know us as admitted, the peers that we were told to join by.
        """
        if self._home is None:
            link = self._links.get(peer)
            return peer in self._dialer.hosts or (link is not None and link.outbound)
        return self._is_let_in(peer) or (self._is_joining and peer in self._dialer.hosts)

    def table(self) -> tuple[PeerEntry, ...]:
        """All other members that we know, in the order of their ids.

        While our own ledger does not know us as admitted: all that the peers we joined by know.
        """
        if self._home is None:
            return ()
        table = self._home.exchange.table
        return tuple(
            self._entry(node, peer, table.liveness(self._now_ms, peer))
            for node, peer in table.rows()
            if self._counts(node)
        )

    def applicants(self) -> tuple[Applicant, ...]:
        """Who waits to be let in, oldest first."""
        return self._applicants.listed()

    def candidates(self, capability: str) -> tuple[PeerEntry, ...]:
        """Alive, connected, admitted nodes that have it.

        Best first: one with a free slot, then the least loaded, the cheapest, the nearest.
        """
        ranked = []
        for entry in self.table():
            offers = [offer for offer in entry.capabilities if offer.name == capability]
            is_there = entry.connected and entry.status is Liveness.ALIVE
            if offers and is_there and entry.role is not None:
                best = min((offer.free_slots == 0, offer.price) for offer in offers)
                rtt_ms = self._timing.dead_ms if entry.rtt_ms is None else entry.rtt_ms
                ranked.append((best[0], entry.load, best[1], rtt_ms, entry.node_id, entry))
        return tuple(rank[-1] for rank in sorted(ranked, key=lambda rank: rank[:-1]))

    def check_invariants(self) -> None:
        """Assert what must always hold; a failure is a bug."""
        self._dialer.check_invariants()
        self._applicants.check_invariants()
        self._used_invites.check_invariants()
        assert len(self._pings) <= _MAX_PINGS
        for peer, link in self._links.open():
            assert peer != self._node
            assert 0 <= link.answers <= ANSWERS_A_BEAT
            assert 0 <= link.checks <= CHECKS_A_BEAT
        if self._home is not None:
            own, table = self._home.exchange.own, self._home.exchange.table
            table.check_invariants()
            assert table.get(self._node) is None
            assert own.signed.record.federation == self._home.federation

    # What it is told

    def handle(self, now_ms: int, event: MembershipEvent) -> list[MembershipEffect]:
        """Take one event; the effects are carried out in order. `now_ms` never goes back.

        Raises `RecordError` for `CapabilitiesChanged` and `AddressesChanged` that break a bound.
        """
        self._now_ms = now_ms
        out: list[MembershipEffect] = []
        match event:
            case Started():
                self._on_started(out)
            case PeerUp():
                self._on_up(out, event.peer, event.address, outbound=event.outbound)
            case PeerDown():
                self._on_down(event.peer)
            case Received():
                self._on_received(out, event.peer, event.message)
            case TimerFired():
                self._on_timer(out, event.name)
            case Dialed():
                self._on_dialed(out, event.address, event.peer)
            case DialFailed():
                self._dialer.on_failed(now_ms, event.address)
                self._restless = True
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
        if self._home is not None and self._home.exchange.has_news and not self._spreading:
            self._spreading = True
            out.append(SetTimer(SPREAD_TIMER, self._timing.spread_ms))
        if self._restless:
            self._restless = False
            self._dial(out)

    def _on_started(self, out: list[MembershipEffect]) -> None:
        for address in self._introductions.addresses:
            self._dialer.add_bootstrap(self._now_ms, address)
        if self._home is not None:
            out.append(self._home.exchange.own.renew(self._now_ms))
            out.append(SetTimer(PULL_TIMER, self._timing.pull_ms))
        self._kept_ms = self._now_ms
        out.append(SetTimer(BEAT_TIMER, self._timing.beat_ms))
        self._restless = True

    def _on_bootstrap(self, out: list[MembershipEffect], event: AddBootstrap) -> None:
        if event.invite is not None:
            fault: InviteFault | None = invite_fault(
                event.invite,
                verifier=self._verifier,
                now_ms=self._now_ms,
                federation=self.federation or self._found or self._introductions.federation(),
            )
            if fault is not None:
                out.append(Notify(BootstrapRefused(fault.value)))
                return
        try:
            writes = self._introductions.add(event.addresses, event.invite)
        except DecodeError as error:
            out.append(Notify(BootstrapRefused(f"not an address to join by: {error}")))
            return
        self._persist(out, writes)
        for address in self._introductions.addresses:
            self._dialer.add_bootstrap(self._now_ms, address)
        self._restless = True

    def _on_up(
        self, out: list[MembershipEffect], peer: NodeId, address: str, *, outbound: bool
    ) -> None:
        link = Link(address, outbound, self._now_ms)
        self._links[peer] = link
        self._say_hello(out, peer, link)

    def _on_down(self, peer: NodeId) -> None:
        if self._links.pop(peer) is not None:
            self._applicants.leave(peer)
            self._dialer.on_down(self._now_ms, peer)
            self._restless = True

    def _on_dialed(self, out: list[MembershipEffect], address: str, peer: NodeId) -> None:
        self._dialer.on_dialed(address, peer)
        link = self._links.get(peer)
        if link is None or link.closing:
            return
        if link.outbound:
            link.dialed = address
        if link.greeted:
            self._greeted(out, peer, link)

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
        admitted = [node for node in nodes if self._admitted(node) is not None]
        self._persist(
            out, tuple(write for node in admitted for write in self._used_invites.settle(node))
        )
        for peer, link in self._links.open():
            self._review(out, self._home, peer, link)
        for node in admitted:
            self._applicants.admit(node)
        exchange = self._home.exchange
        if any(node != self._node and exchange.table.get(node) is None for node in admitted):
            out.extend(exchange.pull(_ASKED_AFTER_ADMISSION))
        for node in nodes:
            self._watch(out, node)
        self._restless = True

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
        link.heard_ms = self._now_ms
        if self._home is not None:
            self._home.exchange.table.heard(self._now_ms, peer)
        match message:
            case Hello():
                self._on_hello(out, peer, link, message)
            case Welcome():
                self._on_welcome(out, peer, link, message)
            case Ping():
                out.append(Send(peer, Pong(message.nonce, self._now_ms)))
            case Pong():
                self._on_pong(peer, message)
            case Records() | FetchRecords() | Leave():
                self._on_members_message(out, peer, link, message)
            case _:
                assert_never(message)
        self._watch(out, peer)

    def _on_members_message(
        self,
        out: list[MembershipEffect],
        peer: NodeId,
        link: Link,
        message: Records | FetchRecords | Leave,
    ) -> None:
        if self._home is None:
            out.append(Rejected(peer, "this node belongs to no federation yet"))
            return
        if not self.is_member(peer):
            out.append(Rejected(peer, "it is not a member, and may only say hello and ping"))
            return
        exchange = self._home.exchange
        match message:
            case Records():
                out.extend(exchange.on_records(self._now_ms, peer, link, message.records))
                for signed in message.records:
                    self._watch(out, NodeId(signed.record.node))
                self._restless = True
            case FetchRecords() if link.may_cost(_FETCH_ANSWERS):
                out.extend(exchange.on_fetch(peer, message))
            case FetchRecords():
                out.append(Rejected(peer, "it fetches too often"))
            case Leave():
                exchange.table.left(peer, message.seq)
            case _:
                assert_never(message)

    def _on_hello(
        self, out: list[MembershipEffect], peer: NodeId, link: Link, hello: Hello
    ) -> None:
        if not link.may_cost(1):
            out.append(Rejected(peer, "it says hello too often"))
            return
        home = self._home
        if home is None:
            if hello.federation is None:
                self._part(out, peer, link, "neither side belongs to a federation yet")
            return
        if hello.federation is not None:
            if hello.federation != home.federation:
                self._part_as_foreign(out, peer, link, Digest(hello.federation), home.federation)
                return
            fault = home.exchange.identity_fault(peer, hello.record)
            if fault is not None:
                out.append(Rejected(peer, fault))
                return
            link.signed = hello.record
        link.their_nonce = hello.nonce
        reason = self._look_at_invite(out, peer, link, hello)
        self._welcome(out, home, peer, link, reason, with_genesis=hello.federation is None)
        self._greeted(out, peer, link)

    def _look_at_invite(
        self, out: list[MembershipEffect], peer: NodeId, link: Link, hello: Hello
    ) -> str:
        """Let the peer in if it shows an invite of ours; why not, if it is not in."""
        if self._admitted(peer) is not None:
            return ""
        reason = _WAITING
        if hello.invite is not None:
            fault = invite_fault(
                hello.invite,
                verifier=self._verifier,
                now_ms=self._now_ms,
                federation=self.federation,
            )
            if fault is not None:
                reason = fault.value
            elif hello.invite.issuer != self._node:
                reason = f"this invite must be shown to its issuer, {hello.invite.issuer.hex()}"
            else:
                answer = self._used_invites.present(self._now_ms, peer, hello.invite)
                if isinstance(answer, str):
                    reason = answer
                else:
                    self._persist(out, answer)
        invite_id = self._used_invites.invite_of(self._now_ms, peer)
        if invite_id is not None and link.said is not Standing.MEMBER:
            out.append(Notify(InvitePresented(peer, invite_id, link.signed)))
        return reason

    def _on_welcome(
        self, out: list[MembershipEffect], peer: NodeId, link: Link, welcome: Welcome
    ) -> None:
        if welcome.nonce != link.nonce or not link.may_cost(1):
            out.append(Rejected(peer, "its welcome answers no hello of ours, or comes too often"))
            return
        if self._home is None:
            self._on_federation(out, peer, link, welcome)
            return
        if welcome.federation != self._home.federation:
            theirs = Digest(welcome.federation)
            self._part_as_foreign(out, peer, link, theirs, self._home.federation)
            return
        fault = self._home.exchange.identity_fault(peer, welcome.record)
        if fault is not None:
            out.append(Rejected(peer, fault))
            return
        link.signed = welcome.record
        if link.told is not welcome.standing:
            link.told = welcome.standing
            if self._is_joining:
                out.append(Notify(StandingChanged(peer, welcome.standing, welcome.reason)))
        self._greeted(out, peer, link)

    def _on_federation(
        self, out: list[MembershipEffect], peer: NodeId, link: Link, welcome: Welcome
    ) -> None:
        """Somebody answers us who have no federation yet."""
        theirs = Digest(welcome.federation)
        expected = self._introductions.federation() or self._found
        if not self.is_member(peer):
            out.append(Rejected(peer, "nobody told this node to join by it"))
        elif welcome.genesis is None or federation_of(welcome.genesis) != theirs:
            self._part(out, peer, link, "its genesis is not that of the federation that it names")
        elif expected is not None and theirs != expected:
            self._part_as_foreign(out, peer, link, theirs, expected)
        elif link.told is not welcome.standing:
            self._found = theirs
            link.told = welcome.standing
            self._dialer.on_good(peer)
            found = FederationFound(welcome.genesis, theirs, peer, welcome.standing, welcome.reason)
            out.append(Notify(found))

    def _on_pong(self, peer: NodeId, pong: Pong) -> None:
        sent_ms = self._pings.get(pong.nonce)
        if self._home is not None and sent_ms is not None:
            rtt_ms = max(0, self._now_ms - sent_ms)
            offset_ms = pong.now_ms - (self._now_ms - rtt_ms // 2)
            self._home.exchange.table.measured(peer, rtt_ms, offset_ms)

    # Standing

    @property
    def _is_joining(self) -> bool:
        return self._admitted(self._node) is None

    def _is_let_in(self, node: NodeId) -> bool:
        """What a member may conclude by itself: the ledger says so, or an invite of ours."""
        invite = self._used_invites.invite_of
        return self._admitted(node) is not None or invite(self._now_ms, node) is not None

    def _counts(self, node: NodeId) -> bool:
        """Whether a node belongs into the table: while joining we can't tell, and believe."""
        return node != self._node and (self._is_joining or self._is_let_in(node))

    def _say_hello(self, out: list[MembershipEffect], peer: NodeId, link: Link) -> None:
        own = self.own_record
        link.nonce, link.hello_ms, link.hellos = (
            self._next_nonce(),
            self._now_ms,
            link.hellos + 1,
        )
        if own is not None:
            link.shown_seq = own.record.seq
        invite = self._introductions.invite_by(peer)
        out.append(Send(peer, Hello(self.federation, own, invite, link.nonce)))

    def _welcome(
        self,
        out: list[MembershipEffect],
        home: _Home,
        peer: NodeId,
        link: Link,
        reason: str,
        *,
        with_genesis: bool,
    ) -> None:
        """Tell a peer what it is here."""
        own = home.exchange.own.signed
        link.shown_seq = own.record.seq
        if self.is_member(peer):
            link.said, reason = Standing.MEMBER, ""
            self._applicants.admit(peer)
        else:
            link.said = Standing.APPLICANT
            if self._is_joining:
                reason = "this node is not a member itself: ask another one"
            else:
                self._list_applicant(out, peer, link)
        genesis = home.genesis if with_genesis else None
        welcome = Welcome(home.federation, genesis, own, link.said, reason, link.their_nonce)
        out.append(Send(peer, welcome))

    def _list_applicant(self, out: list[MembershipEffect], peer: NodeId, link: Link) -> None:
        arrived = self._applicants.arrive(self._now_ms, peer, link.signed, link.address)
        if arrived is not None:
            out.append(Notify(ApplicantArrived(arrived)))

    def _review(self, out: list[MembershipEffect], home: _Home, peer: NodeId, link: Link) -> None:
        """What a peer is here may have changed: tell it, and act on it."""
        standing = Standing.MEMBER if self.is_member(peer) else Standing.APPLICANT
        if link.said is not None and link.said is not standing:
            reason = "the node is not a member any more"
            self._welcome(out, home, peer, link, reason, with_genesis=False)
        if link.greeted:
            self._greeted(out, peer, link)

    def _greeted(self, out: list[MembershipEffect], peer: NodeId, link: Link) -> None:
        """A peer has turned out to be of our federation, or more has become known of it."""
        assert self._home is not None
        exchange = self._home.exchange
        link.greeted = True
        self._dialer.on_good(peer)
        if link.signed is not None:
            exchange.take(self._now_ms, link.signed, peer)
        exchange.table.heard(link.heard_ms, peer)
        exchange.table.returned(peer)
        if link.dialed is not None:
            exchange.table.reached(peer, link.dialed)
        out.extend(exchange.befriend(peer, link))

    def _part(self, out: list[MembershipEffect], peer: NodeId, link: Link, reason: str) -> None:
        link.closing = True
        self._dialer.on_bad(self._now_ms, peer)
        out.append(Disconnect(peer, reason))

    def _part_as_foreign(
        self, out: list[MembershipEffect], peer: NodeId, link: Link, theirs: Digest, ours: Digest
    ) -> None:
        out.append(Notify(WrongFederation(peer, link.address, theirs, ours)))
        reason = f"it belongs to federation {theirs.hex()}, and this node is for {ours.hex()}"
        self._part(out, peer, link, reason)

    # Time

    def _on_timer(self, out: list[MembershipEffect], name: str) -> None:
        if name == BEAT_TIMER:
            self._on_beat(out)
            out.append(SetTimer(BEAT_TIMER, self._timing.beat_ms))
        elif self._home is None:
            return
        elif name == SPREAD_TIMER:
            self._spreading = False
            out.extend(self._home.exchange.spread(self._now_ms))
        elif name == PULL_TIMER:
            self._forget_outsiders(self._home.exchange.table)
            out.extend(self._home.exchange.pull(1))
            out.append(SetTimer(PULL_TIMER, self._timing.pull_ms))

    def _on_beat(self, out: list[MembershipEffect]) -> None:
        last_ms, self._beat_ms = self._beat_ms, self._now_ms
        if last_ms is not None and self._now_ms - last_ms > self._timing.suspect_ms:
            self._forgive(self._now_ms - last_ms - self._timing.beat_ms)
        for peer, link in self._links.open():
            link.answers, link.checks = ANSWERS_A_BEAT, CHECKS_A_BEAT
            self._tend(out, peer, link)
        if self._home is not None:
            self._ping(out)
            self._keep(out, self._home.exchange)
            for node, _ in self._home.exchange.table.rows():
                self._watch(out, node)
        self._restless = True

    def _forgive(self, gap_ms: int) -> None:
        """The node itself was asleep, so the silence of others says nothing."""
        for _, link in self._links.open():
            link.heard_ms += gap_ms
        if self._home is not None:
            self._home.exchange.table.forgive(gap_ms)

    def _tend(self, out: list[MembershipEffect], peer: NodeId, link: Link) -> None:
        """Say hello again if the first was lost; drop who is frozen, so that it can come back."""
        unanswered = link.told is None and link.hellos < _MAX_HELLOS
        if unanswered and self._now_ms - link.hello_ms >= self._timing.hello_ms:
            self._say_hello(out, peer, link)
        if self._home is None:
            return
        silence_ms = self._now_ms - link.heard_ms
        if self.is_member(peer) and silence_ms >= self._timing.drop_ms:
            self._part(out, peer, link, f"nothing was heard of it for {silence_ms // 1000} s")
            return
        self._review(out, self._home, peer, link)

    def _ping(self, out: list[MembershipEffect]) -> None:
        members = tuple(peer for peer, _ in self._links.open() if self.is_member(peer))
        if not members:
            return
        nonce = self._next_nonce()
        self._pings[nonce] = self._now_ms
        if len(self._pings) > _MAX_PINGS:
            del self._pings[next(iter(self._pings))]
        out.append(Broadcast(members, Ping(nonce)))

    def _keep(self, out: list[MembershipEffect], exchange: RecordExchange) -> None:
        """Write down what has changed, and now and then all times and a fresh record of ours."""
        writes = [
            *self._used_invites.sweep(self._now_ms),
            *self._introductions.drop_invites(self._now_ms, admitted=not self._is_joining),
        ]
        if self._now_ms - self._kept_ms >= self._timing.refresh_ms:
            self._kept_ms = self._now_ms
            exchange.change_own()
            writes.extend(exchange.table.everything())
        else:
            writes.extend(exchange.table.unsaved())
        self._persist(out, tuple(writes))

    def _forget_outsiders(self, table: PeerTable) -> None:
        """Who was believed to be a member while we joined, or has been removed."""
        if not self._is_joining:
            table.forget(
                [
                    node
                    for node, peer in table.rows()
                    if not self._is_let_in(node)
                    and self._now_ms - peer.first_seen_ms >= self._timing.forget_ms
                ]
            )

    def _watch(self, out: list[MembershipEffect], node: NodeId) -> None:
        """Tell if a peer's status has changed."""
        if self._home is None:
            return
        table = self._home.exchange.table
        peer = table.get(node)
        if peer is None or not self._counts(node):
            return
        before, peer.shown = peer.shown, table.liveness(self._now_ms, peer)
        if before is not peer.shown:
            out.append(Notify(StatusChanged(node, peer.record.name, before, peer.shown)))

    def _dial(self, out: list[MembershipEffect]) -> None:
        """Every member is to be connected with every other."""
        known: dict[NodeId, tuple[str, ...]] = {}
        if self._home is not None:
            known = {
                node: peer.addresses()
                for node, peer in self._home.exchange.table.rows()
                if peer.left_seq is None and self._counts(node)
            }
        chosen = self._dialer.due(self._now_ms, known, self._links.peers())
        out.extend(Dial(address) for address in chosen)

    # Small things

    def _entry(self, node: NodeId, peer: Peer, status: Liveness) -> PeerEntry:
        return PeerEntry(
            node_id=node,
            name=peer.record.name,
            addresses=peer.addresses(),
            capabilities=peer.record.capabilities,
            status=status,
            role=self._admitted(node),
            last_seen_ms=peer.last_seen_ms,
            rtt_ms=peer.rtt_ms,
            load=peer.record.load,
            version=peer.record.version,
            connected=node in self._links,
            clock_offset_ms=peer.clock_offset_ms,
        )

    def _persist(self, out: list[MembershipEffect], writes: tuple[Write, ...]) -> None:
        if writes:
            out.append(Persist(Store.PEERS, writes))

    def _next_nonce(self) -> int:
        self._nonce = (self._nonce + 1) % _LAST_NONCE
        return self._nonce
