"""Tasks, groups of them, spreads, the queue for models, and what peers' answers turned out to be."""

from __future__ import annotations

from collections.abc import Sequence

from node.client.conversations import Conversation, delete, get, post
from node.client.paths import path_part
from node.views.records import (
    GroupView,
    JsonObject,
    OfferingView,
    QueuedView,
    QueueView,
    SpreadsView,
    SpreadView,
    TasksView,
    TaskView,
    TrustBookView,
    TrustView,
)

FINAL_TASK = frozenset({"settled", "disputed", "failed", "cancelled"})
"""The states that a task does not leave again."""


def task(name: str) -> Conversation[TaskView]:
    """A task, with its output if the node asked for it."""
    return get(f"/api/v2/tasks/{path_part(name)}", TaskView)


def newest(name: str) -> Conversation[TaskView]:
    """The task that another node has in place of this one, if one has."""
    view = yield from task(name)
    while view.taken_over_by is not None:
        view = yield from task(view.taken_over_by)
    return view


def tasks(limit: int = 20) -> Conversation[TasksView]:
    """The newest tasks, the node's own first."""
    return get(f"/api/v2/tasks?limit={limit}", TasksView)


def submit_task(
    kind: str,
    given: JsonObject,
    executor: str | None = None,
    reward: int | None = None,
    deadline_s: int | None = None,
    *,
    key: str | None = None,
) -> Conversation[TaskView]:
    """Hand in a task; `given` is the input of its kind. With a `key`, once however often it is asked."""
    request: JsonObject = {"kind": kind, "input": given}
    if executor is not None:
        request["executor"] = executor
    if reward is not None:
        request["reward"] = str(reward)
    if deadline_s is not None:
        request["deadline_s"] = deadline_s
    return post("/api/v2/tasks", request, TaskView, key=key)


def cancel_task(name: str) -> Conversation[TaskView]:
    """Take back a task that nobody works on."""
    return delete(f"/api/v2/tasks/{path_part(name)}", TaskView)


def offer_kinds(kinds: Sequence[str]) -> Conversation[OfferingView]:
    """Say on the ledger which kinds of task it may give this node; none takes the offer back."""
    return post("/api/v2/offerings", {"kinds": list(kinds)}, OfferingView)


def submit_group(request: JsonObject) -> Conversation[GroupView]:
    """Have the same task done by several nodes: the body of `POST /api/v2/task-groups`."""
    return post("/api/v2/task-groups", request, GroupView)


def group(name: str) -> Conversation[GroupView]:
    """A group of tasks and what it came to."""
    return get(f"/api/v2/task-groups/{path_part(name)}", GroupView)


def submit_spread(
    kind: str, given: JsonObject, deadline_s: int | None = None
) -> Conversation[SpreadView]:
    """Give an input to many peers in parts."""
    request: JsonObject = {"kind": kind, "input": given}
    if deadline_s is not None:
        request["deadline_s"] = deadline_s
    return post("/api/v2/spreads", request, SpreadView)


def spread(name: str) -> Conversation[SpreadView]:
    """Work over many peers, with its output."""
    return get(f"/api/v2/spreads/{path_part(name)}", SpreadView, owner=True)


def spreads() -> Conversation[SpreadsView]:
    """All of it, the newest first."""
    return get("/api/v2/spreads", SpreadsView, owner=True)


def drop_spread(name: str) -> Conversation[SpreadView]:
    """Cancel it."""
    return delete(f"/api/v2/spreads/{path_part(name)}", SpreadView)


def queue() -> Conversation[QueueView]:
    """The requests that wait for a model."""
    return get("/api/v2/queue", QueueView, owner=True)


def queued(name: str) -> Conversation[QueuedView]:
    """One of them, with its answer."""
    return get(f"/api/v2/queue/{path_part(name)}", QueuedView, owner=True)


def withdraw(name: str) -> Conversation[QueuedView]:
    """Take a request out of the queue."""
    return delete(f"/api/v2/queue/{path_part(name)}", QueuedView)


def decide(name: str, decision: str, text: str | None = None) -> Conversation[QueuedView]:
    """Say what becomes of an escalated request: retry, abandon, or answer with a text."""
    said: JsonObject = {"decision": decision} | ({} if text is None else {"text": text})
    return post(f"/api/v2/queue/{path_part(name)}/decision", said, QueuedView)


def trust() -> Conversation[TrustBookView]:
    """What was found out about peers' answers."""
    return get("/api/v2/trust", TrustBookView, owner=True)


def check_peer(node: str, model: str) -> Conversation[JsonObject]:
    """Ask a peer something of which the node can check the answer."""
    return post(f"/api/v2/trust/{path_part(node)}/check", {"model": model}, JsonObject)


def forgive(node: str) -> Conversation[TrustView]:
    """Begin anew with a peer."""
    return delete(f"/api/v2/trust/{path_part(node)}", TrustView)
