"""Questions over HTTP. On loopback they need no token."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from node.gateway.caching import Unchanging
from node.gateway.fields import MIN_PREFIX, path_id, query_number
from node.views.facade import Facade, Named, Problem
from node.views.headers import HEIGHT
from node.views.records import BlockView, JsonObject, PeersView, View

_MAX_PAGE = 100
_PAGE = 20
_MAX_HEIGHT = 2**63 - 1


def json_response(
    value: View | JsonObject, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """An answer in JSON."""
    return Response(msgspec.json.encode(value), status, headers, media_type="application/json")


class Reads:
    """One method for each question."""

    def __init__(self, facade: Facade, unchanging: Unchanging) -> None:
        self._facade, self._unchanging = facade, unchanging

    async def health(self, _request: Request) -> Response:
        """The process answers; nothing more."""
        return json_response({"status": "ok"})

    async def ready(self, _request: Request) -> Response:
        """Whether the node can do its work."""
        reason = self._facade.not_ready()
        if reason is None:
            return json_response({"ready": True})
        return json_response({"ready": False, "reason": reason}, 503)

    async def status(self, _request: Request) -> Response:
        """The node at a glance."""
        return json_response(self._facade.status())

    async def transaction(self, request: Request) -> Response:
        """Where a transaction stands."""
        known = self._unchanging.known(request)
        if known is not None:
            return known
        tx_hash = path_id(request, self._facade, Named.TRANSACTION)
        found = self._facade.transaction(tx_hash)
        if found is None:
            raise Problem(404, "unknown_transaction", f"this node has never seen {tx_hash.hex()}")
        is_final = found.height is not None and request.path_params["id"] == found.tx_hash
        return self._unchanging.made(request, found, is_final=is_final)

    async def receipt(self, request: Request) -> Response:
        """The proof of what became of a transaction."""
        tx_hash = path_id(request, self._facade, Named.TRANSACTION)
        found = self._facade.receipt(tx_hash)
        if found is not None:
            return json_response(found)
        standing = self._facade.transaction(tx_hash)
        if standing is None:
            raise Problem(404, "unknown_transaction", f"this node has never seen {tx_hash.hex()}")
        raise Problem(
            404,
            "no_receipt",
            f"the transaction is {standing.status} and not certified by a quorum; "
            "ask again after the next block",
            retry_after_s=1,
        )

    async def account(self, request: Request) -> Response:
        """A balance and the next nonce."""
        owner = path_id(request, self._facade, Named.ACCOUNT)
        found = self._facade.account(owner)
        if found is None:
            raise Problem(
                404, "unknown_account", f"{owner.hex()} has no account: it never received anything"
            )
        return json_response(found)

    async def blocks(self, request: Request) -> Response:
        """The newest blocks."""
        limit = query_number(request, "limit", _PAGE, _MAX_PAGE)
        before = None
        if "before" in request.query_params:
            before = query_number(request, "before", 1, _MAX_HEIGHT)
        return json_response(self._facade.blocks(before, limit))

    async def block(self, request: Request) -> Response:
        """A block by height or hash. Decimal digits are a height first, then the beginning of a hash."""
        known = self._unchanging.known(request)
        if known is not None:
            return known
        found = self._block(request)
        is_named = request.path_params["id"] in (str(found.height), found.hash)
        return self._unchanging.made(request, found, is_final=is_named)

    async def block_proof(self, request: Request) -> Response:
        """The proof that a block was committed."""
        found = self._facade.block_proof(self._block(request).height)
        if found is None:
            raise Problem(
                404, "no_receipt", "its epoch is not certified yet; ask again", retry_after_s=1
            )
        return json_response(found)

    def _block(self, request: Request) -> BlockView:
        text = request.path_params["id"]
        is_number = text.isascii() and text.isdigit() and len(text) < len(str(_MAX_HEIGHT))
        found = self._facade.block(int(text)) if is_number else None
        if found is None and (not is_number or self._begins_a_hash(text)):
            found = self._facade.block(path_id(request, self._facade, Named.BLOCK))
        if found is None:
            newest = self._facade.blocks(None, 1).blocks
            known = f"heights go from 1 to {newest[0].height}" if newest else "there is none yet"
            raise Problem(404, "unknown_block", f"there is no block {text[:64]}; {known}")
        return found

    def _begins_a_hash(self, digits: str) -> bool:
        return len(digits) >= MIN_PREFIX and bool(self._facade.find(Named.BLOCK, digits))

    async def validators(self, _request: Request) -> Response:
        """Who decides the next block."""
        height = str(self._facade.status().height)
        return json_response(self._facade.validators(), headers={HEIGHT: height})

    async def peers(self, request: Request) -> Response:
        """The peer table; with `?applicants=1`, who asks to be let in."""
        wanted = request.query_params.get("applicants", "0")
        if wanted not in ("0", "1"):
            raise Problem(400, "bad_parameter", "applicants: must be 0 or 1")
        rows = self._facade.applicants() if wanted == "1" else self._facade.peers()
        return json_response(PeersView(peers=rows))

    async def task(self, request: Request) -> Response:
        """A task, with its output if this node asked for it."""
        task_id = path_id(request, self._facade, Named.TASK)
        found = self._facade.task(task_id)
        if found is None:
            raise Problem(404, "unknown_task", f"there is no task {task_id.hex()}")
        return json_response(found)

    async def tasks(self, request: Request) -> Response:
        """The newest tasks."""
        return json_response(self._facade.tasks(query_number(request, "limit", _PAGE, _MAX_PAGE)))
