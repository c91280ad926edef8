"""Groups of tasks over HTTP: the same work done by several nodes, and what they came to."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from consensus.operations.groups import MAX_KINDS, MAX_REDUNDANCY, MIN_REDUNDANCY
from gossip.codec import Digest
from inference.kinds import KINDS, BadInput, TaskInput, UnknownKind, parse_input
from inference.placement import GroupSize
from node.gateway.endpoint import ID, Endpoint
from node.gateway.fields import MAX_BODY_BYTES, MAX_TASK_BODY_BYTES, Fields, path_id, read_body
from node.gateway.guard import OwnerCheck
from node.gateway.reads import json_response
from node.gateway.requests import Amount, Request
from node.gateway.routes import OWN
from node.group_service import GroupService
from node.views.facade import MAX_DEADLINE_S, MIN_DEADLINE_S, Facade, Named, Problem
from node.views.records import GroupView, OfferingView


class GroupSubmission(Request, frozen=True):
    """A task for several nodes. Without `agreement` more than half must agree; `draw`: the ledger chooses them."""

    kind: Annotated[str, msgspec.Meta(examples=["summarize"])]
    input: dict[str, Any]
    redundancy: Annotated[int, msgspec.Meta(ge=MIN_REDUNDANCY, le=MAX_REDUNDANCY)]
    agreement: Annotated[int, msgspec.Meta(ge=MIN_REDUNDANCY, le=MAX_REDUNDANCY)] | None = None
    draw: bool = False
    reward: Amount | None = None
    deadline_s: Annotated[int, msgspec.Meta(ge=MIN_DEADLINE_S, le=MAX_DEADLINE_S)] | None = None


class OfferingRequest(Request, frozen=True):
    """The kinds of task that the ledger may give this node; none takes the offer back."""

    kinds: Annotated[tuple[str, ...], msgspec.Meta(max_length=MAX_KINDS, examples=[["embed"]])]


class GroupDoor:
    """One method for each deed and question."""

    def __init__(self, facade: Facade, groups: GroupService, owner: OwnerCheck) -> None:
        self._facade, self._groups, self._owner = facade, groups, owner

    async def submit(self, request: HttpRequest) -> Response:
        """Hand in a task that several nodes are to do."""
        self._owner.require(request)
        fields = Fields(await read_body(request, MAX_TASK_BODY_BYTES), self._facade)
        given = _input(fields)
        redundancy = _bounded(fields, "redundancy", MIN_REDUNDANCY, MAX_REDUNDANCY)
        agreement = redundancy // 2 + 1
        if fields.has("agreement"):
            agreement = _bounded(fields, "agreement", agreement, redundancy)
        size = GroupSize(redundancy, agreement, fields.flag("draw"))
        reward = fields.amount("reward") if fields.has("reward") else None
        deadline_s = None
        if fields.has("deadline_s"):
            deadline_s = _bounded(fields, "deadline_s", MIN_DEADLINE_S, MAX_DEADLINE_S)
        fields.done()
        group = await self._groups.submit(given, size, reward=reward, deadline_s=deadline_s)
        return json_response(group, 202)

    async def show(self, request: HttpRequest) -> Response:
        """A group with its tasks; their outputs if this node asked for them."""
        name = path_id(request, self._facade, Named.TASK)
        found = self._groups.view(Digest(name))
        if found is None:
            raise Problem(404, "unknown_task", f"there is no group of tasks {name.hex()}")
        return json_response(found)

    async def offer(self, request: HttpRequest) -> Response:
        """Say which kinds of task the ledger may give this node."""
        self._owner.require(request)
        fields = Fields(await read_body(request, MAX_BODY_BYTES), self._facade)
        kinds = fields.texts("kinds", MAX_KINDS)
        fields.done()
        for kind in kinds:
            if kind not in KINDS:
                raise Problem(422, "unknown_kind", f"kinds: there is no kind {kind[:64]!r}")
        return json_response(await self._groups.offer(kinds), 202)

    def endpoints(self) -> list[Endpoint]:
        """What is served under /api/v2/task-groups and /api/v2/offerings."""
        return [
            Endpoint(
                "POST",
                "/api/v2/task-groups",
                self.submit,
                "Have the same task done by several nodes, and pay those who agree.",
                GroupView,
                202,
                (GroupSubmission,),
                problems=(
                    *OWN,
                    (409, "no_executor"),
                    (422, "unknown_kind"),
                    (422, "bad_input"),
                ),
                owner=True,
                idempotent=True,
                example={"kind": "embed", "input": {"texts": ["a sentence"]}, "redundancy": 3},
            ),
            Endpoint(
                "GET",
                "/api/v2/task-groups/{id}",
                self.show,
                "A group of tasks: its verdict, and each task with its output if this node asked for it.",
                GroupView,
                params=(ID,),
                problems=((404, "unknown_task"), (400, "bad_id"), (400, "ambiguous_id")),
            ),
            Endpoint(
                "POST",
                "/api/v2/offerings",
                self.offer,
                "Say on the ledger which kinds of task it may give this node when it draws executors.",
                OfferingView,
                202,
                (OfferingRequest,),
                problems=(*OWN, (422, "unknown_kind")),
                owner=True,
                example={"kinds": ["embed"]},
            ),
        ]


def _input(fields: Fields) -> TaskInput:
    try:
        return parse_input(fields.text("kind"), fields.object("input"))
    except UnknownKind as error:
        raise Problem(422, "unknown_kind", str(error)) from None
    except BadInput as error:
        raise Problem(422, "bad_input", str(error)) from None


def _bounded(fields: Fields, name: str, least: int, most: int) -> int:
    value = fields.natural(name)
    if not least <= value <= most:
        raise Problem(400, "out_of_range", f"{name}: must be from {least} to {most}")
    return value
