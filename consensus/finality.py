"""STATE votes: from "committed" to "this is what came of it", provable to outsiders.

After executing a block every validator signs a statement of its outcome. A quorum of equal statements is a STATE
certificate: receipts, light clients and newcomers rely on it. A replica whose own result differs from the certified one
has a damaged state or a bug and must stop.

Nobody waits for STATE votes to decide the next block, so they leave with the next proposal or vote of their node, or
after a moment if none comes: a message less for each block. A certificate costs no sync: what a crash loses of it, the
others repeat.
"""

from __future__ import annotations

from dataclasses import dataclass

from consensus.certificates import (
    StateCertificate,
    StateStatement,
    certificate_fault,
    endorse,
    is_endorsed,
)
from consensus.chain import ChainReader, certified_height_write, state_certificate_write
from consensus.messages import Certified, Proposal, StateVote, Vote
from consensus.quorum import ValidatorSet
from consensus.tally import Tally
from gossip.codec import Digest, digest, encode
from gossip.effects import (
    Broadcast,
    CancelTimer,
    Effect,
    Notify,
    Persist,
    Rejected,
    Send,
    SetTimer,
    Store,
)
from gossip.identity import NodeId, Signer, Verifier

STATE_TIMER = "state"
_HELD_MS = 10
_MAX_HELD = 16
_EARLY_HEIGHTS = 2
_ANSWERS = 16


@dataclass(frozen=True, slots=True)
class StateCertified:
    """Everything up to this height is provable."""

    certificate: StateCertificate


@dataclass(frozen=True, slots=True)
class Diverged:
    """A quorum signed another result than this node computed: it must stop and resync."""

    own: StateStatement
    certified: StateStatement


@dataclass(slots=True)
class _Open:
    """An executed height without a certificate."""

    own: StateStatement
    own_vote: StateVote | None
    members: ValidatorSet
    tally: Tally
    statements: dict[Digest, StateStatement]


class Finality:
    """Gathers STATE votes for the heights that are executed but not yet certified."""

    def __init__(
        self, chain: Digest, signer: Signer, verifier: Verifier, reader: ChainReader
    ) -> None:
        self._chain, self._signer, self._verifier, self._reader = chain, signer, verifier, reader
        self._open: dict[int, _Open] = {}
        self._early: dict[tuple[NodeId, int], StateVote] = {}
        self._held: list[Broadcast] = []
        self._timer_runs = False
        self._executed = reader.height()
        self._certified = reader.certified_height()
        for height in range(self._certified + 1, self._executed + 1):
            self._reopen(height)

    @property
    def certified(self) -> int:
        """Every height up to this one has its certificate."""
        return self._certified

    def resume(self) -> list[Effect]:
        """After a restart: a certificate that needs no other vote was perhaps never written."""
        out: list[Effect] = []
        for height in sorted(self._open):
            out += self._check(self._open[height])
        return out

    def _reopen(self, height: int) -> None:
        execution = self._reader.execution(height)
        if execution is None or self._reader.state_certificate(height) is not None:
            return
        start = self._reader.epoch(execution.statement.epoch)
        if start is not None:
            self._begin(execution.statement, start.members)

    def _begin(self, statement: StateStatement, members: ValidatorSet) -> _Open:
        vote = None
        if members.member(self._signer.public) is not None:
            vote = StateVote(statement, endorse(self._signer, self._chain, statement))
        opened = _Open(statement, vote, members, Tally(members), {})
        self._open[statement.height] = opened
        if vote is not None:
            opened.tally.add(
                self._signer.public, self._name(opened, statement), vote.endorsement.signature
            )
        return opened

    @staticmethod
    def _name(opened: _Open, statement: StateStatement) -> Digest:
        name = digest(b"statement", encode(statement))
        opened.statements[name] = statement
        return name

    def executed(
        self, statement: StateStatement, members: ValidatorSet, known: StateCertificate | None
    ) -> list[Effect]:
        """A block was executed by the set `members`; sign it, or take the certificate that came with it."""
        self._executed = statement.height
        opened = self._begin(statement, members)
        if known is not None and self._is_about(known, statement, members):
            return self._close(opened, known)
        if opened.own_vote is not None:
            others = tuple(
                NodeId(one.node)
                for one in members.validators
                if one.voting_key != self._signer.public
            )
            if others:
                self._held.append(Broadcast(others, opened.own_vote))
        out = self._check(opened)
        early = [key for key in self._early if key[1] <= statement.height]
        for key in early:
            out += self.on_vote(key[0], self._early.pop(key))
        return out

    def hand_over(self, out: list[Effect]) -> None:
        """Put the own votes behind what leaves anyway; if nothing does, have them leave soon."""
        if not self._held:
            return
        goes_along = any(
            isinstance(one, Broadcast) and isinstance(one.message, Proposal | Vote) for one in out
        )
        if goes_along or len(self._held) > _MAX_HELD:
            out += self._held
            self._held = []
            if self._timer_runs:
                self._timer_runs = False
                out.append(CancelTimer(STATE_TIMER))
        elif not self._timer_runs:
            self._timer_runs = True
            out.append(SetTimer(STATE_TIMER, _HELD_MS))

    def on_timer(self) -> list[Effect]:
        """Nothing took the own votes along."""
        self._timer_runs = False
        held, self._held = self._held, []
        return [*held]

    def _is_about(
        self, known: StateCertificate, statement: StateStatement, members: ValidatorSet
    ) -> bool:
        """Whether it certifies this height; one of another height says nothing about this one."""
        same = known.statement.height == statement.height
        return same and not certificate_fault(known, members, self._chain, self._verifier)

    def on_vote(self, peer: NodeId, message: StateVote) -> list[Effect]:
        """Count a STATE vote."""
        statement, voter = message.statement, message.endorsement.voter
        opened = self._open.get(statement.height)
        if opened is None:
            if self._executed < statement.height <= self._executed + _EARLY_HEIGHTS:
                self._early[peer, statement.height] = message
            return []
        if opened.members.member(voter) is None or statement.epoch != opened.members.epoch:
            return [Rejected(peer, "state vote by no validator of its epoch")]
        if opened.tally.choice_of(voter) is not None:
            return []
        if not is_endorsed(message.endorsement, statement, self._chain, self._verifier):
            return [Rejected(peer, "the signature of the state vote does not hold")]
        opened.tally.add(voter, self._name(opened, statement), message.endorsement.signature)
        return self._check(opened)

    def on_certified(self, peer: NodeId, message: Certified) -> list[Effect]:
        """Take a certificate from somebody who has it."""
        certificate = message.certificate
        opened = self._open.get(certificate.statement.height)
        if opened is None:
            return []
        fault = certificate_fault(certificate, opened.members, self._chain, self._verifier)
        if fault:
            return [Rejected(peer, f"state certificate: {fault}")]
        return self._close(opened, certificate)

    def answer(self, peer: NodeId, certified: int) -> list[Effect]:
        """Give a peer whose certificates end at `certified` the next ones, or this node's votes for them."""
        out: list[Effect] = []
        for height in range(certified + 1, min(certified + _ANSWERS, self._executed) + 1):
            opened = self._open.get(height)
            if opened is None:
                known = self._reader.state_certificate(height)
                if known is not None:
                    out.append(Send(peer, Certified(known)))
            elif opened.own_vote is not None:
                out.append(Send(peer, opened.own_vote))
        return out

    def _check(self, opened: _Open) -> list[Effect]:
        name = opened.tally.decided()
        if name is None:
            return []
        statement = opened.statements[Digest(name)]
        return self._close(opened, StateCertificate(statement, opened.tally.endorsements(name)))

    def _close(self, opened: _Open, certificate: StateCertificate) -> list[Effect]:
        if certificate.statement != opened.own:
            return [Notify(Diverged(opened.own, certificate.statement))]
        del self._open[opened.own.height]
        while self._certified < self._executed and self._certified + 1 not in self._open:
            self._certified += 1
        writes = (state_certificate_write(certificate), certified_height_write(self._certified))
        return [
            Persist(Store.CHAIN, writes, lazy=True),
            Notify(StateCertified(certificate)),
        ]

    def check_invariants(self) -> None:
        """What must hold after every event."""
        assert self._certified <= self._executed
        assert all(self._certified < height <= self._executed for height in self._open)
