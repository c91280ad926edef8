"""How records get to everybody: what is new is passed on at once, what was missed is fetched.

A change is passed on to all members that are connected, except to where it came from; those of one
moment go together, so that nobody can make others send faster than `spread` is called. A record
that only has a new number is passed on by its node alone, and reaches those that are not connected
with it when they fetch.

A question names nobody where both sides know of the same nodes: one to three bytes for each record in place of forty.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable

from gossip.codec import Digest
from gossip.effects import Broadcast, Cause, Rejected, Send
from gossip.identity import NodeId, Verifier
from gossip.membership.events import MembershipEffect
from gossip.membership.gate import Gate
from gossip.membership.links import Link
from gossip.membership.messages import (
    MAX_RECORDS,
    FetchRecords,
    FetchRecordsOf,
    FetchSince,
    Known,
    NamesDiffer,
    Records,
    Standing,
    names_of,
)
from gossip.membership.own_record import OwnRecord
from gossip.membership.peer_table import News, PeerTable
from gossip.membership.records import SignedRecord, record_fault

FETCH_ANSWERS = 4
"""So many answers a question counts for that is answered with records."""
_ASK_PAUSE_MS = 2_000
"""Longer than a beat, so that a peer never answers more than one such question in it."""


class RecordExchange:
    """The records of others in `table`, ours in `own`, and what is still to be passed on."""

    def __init__(
        self,
        own: OwnRecord,
        table: PeerTable,
        gate: Gate,
        *,
        federation: Digest,
        verifier: Verifier,
    ) -> None:
        self.own, self.table = own, table
        self._gate = gate
        self._federation = federation
        self._verifier = verifier
        self._news: dict[NodeId, NodeId] = {}
        self._own_changed = False
        self._last_asked = NodeId(b"")
        self.is_doubted: Callable[[NodeId], bool] = lambda _: False
        """Whether a node is suspected, so that any newer record of it is news to all."""

    @property
    def has_news(self) -> bool:
        """Whether `spread` has something to do."""
        return self._own_changed or bool(self._news)

    def friends(self) -> list[tuple[NodeId, Link]]:
        """Who is connected, a member to us, and we to it."""
        return [
            (peer, link) for peer, link in self._gate.links.open() if self._is_friend(peer, link)
        ]

    def change_own(self) -> None:
        """Our record says something new: sign and tell it with the next `spread`."""
        self._own_changed = True

    def identity_fault(self, peer: NodeId, signed: SignedRecord | None) -> str | None:
        """Why this is no record that `peer` may introduce itself with."""
        if signed is None:
            return "it introduces itself without a record"
        if signed.record.node != peer:
            return "it introduces itself with the record of another node"
        known = self.table.get(peer)
        if known is not None and known.signed == signed:
            return None
        return record_fault(signed, self._federation, self._verifier)

    def take(self, now_ms: int, signed: SignedRecord, source: NodeId) -> News:
        """Keep a checked record if it is wanted and newer, and pass it on if it says more."""
        node = NodeId(signed.record.node)
        if not self._gate.counts(node):
            return News.NOTHING
        news = self.table.judge(signed)
        if news in (News.CHANGE, News.REFRESH):
            self.table.put(now_ms, signed)
        if news is News.CHANGE or (news is News.REFRESH and self.is_doubted(node)):
            self._news[node] = source
        return news

    def befriend(self, peer: NodeId, link: Link) -> list[MembershipEffect]:
        """Once each is a member to the other: show our newest record, and fetch what we lack."""
        if not self._is_friend(peer, link):
            return []
        effects: list[MembershipEffect] = []
        if link.shown_seq < self.own.signed.record.seq:
            link.shown_seq = self.own.signed.record.seq
            effects.append(Send(peer, Records((self.own.signed,))))
        if not link.asked and self._may_ask(link):
            effects.append(Send(peer, self._question((link,))))
        return effects

    def pull(self, count: int) -> list[MembershipEffect]:
        """Ask so many friends, each in its turn, for what we lack."""
        links = dict(self.friends())
        later = [peer for peer in links if peer > self._last_asked]
        chosen = (later + [peer for peer in links if peer not in later])[:count]
        if not chosen:
            return []
        self._last_asked = chosen[-1]
        asked = [peer for peer in sorted(chosen) if self._may_ask(links[peer])]
        if not asked:
            return []
        return [Broadcast(tuple(asked), self._question([links[peer] for peer in asked]))]

    def _may_ask(self, link: Link) -> bool:
        """Once a second: what is wanted sooner, block after block while we catch up, is asked with a later beat."""
        now_ms = self._gate.now_ms
        link.asked = link.asked_ms is None or now_ms - link.asked_ms >= _ASK_PAUSE_MS
        if link.asked:
            link.asked_ms = now_ms
        return link.asked

    def on_records(
        self, now_ms: int, peer: NodeId, link: Link, records: tuple[SignedRecord, ...]
    ) -> list[MembershipEffect]:
        """Keep what is news. The first bad one ends it: an honest peer has none."""
        for signed in records:
            if not self._is_worth_a_check(signed):
                fault = self._stale(peer, signed)
            elif link.checks == 0:
                # The rest comes with a fetch in the next beat.
                link.asked = False
                return []
            else:
                link.checks -= 1
                fault = record_fault(signed, self._federation, self._verifier)
                if fault is None:
                    fault = self._accept(now_ms, signed, peer)
            if fault is not None:
                return [Rejected(peer, fault)]
        return []

    def on_fetch(self, peer: NodeId, fetch: FetchRecords) -> list[MembershipEffect]:
        """Answer with what the peer lacks."""
        shown = {entry.node: entry.seq for entry in fetch.known}
        return _answer(peer, ((one, shown.get(one.record.node, -1)) for one in self._all()))

    def on_fetch_since(self, peer: NodeId, link: Link, fetch: FetchSince) -> list[MembershipEffect]:
        """Answer with what the peer lacks, if it knows of those that we know of."""
        everything = self._all()
        is_alike = len(fetch.seqs) == len(everything) and fetch.names == _names(everything)
        if not link.may_cost(FETCH_ANSWERS if is_alike else 1):
            return [Rejected(peer, "it fetches too often", Cause.TOO_OFTEN)]
        if not is_alike:
            return [Send(peer, NamesDiffer())]
        return _answer(peer, zip(everything, fetch.seqs, strict=True))

    def on_names_differ(self, peer: NodeId, link: Link) -> list[MembershipEffect]:
        """Ask once more, in full."""
        if not link.asked_in_short:
            return [Rejected(peer, "it wants a question in full that was not asked")]
        link.asked_in_short = False
        return [Send(peer, self._question_in_full())]

    def on_fetch_of(self, peer: NodeId, fetch: FetchRecordsOf) -> list[MembershipEffect]:
        """Answer with what we have of these."""
        known = (self.table.get(NodeId(node)) for node in fetch.nodes)
        records = tuple(one.signed for one in known if one is not None)
        return [Send(peer, Records(records))] if records else []

    def spread(self, now_ms: int) -> list[MembershipEffect]:
        """Pass on what is new."""
        effects = self._spread_own(now_ms) if self._own_changed else []
        by_source: dict[NodeId, list[SignedRecord]] = {}
        for node, source in sorted(self._news.items()):
            peer = self.table.get(node)
            if peer is not None:
                by_source.setdefault(source, []).append(peer.signed)
        self._news.clear()
        friends = [peer for peer, _ in self.friends()]
        for source, records in by_source.items():
            for start in range(0, len(records), MAX_RECORDS):
                batch = tuple(records[start : start + MAX_RECORDS])
                skipped = {source} | {signed.record.node for signed in batch[:1] if len(batch) == 1}
                to = tuple(peer for peer in friends if peer not in skipped)
                if to:
                    effects.append(Broadcast(to, Records(batch)))
        return effects

    def _spread_own(self, now_ms: int) -> list[MembershipEffect]:
        self._own_changed = False
        effects: list[MembershipEffect] = [self.own.renew(now_ms)]
        friends = self.friends()
        for _, link in friends:
            link.shown_seq = self.own.signed.record.seq
        if friends:
            to = tuple(peer for peer, _ in friends)
            effects.append(Broadcast(to, Records((self.own.signed,))))
        return effects

    def _is_friend(self, peer: NodeId, link: Link) -> bool:
        return link.told is Standing.MEMBER and self._gate.is_member(peer)

    def _is_worth_a_check(self, signed: SignedRecord) -> bool:
        node = NodeId(signed.record.node)
        if node == self.own.node:
            return self.own.is_outbid_by(signed)
        return self._gate.counts(node) and self.table.judge(signed) is not News.NOTHING

    def _stale(self, peer: NodeId, signed: SignedRecord) -> str | None:
        """Others may be behind; a node itself never sends what it has replaced."""
        known = self.table.get(peer)
        rolled_back = (
            known is not None
            and signed.record.node == peer
            and signed.record.seq < known.record.seq
        )
        return "it sent a record of its own that it had replaced already" if rolled_back else None

    def _accept(self, now_ms: int, signed: SignedRecord, source: NodeId) -> str | None:
        if signed.record.node == self.own.node:
            self.own.outbid(signed)
            self.change_own()
        elif self.table.judge(signed) is not News.CONTRADICTION:
            self.take(now_ms, signed, source)
        elif signed.record.node == source:
            return "it signed two records with one number"
        return None

    def _question(self, links: Iterable[Link]) -> FetchRecords | FetchSince:
        if self._gate.is_joining:
            # Others know of more.
            return self._question_in_full()
        for link in links:
            link.asked_in_short = True
        everything = self._all()
        return FetchSince(_names(everything), tuple(one.record.seq for one in everything))

    def _question_in_full(self) -> FetchRecords:
        return FetchRecords(tuple(Known(one.record.node, one.record.seq) for one in self._all()))

    def _all(self) -> list[SignedRecord]:
        """Ours and all others, in the order of the nodes' ids."""
        records = [peer.signed for _, peer in self.table.rows()]
        insort(records, self.own.signed, key=_node)
        return records


def _node(signed: SignedRecord) -> bytes:
    return signed.record.node


def _names(records: Iterable[SignedRecord]) -> bytes:
    return names_of(NodeId(one.record.node) for one in records)


def _answer(peer: NodeId, known: Iterable[tuple[SignedRecord, int]]) -> list[MembershipEffect]:
    """Those of our records that are newer than the number which the peer has."""
    lacking = [signed for signed, seq in known if signed.record.seq > seq]
    return [
        Send(peer, Records(tuple(lacking[start : start + MAX_RECORDS])))
        for start in range(0, len(lacking), MAX_RECORDS)
    ]
