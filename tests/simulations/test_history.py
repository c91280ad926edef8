"""Answers that no single account book explains are noticed."""

import pytest

from consensus.operations.transactions import (
    Transaction,
    TransactionBody,
    Transfer,
    sign_transaction,
)
from gossip.codec import Digest
from gossip.identity import NodeId
from simulations.history import History
from simulations.violations import ViolationError
from simulations.worlds.draws import Draws
from simulations.worlds.signatures import Keyring

KEYS = Keyring(Draws(7), real=False)
ALICE, BOB = KEYS.signer(b"user", 0), KEYS.signer(b"user", 1)


def transfer(nonce: int, amount: int = 10) -> Transaction:
    to = NodeId(BOB.public)
    body = TransactionBody(
        Digest(bytes(32)), NodeId(ALICE.public), nonce, 100, (Transfer(to, amount),)
    )
    return sign_transaction(ALICE, body)


@pytest.fixture
def history() -> History:
    return History({ALICE.public: 100, BOB.public: 100})


def test_reads_of_any_height_are_explained_by_the_book(history: History) -> None:
    history.ordered(1, ((transfer(0), True),))
    history.ordered(2, ((transfer(1), False),))
    history.ordered(3, ((transfer(2, 5), True),))
    history.read(0, 3, BOB.public, 115)
    history.read(1, 1, BOB.public, 110)
    history.read(1, 2, ALICE.public, 90)
    assert history.reads == 3


def test_a_balance_that_no_order_gives_is_refused(history: History) -> None:
    history.ordered(1, ((transfer(0), True),))
    with pytest.raises(ViolationError, match="the book says 110"):
        history.read(0, 1, BOB.public, 100)


def test_a_node_never_shows_less_than_it_has_shown(history: History) -> None:
    history.ordered(1, ())
    history.ordered(2, ())
    history.read(0, 2, BOB.public, 100)
    history.read(1, 1, BOB.public, 100)
    with pytest.raises(ViolationError, match="after it has shown 2"):
        history.read(0, 1, BOB.public, 100)


def test_a_node_shows_what_it_has_called_final(history: History) -> None:
    first = transfer(0)
    history.ordered(1, ((first, True),))
    history.answered(0, first.id, 1)
    with pytest.raises(ViolationError, match="after it has shown 1"):
        history.read(0, 0, BOB.public, 100)


def test_an_answer_names_where_the_transaction_stands(history: History) -> None:
    first = transfer(0)
    with pytest.raises(ViolationError, match="final at 1, it stands at None"):
        history.answered(0, first.id, 1)
