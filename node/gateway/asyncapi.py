"""The description of the WebSockets, AsyncAPI 3.0, of the same types that they send: OpenAPI has no words for them."""

from __future__ import annotations

from typing import Any

import msgspec

from node.gateway.openapi import ProblemView
from node.views.happenings import Happening
from node.views.records import BatchView, JsonObject

_REF = "#/components/schemas/{name}"
_EVENTS, _STREAM = "events", "submissions"
_MESSAGES: dict[str, tuple[str, Any, str]] = {
    "happening": ("Something that happened, or is under way.", Happening, "application/json"),
    "happenings": ("With `?batch=1`: several at a time.", list[Happening], "application/json"),
    "answer": ("What became of one message, in their order.", BatchView, "application/json"),
    "problem": ("Nothing of one message was taken.", ProblemView, "application/json"),
}
_PARAMETERS = {
    "transaction": "Only this one.",
    "account": "Only what names this account.",
    "task": "Only this one.",
    "after": "Go on behind this cursor, HEIGHT.INDEX or HEIGHT.",
    "batch": "1 for arrays of notices.",
}


def sockets_document(version: str) -> JsonObject:
    """The document."""
    kinds = [kind for _, kind, _ in _MESSAGES.values()]
    made, schemas = msgspec.json.schema_components(kinds, ref_template=_REF)
    messages: JsonObject = {
        name: {"name": name, "summary": about, "contentType": media, "payload": payload}
        for (name, (about, _, media)), payload in zip(_MESSAGES.items(), made, strict=True)
    }
    messages["transactions"] = {
        "name": "transactions",
        "summary": "Signed transactions, as for POST /api/v2/transactions/batch; 1 MiB at most.",
        "contentType": "application/msgpack",
        "payload": {"type": "string", "format": "binary"},
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "bizra-node",
            "version": version,
            "description": "The WebSockets of one node of a federation; /openapi.json describes the rest.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"node": {"host": "127.0.0.1:7440", "protocol": "ws"}},
        "channels": {
            _EVENTS: _channel(
                "/api/v2/events",
                "What happens, as it happens; closed with 4408 if the caller is too slow.",
                ("happening", "happenings"),
                _PARAMETERS,
            ),
            _STREAM: _channel(
                "/api/v2/transactions/stream",
                "Signed transactions, message by message.",
                ("transactions", "answer", "problem"),
            ),
        },
        "operations": {
            "hear": _operation("send", _EVENTS, ("happening", "happenings")),
            "submit": {
                **_operation("receive", _STREAM, ("transactions",)),
                "reply": {
                    "channel": {"$ref": f"#/channels/{_STREAM}"},
                    "messages": _named(_STREAM, ("answer", "problem")),
                },
            },
        },
        "components": {"schemas": schemas, "messages": messages},
    }


def _channel(
    address: str, about: str, messages: tuple[str, ...], query: dict[str, str] | None = None
) -> JsonObject:
    channel: JsonObject = {
        "address": address,
        "description": about,
        "messages": {one: {"$ref": f"#/components/messages/{one}"} for one in messages},
    }
    if query:
        properties = {name: {"type": "string", "description": it} for name, it in query.items()}
        channel["bindings"] = {"ws": {"query": {"type": "object", "properties": properties}}}
    return channel


def _operation(action: str, channel: str, messages: tuple[str, ...]) -> JsonObject:
    """`action` is what the node does."""
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": _named(channel, messages),
    }


def _named(channel: str, messages: tuple[str, ...]) -> list[JsonObject]:
    return [{"$ref": f"#/channels/{channel}/messages/{one}"} for one in messages]
