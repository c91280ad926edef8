"""Nodes that lie by habit. Each is a sound engine whose outgoing effects are twisted on their way out.

`attacks.py` has those that follow a plan.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from consensus.blocks import Block
from consensus.certificates import Ballot, Phase, endorse
from consensus.messages import (
    Blocks,
    Body,
    Certified,
    CertifiedBlock,
    NewView,
    PreparedProof,
    Proposal,
    StateVote,
    Status,
    Suspect,
    Transactions,
    ViewChange,
    Vote,
    suspect_bytes,
    view_change_bytes,
)
from consensus.operations.transactions import Transaction
from gossip.codec import Digest, Wire, digest, encode
from gossip.effects import Broadcast
from gossip.identity import NodeId
from simulations.liars.habits import Liar, Twisted, another
from simulations.worlds.twisted import Garbage, Late


class Silent(Liar):
    """Hears everything and says nothing."""

    kind = "silent"

    def cast(self, to: tuple[NodeId, ...], message: Wire) -> Twisted:  # noqa: ARG002 - says nothing
        return []


class SilentLeader(Liar):
    """Votes, but never proposes and never opens a view."""

    kind = "silent_leader"

    def cast(self, to: tuple[NodeId, ...], message: Wire) -> Twisted:
        return [] if isinstance(message, Proposal | NewView) else [Broadcast(to, message)]


class Slow(Liar):
    """Says everything late, just within what others bear, and sometimes beyond it."""

    kind = "slow"

    def cast(self, to: tuple[NodeId, ...], message: Wire) -> Twisted:
        return [Late(self.luck(1_200, "slow", message), Broadcast(to, message))]


class Equivocator(Liar):
    """As leader, gives each half of the others another block, and votes for both."""

    kind = "equivocator"

    def cast(self, to: tuple[NodeId, ...], message: Wire) -> Twisted:
        left, right = self.halves(to, message)
        match message:
            case Proposal() if len(to) > 1:
                block = self.block_of(message)
                other = self.proposal(message, another(block, block.transactions[:-1]))
                self.heard.append(other)
                out: Twisted = [Broadcast(left, message), Broadcast(right, other)]
                for phase in Phase:
                    ballot = Ballot(phase, message.epoch, message.view, block.height, other.digest)
                    out.append(Broadcast(right, self.vote(ballot)))
                return out
            case Vote():
                return [Broadcast(left, message)]
            case _:
                return [Broadcast(to, message)]


class MalformedProposer(Liar):
    """As leader, proposes what must not be voted for, correctly signed, and votes for it."""

    kind = "malformed_proposer"

    def cast(self, to: tuple[NodeId, ...], message: Wire) -> Twisted:
        match message:
            case Proposal():
                lie = self.proposal(message, self._lie_about(self.block_of(message)))
                self.told[message.digest] = lie.digest
                return [Broadcast(to, lie)]
            case Vote() if message.ballot.digest in self.told:
                told = self.told[message.ballot.digest]
                ballot = msgspec.structs.replace(message.ballot, digest=told)
                return [Broadcast(to, self.vote(ballot))]
            case _:
                return [Broadcast(to, message)]

    def _lie_about(self, block: Block) -> Block:
        lies: tuple[Callable[[Block], Block], ...] = (
            self._unsigned,
            self._foreign_parent,
            self._far_ahead,
            self._skipping_a_nonce,
            self._replaying,
            self._wrong_root,
        )
        return lies[self.luck(len(lies), "malformed", block)](block)

    @staticmethod
    def _unsigned(block: Block) -> Block:
        forged = tuple(Transaction.of(one.body, bytes(64)) for one in block.transactions)
        return another(block, forged)

    @staticmethod
    def _foreign_parent(block: Block) -> Block:
        return another(block, block.transactions, prev_hash=digest(b"lie", block.digest))

    @staticmethod
    def _far_ahead(block: Block) -> Block:
        ahead = block.header.timestamp_ms + 10**9
        return another(block, block.transactions, timestamp_ms=ahead)

    @staticmethod
    def _skipping_a_nonce(block: Block) -> Block:
        return another(block, block.transactions[1:])

    def _replaying(self, block: Block) -> Block:
        assert self.engine is not None
        earlier = self.engine.chain.block(block.height - 1)
        return another(block, () if earlier is None else earlier.transactions)

    @staticmethod
    def _wrong_root(block: Block) -> Block:
        header = msgspec.structs.replace(block.header, tx_root=digest(b"lie", block.digest))
        return Block.of(header, block.transactions)


class DoubleVoter(Liar):
    """Votes for what it sees, and for something else as well, to each half first the one and then the other."""

    kind = "double_voter"

    def cast(self, to: tuple[NodeId, ...], message: Wire) -> Twisted:
        if not isinstance(message, Vote):
            return [Broadcast(to, message)]
        left, right = self.halves(to, message)
        false = self.vote(
            msgspec.structs.replace(message.ballot, digest=self._other(message.ballot))
        )
        return [
            Broadcast(left, message),
            Broadcast(right, false),
            Broadcast(left, false),
            Broadcast(right, message),
        ]

    def _other(self, ballot: Ballot) -> Digest:
        """A digest that somebody else has named for this height, or one of nothing."""
        for one in self.heard:
            if (
                isinstance(one, Proposal)
                and one.height == ballot.height
                and one.digest != ballot.digest
            ):
                return one.digest
        return digest(b"lie", ballot.digest)


class Spammer(Liar):
    """Repeats old messages of others, sends them with broken signatures, and bytes that are no message at all."""

    kind = "spammer"

    def cast(self, to: tuple[NodeId, ...], message: Wire) -> Twisted:
        out: Twisted = [Broadcast(to, message)]
        if not self.heard:
            return out
        old = self.heard[self.luck(len(self.heard), "spam", message)]
        out.append(Broadcast(to, old))
        match self.luck(4, "spam-kind", message):
            case 0:
                out.append(Garbage(to, encode(old)[:-3]))
            case 1:
                out.append(Garbage(to, self.draws.raw(b"garbage", encode(message), 64)))
            case 2 if isinstance(old, Vote):
                flipped = msgspec.structs.replace(old.ballot, phase=Phase(3 - old.ballot.phase))
                out.append(Broadcast(to, msgspec.structs.replace(old, ballot=flipped)))
            case _:
                out += self._from_the_future(to, message)
        return out

    def _from_the_future(self, to: tuple[NodeId, ...], message: Wire) -> Twisted:
        """Votes and suspicions for views and heights that nobody has reached."""
        far = 1 + self.luck(10**6, "far", message)
        name = digest(b"lie", encode(message))
        ballot = Ballot(Phase.PREPARE, 0, far, far, name)
        signature = self.signer.sign(suspect_bytes(self.chain, 0, far))
        return [
            Broadcast(to, self.vote(ballot)),
            Broadcast(to, Suspect(0, far, self.signer.public, signature)),
        ]


class Mutator(Liar):
    """Small-scope mutations of its real messages, signed again with its own key (ByzzFuzz, Winter et al. 2023)."""

    kind = "mutator"

    def cast(self, to: tuple[NodeId, ...], message: Wire) -> Twisted:
        if self.luck(3, "mutate", message) == 0:
            return [Broadcast(to, message)]
        left, right = self.halves(to, message)
        mutated = self._mutated(message)
        if self.luck(2, "both", message):
            return [Broadcast(to, mutated)]
        return [Broadcast(left, message), Broadcast(right, mutated)]

    def _mutated(self, message: Wire) -> Wire:
        step = 1 if self.luck(2, "step", message) else -1
        match message:
            case Vote():
                return self.vote(self._mutated_ballot(message.ballot, step))
            case Proposal():
                return self.proposal(
                    message, self.block_of(message), view=max(0, message.view + step)
                )
            case StateVote():
                statement = msgspec.structs.replace(
                    message.statement, state_root=digest(b"lie", message.statement.state_root)
                )
                return StateVote(statement, endorse(self.signer, self.chain, statement))
            case Suspect():
                view = max(0, message.view + step)
                signed = suspect_bytes(self.chain, message.epoch, view)
                return Suspect(message.epoch, view, message.voter, self.signer.sign(signed))
            case ViewChange():
                return self._mutated_change(message, step)
            case NewView():
                changes = message.view_changes[1:] or message.view_changes
                shorter = msgspec.structs.replace(message, view_changes=changes)
                signature = self.signer.sign(shorter.signing_bytes(self.chain))
                return msgspec.structs.replace(shorter, signature=signature)
            case Status():
                height = max(0, message.height + step)
                return msgspec.structs.replace(message, height=height)
            case _:
                return message

    def _mutated_ballot(self, ballot: Ballot, step: int) -> Ballot:
        match self.luck(4, "ballot", ballot):
            case 0:
                return msgspec.structs.replace(ballot, view=max(0, ballot.view + step))
            case 1:
                return msgspec.structs.replace(ballot, height=ballot.height + step)
            case 2:
                return msgspec.structs.replace(ballot, digest=digest(b"lie", ballot.digest))
            case _:
                return msgspec.structs.replace(ballot, phase=Phase(3 - ballot.phase))

    def _mutated_change(self, change: ViewChange, step: int) -> ViewChange:
        """Forget what it is bound to, or ask for another view."""
        epoch, view, committed, prepared = (
            change.epoch,
            change.view,
            change.committed,
            change.prepared,
        )
        match self.luck(4, "change", change):
            case 0:
                prepared = None
            case 3 if prepared is not None:
                prepared = forged(prepared, prepared.certificate.ballot.view)
            case 1:
                committed = prepared = None
            case _:
                view = max(1, view + step)
        signed = view_change_bytes(self.chain, epoch, view, committed, prepared)
        return ViewChange(epoch, view, committed, prepared, change.voter, self.signer.sign(signed))


def forged(prepared: PreparedProof, view: int) -> PreparedProof:
    """Another block in the place of the prepared one, under signatures that are not for it."""
    header = msgspec.structs.replace(prepared.header, timestamp_ms=prepared.header.timestamp_ms + 1)
    ballot = msgspec.structs.replace(prepared.certificate.ballot, digest=header.digest, view=view)
    certificate = msgspec.structs.replace(prepared.certificate, ballot=ballot)
    return PreparedProof(header, certificate)


class LyingServer(Liar):
    """Claims heights that don't exist, and serves blocks with certificates that belong to others."""

    kind = "lying_server"

    def cast(self, to: tuple[NodeId, ...], message: Wire) -> Twisted:
        match message:
            case Status():
                higher = message.height + self.luck(5, "claim", message)
                return [Broadcast(to, msgspec.structs.replace(message, height=higher))]
            case Blocks() if message.blocks:
                lies = (self._shifted, self._cut, self._swapped)
                return [Broadcast(to, lies[self.luck(len(lies), "serve", message)](message))]
            case Certified():
                endorsements = message.certificate.endorsements[1:]
                less = msgspec.structs.replace(message.certificate, endorsements=endorsements)
                return [Broadcast(to, Certified(less))]
            case Body():
                return [Broadcast(to, Body(Block(message.block.header, ())))]
            case _:
                return [Broadcast(to, message)]

    @staticmethod
    def _shifted(message: Blocks) -> Blocks:
        """Each block with the STATE certificate of the one before."""
        states = (None, *(item.state for item in message.blocks))
        return Blocks(
            tuple(
                CertifiedBlock(item.block, item.certificate, state)
                for item, state in zip(message.blocks, states, strict=False)
            )
        )

    @staticmethod
    def _cut(message: Blocks) -> Blocks:
        """Blocks without what is in them."""
        return Blocks(
            tuple(
                CertifiedBlock(Block(item.block.header, ()), item.certificate, item.state)
                for item in message.blocks
            )
        )

    @staticmethod
    def _swapped(message: Blocks) -> Blocks:
        """The last first."""
        return Blocks(message.blocks[::-1])


class Withholder(Liar):
    """Says each thing to some only, hands over no body and no block, and shows certificates in VIEW-CHANGEs."""

    kind = "withholder"

    def cast(self, to: tuple[NodeId, ...], message: Wire) -> Twisted:
        if isinstance(message, Body | Blocks | Transactions):
            return []
        if isinstance(message, ViewChange):
            return [Broadcast(to, message)]
        if isinstance(message, Vote) and message.ballot.phase is Phase.COMMIT:
            return []
        return [
            Broadcast((node,), message) for node in to if self.luck(3, "withhold", message, node)
        ]
