"""Tokens for other programs over HTTP; only the owner makes and revokes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from node.gateway.endpoint import Endpoint, Param
from node.gateway.fields import MAX_BODY_BYTES, Fields, read_body
from node.gateway.guard import OwnerCheck
from node.gateway.reads import json_response
from node.gateway.requests import Request
from node.tokens import MAX_QUOTA_PER_S, NAME_FORM, Token, TokenError, Tokens, TokenScope
from node.views.facade import Facade, Problem
from node.views.tokens import NewTokenView, TokensView, TokenView

_STATUS = {"bad_name": 400, "unknown_token": 404}
_NAME = Param("name", "The token's name.", {"type": "string"}, "backup-script")


class TokenRequest(Request, frozen=True):
    """What a new token is called, may do, and how often; without scopes it may only read."""

    name: Annotated[str, msgspec.Meta(pattern=NAME_FORM, examples=["backup-script"])]
    scopes: tuple[TokenScope, ...] | None = None
    quota_per_s: Annotated[int, msgspec.Meta(ge=1, le=MAX_QUOTA_PER_S)] | None = None


class TokensDoor:
    """`/api/v2/tokens`. `now_ms` is Unix time."""

    def __init__(
        self, tokens: Tokens, facade: Facade, owner: OwnerCheck, now_ms: Callable[[], int]
    ) -> None:
        self._tokens, self._facade, self._owner = tokens, facade, owner
        self._now_ms = now_ms

    def endpoints(self) -> list[Endpoint]:
        """All that is served here."""
        return [
            Endpoint(
                "GET",
                "/api/v2/tokens",
                self._list,
                "The tokens of other programs.",
                TokensView,
                owner=True,
            ),
            Endpoint(
                "POST",
                "/api/v2/tokens",
                self._create,
                "Make one; its secret is shown once.",
                NewTokenView,
                201,
                (TokenRequest,),
                problems=((400, "bad_scope"), (409, "name_taken"), (409, "too_many")),
                owner=True,
                example={"name": "backup-script", "scopes": ["contents"], "quota_per_s": 20},
            ),
            Endpoint(
                "DELETE",
                "/api/v2/tokens/{name}",
                self._revoke,
                "Make one worth nothing.",
                None,
                204,
                params=(_NAME,),
                problems=((404, "unknown_token"),),
                owner=True,
            ),
        ]

    async def _list(self, request: HttpRequest) -> Response:
        self._owner.require(request)
        return json_response(TokensView(tokens=tuple(map(_view, self._tokens.all()))))

    async def _create(self, request: HttpRequest) -> Response:
        self._owner.require(request)
        fields = Fields(await read_body(request, MAX_BODY_BYTES), self._facade)
        name = fields.text("name")
        named = fields.texts("scopes", len(TokenScope)) if fields.has("scopes") else ()
        quota = fields.natural("quota_per_s") if fields.has("quota_per_s") else None
        fields.drop("scopes", "quota_per_s")
        fields.done()
        if quota is not None and not 1 <= quota <= MAX_QUOTA_PER_S:
            raise Problem(400, "out_of_range", f"quota_per_s: must be from 1 to {MAX_QUOTA_PER_S}")
        try:
            token, secret = self._tokens.create(name, _scopes(named), quota, self._now_ms())
        except TokenError as error:
            raise _problem(error) from None
        made = NewTokenView(**msgspec.structs.asdict(_view(token)), token=secret)
        return json_response(made, 201, {"Cache-Control": "no-store"})

    async def _revoke(self, request: HttpRequest) -> Response:
        self._owner.require(request)
        try:
            self._tokens.revoke(request.path_params["name"])
        except TokenError as error:
            raise _problem(error) from None
        return Response(status_code=204)


def _scopes(names: tuple[str, ...]) -> tuple[TokenScope, ...]:
    known = {one.value: one for one in TokenScope}
    for name in names:
        if name not in known:
            raise Problem(
                400,
                "bad_scope",
                f"scopes: there is no scope {name[:64]!r}; known are {', '.join(known)}",
            )
    return tuple(dict.fromkeys(known[name] for name in names))


def _problem(error: TokenError) -> Problem:
    return Problem(_STATUS.get(error.code, 409), error.code, str(error))


def _view(token: Token) -> TokenView:
    return TokenView(
        name=token.name,
        scopes=tuple(one.value for one in token.scopes),
        quota_per_s=token.quota_per_s,
        created_at_ms=token.created_ms,
    )
