"""What the WebSockets really say is what the description says of them."""

from __future__ import annotations

from typing import Any

import jsonschema
import trio

from consensus.messages import Transactions
from consensus.operations.transactions import SubmitTask, Transfer, content_hash
from gossip.codec import encode
from node.bench.socket import BinarySocket
from tests.node.test_gateway import BOB, Caller, caller

__all__ = ["caller"]


async def described(caller: Caller) -> dict[str, Any]:
    document: dict[str, Any] = (await caller.get("/asyncapi.json")).json()
    return document


def fits(document: dict[str, Any], message: str, said: object) -> None:
    """The message has the form that is promised, with no field that the description doesn't have."""
    payload = document["components"]["messages"][message]["payload"]
    schema = {**payload, "components": document["components"]}
    jsonschema.Draft202012Validator(schema).validate(said)
    known = document["components"]["schemas"][payload["$ref"].rpartition("/")[2]]["properties"]
    assert isinstance(said, dict)
    assert said.keys() <= known.keys()


async def test_notices_have_the_form_that_is_described(caller: Caller) -> None:
    document = await described(caller)
    node, channel = caller.node, document["channels"]["events"]
    assert {"transaction", "account", "task", "after", "batch"} == channel["bindings"]["ws"][
        "query"
    ]["properties"].keys()
    node.execute(Transfer(BOB.node_id, 5))
    node.execute(SubmitTask("embed", content_hash(b"in"), 7, None, node.now_ms + 3_600_000))
    seen: set[str] = set()
    with trio.fail_after(10):
        async with BinarySocket(caller.url, f"{channel['address']}?after=0") as socket:
            while seen != {"transaction", "task", "block"}:
                said = await socket.receive()
                fits(document, "happening", said)
                seen.add(said["event"])


async def test_submissions_are_answered_in_the_form_that_is_described(caller: Caller) -> None:
    document = await described(caller)
    paid = caller.node.sign(Transfer(BOB.node_id, 5))
    with trio.fail_after(10):
        async with BinarySocket(
            caller.url, document["channels"]["submissions"]["address"]
        ) as socket:
            await socket.send(encode(Transactions((paid.raw,))))
            fits(document, "answer", await socket.receive())
            await socket.send(b"rubbish")
            problem = await socket.receive()
    fits(document, "problem", problem)
    assert problem["code"] == "bad_batch"


async def test_the_other_description_says_where_this_one_is(caller: Caller) -> None:
    paths = (await caller.get("/openapi.json")).json()
    assert paths["externalDocs"]["url"] == "/asyncapi.json"
    assert "101" in paths["paths"]["/api/v2/events"]["get"]["responses"]
