"""Messages that leave an engine fit a frame, however much waits."""

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
from consensus.genesis import Founder, found
from consensus.messages import Transactions
from consensus.transactions import FailTask, Transaction, TransactionBody, sign_transaction
from gossip.codec import encode
from gossip.effects import Broadcast, Effect
from gossip.identity import NodeId
from simulations.disk import MemoryStore
from simulations.draws import Draws
from simulations.signatures import Keyring

FRAME_BYTES = 4 * 1024 * 1024


def sent(effects: list[Effect]) -> list[Transactions]:
    return [
        one.message
        for one in effects
        if isinstance(one, Broadcast) and isinstance(one.message, Transactions)
    ]


def test_what_waits_is_sent_in_messages_that_fit_a_frame() -> None:
    keys = Keyring(Draws(0), real=False)
    users = [keys.signer(b"identity", number) for number in range(4)]
    voters = [keys.signer(b"voting", number) for number in range(4)]
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
        voting_key=voters[3],
        verifier=keys.verifier,
        chain=store,
        votes=MemoryStore(),
        pool=MemoryStore(),
    )
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
