"""The node itself: how it is, whom it knows, its tokens, model servers, caches, contents and snapshots."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

import msgspec

from node.client.answers import understood
from node.client.conversations import Ask, Conversation, delete, drop, get, post
from node.client.paths import path_part
from node.views.records import (
    BackendsView,
    BackendView,
    CachesView,
    ContentsView,
    ContentView,
    JsonObject,
    PeersView,
    SnapshotsView,
    StatusView,
)
from node.views.tokens import NewTokenView, TokensView


class _Readiness(msgspec.Struct):
    reason: str | None = None


def not_ready() -> Conversation[str | None]:
    """Why the node can't do its work yet, or None."""
    content = (yield Ask("/ready", whatever=True)).content
    return understood(content, _Readiness, "/ready").reason


def status() -> Conversation[StatusView]:
    """The node at a glance."""
    return get("/api/v2/status", StatusView)


def peers(*, applicants: bool = False) -> Conversation[PeersView]:
    """The peer table, or who asks to be let in."""
    return get(f"/api/v2/peers{'?applicants=1' if applicants else ''}", PeersView)


def leave() -> Conversation[None]:
    """Have the daemon say good-bye to the others, and end."""
    yield from post("/api/v2/leave", {}, JsonObject)


def tokens() -> Conversation[TokensView]:
    """The tokens of other programs."""
    return get("/api/v2/tokens", TokensView, owner=True)


def create_token(
    name: str, scopes: Sequence[str] = (), quota_per_s: int | None = None
) -> Conversation[NewTokenView]:
    """Make a token for another program; its secret is in the answer and never told again."""
    wanted: JsonObject = {"name": name, "scopes": list(scopes)}
    if quota_per_s is not None:
        wanted["quota_per_s"] = quota_per_s
    return post("/api/v2/tokens", wanted, NewTokenView)


def revoke_token(name: str) -> Conversation[None]:
    """Make a token worth nothing."""
    return drop(f"/api/v2/tokens/{quote(name, safe='')}")


def models() -> Conversation[JsonObject]:
    """The models that can be asked, in OpenAI's form."""
    return get("/v1/models", JsonObject)


def backends() -> Conversation[BackendsView]:
    """The model servers of this machine."""
    return get("/api/v2/backends", BackendsView)


def add_backend(row: JsonObject) -> Conversation[BackendView]:
    """Ask one more model server: a table `[[backend]]` of config.toml."""
    return post("/api/v2/backends", row, BackendView)


def remove_backend(name: str) -> Conversation[None]:
    """Ask a model server no more."""
    return drop(f"/api/v2/backends/{quote(name, safe='')}")


def caches() -> Conversation[CachesView]:
    """How full the caches of answers are."""
    return get("/api/v2/caches", CachesView)


def clear_caches() -> Conversation[CachesView]:
    """Forget all answers that are kept."""
    return delete("/api/v2/caches", CachesView)


def contents() -> Conversation[ContentsView]:
    """What is in the node's store."""
    return get("/api/v2/contents", ContentsView, owner=True)


def remove_content(name: str) -> Conversation[ContentView]:
    """Forget a content here."""
    return delete(f"/api/v2/contents/{path_part(name)}", ContentView)


def snapshots() -> Conversation[SnapshotsView]:
    """Those that this node can give to others."""
    return get("/api/v2/snapshots", SnapshotsView, owner=True)


def publish(topic: str, payload: JsonObject) -> Conversation[None]:
    """Tell all members something on a topic."""
    yield from post("/api/v2/topics", {"topic": topic, "payload": payload}, JsonObject)
