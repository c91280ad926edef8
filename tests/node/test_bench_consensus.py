"""What the consensus benchmark signs beforehand, and how it declines to run beside what is not there."""

from __future__ import annotations

from base64 import b64decode

from consensus.operations.transactions import Remark, Transfer
from gossip.codec import Digest
from gossip.identity import Ed25519Signer, Ed25519Verifier
from node.bench.etcd import LETTERS
from node.bench.rivals import VALUE_BYTES
from node.bench.wallets import Wallets

CHAIN = Digest(bytes(32))
PAYEE = bytes(range(32))


def test_every_client_signs_its_own_transactions_in_nonce_order() -> None:
    wallets = Wallets(CHAIN, 3, PAYEE)
    signed = wallets.sign(each=2, payload_bytes=128, operations=2)
    for signer, wallet in zip(wallets.signers, signed, strict=True):
        assert [one.body.nonce for one in wallet] == [0, 1]
        for one in wallet:
            assert one.body.sender == signer.public
            assert one.is_signed(Ed25519Verifier())
            *pays, remark = one.body.operations
            assert pays == [Transfer(PAYEE, 1)] * 2
            assert isinstance(remark, Remark)
            assert len(remark.content) == 128


def test_no_two_payloads_are_alike() -> None:
    (wallet,) = Wallets(CHAIN, 1, PAYEE).sign(each=20, payload_bytes=16, operations=1)
    assert len({one.body.operations[-1] for one in wallet}) == 20


def test_more_accounts_than_one_transaction_can_fund_take_several() -> None:
    rich = Ed25519Signer(bytes(32))
    wallets = Wallets(CHAIN, 1_200, PAYEE)
    funding = wallets.funding(rich, 7, 50)
    assert [one.body.nonce for one in funding] == [7, 8]
    paid = [pay for one in funding for pay in one.body.operations]
    assert paid == [Transfer(signer.public, 50) for signer in wallets.signers]


def test_a_value_of_the_compiled_clients_is_as_long_as_a_payload() -> None:
    assert len(b64decode("B" * LETTERS + "A=", validate=True)) == VALUE_BYTES
