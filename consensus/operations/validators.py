"""What can be asked of the validator registry: stake, delegation, seats, keys, evidence, constants."""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated

import msgspec

from consensus.certificates import Ballot, Phase
from gossip.codec import Bytes32, Bytes64, Digest, Name, Natural, Wire
from gossip.identity import Signer, Verifier, signing_bytes
from gossip.json_form import Coins

MAX_AMOUNT = 2**63 - 1
MAX_LABEL = 64

Amount = Annotated[int, msgspec.Meta(ge=1, le=MAX_AMOUNT)]
Label = Annotated[str, msgspec.Meta(max_length=MAX_LABEL)]
"""A name for people; may be empty."""


class Stake(Wire, frozen=True, tag="stake"):
    """A registered node binds more of its own money."""

    amount: Amount


class Unstake(Wire, frozen=True, tag="unstake"):
    """A registered node takes some of it back; it stays locked, and at risk, for `unbonding_ms`."""

    amount: Amount


class Delegate(Wire, frozen=True, tag="delegate"):
    """Bind money to a validator: it counts in its power, and shares its risk."""

    validator: Bytes32
    amount: Amount


class Undelegate(Wire, frozen=True, tag="undelegate"):
    """Take some of it back, with the same lock as `Unstake`."""

    validator: Bytes32
    amount: Amount


class RegisterValidator(Wire, frozen=True, tag="validator_register"):
    """A member asks for a seat: its stake is reserved now, and given back if it never gets one.

    `proof` is the voting key's signature over `possession_bytes`.
    """

    voting_key: Bytes32
    name: Label
    stake: Coins
    proof: Bytes64


class ActivateValidator(Wire, frozen=True, tag="validator_activate"):
    """An approved candidate takes its seat, once its node has caught up.

    `proof` is the voting key's signature over `readiness_bytes` of a recent height.
    """

    height: Natural
    proof: Bytes64


class LeaveValidators(Wire, frozen=True, tag="validator_leave"):
    """Give up the seat, or the wish for one. What was at risk stays locked for `unbonding_ms`."""


class RotateVotingKey(Wire, frozen=True, tag="validator_rotate_key"):
    """A validator votes with another key from the next epoch on; `proof` as in `RegisterValidator`."""

    voting_key: Bytes32
    proof: Bytes64


class SignedKind(IntEnum):
    """What was signed twice."""

    PROPOSAL = 0
    PREPARE = 1
    COMMIT = 2


class SignedDigest(Wire, frozen=True):
    """One of two contradicting statements: the block it names, and the signature."""

    digest: Bytes32
    signature: Bytes64


class ReportEquivocation(Wire, frozen=True, tag="report_equivocation"):
    """Two digests signed by one voting key for one question; anybody may send it.

    The smaller digest stands first, so that one pair has one form.
    """

    voter: Bytes32
    kind: SignedKind
    epoch: Natural
    view: Natural
    height: Natural
    first: SignedDigest
    second: SignedDigest

    def holds(self, chain: Digest, verifier: Verifier) -> bool:
        """Whether the two differ, stand in order, and are both signed."""
        if self.first.digest >= self.second.digest:
            return False
        return all(
            verifier.verify(self.voter, self._signed(chain, one.digest), one.signature)
            for one in (self.first, self.second)
        )

    def _signed(self, chain: Digest, digest: bytes) -> bytes:
        if self.kind is SignedKind.PROPOSAL:
            return signing_bytes("proposal", chain, self.epoch, self.view, self.height, digest)
        phase = Phase(self.kind.value)
        return Ballot(phase, self.epoch, self.view, self.height, digest).signing_bytes(chain)


class ApproveRemoval(Wire, frozen=True, tag="approve_removal"):
    """A validator's word against another's seat; more than two thirds of the power take it away."""

    node: Bytes32


class ApproveExpulsion(Wire, frozen=True, tag="approve_expulsion"):
    """A validator's word against an observer's membership; more than two thirds of the power end it."""

    node: Bytes32


class ApproveParameter(Wire, frozen=True, tag="approve_parameter"):
    """A validator's word for another value of a constant; more than two thirds of the power set it.

    `name` is a field of the genesis' parameters, or `protocol_version`.
    """

    name: Name
    value: Natural


ValidatorWord = ApproveRemoval | ApproveExpulsion | ApproveParameter
"""What more than two thirds of the power have to say."""

ValidatorOperation = (
    Stake
    | Unstake
    | Delegate
    | Undelegate
    | RegisterValidator
    | ActivateValidator
    | LeaveValidators
    | RotateVotingKey
    | ReportEquivocation
    | ValidatorWord
)


def possession_bytes(chain: Digest, node: bytes, voting_key: bytes) -> bytes:
    """What a voting key signs to show that this node holds it."""
    return signing_bytes("voting-key", chain, node, voting_key)


def readiness_bytes(chain: Digest, node: bytes, height: int) -> bytes:
    """What a voting key signs to show that its node has this block."""
    return signing_bytes("ready", chain, node, height)


def register_validator(
    chain: Digest, node: bytes, voting: Signer, name: str, stake: int
) -> RegisterValidator:
    """The wish of a node for a seat, with the proof that it holds the voting key."""
    proof = voting.sign(possession_bytes(chain, node, voting.public))
    return RegisterValidator(voting.public, name, stake, proof)


def activate_validator(
    chain: Digest, node: bytes, voting: Signer, height: int
) -> ActivateValidator:
    """An approved candidate's step to its seat; `height` is that of its last block."""
    return ActivateValidator(height, voting.sign(readiness_bytes(chain, node, height)))


def rotate_voting_key(chain: Digest, node: bytes, fresh: Signer) -> RotateVotingKey:
    """The change to a fresh voting key, with the proof that the node holds it."""
    proof = fresh.sign(possession_bytes(chain, node, fresh.public))
    return RotateVotingKey(fresh.public, proof)
