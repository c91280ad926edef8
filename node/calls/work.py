"""Tasks, groups of them, spreads, the queue for models, and what peers' answers turned out to be."""

from __future__ import annotations

from collections.abc import Sequence

from node.answers import decoded
from node.calls.base import Calls, poll
from node.paths import path_part
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


class WorkCalls(Calls):
    """Work that is asked for."""

    def task(self, name: str) -> TaskView:
        """A task, with its output if the node asked for it."""
        return self._get(f"/api/v2/tasks/{path_part(name)}", TaskView)

    def tasks(self, limit: int) -> TasksView:
        """The newest tasks."""
        return self._get(f"/api/v2/tasks?limit={limit}", TasksView)

    def queue(self) -> QueueView:
        """The requests that wait for a model."""
        return decoded(self._send("GET", "/api/v2/queue", owner=True), QueueView)

    def queued(self, name: str) -> QueuedView:
        """One of them, with its answer."""
        return decoded(
            self._send("GET", f"/api/v2/queue/{path_part(name)}", owner=True), QueuedView
        )

    def spread(self, name: str) -> SpreadView:
        """Work over many peers, with its output."""
        path = f"/api/v2/spreads/{path_part(name)}"
        return decoded(self._send("GET", path, owner=True), SpreadView)

    def spreads(self) -> SpreadsView:
        """All of it, the newest first."""
        return decoded(self._send("GET", "/api/v2/spreads", owner=True), SpreadsView)

    def trust(self) -> TrustBookView:
        """What was found out about peers' answers."""
        return decoded(self._send("GET", "/api/v2/trust", owner=True), TrustBookView)

    def withdraw(self, name: str) -> QueuedView:
        """Take a request out of the queue."""
        response = self._send("DELETE", f"/api/v2/queue/{path_part(name)}", owner=True)
        return decoded(response, QueuedView)

    def decide(self, name: str, decision: str, text: str | None = None) -> QueuedView:
        """Say what becomes of an escalated request: retry, abandon, or answer with a text."""
        said: JsonObject = {"decision": decision} | ({} if text is None else {"text": text})
        return self._post(f"/api/v2/queue/{path_part(name)}/decision", said, QueuedView)

    def submit_spread(
        self, kind: str, given: JsonObject, deadline_s: int | None = None
    ) -> SpreadView:
        """Give an input to many peers in parts."""
        request: JsonObject = {"kind": kind, "input": given}
        if deadline_s is not None:
            request["deadline_s"] = deadline_s
        return self._post("/api/v2/spreads", request, SpreadView)

    def drop_spread(self, name: str) -> SpreadView:
        """Cancel it."""
        response = self._send("DELETE", f"/api/v2/spreads/{path_part(name)}", owner=True)
        return decoded(response, SpreadView)

    def check_peer(self, node: str, model: str) -> JsonObject:
        """Ask a peer something of which the node can check the answer."""
        return self._post(f"/api/v2/trust/{path_part(node)}/check", {"model": model}, JsonObject)

    def forgive(self, node: str) -> TrustView:
        """Begin anew with a peer."""
        response = self._send("DELETE", f"/api/v2/trust/{path_part(node)}", owner=True)
        return decoded(response, TrustView)

    def submit_task(
        self,
        kind: str,
        given: JsonObject,
        executor: str | None = None,
        reward: int | None = None,
        deadline_s: int | None = None,
    ) -> TaskView:
        """Hand in a task; `given` is the input of its kind."""
        request: JsonObject = {"kind": kind, "input": given}
        if executor is not None:
            request["executor"] = executor
        if reward is not None:
            request["reward"] = str(reward)
        if deadline_s is not None:
            request["deadline_s"] = deadline_s
        return self._post("/api/v2/tasks", request, TaskView)

    def submit_group(self, request: JsonObject) -> GroupView:
        """Have the same task done by several nodes: the body of `POST /api/v2/task-groups`."""
        return self._post("/api/v2/task-groups", request, GroupView)

    def group(self, name: str) -> GroupView:
        """A group of tasks and what it came to."""
        return self._get(f"/api/v2/task-groups/{path_part(name)}", GroupView)

    def offer_kinds(self, kinds: Sequence[str]) -> OfferingView:
        """Say on the ledger which kinds of task it may give this node; none takes the offer back."""
        return self._post("/api/v2/offerings", {"kinds": list(kinds)}, OfferingView)

    def cancel_task(self, name: str) -> TaskView:
        """Take back a task that nobody works on."""
        response = self._send("DELETE", f"/api/v2/tasks/{path_part(name)}", owner=True)
        return decoded(response, TaskView)

    def await_task(self, task_id: str, timeout_s: float) -> TaskView:
        """Ask until a task has come to its end, or the one that took its place. Raises `StillWaitingError`."""
        return poll(
            lambda: self._newest(self.task(task_id)),
            lambda view: view.status in FINAL_TASK,
            timeout_s,
            f"the task has not ended after {timeout_s:g} s; "
            f"look again with: bizra-node task show {task_id}",
        )

    def _newest(self, view: TaskView) -> TaskView:
        """The task that another node has in place of this one, if one has."""
        while view.taken_over_by is not None:
            view = self.task(view.taken_over_by)
        return view

    def await_spread(self, name: str, timeout_s: float) -> SpreadView:
        """Ask until work over many peers has come to its end. Raises `StillWaitingError`."""
        return poll(
            lambda: self.spread(name),
            lambda view: view.status != "running",
            timeout_s,
            f"the work has not ended after {timeout_s:g} s; "
            f"look again with: bizra-node spread show {name}",
        )

    def await_group(self, group_id: str, timeout_s: float) -> GroupView:
        """Ask until a group of tasks has its verdict and its outputs are here. Raises `StillWaitingError`."""
        return poll(
            lambda: self.group(group_id),
            lambda view: all(one.status in FINAL_TASK for one in view.tasks),
            timeout_s,
            f"the group has not ended after {timeout_s:g} s; "
            f"look again with: bizra-node task group {group_id}",
        )
