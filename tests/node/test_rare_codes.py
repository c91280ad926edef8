"""Error codes for which something must go wrong, or at the same moment, or late: each is brought about here."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx2
import pytest
import trio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message
from trio.testing import MockClock, wait_all_tasks_blocked

from consensus.operations.transactions import Transfer
from gossip.identity import Ed25519Signer
from gossip.transfer.store import ContentError
from inference.waiting import QueueState
from node.chain.own_account import NotTakenError, OwnAccount, problem_of
from node.errors import NodeError
from node.gateway.backroom import Backroom, BackroomParts
from node.gateway.contents import ContentDoor
from node.gateway.endpoint import Endpoint, resources_of
from node.gateway.fields import read_body
from node.gateway.guard import OwnerCheck
from node.gateway.idempotency import Idempotency
from node.gateway.problems import node_error_response
from node.gateway.reads import json_response
from node.storage.store import LevelStore
from node.views.facade import Problem
from node.work.spreads import SpreadRefusedError
from tests.node.alone import serving

TOKEN = "secret"
NAME = "ab" * 32


def asked(
    body: object = None, *, method: str = "POST", name: str = NAME, key: str | None = None
) -> Request:
    """The owner's request; without a body it never comes."""

    async def receive() -> Message:
        if body is None:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

    headers = [(b"authorization", f"Bearer {TOKEN}".encode())]
    headers += [] if key is None else [(b"idempotency-key", key.encode())]
    scope = {
        "type": "http",
        "method": method,
        "path": "/api/v2/x",
        "query_string": b"",
        "headers": headers,
        "path_params": {"id": name},
        "server": ("127.0.0.1", 7440),
        "scheme": "http",
    }
    return Request(scope, receive)


async def code_of(doing: Awaitable[object]) -> tuple[int, str]:
    with pytest.raises(Problem) as problem:
        await doing
    return problem.value.status, problem.value.code


def made_of(**parts: object) -> Any:  # noqa: ANN401 - stands for any part of the node
    return cast("Any", SimpleNamespace(**parts))


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


async def test_a_body_that_never_comes_is_not_waited_for(autojump_clock: MockClock) -> None:
    assert await code_of(read_body(asked(), 1000)) == (408, "body_timeout")


async def test_what_takes_too_long_is_told(autojump_clock: MockClock) -> None:
    async def never(_: Request) -> Response:
        await trio.sleep_forever()
        raise AssertionError

    resource = resources_of([Endpoint("GET", "/x", never, "", None)])["/x"]
    sent: list[Message] = []

    async def send(message: Message) -> None:
        await trio.lowlevel.checkpoint()
        sent.append(message)

    request = asked({}, method="GET")
    await resource(request.scope, request.receive, send)
    assert sent[0]["status"] == 503
    assert (b"retry-after", b"1") in sent[0]["headers"]
    assert json.loads(sent[1]["body"])["code"] == "timeout"


def test_trouble_around_the_node_is_told_as_such() -> None:
    response = node_error_response(NodeError("the disk is full"))
    assert response.status_code == 500
    assert json.loads(bytes(response.body))["code"] == "node_trouble"


async def test_a_key_is_in_use_until_its_deed_is_done_and_unknown_after_a_crash(
    tmp_path: Path,
) -> None:
    begun, go_on = trio.Event(), trio.Event()

    async def deed(_: Request) -> Response:
        begun.set()
        await go_on.wait()
        return json_response({}, 202)

    with LevelStore(tmp_path / "keys", create=True) as store:
        once = Idempotency(store, OwnerCheck(TOKEN), lambda: 5).over(deed)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(once, asked({"a": 1}, key="k"))
            await begun.wait()
            assert await code_of(once(asked({"a": 1}, key="k"))) == (409, "idempotency_key_in_use")
            # As after kill -9: what the disk holds, and nobody who remembers.
            anew = Idempotency(store, OwnerCheck(TOKEN), lambda: 6).over(deed)
            assert await code_of(anew(asked({"a": 1}, key="k"))) == (409, "idempotency_unknown")
            go_on.set()
            await wait_all_tasks_blocked()
        again = await once(asked({"a": 1}, key="k"))
        assert again.headers["idempotent-replayed"] == "true"


async def test_subscribers_beyond_the_bound_and_cursors_before_a_snapshot(
    home_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        serving(home_path) as (node, url),
        httpx2.AsyncClient(base_url=url, trust_env=False) as http,
    ):
        monkeypatch.setattr("node.chain.event_hub.MAX_SUBSCRIBERS", 0)
        refused = await http.get("/api/v2/events")
        assert (refused.status_code, refused.json()["code"]) == (503, "too_many_subscribers")
        assert refused.headers["retry-after"] == "5"
        for amount in (1, 2, 3):
            node.execute(Transfer(b"\x07" * 32, amount))
        node.hub.first_height = 3
        gone = await http.get("/api/v2/events?after=1")
        assert (gone.status_code, gone.json()["code"]) == (410, "cursor_gone")


async def test_a_content_that_is_half_here_and_a_disk_that_fails(tmp_path: Path) -> None:
    half = made_of(is_complete=False, present_bytes=1, manifest=made_of(size_bytes=2), name=b"")
    store = made_of(find=lambda _: half, listed=list, add=raising(ContentError("the disk fails")))
    door = ContentDoor(made_of(), made_of(store=store), OwnerCheck(TOKEN))
    patched = made_of(**{name: getattr(door, name) for name in ("_owner",)}, _named=lambda _: half)
    assert await code_of(ContentDoor.read(patched, asked({}))) == (409, "incomplete")
    assert await code_of(door.add(asked({}))) == (500, "store_failed")


async def test_only_an_escalated_request_waits_for_a_person_and_not_for_any_word() -> None:
    entry = made_of(id=bytes.fromhex(NAME), state=QueueState.WAITING, method="chat")
    foreman = made_of(core=made_of(room=made_of(all=lambda: [entry])))

    async def busy(*_: object) -> None:
        await trio.lowlevel.checkpoint()
        raise SpreadRefusedError("too much is under way")

    parts = BackroomParts(foreman, made_of(ask=busy), made_of())
    door = Backroom(made_of(), parts, OwnerCheck(TOKEN))
    assert await code_of(door.decide(asked({"decision": "retry"}))) == (409, "not_escalated")
    entry.state = QueueState.ESCALATED
    for wrong in (
        {"decision": "dance"},
        {"decision": "answer"},
        {"decision": "retry", "text": "x"},
    ):
        assert await code_of(door.decide(asked(wrong))) == (422, "bad_decision")
    work = {"kind": "embed", "input": {"texts": ["a"]}}
    assert await code_of(door.spread(asked(work))) == (503, "too_many_spreads")


def test_an_operation_that_no_block_may_hold_is_not_handed_in() -> None:
    signer = Ed25519Signer(b"\x01" * 32)
    ledger = made_of(genesis=made_of(federation_id=b"\x02" * 32))
    engine = made_of(ledger=ledger, mempool=made_of(next_nonce=lambda *_: 0), height=1)
    account = OwnAccount(signer, made_of(engine=engine))
    with pytest.raises(NotTakenError) as refused:
        account.sign((Transfer(b"too short", 1),))
    assert refused.value.code == "malformed"
    assert problem_of(refused.value, "no").status == 409


def test_a_full_mempool_says_when_to_come_back() -> None:
    for code in ("full", "sender_full"):
        problem = problem_of(NotTakenError(code, "too many wait"), "not taken")
        assert (problem.status, problem.code, problem.retry_after_s) == (503, code, 1)
