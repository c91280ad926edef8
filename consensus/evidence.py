"""From two contradicting messages to the operation that punishes their signer.

Evidence is exactly two digests signed by one voting key for the same question: who leads a view twice with two blocks,
or votes twice in one phase of a view. Anybody who holds both messages can make it; an honest replica, which writes its
vote down before it sends it, can never be its subject. A differing STATE vote is none: damaged memory, not a lie.
"""

from __future__ import annotations

from consensus.messages import Proposal, Vote
from consensus.operations.validators import ReportEquivocation, SignedDigest, SignedKind
from consensus.pbft.reports import Equivocation

_Question = tuple[SignedKind, int, int, int]


def evidence_of(report: Equivocation) -> ReportEquivocation | None:
    """The operation that proves a contradiction to the ledger; None if the two answer different questions."""
    question, first = _statement(report.first)
    other, second = _statement(report.second)
    if question != other or first.digest == second.digest:
        return None
    kind, epoch, view, height = question
    if first.digest > second.digest:
        first, second = second, first
    return ReportEquivocation(report.voter, kind, epoch, view, height, first, second)


def _statement(message: Vote | Proposal) -> tuple[_Question, SignedDigest]:
    match message:
        case Vote():
            ballot = message.ballot
            kind = SignedKind(ballot.phase.value)
            question = (kind, ballot.epoch, ballot.view, ballot.height)
            return question, SignedDigest(ballot.digest, message.endorsement.signature)
        case Proposal():
            question = (SignedKind.PROPOSAL, message.epoch, message.view, message.height)
            return question, SignedDigest(message.digest, message.signature)
