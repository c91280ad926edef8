"""The validator registry over HTTP: anybody on this machine may look, the owner acts with the node's own account."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

import msgspec
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from consensus.operations.validators import MAX_LABEL
from consensus.parameters import CHANGEABLE
from node.chain.registry import Registry
from node.gateway.endpoint import Endpoint
from node.gateway.fields import MAX_BODY_BYTES, Fields, read_body
from node.gateway.guard import OwnerCheck
from node.gateway.reads import json_response
from node.gateway.requests import Amount, AnyId, Natural, Request
from node.views.facade import Facade, Named
from node.views.headers import HEIGHT
from node.views.records import (
    DeedView,
    ParametersView,
    RegistryView,
)

_STAKE = (
    (409, "overdraft"),
    (409, "stake_too_small"),
    (409, "stake_too_large"),
    (409, "not_registered"),
)
_SET = ((409, "too_fast_growth"), (409, "set_too_small"), (409, "not_validator"))
_OWN = (
    (409, "malformed"),
    (409, "unknown_account"),
    (409, "bad_nonce"),
    (409, "nonce_taken"),
    (409, "nonce_too_far"),
    (503, "full"),
    (503, "sender_full"),
    (409, "expired"),
)
_ID = ((400, "bad_id"), (400, "ambiguous_id"), (404, "unknown_node"))


class NothingRequest(Request, frozen=True):
    """An empty object."""


class AmountRequest(Request, frozen=True):
    """How much of the node's own stake."""

    amount: Amount


class DelegationRequest(Request, frozen=True):
    """How much, for which validator."""

    validator: AnyId
    amount: Amount


class NodeRequest(Request, frozen=True):
    """Which node."""

    node_id: AnyId


class ParameterRequest(Request, frozen=True):
    """Which constant, and its value."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_LABEL)]
    value: Natural


class RegistryDoor:
    """One method for each deed."""

    def __init__(self, registry: Registry, facade: Facade, owner: OwnerCheck) -> None:
        self._registry, self._facade, self._owner = registry, facade, owner

    def endpoints(self) -> list[Endpoint]:
        """All that is served here."""
        return [*self._views(), *self._own_deeds(), *self._words()]

    def _views(self) -> list[Endpoint]:
        return [
            Endpoint(
                "GET",
                "/api/v2/validators/registry",
                self._list,
                "Validators and candidates with their stakes.",
                RegistryView,
            ),
            Endpoint(
                "GET",
                "/api/v2/parameters",
                self._parameters,
                "The federation's constants in force.",
                ParametersView,
            ),
        ]

    def _own_deeds(self) -> list[Endpoint]:
        """About this node's own seat and money."""
        registry = self._registry
        ready = ((409, "not_approved"), (409, "not_ready"), (409, "too_many_validators"))
        return [
            self._deed(
                "activate", "Take the approved seat.", self._plain(registry.activate), ready
            ),
            self._deed(
                "leave", "Give up the seat, or the wish for one.", self._plain(registry.leave)
            ),
            self._deed(
                "rotate-key",
                "Vote with a fresh key from the next epoch on.",
                self._plain(registry.rotate_key),
                ((409, "voting_key_taken"), (409, "condemned")),
            ),
            self._deed(
                "stake",
                "Bind more of the own money.",
                self._amount(registry.stake),
                _STAKE,
                AmountRequest,
            ),
            self._deed(
                "unstake",
                "Take some of it back.",
                self._amount(registry.unstake),
                _STAKE,
                AmountRequest,
            ),
            self._deed(
                "delegate",
                "Bind money to a validator.",
                self._delegation(registry.delegate),
                (
                    *_STAKE,
                    *_ID,
                    (409, "unknown_validator"),
                    (409, "too_many_backers"),
                    (409, "condemned"),
                ),
                DelegationRequest,
            ),
            self._deed(
                "undelegate",
                "Take some of it back.",
                self._delegation(registry.undelegate),
                (*_STAKE, *_ID),
                DelegationRequest,
            ),
        ]

    def _words(self) -> list[Endpoint]:
        """What a validator says, and a quorum makes true."""
        return [
            self._deed(
                "remove",
                "This validator's word against another's seat.",
                self._remove,
                (*_ID, (409, "unknown_validator")),
                NodeRequest,
            ),
            Endpoint(
                "POST",
                "/api/v2/expulsions",
                self._expel,
                "This validator's word against an observer's membership.",
                DeedView,
                200,
                (NodeRequest,),
                problems=(
                    *_OWN,
                    *_ID,
                    (409, "not_validator"),
                    (409, "unknown_member"),
                    (409, "still_validator"),
                ),
                owner=True,
                idempotent=True,
                example={"node_id": "29" * 32},
            ),
            Endpoint(
                "POST",
                "/api/v2/parameters",
                self._change,
                f"This validator's word for a constant: {', '.join(CHANGEABLE)}.",
                DeedView,
                200,
                (ParameterRequest,),
                problems=(
                    *_OWN,
                    (409, "not_validator"),
                    (409, "unknown_parameter"),
                    (409, "value_out_of_range"),
                    (409, "unknown_protocol"),
                ),
                owner=True,
                idempotent=True,
                example={"name": "min_stake", "value": 1000000},
            ),
        ]

    def _deed(
        self,
        name: str,
        about: str,
        handler: Callable[[HttpRequest], Awaitable[Response]],
        problems: tuple[tuple[int, str], ...] = (),
        body: type[Request] = NothingRequest,
    ) -> Endpoint:
        return Endpoint(
            "POST",
            f"/api/v2/validators/{name}",
            handler,
            about,
            DeedView,
            200,
            (body,),
            problems=(*_OWN, *_SET, *problems),
            owner=True,
            idempotent=True,
        )

    async def _list(self, _request: HttpRequest) -> Response:
        return json_response(self._registry.listed(), headers=self._height())

    def _height(self) -> dict[str, str]:
        return {HEIGHT: str(self._registry.height)}

    async def _parameters(self, _request: HttpRequest) -> Response:
        return json_response(self._registry.parameters(), headers=self._height())

    async def _remove(self, request: HttpRequest) -> Response:
        fields = await self._owned(request)
        node = fields.id("node_id", Named.NODE)
        fields.done()
        return json_response(await self._registry.approve_removal(node))

    async def _expel(self, request: HttpRequest) -> Response:
        fields = await self._owned(request)
        node = fields.id("node_id", Named.NODE)
        fields.done()
        return json_response(await self._registry.approve_expulsion(node))

    async def _change(self, request: HttpRequest) -> Response:
        fields = await self._owned(request)
        name, value = fields.name("name", MAX_LABEL), fields.natural("value")
        fields.done()
        return json_response(await self._registry.approve_parameter(name, value))

    def _plain(
        self, deed: Callable[[], Awaitable[DeedView]]
    ) -> Callable[[HttpRequest], Awaitable[Response]]:
        async def handle(request: HttpRequest) -> Response:
            (await self._owned(request)).done()
            return json_response(await deed())

        return handle

    def _amount(
        self, deed: Callable[[int], Awaitable[DeedView]]
    ) -> Callable[[HttpRequest], Awaitable[Response]]:
        async def handle(request: HttpRequest) -> Response:
            fields = await self._owned(request)
            amount = fields.amount("amount")
            fields.done()
            return json_response(await deed(amount))

        return handle

    def _delegation(
        self, deed: Callable[[bytes, int], Awaitable[DeedView]]
    ) -> Callable[[HttpRequest], Awaitable[Response]]:
        async def handle(request: HttpRequest) -> Response:
            fields = await self._owned(request)
            validator, amount = fields.id("validator", Named.NODE), fields.amount("amount")
            fields.done()
            return json_response(await deed(validator, amount))

        return handle

    async def _owned(self, request: HttpRequest) -> Fields:
        self._owner.require(request)
        return Fields(await read_body(request, MAX_BODY_BYTES), self._facade)
