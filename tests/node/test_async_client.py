"""The client for programs, under both event loops, against a node that answers over real sockets."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable

import anyio
import pytest

from consensus.genesis import Genesis
from consensus.ledger.tables import TASKS, THE_ONE, VALIDATORS
from gossip.identity import Ed25519Signer
from node.client import Client, RefusedError
from node.client.conversations import Ask, Reply
from node.client.programs import AsyncClient
from node.client.proven import NotProvenError
from node.client.proven_lists import ProvenSeat
from node.client.streams import StreamCalls
from node.storage.home import Home
from tests.node.served import Served, run, served

__all__ = ["run", "served"]

BOB = Ed25519Signer(b"b" * 32)


def test_pay_wait_and_prove(served: Served, run: Callable[..., None]) -> None:
    async def story() -> None:
        async with served.client() as client:
            paid = await client.transfer(BOB.node_id.hex(), 5, key="once")
            assert (await client.transfer(BOB.node_id.hex(), 5, key="once")).tx_hash == paid.tx_hash
            view = await client.await_transaction(paid.tx_hash, 10)
            assert view.status == "finalized"
            name = bytes.fromhex(paid.tx_hash)
            assert (await client.proven_transaction(name, served.genesis)).outcome.ok
            account = await client.proven_account(BOB.node_id, served.genesis)
            assert account.account is not None
            assert account.account.balance == 5
            assert (await client.proven_account(bytes(32), served.genesis)).account is None
            block = await client.proven_block("1", served.genesis)
            assert block.block_hash.hex() == view.block_hash
            assert (await client.status()).height == 1
            seats = await client.proven_record(VALIDATORS, THE_ONE, served.genesis)
            assert seats.record is not None
            assert len(seats.record.validators) == 1
            missing = await client.proven_record(TASKS, bytes(32), served.genesis)
            assert (missing.record, missing.verdict.kind) == (None, "task")

    run(story)


def test_events_come_over_the_websocket_and_go_on_behind_a_cursor(
    served: Served, run: Callable[..., None]
) -> None:
    async def story() -> None:
        async with served.client() as client:
            async with client.events(account=BOB.node_id.hex()) as happenings:
                await client.transfer(BOB.node_id.hex(), 5)
                seen = [await anext(happenings) for _ in range(3)]
                assert [one.status for one in seen] == ["pending", "included", "finalized"]
                cursor = happenings.cursor
            await client.transfer(BOB.node_id.hex(), 6)
            async with client.events(account=BOB.node_id.hex(), after=cursor) as happenings:
                again = await anext(happenings)
                assert (again.status, again.height) == ("finalized", 2)

    run(story)


def test_what_is_wrong_is_raised_with_its_code(served: Served, run: Callable[..., None]) -> None:
    async def story() -> None:
        async with served.client() as client:
            with pytest.raises(RefusedError) as refused:
                await client.account("ff" * 32)
            assert refused.value.code == "unknown_account"
            with pytest.raises(RefusedError) as refused:
                async with client.events(after="999") as happenings:
                    await anext(happenings)
            assert refused.value.code == "bad_cursor"

    run(story)


def test_a_lie_is_not_proven(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with served.client() as client:
            await client.await_transaction(
                (await client.transfer(BOB.node_id.hex(), 5)).tx_hash, 10
            )
            told = client._told

            async def lying(asked: Ask) -> Reply:
                text = (await told(asked)).content.decode()
                forged = json.loads(text.replace('"balance":"5"', '"balance":"6"'))
                return Reply(json.dumps(forged).encode())

            monkeypatch.setattr(client, "_told", lying)
            with pytest.raises(NotProvenError):
                await client.proven_account(BOB.node_id, served.genesis)
            monkeypatch.setattr(client, "_told", told)
            other = Ed25519Signer(b"o" * 32)
            stranger = Genesis.load(
                served.genesis.to_json().replace(served.genesis.name, "elsewhere")
            )
            with pytest.raises(NotProvenError):
                await client.proven_account(other.node_id, stranger)

    anyio.run(story, backend="trio")


def test_lists_are_proven_item_by_item(served: Served, run: Callable[..., None]) -> None:
    own = Home(served.home.path)

    async def story() -> None:
        async with served.client() as client:
            for amount in (5, 6):
                paid = await client.transfer(BOB.node_id.hex(), amount)
                await client.await_transaction(paid.tx_hash, 10)
            while any(one.height < 2 for one in (await client.projections()).projections):
                await anyio.lowlevel.checkpoint()
            genesis = served.genesis
            accounts = await client.proven_accounts(genesis, limit=2)
            balances = [one.balance for _, one in accounts.items]
            assert len(balances) == 2
            assert balances == sorted(balances, reverse=True)
            everything = [*accounts.items]
            while accounts.next is not None:
                accounts = await client.proven_accounts(genesis, 2, accounts.next)
                everything += accounts.items
            assert dict(everything)[BOB.node_id].balance == 11
            sent = await client.proven_transactions(genesis, BOB.node_id)
            assert [one.transaction.body.nonce for one in sent.items] == [1, 0]
            assert all(one.outcome.ok for one in sent.items)
            blocks = await client.proven_blocks(genesis)
            assert [one.height for one in blocks] == [2, 1]
            (seat,) = await client.proven_validators(genesis)
            assert isinstance(seat, ProvenSeat)
            assert seat.seat.node.hex() == (await client.status()).node_id
            assert (await client.proven_tasks(genesis)).items == ()

    run(story)
    with Client.of_home(own) as client:
        assert [one.height for one in client.proven_blocks(served.genesis)] == [2, 1]
        assert client.proven_account(BOB.node_id, served.genesis).account is not None
        assert len(client.proven_validators(served.genesis)) == 1
        missing = client.proven_record(TASKS, bytes(32), served.genesis)
        assert (missing.record, missing.verdict.kind) == (None, "task")
        rows = client.proven_transactions(served.genesis, BOB.node_id, limit=1)
        assert len(rows.items) == 1
        assert rows.next is not None


def test_both_clients_ask_the_same_by_the_same_names(served: Served) -> None:
    """But for what flows, and for what the client for scripts does alone."""
    alone = {"of_home", "streaming", "await_group", "await_spread"} | {
        name for name in vars(StreamCalls) if not name.startswith("_")
    }
    asked = {name for name in dir(Client) if not name.startswith("_")} - alone
    assert asked == {name for name in dir(AsyncClient) if not name.startswith("_")} - {"events"}
    with served.client() as client:
        told = inspect.signature(client.transfer)
    assert list(told.parameters) == ["to", "amount", "key"]
    assert told.return_annotation == "TransactionView"
