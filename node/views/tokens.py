"""Tokens for other programs, as callers see them."""

from __future__ import annotations

from node.views.records import View


class TokenView(View, frozen=True):
    """One token; `scopes` is what it may do, empty for one that may only read."""

    name: str
    scopes: tuple[str, ...]
    quota_per_s: int | None
    created_at_ms: int


class NewTokenView(TokenView, frozen=True):
    """A token that was just made; its secret is shown here and never again."""

    token: str


class TokensView(View, frozen=True):
    """All tokens but the owner's."""

    tokens: tuple[TokenView, ...]
