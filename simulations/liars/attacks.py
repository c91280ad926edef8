"""Liars with a plan: each plays one attack on the change of views that the literature describes."""

from __future__ import annotations

import msgspec

from consensus.blocks import Block
from consensus.certificates import Ballot, Certificate, Phase
from consensus.messages import (
    Blocks,
    Body,
    Certified,
    FetchBody,
    PreparedProof,
    Proposal,
    StateVote,
    Status,
    ViewChange,
    Vote,
    view_change_bytes,
)
from gossip.codec import Wire
from gossip.effects import Broadcast
from gossip.identity import NodeId
from simulations.liars.adversaries import (
    DoubleVoter,
    Equivocator,
    LyingServer,
    MalformedProposer,
    Mutator,
    Silent,
    SilentLeader,
    Slow,
    Spammer,
    Withholder,
    forged,
)
from simulations.liars.collector_lies import FalseNamer, LyingCollector, MuteCollector
from simulations.liars.habits import Liar, Twisted, another
from simulations.liars.schemes import (
    Alarmist,
    Censor,
    Impersonator,
    StateLiar,
    TwoFaced,
    Usurper,
    Weaver,
)
from simulations.liars.snapshot_lies import SnapshotLiar
from simulations.scenario import ActorKind


class Forger(Liar):
    """As leader proposes nothing; shows a certificate of its own making for the latest view in each VIEW-CHANGE."""

    kind = "forger"

    def cast(self, to: tuple[NodeId, ...], message: Wire) -> Twisted:
        match message:
            case Proposal() if message.view == 0:
                return []
            case ViewChange() if message.prepared is not None:
                return [
                    Broadcast(to, self._with(message, forged(message.prepared, message.view - 1)))
                ]
            case _:
                return [Broadcast(to, message)]

    def _with(self, change: ViewChange, prepared: PreparedProof) -> ViewChange:
        lie = msgspec.structs.replace(change, prepared=prepared)
        signature = self.signer.sign(lie.signing_bytes(self.chain))
        return msgspec.structs.replace(lie, signature=signature)


class Divider(Liar):
    """Lets one node alone commit, and then helps all others to decide something else at that height.

    As leader it gives its COMMIT to its first hearer only and says nothing of the block to anybody else. In the next
    view it shows nothing, or a certificate of its own making for another block, and votes for whatever is proposed.
    """

    kind = "divider"

    def hear(self, message: Wire) -> Twisted:
        super().hear(message)
        match message:
            case Proposal() if message.view > 0:
                ballots = (
                    Ballot(
                        phase,
                        message.epoch,
                        message.view,
                        message.height,
                        message.digest,
                    )
                    for phase in Phase
                )
                return [Broadcast(self._others(), self.vote(ballot)) for ballot in ballots]
            case FetchBody() if message.digest in self.bodies:
                return [Broadcast(self._others(), Body(self.bodies[message.digest]))]
            case _:
                return []

    def cast(self, to: tuple[NodeId, ...], message: Wire) -> Twisted:
        match message:
            case Proposal() if message.view == 0:
                block = self.block_of(message)
                other = another(block, block.transactions[:-1])
                self.bodies[other.digest] = other
                self.planned[message.height] = other
                return [Broadcast(to, message)]
            case Vote() if message.ballot.phase is Phase.COMMIT and message.ballot.view == 0:
                return [Broadcast(to[:1], message)]
            case ViewChange():
                return [Broadcast(to, self._change(message))]
            case Blocks() | Body() | Status() | Certified() | StateVote():
                return []
            case _:
                return [Broadcast(to, message)]

    def _change(self, sincere: ViewChange) -> ViewChange:
        """As if the last block had never been committed here."""
        assert self.engine is not None
        committed, prepared = self._before(self.engine.height), None
        other = self.planned.get(self.engine.height)
        if other is not None and self.luck(2, "shows", sincere):
            prepared = self._forged(sincere, other)
        signed = view_change_bytes(self.chain, sincere.epoch, sincere.view, committed, prepared)
        signature = self.signer.sign(signed)
        return ViewChange(
            sincere.epoch, sincere.view, committed, prepared, sincere.voter, signature
        )

    def _before(self, height: int) -> Certificate | None:
        """The commit certificate of the block below, if it is of this epoch."""
        assert self.engine is not None
        known = self.engine.chain.certificate(max(0, height - 1))
        epoch = self.engine.validators.epoch
        return known if known is not None and known.ballot.epoch == epoch else None

    def _forged(self, sincere: ViewChange, other: Block) -> PreparedProof | None:
        if sincere.committed is None:
            return None
        ballot = Ballot(Phase.PREPARE, sincere.epoch, sincere.view - 1, other.height, other.digest)
        return PreparedProof(other.header, Certificate(ballot, sincere.committed.endorsements))

    def _others(self) -> tuple[NodeId, ...]:
        assert self.engine is not None
        seats = self.engine.validators.validators
        return tuple(NodeId(one.node) for one in seats if one.voting_key != self.signer.public)


KINDS: dict[ActorKind, type[Liar]] = {
    "silent": Silent,
    "silent_leader": SilentLeader,
    "slow": Slow,
    "equivocator": Equivocator,
    "malformed_proposer": MalformedProposer,
    "double_voter": DoubleVoter,
    "spammer": Spammer,
    "mutator": Mutator,
    "forger": Forger,
    "divider": Divider,
    "lying_server": LyingServer,
    "withholder": Withholder,
    "weaver": Weaver,
    "impersonator": Impersonator,
    "censor": Censor,
    "usurper": Usurper,
    "state_liar": StateLiar,
    "alarmist": Alarmist,
    "two_faced": TwoFaced,
    "twin": Liar,
    "snapshot_liar": SnapshotLiar,
    "mute_collector": MuteCollector,
    "lying_collector": LyingCollector,
    "false_namer": FalseNamer,
}
