"""A typed client of a node's HTTP interface, for the command line and for scripts.

    with Client.of_home(Home(path)) as client:
        print(client.status().height)

    async with Client.of_home(Home(path)) as client:  # under Trio or asyncio: `async_client.py`
        print((await client.status()).height)

It finds the daemon by the file `api.json` of its home and shows the owner's token where one is
needed. Ids may be given by their first digits where that is unambiguous.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

import msgspec

from node.answers import (
    NotReachableError,
    RefusedError,
    StillWaitingError,
    decoded,
)
from node.calls.base import poll
from node.calls.contents import ContentCalls
from node.calls.lists import ListCalls
from node.calls.models import ModelCalls
from node.calls.proofs import ProvenCalls
from node.calls.work import FINAL_TASK, WorkCalls
from node.gateway.token_views import NewTokenView, TokensView
from node.paths import path_part
from node.storage.home import Home
from node.views.records import (
    AccountView,
    AdmissionView,
    BlocksView,
    BlockView,
    DeedView,
    InviteView,
    JsonObject,
    ParametersView,
    PeersView,
    RegistrationView,
    RegistryView,
    StatusView,
    TransactionView,
    ValidatorsView,
)

if TYPE_CHECKING:
    from node.async_client import AsyncClient

__all__ = [
    "FINAL_TASK",
    "FINAL_TRANSACTION",
    "Client",
    "NotReachableError",
    "RefusedError",
    "StillWaitingError",
]

FINAL_TRANSACTION = frozenset({"finalized", "failed", "rejected", "expired"})


class Client(WorkCalls, ModelCalls, ContentCalls, ListCalls, ProvenCalls):
    """One node's interface. Every method raises `NotReachableError` and `RefusedError`."""

    @classmethod
    def of_home(cls, home: Home) -> Self:
        """The client of the daemon that runs in a home."""
        where = home.read_api()
        if where is None or not _is_alive(where.pid):
            raise NotReachableError(
                f"no daemon is running in the home {home.path}; "
                f"start it with: bizra-node run --home {home.path}"
            )
        return cls(where.url, home.read_token)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> AsyncClient:
        from node.async_client import AsyncClient  # noqa: PLC0415 - not for the command line

        self.close()
        self._twin = AsyncClient(self.url, self._read_token)
        return self._twin

    async def __aexit__(self, *_: object) -> None:
        await self._twin.close()

    def not_ready(self) -> str | None:
        """Why the node can't do its work yet, or None."""
        response = self._send("GET", "/ready")
        return msgspec.json.decode(response.content, type=_Readiness).reason

    def status(self) -> StatusView:
        """The node at a glance."""
        return self._get("/api/v2/status", StatusView)

    def peers(self, *, applicants: bool = False) -> PeersView:
        """The peer table, or who asks to be let in."""
        query = "?applicants=1" if applicants else ""
        return self._get(f"/api/v2/peers{query}", PeersView)

    def validators(self) -> ValidatorsView:
        """Who decides the next block."""
        return self._get("/api/v2/validators", ValidatorsView)

    def account(self, name: str) -> AccountView:
        """A balance and the next nonce."""
        return self._get(f"/api/v2/accounts/{path_part(name)}", AccountView)

    def block(self, name: str) -> BlockView:
        """A block by height or hash."""
        return self._get(f"/api/v2/blocks/{path_part(name)}", BlockView)

    def blocks(self, limit: int, before: int | None = None) -> BlocksView:
        """The newest blocks, or those below a height."""
        below = "" if before is None else f"&before={before}"
        return self._get(f"/api/v2/blocks?limit={limit}{below}", BlocksView)

    def transaction(self, name: str) -> TransactionView:
        """Where a transaction stands."""
        return self._get(f"/api/v2/transactions/{path_part(name)}", TransactionView)

    def receipt(self, name: str) -> JsonObject:
        """The proof of what became of a transaction."""
        return self._get(f"/api/v2/transactions/{path_part(name)}/receipt", JsonObject)

    def tokens(self) -> TokensView:
        """The tokens of other programs."""
        return decoded(self._send("GET", "/api/v2/tokens", owner=True), TokensView)

    def create_token(
        self, name: str, scopes: Sequence[str] = (), quota_per_s: int | None = None
    ) -> NewTokenView:
        """Make a token for another program; its secret is in the answer and never told again."""
        wanted: JsonObject = {"name": name, "scopes": list(scopes)}
        if quota_per_s is not None:
            wanted["quota_per_s"] = quota_per_s
        return self._post("/api/v2/tokens", wanted, NewTokenView)

    def revoke_token(self, name: str) -> None:
        """Make a token worth nothing."""
        self._delete(f"/api/v2/tokens/{quote(name, safe='')}")

    def submit(self, raw: bytes) -> TransactionView:
        """Hand in a signed transaction; needs no token."""
        return self._post("/api/v2/transactions", {"raw": raw.hex()}, TransactionView, owner=False)

    def transfer(self, to: str, amount: int) -> TransactionView:
        """Pay from the node's own account."""
        return self._post("/api/v2/transfers", {"to": to, "amount": str(amount)}, TransactionView)

    def invite(self, ttl_ms: int) -> InviteView:
        """Make an invite for one node."""
        return self._post("/api/v2/invites", {"ttl_ms": ttl_ms}, InviteView)

    def admit(self, node_id: str, *, validator: bool) -> AdmissionView:
        """Let a node in, or speak for it as a validator."""
        wanted = {"node_id": node_id, "validator": validator}
        return self._post("/api/v2/admissions", wanted, AdmissionView)

    def registry(self) -> RegistryView:
        """Validators and candidates with their stakes."""
        return self._get("/api/v2/validators/registry", RegistryView)

    def register_validator(self, name: str, stake: int) -> RegistrationView:
        """Reserve the stake and ask for a seat."""
        wanted = {"name": name, "stake": str(stake)}
        return self._post("/api/v2/validators/register", wanted, RegistrationView)

    def validator_deed(self, name: str, wanted: JsonObject) -> DeedView:
        """Activate, leave, stake, unstake, delegate, undelegate, rotate-key or remove."""
        return self._post(f"/api/v2/validators/{name}", wanted, DeedView)

    def parameters(self) -> ParametersView:
        """The federation's constants in force."""
        return self._get("/api/v2/parameters", ParametersView)

    def approve_parameter(self, name: str, value: int) -> DeedView:
        """Speak for another value of a constant."""
        return self._post("/api/v2/parameters", {"name": name, "value": value}, DeedView)

    def leave(self) -> None:
        """Have the daemon say good-bye to the others, and end."""
        self._post("/api/v2/leave", {}, JsonObject)

    def await_transaction(self, tx_hash: str, timeout_s: float) -> TransactionView:
        """Ask until a transaction has come to its end. Raises `StillWaitingError`."""
        return poll(
            lambda: self.transaction(tx_hash),
            lambda view: view.status in FINAL_TRANSACTION,
            timeout_s,
            f"the transaction is not final after {timeout_s:g} s; "
            f"look again with: bizra-node tx show {tx_hash}",
        )


class _Readiness(msgspec.Struct):
    reason: str | None = None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
