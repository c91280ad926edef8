"""Money and proofs between real daemons: what is refused, with which words, and what can be checked offline."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from consensus.operations.transactions import (
    Transaction,
    TransactionBody,
    Transfer,
    sign_transaction,
)
from gossip.codec import Digest
from gossip.identity import Ed25519Signer
from node.client import RefusedError
from node.storage.keyfile import Purpose, load_key
from tests.node.e2e.daemons import WAIT_S, Daemon, Fleet, await_agreement, command, until

pytestmark = pytest.mark.timeout(120)

STRANGER = Ed25519Signer(b"\x07" * 32)


def _signed(
    by: Daemon, signer: Ed25519Signer, nonce: int, amount: int, expiry_height: int = 2**40
) -> Transaction:
    status = by.status
    assert status.federation_id is not None
    body = TransactionBody(
        Digest(bytes.fromhex(status.federation_id)),
        signer.public,
        nonce,
        expiry_height,
        (Transfer(STRANGER.public, amount),),
    )
    return sign_transaction(signer, body)


def _refusal(node: Daemon, transaction: Transaction) -> RefusedError:
    with pytest.raises(RefusedError) as refused:
        node.client.submit(transaction.raw)
    return refused.value


def test_a_transaction_is_taken_once_and_its_nonce_is_used_up(four: list[Daemon]) -> None:
    payer, other = four[1], four[2]
    signer = load_key(payer.home.identity_key, Purpose.IDENTITY)
    nonce = payer.client.account(payer.id).nonce
    first = _signed(payer, signer, nonce, 10)
    taken = other.client.submit(first.raw)
    assert other.client.await_transaction(taken.tx_hash, WAIT_S).status == "finalized"
    await_agreement(four)
    balance = payer.balance()
    replayed = _refusal(payer, _signed(payer, signer, nonce, 20))
    assert "nonce" in str(replayed)
    assert str(nonce) in str(replayed)
    assert _refusal(other, first).code == "replayed"
    other.pay(payer, 3)
    await_agreement(four)
    assert payer.balance() == balance + 3


def test_what_waits_outlives_kill_9_and_can_be_replaced_by_its_sender(fleet: Fleet) -> None:
    alone = fleet.new("alone").start("--found", "one")
    signer = load_key(alone.home.identity_key, Purpose.IDENTITY)
    nonce = alone.client.account(alone.id).nonce
    held = _signed(alone, signer, nonce + 1, 10)
    assert alone.client.submit(held.raw).status == "pending"
    alone.kill()
    alone.start()
    assert alone.client.transaction(held.id.hex()).status == "pending"
    assert _refusal(alone, _signed(alone, signer, nonce + 1, 20)).code == "nonce_taken"
    other = _signed(alone, signer, nonce + 1, 20, expiry_height=2**39)
    alone.client.submit(other.raw)
    told = alone.client.transaction(held.id.hex())
    assert told.status == "rejected"
    assert other.id.hex() in (told.reason or "")
    alone.client.submit(_signed(alone, signer, nonce, 1).raw)
    assert alone.client.await_transaction(other.id.hex(), WAIT_S).status == "finalized"


def test_more_than_there_is_can_not_be_paid(four: list[Daemon]) -> None:
    payer = four[3]
    balance = payer.balance()
    ended = payer.command("tx", "transfer", four[0].id, str(balance + 1), "--wait", "--json")
    assert ended.code == 1
    said = ended.json.get("reason") or ended.json["error"]["detail"]
    assert str(balance) in said.replace(",", "")
    assert payer.balance() == balance
    payer.pay(four[0], 1)


def test_who_has_no_account_pays_nothing(four: list[Daemon]) -> None:
    nobody = Ed25519Signer(b"\x08" * 32)
    assert "no account" in str(_refusal(four[0], _signed(four[0], nobody, 0, 1)))


def test_a_forged_signature_is_refused(four: list[Daemon]) -> None:
    payer = four[1]
    nonce = payer.client.account(payer.id).nonce
    sound = _signed(payer, load_key(payer.home.identity_key, Purpose.IDENTITY), nonce, 1)
    forged = Transaction.of(sound.body, STRANGER.sign(b"something else"))
    assert _refusal(four[0], forged).code == "bad_signature"


def test_what_nobody_knows_is_not_found(four: list[Daemon]) -> None:
    nobody = "ab" * 32
    for arguments in (
        ("tx", "show", nobody),
        ("tx", "show", "zz"),
        ("task", "show", nobody),
        ("block", "show", "1000000"),
        ("receipt", nobody),
        ("admit", "abababab"),
        ("tx", "transfer", "abababab", "1"),
    ):
        ended = four[0].command(*arguments)
        assert ended.code == 1, ended
        assert ended.err.startswith("Error: "), ended
    with pytest.raises(RefusedError) as refused:
        four[0].client.account(nobody)
    assert refused.value.status == 404


def test_wrong_usage_ends_with_two(four: list[Daemon]) -> None:
    for arguments in (("tx", "transfer", four[1].id, "0"), ("tx", "transfer"), ("dance",)):
        assert four[0].command(*arguments).code == 2


def test_proofs_hold_offline_in_every_epoch_and_break_with_one_byte(
    four: list[Daemon], tmp_path: Path
) -> None:
    prover, genesis = four[3], four[0].home.genesis
    prover.pay(four[0])
    await_agreement(four)
    seen = {}
    last = prover.status.height
    for height in (*_epoch_ends(prover), last):
        block = prover.client.block(str(height))
        name = block.transactions[0]
        until(lambda name=name: _proof(prover, name, tmp_path).exists(), "the proof")  # type: ignore[misc]
        ended = command(
            None, "--json", "verify", _proof(prover, name, tmp_path), "--genesis", genesis
        )
        assert ended.code == 0, ended
        verdict = ended.json
        assert (verdict["valid"], verdict["height"]) == (True, height)
        assert verdict["power"] >= verdict["quorum"]
        seen[block.epoch] = verdict["quorum"]
    assert seen == {0: 1, 1: 3, 2: 5, 3: 3}
    newest = prover.client.block(str(last)).transactions[0]
    _break_each(_proof(prover, newest, tmp_path), genesis)


def _epoch_ends(node: Daemon) -> list[int]:
    """The last height of each epoch but the present one, from the first block on."""
    ends: dict[int, int] = {}
    page = node.client.blocks(100)
    while page.blocks:
        for block in page.blocks:
            ends[block.epoch] = max(block.height, ends.get(block.epoch, 0))
        if page.next_before is None:
            break
        page = node.client.blocks(100, page.next_before)
    return [ends[epoch] for epoch in sorted(ends)][:-1]


def _proof(node: Daemon, name: str, folder: Path) -> Path:
    path = folder / f"{name}.json"
    if not path.exists():
        ended = node.command("receipt", name, "-o", path)
        assert ended.code in (0, 1)
    return path


def _break_each(proof: Path, genesis: Path) -> None:
    """Some places in the file, chosen with a seed, each changed by one letter or digit."""
    text = proof.read_text()
    assert json.loads(text)
    places = [at for at, sign in enumerate(text) if sign.isalnum()]
    for at in random.Random(7).sample(places, 6):
        changed = proof.with_name("changed.json")
        changed.write_text(text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1 :])
        ended = command(None, "--json", "verify", changed, "--genesis", genesis)
        assert ended.code == 1, (at, text[at - 20 : at + 20], ended)
        assert ended.json["valid"] is False
        assert ended.json["reason"]


def test_a_stranger_audits_any_node_with_nothing_but_the_genesis(
    four: list[Daemon], tmp_path: Path
) -> None:
    four[1].pay(four[2])
    status = await_agreement(four)
    genesis = ("--genesis", four[0].home.genesis, "--directory", tmp_path / "copy", "--json")
    told = four[0].command("audit", "--url", four[3].client.url, "--all", *genesis)
    assert told.code == 0, told.err
    assert (told.json["height"], told.json["state_root"]) == (status.height, status.state_root)
    assert told.json["epoch"] == status.epoch > 0
    again = four[0].command("audit", "--url", four[2].client.url, *genesis)
    assert again.json["blocks"] == again.json["height"] - told.json["height"]


def test_a_proof_does_not_hold_in_another_federation(four: list[Daemon], tmp_path: Path) -> None:
    assert command(tmp_path / "other", "init", "--found", "others").code == 0
    paid = four[1].pay(four[2])
    proof = tmp_path / f"{paid.tx_hash}.json"
    until(lambda: _proof(four[1], paid.tx_hash, tmp_path).exists(), "the proof")
    ended = command(tmp_path / "other", "--json", "verify", proof)
    assert (ended.code, ended.json["valid"]) == (1, False)
