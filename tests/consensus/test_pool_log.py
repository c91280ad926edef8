"""What a node's own users handed in outlives its process; what is in a block, or never will be, does not stay."""

from __future__ import annotations

from consensus.engine import Engine, Offer, Started, Submit, initial_writes
from consensus.execution import BlockExecuted
from consensus.genesis import Founder, found
from consensus.intake import Submitted
from consensus.mempool import Dropped, RefusalCode
from consensus.operations.transactions import (
    Transaction,
    TransactionBody,
    Transfer,
    sign_transaction,
)
from gossip.effects import Effect, Notify, Persist, Store
from simulations.worlds.disk import MemoryStore
from simulations.worlds.draws import Draws
from simulations.worlds.signatures import Keyring

KEYS = Keyring(Draws(5), real=False)
USER, VOTER = KEYS.signer(b"identity", 0), KEYS.signer(b"voting", 0)
GENESIS = found("pool", 1, (Founder(USER.public, VOTER.public, 1, 1000),))


class Node:
    """A founder alone, so that everything ready is decided at once; its disks outlive it."""

    def __init__(self) -> None:
        self.stores = {store: MemoryStore() for store in (Store.CHAIN, Store.VOTES, Store.POOL)}
        self.stores[Store.CHAIN].write(initial_writes(GENESIS, KEYS.verifier))
        self.executed: list[bytes] = []
        self.start()

    def start(self) -> None:
        self.engine = Engine(
            genesis=GENESIS,
            voting_key=VOTER,
            verifier=KEYS.verifier,
            chain=self.stores[Store.CHAIN],
            votes=self.stores[Store.VOTES],
            pool=self.stores[Store.POOL],
        )
        self.carry_out(self.engine.handle(1, Started()))

    def submit(self, *transactions: Transaction) -> list[object]:
        return self.carry_out(self.engine.handle(2, Submit(transactions)))

    def carry_out(self, effects: list[Effect]) -> list[object]:
        told: list[object] = []
        for effect in effects:
            if isinstance(effect, Persist):
                self.stores[effect.store].write(effect.writes, lazy=effect.lazy)
            if isinstance(effect, Notify):
                told.append(effect.what)
                if isinstance(effect.what, BlockExecuted):
                    self.executed += [one.id for one in effect.what.block.transactions]
        return told

    @property
    def kept(self) -> int:
        return len(self.stores[Store.POOL].scan(b""))


def paid(nonce: int, *, amount: int = 1, expiry: int = 1000) -> Transaction:
    pay = Transfer(b"\x07" * 32, amount)
    body = TransactionBody(GENESIS.federation_id, USER.public, nonce, expiry, (pay,))
    return sign_transaction(USER, body)


def test_a_held_transaction_is_still_there_after_a_restart_and_is_executed_when_its_turn_comes() -> (
    None
):
    node = Node()
    first, second = paid(0), paid(1)
    node.submit(second)
    assert (node.executed, node.kept) == ([], 1)
    node.start()
    assert node.engine.mempool.contains(second.id)
    node.submit(first)
    assert node.executed == [first.id, second.id]
    assert node.kept == 0
    node.start()
    assert node.engine.mempool.size == 0


def test_it_is_on_disk_before_anybody_is_told_that_it_waits() -> None:
    node = Node()
    effects = node.engine.handle(2, Submit((paid(1),)))
    kinds = [type(effect) for effect in effects if isinstance(effect, Persist | Notify)]
    assert kinds == [Persist, Notify]


def test_what_is_offered_touches_the_pool_alone_and_is_proposed_with_the_next_event() -> None:
    node = Node()
    pays = tuple(map(paid, range(3)))
    effects = node.engine.handle(2, Offer(pays))
    assert [one.store for one in effects if isinstance(one, Persist)] == [Store.POOL]
    assert [type(one.what) for one in effects if isinstance(one, Notify)] == [Submitted]
    node.carry_out(effects)
    assert (node.executed, node.kept) == ([], 3)
    node.engine.check_invariants()
    node.submit()
    assert (node.executed, node.kept) == ([one.id for one in pays], 0)


def test_what_was_offered_comes_to_the_same_as_what_was_submitted() -> None:
    pays = tuple(map(paid, range(3)))
    offered, submitted = Node(), Node()
    offered.carry_out(offered.engine.handle(2, Offer(pays)))
    offered.submit()
    submitted.submit(*pays)
    for store in Store.CHAIN, Store.VOTES, Store.POOL:
        assert offered.stores[store].scan(b"") == submitted.stores[store].scan(b"")


def test_what_is_replaced_is_told_and_does_not_come_back() -> None:
    node = Node()
    old, new = paid(1, expiry=900), paid(1, amount=2, expiry=800)
    node.submit(old)
    told = [one for one in node.submit(new) if isinstance(one, Dropped)]
    assert [(one.transaction, one.code) for one in told] == [(old, RefusalCode.REPLACED)]
    assert new.id.hex() in told[0].reason
    node.start()
    assert node.engine.mempool.ids() == (new.id,)


def test_what_can_not_be_read_or_is_not_signed_any_more_is_left_out_and_cleared() -> None:
    node = Node()
    good, forged = paid(1), paid(2)
    false = Transaction.of(forged.body, bytes(64))
    node.stores[Store.POOL].write(
        ((b"pending/" + good.id, good.raw), (b"pending/" + false.id, false.raw))
    )
    node.stores[Store.POOL].write(((b"pending/x", b"rubbish"),))
    node.start()
    assert node.engine.mempool.ids() == (good.id,)
    assert node.kept == 1
