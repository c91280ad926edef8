"""Deeds over HTTP. A signed transaction speaks for itself; what the node's own key signs needs the owner's token."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from consensus.mempool import RefusalCode, Refused
from consensus.operations.transactions import (
    MAX_TRANSACTION_BYTES,
    Transaction,
    TransactionBody,
    Transfer,
    decode_transaction,
)
from consensus.operations.validators import MAX_LABEL
from gossip.codec import DecodeError
from gossip.identity import Ed25519Verifier, NodeId, Verifier
from inference.kinds import BadInput, UnknownKind, parse_input
from node.gateway.fields import (
    MAX_BODY_BYTES,
    MAX_TASK_BODY_BYTES,
    Fields,
    path_id,
    read_body,
)
from node.gateway.guard import OwnerCheck
from node.gateway.problems import refusal_problem
from node.gateway.reads import json_response
from node.views.facade import (
    MAX_DEADLINE_S,
    MIN_DEADLINE_S,
    Facade,
    Named,
    Problem,
    TaskRequest,
)
from node.views.records import TransactionView

NEVER = 2**63 - 1
"""The expiry height that is signed when a request names none."""

_ID_BYTES, _SIGNATURE_BYTES = 32, 64
_HOUR_MS = 60 * 60 * 1000
_MAX_INVITE_MS = 30 * 24 * _HOUR_MS


class Writes:
    """One method for each deed."""

    def __init__(self, facade: Facade, owner: OwnerCheck, verifier: Verifier | None = None) -> None:
        self._facade, self._owner = facade, owner
        self._verifier = verifier or Ed25519Verifier()

    async def submit(self, request: Request) -> Response:
        """Take a signed transaction: as canonical bytes in hex, or a transfer field by field."""
        fields = await self._fields(request)
        transaction = _raw(fields) if fields.has("raw") else self._transfer(fields)
        fields.done()
        if not transaction.is_signed(self._verifier):
            raise Problem(
                422,
                "bad_signature",
                "the signature is not the sender's over exactly these fields in this federation",
            )
        (answer,) = await self._facade.submit((transaction,))
        if isinstance(answer, Refused) and answer.code is not RefusalCode.DUPLICATE:
            raise self._refusal(transaction, answer)
        return json_response(TransactionView(tx_hash=transaction.id.hex(), status="pending"), 202)

    def _refusal(self, transaction: Transaction, refused: Refused) -> Problem:
        """A nonce that this very transaction has used tells of a replay."""
        known = self._facade.transaction(transaction.id)
        if known is not None and known.height is not None:
            return Problem(
                409,
                "replayed",
                f"this very transaction is {known.status} since block {known.height}; "
                "nothing is done twice",
            )
        return refusal_problem(refused)

    def _transfer(self, fields: Fields) -> Transaction:
        body = TransactionBody(
            chain=self._facade.chain_id,
            sender=fields.sized("from", _ID_BYTES),
            nonce=fields.natural("nonce"),
            expiry_height=fields.natural("expiry_height", NEVER),
            operations=(Transfer(fields.sized("to", _ID_BYTES), fields.amount("amount")),),
        )
        return Transaction.of(body, fields.sized("signature", _SIGNATURE_BYTES))

    async def transfer(self, request: Request) -> Response:
        """Pay from the node's own account."""
        self._owner.require(request)
        fields = await self._fields(request)
        to, amount = fields.id("to", Named.ACCOUNT, Named.NODE), fields.amount("amount")
        fields.done()
        return json_response(await self._facade.transfer(to, amount), 202)

    async def invite(self, request: Request) -> Response:
        """Make an invite for one node."""
        self._owner.require(request)
        fields = await self._fields(request)
        ttl_ms = fields.natural("ttl_ms", 24 * _HOUR_MS)
        fields.done()
        if not 1 <= ttl_ms <= _MAX_INVITE_MS:
            raise Problem(400, "out_of_range", f"ttl_ms: must be from 1 to {_MAX_INVITE_MS}")
        return json_response(await self._facade.invite(ttl_ms), 201)

    async def admit(self, request: Request) -> Response:
        """Let a node in, or speak for it as a validator."""
        self._owner.require(request)
        fields = await self._fields(request)
        node_id, validator = fields.id("node_id", Named.NODE), fields.flag("validator")
        fields.done()
        admission = await self._facade.admit(NodeId(node_id), validator=validator)
        return json_response(admission, 202)

    async def register(self, request: Request) -> Response:
        """Ask for a seat for this node."""
        self._owner.require(request)
        fields = await self._fields(request)
        name, stake = fields.name("name", MAX_LABEL), fields.amount("stake")
        fields.done()
        return json_response(await self._facade.register_validator(name, stake), 201)

    async def submit_task(self, request: Request) -> Response:
        """Hand in a task of the node's own."""
        self._owner.require(request)
        fields = await self._fields(request, MAX_TASK_BODY_BYTES)
        try:
            given = parse_input(fields.text("kind"), fields.object("input"))
        except UnknownKind as error:
            raise Problem(422, "unknown_kind", str(error)) from None
        except BadInput as error:
            raise Problem(422, "bad_input", str(error)) from None
        executor = NodeId(fields.id("executor", Named.NODE)) if fields.has("executor") else None
        reward = fields.amount("reward") if fields.has("reward") else None
        deadline_s = fields.natural("deadline_s") if fields.has("deadline_s") else None
        fields.done()
        if deadline_s is not None and not MIN_DEADLINE_S <= deadline_s <= MAX_DEADLINE_S:
            raise Problem(
                400,
                "out_of_range",
                f"deadline_s: must be from {MIN_DEADLINE_S} to {MAX_DEADLINE_S}",
            )
        task = await self._facade.submit_task(TaskRequest(given, executor, reward, deadline_s))
        return json_response(task, 202)

    async def cancel_task(self, request: Request) -> Response:
        """Take back a task of the node's own that nobody works on."""
        self._owner.require(request)
        task_id = path_id(request, self._facade, Named.TASK)
        return json_response(await self._facade.cancel_task(task_id), 202)

    async def _fields(self, request: Request, limit_bytes: int = MAX_BODY_BYTES) -> Fields:
        return Fields(await read_body(request, limit_bytes), self._facade)


def _raw(fields: Fields) -> Transaction:
    raw = fields.raw("raw")
    if len(raw) > MAX_TRANSACTION_BYTES:
        raise Problem(
            413, "too_large", f"raw: a transaction has at most {MAX_TRANSACTION_BYTES} bytes"
        )
    try:
        return decode_transaction(raw)
    except DecodeError as error:
        raise Problem(
            400, "bad_transaction", f"raw: not the canonical bytes of a transaction: {error}"
        ) from None
