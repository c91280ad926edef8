from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
import trio

from consensus.mempool import Mempool, RefusalCode, Refused
from consensus.messages import Transactions
from consensus.operations.transactions import (
    TransactionBody,
    Transfer,
    sign_transaction,
)
from gossip.codec import encode
from gossip.identity import Ed25519Signer
from node.config import ApiAddress
from node.gateway.app import ApiAddressError, open_listener
from node.gateway.fields import MAX_BODY_BYTES
from node.gateway.writes import NEVER
from node.storage.home import Home
from tests.node.alone import STRANGER, Alone, serving

BOB = Ed25519Signer(b"b" * 32)
STATUS_KEYS = {
    "node_id", "name", "federation_id", "role", "height", "epoch", "view", "primary", "peers",
    "quorum", "faults_tolerated", "state_root", "block_hash", "pending_transactions", "version",
}  # fmt: skip
PEER_KEYS = {
    "node_id", "name", "addresses", "capabilities", "status", "role", "last_seen_ms", "rtt_ms",
}  # fmt: skip
BLOCK_KEYS = {
    "height", "hash", "prev_hash", "proposer", "view", "epoch", "timestamp_ms", "state_root",
    "transactions", "certificate",
}  # fmt: skip
TRANSACTION_KEYS = {"txHash", "status", "height", "blockHash", "reason"}
TASK_KEYS = {
    "task_id", "kind", "status", "executor", "output", "usage", "txHash", "height", "receipt",
}  # fmt: skip


@dataclass
class Caller:
    """Somebody with an HTTP client and, if they like, the owner's token."""

    node: Alone
    url: str
    http: httpx2.AsyncClient
    token: str

    async def get(self, path: str) -> httpx2.Response:
        return await self.http.get(path)

    async def post(
        self, path: str, content: object, *, owner: bool = True, **headers: str
    ) -> httpx2.Response:
        if owner:
            headers["Authorization"] = f"Bearer {self.token}"
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return await self.http.post(path, content=body, headers=headers)

    def signed(self, amount: int = 5, **changes: int) -> dict[str, Any]:
        """A payment to Bob as a wallet would send it."""
        own = self.node.keys.identity
        nonce = self.node.engine.mempool.next_nonce(own.node_id, self.node.engine.ledger)
        body = TransactionBody(
            self.node.genesis.federation_id,
            own.node_id,
            nonce,
            NEVER,
            (Transfer(BOB.node_id, amount),),
        )
        body = msgspec.structs.replace(body, **changes)
        return {
            "from": own.node_id.hex(),
            "to": BOB.node_id.hex(),
            "amount": str(amount),
            "nonce": body.nonce,
            "signature": sign_transaction(own, body).signature.hex(),
        }


@pytest.fixture
async def caller(home_path: Path) -> AsyncIterator[Caller]:
    async with (
        serving(home_path) as (node, url),
        httpx2.AsyncClient(base_url=url, trust_env=False) as http,
    ):
        yield Caller(node, url, http, Home(home_path).read_token())


def code_of(response: httpx2.Response) -> str:
    """The code of a well-formed problem."""
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem.keys() == {"type", "title", "status", "detail", "code"}
    assert problem["status"] == response.status_code
    assert problem["detail"]
    return str(problem["code"])


async def test_health_and_readiness(caller: Caller) -> None:
    assert (await caller.get("/health")).json() == {"status": "ok"}
    assert (await caller.get("/ready")).json() == {"ready": True}
    caller.node.waits_for = "catching up"
    response = await caller.get("/ready")
    assert response.status_code == 503
    assert response.json() == {"ready": False, "reason": "catching up"}


async def test_answers_have_the_promised_keys(caller: Caller) -> None:
    paid = (await caller.post("/api/v2/transfers", {"to": "cd" * 32, "amount": "5"})).json()
    task = await caller.post("/api/v2/tasks", {"kind": "embed", "input": {"texts": ["a"]}})
    assert (await caller.get("/api/v2/status")).json().keys() >= STATUS_KEYS
    applicants = (await caller.get("/api/v2/peers?applicants=1")).json()
    assert applicants.keys() == {"peers"}
    assert applicants["peers"][0].keys() >= PEER_KEYS
    assert (await caller.get("/api/v2/blocks/1")).json().keys() >= BLOCK_KEYS
    assert paid.keys() >= TRANSACTION_KEYS
    shown = await caller.get(f"/api/v2/transactions/{paid['txHash']}")
    assert shown.json() == {**paid, "status": "finalized"}
    assert task.json().keys() >= TASK_KEYS | {"reason"}


async def test_a_signed_transfer_needs_no_token_and_is_paid(caller: Caller) -> None:
    response = await caller.post("/api/v2/transactions", caller.signed(), owner=False)
    assert response.status_code == 202
    assert response.json()["status"] == "pending"
    account = (await caller.get(f"/api/v2/accounts/{BOB.node_id.hex()}")).json()
    assert account == {"id": BOB.node_id.hex(), "balance": "5", "nonce": 0}


async def test_a_transaction_is_taken_as_its_raw_bytes_too(caller: Caller) -> None:
    transaction = caller.node.sign(Transfer(BOB.node_id, 5))
    response = await caller.post(
        "/api/v2/transactions", {"raw": transaction.raw.hex()}, owner=False
    )
    assert response.json()["txHash"] == transaction.id.hex()


async def test_a_transaction_that_waits_already_is_answered_alike(caller: Caller) -> None:
    later = caller.signed(nonce=1)
    first = await caller.post("/api/v2/transactions", later, owner=False)
    again = await caller.post("/api/v2/transactions", later, owner=False)
    assert again.status_code == 202
    assert again.json() == first.json()


WRONG_FIELDS: list[tuple[dict[str, Any], int, str]] = [
    ({"amount": str(10**18)}, 422, "bad_signature"),
    ({"to": "00" * 32}, 422, "bad_signature"),
    ({"from": "00" * 32}, 422, "bad_signature"),
    ({"expiry_height": 5}, 422, "bad_signature"),
    ({"amount": "-5"}, 400, "negative_amount"),
    ({"amount": "0"}, 400, "bad_amount"),
    ({"amount": "5.0"}, 400, "bad_amount"),
    ({"amount": "\u0665"}, 400, "bad_amount"),
    ({"amount": str(2**63)}, 400, "bad_amount"),
    ({"amount": 5}, 400, "wrong_type"),
    ({"nonce": -1}, 400, "out_of_range"),
    ({"nonce": 2**64}, 400, "out_of_range"),
    ({"nonce": True}, 400, "wrong_type"),
    ({"nonce": 1.5}, 400, "wrong_type"),
    ({"to": "AB" * 32}, 400, "bad_hex"),
    ({"to": "ab"}, 400, "bad_hex"),
    ({"to": None}, 400, "wrong_type"),
    ({"signature": "00"}, 400, "bad_hex"),
    ({"memo": "hi"}, 400, "unknown_field"),
    ({"raw": "00"}, 400, "bad_transaction"),
    ({"raw": "0"}, 400, "bad_hex"),
]


async def test_a_wrong_field_is_told_with_a_code(caller: Caller, subtests: pytest.Subtests) -> None:
    for change, status, code in WRONG_FIELDS:
        with subtests.test(change=change):
            response = await caller.post(
                "/api/v2/transactions", {**caller.signed(), **change}, owner=False
            )
            assert (response.status_code, code_of(response)) == (status, code)
    assert caller.node.engine.height == 0


async def test_a_missing_field_is_named(caller: Caller, subtests: pytest.Subtests) -> None:
    for name in ("from", "to", "amount", "nonce", "signature"):
        with subtests.test(name=name):
            fields = caller.signed()
            del fields[name]
            response = await caller.post("/api/v2/transactions", fields, owner=False)
            assert code_of(response) == "missing_field"
            assert response.json()["detail"].startswith(f"{name}:")


RUBBISH = (b"", b"{", b"[]", b"null", b"7", b"\xff\xfe", b'{"a": "\\ud800"}', b"[" * 100_000)


async def test_rubbish_is_no_json_object(caller: Caller, subtests: pytest.Subtests) -> None:
    for body in RUBBISH:
        with subtests.test(body=body[:20]):
            response = await caller.post("/api/v2/transactions", body, owner=False)
            assert (response.status_code, code_of(response)) == (400, "bad_json")


async def test_an_overdraft_and_a_replay_are_refused_with_the_mempool_s_words(
    caller: Caller,
) -> None:
    response = await caller.post("/api/v2/transactions", caller.signed(10**15), owner=False)
    assert (response.status_code, code_of(response)) == (422, "overdraft")
    assert "the balance is 100000000" in response.json()["detail"]
    paid = caller.signed()
    await caller.post("/api/v2/transactions", paid, owner=False)
    response = await caller.post("/api/v2/transactions", paid, owner=False)
    assert (response.status_code, code_of(response)) == (409, "replayed")
    assert "finalized since block 1" in response.json()["detail"]


async def test_a_transaction_for_another_federation_is_refused(caller: Caller) -> None:
    body = caller.node.sign(Transfer(BOB.node_id, 5)).body
    foreign = sign_transaction(
        caller.node.keys.identity, msgspec.structs.replace(body, chain=bytes(32))
    )
    response = await caller.post("/api/v2/transactions", {"raw": foreign.raw.hex()}, owner=False)
    assert (response.status_code, code_of(response)) == (422, "wrong_chain")


async def test_a_sender_without_account_is_told_so(caller: Caller) -> None:
    transaction = caller.node.sign(Transfer(caller.node.keys.identity.node_id, 1), signer=BOB)
    response = await caller.post(
        "/api/v2/transactions", {"raw": transaction.raw.hex()}, owner=False
    )
    assert (response.status_code, code_of(response)) == (422, "unknown_account")


async def test_a_full_node_says_when_to_come_back(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Mempool, "add", lambda *_: Refused(RefusalCode.FULL, "the node is busy"))
    response = await caller.post("/api/v2/transactions", caller.signed(), owner=False)
    assert (response.status_code, code_of(response)) == (503, "full")
    assert response.headers["retry-after"] == "1"
    raw = caller.node.sign(Transfer(BOB.node_id, 1)).raw
    batch = await caller.post("/api/v2/transactions/batch", encode(Transactions((raw,))))
    assert (batch.status_code, batch.headers["retry-after"]) == (202, "1")
    assert [one["code"] for one in batch.json()["refused"]] == ["full"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v2/transfers"),
        ("POST", "/api/v2/invites"),
        ("POST", "/api/v2/admissions"),
        ("POST", "/api/v2/tasks"),
        ("DELETE", f"/api/v2/tasks/{'0' * 64}"),
    ],
)
async def test_what_the_node_s_own_key_signs_needs_the_owner_s_token(
    caller: Caller, method: str, path: str
) -> None:
    missing = await caller.http.request(method, path, content=b"{}")
    assert (missing.status_code, code_of(missing)) == (401, "token_missing")
    assert missing.headers["www-authenticate"] == "Bearer"
    for given in (f"Bearer {'0' * 64}", caller.token, "Bearer", "Basic YTpi"):
        wrong = await caller.http.request(
            method, path, content=b"{}", headers={"Authorization": given}
        )
        assert (wrong.status_code, code_of(wrong)) == (401, "token_wrong")
    assert caller.node.engine.height == 0


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7440", "127.0.0.1.evil.example", "", "[::2]:80"]
)
async def test_a_rebound_name_reaches_nothing(caller: Caller, host: str) -> None:
    for path in ("/health", "/api/v2/status", "/nowhere"):
        response = await caller.http.get(path, headers={"Host": host})
        assert (response.status_code, code_of(response)) == (403, "wrong_host")


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:7440", "LOCALHOST"])
async def test_loopback_s_own_names_are_served(caller: Caller, host: str) -> None:
    assert (await caller.http.get("/health", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1"]
)
async def test_a_page_of_another_site_reaches_nothing(caller: Caller, origin: str) -> None:
    response = await caller.post("/api/v2/transfers", {}, Origin=origin)
    assert (response.status_code, code_of(response)) == (403, "wrong_origin")


async def test_the_node_s_own_page_is_served(caller: Caller) -> None:
    response = await caller.http.get("/health", headers={"Origin": caller.url})
    assert response.status_code == 200


async def test_a_body_is_bounded_announced_or_not(caller: Caller) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY_BYTES // 1024 + 1):
            yield b" " * 1024

    for body in (b" " * (MAX_BODY_BYTES + 1), b" " * 4 * 1024 * 1024, parts()):
        response = await caller.http.post("/api/v2/transactions", content=body)
        assert (response.status_code, code_of(response)) == (413, "body_too_large")


NOT_THERE = [
    ("/", 404, "unknown_path"),
    ("/api/v2/status/", 404, "unknown_path"),
    ("/api/v2/blocks/7", 404, "unknown_block"),
    ("/api/v2/blocks/0", 404, "unknown_block"),
    (f"/api/v2/blocks/{'ab' * 32}", 404, "unknown_block"),
    ("/api/v2/blocks/-1", 400, "bad_id"),
    ("/api/v2/blocks?limit=0", 400, "bad_parameter"),
    ("/api/v2/blocks?limit=101", 400, "bad_parameter"),
    ("/api/v2/blocks?limit=x", 400, "bad_parameter"),
    ("/api/v2/blocks?before=0", 400, "bad_parameter"),
    ("/api/v2/peers?applicants=yes", 400, "bad_parameter"),
    ("/api/v2/accounts/xyz", 400, "bad_id"),
    ("/api/v2/accounts/abc", 400, "bad_id"),
    ("/api/v2/accounts/%00%ff", 400, "bad_id"),
    (f"/api/v2/accounts/{'ab' * 32}", 404, "unknown_account"),
    (f"/api/v2/transactions/{'ab' * 32}", 404, "unknown_transaction"),
    (f"/api/v2/transactions/{'ab' * 32}/receipt", 404, "unknown_transaction"),
    (f"/api/v2/tasks/{'ab' * 32}", 404, "unknown_task"),
    (f"/api/v2/tasks/{'ab' * 33}", 400, "bad_id"),
]


async def test_what_is_not_there_is_told(caller: Caller, subtests: pytest.Subtests) -> None:
    for path, status, code in NOT_THERE:
        with subtests.test(path=path):
            response = await caller.get(path)
            assert (response.status_code, code_of(response)) == (status, code)


async def test_a_wrong_method_is_told_with_those_that_are_allowed(caller: Caller) -> None:
    response = await caller.http.put("/api/v2/tasks", content=b"")
    assert (response.status_code, code_of(response)) == (405, "unknown_method")
    assert response.headers["allow"] == "GET, HEAD, POST"


async def test_the_first_digits_of_an_id_are_enough_where_they_are_clear(caller: Caller) -> None:
    for number in range(40):
        caller.node.execute(Transfer(number.to_bytes(2, "big") + bytes(30), 1))
    account = await caller.get("/api/v2/accounts/0007")
    assert account.json()["id"] == f"0007{'00' * 30}"
    response = await caller.post("/api/v2/transfers", {"to": "abab", "amount": "1"})
    assert response.status_code == 202
    assert (await caller.get(f"/api/v2/accounts/{STRANGER.node_id}")).json()["balance"] == "1"
    unknown = await caller.post("/api/v2/transfers", {"to": "dead", "amount": "1"})
    assert (unknown.status_code, code_of(unknown)) == (404, "unknown_account")
    caller.node.execute(Transfer(bytes.fromhex("abab") + bytes(30), 1))
    several = await caller.post("/api/v2/transfers", {"to": "abab", "amount": "1"})
    assert (several.status_code, code_of(several)) == (400, "ambiguous_id")


async def test_an_executed_transaction_has_a_receipt(caller: Caller) -> None:
    transaction = caller.node.execute(Transfer(BOB.node_id, 5))
    response = await caller.get(f"/api/v2/transactions/{transaction.id.hex()}/receipt")
    assert response.json()["receipt"]["raw"] == transaction.raw.hex()
    waiting = caller.signed(nonce=5)
    name = (await caller.post("/api/v2/transactions", waiting, owner=False)).json()["txHash"]
    response = await caller.get(f"/api/v2/transactions/{name}/receipt")
    assert (response.status_code, code_of(response)) == (404, "no_receipt")


async def test_a_task_comes_to_the_node_typed_and_checked(caller: Caller) -> None:
    request = {
        "kind": "rank",
        "input": {"query": "bees?", "documents": [{"name": "a", "text": "Bees fly."}]},
        "executor": STRANGER.node_id[:8],
        "reward": "7",
    }
    response = await caller.post("/api/v2/tasks", request)
    assert response.status_code == 202
    (seen,) = caller.node.requests
    assert (seen.executor, seen.reward) == (bytes.fromhex(STRANGER.node_id), 7)
    listed = (await caller.get("/api/v2/tasks?limit=1")).json()["tasks"]
    assert [task["task_id"] for task in listed] == [response.json()["task_id"]]


WRONG_TASKS: list[tuple[dict[str, Any], int, str]] = [
    ({"kind": "paint", "input": {}}, 422, "unknown_kind"),
    ({"kind": "embed", "input": {}}, 422, "bad_input"),
    ({"kind": "embed", "input": {"texts": []}}, 422, "bad_input"),
    ({"kind": "embed", "input": {"texts": ["a"], "x": 1}}, 422, "bad_input"),
    ({"kind": "embed", "input": []}, 400, "wrong_type"),
    ({"kind": 7, "input": {}}, 400, "wrong_type"),
    ({"input": {}}, 400, "missing_field"),
    ({"kind": "embed", "input": {"texts": ["a"]}, "reward": "0"}, 400, "bad_amount"),
    ({"kind": "embed", "input": {"texts": ["a"]}, "executor": "0000"}, 404, "unknown_node"),
]


async def test_a_wrong_task_is_told(caller: Caller, subtests: pytest.Subtests) -> None:
    for wanted, status, code in WRONG_TASKS:
        with subtests.test(wanted=wanted):
            response = await caller.post("/api/v2/tasks", wanted)
            assert (response.status_code, code_of(response)) == (status, code)
    assert caller.node.requests == []


async def test_invites_and_admissions_reach_the_node(caller: Caller) -> None:
    invite = await caller.post("/api/v2/invites", {"ttl_ms": 1000})
    assert invite.status_code == 201
    assert invite.json().keys() == {"invite", "expires_at_ms"}
    too_long = await caller.post("/api/v2/invites", {"ttl_ms": 2**40})
    assert code_of(too_long) == "out_of_range"
    admission = await caller.post("/api/v2/admissions", {"node_id": "abab"})
    assert admission.status_code == 202
    assert admission.json()["node_id"] == STRANGER.node_id
    again = await caller.post("/api/v2/admissions", {"node_id": "abab"})
    assert again.json()["reason"] == "the node is a member already"
    wrong = await caller.post("/api/v2/admissions", {"node_id": "abab", "validator": "yes"})
    assert code_of(wrong) == "wrong_type"


async def test_a_node_s_refusal_keeps_its_code(caller: Caller) -> None:
    response = await caller.http.delete(
        f"/api/v2/tasks/{'ab' * 32}", headers={"Authorization": f"Bearer {caller.token}"}
    )
    assert (response.status_code, code_of(response)) == (409, "too_late")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_bug_is_a_500_and_the_next_request_is_served(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Alone) -> None:
        raise AssertionError

    with monkeypatch.context() as patch:
        patch.setattr(Alone, "status", broken)
        response = await caller.get("/api/v2/status")
        assert (response.status_code, code_of(response)) == (500, "internal")
    assert (await caller.get("/api/v2/status")).status_code == 200


async def test_many_callers_at_once_are_served(caller: Caller) -> None:
    statuses: list[int] = []

    async def ask() -> None:
        statuses.append((await caller.get("/api/v2/status")).status_code)

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(ask)
    assert statuses == [200] * 100


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "example.org", "::"])  # noqa: S104 - refused
def test_an_address_that_others_can_reach_is_refused(host: str) -> None:
    with pytest.raises(ApiAddressError, match="needs TLS"):
        open_listener(ApiAddress(host, 0))


def test_a_taken_port_is_told_with_the_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ApiAddressError, match=rf"127\.0\.0\.1:{port}.*is taken.*--api"):
            open_listener(ApiAddress("127.0.0.1", port))
