"""Tokens of other programs: what they may do, how often, and what is kept of them."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import msgspec
import pytest

from node.config import DEFAULT_QUOTA_PER_S
from node.gateway.quota import Quotas
from node.storage.home import Home
from node.tokens import TokenError, Tokens, TokenScope, scope_of
from node.views.tokens import NewTokenView, TokensView
from tests.node.alone import serving

PAYEE = "29" * 32


@pytest.fixture
def home(home_path: Path) -> Home:
    return Home(home_path)


class _Http:
    """Requests with one token over somebody's connection."""

    def __init__(self, client: httpx2.AsyncClient, token: str) -> None:
        self._client, self._headers = client, {"Authorization": f"Bearer {token}"}

    def with_token(self, token: str) -> _Http:
        return _Http(self._client, token)

    async def ask(
        self, method: str, path: str, content: object = None, **headers: str
    ) -> httpx2.Response:
        sent = {**self._headers, **headers}
        return await self._client.request(method, path, json=content, headers=sent)


@asynccontextmanager
async def _owner_of(home: Home) -> AsyncIterator[_Http]:
    async with (
        serving(home.path) as (_, url),
        httpx2.AsyncClient(base_url=url, trust_env=False, verify=False) as client,
    ):
        yield _Http(client, home.read_token())


async def _made(owner: _Http, content: dict[str, object]) -> NewTokenView:
    answer = await owner.ask("POST", "/api/v2/tokens", content)
    assert answer.status_code == 201, answer.text
    return msgspec.json.decode(answer.content, type=NewTokenView)


async def test_a_token_may_do_what_its_scopes_name_and_nothing_else(home: Home) -> None:
    async with _owner_of(home) as owner:
        made = await _made(owner, {"name": "till", "scopes": ["pay"]})
        till = owner.with_token(made.token)
        paid = await till.ask("POST", "/api/v2/transfers", {"to": PAYEE, "amount": "5"})
        assert paid.status_code == 202, paid.text
        for method, path, content in [
            ("POST", "/api/v2/invites", {}),
            ("POST", "/api/v2/tasks", {}),
            ("GET", "/api/v2/tokens", None),
            ("POST", "/api/v2/tokens", {"name": "more", "scopes": ["operate"]}),
            ("DELETE", "/api/v2/tokens/till", None),
        ]:
            refused = await till.ask(method, path, content)
            assert (refused.status_code, refused.json()["code"]) == (403, "token_scope"), path


async def test_a_revoked_token_is_worth_nothing_at_once(home: Home) -> None:
    async with _owner_of(home) as owner:
        made = await _made(owner, {"name": "till", "scopes": ["pay"]})
        assert (await owner.ask("DELETE", "/api/v2/tokens/till")).status_code == 204
        paid = await owner.with_token(made.token).ask(
            "POST", "/api/v2/transfers", {"to": PAYEE, "amount": "5"}
        )
        assert (paid.status_code, paid.json()["code"]) == (401, "token_wrong")
        gone = await owner.ask("DELETE", "/api/v2/tokens/till")
        assert (gone.status_code, gone.json()["code"]) == (404, "unknown_token")


async def test_each_token_has_its_own_quota(home: Home) -> None:
    async with _owner_of(home) as owner:
        slow = owner.with_token((await _made(owner, {"name": "slow", "quota_per_s": 1})).token)
        limits = [
            (await who.ask("GET", "/health")).headers["x-ratelimit-limit"] for who in (slow, owner)
        ]
        assert limits == ["10", str(10 * DEFAULT_QUOTA_PER_S)]


def test_a_caller_with_a_rate_of_its_own_uses_up_nothing_of_the_others() -> None:
    quotas = Quotas(100)
    slow = [quotas.take(0.0, "slow", 1).allowed for _ in range(11)]
    assert slow == [True] * 10 + [False]
    assert quotas.take(0.0, "other").remaining == 999
    assert quotas.take(1.0, "slow", 1).allowed


async def test_each_token_has_its_own_idempotency_keys(home: Home) -> None:
    async with _owner_of(home) as owner:
        till = owner.with_token((await _made(owner, {"name": "till", "scopes": ["pay"]})).token)
        wanted = {"to": PAYEE, "amount": "5"}
        hashes = [
            (
                await who.ask("POST", "/api/v2/transfers", wanted, **{"Idempotency-Key": "one"})
            ).json()["txHash"]
            for who in (owner, till, owner, till)
        ]
        assert hashes[:2] == hashes[2:]
        assert hashes[0] != hashes[1]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ({"name": "Ada"}, "bad_name"),
        ({"name": "owner"}, "bad_name"),
        ({"name": "a" * 33}, "bad_name"),
        ({"name": "\u0430da"}, "bad_name"),
        ({"name": 3}, "wrong_type"),
        ({"name": "a", "scopes": ["all"]}, "bad_scope"),
        ({"name": "a", "scopes": "pay"}, "wrong_type"),
        ({"name": "a", "quota_per_s": 0}, "out_of_range"),
        ({"name": "a", "life": 1}, "unknown_field"),
        ({}, "missing_field"),
    ],
)
async def test_a_wrong_wish_is_refused(home: Home, content: dict[str, object], code: str) -> None:
    async with _owner_of(home) as owner:
        answer = await owner.ask("POST", "/api/v2/tokens", content)
        assert (answer.status_code, answer.json()["code"]) == (400, code)


async def test_the_owner_sees_all_tokens_without_their_secrets(home: Home) -> None:
    async with _owner_of(home) as owner:
        made = await _made(owner, {"name": "till", "scopes": ["pay", "pay"], "quota_per_s": 7})
        answer = await owner.ask("GET", "/api/v2/tokens")
        (shown,) = msgspec.json.decode(answer.content, type=TokensView).tokens
        assert made.token not in answer.text
        assert (shown.name, shown.scopes, shown.quota_per_s) == ("till", ("pay",), 7)


def test_the_file_holds_hashes_and_is_the_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    _, secret = Tokens(path).create("till", (TokenScope.PAY,), None, 1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert secret not in path.read_text()
    again = Tokens(path).find(secret.encode())
    assert again is not None
    assert (again.name, again.scopes) == ("till", (TokenScope.PAY,))


def test_a_file_that_others_can_read_or_that_is_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    path.write_text("[]")
    path.chmod(0o644)
    with pytest.raises(TokenError, match="chmod 600"):
        Tokens(path)
    path.chmod(0o600)
    path.write_text('[{"name": "till"}]')
    with pytest.raises(TokenError, match=r"tokens\.json is damaged"):
        Tokens(path)


def test_a_name_is_taken_once(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "tokens.json")
    tokens.create("till", (), None, 1)
    with pytest.raises(TokenError, match="already"):
        tokens.create("till", (), None, 2)


@pytest.mark.parametrize(
    ("path", "scope"),
    [
        ("/api/v2/transfers", TokenScope.PAY),
        ("/api/v2/tasks/29", TokenScope.TASKS),
        ("/api/v2/topics/watch", TokenScope.CONTENTS),
        ("/api/v2/leave", TokenScope.OPERATE),
        ("/api/v2/tokens", None),
    ],
)
def test_paths_name_their_scope(path: str, scope: TokenScope | None) -> None:
    assert scope_of(path) is scope
