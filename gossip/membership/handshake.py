"""The first words on a connection, and what they make of the peer: member, applicant, or none.

Both sides say `Hello`, each answers with `Welcome`. A hello without a federation is answered with
the genesis; a welcome of another federation ends the connection on both sides. `Welcome` is sent
again when the standing changes, so an applicant learns at once that it was let in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gossip.codec import Digest
from gossip.effects import Notify, Persist, Rejected, Send, Store
from gossip.identity import NodeId, Verifier
from gossip.membership.events import Disconnect, MembershipEffect
from gossip.membership.gate import Gate
from gossip.membership.invites import Invite, invite_fault
from gossip.membership.links import Link
from gossip.membership.messages import Hello, Records, Standing, Welcome, federation_of
from gossip.membership.notices import (
    ApplicantArrived,
    FederationFound,
    InvitePresented,
    StandingChanged,
    WrongFederation,
)
from gossip.membership.peer_table import News
from gossip.membership.record_exchange import RecordExchange

_WAITING = "the node waits to be let in: a member does that with `bizra-node admit`"
_REMOVED = "the node is not a member any more"


@dataclass(frozen=True, slots=True)
class Home:
    """What there is once there is a federation."""

    genesis: bytes
    federation: Digest
    exchange: RecordExchange


class Handshake:
    """Hello and welcome of one node; `home` is None while it looks for a federation."""

    def __init__(
        self, gate: Gate, home: Home | None, verifier: Verifier, nonces: Iterator[int]
    ) -> None:
        self._gate = gate
        self._home = home
        self._verifier = verifier
        self._nonces = nonces
        self._found: Digest | None = None

    @property
    def federation(self) -> Digest | None:
        """Ours, or the one that we have found, or that our invites are for."""
        if self._home is not None:
            return self._home.federation
        return self._gate.introductions.federation() or self._found

    def say_hello(self, out: list[MembershipEffect], peer: NodeId, link: Link) -> None:
        """Introduce ourselves; an invite is shown to its issuer alone.

        Said again, it has the same nonce, so that a late answer to the first one counts.
        """
        if link.hellos == 0:
            link.nonce = next(self._nonces)
        link.hellos += 1
        link.hello_ms = self._gate.now_ms
        federation = own = None
        if self._home is not None:
            federation, own = self._home.federation, self._home.exchange.own.signed
            link.shown_seq = own.record.seq
        invite = self._gate.introductions.invite_by(peer)
        out.append(Send(peer, Hello(federation, own, invite, link.nonce)))

    def on_hello(self, out: list[MembershipEffect], peer: NodeId, link: Link, hello: Hello) -> None:
        """Tell the peer what it is here."""
        home = self._home
        if not link.may_cost(1):
            out.append(Rejected(peer, "it says hello too often"))
            return
        if home is None:
            if hello.federation is None:
                self.part(out, peer, link, "neither side belongs to a federation yet")
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
        if link.said is not None and link.told is None:
            # It has started anew, and did not see our first one.
            self.say_hello(out, peer, link)
        link.their_nonce = hello.nonce
        reason = self._look_at_invite(out, peer, link, hello)
        self._welcome(out, home, peer, link, reason, with_genesis=hello.federation is None)
        self._greet(out, home, peer, link)

    def on_welcome(
        self, out: list[MembershipEffect], peer: NodeId, link: Link, welcome: Welcome
    ) -> None:
        """Take note of what we are to the peer."""
        home, theirs = self._home, Digest(welcome.federation)
        if welcome.nonce != link.nonce or not link.may_cost(1):
            out.append(Rejected(peer, "its welcome answers no hello of ours, or comes too often"))
            return
        if home is None:
            self._on_federation(out, peer, link, welcome)
            return
        if theirs != home.federation:
            self._part_as_foreign(out, peer, link, theirs, home.federation)
            return
        fault = home.exchange.identity_fault(peer, welcome.record)
        if fault is not None:
            out.append(Rejected(peer, fault))
            return
        link.signed = welcome.record
        if link.told is not welcome.standing:
            is_taken_back = link.told is Standing.MEMBER
            link.told = welcome.standing
            if self._gate.is_joining or is_taken_back:
                out.append(Notify(StandingChanged(peer, welcome.standing, welcome.reason)))
        self._greet(out, home, peer, link)

    def review(self, out: list[MembershipEffect], peer: NodeId, link: Link) -> None:
        """What a peer is here may have changed, or where it was found: act on it."""
        if self._home is None or not link.greeted:
            return
        standing = Standing.MEMBER if self._gate.is_member(peer) else Standing.APPLICANT
        if link.said is not None and link.said is not standing:
            self._welcome(out, self._home, peer, link, _REMOVED, with_genesis=False)
        self._befriend(out, self._home, peer, link)

    def _greet(self, out: list[MembershipEffect], home: Home, peer: NodeId, link: Link) -> None:
        """A peer has turned out to be of our federation."""
        link.greeted = True
        self._gate.dialer.on_good(peer)
        home.exchange.table.returned(peer)
        self._befriend(out, home, peer, link)

    def _befriend(self, out: list[MembershipEffect], home: Home, peer: NodeId, link: Link) -> None:
        exchange = home.exchange
        if link.signed is not None and not exchange.table.is_settled(link.signed):
            news = exchange.take(self._gate.now_ms, link.signed, peer)
            if news is News.CHANGE:
                exchange.table.heard(link.heard_ms, peer)
            elif news is News.CONTRADICTION and link.told is Standing.MEMBER:
                # It has lost its disk: once it sees what it said before, it goes on above that.
                link.signed = exchange.table.signed_of(peer)
                out.append(Send(peer, Records((link.signed,))))
        if link.dialed is not None:
            exchange.table.reached(self._gate.now_ms, peer, link.dialed)
        out.extend(exchange.befriend(peer, link))

    def part(self, out: list[MembershipEffect], peer: NodeId, link: Link, reason: str) -> None:
        """Listen to the peer no more, and drop it: it is of no use."""
        self._gate.dialer.on_bad(self._gate.now_ms, peer)
        self.give_up(out, peer, link, reason)

    def give_up(self, out: list[MembershipEffect], peer: NodeId, link: Link, reason: str) -> None:
        """Drop a connection through which nothing comes; the peer is dialed anew."""
        link.closing = True
        out.append(Disconnect(peer, reason))

    def _look_at_invite(
        self, out: list[MembershipEffect], peer: NodeId, link: Link, hello: Hello
    ) -> str:
        """Let the peer in if it shows an invite of ours; why not, if it is not in."""
        if self._gate.admitted(peer) is not None:
            return ""
        reason = _WAITING if hello.invite is None else self._present(out, peer, hello.invite)
        invite_id = self._gate.used_invites.invite_of(self._gate.now_ms, peer)
        if invite_id is not None and link.said is not Standing.MEMBER:
            out.append(Notify(InvitePresented(peer, invite_id, link.signed)))
        return reason

    def _present(self, out: list[MembershipEffect], peer: NodeId, invite: Invite) -> str:
        now_ms = self._gate.now_ms
        fault = invite_fault(
            invite, verifier=self._verifier, now_ms=now_ms, federation=self.federation
        )
        if fault is not None:
            return fault.value
        if invite.issuer != self._gate.node:
            return f"this invite must be shown to its issuer, {invite.issuer.hex()}"
        answer = self._gate.used_invites.present(now_ms, peer, invite)
        if isinstance(answer, str):
            return answer
        if answer:
            out.append(Persist(Store.PEERS, answer))
        return _WAITING

    def _welcome(
        self,
        out: list[MembershipEffect],
        home: Home,
        peer: NodeId,
        link: Link,
        reason: str,
        *,
        with_genesis: bool,
    ) -> None:
        own = home.exchange.own.signed
        link.shown_seq = own.record.seq
        if self._gate.is_member(peer):
            link.said, reason = Standing.MEMBER, ""
            self._gate.applicants.admit(peer)
        elif self._gate.is_joining:
            link.said, reason = Standing.APPLICANT, "this node is not a member itself yet"
        else:
            link.said = Standing.APPLICANT
            self._list_applicant(out, peer, link)
        genesis = home.genesis if with_genesis else None
        welcome = Welcome(home.federation, genesis, own, link.said, reason, link.their_nonce)
        out.append(Send(peer, welcome))

    def _list_applicant(self, out: list[MembershipEffect], peer: NodeId, link: Link) -> None:
        arrived = self._gate.applicants.arrive(self._gate.now_ms, peer, link.signed, link.address)
        if arrived is not None:
            out.append(Notify(ApplicantArrived(arrived)))

    def _on_federation(
        self, out: list[MembershipEffect], peer: NodeId, link: Link, welcome: Welcome
    ) -> None:
        """Somebody answers us who have no federation yet."""
        theirs, expected = Digest(welcome.federation), self.federation
        if not self._gate.is_member(peer):
            out.append(Rejected(peer, "nobody told this node to join by it"))
        elif welcome.genesis is None or federation_of(welcome.genesis) != theirs:
            self.part(out, peer, link, "its genesis is not that of the federation that it names")
        elif expected is not None and theirs != expected:
            self._part_as_foreign(out, peer, link, theirs, expected)
        elif link.told is not welcome.standing:
            self._found = theirs
            link.told = welcome.standing
            self._gate.dialer.on_good(peer)
            found = FederationFound(welcome.genesis, theirs, peer, welcome.standing, welcome.reason)
            out.append(Notify(found))

    def _part_as_foreign(
        self, out: list[MembershipEffect], peer: NodeId, link: Link, theirs: Digest, ours: Digest
    ) -> None:
        out.append(Notify(WrongFederation(peer, link.address, theirs, ours)))
        reason = f"it belongs to federation {theirs.hex()}, and this node is for {ours.hex()}"
        self.part(out, peer, link, reason)
