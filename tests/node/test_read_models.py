"""Lists, cache, entity tags, quotas and idempotency over HTTP, on real parts."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest
import trio

from consensus.operations.transactions import Transfer
from consensus.verify import verify_file
from gossip.identity import Ed25519Verifier
from node.gateway.cache import Cache, Life
from node.gateway.fields import name_fault
from node.gateway.quota import BURST_S, Quotas
from node.storage.home import Home
from tests.node.alone import serving
from tests.node.test_cli import call
from tests.node.test_gateway import BOB, Caller, caller, code_of

__all__ = ["caller"]


async def caught_up(caller: Caller) -> None:
    with trio.fail_after(10):
        while caller.node.projector.height < caller.node.engine.height:
            await caller.node.projector.moved()


async def paged(caller: Caller, path: str, key: str, limit: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    after = ""
    while True:
        page = (await caller.get(f"{path}?limit={limit}{after}")).json()
        assert len(page[key]) <= limit
        rows += page[key]
        if page["next"] is None:
            return rows
        after = f"&after={page['next']}"


async def keyed(caller: Caller, wanted: dict[str, str], key: str) -> httpx2.Response:
    """A payment by the owner under a key."""
    headers = {"Authorization": f"Bearer {caller.token}", "Idempotency-Key": key}
    return await caller.http.post("/api/v2/transfers", json=wanted, headers=headers)


async def test_accounts_come_richest_first_page_by_page(caller: Caller) -> None:
    for number in range(1, 6):
        caller.node.execute(Transfer(bytes([number]) * 32, number))
    await caught_up(caller)
    rows = await paged(caller, "/api/v2/accounts", "accounts", 2)
    assert len(rows) == 7
    balances = [int(str(row["balance"])) for row in rows]
    assert balances == sorted(balances, reverse=True)
    assert sum(balances) == caller.node.genesis.parameters.supply


async def test_an_account_s_transactions_newest_first(caller: Caller) -> None:
    sent = [caller.node.execute(Transfer(BOB.node_id, amount)).id.hex() for amount in (1, 2, 3)]
    await caught_up(caller)
    path = f"/api/v2/accounts/{BOB.node_id.hex()}/transactions"
    rows = await paged(caller, path, "transactions", 2)
    assert [row["txHash"] for row in rows] == sent[::-1]
    everything = await paged(caller, "/api/v2/transactions", "transactions", 1)
    assert [row["txHash"] for row in everything] == sent[::-1]


async def test_the_active_validators_are_ranked(caller: Caller) -> None:
    await caught_up(caller)
    own = caller.node.keys.identity.node_id.hex()
    expected = [
        {
            "id": own,
            "name": "alone",
            "stake": "0",
            "rank": 1,
            "power": 1,
            "delegated": "0",
            "since_epoch": 0,
        }
    ]
    assert (await caller.get("/api/v2/validators/active")).json() == expected
    assert (await caller.get("/api/v2/validators/top?limit=10")).json() == expected


async def test_a_list_comes_from_the_cache_until_an_event_changes_it(caller: Caller) -> None:
    await caught_up(caller)
    path = "/api/v2/accounts?limit=5"
    assert (await caller.get(path)).headers["x-cache"] == "MISS"
    assert (await caller.get(path)).headers["x-cache"] == "HIT"
    other = f"/api/v2/accounts/{'ab' * 32}/transactions"
    await caller.get(other)
    caller.node.execute(Transfer(BOB.node_id, 5))
    await caught_up(caller)
    fresh = await caller.get(path)
    assert fresh.headers["x-cache"] == "MISS"
    assert any(row["id"] == BOB.node_id.hex() for row in fresh.json()["accounts"])
    assert (await caller.get(other)).headers["x-cache"] == "HIT"


async def test_what_is_final_comes_from_the_cache(caller: Caller) -> None:
    paid = caller.node.execute(Transfer(BOB.node_id, 5)).id.hex()
    for path in (f"/api/v2/transactions/{paid}", "/api/v2/blocks/1"):
        first, again = await caller.get(path), await caller.get(path)
        assert (first.headers["x-cache"], again.headers["x-cache"]) == ("MISS", "HIT")
        assert again.content == first.content
    # The beginning of a name may come to mean another one.
    short = f"/api/v2/transactions/{paid[:12]}"
    assert [(await caller.get(short)).headers["x-cache"] for _ in range(2)] == ["MISS", "MISS"]


async def test_what_the_caller_has_is_not_sent_again(caller: Caller) -> None:
    for path in ("/api/v2/validators", "/api/v2/accounts"):
        first = await caller.get(path)
        etag = first.headers["etag"]
        for named in (etag, f"W/{etag}", f'"x", {etag}', "*"):
            again = await caller.http.get(path, headers={"If-None-Match": named})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == etag
        other = await caller.http.get(path, headers={"If-None-Match": '"x"'})
        assert other.status_code == 200


async def test_the_event_log_is_read_from_any_cursor(caller: Caller) -> None:
    transaction = caller.node.execute(Transfer(BOB.node_id, 5))
    page = (await caller.get("/api/v2/events/log?limit=3")).json()
    kinds = [one["kind"] for one in page["events"]]
    assert kinds == ["BlockCreated", "TransactionSubmitted", "TransactionExecuted"]
    assert page["events"][1]["correlation"] == transaction.id.hex()
    assert page["events"][2]["causation"] == page["events"][1]["cursor"] == "1.1"
    rest = (await caller.get(f"/api/v2/events/log?after={page['next']}")).json()["events"]
    assert rest[-1]["kind"] == "BlockFinalized"
    changed = next(one for one in rest if one["data"].get("account") == BOB.node_id.hex())
    assert changed["data"]["now"] == {"balance": "5", "nonce": 0}


async def test_a_balance_and_an_absence_can_be_proven(caller: Caller) -> None:
    caller.node.execute(Transfer(BOB.node_id, 5))
    for owner in (BOB.node_id.hex(), "77" * 32):
        response = await caller.get(f"/api/v2/accounts/{owner}/proof")
        verdict = verify_file(response.content, caller.node.genesis, Ed25519Verifier())
        assert (verdict.valid, verdict.kind) == (True, "account")
        there = response.json()["receipt"]["account"]
        assert (there is None) == (owner == "77" * 32)


async def test_read_models_are_made_anew_by_the_owner(caller: Caller) -> None:
    caller.node.execute(Transfer(BOB.node_id, 5))
    await caught_up(caller)
    before = (await caller.get("/api/v2/accounts")).json()
    path = "/api/v2/projections/accounts/rebuild"
    assert code_of(await caller.post(path, {}, owner=False)) == "token_missing"
    assert code_of(await caller.post("/api/v2/projections/x/rebuild", {})) == "unknown_projection"
    assert (await caller.post(path, {})).status_code == 202
    with trio.fail_after(10):
        while any(one.rebuilt_to is not None for one in caller.node.projector.standing()):
            await caller.node.projector.moved()
    assert (await caller.get("/api/v2/accounts")).json() == before
    listed = (await caller.get("/api/v2/projections")).json()["projections"]
    assert {one["name"]: one["height"] for one in listed}["accounts"] == 1


async def test_the_command_line_makes_a_read_model_anew(caller: Caller) -> None:
    caller.node.execute(Transfer(BOB.node_id, 5))
    home = Path(caller.node.chain_disk.path).parent
    ended = await call(home, "projections", "rebuild", "accounts", "--wait", "--json")
    assert ended.code == 0, ended.err
    rows = {one["name"]: one for one in ended.json["projections"]}
    assert rows["accounts"]["rebuilt_to"] is None
    unknown = await call(home, "projections", "rebuild", "dreams")
    assert (unknown.code, "there are accounts" in unknown.err) == (1, True)
    listed = await call(home, "projections", "list")
    assert "fairness" in listed.out


WRONG_QUERIES = [
    ("/api/v2/accounts?limit=0", "bad_parameter"),
    ("/api/v2/accounts?limit=1&limit=2", "bad_parameter"),
    ("/api/v2/accounts?limits=1", "unknown_parameter"),
    ("/api/v2/accounts?after=zz", "bad_cursor"),
    ("/api/v2/accounts?after=", "bad_cursor"),
    ("/api/v2/ledger/tasks?state=happy", "bad_parameter"),
    (f"/api/v2/ledger/tasks?owner={'ab' * 32}&state=queued", "bad_parameter"),
    ("/api/v2/ledger/tasks?owner=xyz", "bad_id"),
    ("/api/v2/events/log?after=1.2.3", "bad_cursor"),
    ("/api/v2/events?transaction=zz", "bad_id"),
    ("/api/v2/events?after=999", "bad_cursor"),
    (f"/api/v2/events?task={'ab' * 32}&account={'ab' * 32}", "bad_parameter"),
    ("/api/v2/status?x=1", "unknown_parameter"),
]


@pytest.mark.parametrize(("path", "code"), WRONG_QUERIES)
async def test_a_wrong_query_is_told(caller: Caller, path: str, code: str) -> None:
    response = await caller.get(path)
    assert (response.status_code, code_of(response)) == (400, code)


async def test_a_deed_with_a_key_is_done_once(caller: Caller) -> None:
    async def pay(amount: str, key: str) -> httpx2.Response:
        return await keyed(caller, {"to": "cd" * 32, "amount": amount}, key)

    first = await pay("5", "order-1")
    again = await pay("5", "order-1")
    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert caller.node.engine.height == 1
    reused = await pay("6", "order-1")
    assert (reused.status_code, code_of(reused)) == (422, "idempotency_key_reused")
    assert (await pay("5", "order-2")).json() != first.json()
    bad = await pay("5", "x" * 200)
    assert (bad.status_code, code_of(bad)) == (400, "bad_idempotency_key")


async def test_a_refused_deed_leaves_its_key_free(caller: Caller) -> None:
    wanted = {"to": "cd" * 32, "amount": str(10**15)}
    for _ in range(2):
        response = await keyed(caller, wanted, "k")
        assert code_of(response) == "overdraft"


async def test_keys_outlive_the_node(home_path: Path) -> None:
    wanted = {"to": "cd" * 32, "amount": "5"}
    answers = []
    for _ in range(2):
        async with (
            serving(home_path) as (node, url),
            httpx2.AsyncClient(base_url=url, trust_env=False) as http,
        ):
            caller = Caller(node, url, http, Home(home_path).read_token())
            response = await keyed(caller, wanted, "k")
            answers.append(response.json())
            assert node.engine.height == 1
    assert answers[0] == answers[1]


async def test_a_quota_is_shown_and_kept(home_path: Path) -> None:
    async with (
        serving(home_path, quota_per_s=1) as (_, url),
        httpx2.AsyncClient(base_url=url, trust_env=False) as http,
    ):
        left = []
        for _ in range(BURST_S):
            response = await http.get("/health")
            assert response.headers["x-ratelimit-limit"] == str(BURST_S)
            left.append(int(response.headers["x-ratelimit-remaining"]))
        assert left[0] == BURST_S - 1
        assert left == sorted(left, reverse=True)
        while (response := await http.get("/health")).status_code == 200:
            pass
        assert (response.status_code, code_of(response)) == (429, "quota_exceeded")
        assert int(response.headers["retry-after"]) >= 1
        # The owner has a share of its own.
        token = Home(home_path).read_token()
        owner = await http.get("/health", headers={"Authorization": f"Bearer {token}"})
        assert owner.status_code == 200


def test_a_bucket_fills_up_evenly() -> None:
    quotas = Quotas(2)
    assert [quotas.take(0, "a").allowed for _ in range(21)] == [True] * 20 + [False]
    assert quotas.take(0, "b").allowed
    assert not quotas.take(0.4, "a").allowed
    assert quotas.take(0.5, "a").allowed
    assert quotas.take(100, "a").remaining == 19


def test_the_cache_forgets_in_time_and_is_bounded() -> None:
    cache = Cache(most=2)
    for name in ("a", "b", "c"):
        cache.put(0, name, b"x", "e", life=Life.LIST, subjects=[("p", name.encode())])
    assert len(cache) == 2
    assert cache.get(59_999, "c") is not None
    assert cache.get(60_000, "c") is None
    cache.put(0, "item", b"x", "e", life=Life.ITEM, subjects=[("p", b"s")])
    assert cache.get(299_999, "item") is not None
    cache.invalidate("q", frozenset({b"s"}))
    assert cache.get(1, "item") is not None
    cache.invalidate("p", frozenset({b"s"}))
    assert cache.get(1, "item") is None


@pytest.mark.parametrize("name", ["Anna", "Zoë", "Владимир", "東京のノード", "नमस्ते", "node-7 b"])
def test_names_of_people_are_taken(name: str) -> None:
    assert name_fault(name, 64) is None


@pytest.mark.parametrize(
    "name",
    ["", "x" * 65, " a", "a\u200bb", "a\u202eb", "\u0440\u0430ypal", "ﬁne", "e\u0301", "a\nb", "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤"],
)
def test_tricks_in_names_are_refused(name: str) -> None:
    assert name_fault(name, 64) is not None
