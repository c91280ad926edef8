"""Check a receipt with nothing but the genesis: no network, no database, no trust in who handed it over.

The argument, in the order of the code. The genesis names the validators of epoch 0. Each epoch's
validators sign, more than two thirds of their power, who comes after them; so the set of the
receipt's epoch is known (`voters_after`). That set signed a statement: a block was committed, or the
ledger stands here after a block. Hashes lead from the statement to the thing itself: a header to
its block hash, an outcome to the results root, an account to the state root.

What this can't tell: whether validators of long ago have sold their keys and signed another
history. Who fears that names a recent set that somebody it trusts vouches for (`Trust`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import assert_never

from consensus.certificates import (
    Certificate,
    Phase,
    StateCertificate,
    certificate_fault,
    is_endorsed,
)
from consensus.genesis import Genesis
from consensus.ledger.state_tree import check_proof
from consensus.ledger.tables import ACCOUNTS, PROVABLE
from consensus.merkle import path_leads_to
from consensus.operations.transactions import (
    CompleteTask,
    SettleTask,
    TaskReceipt,
    Transaction,
    content_hash,
    decode_transaction,
)
from consensus.quorum import ValidatorSet
from consensus.receipts import (
    AccountReceipt,
    BlockReceipt,
    EpochLink,
    Receipt,
    StateReceipt,
    StatesReceipt,
    TransactionReceipt,
    read_receipt,
)
from gossip.codec import DecodeError, Digest, encode
from gossip.identity import NodeId, Verifier


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a receipt is worth.

    `kind` is what it proves: "transaction", "failed transaction", "task", "block", "account", a name in `PROVABLE`,
    or "records" for several of these and of accounts.
    `signers` are the nodes whose votes it carries, `power` is what they weigh, `quorum` what they
    must weigh. `countersigned` says of a task that its asker signed for the output too.
    An invalid one says why, and nothing else in it should be believed.
    """

    valid: bool
    reason: str
    kind: str = ""
    height: int = 0
    signers: tuple[NodeId, ...] = ()
    power: int = 0
    quorum: int = 0
    countersigned: bool = False


@dataclass(frozen=True, slots=True)
class Trust:
    """A set of validators that the reader knows from somebody it trusts: its epoch, its hash."""

    epoch: int
    hash: bytes


def verify_file(
    text: str | bytes, genesis: Genesis, verifier: Verifier, trust: Trust | None = None
) -> Verdict:
    """The verdict on the contents of a receipt file, whatever they are. Never raises."""
    try:
        receipt = read_receipt(text)
    except DecodeError as error:
        return Verdict(valid=False, reason=f"not a receipt: {error}")
    return verify_receipt(receipt, genesis, verifier, trust)


def verify_receipt(
    receipt: Receipt, genesis: Genesis, verifier: Verifier, trust: Trust | None = None
) -> Verdict:
    """The verdict on a receipt; with `trust` its chain of epochs must go through that very set."""
    chain = genesis.federation_id
    voters = voters_after(receipt.epochs, genesis, verifier, trust)
    if isinstance(voters, str):
        return Verdict(valid=False, reason=voters)
    strange = None if trust is None else _untrusted(receipt.epochs, genesis, trust)
    if strange is not None:
        return Verdict(valid=False, reason=strange)
    fault = certificate_fault(receipt.certificate, voters, chain, verifier)
    if fault is not None:
        return Verdict(valid=False, reason=fault)
    match receipt:
        case TransactionReceipt():
            kind, fault = _transaction(receipt, chain, verifier)
        case BlockReceipt():
            kind, fault = "block", _block_fault(receipt, chain)
        case AccountReceipt():
            kind, fault = "account", _account_fault(receipt)
        case StateReceipt():
            kind, fault = _state(receipt)
        case StatesReceipt():
            kind, fault = "records", _states_fault(receipt)
        case _:
            assert_never(receipt)
    if fault is not None:
        return Verdict(valid=False, reason=fault)
    verdict = _valid(kind, receipt.certificate, voters)
    return replace(verdict, countersigned=_is_countersigned(receipt, kind))


def voters_after(
    epochs: tuple[EpochLink, ...], genesis: Genesis, verifier: Verifier, trust: Trust | None = None
) -> ValidatorSet | str:
    """The set at the end of the chain of epochs, or why the chain breaks.

    Where an epoch began with the survivors of a lost quorum, nothing but their word leads on: `trust` must name that
    epoch's set or a later one.
    """
    chain, voters = genesis.federation_id, genesis.first_set()
    for link in epochs:
        fault = certificate_fault(link.certificate, voters, chain, verifier)
        if fault is not None and recovery_fault(link, voters, chain, verifier) is None:
            fault = unpinned_fault(link, voters, trust)
        if fault is not None:
            return f"the end of epoch {voters.epoch} is not proven: {fault}"
        if link.certificate.statement.next_set_hash != link.members.hash:
            return f"epoch {voters.epoch} promised another set than the one given"
        if link.members.epoch != voters.epoch + 1:
            return f"epoch {link.members.epoch} does not follow epoch {voters.epoch}"
        voters = link.members
    return voters


def unpinned_fault(link: EpochLink, voters: ValidatorSet, trust: Trust | None) -> str | None:
    """Why the word of survivors is not enough for this reader, or None."""
    members = link.members
    if trust is not None and trust.epoch >= members.epoch:
        return None
    power = voters.power_of(frozenset(seat.voting_key for seat in members.validators))
    return (
        f"only power {power} of {voters.total}, the survivors of a lost quorum, says who votes in epoch "
        f"{members.epoch}; if you go on with them, say so: --trust {members.epoch}:{members.hash.hex()}"
    )


def recovery_fault(
    link: EpochLink, voters: ValidatorSet, chain: Digest, verifier: Verifier
) -> str | None:
    """Why this is no hand-over that all its survivors have signed, or None."""
    certificate, survivors = link.certificate, link.members
    statement = certificate.statement
    if statement.epoch != voters.epoch or survivors.epoch != voters.epoch + 1:
        return f"it does not follow epoch {voters.epoch}"
    if statement.next_set_hash != survivors.hash:
        return "it promises another set than the one given"
    keys = [one.voter for one in certificate.endorsements]
    if any(left >= right for left, right in pairwise(keys)):
        return "its signers are not distinct and in order"
    if set(keys) != {seat.voting_key for seat in survivors.validators}:
        return "not all survivors have signed it, or others have"
    for seat in survivors.validators:
        former = voters.member(seat.voting_key)
        if former is None or former.node != seat.node:
            return f"{seat.node.hex()} had no seat in epoch {voters.epoch} with that key"
    for one in certificate.endorsements:
        if not is_endorsed(one, statement, chain, verifier):
            return f"the signature of {one.voter.hex()} does not hold"
    return None


def _untrusted(epochs: tuple[EpochLink, ...], genesis: Genesis, trust: Trust) -> str | None:
    sets = (genesis.first_set(), *(link.members for link in epochs))
    if trust.epoch >= len(sets):
        return f"it ends in epoch {len(sets) - 1}, before the trusted epoch {trust.epoch}"
    if sets[trust.epoch].hash != trust.hash:
        return f"the validators of epoch {trust.epoch} are not those that you trust"
    return None


def _transaction(
    receipt: TransactionReceipt, chain: Digest, verifier: Verifier
) -> tuple[str, str | None]:
    """What the receipt proves, and why it doesn't."""
    statement, header, outcome = receipt.certificate.statement, receipt.header, receipt.outcome
    try:
        transaction = decode_transaction(receipt.raw)
    except DecodeError as error:
        return "", f"the transaction does not decode: {error}"
    tasks = [one.signed.receipt for one in _completions(transaction)]
    kind = "failed transaction" if not outcome.ok else "task" if tasks else "transaction"
    if transaction.id != outcome.transaction:
        return kind, "the outcome is another transaction's"
    if transaction.body.chain != chain or not transaction.is_signed(verifier):
        return kind, "the transaction is not signed by its sender for this federation"
    if (header.digest, header.height, header.epoch, header.chain) != (
        statement.block_hash,
        statement.height,
        statement.epoch,
        chain,
    ):
        return kind, "the header is not that of the certified block"
    if not path_leads_to(receipt.path, encode(outcome), statement.results_root):
        return kind, "the outcome is not among the certified results"
    for one in _completions(transaction) if outcome.ok else ():
        if not one.signed.is_signed(verifier):
            return kind, "the task's receipt is not signed by its executor"
        word = one.countersignature if isinstance(one, SettleTask) else None
        if word is not None and not one.signed.is_countersigned(verifier, word):
            return kind, "the signature under the task's receipt is not its asker's"
    return kind, _content_fault(receipt, tasks)


def _completions(transaction: Transaction) -> Iterator[CompleteTask]:
    return (one for one in transaction.body.operations if isinstance(one, CompleteTask))


def _is_countersigned(receipt: Receipt, kind: str) -> bool:
    """Whether all tasks that a sound receipt proves were settled by the word of both sides."""
    if kind != "task" or not isinstance(receipt, TransactionReceipt):
        return False
    completions = _completions(decode_transaction(receipt.raw))
    return all(isinstance(one, SettleTask) for one in completions)


def _content_fault(receipt: TransactionReceipt, tasks: list[TaskReceipt]) -> str | None:
    """Whether the content, if any is given, is what one of the tasks was about."""
    content = receipt.content
    if content is None:
        return None
    if not receipt.outcome.ok:
        return "content beside a transaction that failed proves nothing"
    for task in tasks:
        asked = content.input is None or content_hash(content.input) == task.input_hash
        answered = content.output is None or content_hash(content.output) == task.output_hash
        if asked and answered:
            return None
    return "the content is not what the task's hashes stand for"


def _block_fault(receipt: BlockReceipt, chain: Digest) -> str | None:
    ballot, header = receipt.certificate.ballot, receipt.header
    if ballot.phase is not Phase.COMMIT:
        return "the certificate says prepared, not committed"
    if (header.digest, header.height, header.epoch, header.chain) != (
        ballot.digest,
        ballot.height,
        ballot.epoch,
        chain,
    ):
        return "the header is not that of the certified block"
    return None


def _account_fault(receipt: AccountReceipt) -> str | None:
    value = None if receipt.account is None else encode(receipt.account)
    root = receipt.certificate.statement.state_root
    if not check_proof(receipt.proof, ACCOUNTS.key(receipt.owner), value, root):
        return "the account is not proven under the certified state"
    return None


def _state(receipt: StateReceipt) -> tuple[str, str | None]:
    names = {table.prefix: name for name, table in PROVABLE.items()}
    kind = names.get(receipt.key[:1], "record")
    root = receipt.certificate.statement.state_root
    if not check_proof(receipt.proof, receipt.key, receipt.value, root):
        return kind, f"the {kind} is not proven under the certified state"
    return kind, None


def _states_fault(receipt: StatesReceipt) -> str | None:
    root = receipt.certificate.statement.state_root
    for at, one in enumerate(receipt.items):
        if not check_proof(one.proof, one.key, one.value, root):
            return f"the record with index {at} is not proven under the certified state"
    return None


def _valid(kind: str, certificate: Certificate | StateCertificate, voters: ValidatorSet) -> Verdict:
    keys = {endorsement.voter for endorsement in certificate.endorsements}
    signers = tuple(NodeId(seat.node) for seat in voters.validators if seat.voting_key in keys)
    height = (
        certificate.ballot.height
        if isinstance(certificate, Certificate)
        else certificate.statement.height
    )
    power = voters.power_of(keys)
    return Verdict(
        valid=True,
        reason="",
        kind=kind,
        height=height,
        signers=signers,
        power=power,
        quorum=voters.quorum_power,
    )
