"""What a node answers of itself, its ledger and its tasks, as endpoints in the order in which they are matched."""

from __future__ import annotations

from consensus.ledger.outcomes import Code
from consensus.ledger.tables import PROVABLE
from node.gateway.bulk import Bulk
from node.gateway.endpoint import ID, Endpoint, Param
from node.gateway.list_routes import LIMIT, number
from node.gateway.proofs import Proofs
from node.gateway.reads import Reads
from node.gateway.requests import (
    AdmissionRequest,
    InviteRequest,
    ProofsRequest,
    RawTransaction,
    RegistrationRequest,
    SignedTransfer,
    TaskSubmission,
    TransferRequest,
)
from node.gateway.writes import Writes
from node.views.records import (
    AccountView,
    AdmissionView,
    BatchView,
    BlocksView,
    BlockView,
    HealthView,
    InviteView,
    JsonObject,
    PeersView,
    ReadinessView,
    RegistrationView,
    StatusView,
    TasksView,
    TaskView,
    TransactionView,
    ValidatorsView,
)

_WHOLE_ID = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_MEMPOOL = (
    (409, "replayed"),
    (409, "bad_nonce"),
    (409, "nonce_taken"),
    (413, "too_large"),
    (422, "wrong_chain"),
    (422, "expired"),
    (422, "unknown_account"),
    (422, "nonce_too_far"),
    (422, "overdraft"),
    (503, "sender_full"),
    (503, "full"),
    (403, "not_member"),
)
_REGISTRATION = tuple(
    (422, code.value)
    for code in (
        Code.OVERDRAFT,
        Code.ALREADY_VALIDATOR,
        Code.ALREADY_REGISTERED,
        Code.VOTING_KEY_TAKEN,
        Code.STAKE_TOO_SMALL,
        Code.STAKE_TOO_LARGE,
        Code.LABEL_INVALID,
        Code.CONDEMNED,
        Code.NOT_MEMBER,
    )
)
OWN = (
    (409, "malformed"),
    (403, "not_member"),
    (403, "not_validator"),
    (409, "bad_nonce"),
    (409, "nonce_taken"),
    (409, "overdraft"),
    (503, "full"),
    (503, "sender_full"),
)


def core_endpoints(reads: Reads, writes: Writes) -> list[Endpoint]:
    """What every node answers."""
    return [
        *_house_endpoints(reads),
        *_ledger_endpoints(reads, writes),
        *_task_endpoints(reads, writes),
        *_deed_endpoints(writes),
    ]


def _house_endpoints(reads: Reads) -> list[Endpoint]:
    """How the node is, and whom it knows."""
    return [
        Endpoint("GET", "/health", reads.health, "The process answers.", HealthView),
        Endpoint(
            "GET",
            "/ready",
            reads.ready,
            "Whether the node can do its work; 503 if not.",
            ReadinessView,
            others=((503, ReadinessView),),
        ),
        Endpoint("GET", "/api/v2/status", reads.status, "The node at a glance.", StatusView),
        Endpoint(
            "GET",
            "/api/v2/peers",
            reads.peers,
            "The peer table, or who asks to be let in.",
            PeersView,
            params=(
                Param("applicants", "1 for those who ask to be let in.", {"enum": ["0", "1"]}),
            ),
        ),
    ]


def _ledger_endpoints(reads: Reads, writes: Writes) -> list[Endpoint]:
    """Transactions, accounts, blocks, and who decides them."""
    unknown = (404, "unknown_transaction")
    return [
        Endpoint(
            "POST",
            "/api/v2/transactions",
            writes.submit,
            "Hand in a signed transaction.",
            TransactionView,
            202,
            (RawTransaction, SignedTransfer),
            problems=(*_MEMPOOL, (400, "bad_transaction"), (422, "bad_signature")),
        ),
        Endpoint(
            "GET",
            "/api/v2/transactions/{id}",
            reads.transaction,
            "Where a transaction stands.",
            TransactionView,
            params=(ID,),
            problems=(unknown,),
            cached=True,
        ),
        Endpoint(
            "GET",
            "/api/v2/transactions/{id}/receipt",
            reads.receipt,
            "The proof of its outcome: certificate and Merkle path, for `bizra-node verify`.",
            JsonObject,
            params=(ID,),
            problems=(unknown, (404, "no_receipt")),
        ),
        Endpoint(
            "GET",
            "/api/v2/accounts/{id}",
            reads.account,
            "A balance and the next nonce.",
            AccountView,
            params=(ID,),
            problems=((404, "unknown_account"),),
        ),
        Endpoint(
            "GET",
            "/api/v2/blocks",
            reads.blocks,
            "The newest blocks.",
            BlocksView,
            params=(
                LIMIT,
                number("before", "Only blocks below this height.", 1, 2**63 - 1, None),
            ),
        ),
        Endpoint(
            "GET",
            "/api/v2/blocks/{id}",
            reads.block,
            "A block by height or hash, with its commit certificate.",
            BlockView,
            params=(Param("id", "A height, or a hash.", {"type": "string"}, "1"),),
            problems=((404, "unknown_block"),),
            cached=True,
        ),
        Endpoint(
            "GET",
            "/api/v2/blocks/{id}/proof",
            reads.block_proof,
            "The proof that a block was committed, for `bizra-node verify`.",
            JsonObject,
            params=(Param("id", "A height, or a hash.", {"type": "string"}, "1"),),
            problems=((404, "unknown_block"), (404, "no_receipt")),
        ),
        Endpoint(
            "GET",
            "/api/v2/validators",
            reads.validators,
            "Who decides the next block.",
            ValidatorsView,
        ),
    ]


def _task_endpoints(reads: Reads, writes: Writes) -> list[Endpoint]:
    """Work of the node's own."""
    unknown = (404, "unknown_task")
    return [
        Endpoint(
            "GET",
            "/api/v2/tasks",
            reads.tasks,
            "The newest tasks, this node's own first.",
            TasksView,
            params=(LIMIT,),
        ),
        Endpoint(
            "POST",
            "/api/v2/tasks",
            writes.submit_task,
            "Hand in a task of the node's own.",
            TaskView,
            202,
            (TaskSubmission,),
            problems=(
                *OWN,
                (404, "unknown_node"),
                (400, "bad_id"),
                (400, "ambiguous_id"),
                (409, "no_executor"),
                (422, "unknown_kind"),
                (422, "bad_input"),
            ),
            owner=True,
            idempotent=True,
            example={
                "kind": "embed",
                "input": {"texts": ["a sentence"]},
            },
        ),
        Endpoint(
            "GET",
            "/api/v2/tasks/{id}",
            reads.task,
            "A task, with its output if this node asked for it.",
            TaskView,
            params=(ID,),
            problems=(unknown,),
        ),
        Endpoint(
            "DELETE",
            "/api/v2/tasks/{id}",
            writes.cancel_task,
            "Take back a task that nobody works on.",
            TaskView,
            202,
            params=(ID,),
            problems=(*OWN, unknown, (409, "too_late")),
            owner=True,
        ),
    ]


def _deed_endpoints(writes: Writes) -> list[Endpoint]:
    """What the owner does with the node's own account."""
    return [
        Endpoint(
            "POST",
            "/api/v2/transfers",
            writes.transfer,
            "Pay from the node's own account.",
            TransactionView,
            202,
            (TransferRequest,),
            problems=(
                *OWN,
                (404, "unknown_account"),
                (400, "bad_id"),
                (400, "ambiguous_id"),
                (422, "overdraft"),
            ),
            owner=True,
            idempotent=True,
            example={"to": "29" * 32, "amount": "1500"},
        ),
        Endpoint(
            "POST",
            "/api/v2/invites",
            writes.invite,
            "Make an invite for one node.",
            InviteView,
            201,
            (InviteRequest,),
            problems=((403, "not_validator"),),
            owner=True,
            idempotent=True,
            example={"ttl_ms": 3600000},
        ),
        Endpoint(
            "POST",
            "/api/v2/validators/register",
            writes.register,
            "Ask for a seat for this node; answered once its stake is reserved.",
            RegistrationView,
            201,
            (RegistrationRequest,),
            problems=(*OWN, *_REGISTRATION),
            owner=True,
            idempotent=True,
            example={"name": "ada", "stake": "1000000"},
        ),
        Endpoint(
            "POST",
            "/api/v2/admissions",
            writes.admit,
            "Let a node in, or speak for it as a validator.",
            AdmissionView,
            202,
            (AdmissionRequest,),
            problems=(
                *OWN,
                (404, "unknown_node"),
                (400, "bad_id"),
                (400, "ambiguous_id"),
                (409, "already_member"),
                (409, "unknown_voting_key"),
            ),
            owner=True,
            idempotent=True,
            example={"node_id": "29" * 32, "validator": False},
        ),
    ]


def proof_endpoints(proofs: Proofs) -> list[Endpoint]:
    """What the ledger says, with its proof."""
    return [
        Endpoint(
            "GET",
            "/api/v2/accounts/{id}/proof",
            proofs.account,
            "The proof of what an account holds, or that it doesn't exist.",
            JsonObject,
            params=(ID,),
            problems=((404, "unknown_account"), (404, "no_receipt")),
        ),
        Endpoint(
            "GET",
            "/api/v2/proofs/{record}",
            proofs.record,
            "The proof of what a record of the ledger says, or that there is none.",
            JsonObject,
            params=(
                Param("record", "Which kind.", {"enum": list(PROVABLE)}, "task"),
                Param("id", "Whose; not for validators and parameters.", _WHOLE_ID),
            ),
            problems=((404, "unknown_record"), (404, "no_receipt")),
        ),
        Endpoint(
            "POST",
            "/api/v2/proofs",
            proofs.records,
            "The proof of several records and accounts, all after one block: for the items of a list.",
            JsonObject,
            bodies=(ProofsRequest,),
            problems=((400, "bad_id"), (404, "unknown_record"), (404, "no_receipt")),
            example={"records": [{"record": "account", "id": "29" * 32}, {"record": "validators"}]},
        ),
    ]


def bulk_endpoints(bulk: Bulk) -> list[Endpoint]:
    """The wide doors for programs."""
    return [
        Endpoint(
            "POST",
            "/api/v2/transactions/batch",
            bulk.submit,
            "Hand in up to 2,000 signed transactions, binary.",
            BatchView,
            202,
            problems=(
                (400, "bad_batch"),
                (422, "bad_signature"),
                (403, "not_member"),
            ),
            media_in="application/octet-stream",
        ),
        Endpoint(
            "GET",
            "/api/v2/blocks/certified",
            bulk.certified,
            "A page of blocks with their certificates, binary, for whoever executes them again.",
            None,
            params=(number("from", "The first height.", 1, 2**62, 1),),
            problems=((410, "cursor_gone"),),
            media="application/octet-stream",
        ),
        Endpoint(
            "GET",
            "/api/v2/blocks/stream",
            bulk.stream,
            "Every final block from a height on as it comes, binary.",
            None,
            params=(number("from", "The first height.", 1, 2**62, 1),),
            media="application/octet-stream",
            timeout_s=None,
        ),
    ]
