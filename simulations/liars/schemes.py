"""Liars that attack the change of views, the seats of others, and what stands in a STATE vote."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from consensus.certificates import Ballot, Phase, endorse
from consensus.messages import (
    Blocks,
    Body,
    Certified,
    NewView,
    Proposal,
    StateVote,
    Status,
    Suspect,
    ViewChange,
    Vote,
    suspect_bytes,
)
from consensus.quorum import Validator
from gossip.codec import Wire, digest
from gossip.effects import Broadcast
from gossip.identity import NodeId
from simulations.liars.habits import Liar, Twisted, another
from simulations.worlds.twisted import Garbage, Late

_FLOOD = 12


class Schemer(Liar):
    """What those have in common that know who sits where."""

    @property
    def seats(self) -> tuple[Validator, ...]:
        """The validators of its epoch, in seat order."""
        assert self.engine is not None
        return self.engine.validators.validators

    @property
    def others(self) -> tuple[NodeId, ...]:
        """All validators but itself."""
        own = self.signer.public
        return tuple(NodeId(one.node) for one in self.seats if one.voting_key != own)

    def both_votes(self, proposal: Proposal) -> tuple[Vote, Vote]:
        """PREPARE and COMMIT for what is proposed."""
        place = proposal.epoch, proposal.view, proposal.height, proposal.digest
        return self.vote(Ballot(Phase.PREPARE, *place)), self.vote(Ballot(Phase.COMMIT, *place))


@dataclass(slots=True)
class Weaver(Schemer):
    """Weaves two certificates for one height, of two views, and has a third view choose between them.

    In view 0 it lets one node alone prepare its block, in view 1 it lets the next leader alone commit another, and then
    it asks for a view that sees both: a protocol that takes any certificate but the highest view's decides twice.
    """

    asked: set[tuple[int, int]] = field(default_factory=set)
    kind = "weaver"

    def hear(self, message: Wire) -> Twisted:
        """Vote for what is proposed later, and join every suspicion and every request for a view."""
        Liar.hear(self, message)
        match message:
            case Proposal() if message.view == 1:
                prepare, commit = self.both_votes(message)
                early = self._early(message.height)
                wide = tuple(node for node in self.others if node != early)
                leader = self._leader(1, message.height)
                return [Broadcast(wide, prepare), Broadcast((leader,), commit)]
            case Proposal() if message.view > 1:
                return [Broadcast(self.others, vote) for vote in self.both_votes(message)]
            case Suspect() if message.view > 0 and self._is_new(0, message.view):
                signed = suspect_bytes(self.chain, message.epoch, message.view)
                own = msgspec.structs.replace(
                    message, voter=self.signer.public, signature=self.signer.sign(signed)
                )
                return [Broadcast(self.others, own)]
            case ViewChange() if self._is_new(1, message.view):
                return [Broadcast(self.others, self._empty(message))]
            case _:
                return []

    def cast(self, to: tuple[NodeId, ...], message: Wire) -> Twisted:
        match message:
            case Proposal() if message.view == 0:
                left_out = self._leader(1, message.height)
                return [Broadcast(tuple(node for node in to if node != left_out), message)]
            case Vote() if message.ballot.view == 0 and message.ballot.phase is Phase.PREPARE:
                return [Broadcast((self.others[-1],), message)]
            case Vote() | ViewChange() | Blocks() | Body() | Certified() | Status() | StateVote():
                return []
            case _:
                return [Broadcast(to, message)]

    def _is_new(self, question: int, view: int) -> bool:
        fresh = (question, view) not in self.asked
        self.asked.add((question, view))
        return fresh

    def _early(self, height: int) -> NodeId:
        """Who alone prepares in view 0: the last who is neither this node nor the leader of view 1."""
        return [node for node in self.others if node != self._leader(1, height)][-1]

    def _leader(self, view: int, height: int) -> NodeId:
        assert self.engine is not None
        return NodeId(self.engine.validators.leader(view, height).node)

    def _empty(self, like: ViewChange) -> ViewChange:
        """A request for the same view that shows nothing prepared."""
        lie = msgspec.structs.replace(like, prepared=None, voter=self.signer.public)
        signature = self.signer.sign(lie.signing_bytes(self.chain))
        return msgspec.structs.replace(lie, signature=signature)


class Impersonator(Schemer):
    """Votes, suspects and asks for views in everybody's name, under its own signature."""

    kind = "impersonator"

    def cast(self, to: tuple[NodeId, ...], message: Wire) -> Twisted:
        out: Twisted = [Broadcast(to, message)]
        for seat in self.seats:
            if seat.voting_key == self.signer.public or NodeId(seat.node) in to[:1]:
                continue
            match message:
                case Vote():
                    false = msgspec.structs.replace(message.endorsement, voter=seat.voting_key)
                    out.append(Broadcast(to, Vote(message.ballot, false)))
                case Suspect() | ViewChange():
                    out.append(
                        Broadcast(to, msgspec.structs.replace(message, voter=seat.voting_key))
                    )
                case _:
                    break
        return out


class Censor(Schemer):
    """As leader, leaves the transactions of one user out of every block."""

    kind = "censor"

    def cast(self, to: tuple[NodeId, ...], message: Wire) -> Twisted:
        match message:
            case Proposal() if message.view == 0 and len(message.transactions) > 1:
                block = self.block_of(message)
                victim = self.others[self.draws.below(len(self.others), "victim", self.name)]
                kept = tuple(one for one in block.transactions if one.body.sender != victim)
                lie = self.proposal(message, another(block, kept))
                self.told[block.digest] = lie.digest
                prepare, commit = self.both_votes(lie)
                return [Broadcast(to, lie), Broadcast(to, prepare), Broadcast(to, commit)]
            case Vote() if message.ballot.digest in self.told:
                return []
            case _:
                return [Broadcast(to, message)]


@dataclass(slots=True)
class Usurper(Schemer):
    """Opens views that nobody gave it, twice, from too few requests or from doctored ones."""

    changes: dict[int, dict[bytes, ViewChange]] = field(default_factory=dict)
    kind = "usurper"

    def hear(self, message: Wire) -> Twisted:
        """A NEW-VIEW from every new set of requests: some valid, beside another that was valid as well."""
        Liar.hear(self, message)
        if not isinstance(message, ViewChange):
            return []
        self.changes = {view: one for view, one in self.changes.items() if view >= message.view - 2}
        known = self.changes.setdefault(message.view, {})
        known[message.voter] = message
        latest = tuple(change for _, change in sorted(known.items()))
        lies = (latest, latest[1:], latest[:1] * len(self.seats), self._doctored(latest))
        lie = lies[self.luck(len(lies), "usurps", message)]
        if not lie:
            return []
        return [Broadcast(self.others, self._opened(message.epoch, message.view, lie))]

    def cast(self, to: tuple[NodeId, ...], message: Wire) -> Twisted:
        if isinstance(message, ViewChange):
            self.changes.setdefault(message.view, {})[message.voter] = message
        if not isinstance(message, NewView):
            return [Broadcast(to, message)]
        left, right = self.halves(to, message)
        rest = tuple(one for one in message.view_changes if one.prepared is None)
        lie = rest or message.view_changes[:-1] or message.view_changes
        other = self._opened(message.epoch, message.view, lie)
        return [Broadcast(left, message), Broadcast(right, other)]

    @staticmethod
    def _doctored(changes: tuple[ViewChange, ...]) -> tuple[ViewChange, ...]:
        """The same requests, robbed of what they show."""
        return tuple(msgspec.structs.replace(one, prepared=None) for one in changes)

    def _opened(self, epoch: int, view: int, changes: tuple[ViewChange, ...]) -> NewView:
        unsigned = NewView(epoch, view, changes, self.signer.public, bytes(64))
        signature = self.signer.sign(unsigned.signing_bytes(self.chain))
        return msgspec.structs.replace(unsigned, signature=signature)


class StateLiar(Schemer):
    """Signs another outcome of every block, sends it often, and shows certificates of its own signature."""

    kind = "state_liar"

    def cast(self, to: tuple[NodeId, ...], message: Wire) -> Twisted:
        match message:
            case StateVote():
                false = self._false(message)
                left, right = self.halves(to, message)
                return [Broadcast(left, false), Broadcast(right, message), Broadcast(to, message)]
            case Certified():
                first = message.certificate.endorsements[:1]
                often = msgspec.structs.replace(
                    message.certificate,
                    endorsements=first * len(message.certificate.endorsements),
                )
                return [Broadcast(to, Certified(often))]
            case _:
                return [Broadcast(to, message)]

    def _false(self, sincere: StateVote) -> StateVote:
        statement = sincere.statement
        root = digest(b"lie", statement.state_root)
        lie = msgspec.structs.replace(statement, state_root=root, results_root=root)
        return StateVote(lie, endorse(self.signer, self.chain, lie))


class TwoFaced(Schemer):
    """As leader, lets all but one vote for a block in vain, and then puts another to everybody.

    Whoever has died and come back in between may have forgotten that it has voted.
    """

    kind = "two_faced"

    def cast(self, to: tuple[NodeId, ...], message: Wire) -> Twisted:
        if isinstance(message, Vote) and message.ballot.digest in self.told:
            return []
        if not isinstance(message, Proposal):
            return [Broadcast(to, message)]
        block = self.block_of(message)
        other = self.proposal(message, another(block, block.transactions[:-1]))
        self.told[block.digest] = other.digest
        wait_ms = 5 + self.luck(60, "second face", message)
        said = (other, *self.both_votes(other))
        return [
            Broadcast(to[:-1], message),
            *(Late(wait_ms, Broadcast((node,), one)) for node in to for one in said),
        ]


class Alarmist(Schemer):
    """Suspects every leader at once, and asks for views and sends votes that lie far ahead, each another one."""

    kind = "alarmist"

    def cast(self, to: tuple[NodeId, ...], message: Wire) -> Twisted:
        out: Twisted = [Broadcast(to, message)]
        if not isinstance(message, Proposal | Vote | Status):
            return out
        assert self.engine is not None
        epoch, view = self.engine.validators.epoch, self.engine.replica.view
        signed = suspect_bytes(self.chain, epoch, view)
        out.append(
            Broadcast(to, Suspect(epoch, view, self.signer.public, self.signer.sign(signed)))
        )
        if self.luck(4, "alarm", message):
            return out
        for step in range(1, _FLOOD):
            far = view + self.luck(2**step, "far", message, step)
            ballot = Ballot(
                Phase.PREPARE,
                epoch,
                far,
                self.engine.height + 1,
                digest(b"lie", b"%d" % far),
            )
            out.append(Broadcast(to, self.vote(ballot)))
        out.append(Garbage(to, self.draws.raw(b"alarm", b"%d" % view, 32)))
        return out
