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
    SET_TOO_SMALL = "set_too_small"
    STAKE_TOO_SMALL = "stake_too_small"
    STAKE_TOO_LARGE = "stake_too_large"
    NOT_REGISTERED = "not_registered"
    ALREADY_REGISTERED = "already_registered"
    NOT_APPROVED = "not_approved"
    KEY_PROOF_INVALID = "key_proof_invalid"
    VOTING_KEY_MISMATCH = "voting_key_mismatch"
    NOT_READY = "not_ready"
    UNKNOWN_VALIDATOR = "unknown_validator"
    UNKNOWN_MEMBER = "unknown_member"
    STILL_VALIDATOR = "still_validator"
    TOO_MANY_BACKERS = "too_many_backers"
    LABEL_INVALID = "label_invalid"
    CONDEMNED = "condemned"
    UNKNOWN_KEY = "unknown_key"
    EVIDENCE_INVALID = "evidence_invalid"
    EVIDENCE_OLD = "evidence_old"
    ALREADY_SLASHED = "already_slashed"
    UNKNOWN_PARAMETER = "unknown_parameter"
    VALUE_OUT_OF_RANGE = "value_out_of_range"
    TOO_FEW_EXECUTORS = "too_few_executors"
    NO_MAJORITY = "no_majority"
    NOT_IN_GROUP = "not_in_group"
    TOO_LATE = "too_late"
    TASK_NOT_COMMITTED = "task_not_committed"
    COMMITMENT_MISMATCH = "commitment_mismatch"
    OTHERS_AT_WORK = "others_at_work"
    NOT_TO_ATTEST = "not_to_attest"
    NOT_COUNTERSIGNED = "not_countersigned"


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
    Code.TOO_FAST_GROWTH: "a third of the power would change at once; try again in a later block",
    Code.SET_TOO_SMALL: "a set of validators never shrinks below four",
    Code.STAKE_TOO_SMALL: "the stake would be {0}, at least {1} is wanted",
    Code.STAKE_TOO_LARGE: "{0} are bound there, not {1}",
    Code.NOT_REGISTERED: "the node is neither a validator nor registered to become one",
    Code.ALREADY_REGISTERED: "the node is registered already",
    Code.NOT_APPROVED: "the validators have not approved the candidate yet",
    Code.KEY_PROOF_INVALID: "the proof is not signed by the voting key",
    Code.VOTING_KEY_MISMATCH: "the candidate registered another voting key",
    Code.NOT_READY: "the proof names height {0}, it must lie between {1} and {2}",
    Code.UNKNOWN_VALIDATOR: "there is no such validator",
    Code.UNKNOWN_MEMBER: "there is no such member",
    Code.STILL_VALIDATOR: "the node has a seat, which must be taken away first",
    Code.TOO_MANY_BACKERS: "{0} people have money there already",
    Code.LABEL_INVALID: "the name has characters that don't print, or blanks at an end",
    Code.CONDEMNED: "the validator contradicted itself and is about to lose its seat",
    Code.UNKNOWN_KEY: "the key never belonged to a validator in that epoch",
    Code.EVIDENCE_INVALID: "the two statements are not signed by the key, or do not contradict",
    Code.EVIDENCE_OLD: "nothing is at risk any more for that key",
    Code.ALREADY_SLASHED: "the key has been punished already",
    Code.UNKNOWN_PARAMETER: "there is no such constant, or it can't be changed",
    Code.VALUE_OUT_OF_RANGE: "the constant can't have that value",
    Code.TOO_FEW_EXECUTORS: "{1} different executors are needed, there are {0}",
    Code.NO_MAJORITY: "{0} of {1} results are no majority, or more than there are",
    Code.NOT_IN_GROUP: "the task belongs to no group",
    Code.TOO_LATE: "this was possible until {0}, the block's time is {1}",
    Code.TASK_NOT_COMMITTED: "the result has not been committed, or is revealed already",
    Code.COMMITMENT_MISMATCH: "the receipt is not the one that was committed",
    Code.OTHERS_AT_WORK: "others of the group are at work until {0}",
    Code.NOT_TO_ATTEST: "the group needs no attestation, or has its verdict",
    Code.NOT_COUNTERSIGNED: "the signature under the executor's receipt is not the asker's",
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
