"""What became of each transaction of a block, and the root that certifies it.

Only codes and figures are hashed. The sentences are made from them, so a better wording never
splits a federation.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Annotated

import msgspec

from consensus.blocks import MAX_BLOCK_TXS
from consensus.merkle import MerklePath, merkle_path, merkle_root
from gossip.codec import Bytes32, Digest, Natural, Wire, encode


class Code(Enum):
    """Why an execution was refused, or that it was not."""

    OK = "ok"
    WRONG_CHAIN = "wrong_chain"
    UNKNOWN_ACCOUNT = "unknown_account"
    BAD_NONCE = "bad_nonce"
    EXPIRED = "expired"
    OVERDRAFT = "overdraft"
    NOT_MEMBER = "not_member"
    NOT_VALIDATOR = "not_validator"
    REWARD_TOO_SMALL = "reward_too_small"
    DEADLINE_OUT_OF_RANGE = "deadline_out_of_range"
    EXECUTOR_NOT_MEMBER = "executor_not_member"
    UNKNOWN_TASK = "unknown_task"
    TASK_NOT_QUEUED = "task_not_queued"
    TASK_NOT_ASSIGNED = "task_not_assigned"
    TASK_RESERVED = "task_reserved"
    TASK_NOT_OVERDUE = "task_not_overdue"
    NOT_EXECUTOR = "not_executor"
    NOT_PARTY = "not_party"
    RECEIPT_MISMATCH = "receipt_mismatch"
    RECEIPT_UNSIGNED = "receipt_unsigned"
    ALREADY_MEMBER = "already_member"
    INVITE_USED = "invite_used"
    ALREADY_VALIDATOR = "already_validator"
    VOTING_KEY_TAKEN = "voting_key_taken"
    TOO_MANY_VALIDATORS = "too_many_validators"
    TOO_FAST_GROWTH = "too_fast_growth"


_SENTENCES: dict[Code, str] = {
    Code.OK: "",
    Code.WRONG_CHAIN: "signed for another federation",
    Code.UNKNOWN_ACCOUNT: "the sender has no account: it has never received anything",
    Code.BAD_NONCE: "nonce {1} given, the account's next one is {0}",
    Code.EXPIRED: "valid up to height {0}, executed at height {1}",
    Code.OVERDRAFT: "the balance is {0}, {1} were needed",
    Code.NOT_MEMBER: "the sender is no admitted member",
    Code.NOT_VALIDATOR: "the sender is no validator",
    Code.REWARD_TOO_SMALL: "the reward is {0}, at least {1} is wanted",
    Code.DEADLINE_OUT_OF_RANGE: "the deadline is {0}, it must lie between {1} and {2}",
    Code.EXECUTOR_NOT_MEMBER: "the task is reserved for a node that is no admitted member",
    Code.UNKNOWN_TASK: "no such task",
    Code.TASK_NOT_QUEUED: "the task is not open to be claimed",
    Code.TASK_NOT_ASSIGNED: "nobody is at work on the task, or it has ended",
    Code.TASK_RESERVED: "the task is reserved for another node",
    Code.TASK_NOT_OVERDUE: "the executor has time until {0}, the block's time is {1}",
    Code.NOT_EXECUTOR: "the task was claimed by another node",
    Code.NOT_PARTY: "the sender neither asked for the task nor claimed it",
    Code.RECEIPT_MISMATCH: "the receipt speaks of another task, input, asker or federation",
    Code.RECEIPT_UNSIGNED: "the receipt's signature is not the executor's",
    Code.ALREADY_MEMBER: "the node is a member already",
    Code.INVITE_USED: "the invite has been used",
    Code.ALREADY_VALIDATOR: "the node is a validator already",
    Code.VOTING_KEY_TAKEN: "the voting key is in use, or is somebody's identity key",
    Code.TOO_MANY_VALIDATORS: "the validator set is full ({0} seats)",
    Code.TOO_FAST_GROWTH: "newcomers would hold a third of the power; approve again later",
}

Figures = Annotated[tuple[Natural, ...], msgspec.Meta(max_length=3)]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A rule's answer when it can't be applied.

    `figures` fill the places in the code's sentence.
    """

    code: Code
    figures: tuple[int, ...] = ()


class Outcome(Wire, frozen=True):
    """One transaction's fate.

    `operation` is the index of the one that failed, 0 if none was reached.
    """

    transaction: Bytes32
    code: Code
    operation: Natural = 0
    figures: Figures = ()

    @property
    def ok(self) -> bool:
        """Whether all operations took effect; otherwise none did."""
        return self.code is Code.OK

    @property
    def reason(self) -> str:
        """The refusal in words; empty when all went well."""
        places = len(self.figures)
        wanted = _SENTENCES[self.code].count("{")
        return _SENTENCES[self.code].format(*self.figures) if places == wanted else self.code.value


class Results(Wire, frozen=True):
    """All outcomes of a block in its order, and the digest of the state writes.

    Kept beside the block.
    """

    outcomes: Annotated[tuple[Outcome, ...], msgspec.Meta(max_length=MAX_BLOCK_TXS)]
    writes_digest: Bytes32

    @property
    def root(self) -> Digest:
        """What STATE votes cover as `results_root`: outcomes, then the digest of the writes."""
        return merkle_root(self._leaves())

    def path(self, index: int) -> MerklePath:
        """Shows that the outcome with this index stands under `root`."""
        return merkle_path(self._leaves(), index)

    def _leaves(self) -> tuple[bytes, ...]:
        return (*map(encode, self.outcomes), self.writes_digest)
