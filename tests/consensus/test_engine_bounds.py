"""Messages that leave an engine fit a frame, however much waits, and are few when nothing does."""

from collections import Counter

from consensus.blocks import MAX_BLOCK_TXS
from consensus.engine import (
    BEAT_TIMER,
    Engine,
    PeerConnected,
    Started,
    Submit,
    TimerFired,
    initial_writes,
)
from consensus.genesis import Founder, Genesis, found
from consensus.messages import Status, Transactions
from consensus.operations.transactions import (
    FailTask,
    Transaction,
    TransactionBody,
    sign_transaction,
)
from gossip.codec import encode
from gossip.effects import Broadcast, Effect
from gossip.identity import NodeId, Signer
from simulations.worlds.disk import MemoryStore
from simulations.worlds.draws import Draws
from simulations.worlds.signatures import Keyring

FRAME_BYTES = 4 * 1024 * 1024


def sent(effects: list[Effect]) -> list[Transactions]:
    return [
        one.message
        for one in effects
        if isinstance(one, Broadcast) and isinstance(one.message, Transactions)
    ]


def last_of(founders: int) -> tuple[Engine, Genesis, list[Signer]]:
    """The engine of the last one, their genesis and the keys of all."""
    keys = Keyring(Draws(0), real=False)
    users = [keys.signer(b"identity", number) for number in range(founders)]
    voters = [keys.signer(b"voting", number) for number in range(founders)]
    genesis = found(
        "bounds",
        1,
        tuple(
            Founder(user.public, voter.public, 1, 1000)
            for user, voter in zip(users, voters, strict=True)
        ),
    )
    store = MemoryStore()
    store.write(initial_writes(genesis, keys.verifier))
    engine = Engine(
        genesis=genesis,
        voting_key=voters[-1],
        verifier=keys.verifier,
        chain=store,
        votes=MemoryStore(),
        pool=MemoryStore(),
    )
    return engine, genesis, users


def test_what_waits_is_sent_in_messages_that_fit_a_frame() -> None:
    engine, genesis, users = last_of(4)
    engine.handle(1, Started())
    for user in users[:3]:
        engine.handle(1, PeerConnected(NodeId(user.public)))
    heavy = tuple(FailTask(bytes(32), "x" * 500) for _ in range(110))

    def transaction(nonce: int) -> Transaction:
        body = TransactionBody(genesis.federation_id, users[3].public, nonce, 1000, heavy)
        return sign_transaction(users[3], body)

    asked = tuple(map(transaction, range(100)))
    submitted = sent(engine.handle(2, Submit(asked)))
    resent = sent(engine.handle(3, TimerFired(BEAT_TIMER)))
    assert [raw for one in submitted for raw in one.raw] == [one.raw for one in asked]
    assert resent
    for message in (*submitted, *resent):
        assert len(encode(message)) < FRAME_BYTES
        assert len(message.raw) <= MAX_BLOCK_TXS


def test_an_idle_node_among_many_tells_two_at_a_time_where_it_stands_and_leaves_out_nobody() -> (
    None
):
    engine, _, users = last_of(21)
    peers = [NodeId(user.public) for user in users[:-1]]
    engine.handle(1, Started())
    for peer in peers:
        engine.handle(1, PeerConnected(peer))
    told: Counter[NodeId] = Counter()
    for beat in range(4 * len(peers)):
        for one in engine.handle(2 + beat, TimerFired(BEAT_TIMER)):
            if isinstance(one, Broadcast):
                assert isinstance(one.message, Status)
                assert len(one.to) == 2
                told.update(one.to)
    assert told == dict.fromkeys(peers, 2)


def test_an_idle_node_among_few_tells_all_where_it_stands() -> None:
    engine, _, users = last_of(4)
    peers = {NodeId(user.public) for user in users[:-1]}
    engine.handle(1, Started())
    for peer in peers:
        engine.handle(1, PeerConnected(peer))
    beats = [engine.handle(2 + beat, TimerFired(BEAT_TIMER)) for beat in range(4)]
    told = [set(one.to) for beat in beats for one in beat if isinstance(one, Broadcast)]
    assert told == [peers]
