"""What is known of other nodes: the newest record of each, where it was reached, when it was heard.

Who is alive is for the `detector` to say. Kept on disk: all but that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Annotated

import msgspec

from gossip.codec import Digest, Natural, Wire, decode_canonical, encode
from gossip.effects import KeyValueReader, Write
from gossip.identity import NodeId
from gossip.membership.messages import MAX_KNOWN
from gossip.membership.notices import Liveness
from gossip.membership.records import MAX_ADDRESSES, Multiaddr, PeerRecord, SignedRecord

MAX_PEERS = MAX_KNOWN - 1
_PREFIX = b"peer/"
_FOUND_PREFIX = b"peer-found/"
_FOUND_AGAIN_MS = 60_000
"""Being found at the same address again is written down no more often."""


class _Stored(Wire, frozen=True):
    signed: SignedRecord
    reached: Annotated[tuple[Multiaddr, ...], msgspec.Meta(max_length=MAX_ADDRESSES)]
    first_seen_ms: Natural
    last_seen_ms: Natural | None
    rtt_ms: Natural | None
    left_seq: Natural | None


class _Found(Wire, frozen=True):
    """When a node was found last at each of its `reached`, in that order."""

    times_ms: Annotated[tuple[Natural, ...], msgspec.Meta(max_length=MAX_ADDRESSES)]


@dataclass(slots=True)
class Peer:
    """One node.

    `reached` are addresses where it was found, the last one first, and `found_ms` when that was.
    `is_heard` is whether it has spoken to us in this run; `renewed_ms` is when a record of it took the
    place of an older one in this run. `left_seq` is the number of its last record if it said good-bye.
    `shown` is the status last told.
    """

    signed: SignedRecord
    first_seen_ms: int
    reached: tuple[str, ...] = ()
    found_ms: dict[str, int] = field(default_factory=dict)
    last_seen_ms: int | None = None
    is_heard: bool = False
    rtt_ms: int | None = None
    clock_offset_ms: int | None = None
    left_seq: int | None = None
    renewed_ms: int | None = None
    shown: Liveness | None = None

    @property
    def record(self) -> PeerRecord:
        """What it says of itself."""
        return self.signed.record

    def addresses(self) -> tuple[str, ...]:
        """Where to dial it: reached before, then as it says itself, then reached long ago."""
        said = self.record.addresses
        proven = [address for address in self.reached if address in said]
        return tuple(dict.fromkeys((*proven, *said, *self.reached)))


class News(Enum):
    """What a record is to those who have the one before it."""

    NOTHING = auto()
    REFRESH = auto()
    CHANGE = auto()
    CONTRADICTION = auto()


@dataclass(slots=True)
class PeerTable:
    """All that is known of others; only who passed the signature check gets in."""

    _peers: dict[NodeId, Peer] = field(default_factory=dict)
    _unsaved: set[NodeId] = field(default_factory=set)
    changes: int = 0
    """Grows whenever somebody comes, leaves, returns or is forgotten."""

    @classmethod
    def load(cls, store: KeyValueReader, federation: Digest) -> PeerTable:
        """Read what was kept. Raises `DecodeError` when it is damaged."""
        table = cls()
        for key, value in store.scan(_PREFIX):
            kept = decode_canonical(value, _Stored)
            if kept.signed.record.federation == federation:
                node = key.removeprefix(_PREFIX)
                found = store.get(_FOUND_PREFIX + node)
                times_ms = () if found is None else decode_canonical(found, _Found).times_ms
                table._peers[NodeId(node)] = Peer(
                    signed=kept.signed,
                    first_seen_ms=kept.first_seen_ms,
                    reached=kept.reached,
                    found_ms=dict(zip(kept.reached, times_ms, strict=False)),
                    last_seen_ms=kept.last_seen_ms,
                    rtt_ms=kept.rtt_ms,
                    left_seq=kept.left_seq,
                )
        return table

    @property
    def members(self) -> int:
        """How many nodes there are by it, its own among them."""
        return 1 + len(self._peers)

    def rows(self) -> Iterator[tuple[NodeId, Peer]]:
        """Everybody, in the order of their ids."""
        for node in sorted(self._peers):
            yield node, self._peers[node]

    def get(self, node: NodeId) -> Peer | None:
        """What is known of a node."""
        return self._peers.get(node)

    def found_at(self, address: str) -> NodeId | None:
        """The node that was last reached at this address."""
        reached = (node for node, peer in self.rows() if peer.reached[:1] == (address,))
        return next(reached, None)

    def addresses_of(self, node: NodeId) -> tuple[str, ...]:
        """Where to dial a node, best first."""
        return self._peers[node].addresses()

    def signed_of(self, node: NodeId) -> SignedRecord:
        """The newest record of a node in the table."""
        return self._peers[node].signed

    def is_settled(self, signed: SignedRecord) -> bool:
        """Whether this is the very record that is here, or an older one: nothing is to be judged any more."""
        peer = self._peers.get(NodeId(signed.record.node))
        return peer is not None and (peer.signed is signed or peer.record.seq > signed.record.seq)

    def judge(self, signed: SignedRecord) -> News:
        """What this record would be. Costs no signature check, so look here first."""
        peer = self._peers.get(NodeId(signed.record.node))
        if peer is None:
            return News.CHANGE if len(self._peers) < MAX_PEERS else News.NOTHING
        if signed.record.seq > peer.record.seq:
            same = signed.record.says_the_same(peer.record)
            return News.REFRESH if same else News.CHANGE
        if signed.record.seq == peer.record.seq and signed.record != peer.record:
            return News.CONTRADICTION
        return News.NOTHING

    def put(self, now_ms: int, signed: SignedRecord) -> None:
        """Take a record that is news and was checked."""
        node = NodeId(signed.record.node)
        if self.judge(signed) is News.CHANGE:
            self._unsaved.add(node)
        self.changes += node not in self._peers
        peer = self._peers.setdefault(node, Peer(signed, now_ms))
        if signed.record.seq > peer.record.seq:
            peer.renewed_ms = now_ms
        peer.signed = signed
        if peer.left_seq is not None and signed.record.seq > peer.left_seq:
            peer.left_seq = None
            self.changes += 1

    def heard(self, now_ms: int, node: NodeId) -> None:
        """The node itself has spoken."""
        peer = self._peers.get(node)
        if peer is not None:
            peer.last_seen_ms, peer.is_heard = now_ms, True

    def measured(self, node: NodeId, rtt_ms: int, clock_offset_ms: int) -> None:
        """A ping was answered. The round-trip time is smoothed as TCP does: 7/8 old, 1/8 new."""
        peer = self._peers.get(node)
        if peer is not None:
            known = rtt_ms if peer.rtt_ms is None else peer.rtt_ms
            peer.rtt_ms = (7 * known + rtt_ms + 4) // 8
            peer.clock_offset_ms = clock_offset_ms

    def reached(self, now_ms: int, node: NodeId, address: str) -> None:
        """The node was found at this address."""
        peer = self._peers.get(node)
        if peer is None:
            return
        is_known = peer.reached[:1] == (address,)
        if not is_known or now_ms - peer.found_ms.get(address, 0) >= _FOUND_AGAIN_MS:
            others = (known for known in peer.reached if known != address)
            peer.reached = (address, *others)[:MAX_ADDRESSES]
            times_ms = {**peer.found_ms, address: now_ms}
            peer.found_ms = {one: times_ms[one] for one in peer.reached if one in times_ms}
            self._unsaved.add(node)

    def left(self, node: NodeId, seq: int) -> None:
        """The node has said good-bye."""
        peer = self._peers.get(node)
        if peer is not None:
            peer.left_seq = max(seq, peer.record.seq)
            self.changes += 1
            self._unsaved.add(node)

    def returned(self, node: NodeId) -> None:
        """The node has said hello."""
        peer = self._peers.get(node)
        if peer is not None and peer.left_seq is not None:
            peer.left_seq = None
            self.changes += 1
            self._unsaved.add(node)

    def forget(self, nodes: Iterable[NodeId]) -> None:
        """These are of no interest any more."""
        for node in nodes:
            del self._peers[node]
            self.changes += 1
            self._unsaved.add(node)

    def unsaved(self) -> tuple[Write, ...]:
        """What has changed since the last call."""
        changed = sorted(self._unsaved)
        self._unsaved.clear()
        writes = ((_PREFIX + node, self._stored(node)) for node in changed)
        return (*writes, *((_FOUND_PREFIX + node, self._found(node)) for node in changed))

    def everything(self) -> tuple[Write, ...]:
        """All of it, with the times that change all the time."""
        self._unsaved.update(self._peers)
        return self.unsaved()

    def check_invariants(self) -> None:
        """Bounds hold, and everything stands under its own name."""
        assert len(self._peers) <= MAX_PEERS
        for node, peer in self._peers.items():
            assert peer.record.node == node
            assert len(peer.reached) <= MAX_ADDRESSES
            assert peer.found_ms.keys() <= set(peer.reached)
            assert peer.left_seq is None or peer.left_seq >= peer.record.seq

    def _stored(self, node: NodeId) -> bytes | None:
        peer = self._peers.get(node)
        if peer is None:
            return None
        return encode(
            _Stored(
                signed=peer.signed,
                reached=peer.reached,
                first_seen_ms=peer.first_seen_ms,
                last_seen_ms=peer.last_seen_ms,
                rtt_ms=peer.rtt_ms,
                left_seq=peer.left_seq,
            )
        )

    def _found(self, node: NodeId) -> bytes | None:
        peer = self._peers.get(node)
        if peer is None or not peer.found_ms:
            return None
        return encode(_Found(tuple(peer.found_ms.get(one, 0) for one in peer.reached)))
