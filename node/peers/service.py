"""Peers in the daemon: the one door for bytes from others, and the membership core behind it.

Every frame is decoded here into a typed message and only then given to a core; a stranger reaches the membership core
and nothing else. A peer that sends what does not decode is disconnected.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog
import trio

from consensus.messages import ConsensusMessage
from gossip import transport
from gossip.broadcast.messages import BroadcastMessage
from gossip.codec import DecodeError, Wire, decode, encode
from gossip.effects import Broadcast, Cause, Notify, Rejected, Send, Store
from gossip.identity import NodeId
from gossip.membership import Membership, events
from gossip.membership.messages import MembershipMessage
from gossip.transport import MEMBER_LIMITS, STRANGER_LIMITS, PeerLimits, Transport
from node.driver import CoreDriver
from node.peers.refusals import FRAME_S, Refusals, WasteBudget
from node.storage.store import StagedStore

log = structlog.get_logger(__name__)

MEMBERSHIP_CHANNEL = 1
CONSENSUS_CHANNEL = 2
TOPIC_CHANNEL = 3

REACH_S = 5.0
_OUTSIDE = "consensus and topics are for members"
_HOLD_S = 10.0
_MAX_WAITING = 10_000


@dataclass(frozen=True, slots=True)
class DialInVain:
    """Nobody of use was reached at an address; it will be tried again."""

    address: str
    reason: str


class PeerService:
    """Joins transport and membership; hands consensus messages of members on."""

    def __init__(
        self, link: Transport, membership: Membership, store: StagedStore, nursery: trio.Nursery
    ) -> None:
        self.link, self.membership = link, membership
        self._nursery = nursery
        self._driver: CoreDriver[events.MembershipEvent] = CoreDriver(
            membership.handle, events.TimerFired, self._carry_out, {Store.PEERS: store}
        )
        self._on_notice: Callable[[object], None] = _ignore
        self._on_consensus: Callable[[NodeId, Any], None] = _ignore_message
        self._on_broadcast: Callable[[NodeId, Any], None] = _ignore_message
        self._on_reachable: Callable[[NodeId, bool], None] = _ignore_reachable
        self._on_mesh: Callable[[bool], None] = _ignore
        self._is_partial = False
        self._arrivals = trio.Event()
        self._held: Counter[NodeId] = Counter()
        self._reachable: set[NodeId] = set()
        self._room: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
        self._has_leisure: Callable[[], bool] = _never
        self._waste = WasteBudget()
        self.refusals = Refusals()
        self.changes = 0
        """Grows whenever the table or who can be reached may have changed."""
        self.counters: Counter[str] = Counter()

    def connect(
        self,
        *,
        on_notice: Callable[[object], None],
        on_consensus: Callable[[NodeId, ConsensusMessage], None] | None = None,
        on_broadcast: Callable[[NodeId, BroadcastMessage], None] | None = None,
        on_reachable: Callable[[NodeId, bool], None] | None = None,
        on_mesh: Callable[[bool], None] | None = None,
        room: Callable[[], Awaitable[None]] | None = None,
        has_leisure: Callable[[], bool] | None = None,
    ) -> None:
        """Say who hears the news, what members send, who can be reached, and whether not all are connected with all.

        No consensus message is read before `room` returns. While `has_leisure`, they are handed on as they come.
        """
        if room is not None:
            self._room = room
        if has_leisure is not None:
            self._has_leisure = has_leisure
            self.link.events.attend(self._take_at_once)
        self._on_notice = on_notice
        if on_consensus is not None:
            self._on_consensus = on_consensus
        if on_broadcast is not None:
            self._on_broadcast = on_broadcast
        if on_reachable is not None:
            self._on_reachable = on_reachable
        if on_mesh is not None:
            self._on_mesh = on_mesh

    async def run(self) -> None:
        """Serve until cancelled."""
        self._driver.post(events.Started())
        for peer, stats in self.link.stats().items():
            self._driver.post(events.PeerUp(peer, stats.address, stats.outbound))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._driver.run)
            nursery.start_soon(self._listen)
            nursery.start_soon(self._hold)

    def post(self, event: events.MembershipEvent) -> None:
        """Tell the membership core something that this node knows by itself."""
        self._driver.post(event)

    async def dial(self, address: str) -> bool:
        """Connect to a peer that was heard of otherwise, and tell membership how it went."""
        try:
            peer = await self.link.dial(address)
        except transport.DialError as error:
            log.info("dialed in vain", address=address, reason=str(error))
            return False
        self._driver.post(events.Dialed(address, peer))
        return True

    @asynccontextmanager
    async def reached(self, node: NodeId) -> AsyncIterator[None]:
        """Be connected with a member that is no neighbour, as long as this lasts; for `REACH_S` it is tried.

        Whether it worked shows when a stream is opened. Where all are connected with all, who is not there is not
        waited for.
        """
        self._held[node] += 1
        self._driver.post(events.Needed(node))
        try:
            with trio.move_on_after(REACH_S):
                while self._is_partial and node not in self._reachable:
                    await self._arrivals.wait()
            yield
        finally:
            self._held[node] -= 1
            if not self._held[node]:
                del self._held[node]

    async def _hold(self) -> None:
        while True:
            await trio.sleep(_HOLD_S)
            for node in self._held:
                self._driver.post(events.Needed(node))

    async def caught_up(self) -> None:
        """Return when the membership core has taken all that was posted before."""
        await self._driver.caught_up()

    def send_consensus(self, peer: NodeId, payload: bytes, urgent: bool) -> bool:  # noqa: FBT001 - passed on as it is
        """Queue a consensus frame; False if the peer is not there or its queue is full."""
        return self.link.send(peer, CONSENSUS_CHANNEL, payload, urgent=urgent)

    async def _listen(self) -> None:
        async for event in self.link.events:
            match event:
                case transport.PeerUp():
                    self._driver.post(events.PeerUp(event.peer, event.address, event.outbound))
                case transport.PeerDown():
                    say = log.info if self.membership.is_member(event.peer) else log.debug
                    say("connection ended", peer=event.peer.hex(), reason=event.reason)
                    self._driver.post(events.PeerDown(event.peer, event.reason))
                    self._set_reachable(event.peer, reachable=False)
                case transport.Frame():
                    await self._on_frame(event)

    def _take_at_once(self, frame: transport.Frame) -> bool:
        """Hand on what a member says to consensus; everything else goes the usual way, where it is judged."""
        peer = frame.peer
        if frame.channel != CONSENSUS_CHANNEL or peer not in self._reachable:
            return False
        if not self._has_leisure() or not self.membership.is_member(peer):
            return False
        try:
            message: Any = decode(frame.payload, ConsensusMessage)  # type: ignore[arg-type]
        except DecodeError:
            return False
        self._on_consensus(peer, message)
        return True

    async def _on_frame(self, frame: transport.Frame) -> None:
        try:
            if frame.channel == MEMBERSHIP_CHANNEL:
                message: Any = decode(frame.payload, MembershipMessage)  # type: ignore[arg-type]
                while self._driver.waiting > _MAX_WAITING:
                    await trio.lowlevel.checkpoint()
                self._driver.post(events.Received(frame.peer, message))
                self.charge(frame.peer, 0.0)
            elif frame.channel not in (CONSENSUS_CHANNEL, TOPIC_CHANNEL):
                await self._drop(frame.peer, f"it used the unknown channel {frame.channel}")
            elif not self.membership.is_member(frame.peer):
                self.refusals.tell(Rejected(frame.peer, _OUTSIDE, Cause.NOT_ENTITLED))
                self.charge(frame.peer, 0.0)
            elif frame.channel == CONSENSUS_CHANNEL:
                self._set_reachable(frame.peer, reachable=True)
                await self._room()
                message = decode(frame.payload, ConsensusMessage)  # type: ignore[arg-type]
                self._on_consensus(frame.peer, message)
            else:
                message = decode(frame.payload, BroadcastMessage)  # type: ignore[arg-type]
                self._on_broadcast(frame.peer, message)
                self.charge(frame.peer, 0.0)
        except DecodeError as error:
            self.refusals.count(Rejected(frame.peer, str(error), Cause.MALFORMED))
            await self._drop(frame.peer, f"it sent a message that does not decode: {error}")

    def charge(self, peer: NodeId, spent_s: float) -> None:
        """A message of this peer was of no use, or a question: it cost so much CPU beside its carriage."""
        hold_s = self._waste.charge(trio.current_time(), peer, spent_s + FRAME_S)
        if hold_s:
            self.link.events.hold(peer, hold_s)

    async def _drop(self, peer: NodeId, reason: str) -> None:
        log.warning("peer disconnected", peer=peer.hex(), reason=reason)
        await self.link.disconnect(peer, reason)

    @property
    def reachable(self) -> frozenset[NodeId]:
        """The members that are connected."""
        return frozenset(self._reachable)

    def refresh_reachable(self) -> None:
        """Compare who is connected and a member with what consensus was told; after any admission."""
        for peer in sorted(self.link.peers()):
            self._set_reachable(peer, reachable=self.membership.is_member(peer))

    def _set_reachable(self, peer: NodeId, *, reachable: bool) -> None:
        if reachable == (peer in self._reachable):
            return
        if reachable:
            self._reachable.add(peer)
            self._arrivals.set()
            self._arrivals = trio.Event()
        else:
            self._reachable.discard(peer)
        self.changes += 1
        self._on_reachable(peer, reachable)
        self._look_at_mesh()

    def _look_at_mesh(self) -> None:
        if self.membership.is_partial != self._is_partial:
            self._is_partial = self.membership.is_partial
            self._on_mesh(self._is_partial)

    def _carry_out(self, effect: object) -> None:
        match effect:
            case Send():
                self._send((effect.to,), effect.message)
                if effect.to in self._reachable:
                    return
            case Broadcast():
                self._send(effect.to, effect.message)
                if self._reachable.issuperset(effect.to):
                    return
            case events.Dial():
                self._nursery.start_soon(self._dial, effect.address)
            case events.Disconnect():
                self._nursery.start_soon(self.link.disconnect, effect.peer, effect.reason)
            case Rejected():
                self.refusals.tell(effect)
            case Notify():
                self.changes += 1
                self._look_at_mesh()
                self._on_notice(effect.what)
            case _:
                raise AssertionError(f"the membership core never asks for {effect!r}")
        self.refresh_reachable()

    def _send(self, peers: tuple[NodeId, ...], message: Wire) -> None:
        payload = encode(message)
        for peer in peers:
            if not self.link.send(peer, MEMBERSHIP_CHANNEL, payload):
                self.counters["unsent"] += 1

    async def _dial(self, address: str) -> None:
        try:
            peer = await self.link.dial(address)
        except transport.DialError as error:
            self._driver.post(events.DialFailed(address, str(error)))
            self._on_notice(DialInVain(address, str(error)))
        else:
            self._driver.post(events.Dialed(address, peer))


class Limits:
    """What a transport asks for each batch; strangers get little until membership is set and says otherwise."""

    def __init__(self) -> None:
        self.is_member: Callable[[NodeId], bool] = lambda _: False

    def admits(self, peer: NodeId) -> bool:
        """Whether the peer is a member by now."""
        return self.is_member(peer)

    def __call__(self, peer: NodeId) -> PeerLimits:
        """See `gossip.transport.Limits`."""
        return MEMBER_LIMITS if self.is_member(peer) else STRANGER_LIMITS


def _ignore(_: object) -> None:
    pass


def _never() -> bool:
    return False


def _ignore_message(_: NodeId, __: object) -> None:
    pass


def _ignore_reachable(_: NodeId, __: bool) -> None:  # noqa: FBT001 - a callback's shape
    pass
