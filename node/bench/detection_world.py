"""A federation of detectors on one virtual clock: who finds out that a node is gone, when, at what cost.

A liar answers when it is asked, never helps, and accuses somebody healthy every second. Signatures
are keyed hashes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import count
from typing import ClassVar

from gossip.codec import ZERO_DIGEST, Wire, encode
from gossip.effects import Broadcast, Effect, Send
from gossip.identity import NodeId, PublicKey, Signature
from gossip.membership.detector import Detector
from gossip.membership.messages import Challenge, DetectionMessage, Ping, Pong, Rumours
from gossip.membership.suspicions import Statements
from node.bench.gossip_world import LIE_MS, LINK_MS, Dweller, GossipWorld

FRAME_BYTES = 5
EPOCH_MS = 1_700_000_000_000


class KeyedHash:
    """Signs and checks with blake2b; the key is the public name, since nobody here forges."""

    def __init__(self, public: bytes) -> None:
        self.public = PublicKey(public)

    def sign(self, message: bytes) -> Signature:
        """See `Signer.sign`."""
        return Signature(blake2b(message, key=self.public).digest())

    def verify(self, public: bytes, message: bytes, signature: bytes) -> bool:
        """See `Verifier.verify`."""
        return blake2b(message, key=public).digest() == signature


@dataclass(slots=True)
class Resident:
    """One node; it is its own roster, and everybody is connected with everybody."""

    dweller: Dweller
    world: DetectionWorld
    own_incarnation: int = 1
    due_ms: int = -1
    core: Detector = field(init=False)
    others: list[NodeId] = field(init=False)

    @property
    def node(self) -> NodeId:
        """Its name."""
        return self.dweller.node

    @property
    def tolerated(self) -> int:
        """See `roster.Roster`."""
        return self.world.tolerated

    def members(self) -> Sequence[NodeId]:
        """See `roster.Roster`."""
        return self.others

    watched = connected = friends = members

    def is_far(self, _: NodeId) -> bool:
        """See `roster.Roster`."""
        return False

    def has_voice(self, _: NodeId) -> bool:
        """See `roster.Roster`."""
        return True

    def incarnation(self, node: NodeId) -> int | None:
        """See `roster.Roster`."""
        return 1 if node in self.world.residents else None


class DetectionWorld(GossipWorld):
    """See `GossipWorld`; everybody is connected with everybody."""

    resident: ClassVar[type[Resident]] = Resident

    def __init__(self, nodes: int, *, loss: float, slow: float, liars: int, seed: int) -> None:
        super().__init__(nodes, loss=loss, slow=slow, liars=liars, seed=seed)
        self.tolerated = (nodes - 1) // 3
        self.residents = {name: self.resident(self.dwellers[name], self) for name in self.names}
        for one in self.residents.values():
            self._settle(one, sorted(self.names))

    def _settle(self, one: Resident, names: Sequence[NodeId]) -> None:
        one.others = [name for name in names if name != one.node]
        key = KeyedHash(one.node)
        statements = Statements(ZERO_DIGEST, key, key)
        one.core = Detector(statements, one, self.dice.random, count(self.dice.getrandbits(32)))
        start_ms = self.dice.randrange(1_000)
        if one.dweller.liar:
            # Not before all others are up.
            self.at(LIE_MS + start_ms, lambda: self._lie(one))
        else:
            self.at(start_ms, lambda: self._tick(one))

    def _tick(self, one: Resident) -> None:
        if one.dweller.up:
            one.due_ms = -1
            self._carry_out(one, one.core.tick(self.now_ms))
            self.after(one)

    def after(self, one: Resident) -> None:
        """Look what it knows now, and when it wants to go on."""
        challenge = one.core.challenge(self.now_ms)
        if challenge is not None:
            one.own_incarnation = max(one.own_incarnation, challenge) + 1
            one.core.refuted(self.now_ms, one.own_incarnation)
        for loss in self.losses.values():
            case = one.core.case(loss.node)
            if case is not None:
                loss.known_ms.setdefault(one.node, self.now_ms)
                if case.own_ms is not None and loss.suspected_ms is None:
                    loss.suspected_ms = self.now_ms
                if case.dead:
                    loss.dead_ms.setdefault(one.node, self.now_ms)
        due_ms = one.core.due_ms
        if due_ms != one.due_ms:
            one.due_ms = due_ms
            delay_ms = max(0, due_ms - self.now_ms) + self.lag_ms(one.node)

            def wake() -> None:
                if one.due_ms == due_ms:
                    self._tick(one)

            self.at(delay_ms, wake)

    def is_dead_to(self, node: NodeId, other: NodeId) -> bool:
        """See `GossipWorld`."""
        return self.residents[node].core.is_dead(other)

    def _carry_out(self, one: Resident, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    self.send(one, (effect.to,), effect.message)
                case Broadcast():
                    self.send(one, effect.to, effect.message)
                case _:
                    raise AssertionError(f"nobody here forges, and yet: {effect}")

    def send(self, one: Resident, to: Sequence[NodeId], message: Wire) -> None:
        self.count(len(to), len(encode(message)) + FRAME_BYTES, type(message).__name__)
        for name in to:
            if not self.is_lost():
                self._arrive(one, self.residents[name], message)

    def _arrive(self, sender: Resident, one: Resident, message: Wire) -> None:
        delay_ms = LINK_MS + self.lag_ms(one.node)
        self.at(delay_ms, lambda: self._take(sender.node, one, message))

    def _take(self, sender: NodeId, one: Resident, message: Wire) -> None:
        if not one.dweller.up:
            return
        if isinstance(message, Ping):
            dead = one.core.dead_count(self.now_ms)
            self.send(one, (sender,), Pong(message.nonce, EPOCH_MS + self.now_ms, dead))
        if one.dweller.liar:
            if isinstance(message, Challenge):
                effects = one.core.on_message(self.now_ms, sender, message, _always)
                self._carry_out(one, effects)
            return
        one.core.heard(self.now_ms, sender)
        if isinstance(message, Pong):
            self._carry_out(one, one.core.on_dead_count(self.now_ms, sender, message.dead))
        elif isinstance(message, DetectionMessage):
            self._carry_out(one, one.core.on_message(self.now_ms, sender, message, _always))
        self.after(one)

    def teller_of(self, liar: Resident) -> Resident:
        """Who brings its lies to others: itself."""
        return liar

    def lie_to(self, liar: Resident) -> list[NodeId]:
        """Who could hear its lies."""
        return [name for name in liar.others if not self.dwellers[name].liar]

    def _lie(self, liar: Resident) -> None:
        """Accuse somebody healthy of not answering, in its very incarnation."""
        victim = self.dice.choice(self.healthy())
        key = KeyedHash(liar.node)
        statements = Statements(ZERO_DIGEST, key, key)
        lie = statements.suspect(victim, self.residents[victim].own_incarnation)
        teller = self.teller_of(liar)
        honest = self.lie_to(teller)
        for name in self.dice.sample(honest, min(3, len(honest))):
            self._arrive(teller, self.residents[name], Rumours((lie,), ()))
        self.at(LIE_MS, lambda: self._lie(liar))


def _always() -> bool:
    return True
