"""Topics in the daemon: the core of `gossip.broadcast` behind its channel, and who listens here."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import structlog
import trio

from gossip.broadcast.core import (
    Broadcaster,
    BroadcastEvent,
    Heard,
    Lost,
    Neighbourhood,
    Received,
    Say,
    TimerFired,
)
from gossip.broadcast.messages import MAX_PAYLOAD_BYTES, BroadcastMessage, Publication
from gossip.broadcast.topics import Pattern, TopicError, check_topic
from gossip.codec import Digest, Wire, encode
from gossip.effects import Broadcast, Cause, Notify, Rejected, Send
from gossip.identity import Ed25519Verifier, NodeId, Signer
from gossip.membership.notices import Liveness
from node.driver import CoreDriver, now_ms
from node.peers.service import TOPIC_CHANNEL, PeerService
from node.rounds import next_round

log = structlog.get_logger(__name__)

_MAX_WAITING: Final = 4096
_MAX_UNREAD: Final = 1024
_LOOK_S: Final = 1.0


@dataclass(slots=True)
class Listening:
    """One listener: what it has not read yet, and how much it missed since it read last."""

    pattern: Pattern
    into: trio.MemorySendChannel[Publication]
    out_of: trio.MemoryReceiveChannel[Publication]
    missed: int = field(default=0)

    def take_missed(self) -> int:
        """How many were dropped because it reads too slowly, or were lost on the way; counted anew from now on."""
        missed, self.missed = self.missed, 0
        return missed


class TopicService:
    """Publishes for this node, and tells listeners what anybody published."""

    def __init__(self, peers: PeerService, signer: Signer, federation: Digest) -> None:
        self.counters: Counter[str] = Counter()
        self._peers = peers
        core = Broadcaster(
            signer=signer,
            verifier=Ed25519Verifier(),
            federation=federation,
            begun_ms=now_ms(),
            is_member=peers.membership.is_member,
            jitter=lambda: secrets.randbelow(2**16) / 2**16,
        )
        self._driver: CoreDriver[BroadcastEvent] = CoreDriver(
            core.handle, TimerFired, self._carry_out, {}
        )
        self._neighbourhood = Neighbourhood((), everybody=True)
        self._listening: dict[int, Listening] = {}

    async def run(self) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._driver.run)
            seen = -1
            while True:
                if seen != self._peers.changes:
                    seen = self._peers.changes
                    self.look()
                await next_round(_LOOK_S)

    def publish(self, topic: str, payload: bytes) -> None:
        """Tell all members, this node's own listeners too. Raises `TopicError`."""
        check_topic(topic)
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise TopicError(
                f"{len(payload)} bytes are too much for a publication, which holds "
                f"{MAX_PAYLOAD_BYTES}; hand it over by `transfer` and publish its id"
            )
        self.look()
        self._driver.post(Say(topic, payload))

    @contextmanager
    def listen(self, pattern: str) -> Iterator[Listening]:
        """Hear what is published on topics that fit. Raises `TopicError`."""
        into, out_of = trio.open_memory_channel[Publication](_MAX_UNREAD)
        listening = Listening(Pattern(pattern), into, out_of)
        key = id(listening)
        self._listening[key] = listening
        try:
            yield listening
        finally:
            del self._listening[key]

    def on_message(self, peer: NodeId, message: BroadcastMessage) -> None:
        """A member's message; refused if too much waits, and offered again later by whoever has it."""
        if self._driver.waiting > _MAX_WAITING:
            self._peers.refusals.tell(Rejected(peer, "too much waits here", Cause.TOO_OFTEN))
        else:
            self._driver.post(Received(peer, message))

    def look(self) -> None:
        """Compare who can be sent to with what the core was told."""
        friends = self._peers.reachable
        known = {
            entry.node_id
            for entry in self._peers.membership.table()
            if entry.status not in (Liveness.DEAD, Liveness.LEFT)
        }
        seen = Neighbourhood(tuple(sorted(friends)), everybody=known <= friends)
        if seen != self._neighbourhood:
            self._neighbourhood = seen
            self._driver.post(seen)

    def _carry_out(self, effect: object) -> None:
        match effect:
            case Send():
                self._send((effect.to,), effect.message)
            case Broadcast():
                self._send(effect.to, effect.message)
            case Rejected():
                self._peers.refusals.tell(effect)
            case Notify(what=Heard(publication=publication)):
                self._tell(publication)
            case Notify(what=Lost() as lost):
                self._tell_lost(lost)
            case _:
                raise AssertionError(f"the broadcast core never asks for {effect!r}")

    def _send(self, peers: tuple[NodeId, ...], message: Wire) -> None:
        payload = encode(message)
        for peer in peers:
            if not self._peers.link.send(peer, TOPIC_CHANNEL, payload):
                self.counters["unsent"] += 1

    def _tell(self, publication: Publication) -> None:
        self.counters["heard"] += 1
        for listening in self._listening.values():
            if listening.pattern.matches(publication.topic):
                try:
                    listening.into.send_nowait(publication)
                except trio.WouldBlock:
                    listening.missed += 1

    def _tell_lost(self, lost: Lost) -> None:
        """Nobody knows on which topics they were, so all listeners hear of it."""
        self.counters["lost"] += len(lost.numbers)
        log.warning(
            "publications lost",
            publisher=lost.series.publisher.hex(),
            numbers=list(lost.numbers[:20]),
        )
        for listening in self._listening.values():
            listening.missed += len(lost.numbers)
