"""The ledger as a node tells it, who decides it, and what is asked of it."""

from __future__ import annotations

from collections.abc import Sequence

from node.client.answers import understood
from node.client.conversations import BINARY, Ask, Conversation, get, post
from node.client.paths import path_part
from node.views.records import (
    AccountView,
    AdmissionView,
    BatchView,
    BlocksView,
    BlockView,
    DeedView,
    InviteView,
    JsonObject,
    ParametersView,
    RegistrationView,
    RegistryView,
    TransactionView,
    ValidatorsView,
)

FINAL_TRANSACTION = frozenset({"finalized", "failed", "rejected", "expired"})
"""The states that a transaction does not leave again."""


def account(name: str) -> Conversation[AccountView]:
    """A balance and the next nonce."""
    return get(f"/api/v2/accounts/{path_part(name)}", AccountView)


def block(name: str) -> Conversation[BlockView]:
    """A block by height or hash."""
    return get(f"/api/v2/blocks/{path_part(name)}", BlockView)


def blocks(limit: int = 20, before: int | None = None) -> Conversation[BlocksView]:
    """The newest blocks, or those below a height."""
    below = "" if before is None else f"&before={before}"
    return get(f"/api/v2/blocks?limit={limit}{below}", BlocksView)


def transaction(name: str) -> Conversation[TransactionView]:
    """Where a transaction stands."""
    return get(f"/api/v2/transactions/{path_part(name)}", TransactionView)


def receipt(name: str) -> Conversation[JsonObject]:
    """The proof of what became of a transaction."""
    return get(f"/api/v2/transactions/{path_part(name)}/receipt", JsonObject)


def submit(raw: bytes) -> Conversation[TransactionView]:
    """Hand in a signed transaction; needs no token."""
    return post("/api/v2/transactions", {"raw": raw.hex()}, TransactionView, owner=False)


def submit_many(raw: Sequence[bytes]) -> Conversation[BatchView]:
    """Hand in up to 2,000 signed transactions at once."""
    # The command line starts faster without the messages of consensus.
    from consensus.messages import Transactions  # noqa: PLC0415
    from gossip.codec import encode  # noqa: PLC0415

    path = "/api/v2/transactions/batch"
    content = encode(Transactions(tuple(raw)))
    return understood((yield Ask(path, content, media=BINARY)).content, BatchView, path)


def transfer(to: str, amount: int, key: str | None = None) -> Conversation[TransactionView]:
    """Pay from the node's own account; with a `key`, once however often it is asked."""
    wanted = {"to": to, "amount": str(amount)}
    return post("/api/v2/transfers", wanted, TransactionView, key=key)


def validators() -> Conversation[ValidatorsView]:
    """Who decides the next block."""
    return get("/api/v2/validators", ValidatorsView)


def registry() -> Conversation[RegistryView]:
    """Validators and candidates with their stakes."""
    return get("/api/v2/validators/registry", RegistryView)


def register_validator(name: str, stake: int) -> Conversation[RegistrationView]:
    """Reserve the stake and ask for a seat."""
    wanted = {"name": name, "stake": str(stake)}
    return post("/api/v2/validators/register", wanted, RegistrationView)


def validator_deed(name: str, wanted: JsonObject) -> Conversation[DeedView]:
    """Activate, leave, stake, unstake, delegate, undelegate, rotate-key or remove."""
    return post(f"/api/v2/validators/{name}", wanted, DeedView)


def parameters() -> Conversation[ParametersView]:
    """The federation's constants in force."""
    return get("/api/v2/parameters", ParametersView)


def approve_parameter(name: str, value: int) -> Conversation[DeedView]:
    """Speak for another value of a constant."""
    return post("/api/v2/parameters", {"name": name, "value": value}, DeedView)


def expel(node_id: str) -> Conversation[DeedView]:
    """Speak against an observer's membership."""
    return post("/api/v2/expulsions", {"node_id": node_id}, DeedView)


def invite(ttl_ms: int) -> Conversation[InviteView]:
    """Make an invite for one node."""
    return post("/api/v2/invites", {"ttl_ms": ttl_ms}, InviteView)


def admit(node_id: str, *, validator: bool) -> Conversation[AdmissionView]:
    """Let a node in, or speak for it as a validator."""
    wanted = {"node_id": node_id, "validator": validator}
    return post("/api/v2/admissions", wanted, AdmissionView)
