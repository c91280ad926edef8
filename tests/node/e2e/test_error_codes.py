"""Every error code of docs/API.md: what brings it about on a real daemon, and that the list has no other."""

from __future__ import annotations

import ast
import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

import node
from consensus.ledger.outcomes import Code
from consensus.mempool import RefusalCode
from consensus.messages import Transactions
from consensus.operations.transactions import (
    Remark,
    Transaction,
    TransactionBody,
    Transfer,
    sign_transaction,
)
from gossip.codec import encode
from gossip.identity import Ed25519Signer
from node.storage.keyfile import Purpose, load_key
from node.views.facade import Named
from tests.node.e2e.daemons import Daemon, Fleet, knows, until

pytestmark = pytest.mark.timeout(120)

DOC = Path(__file__).parents[3] / "docs" / "API.md"
V2 = "/api/v2"
NOBODY = "ab" * 32
BOB = Ed25519Signer(b"\x07" * 32)
STRANGER = Ed25519Signer(b"\x09" * 32)

ELSEWHERE = {
    # In or around the node something must go wrong, or at the same moment, or it takes long.
    **dict.fromkeys(("internal", "full", "no_receipt"), "tests/node/test_gateway.py"),
    **dict.fromkeys(
        ("node_trouble", "timeout", "body_timeout", "store_failed", "too_many_subscribers"),
        "tests/node/test_rare_codes.py",
    ),
    **dict.fromkeys(
        ("cursor_gone", "idempotency_key_in_use", "idempotency_unknown", "incomplete"),
        "tests/node/test_rare_codes.py",
    ),
    **dict.fromkeys(
        ("not_escalated", "bad_decision", "too_many_spreads", "malformed"),
        "tests/node/test_rare_codes.py",
    ),
    "sender_full": "tests/consensus/test_mempool.py",
    "no_executor": "tests/node/e2e/test_tasks.py",
    "too_late": "tests/node/e2e/test_tasks.py",
    # What the ledger says to a candidate.
    **dict.fromkeys(
        ("too_many_validators", "too_many_backers"), "tests/consensus/test_registry.py"
    ),
    "stake_too_small": "tests/node/e2e/test_register.py",
    **dict.fromkeys(
        ("not_approved", "not_ready", "too_fast_growth", "set_too_small", "not_registered"),
        "tests/consensus/test_registry.py",
    ),
    **dict.fromkeys(
        ("already_registered", "voting_key_taken", "label_invalid", "condemned"),
        "tests/consensus/test_registry.py",
    ),
}
"""Codes that one healthy daemon can't be brought to in a moment, and which tests show them."""

ONLY_REFUSED_ELSEWHERE = {RefusalCode.DUPLICATE, RefusalCode.REPLACED}
"""A transaction that waits already is taken again; and that another has replaced one is told of the one that waited."""


def listed() -> set[str]:
    """The codes in the table of the document."""
    text = DOC.read_text()
    part = text[text.index("## Error codes") : text.index("## Clients")]
    return set(re.findall(r"`([a-z_]+)`", part))


def in_the_code() -> set[str]:
    """Codes that stand in the source, in the making of a `Problem`."""
    found = set()
    for path in Path(node.__path__[0]).rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Problem":
                code = call.args[1]
                if isinstance(code, ast.Constant):
                    found.add(str(code.value))
    return found


def described(daemon: Daemon) -> dict[str, set[int]]:
    """The codes of /openapi.json with their statuses, but for the doors for models, which have other errors."""
    found: dict[str, set[int]] = {}
    paths = httpx2.get(f"{daemon.client.url}/openapi.json", trust_env=False).json()["paths"]
    for path, operations in paths.items():
        for operation in operations.values() if _is_own(path) else ():
            for status, response in operation["responses"].items():
                told = response["description"]
                for code in told.removeprefix("code: ").split(", ") if "code: " in told else ():
                    found.setdefault(code, set()).add(int(status))
    return found


def _is_own(path: str) -> bool:
    return path.startswith("/api/v2/") or path.count("/") == 1


class Wrongdoer:
    """Asks what is wrong, with the owner's token unless told otherwise."""

    def __init__(self, daemon: Daemon, fleet: Fleet) -> None:
        self.daemon, self.fleet = daemon, fleet
        self._newcomer: Wrongdoer | None = None
        self.token = daemon.home.read_token()
        self.http = httpx2.Client(base_url=daemon.client.url, trust_env=False, timeout=20)
        self.signer = load_key(daemon.home.identity_key, Purpose.IDENTITY)
        self.nonce = 0
        self.chain = bytes.fromhex(daemon.status.federation_id or "")

    def get(self, path: str, **headers: str) -> httpx2.Response:
        return self.http.get(path, headers=headers)

    def post(self, path: str, body: object, **headers: str) -> httpx2.Response:
        sent = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(path, content=content, headers=sent)

    def own(self, path: str) -> httpx2.Response:
        return self.http.get(path, headers={"Authorization": f"Bearer {self.token}"})

    def delete(self, path: str) -> httpx2.Response:
        return self.http.delete(path, headers={"Authorization": f"Bearer {self.token}"})

    def signed(self, signer: Any = None, **changes: Any) -> Transaction:  # noqa: ANN401 - fields of a body
        signer = signer or self.signer
        fields: dict[str, Any] = {
            "chain": self.chain,
            "sender": signer.public,
            "nonce": self.nonce,
            "expiry_height": 2**40,
            "operations": (Transfer(BOB.public, 1),),
            **changes,
        }
        return sign_transaction(signer, TransactionBody(**fields))

    def submit(self, transaction: Transaction) -> httpx2.Response:
        return self.post("/api/v2/transactions", {"raw": transaction.raw.hex()})

    def pay(self, **changes: object) -> httpx2.Response:
        return self.post("/api/v2/transfers", {"to": NOBODY, "amount": "5", **changes})

    def signed_fields(self, **changes: object) -> httpx2.Response:
        """A payment field by field; the signature is a form that nobody signed."""
        body = {"from": NOBODY, "to": NOBODY, "amount": "1", "nonce": 0, "signature": "00" * 64}
        return self.post("/api/v2/transactions", {**body, **changes})

    def done(self) -> Transaction:
        """A transaction that has been executed."""
        paid = self.signed()
        taken = self.submit(paid)
        assert taken.status_code == 202, taken.text
        assert taken.json()["txHash"] == paid.id.hex()
        self.daemon.client.await_transaction(paid.id.hex(), 20)
        self.nonce += 1
        return paid

    def forged(self) -> Transaction:
        sound = self.signed()
        return Transaction.of(sound.body, BOB.sign(b"something else"))

    def ambiguous(self) -> httpx2.Response:
        """Two accounts whose ids begin with the same digits; anybody may be paid."""
        pair = [b"\xee\xee" + bytes(29) + bytes([last]) for last in (1, 2)]
        paid = self.signed(operations=tuple(Transfer(one, 1) for one in pair))
        assert self.submit(paid).status_code == 202
        self.daemon.client.await_transaction(paid.id.hex(), 20)
        self.nonce += 1
        return self.get(f"{V2}/accounts/eeee")

    def over_quota(self) -> httpx2.Response:
        made = self.post("/api/v2/tokens", {"name": "slow", "quota_per_s": 1}).json()
        headers = {"Authorization": f"Bearer {made['token']}"}
        answers = [self.http.get("/health", headers=headers) for _ in range(30)]
        answer = next(one for one in answers if one.status_code == 429)
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.headers["X-RateLimit-Remaining"] == "0"
        return answer

    def with_less(self) -> httpx2.Response:
        made = self.post("/api/v2/tokens", {"name": "reader"}).json()
        headers = {"Authorization": f"Bearer {made['token']}"}
        return self.http.post("/api/v2/transfers", content=b"{}", headers=headers)

    def newcomer(self, role: str) -> Wrongdoer:
        """A second node, as its owner."""
        if self._newcomer is None:
            one = self.fleet.new("newcomer").start("--bootstrap", self.daemon.address)
            until(lambda: knows(self.daemon, one), "the founder to hear of it")
            self._newcomer = Wrongdoer(one, self.fleet)
        other = self._newcomer.daemon
        if role == "observer":
            self.daemon.client.admit(other.id, validator=False)
        until(lambda: other.status.role == role, f"the newcomer to be {role}")
        return self._newcomer

    def close(self) -> None:
        self.http.close()
        if self._newcomer is not None:
            self._newcomer.close()

    def at_one_nonce(self) -> httpx2.Response:
        assert self.submit(self.signed(nonce=self.nonce + 5)).status_code == 202
        return self.submit(self.signed(nonce=self.nonce + 5, expiry_height=2**41))

    def under_one_key(self) -> httpx2.Response:
        assert self.post(f"{V2}/invites", {}, Idempotency_Key="k").status_code == 201
        return self.post(f"{V2}/invites", {"ttl_ms": 5}, Idempotency_Key="k")

    def too_many_tokens(self) -> httpx2.Response:
        answers = (self.post(f"{V2}/tokens", {"name": f"t{number}"}) for number in range(200))
        return next(one for one in answers if one.status_code != 201)

    def twice(self, path: str, body: object) -> httpx2.Response:
        self.post(path, body)
        return self.post(path, body)


Case = tuple[int, str, Callable[[Wrongdoer], httpx2.Response]]

CASES: list[Case] = [
    # The words of the issue first.
    (400, "bad_json", lambda it: it.post(f"{V2}/transfers", b'{"to": ')),
    (400, "bad_json", lambda it: it.post(f"{V2}/transactions", b"[]")),
    (400, "bad_json", lambda it: it.post(f"{V2}/transactions", b"[" * 100_000)),
    (400, "wrong_type", lambda it: it.pay(amount=5)),
    (400, "wrong_type", lambda it: it.signed_fields(nonce="0")),
    (400, "wrong_type", lambda it: it.signed_fields(nonce=True)),
    (400, "wrong_type", lambda it: it.signed_fields(nonce=1.5)),
    (400, "unknown_field", lambda it: it.pay(memo="hello")),
    (400, "out_of_range", lambda it: it.signed_fields(nonce=2**63)),
    (400, "out_of_range", lambda it: it.signed_fields(nonce=10**60)),
    (400, "bad_amount", lambda it: it.pay(amount=str(2**63))),
    (400, "bad_amount", lambda it: it.pay(amount="9" * 5000)),
    (400, "bad_amount", lambda it: it.pay(amount="\u0661")),
    (400, "bad_amount", lambda it: it.pay(amount="1e9")),
    (400, "negative_amount", lambda it: it.pay(amount="-5")),
    (400, "out_of_range", lambda it: it.signed_fields(nonce=-1)),
    *(
        (
            400,
            "bad_name",
            lambda it, name=name: it.post(
                f"{V2}/validators/register", {"name": name, "stake": "1000000"}
            ),
        )
        for name in ("\u0430da", "a\u200bda", "a\u202eda", "a\u0301\u0302\u0303", "\uff41da", " ada")
    ),
    (409, "replayed", lambda it: it.submit(it.done())),
    (422, "wrong_chain", lambda it: it.submit(it.signed(chain=b"\x01" * 32))),
    (422, "expired", lambda it: it.submit(it.signed(expiry_height=0))),
    (422, "bad_signature", lambda it: it.submit(it.forged())),
    (422, "bad_signature", lambda it: it.signed_fields()),
    # Form
    (400, "missing_field", lambda it: it.post(f"{V2}/transfers", {"to": NOBODY})),
    (400, "bad_hex", lambda it: it.signed_fields(signature="00")),
    (400, "bad_hex", lambda it: it.post(f"{V2}/transactions", {"raw": "0G"})),
    (400, "bad_transaction", lambda it: it.post(f"{V2}/transactions", {"raw": "00"})),
    (400, "bad_batch", lambda it: it.post(f"{V2}/transactions/batch", b"no batch")),
    (400, "bad_scope", lambda it: it.post(f"{V2}/tokens", {"name": "x", "scopes": ["all"]})),
    (400, "bad_pattern", lambda it: it.own(f"{V2}/topics/watch?pattern=%00")),
    # Place
    (400, "bad_id", lambda it: it.get(f"{V2}/accounts/zz")),
    (400, "ambiguous_id", lambda it: it.ambiguous()),
    (400, "bad_parameter", lambda it: it.get(f"{V2}/validators/top?limit=0")),
    (400, "unknown_parameter", lambda it: it.get(f"{V2}/status?verbose=1")),
    (400, "bad_cursor", lambda it: it.get(f"{V2}/accounts?after=zz")),
    (400, "bad_idempotency_key", lambda it: it.post(f"{V2}/transfers", {}, Idempotency_Key="a b")),
    # Who asks
    (401, "token_missing", lambda it: it.http.post(f"{V2}/transfers", content=b"{}")),
    (401, "token_wrong", lambda it: it.post(f"{V2}/transfers", {}, Authorization="Bearer no")),
    (403, "token_scope", lambda it: it.with_less()),
    (403, "wrong_host", lambda it: it.get("/health", Host="example.org")),
    (403, "wrong_origin", lambda it: it.get("/health", Origin="http://example.org")),
    # What is not there
    (404, "unknown_path", lambda it: it.get(f"{V2}/dance")),
    (404, "unknown_transaction", lambda it: it.get(f"{V2}/transactions/{NOBODY}")),
    (404, "unknown_account", lambda it: it.get(f"{V2}/accounts/{'ef' * 32}")),
    (404, "unknown_block", lambda it: it.get(f"{V2}/blocks/1000000")),
    (404, "unknown_task", lambda it: it.get(f"{V2}/tasks/{NOBODY}")),
    (404, "unknown_node", lambda it: it.get(f"{V2}/reputation/abababab")),
    (404, "unknown_projection", lambda it: it.post(f"{V2}/projections/dreams/rebuild", {})),
    (404, "unknown_token", lambda it: it.delete(f"{V2}/tokens/nobody")),
    (404, "unknown_record", lambda it: it.get(f"{V2}/proofs/dream?id={NOBODY}")),
    (404, "unknown_content", lambda it: it.delete(f"{V2}/contents/{NOBODY}")),
    (404, "unknown_snapshot", lambda it: it.own(f"{V2}/snapshots/7")),
    (404, "unknown_request", lambda it: it.delete(f"{V2}/queue/{NOBODY}")),
    (404, "unknown_spread", lambda it: it.delete(f"{V2}/spreads/{NOBODY}")),
    (404, "unknown_backend", lambda it: it.delete(f"{V2}/backends/nobody")),
    (405, "unknown_method", lambda it: it.http.put(f"{V2}/status")),
    (413, "body_too_large", lambda it: it.post(f"{V2}/transfers", b" " * 300_000)),
    # At odds with the ledger
    (409, "bad_nonce", lambda it: it.submit(it.signed(nonce=it.nonce - 1, expiry_height=2**30))),
    (409, "nonce_taken", lambda it: it.at_one_nonce()),
    (413, "too_large", lambda it: it.submit(it.signed(operations=(Remark(b"r" * 1024),) * 65))),
    (422, "nonce_too_far", lambda it: it.submit(it.signed(nonce=2**40))),
    (422, "unknown_account", lambda it: it.submit(it.signed(STRANGER))),
    (422, "overdraft", lambda it: it.submit(it.signed(operations=(Transfer(BOB.public, 2**62),)))),
    (409, "overdraft", lambda it: it.pay(amount=str(2**62))),
    (409, "already_member", lambda it: it.post(f"{V2}/admissions", {"node_id": it.daemon.id})),
    (409, "name_taken", lambda it: it.twice(f"{V2}/tokens", {"name": "again"})),
    (409, "no_snapshot", lambda it: it.post(f"{V2}/snapshots/take", {})),
    (422, "unknown_kind", lambda it: it.post(f"{V2}/tasks", {"kind": "dance", "input": {}})),
    (422, "bad_input", lambda it: it.post(f"{V2}/tasks", {"kind": "embed", "input": {}})),
    (422, "bad_topic", lambda it: it.post(f"{V2}/topics", {"topic": "\u0000", "payload": {}})),
    (422, "bad_field", lambda it: it.post(f"{V2}/backends", {"name": "", "url": "ftp://x"})),
    (422, "idempotency_key_reused", lambda it: it.under_one_key()),
    (409, "value_out_of_range", lambda it: it.post(f"{V2}/parameters", {"name": "slash_percent", "value": 1000})),
    (409, "unknown_parameter", lambda it: it.post(f"{V2}/parameters", {"name": "dreams", "value": 1})),
    (409, "unknown_protocol", lambda it: it.post(f"{V2}/parameters", {"name": "protocol_version", "value": 9})),
    (409, "unknown_validator", lambda it: it.post(f"{V2}/validators/delegate", {"validator": NOBODY, "amount": "5"})),
    (409, "unknown_member", lambda it: it.post(f"{V2}/expulsions", {"node_id": NOBODY})),
    (409, "still_validator", lambda it: it.post(f"{V2}/expulsions", {"node_id": it.daemon.id})),
    (409, "stake_too_large", lambda it: it.post(f"{V2}/validators/unstake", {"amount": "5"})),
    (422, "already_validator", lambda it: it.post(f"{V2}/validators/register", {"name": "ada", "stake": "1000000"})),
    (507, "store_full", lambda it: it.post(f"{V2}/contents", random.Random(1).randbytes(17_000_000))),
    (403, "not_member", lambda it: it.newcomer("applicant").pay()),
    (403, "not_validator", lambda it: it.newcomer("observer").post(f"{V2}/invites", {})),
    (409, "unknown_voting_key", lambda it: it.post(f"{V2}/admissions", {"node_id": NOBODY, "validator": True})),
    (429, "quota_exceeded", lambda it: it.over_quota()),
    (409, "too_many", lambda it: it.too_many_tokens()),
]  # fmt: skip


@pytest.fixture(scope="module")
def daemon(shared_fleet: Fleet) -> Daemon:
    return shared_fleet.federation(1, settings={0: "contents_mb = 16\n"})[0]


@pytest.fixture(scope="module")
def wrongdoer(daemon: Daemon, shared_fleet: Fleet) -> Iterator[Wrongdoer]:
    made = Wrongdoer(daemon, shared_fleet)
    made.nonce = daemon.client.account(daemon.id).nonce
    yield made
    made.close()


@pytest.mark.parametrize(
    ("status", "code", "ask"), CASES, ids=[f"{at}-{case[1]}" for at, case in enumerate(CASES)]
)
def test_what_is_wrong_is_told_with_its_own_code(
    wrongdoer: Wrongdoer, status: int, code: str, ask: Callable[[Wrongdoer], httpx2.Response]
) -> None:
    answer = ask(wrongdoer)
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    problem = answer.json()
    assert problem.keys() == {"type", "title", "status", "detail", "code"}
    assert (answer.status_code, problem["code"]) == (status, code), problem
    assert problem["status"] == status
    assert problem["detail"]
    assert wrongdoer.daemon.is_running


def test_in_a_batch_each_that_is_wrong_is_told_with_its_code(wrongdoer: Wrongdoer) -> None:
    batch = encode(Transactions((wrongdoer.signed(chain=b"\x01" * 32).raw,)))
    taken = wrongdoer.post("/api/v2/transactions/batch", batch).json()
    assert [one["code"] for one in taken["refused"]] == ["wrong_chain"]


def test_the_list_has_exactly_the_codes_that_the_code_can_give(daemon: Daemon) -> None:
    """What stands in the source, in the description, and what is shown: all of it is listed, and nothing else."""
    shown = {code for _, code, _ in CASES}
    given = in_the_code() | set(described(daemon))
    assert given - listed() == set()
    assert listed() - given == set()
    assert listed() == shown | set(ELSEWHERE)
    assert shown & set(ELSEWHERE) == set()


def test_the_description_has_no_code_that_nothing_gives(daemon: Daemon) -> None:
    """Those that don't stand in the source by themselves come from the mempool, the ledger, or the kind of an id."""
    refusals = {one.value for one in RefusalCode if one not in ONLY_REFUSED_ELSEWHERE}
    named = {
        f"unknown_{one}" for one in (*(one.value for one in Named), "content", "request", "spread")
    }
    told = {"unknown_token", "name_taken", "too_many", "malformed"}
    possible = in_the_code() | refusals | {one.value for one in Code} | named | told
    assert set(described(daemon)) - possible == set()


def test_what_is_shown_elsewhere_is_shown_there() -> None:
    for code, place in ELSEWHERE.items():
        text = (DOC.parents[1] / place).read_text()
        assert f'"{code}"' in text or f"Code.{code.upper()}" in text, (code, place)


def test_the_description_has_each_code_with_its_status(daemon: Daemon) -> None:
    said = described(daemon)
    for status, code, _ in CASES:
        if code != "unknown_method":
            assert status in said.get(code, ()), (status, code)
