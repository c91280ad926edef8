"""Votes gathered into certificates that anybody can check who knows the validator set.

Two kinds of statement are certified: a vote of a phase (PREPARE or COMMIT) for one block digest in one view, and the
STATE after a block, which covers outcomes, state root and the next validator set. A certificate is the signatures of a
quorum over the same statement.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from typing import Annotated, Final

import msgspec

from consensus.quorum import MAX_VALIDATORS, ValidatorSet
from gossip.codec import Bytes32, Bytes64, Digest, Natural, Wire
from gossip.identity import Signer, Verifier, signing_bytes


class Phase(IntEnum):
    """The two voting phases of PBFT. PRE-PREPARE is a proposal, not a vote."""

    PREPARE = 1
    COMMIT = 2


PREPARE: Final = Phase.PREPARE
COMMIT: Final = Phase.COMMIT
"""For those who ask several times a message: a member looked up by way of its class costs ten times as much."""


class Endorsement(Wire, frozen=True):
    """One validator's signature over a statement that stands beside it."""

    voter: Bytes32
    signature: Bytes64


Endorsements = Annotated[tuple[Endorsement, ...], msgspec.Meta(max_length=MAX_VALIDATORS)]


class Ballot(Wire, frozen=True):
    """What PREPARE and COMMIT votes say: this digest, at this height, in this view."""

    phase: Phase
    epoch: Natural
    view: Natural
    height: Natural
    digest: Bytes32

    def signing_bytes(self, chain: Digest) -> bytes:
        """What a voter signs."""
        return signing_bytes("ballot", chain, self)


class StateStatement(Wire, frozen=True):
    """What STATE votes say: where the chain stands after executing the block at `height`.

    `next_set_hash` is the hash of the set that votes at `height + 1`.
    """

    epoch: Natural
    height: Natural
    block_hash: Bytes32
    results_root: Bytes32
    state_root: Bytes32
    next_set_hash: Bytes32

    def signing_bytes(self, chain: Digest) -> bytes:
        """What a voter signs."""
        return signing_bytes("state", chain, self)


class Certificate(Wire, frozen=True):
    """A quorum's PREPARE or COMMIT votes: the block is prepared, or committed."""

    ballot: Ballot
    endorsements: Endorsements


class StateCertificate(Wire, frozen=True):
    """A quorum's STATE votes."""

    statement: StateStatement
    endorsements: Endorsements


@lru_cache(maxsize=64)
def _signed(statement: Ballot | StateStatement, chain: Digest) -> bytes:
    """What is signed; the votes of all others are about the same statement as a rule."""
    return statement.signing_bytes(chain)


def endorse(signer: Signer, chain: Digest, statement: Ballot | StateStatement) -> Endorsement:
    """Sign a statement with a voting key."""
    return Endorsement(signer.public, signer.sign(_signed(statement, chain)))


def is_endorsed(
    endorsement: Endorsement, statement: Ballot | StateStatement, chain: Digest, verifier: Verifier
) -> bool:
    """Whether the voter named in the endorsement signed the statement."""
    return verifier.verify(endorsement.voter, _signed(statement, chain), endorsement.signature)


def certificate_fault(
    certificate: Certificate | StateCertificate,
    members: ValidatorSet,
    chain: Digest,
    verifier: Verifier,
) -> str | None:
    """Why the certificate proves nothing under this set, or None if it holds.

    Checks: the epoch is the set's, signers are distinct members in order of their keys, their power is a quorum, every
    signature holds.
    """
    statement = (
        certificate.ballot if isinstance(certificate, Certificate) else certificate.statement
    )
    if statement.epoch != members.epoch:
        return f"certificate of epoch {statement.epoch}, validator set of epoch {members.epoch}"
    before, power, member = b"", 0, members.member
    for endorsement in certificate.endorsements:
        voter = endorsement.voter
        if voter <= before:
            return "signers are not distinct and in order"
        seat, before = member(voter), voter
        if seat is None:
            return f"signer {voter.hex()} is no validator of epoch {members.epoch}"
        power += seat.power
    if not members.is_quorum(power):
        return f"power {power} of {members.total} is no quorum"
    message = _signed(statement, chain)
    for endorsement in certificate.endorsements:
        if not verifier.verify(endorsement.voter, message, endorsement.signature):
            return f"the signature of {endorsement.voter.hex()} does not hold"
    return None
