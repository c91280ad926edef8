"""Signatures of many transactions, checked in a process of its own or, without one, in a thread."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from consensus.operations.transactions import Remark, Transaction, TransactionBody, sign_transaction
from gossip.identity import Ed25519Signer
from node.chain.signatures import InThread, Signatures, in_process

_SIGNER = Ed25519Signer(b"\x07" * 32)
_NO_SUCH_PROGRAM = ("/nowhere/at-all",)
_ENDS_AT_ONCE = (sys.executable, "-c", "")


def _many(count: int, false_at: int | None) -> list[Transaction]:
    signed = [
        sign_transaction(
            _SIGNER, TransactionBody(b"\x01" * 32, _SIGNER.public, nonce, 9, (Remark(b"hi"),))
        )
        for nonce in range(count)
    ]
    if false_at is not None:
        signed[false_at] = Transaction.of(signed[false_at].body, signed[false_at - 1].signature)
    return signed


async def _assert_found(signatures: Signatures) -> None:
    assert await signatures.first_unsigned(_many(300, 170)) == 170
    assert await signatures.first_unsigned(_many(3, 0)) == 0
    assert await signatures.first_unsigned(_many(3, None)) is None
    assert await signatures.first_unsigned([]) is None


async def test_the_process_finds_the_first_signature_that_does_not_hold() -> None:
    async with in_process() as signatures:
        assert await signatures.start()
        await _assert_found(signatures)


async def test_each_of_many_at_once_gets_its_own_answer() -> None:
    found: dict[int, int | None] = {}

    async def ask(false_at: int) -> None:
        found[false_at] = await signatures.first_unsigned(_many(40, false_at))

    async with in_process() as signatures, trio.open_nursery() as nursery:
        assert await signatures.start()
        for at in range(30):
            nursery.start_soon(ask, at)
    assert found == {at: at for at in range(30)}


async def test_who_stops_listening_takes_nobody_elses_answer() -> None:
    async with in_process() as signatures:
        assert await signatures.start()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(signatures.first_unsigned, _many(40, 7))
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert await signatures.first_unsigned(_many(3, 1)) == 1


async def test_so_does_the_thread() -> None:
    await _assert_found(InThread())


@pytest.mark.parametrize("command", [_NO_SUCH_PROGRAM, _ENDS_AT_ONCE])
async def test_without_a_process_signatures_are_checked_all_the_same(
    command: tuple[str, ...],
) -> None:
    async with in_process(command) as signatures:
        await _assert_found(signatures)
        assert not await signatures.start()
        await _assert_found(signatures)


async def test_who_comes_first_does_not_wait_for_the_process(tmp_path: Path) -> None:
    never = tmp_path / "never"
    os.mkfifo(never)
    async with in_process(("/bin/sh", "-c", f"read line < {never}")) as signatures:
        await _assert_found(signatures)


async def test_a_process_that_is_lost_is_replaced_and_nothing_goes_unchecked() -> None:
    async with in_process() as signatures:
        assert await signatures.start()
        await signatures.end()
        await _assert_found(signatures)
        assert await signatures.start()
        await _assert_found(signatures)
