"""Whom to hold a connection with: everybody in a small federation, a bounded few in a large one.

In a large one each node keeps standing connections with `neighbours` others, the first of all
members in an order that only this node knows (rendezvous hashing under a secret of its own). So the
choice is the same after a restart, and nobody can make a key that is sure to be chosen: who wants
to surround a node with liars has no better chance than the share of liars among all. Every choice
is a connection for both sides, so a graph of n nodes has about 10 n edges at random; that it falls
apart is improbable beyond measure (a random graph with two choices per node is connected already).

Validators keep connections with all validators besides, because consensus needs them. An observer
keeps up to two with validators, as far as there is room for all observers there.

Who does not answer, or has no room, is passed over for the next in the order. What is needed for a
moment (a question to who is no neighbour, a hand-off) is dialed on demand, and let go later. A
connection ends only by consent, with `Spare`, so that its end is no sign that somebody is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from gossip.codec import Digest, digest
from gossip.effects import Send
from gossip.identity import NodeId, Signer, signing_bytes
from gossip.membership.events import Disconnect, MembershipEffect
from gossip.membership.gate import Gate
from gossip.membership.links import Link
from gossip.membership.messages import Spare
from gossip.membership.peer_table import PeerTable
from gossip.membership.timing import spaced

_VALIDATOR = "validator"
_TARGETS = 3
"""So many times the wanted number is dialed at most, while those that are first in order don't answer."""
_CROWD = 4
"""With so many times its room in guests a node turns away new ones at once."""
_LET_GO_MS = 2_000
_MAX_PASSED_OVER = 4096
_REVIEW_MS = 5_000
"""So long who counts as a member is taken as it was, unless it is told that something has changed."""


@dataclass(frozen=True, slots=True)
class MeshHabits:
    """Up to `full_up_to` nodes all are connected with all; beyond, see the module.

    `room` bounds the connections that others wish and this node does not; `seats` are what a
    validator has of them for observers that choose it as their validator.
    """

    full_up_to: int = 50
    neighbours: int = 10
    validators: int = 2
    room: int = 60
    seats: int = 30
    linger_ms: int = 30_000
    stroll_ms: int = 60_000
    passed_over_ms: int = 60_000

    @classmethod
    def of(cls, full_up_to: int, neighbours: int) -> MeshHabits:
        """With room in proportion to the neighbours: six times as much, half of it for seats."""
        return cls(full_up_to, neighbours, room=6 * neighbours, seats=3 * neighbours)


class Mesh:
    """The choice of one node. `is_suspect` is what its detector says."""

    def __init__(
        self,
        gate: Gate,
        table: PeerTable,
        signer: Signer,
        federation: Digest,
        habits: MeshHabits | None = None,
    ) -> None:
        self._gate, self._table = gate, table
        self._habits = habits or MeshHabits()
        self._secret = digest(b"mesh", signer.sign(signing_bytes("mesh", federation)))
        self._scores: dict[NodeId, bytes] = {}
        self._members: list[NodeId] = []
        self._known: frozenset[NodeId] = frozenset()
        self._validators: list[NodeId] = []
        self._changes: int | None = None
        self._review_ms = 0
        self._ranked: list[NodeId] = []
        self._needed_ms: dict[NodeId, int] = {}
        self._passed_over_ms: dict[NodeId, int] = {}
        self._strolled_ms = 0
        self.is_suspect: Callable[[NodeId], bool] = lambda _: False
        self.is_asked: Callable[[], Iterable[NodeId]] = tuple

    # What it is asked

    def members(self) -> list[NodeId]:
        """All others that count and have not left, in the order of their ids. Not to be changed."""
        now_ms = self._gate.now_ms
        if self._changes != self._table.changes or now_ms >= self._review_ms:
            self._changes, self._review_ms = self._table.changes, now_ms + _REVIEW_MS
            self._note(
                [
                    node
                    for node, peer in self._table.rows()
                    if peer.left_seq is None and self._gate.counts(node)
                ]
            )
        return self._members

    def known(self) -> frozenset[NodeId]:
        """The same in no order."""
        self.members()
        return self._known

    def is_partial(self, members: list[NodeId] | None = None) -> bool:
        """Whether there are too many members for everybody to be connected with everybody."""
        known = self.members() if members is None else members
        return len(known) + 1 > self._habits.full_up_to

    def wanted(self) -> list[NodeId]:
        """With whom to be connected now."""
        members = self.members()
        if not self.is_partial(members):
            return [node for node in members if self._is_welcome(node)]
        chosen = dict.fromkeys(self._standing())
        known = self._known
        for node in (*self._needed(), *self.is_asked()):
            if node in known:
                chosen[node] = None
        return list(chosen)

    def watched(self) -> list[NodeId]:
        """Whom this node looks after: those that it wants, and those that are connected anyhow."""
        members = self.members()
        if not self.is_partial(members):
            return members
        return sorted({*self._standing(), *(self._gate.links.peers() & self._known)})

    def is_far(self, node: NodeId) -> bool:
        """Whether it is not connected, nor meant to be."""
        if node in self._gate.links:
            return False
        members = self.members()
        return self.is_partial(members) and node not in set(self._standing())

    def in_reach(self, node: NodeId) -> bool:
        """Whether it is connected, or would be dialed when it is needed."""
        return node in self._gate.links or (
            self.is_partial() and bool(self._table.addresses_of(node))
        )

    def check_invariants(self) -> None:
        """Bounds hold."""
        assert len(self._passed_over_ms) <= _MAX_PASSED_OVER
        assert self._gate.node not in self._scores

    # What it is told

    def review(self) -> None:
        """The ledger's answers have changed."""
        self._review_ms = 0

    def need(self, node: NodeId) -> None:
        """A connection with this member is needed from now on for a while."""
        self._needed_ms[node] = self._gate.now_ms + self._habits.linger_ms

    def is_parting(self, link: Link) -> bool:
        """Whether the end of this connection was to be expected."""
        return link.closing or (
            link.spared_ms is not None
            and self._gate.now_ms - link.spared_ms < _LET_GO_MS + self._habits.linger_ms // 2
        )

    def on_spare(
        self, out: list[MembershipEffect], peer: NodeId, link: Link, *, is_full: bool
    ) -> None:
        """The other side can do without this connection, or has no room for it."""
        if is_full:
            self._passed_over_ms.pop(peer, None)
            self._passed_over_ms[peer] = self._gate.now_ms + self._habits.passed_over_ms
            if len(self._passed_over_ms) > _MAX_PASSED_OVER:
                del self._passed_over_ms[next(iter(self._passed_over_ms))]
        elif peer in self.wanted():
            return
        link.closing = True
        out.append(Disconnect(peer, "both sides can do without the connection"))

    def beat(self, out: list[MembershipEffect]) -> None:
        """Once a second: let go what nobody needs."""
        now_ms = self._gate.now_ms
        for kept in (self._needed_ms, self._passed_over_ms):
            for node in [node for node, until_ms in kept.items() if until_ms <= now_ms]:
                del kept[node]
        if self._gate.is_joining or not self.is_partial():
            return
        wanted = set(self.wanted())
        guests: list[tuple[NodeId, Link]] = []
        for peer, link in self._gate.links.open():
            if peer in wanted or not self._gate.is_member(peer):
                continue
            if not link.outbound:
                guests.append((peer, link))
            elif (
                now_ms - (link.up_ms if link.spared_ms is None else link.spared_ms)
                >= self._habits.linger_ms
            ):
                link.spared_ms = now_ms
                out.append(Send(peer, Spare(full=False)))
        self._make_room(out, guests)

    def stroll(self) -> NodeId | None:
        """Now and then a member that is not connected, to look after: each has its turn by lot."""
        now_ms = self._gate.now_ms
        stroll_ms = spaced(self._habits.stroll_ms, self._table.members)
        if now_ms - self._strolled_ms < stroll_ms or self._gate.is_joining:
            return None
        members = self.members()
        self._strolled_ms = now_ms - int(self._gate.jitter() * stroll_ms / 4)
        if not self.is_partial(members):
            return None
        away = [
            node
            for node in members
            if node not in self._gate.links and self._table.addresses_of(node)
        ]
        return away[min(int(self._gate.jitter() * len(away)), len(away) - 1)] if away else None

    # Small things

    def _make_room(self, out: list[MembershipEffect], guests: list[tuple[NodeId, Link]]) -> None:
        """Of too many guests those go that are last in this node's order: who came first proves nothing."""
        now_ms = self._gate.now_ms
        excess = len(guests) - self._habits.room
        if excess <= 0:
            return
        is_crowded = len(guests) > _CROWD * self._habits.room
        for peer, link in sorted(guests, key=lambda guest: self._score(guest[0]), reverse=True):
            if excess <= 0:
                return
            if link.spared_ms is not None and now_ms - link.spared_ms >= _LET_GO_MS:
                link.closing = True
                out.append(Disconnect(peer, "this node has no room for more connections"))
            elif link.spared_ms is None:
                if now_ms - link.up_ms < self._habits.linger_ms and not is_crowded:
                    continue  # Perhaps it only asks something, and goes by itself.
                link.spared_ms = now_ms
                out.append(Send(peer, Spare(full=True)))
            excess -= 1

    def _standing(self) -> Iterator[NodeId]:
        """The choice among the members that were listed last."""
        validators = self._validators
        yield from self._pick(self._ranked, self._habits.neighbours)
        if self._gate.admitted(self._gate.node) == _VALIDATOR:
            yield from validators
        else:
            observers = len(self._members) + 1 - len(validators)
            yield from self._pick(validators, self._seats(len(validators), observers))
        if self._gate.is_joining:
            yield from (node for node in self._members if self._gate.dialer.is_host(node))

    def _seats(self, validators: int, observers: int) -> int:
        """How many validators an observer is connected with, so that all observers have the same chance."""
        share = validators * self._habits.seats / observers
        own_luck = int.from_bytes(self._secret[:4]) / 2**32
        return min(self._habits.validators, int(share + own_luck))

    def _pick(self, ranked: list[NodeId], count: int) -> Iterator[NodeId]:
        """The first in order, until so many of them are there or may be."""
        good = chosen = 0
        for node in ranked:
            if good >= count or chosen >= _TARGETS * count:
                return
            if not self._is_welcome(node):
                continue
            chosen += 1
            good += self._is_good(node)
            yield node

    def _is_welcome(self, node: NodeId) -> bool:
        return node in self._gate.links or node not in self._passed_over_ms

    def _is_good(self, node: NodeId) -> bool:
        if self.is_suspect(node):
            return False
        return node in self._gate.links or not self._gate.dialer.failures(node)

    def _needed(self) -> Iterator[NodeId]:
        return (node for node, until_ms in self._needed_ms.items() if until_ms > self._gate.now_ms)

    def _note(self, members: list[NodeId]) -> None:
        if members != self._members:
            self._members, self._known = members, frozenset(members)
            for gone in [node for node in self._scores if node not in self._known]:
                del self._scores[gone]
            self._ranked = sorted(members, key=self._kept_score)
        admitted = self._gate.admitted
        self._validators = [node for node in self._ranked if admitted(node) == _VALIDATOR]

    def _kept_score(self, node: NodeId) -> bytes:
        score = self._scores.get(node)
        if score is None:
            score = self._scores[node] = self._score(node)
        return score

    def _score(self, node: NodeId) -> bytes:
        return digest(b"mesh rank", self._secret + node)
