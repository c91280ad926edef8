"""What the membership core remembers of one connection, and what a peer may cost in one second."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from gossip.identity import NodeId
from gossip.membership.messages import Standing
from gossip.membership.records import SignedRecord

ANSWERS_A_BEAT = 8
CHECKS_A_BEAT = 1024


@dataclass(slots=True)
class Link:
    """One connection.

    `told` is what the peer says that we are to it, `said` what we told it that it is to us; None
    until then. `dialed` is the address that led there. `shown_seq` is the last record of ours that
    it got, `signed` the last one of its own that it showed and that was checked. `asked` is whether
    its table was fetched, `asked_ms` when that was last, `asked_in_short` whether it may want that
    question in full. `answers` and `checks` are left of what it may cost in this beat: answers to
    send, signatures to check. A `closing` link waits for its `PeerDown` and is not listened to.
    `spared_ms` is when the peer was told last that this node can do without it.
    """

    address: str
    outbound: bool
    heard_ms: int
    up_ms: int
    nonce: int = -1
    hello_ms: int = 0
    hellos: int = 0
    their_nonce: int = 0
    told: Standing | None = None
    said: Standing | None = None
    dialed: str | None = None
    greeted: bool = False
    shown_seq: int = -1
    signed: SignedRecord | None = None
    asked: bool = False
    asked_ms: int | None = None
    asked_in_short: bool = False
    answers: int = ANSWERS_A_BEAT
    checks: int = CHECKS_A_BEAT
    closing: bool = False
    spared_ms: int | None = None

    def may_cost(self, answers: int) -> bool:
        """Whether it may have so many more answers in this beat; if so it has had them."""
        if self.answers < answers:
            return False
        self.answers -= answers
        return True

    def may_check(self) -> bool:
        """Whether it may cost one more signature in this beat; if so it has."""
        if self.checks == 0:
            return False
        self.checks -= 1
        return True


@dataclass(slots=True)
class Links:
    """All connections."""

    _links: dict[NodeId, Link] = field(default_factory=dict)

    def __getitem__(self, peer: NodeId) -> Link:
        return self._links[peer]

    def __setitem__(self, peer: NodeId, link: Link) -> None:
        self._links[peer] = link

    def __contains__(self, peer: NodeId) -> bool:
        return peer in self._links

    def get(self, peer: NodeId) -> Link | None:
        """The connection with a peer, if there is one."""
        return self._links.get(peer)

    def pop(self, peer: NodeId) -> Link | None:
        """The connection is gone."""
        return self._links.pop(peer, None)

    def peers(self) -> frozenset[NodeId]:
        """Who is connected."""
        return frozenset(self._links)

    def open(self) -> Iterator[tuple[NodeId, Link]]:
        """Those that are listened to, in the order of their peers' ids."""
        for peer in sorted(self._links):
            if not self._links[peer].closing:
                yield peer, self._links[peer]

    def check_invariants(self) -> None:
        """Nobody has cost more than it may."""
        for link in self._links.values():
            assert 0 <= link.answers <= ANSWERS_A_BEAT
            assert 0 <= link.checks <= CHECKS_A_BEAT
