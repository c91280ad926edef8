"""What all liars have in common: a sound engine, its keys, and a way to say something else instead.

A liar holds its own two keys and nobody else's, so whatever it forges in another's name must fail. Which lie it tells
is drawn by key from what it was about to say.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import ClassVar

from consensus.blocks import Block, make_block
from consensus.certificates import Ballot, endorse
from consensus.engine import Engine
from consensus.messages import (
    Blocks,
    Fetched,
    FetchTransactions,
    NewViewNames,
    Proposal,
    StoredBlocks,
    ViewChangeNames,
    Vote,
    proposal_bytes,
)
from consensus.operations.transactions import Transaction
from consensus.pbft.own_votes import VotingKeys
from gossip.codec import Digest, Wire, decode, encode
from gossip.effects import Broadcast, Effect, Send
from gossip.identity import NodeId, Signer
from simulations.worlds.draws import Draws
from simulations.worlds.twisted import Garbage, Late

Twisted = list[Effect | Late | Garbage]
_BODIES = 32


class UnrestrainedKeys(VotingKeys):
    """A liar goes on signing, whatever its engine finds out about its own key."""

    def silence(self, key: bytes) -> None:
        """It is not."""


@dataclass(slots=True)
class Liar:
    """What all liars know. By itself: a sound node."""

    name: int
    signer: Signer
    chain: Digest
    draws: Draws
    engine: Engine | None = None
    heard: deque[Wire] = field(default_factory=lambda: deque(maxlen=64))
    told: dict[bytes, bytes] = field(default_factory=dict)
    """What it said instead, by the digest it should have named."""
    bodies: dict[bytes, Block] = field(default_factory=dict)
    planned: dict[int, Block] = field(default_factory=dict)
    """Blocks of its own making, by digest and by height."""
    kind: ClassVar[str] = "sound"

    def hear(self, message: Wire) -> Twisted:
        """A message came in; what it says to that, before its engine says anything."""
        self.heard.append(message)
        return self.hand_over(message) if isinstance(message, FetchTransactions) else []

    def hand_over(self, message: FetchTransactions) -> Twisted:
        """What it has made up itself and somebody asks for; to everybody, since nobody else takes it."""
        wanted = set(message.transactions)
        made_up = {
            one.id: one.raw
            for block in self.bodies.values()
            for one in block.transactions
            if one.id in wanted
        }
        if not made_up:
            return []
        assert self.engine is not None
        return [Broadcast(self.engine.validators.nodes, Fetched(tuple(made_up.values())))]

    def block_of(self, proposal: Proposal) -> Block:
        """The block that its engine proposes."""
        assert self.engine is not None
        block = self.engine.replica.body(proposal.digest)
        assert block is not None
        return block

    def twist(self, effects: list[Effect]) -> Twisted:
        """What it does instead of `effects`."""
        out: Twisted = []
        for effect in effects:
            match effect:
                case Broadcast(message=Proposal() as told) if self._has_left(told):
                    out.append(effect)
                case Broadcast():
                    out += self.cast(effect.to, self.whole(effect.message))
                case Send(message=StoredBlocks() as stored):
                    out += self.cast((effect.to,), decode(encode(stored), Blocks))
                case Send():
                    out += self.cast((effect.to,), self.whole(effect.message))
                case _:
                    out.append(effect)
        return out

    def whole(self, message: Wire) -> Wire:
        """What a large set only names, so that it can be lied about; others must take it whole as well."""
        if self.engine is None or not isinstance(message, ViewChangeNames | NewViewNames):
            return message
        promise = self.engine.replica.promise
        is_request = isinstance(message, ViewChangeNames)
        whole = promise.promised if is_request else promise.entered
        return message if whole is None or whole.view != message.view else whole

    def _has_left(self, proposal: Proposal) -> bool:
        """Whether its engine has proposed and asked for another view in one turn: the block to lie about is gone."""
        assert self.engine is not None
        return self.engine.replica.body(proposal.digest) is None

    def cast(self, to: tuple[NodeId, ...], message: Wire) -> Twisted:
        """What goes out instead of `message`."""
        return [Broadcast(to, message)]

    def luck(self, bound: int, purpose: str, message: Wire, *more: object) -> int:
        """A number below `bound`, drawn for this message."""
        return self.draws.below(bound, purpose, self.name, encode(message), *more)

    def halves(
        self, to: tuple[NodeId, ...], message: Wire
    ) -> tuple[tuple[NodeId, ...], tuple[NodeId, ...]]:
        """The hearers split in two, by the height that is spoken of, so that a lie stays consistent."""
        height = _height_of(message)
        left = tuple(
            node for node in to if self.draws.below(2, "half", self.name, height, bytes(node)) == 0
        )
        return left, tuple(node for node in to if node not in left)

    def vote(self, ballot: Ballot) -> Vote:
        """A vote under its own key."""
        return Vote(ballot, endorse(self.signer, self.chain, ballot))

    def proposal(self, like: Proposal, block: Block, *, view: int | None = None) -> Proposal:
        """A proposal under its own key."""
        at = like.view if view is None else view
        self.bodies[block.digest] = block
        while len(self.bodies) > _BODIES:
            del self.bodies[next(iter(self.bodies))]
        signed = proposal_bytes(self.chain, like.epoch, at, block.height, block.digest)
        names = tuple(one.id for one in block.transactions)
        return Proposal(like.epoch, at, block.header, names, self.signer.sign(signed))


def _height_of(message: Wire) -> int:
    match message:
        case Proposal():
            return message.height
        case Vote():
            return message.ballot.height
        case _:
            return 0


def another(block: Block, transactions: tuple[Transaction, ...], **changes: object) -> Block:
    """A well-formed block beside `block`, with other transactions or another header."""
    header = block.header
    fields: dict[str, object] = {
        "chain": Digest(header.chain),
        "height": header.height,
        "epoch": header.epoch,
        "prev_hash": Digest(header.prev_hash),
        "proposer": header.proposer,
        "timestamp_ms": header.timestamp_ms + 1,
    }
    return make_block(**(fields | changes), transactions=transactions)  # type: ignore[arg-type]
