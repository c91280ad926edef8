"""What callers send, as the description of the interface shows it; `fields.py` reads it and says what is wrong."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from consensus.ledger.tables import LISTED
from consensus.operations.transactions import MAX_TRANSACTION_BYTES
from consensus.operations.validators import MAX_LABEL
from consensus.receipts import MAX_ITEMS
from node.views.facade import MAX_DEADLINE_S, MIN_DEADLINE_S

_ID_DIGITS, _SIGNATURE_DIGITS = 64, 128
_MAX_NATURAL = 2**63 - 1
_MONTH_MS = 30 * 24 * 60 * 60 * 1000

Id = Annotated[
    str, msgspec.Meta(pattern=f"^[0-9a-f]{{{_ID_DIGITS}}}$", examples=["29" * (_ID_DIGITS // 2)])
]
AnyId = Annotated[
    str,
    msgspec.Meta(
        pattern=f"^[0-9a-f]{{4,{_ID_DIGITS}}}$",
        description="An id, or its first digits where they are unambiguous.",
        examples=["29" * (_ID_DIGITS // 2)],
    ),
]
Amount = Annotated[
    str,
    msgspec.Meta(
        pattern="^[1-9][0-9]{0,17}$",
        description="An amount of the smallest unit, at least 1, as a decimal string.",
        examples=["1500"],
    ),
]
Natural = Annotated[int, msgspec.Meta(ge=0, le=_MAX_NATURAL)]


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all; a field that isn't known is refused."""


class RawTransaction(Request, frozen=True):
    """A signed transaction as its canonical bytes in hex."""

    raw: Annotated[
        str,
        msgspec.Meta(pattern="^([0-9a-f]{2})+$", max_length=2 * MAX_TRANSACTION_BYTES),
    ]


class SignedTransfer(Request, frozen=True):
    """A signed transfer, field by field."""

    from_: Id = msgspec.field(name="from")
    to: Id
    amount: Amount
    nonce: Natural
    signature: Annotated[str, msgspec.Meta(pattern=f"^[0-9a-f]{{{_SIGNATURE_DIGITS}}}$")]
    expiry_height: Natural | None = None


class TransferRequest(Request, frozen=True):
    """Pay from the node's own account."""

    to: AnyId
    amount: Amount


class InviteRequest(Request, frozen=True):
    """How long the invite holds."""

    ttl_ms: Annotated[int, msgspec.Meta(ge=1, le=_MONTH_MS)] | None = None


class AdmissionRequest(Request, frozen=True):
    """Whom to let in, and as what."""

    node_id: AnyId
    validator: bool | None = None


class TaskSubmission(Request, frozen=True):
    """A task; `input` has the form of its kind, see "Task kinds" in the documentation."""

    kind: Annotated[str, msgspec.Meta(examples=["summarize"])]
    input: dict[str, Any]
    executor: AnyId | None = None
    reward: Amount | None = None
    deadline_s: Annotated[int, msgspec.Meta(ge=MIN_DEADLINE_S, le=MAX_DEADLINE_S)] | None = None


class RegistrationRequest(Request, frozen=True):
    """What the node calls itself on the ledger, and what it puts at risk."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_LABEL, examples=["ada"])]
    stake: Amount


class RecordName(Request, frozen=True):
    """A record of the ledger: its kind, and whose; validators and parameters are one record each, without an id."""

    record: Annotated[str, msgspec.Meta(extra_json_schema={"enum": list(LISTED)})]
    id: Id | None = None


class ProofsRequest(Request, frozen=True):
    """Records to prove together, all after one block."""

    records: Annotated[tuple[RecordName, ...], msgspec.Meta(min_length=1, max_length=MAX_ITEMS)]


class DecisionRequest(Request, frozen=True):
    """What becomes of an escalated request; `text` goes with an answer."""

    decision: Literal["retry", "answer", "abandon"]
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=1_000_000)] | None = None


class SpreadRequest(Request, frozen=True):
    """An input for many peers."""

    kind: Annotated[str, msgspec.Meta(examples=["embed"])]
    input: dict[str, Any]
    deadline_s: Annotated[int, msgspec.Meta(ge=MIN_DEADLINE_S, le=MAX_DEADLINE_S)] | None = None


class CheckRequest(Request, frozen=True):
    """Which model to ask a peer for."""

    model: str


class FetchRequest(Request, frozen=True):
    """From whom, if not from all members; and whether to keep the content for good."""

    from_: AnyId | None = msgspec.field(name="from", default=None)
    keep: bool | None = None


class PublishRequest(Request, frozen=True):
    """What to tell on which topic."""

    topic: Annotated[str, msgspec.Meta(examples=["weather/berlin"])]
    payload: dict[str, Any]


class BackendRequest(Request, frozen=True):
    """A model server, as a table `[[backend]]` of config.toml names it."""

    name: str
    url: str
    kind: Annotated[str, msgspec.Meta(examples=["openai"])] = "openai"
    api_key: str | None = None
    models: tuple[str, ...] | None = None
    timeout_s: int | None = None
