"""Proofs over HTTP: what `bizra-node verify` and the client check with the genesis alone. No token is asked for."""

from __future__ import annotations

import trio
from starlette.requests import Request
from starlette.responses import Response

from consensus.ledger.tables import LISTED, PROVABLE, SINGLE, THE_ONE
from consensus.receipts import MAX_ITEMS
from node.gateway.fields import MAX_BODY_BYTES, WHOLE_ID, Fields, path_id, read_body
from node.gateway.reads import json_response
from node.views.facade import Facade, Named, Problem
from node.views.records import JsonObject


class Proofs:
    """One method for each kind of question. Blocks and transactions are in `reads.py`: their proofs never change."""

    def __init__(self, facade: Facade) -> None:
        self._facade = facade

    async def account(self, request: Request) -> Response:
        """What an account holds after the last certified block, or that it doesn't exist."""
        owner = path_id(request, self._facade, Named.ACCOUNT)
        return _response(await self._facade.account_proof(owner))

    async def record(self, request: Request) -> Response:
        """What a record of the ledger says, or that there is none."""
        what, text = request.path_params["record"], request.query_params.get("id")
        if what not in PROVABLE:
            raise _unknown(what, tuple(PROVABLE))
        return _response(await self._facade.state_proof(_key(what, text)))

    async def records(self, request: Request) -> Response:
        """The same of several, accounts among them, under one certificate: for the items of a list."""
        fields = Fields(await read_body(request, MAX_BODY_BYTES), self._facade)
        wanted = fields.objects("records", MAX_ITEMS)
        fields.done()
        keys = [_named(one) for one in wanted]
        await trio.lowlevel.checkpoint()
        return _response(await self._facade.states_proof(keys))


def _named(fields: Fields) -> bytes:
    what = fields.text("record")
    text = fields.text("id") if fields.has("id") else None
    fields.drop("id")
    fields.done()
    if what not in LISTED:
        raise _unknown(what, tuple(LISTED))
    return _key(what, text)


def _key(what: str, text: str | None) -> bytes:
    if what in SINGLE:
        if text is not None:
            raise Problem(400, "bad_parameter", f"id: {what} is one record and has no id")
        return LISTED[what].key(THE_ONE)
    if text is None or not WHOLE_ID.fullmatch(text):
        raise Problem(400, "bad_id", f"id: expected the 64 hex digits of a {what}")
    return LISTED[what].key(bytes.fromhex(text))


def _unknown(what: str, known: tuple[str, ...]) -> Problem:
    return Problem(
        404,
        "unknown_record",
        f"there is no kind of record {what[:64]!r}; there are {', '.join(known)}",
    )


def _response(found: JsonObject | None) -> Response:
    if found is None:
        raise Problem(
            404,
            "no_receipt",
            "no quorum has certified a state yet; ask again after the next block",
            retry_after_s=1,
        )
    return json_response(found)
