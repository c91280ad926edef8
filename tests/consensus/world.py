"""What the tests of the consensus floor share: cheap signatures, federations, blocks on a ledger."""

from __future__ import annotations

from hashlib import blake2b

from consensus.blocks import Block, make_block
from consensus.genesis import Founder, Genesis, found
from consensus.ledger.machine import BlockResult, Ledger
from consensus.operations.transactions import (
    ClaimTask,
    CompleteTask,
    Operation,
    SignedReceipt,
    SubmitTask,
    TaskReceipt,
    Transaction,
    TransactionBody,
    Usage,
    content_hash,
    sign_receipt,
    sign_transaction,
)
from consensus.parameters import Parameters
from gossip.codec import ZERO_DIGEST
from gossip.effects import Write
from gossip.identity import NodeId, PublicKey, Signature

FAR = 2**40
START_MS = 1_000_000


class HashSigner:
    """Signs with a keyed hash that `HashVerifier` can repeat: for tests of everything but cryptography."""

    def __init__(self, name: str) -> None:
        self.public = PublicKey(blake2b(name.encode(), digest_size=32, person=b"test-key").digest())
        self.node_id = NodeId(self.public)

    def sign(self, message: bytes) -> Signature:
        return _hash_signature(self.public, message)


class HashVerifier:
    def verify(self, public: bytes, message: bytes, signature: bytes) -> bool:
        return signature == _hash_signature(public, message)


def _hash_signature(public: bytes, message: bytes) -> Signature:
    return Signature(blake2b(message, key=public, digest_size=64).digest())


class MemoryReader:
    """A database of one test."""

    def __init__(self, writes: tuple[Write, ...] = ()) -> None:
        self.pairs: dict[bytes, bytes] = {}
        self.write(writes)

    def write(self, writes: tuple[Write, ...]) -> None:
        for key, value in writes:
            if value is None:
                self.pairs.pop(key, None)
            else:
                self.pairs[key] = value

    def get(self, key: bytes) -> bytes | None:
        return self.pairs.get(key)

    def scan(self, prefix: bytes) -> list[tuple[bytes, bytes]]:
        return [pair for pair in sorted(self.pairs.items()) if pair[0].startswith(prefix)]


def founders(
    powers: tuple[int, ...], amount: int = 1000
) -> tuple[tuple[HashSigner, ...], tuple[HashSigner, ...], tuple[Founder, ...]]:
    """Identities, voting keys and seats of founders with these powers."""
    nodes = tuple(HashSigner(f"node {at}") for at in range(len(powers)))
    keys = tuple(HashSigner(f"voting key {at}") for at in range(len(powers)))
    seats = tuple(
        Founder(node.node_id, key.public, power, amount)
        for node, key, power in zip(nodes, keys, powers, strict=True)
    )
    return nodes, keys, seats


class Town:
    """A ledger with founders of the given powers, and a way to give it blocks."""

    def __init__(
        self,
        powers: tuple[int, ...] = (1,),
        parameters: Parameters | None = None,
        amount: int = 1000,
    ) -> None:
        self.nodes, self.keys, seats = founders(powers, amount)
        self.genesis: Genesis = found("town", START_MS, seats, parameters)
        self.ledger = Ledger(self.genesis, HashVerifier())
        self.database = MemoryReader(self.ledger.initial_writes())
        self.now_ms = START_MS
        self.executed: list[Block] = []
        self.results: list[BlockResult] = []

    def nonce(self, who: HashSigner) -> int:
        account = self.ledger.account(who.node_id)
        return 0 if account is None else account.nonce

    def balance(self, who: HashSigner) -> int:
        account = self.ledger.account(who.node_id)
        return -1 if account is None else account.balance

    def signed(
        self, who: HashSigner, *operations: Operation, nonce: int | None = None, expiry: int = FAR
    ) -> Transaction:
        body = TransactionBody(
            self.genesis.federation_id,
            who.node_id,
            self.nonce(who) if nonce is None else nonce,
            expiry,
            operations,
        )
        return sign_transaction(who, body)

    def next_block(self, *transactions: Transaction) -> Block:
        """The block that could follow, a second after the last one."""
        return make_block(
            chain=self.genesis.federation_id,
            height=self.ledger.height + 1,
            epoch=self.ledger.validators.epoch,
            prev_hash=ZERO_DIGEST,
            proposer=self.keys[0].public,
            timestamp_ms=self.now_ms + 1000,
            transactions=transactions,
        )

    def block(self, *transactions: Transaction) -> BlockResult:
        """Execute one block of these; invariants are checked and writes stored."""
        block = self.next_block(*transactions)
        result = self.ledger.execute(block)
        self.executed.append(block)
        self.now_ms += 1000
        self.ledger.check_invariants()
        self.database.write(result.writes)
        self.results.append(result)
        return result

    def code(self, who: HashSigner, *operations: Operation) -> str:
        """Execute one transaction in a block of its own; the code of its outcome."""
        return self.block(self.signed(who, *operations)).outcomes[0].code.value

    def submission(
        self, reward: int = 10, *, executor: HashSigner | None = None, lead_ms: int = 60_000
    ) -> SubmitTask:
        """A task whose deadline lies `lead_ms` after the next block."""
        named = None if executor is None else executor.node_id
        return SubmitTask("embed", content_hash(b"in"), reward, named, self.now_ms + 1000 + lead_ms)

    def submitted(self, who: HashSigner, reward: int = 10) -> bytes:
        """A queued task's id."""
        assert self.code(who, self.submission(reward)) == "ok"
        return self.ledger.tasks()[-1][0]

    def claimed(self, asker: HashSigner, executor: HashSigner, reward: int = 10) -> bytes:
        """An assigned task's id."""
        task = self.submitted(asker, reward)
        assert self.code(executor, ClaimTask(task)) == "ok"
        return task

    def receipt(self, task: bytes, executor: HashSigner) -> SignedReceipt:
        """A good receipt of a task, signed by `executor`."""
        known = self.ledger.task(task)
        assert known is not None
        receipt = TaskReceipt(
            chain=self.genesis.federation_id,
            task=task,
            kind=known.kind,
            asker=known.submitter,
            executor=executor.node_id,
            input_hash=known.input_hash,
            output_hash=content_hash(b"out"),
            model_hash=bytes(32),
            usage=Usage(1, 2, 3),
            finished_at_ms=self.now_ms,
            nonce=bytes(32),
        )
        return sign_receipt(executor, receipt)

    def completion(self, task: bytes, executor: HashSigner) -> CompleteTask:
        return CompleteTask(self.receipt(task, executor))
