"""What a NEW-VIEW binds its view to: pure functions over signed VIEW-CHANGEs (Castro and Liskov 1999, section 4.4).

Differs from the paper: one height is voted on at a time, so a VIEW-CHANGE carries one commit certificate and at most
one prepared block, and the commit certificate takes the place of the stable checkpoint.

Why it is safe. If a block was committed at height h in a view below v, a quorum sent COMMIT for it, and each of them
had committed h-1 before. Any quorum of VIEW-CHANGEs for v shares an honest member with that quorum; it shows either
the commit of h, or the prepared block at h. A different block prepared in a later view would itself have had to pass a
NEW-VIEW that shows the first one, so the highest view among the prepared ones is the one to take. Every replica
computes this again; the new leader's word is not needed for it.
"""

from __future__ import annotations

from dataclasses import dataclass

from consensus.blocks import Header
from consensus.certificates import Certificate, Phase, certificate_fault
from consensus.faults import OTHER_EPOCH, Fault, forged, seatless, unsound
from consensus.messages import NewView, ViewChange
from consensus.quorum import MAX_VALIDATORS, ValidatorSet
from gossip.codec import Digest, digest, encode
from gossip.effects import Cause
from gossip.identity import Verifier

_MAX_PROVEN = 4 * MAX_VALIDATORS


@dataclass(frozen=True, slots=True)
class EpochBase:
    """The block below an epoch: everybody in the epoch has executed it, or is catching up to it."""

    height: int
    digest: Digest


class Proven:
    """What was found to hold in this epoch, by its hash: in a large set hundreds show the same certificates."""

    __slots__ = ("_names",)

    def __init__(self) -> None:
        self._names: dict[Digest, None] = {}

    def __contains__(self, name: Digest) -> bool:
        return name in self._names

    def note(self, name: Digest) -> None:
        """Remember it, and forget the oldest if there are too many."""
        self._names[name] = None
        if len(self._names) > _MAX_PROVEN:
            del self._names[next(iter(self._names))]


@dataclass(frozen=True, slots=True)
class Rules:
    """What judging a view change needs to know; the same for all replicas of an epoch."""

    chain: Digest
    members: ValidatorSet
    base: EpochBase
    verifier: Verifier
    proven: Proven


@dataclass(frozen=True, slots=True)
class Binding:
    """What a view begins with: the highest committed block shown, and the header to propose again above it, if any."""

    height: int
    digest: Digest
    reproposal: Header | None
    signers: tuple[bytes, ...]
    """Voting keys of those who prepared the reproposal: they hold its body."""


def view_change_fault(change: ViewChange, rules: Rules) -> Fault | None:
    """Why a VIEW-CHANGE is not valid, or None."""
    name = change.name
    if name in rules.proven:
        return None
    fault = _change_fault(change, rules)
    if fault is None:
        rules.proven.note(name)
    return fault


def _change_fault(change: ViewChange, rules: Rules) -> Fault | None:
    if change.epoch != rules.members.epoch:
        return OTHER_EPOCH
    if rules.members.member(change.voter) is None:
        return seatless("view change")
    if not rules.verifier.verify(change.voter, change.signing_bytes(rules.chain), change.signature):
        return forged("view change")
    fault = _committed_fault(change, rules) or _prepared_fault(change, rules)
    return unsound(fault) if fault else None


def _committed_fault(change: ViewChange, rules: Rules) -> str | None:
    if change.committed is None:
        return None
    fault = _phase_fault(change.committed, Phase.COMMIT, rules)
    if fault:
        return f"commit certificate in a view change: {fault}"
    if change.committed.ballot.height <= rules.base.height:
        return "commit certificate in a view change: from before the epoch"
    return None


def _prepared_fault(change: ViewChange, rules: Rules) -> str | None:
    proof = change.prepared
    if proof is None:
        return None
    ballot, header = proof.certificate.ballot, proof.header
    height, digest = committed_tip(change, rules)
    if ballot.view >= change.view:
        return "prepared in a view that is not before the one asked for"
    if not (ballot.height == header.height == height + 1 and header.prev_hash == digest):
        return "the prepared block does not follow the committed one"
    if (
        header.digest != ballot.digest
        or header.epoch != change.epoch
        or header.chain != rules.chain
    ):
        return "the prepared header is not the one that was voted on"
    fault = _phase_fault(proof.certificate, Phase.PREPARE, rules)
    return f"prepared certificate in a view change: {fault}" if fault else None


def _phase_fault(certificate: Certificate, phase: Phase, rules: Rules) -> str | None:
    if certificate.ballot.phase is not phase:
        return f"votes of phase {certificate.ballot.phase.name}, not {phase.name}"
    name = digest(b"certificate", encode(certificate))
    if name in rules.proven:
        return None
    fault = certificate_fault(certificate, rules.members, rules.chain, rules.verifier)
    if fault is None:
        rules.proven.note(name)
    return fault


def committed_tip(change: ViewChange, rules: Rules) -> tuple[int, Digest]:
    """Height and digest of the highest block that the voter shows committed."""
    if change.committed is None:
        return rules.base.height, rules.base.digest
    return change.committed.ballot.height, Digest(change.committed.ballot.digest)


def compute_binding(changes: tuple[ViewChange, ...], rules: Rules) -> Binding:
    """What these valid VIEW-CHANGEs bind their view to."""
    height, digest = max(committed_tip(change, rules) for change in changes)
    best: tuple[int, ViewChange] | None = None
    for change in changes:
        proof = change.prepared
        if proof is None or proof.header.height != height + 1:
            continue
        if best is None or proof.certificate.ballot.view > best[0]:
            best = (proof.certificate.ballot.view, change)
    if best is None or best[1].prepared is None:
        return Binding(height, digest, None, ())
    proof = best[1].prepared
    signers = tuple(endorsement.voter for endorsement in proof.certificate.endorsements)
    return Binding(height, digest, proof.header, signers)


def new_view_fault(message: NewView, rules: Rules) -> Fault | None:
    """Why a NEW-VIEW is not valid, or None."""
    members = rules.members
    if message.epoch != members.epoch:
        return OTHER_EPOCH
    voters = {change.voter for change in message.view_changes}
    if len(voters) != len(message.view_changes):
        return unsound("two view changes of one voter in a new view")
    if any(change.view != message.view for change in message.view_changes):
        return unsound("a view change for another view in a new view")
    if not members.is_quorum(members.power_of(voters)):
        return unsound("no quorum of view changes in a new view")
    for change in message.view_changes:
        fault = view_change_fault(change, rules)
        if fault:
            return Fault(fault.cause, f"in a new view: {fault.reason}")
    binding = compute_binding(message.view_changes, rules)
    if members.leader(message.view, binding.height + 1).voting_key != message.voter:
        return Fault(Cause.NOT_ENTITLED, "new view by somebody who does not lead it")
    if not rules.verifier.verify(
        message.voter, message.signing_bytes(rules.chain), message.signature
    ):
        return forged("new view")
    return None
