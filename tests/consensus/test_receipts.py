from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.blocks import Block
from consensus.certificates import (
    Ballot,
    Certificate,
    Endorsement,
    Phase,
    StateCertificate,
    StateStatement,
    endorse,
)
from consensus.chain import ChainReader, Execution, block_writes, genesis_writes
from consensus.chain import state_certificate_write as state_write
from consensus.genesis import found
from consensus.ledger.machine import BlockResult
from consensus.ledger.tables import ACCOUNTS, MEMBERS
from consensus.operations.transactions import (
    AdmitObserver,
    ApproveValidator,
    ClaimTask,
    CompleteTask,
    SettleTask,
    Transaction,
    Transfer,
    countersign,
)
from consensus.proving import (
    account_receipt,
    block_receipt,
    epoch_links,
    state_receipt,
    states_receipt,
    transaction_receipt,
)
from consensus.quorum import ValidatorSet
from consensus.receipts import (
    AccountReceipt,
    BlockReceipt,
    EpochLink,
    Receipt,
    ReceiptFile,
    StateReceipt,
    StatesReceipt,
    TaskContent,
    TransactionReceipt,
    read_receipt,
    write_receipt,
)
from consensus.verify import Trust, Verdict, verify_file, verify_receipt
from gossip.codec import DecodeError, encode
from gossip.json_form import from_json
from tests.consensus.world import HashSigner, HashVerifier, MemoryReader, Town, founders

BOB, BOBS_KEY = HashSigner("bob"), HashSigner("bob's voting key")
VERIFIER = HashVerifier()


class Notary:
    """Keeps a whole chain for a town: signs certificates with everybody's voting key."""

    def __init__(self, powers: tuple[int, ...]) -> None:
        self.town = Town(powers)
        self.genesis = self.town.genesis
        self.signers: dict[bytes, HashSigner] = {
            key.public: key for key in (*self.town.keys, BOBS_KEY)
        }
        first = self.town.ledger.validators
        self.database = MemoryReader(genesis_writes(encode(self.genesis), first))
        self.chain = ChainReader(self.database)

    def statement(self, voters: ValidatorSet, block: Block, result: BlockResult) -> StateStatement:
        return StateStatement(
            voters.epoch,
            block.height,
            block.digest,
            result.results_root,
            result.state_root,
            result.next_set.hash,
        )

    def endorsements(
        self, voters: ValidatorSet, statement: Ballot | StateStatement
    ) -> tuple[Endorsement, ...]:
        chain = self.genesis.federation_id
        votes = [
            endorse(self.signers[seat.voting_key], chain, statement) for seat in voters.validators
        ]
        return tuple(sorted(votes, key=lambda vote: vote.voter))

    def block(self, *transactions: Transaction) -> Block:
        """Execute, certify and store one block."""
        voters = self.town.ledger.validators
        result = self.town.block(*transactions)
        block = self.town.executed[-1]
        ballot = Ballot(Phase.COMMIT, voters.epoch, 0, block.height, block.digest)
        certificate = Certificate(ballot, self.endorsements(voters, ballot))
        statement = self.statement(voters, block, result)
        execution = Execution(statement, result.results)
        self.database.write(block_writes(block, certificate, execution, result.next_set))
        stated = StateCertificate(statement, self.endorsements(voters, statement))
        self.database.write((state_write(stated),))
        return block

    def claimed(self, who: HashSigner) -> bytes:
        """A task that this node asked for and has claimed."""
        self.block(self.town.signed(who, self.town.submission()))
        name = self.town.ledger.tasks()[-1][0]
        self.block(self.town.signed(who, ClaimTask(name)))
        return name


class Story(NamedTuple):
    """A chain on which all kinds of receipts exist, and one of each."""

    notary: Notary
    transfer: TransactionReceipt
    failed: TransactionReceipt
    task: TransactionReceipt
    block: BlockReceipt
    account: AccountReceipt
    absent: AccountReceipt
    member: StateReceipt
    several: StatesReceipt

    @property
    def receipts(self) -> tuple[Receipt, ...]:
        return self[1:]


@cache
def story() -> Story:
    notary = Notary((1, 1, 1, 1))
    town, chain = notary.town, notary.chain
    one = town.nodes[0]
    notary.block(town.signed(one, AdmitObserver(BOB.node_id, None)))
    approval = ApproveValidator(BOB.node_id, BOBS_KEY.public)
    notary.block(*(town.signed(node, approval) for node in town.nodes[:3]))
    assert town.ledger.validators.epoch == 1
    pay, overdraw = (
        town.signed(one, Transfer(BOB.node_id, amount), nonce=town.nonce(one) + at)
        for at, amount in enumerate((5, 10**6))
    )
    notary.block(pay, overdraw)
    notary.block(town.signed(one, town.submission(reward=40)))
    name = town.ledger.tasks()[0][0]
    notary.block(town.signed(BOB, ClaimTask(name)))
    done = town.signed(BOB, town.completion(name, BOB))
    notary.block(done)
    made = (
        transaction_receipt(chain, pay.id),
        transaction_receipt(chain, overdraw.id),
        transaction_receipt(chain, done.id, TaskContent(b"in", b"out")),
        block_receipt(chain, town.ledger.height),
        account_receipt(chain, town.ledger, BOB.node_id),
        account_receipt(chain, town.ledger, b"\x01" * 32),
        state_receipt(chain, town.ledger, MEMBERS.key(BOB.node_id)),
        states_receipt(chain, town.ledger, [MEMBERS.key(BOB.node_id), ACCOUNTS.key(b"\x01" * 32)]),
    )
    transfer, failed, task, block, account, absent, member, several = made
    assert isinstance(transfer, TransactionReceipt)
    assert isinstance(failed, TransactionReceipt)
    assert isinstance(task, TransactionReceipt)
    assert isinstance(block, BlockReceipt)
    assert isinstance(account, AccountReceipt)
    assert isinstance(absent, AccountReceipt)
    assert isinstance(member, StateReceipt)
    assert isinstance(several, StatesReceipt)
    return Story(notary, transfer, failed, task, block, account, absent, member, several)


def judged(receipt: Receipt) -> Verdict:
    return verify_receipt(receipt, story().notary.genesis, VERIFIER)


def refused(receipt: Receipt, sentence: str) -> None:
    verdict = judged(receipt)
    assert not verdict.valid
    assert sentence in verdict.reason
    assert verify_file(write_receipt(receipt), story().notary.genesis, VERIFIER) == verdict


def test_each_kind_of_receipt_holds_and_says_what_it_proves() -> None:
    kinds = [judged(receipt).kind for receipt in story().receipts]
    assert kinds == [
        "transaction",
        "failed transaction",
        "task",
        "block",
        "account",
        "account",
        "member",
        "records",
    ]
    for receipt in story().receipts:
        verdict = verify_file(write_receipt(receipt), story().notary.genesis, VERIFIER)
        assert verdict.valid, verdict.reason
        assert verdict == judged(receipt)
        assert (verdict.power, verdict.quorum) == (5, 4)
        assert verdict.signers == story().notary.town.ledger.validators.nodes


def test_a_pinned_set_must_stand_in_the_chain_of_epochs() -> None:
    genesis = story().notary.genesis
    for receipt in story().receipts:
        sets = [genesis.first_set(), *(link.members for link in receipt.epochs)]
        for epoch, members in enumerate(sets):
            assert verify_receipt(receipt, genesis, VERIFIER, Trust(epoch, members.hash)).valid
            other = verify_receipt(receipt, genesis, VERIFIER, Trust(epoch, bytes(32)))
            assert "not those that you trust" in other.reason
        late = verify_receipt(receipt, genesis, VERIFIER, Trust(len(sets), sets[-1].hash))
        assert "before the trusted epoch" in late.reason


def test_a_receipt_file_reads_back_and_stands_alone() -> None:
    for receipt in story().receipts:
        assert read_receipt(write_receipt(receipt)) == receipt


@settings(max_examples=300)
@given(st.sampled_from(range(8)), st.data())
def test_one_changed_byte_makes_a_receipt_worthless(which: int, data: st.DataObject) -> None:
    receipt = story().receipts[which]
    text = write_receipt(receipt).encode()
    at = data.draw(st.integers(0, len(text) - 1), label="position")
    value = data.draw(st.integers(0, 255) | st.sampled_from(b"0123456789abcdef"), label="value")
    changed = text[:at] + bytes([value]) + text[at + 1 :]
    verdict = verify_file(changed, story().notary.genesis, VERIFIER)
    if verdict.valid:
        assert read_receipt(changed) == receipt


@settings(max_examples=300)
@given(st.sampled_from(range(8)), st.data())
def test_no_number_or_hash_may_change(which: int, data: st.DataObject) -> None:
    """Changes that still parse, with the checksum made right: signatures and hashes tell."""
    receipt = story().receipts[which]
    tree = json.loads(write_receipt(receipt))
    parent, key = data.draw(st.sampled_from(_leaves(tree["receipt"])))
    old = parent[key]
    if isinstance(old, int) and not isinstance(old, bool):
        parent[key] = data.draw(st.integers(0, 20).filter(lambda new: new != old))
    elif isinstance(old, str) and old.isdecimal() and len(old) < 20:
        parent[key] = str(int(old) + 1)
    elif isinstance(old, str) and len(old) >= 2:
        digit = data.draw(st.sampled_from("0123456789abcdef"))
        at = data.draw(st.integers(0, len(old) - 1))
        parent[key] = old[:at] + digit + old[at + 1 :]
    try:
        changed = from_json(json.dumps(tree), ReceiptFile).receipt
    except DecodeError:
        return
    shows_absence = key == "key" and parent.get("value", key) is None
    if shows_absence or (receipt is story().absent and key == "owner"):
        return  # the same place in the tree may show the absence of another account or record as well
    assert judged(changed).valid == (changed == receipt)


def _leaves(tree: object) -> list[tuple[dict[object, object], object]]:
    """Where the plain values of a JSON tree stand: (container, key)."""
    found_here: list[tuple[dict[object, object], object]] = []
    pairs: list[tuple[object, object]] = []
    if isinstance(tree, dict):
        pairs = list(tree.items())
    elif isinstance(tree, list):
        pairs = list(enumerate(tree))
    for key, value in pairs:
        if isinstance(value, dict | list):
            found_here += _leaves(value)
        else:
            found_here.append((tree, key))  # type: ignore[arg-type]
    return found_here


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_rubbish_never_raises(text: bytes | str) -> None:
    verdict = verify_file(text, story().notary.genesis, VERIFIER)
    assert not verdict.valid
    assert verdict.reason.startswith("not a receipt")


def without_signers(receipt: Receipt, count: int) -> Receipt:
    fewer = msgspec.structs.replace(
        receipt.certificate, endorsements=receipt.certificate.endorsements[count:]
    )
    return msgspec.structs.replace(receipt, certificate=fewer)


@pytest.mark.parametrize("which", range(7))
def test_a_quorum_is_enough_and_one_signer_less_is_not(which: int) -> None:
    receipt = story().receipts[which]
    assert judged(without_signers(receipt, 1)).power == 4
    refused(without_signers(receipt, 2), "power 3 of 5 is no quorum")
    refused(without_signers(receipt, 5), "no quorum")


@pytest.mark.parametrize("which", range(7))
def test_signers_are_counted_once_and_must_have_a_seat(which: int) -> None:
    receipt = story().receipts[which]
    first = receipt.certificate.endorsements[0]
    twice = msgspec.structs.replace(receipt.certificate, endorsements=(first, first))
    refused(msgspec.structs.replace(receipt, certificate=twice), "distinct")
    stranger = Endorsement(b"\x00" * 32, first.signature)
    joined = msgspec.structs.replace(
        receipt.certificate, endorsements=(stranger, *receipt.certificate.endorsements)
    )
    refused(msgspec.structs.replace(receipt, certificate=joined), "no validator of epoch 1")


@pytest.mark.parametrize("which", range(7))
def test_another_genesis_believes_nothing(which: int) -> None:
    town = story().notary.town
    other = found("town", 7, town.genesis.founders, town.genesis.parameters)
    verdict = verify_receipt(story().receipts[which], other, VERIFIER)
    assert not verdict.valid


@pytest.mark.parametrize("which", range(7))
def test_the_sets_between_genesis_and_receipt_must_be_proven(which: int) -> None:
    receipt = story().receipts[which]
    (link,) = receipt.epochs

    def with_epochs(*links: EpochLink) -> Receipt:
        return msgspec.structs.replace(receipt, epochs=links)

    refused(with_epochs(), "certificate of epoch 1, validator set of epoch 0")
    refused(with_epochs(link, link), "the end of epoch 1 is not proven")
    _, _, mallory = founders((1, 1))
    forged = ValidatorSet(1, found("forged", 1, mallory).first_set().validators)
    refused(with_epochs(msgspec.structs.replace(link, members=forged)), "promised another set")
    statement = msgspec.structs.replace(link.certificate.statement, next_set_hash=forged.hash)
    resealed = msgspec.structs.replace(link.certificate, statement=statement)
    refused(with_epochs(EpochLink(resealed, forged)), "the end of epoch 0 is not proven")


def test_a_set_that_follows_itself_is_no_new_epoch() -> None:
    notary = story().notary
    certificate = notary.chain.state_certificate(1)
    assert certificate is not None
    same = EpochLink(certificate, notary.genesis.first_set())
    early = msgspec.structs.replace(story().block, epochs=(same, *story().block.epochs))
    refused(early, "epoch 0 does not follow epoch 0")


FORGERIES: dict[str, tuple[Callable[[Story], Receipt], str]] = {
    "another transaction's outcome": (
        lambda told: msgspec.structs.replace(told.failed, outcome=told.transfer.outcome),
        "another transaction's",
    ),
    "a failure made good": (
        lambda told: msgspec.structs.replace(
            told.failed,
            outcome=msgspec.structs.replace(
                told.transfer.outcome, transaction=told.failed.outcome.transaction
            ),
        ),
        "not among the certified results",
    ),
    "another block's header": (
        lambda told: msgspec.structs.replace(told.task, header=told.transfer.header),
        "not that of the certified block",
    ),
    "another block's header under votes": (
        lambda told: msgspec.structs.replace(told.block, header=told.transfer.header),
        "not that of the certified block",
    ),
    "rubbish as transaction": (
        lambda told: msgspec.structs.replace(told.transfer, raw=b"\x93"),
        "does not decode",
    ),
    "other content": (
        lambda told: msgspec.structs.replace(told.task, content=TaskContent(b"in", b"other")),
        "not what the task's hashes stand for",
    ),
    "content without a task": (
        lambda told: msgspec.structs.replace(told.transfer, content=TaskContent(b"in", None)),
        "not what the task's hashes stand for",
    ),
    "content beside a failure": (
        lambda told: msgspec.structs.replace(told.failed, content=TaskContent(None, None)),
        "proves nothing",
    ),
    "a richer account": (
        lambda told: msgspec.structs.replace(
            told.account,
            account=msgspec.structs.replace(told.notary.town.ledger.accounts()[0][1], balance=1),
        ),
        "not proven",
    ),
    "a present account denied": (
        lambda told: msgspec.structs.replace(told.account, account=None),
        "not proven",
    ),
    "a member denied": (
        lambda told: msgspec.structs.replace(told.member, value=None),
        "the member is not proven",
    ),
    "a member's record under another key": (
        lambda told: msgspec.structs.replace(told.member, key=b"m" + bytes(32)),
        "the member is not proven",
    ),
    "another owner": (
        lambda told: msgspec.structs.replace(told.account, owner=told.absent.owner),
        "not proven",
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forgeries_are_named(name: str) -> None:
    forge, sentence = FORGERIES[name]
    refused(forge(story()), sentence)


def test_a_prepared_certificate_is_no_commit() -> None:
    notary, receipt = story().notary, story().block
    ballot = msgspec.structs.replace(receipt.certificate.ballot, phase=Phase.PREPARE)
    voters = notary.town.ledger.validators
    prepared = Certificate(ballot, notary.endorsements(voters, ballot))
    refused(msgspec.structs.replace(receipt, certificate=prepared), "prepared, not committed")


class Gullible:
    """What a quorum of liars would run."""

    def verify(self, public: bytes, message: bytes, signature: bytes) -> bool:
        return bool(public and message and signature)


def test_signatures_of_users_are_checked_behind_the_validators_backs() -> None:
    notary = Notary((1,))
    town, one = notary.town, notary.town.nodes[0]
    notary.town.ledger._verifier = Gullible()
    pay = town.signed(one, Transfer(BOB.node_id, 1))
    forged = Transaction.of(pay.body, b"\x01" * 64)
    notary.block(forged)
    name = notary.claimed(one)
    good = town.completion(name, one).signed
    faked = CompleteTask(msgspec.structs.replace(good, signature=b"\x01" * 64))
    done = town.signed(one, faked)
    notary.block(done)
    for transaction, sentence in (
        (forged, "not signed by its sender"),
        (done, "not signed by its executor"),
    ):
        receipt = transaction_receipt(notary.chain, transaction.id)
        assert receipt is not None
        assert receipt.outcome.ok
        verdict = verify_receipt(receipt, notary.genesis, VERIFIER)
        assert not verdict.valid
        assert sentence in verdict.reason


def test_a_task_settled_by_the_word_of_both_says_so_and_no_forged_word_is_believed() -> None:
    notary = Notary((1,))
    town, one = notary.town, notary.town.nodes[0]
    good = town.completion(notary.claimed(one), one).signed
    settled = town.signed(one, SettleTask(good, countersign(one, good)))
    notary.block(settled)
    receipt = transaction_receipt(notary.chain, settled.id)
    assert receipt is not None
    verdict = verify_receipt(receipt, notary.genesis, VERIFIER)
    assert (verdict.valid, verdict.kind, verdict.countersigned) == (True, "task", True)
    assert not judged(story().task).countersigned

    notary.town.ledger._verifier = Gullible()
    other = town.completion(notary.claimed(one), one).signed
    forged = town.signed(one, SettleTask(other, bytes(64)))
    notary.block(forged)
    receipt = transaction_receipt(notary.chain, forged.id)
    assert receipt is not None
    verdict = verify_receipt(receipt, notary.genesis, VERIFIER)
    assert not verdict.valid
    assert "not its asker's" in verdict.reason


def test_a_completion_that_was_refused_has_a_receipt_of_its_failure() -> None:
    notary = Notary((1,))
    town, one = notary.town, notary.town.nodes[0]
    name = notary.claimed(one)
    good = town.completion(name, one).signed
    refused_one = town.signed(
        one, CompleteTask(msgspec.structs.replace(good, signature=b"\x01" * 64))
    )
    notary.block(refused_one)
    receipt = transaction_receipt(notary.chain, refused_one.id)
    assert receipt is not None
    verdict = verify_receipt(receipt, notary.genesis, VERIFIER)
    assert (verdict.valid, verdict.kind) == (True, "failed transaction")
    assert receipt.outcome.reason == "the receipt's signature is not the executor's"


def test_part_of_the_content_may_be_given() -> None:
    for content in (TaskContent(b"in", None), TaskContent(None, b"out"), None):
        assert judged(msgspec.structs.replace(story().task, content=content)).kind == "task"


def test_there_is_no_receipt_before_its_certificate() -> None:
    notary = Notary((1,))
    town = notary.town
    pay = town.signed(town.nodes[0], Transfer(BOB.node_id, 1))
    block = notary.block(pay)
    assert transaction_receipt(notary.chain, pay.id) is not None
    assert transaction_receipt(notary.chain, b"\x00" * 32) is None
    assert block_receipt(notary.chain, block.height + 1) is None
    assert epoch_links(notary.chain, 1) is None
    del notary.database.pairs[state_write(_any_certificate(notary))[0]]
    assert transaction_receipt(notary.chain, pay.id) is None
    assert account_receipt(notary.chain, town.ledger, BOB.node_id) is None


def _any_certificate(notary: Notary) -> StateCertificate:
    certificate = notary.chain.state_certificate(1)
    assert certificate is not None
    return certificate


def test_what_is_no_receipt_says_what_is_wrong() -> None:
    tree = json.loads(write_receipt(story().block))
    tree["receipt"]["header"]["height"] = -1
    with pytest.raises(DecodeError, match=r"receipt\.header\.height"):
        read_receipt(json.dumps(tree))
