"""The description of the interface, OpenAPI 3.1, made of the same endpoints that the router serves."""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from node.gateway.endpoint import Endpoint
from node.views.records import JsonObject, View

_REF = "#/components/schemas/{name}"
_PROBLEM_MEDIA = "application/problem+json"
_AT_THE_DOOR = (
    (403, "wrong_host"),
    (403, "wrong_origin"),
    (404, "unknown_path"),
    (429, "quota_exceeded"),
)
_ALWAYS = (
    *_AT_THE_DOOR,
    (400, "bad_parameter"),
    (400, "unknown_parameter"),
    (500, "internal"),
    (503, "timeout"),
)
_WITH_BODY = (
    (400, "bad_json"),
    (400, "missing_field"),
    (400, "unknown_field"),
    (400, "wrong_type"),
    (400, "out_of_range"),
    (400, "bad_amount"),
    (400, "negative_amount"),
    (400, "bad_hex"),
    (400, "bad_name"),
    (408, "body_timeout"),
    (413, "body_too_large"),
)
_OWNER = ((401, "token_missing"), (401, "token_wrong"), (403, "token_scope"))
_IDEMPOTENT = (
    (400, "bad_idempotency_key"),
    (409, "idempotency_key_in_use"),
    (409, "idempotency_unknown"),
    (422, "idempotency_key_reused"),
)
_WITH_ID = ((400, "bad_id"), (400, "ambiguous_id"))


class ProblemView(View, frozen=True):
    """An error as RFC 9457 has it; `code` is for programs, `detail` says what to do."""

    type: str
    title: str
    status: int
    detail: str
    code: str


def problems_of(endpoint: Endpoint) -> list[tuple[int, str]]:
    """Every status and code that an operation may answer with instead of its answer."""
    if endpoint.errors is not None:
        return sorted({*_AT_THE_DOOR, *endpoint.problems})
    found = [*_ALWAYS, *endpoint.problems]
    if endpoint.method == "POST":
        found += _WITH_BODY
    if endpoint.owner:
        found += _OWNER
    if endpoint.idempotent:
        found += _IDEMPOTENT
    if any(one.name == "id" for one in endpoint.params):
        found += _WITH_ID
    return sorted(set(found))


def document(endpoints: Sequence[Endpoint], version: str) -> JsonObject:
    """The document. Responses and requests are the types that the handlers encode and read."""
    types: list[Any] = [ProblemView]
    for endpoint in endpoints:
        types += [one for one in (endpoint.answer, *endpoint.bodies) if one is not None]
        types += [kind for _, kind in endpoint.others]
        types += [] if endpoint.errors is None else [endpoint.errors]
    made, components = msgspec.json.schema_components(types, ref_template=_REF)
    schemas = dict(zip(map(_key, types), made, strict=True))
    paths: JsonObject = {}
    for endpoint in endpoints:
        operation = _operation(endpoint, schemas)
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "bizra-node",
            "version": version,
            "description": "The HTTP interface of one node of a federation; docs/API.md tells more.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "externalDocs": {
            "url": "/asyncapi.json",
            "description": "The WebSockets, in AsyncAPI 3.0.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"owner": {"type": "http", "scheme": "bearer"}},
        },
    }


def _key(kind: Any) -> str:  # noqa: ANN401 - types of views and unions of them
    return str(kind)


def _operation(endpoint: Endpoint, schemas: dict[str, Any]) -> JsonObject:
    operation: JsonObject = {
        "operationId": _operation_id(endpoint),
        "summary": endpoint.about,
        "responses": _responses(endpoint, schemas),
    }
    parameters = [_parameter(endpoint, one) for one in endpoint.params]
    if endpoint.idempotent:
        parameters.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "description": "Asked again with the same key, the answer is the first one's.",
                "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"},
            }
        )
    if parameters:
        operation["parameters"] = parameters
    if endpoint.owner:
        operation["security"] = [{"owner": []}]
    if endpoint.bodies:
        forms = [schemas[_key(one)] for one in endpoint.bodies]
        content: JsonObject = {"schema": forms[0] if len(forms) == 1 else {"anyOf": forms}}
        if endpoint.example is not None:
            content["example"] = endpoint.example
        operation["requestBody"] = {
            "required": endpoint.needs_body,
            "content": {"application/json": content},
        }
    elif endpoint.method == "POST" and endpoint.media_in is not None:
        operation["requestBody"] = {
            "required": endpoint.needs_body,
            "content": {endpoint.media_in: {"schema": {"type": "string", "format": "binary"}}},
        }
    return operation


def _operation_id(endpoint: Endpoint) -> str:
    words = re.findall(r"[a-z0-9]+", endpoint.path.removeprefix("/api/v2"))
    return "_".join([endpoint.method.lower(), *words])


def _parameter(endpoint: Endpoint, one: Any) -> JsonObject:  # noqa: ANN401 - a Param
    in_path = f"{{{one.name}}}" in endpoint.path
    shown: JsonObject = {
        "name": one.name,
        "in": "path" if in_path else "query",
        "required": in_path,
        "description": one.about,
        "schema": one.schema,
    }
    if one.example is not None:
        shown["example"] = one.example
    return shown


def _responses(endpoint: Endpoint, schemas: dict[str, Any]) -> JsonObject:
    answer: JsonObject = {"description": endpoint.about}
    if endpoint.status == HTTPStatus.NO_CONTENT:
        pass
    elif endpoint.answer is not None:
        answer["content"] = {endpoint.media: {"schema": schemas[_key(endpoint.answer)]}}
    else:
        answer["content"] = {endpoint.media: {"schema": {"type": "string"}}}
    if endpoint.media_too is not None:
        answer["content"][endpoint.media_too] = {}
    if endpoint.cached:
        answer["headers"] = {
            "X-Cache": {"schema": {"enum": ["HIT", "MISS"]}},
            "ETag": {"schema": {"type": "string"}},
            "X-Height": {
                "description": "The block after which a list holds.",
                "schema": {"type": "integer"},
            },
        }
    responses: JsonObject = {str(endpoint.status): answer}
    if endpoint.upgrades:
        responses["101"] = {
            "description": "With `Upgrade: websocket`: a WebSocket; /asyncapi.json describes it."
        }
    is_tagged = endpoint.errors is None and endpoint.media == "application/json"
    if endpoint.method == "GET" and is_tagged:
        responses["304"] = {"description": "What `If-None-Match` names is still the answer."}
    for status, kind in endpoint.others:
        responses[str(status)] = {
            "description": endpoint.about,
            "content": {endpoint.media: {"schema": schemas[_key(kind)]}},
        }
    by_status: dict[int, list[str]] = {}
    for status, code in problems_of(endpoint):
        by_status.setdefault(status, []).append(code)
    for status, codes in by_status.items():
        response = responses.setdefault(str(status), {"content": {}})
        response["description"] = f"code: {', '.join(codes)}"
        if endpoint.errors is None:
            response["content"][_PROBLEM_MEDIA] = {"schema": schemas[_key(ProblemView)]}
        else:
            response["content"]["application/json"] = {"schema": schemas[_key(endpoint.errors)]}
    return responses
