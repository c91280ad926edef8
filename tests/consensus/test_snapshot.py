"""Snapshots: what an honest node makes of its state, another one takes; nothing else is taken."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.engine import Engine, Started, Submit, initial_writes
from consensus.genesis import Genesis, found_alone
from consensus.ledger.state import STATE_PREFIX
from consensus.operations.transactions import (
    AdmitObserver,
    ApproveValidator,
    Operation,
    TransactionBody,
    Transfer,
    sign_transaction,
)
from consensus.snapshot import (
    SnapshotError,
    SnapshotProof,
    proof_fault,
    prove,
    read_state,
    restored,
    state_pages,
)
from gossip.codec import Digest, decode, encode
from gossip.effects import Persist, Store
from gossip.identity import NodeId
from simulations.worlds.disk import MemoryStore
from simulations.worlds.draws import Draws
from simulations.worlds.signatures import Keyring

KEYS = Keyring(Draws(0), real=False)
FOUNDER, SECOND = (KEYS.signer(b"identity", number) for number in range(2))
VOTER, SECOND_VOTER = (KEYS.signer(b"voting", number) for number in range(2))
CONTENT = Digest(bytes(32))


class Node:
    """An engine over a disk in memory; the founder's voice alone is a quorum, with a second validator too."""

    def __init__(self, genesis: Genesis, chain: MemoryStore) -> None:
        self.genesis, self.chain = genesis, chain
        self._stores = {
            Store.CHAIN: chain,
            Store.VOTES: MemoryStore(),
            Store.POOL: MemoryStore(),
        }
        self.engine = Engine(
            genesis=genesis,
            voting_key=VOTER,
            verifier=KEYS.verifier,
            chain=chain,
            votes=self._stores[Store.VOTES],
            pool=self._stores[Store.POOL],
        )
        self.now_ms = genesis.created_ms
        self._handle(Started())

    def _handle(self, event: Started | Submit) -> None:
        self.now_ms += 10
        for effect in self.engine.handle(self.now_ms, event):
            if isinstance(effect, Persist):
                self._stores[effect.store].write(effect.writes)
        self.engine.check_invariants()

    def execute(self, *operations: Operation) -> None:
        """One block."""
        height = self.engine.height
        account = self.engine.ledger.account(FOUNDER.public)
        assert account is not None
        body = TransactionBody(
            self.genesis.federation_id, FOUNDER.public, account.nonce, 2**40, operations
        )
        self._handle(Submit((sign_transaction(FOUNDER, body),)))
        assert self.engine.height == height + 1

    def pay(self, count: int) -> None:
        for _ in range(count):
            self.execute(Transfer(SECOND.public, 1))

    def seat_second(self) -> None:
        self.execute(AdmitObserver(SECOND.public, None))
        self.execute(ApproveValidator(SECOND.public, SECOND_VOTER.public))

    def pairs(self) -> list[tuple[bytes, bytes]]:
        cut = len(STATE_PREFIX)
        return [(key[cut:], value) for key, value in self.chain.scan(STATE_PREFIX)]

    def proof(self) -> SnapshotProof:
        proof = prove(self.chain, self.engine.height, CONTENT)
        assert proof is not None
        return proof


def fresh_store(genesis: Genesis) -> MemoryStore:
    store = MemoryStore()
    store.write(initial_writes(genesis, KEYS.verifier))
    return store


@pytest.fixture
def node() -> Node:
    genesis = found_alone("snapshots", 1, (NodeId(FOUNDER.public), VOTER.public), 10**8)
    return Node(genesis, fresh_store(genesis))


def take(node: Node, proof: SnapshotProof) -> Node:
    """Another node with the same genesis, after the snapshot."""
    assert proof_fault(proof, node.genesis, KEYS.verifier) is None
    store = fresh_store(node.genesis)
    present = [key for key, _ in store.scan(STATE_PREFIX)]
    pieces = list(state_pages(node.pairs()))
    store.write(tuple(restored(proof, read_state(pieces), present)))
    return Node(node.genesis, store)


def seat_and_pay(node: Node) -> None:
    node.seat_second()
    node.pay(3)


HISTORIES: dict[str, Callable[[Node], None]] = {
    "in epoch 0": lambda node: node.pay(3),
    "in a later epoch": seat_and_pay,
    "at the end of an epoch": Node.seat_second,
}


@pytest.mark.parametrize("history", HISTORIES)
def test_a_newcomer_stands_where_the_snapshot_was_made_and_goes_on(
    node: Node, history: str
) -> None:
    HISTORIES[history](node)
    newcomer = take(node, node.proof())
    assert newcomer.engine.height == node.engine.height
    assert newcomer.engine.certified == node.engine.height
    assert newcomer.engine.validators == node.engine.validators
    assert newcomer.engine.ledger.state_root == node.engine.ledger.state_root
    assert newcomer.engine.chain.first_height() == node.engine.height
    newcomer.execute(Transfer(SECOND.public, 5))
    # It can give a snapshot itself, of what came after.
    newcomer.pay(2)
    third = take(newcomer, newcomer.proof())
    assert third.engine.ledger.state_root == newcomer.engine.ledger.state_root


def test_two_nodes_make_the_same_bytes(node: Node) -> None:
    node.pay(3)
    other = take(node, node.proof())
    assert list(state_pages(other.pairs())) == list(state_pages(node.pairs()))


def test_another_state_than_the_certified_one_is_refused(node: Node) -> None:
    node.pay(2)
    pairs = node.pairs()
    for wrong in (pairs[:-1], [*pairs, (b"zz", b"x")], [(pairs[0][0], b"more"), *pairs[1:]]):
        with pytest.raises(SnapshotError, match="state root"):
            restored(node.proof(), wrong, ())


def test_no_part_of_a_proof_can_be_replaced(node: Node) -> None:
    node.pay(1)
    older = node.proof()
    node.seat_second()
    node.pay(2)
    proof = node.proof()
    replace = msgspec.structs.replace
    block = proof.block
    assert block.state is not None
    few = replace(block.state, endorsements=())
    forgeries = {
        "another block": replace(proof, block=older.block),
        "another execution": replace(proof, execution=older.execution),
        "no certificate": replace(proof, block=replace(block, state=None)),
        "nobody's signatures": replace(proof, block=replace(block, state=few)),
        "no epochs": replace(proof, epochs=()),
        "no base": replace(proof, base=None),
        "another base": replace(proof, base=older.block),
        "an older proof with epochs": replace(older, epochs=proof.epochs),
    }
    assert proof_fault(proof, node.genesis, KEYS.verifier) is None
    for what, forged in forgeries.items():
        assert proof_fault(forged, node.genesis, KEYS.verifier) is not None, what
    other = found_alone("others", 1, (NodeId(FOUNDER.public), VOTER.public), 10**8)
    assert proof_fault(proof, other, KEYS.verifier) is not None


def test_a_proof_survives_the_wire(node: Node) -> None:
    node.seat_second()
    node.pay(1)
    proof = node.proof()
    assert decode(encode(proof), SnapshotProof) == proof


@given(
    st.lists(st.tuples(st.binary(max_size=40), st.binary(max_size=300)), max_size=30),
    st.integers(1, 100),
)
def test_a_state_is_read_back_from_pieces_of_any_size(
    drawn: list[tuple[bytes, bytes]], size: int
) -> None:
    pairs = sorted(dict(drawn).items())
    data = b"".join(state_pages(pairs))
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert list(read_state(pieces)) == pairs


@given(st.binary(max_size=200))
def test_garbage_is_no_state(data: bytes) -> None:
    try:
        pairs = list(read_state([data]))
    except SnapshotError:
        return
    assert b"".join(state_pages(pairs)) == data or not data


def test_a_page_that_claims_to_be_huge_is_refused_before_it_is_kept() -> None:
    with pytest.raises(SnapshotError, match="too large"):
        list(read_state([b"\xff\xff\xff\xff"]))
