"""OpenAI's requests checked, and its form of telling errors.

A body that is no JSON is 400, a field of the wrong type 422. Fields that have no name here go on to
the model server as they came.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from hashlib import sha256
from http import HTTPStatus
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta
from starlette.responses import Response

from inference.answer_cache import Asker
from inference.backend import BackendError
from inference.backends.router import GivenUp, NoServerNow, Refused, Routed, UnknownModel
from inference.chat import Call, CallKind, JsonObject
from inference.failures import ContextOverflow, Failure, Overloaded, Silent, Unsupported
from inference.forms import FormFailure, OutOfForm
from inference.waiting import MAX_PRIORITY
from node.work.foreman import DEADLINE_S, PRIORITY

MAX_MODEL_CHARS = 512
_SOON_S = 2
_MAX_WAIT_S = 7 * 24 * 60 * 60
_DIGITS = re.compile(r"\d{1,9}", re.ASCII)
_PLACE = re.compile(r"(?:at `\$\.?(?P<path>[^`]*)`|required field `(?P<missing>[^`]*)`)$")

_Model = Annotated[str, Meta(min_length=1, max_length=MAX_MODEL_CHARS)]
_Natural = Annotated[int, Meta(ge=1, le=2**31)]
_Share = Annotated[float, Meta(ge=0, le=1)]


class OpenAiError(Exception):
    """A request can't be done; told in OpenAI's form."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.param = status, code, param
        self.headers = headers or {}

    def body(self) -> JsonObject:
        """The JSON of it."""
        is_theirs = self.status < HTTPStatus.INTERNAL_SERVER_ERROR
        kind = "invalid_request_error" if is_theirs else "server_error"
        if self.status == HTTPStatus.TOO_MANY_REQUESTS:
            kind = "rate_limit_error"
        told = {"message": str(self), "type": kind, "param": self.param, "code": self.code}
        return {"error": told}

    def response(self) -> Response:
        """The HTTP answer."""
        content = msgspec.json.encode(self.body())
        return Response(content, self.status, self.headers, media_type="application/json")


class _Lenient(msgspec.Struct):
    """Base of what is checked: fields without a name here are let through."""


class StreamOptions(_Lenient):
    """What a stream has besides."""

    include_usage: bool | None = None


class ChatMessage(_Lenient):
    """A message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[dict[str, Any]] | None = None


class _Generation(_Lenient, kw_only=True):
    model: _Model
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: _Share | None = None
    n: Annotated[int, Meta(ge=1, le=16)] | None = None
    max_tokens: _Natural | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None


class ChatRequest(_Generation, kw_only=True):
    """The body of `/v1/chat/completions`."""

    messages: Annotated[list[ChatMessage], Meta(min_length=1, max_length=10_000)]
    max_completion_tokens: _Natural | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    logprobs: bool | None = None


class CompletionRequest(_Generation, kw_only=True):
    """The body of `/v1/completions`."""

    prompt: str | list[str | int | list[int]]
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None


class EmbeddingsRequest(_Lenient, kw_only=True):
    """The body of `/v1/embeddings`."""

    model: _Model
    input: str | list[str | int | list[int]]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: _Natural | None = None
    truncate: bool | None = None


_FORMS: dict[CallKind, type[ChatRequest | CompletionRequest | EmbeddingsRequest]] = {
    CallKind.CHAT: ChatRequest,
    CallKind.TEXT: CompletionRequest,
    CallKind.EMBED: EmbeddingsRequest,
}

_Form = TypeVar("_Form")


def read_call(kind: CallKind, body: bytes) -> Call:
    """The request in a body. Raises `OpenAiError`."""
    value = decode_body(body)
    checked(value, _FORMS[kind])
    if kind is CallKind.EMBED and not value["input"]:
        raise OpenAiError(400, "invalid_value", "input: must not be empty", param="input")
    return Call(kind, value["model"], value)


def checked_chat(value: JsonObject) -> None:
    """A chat request that was made of another form. Raises `OpenAiError`."""
    checked(value, ChatRequest)


def with_wishes(call: Call, headers: Mapping[str, str], *, peers: bool) -> Call:
    """The call with what its headers allow. `peers` is what the owner allows. Raises `OpenAiError`."""
    waits = _would_wait(call, headers)
    return msgspec.structs.replace(
        call,
        peers=_wish(headers, "x-bizra-peers", default=peers),
        quotes=_wish(headers, "x-bizra-extractive", default=not waits),
        waits=waits,
        continues=_wish(headers, "x-bizra-continue", default=False),
    )


class QueueWish(msgspec.Struct, frozen=True):
    """A caller would rather wait than be refused."""

    priority: int
    deadline_s: int


def queue_wish(call: Call, headers: Mapping[str, str]) -> QueueWish | None:
    """What the caller says about waiting. Raises `OpenAiError`."""
    if not _would_wait(call, headers):
        return None
    return QueueWish(
        _number(headers, "x-bizra-priority", PRIORITY, MAX_PRIORITY),
        max(1, _number(headers, "x-bizra-deadline-s", DEADLINE_S, _MAX_WAIT_S)),
    )


def _would_wait(call: Call, headers: Mapping[str, str]) -> bool:
    said = call.body.get("queue", False)
    if not isinstance(said, bool):
        raise OpenAiError(422, "invalid_value", "queue: must be true or false", param="queue")
    if said or "prefer" not in headers:
        return said
    return "respond-async" in re.split(r"[,;]", headers["prefer"].lower().replace(" ", ""))


def _number(headers: Mapping[str, str], name: str, default: int, most: int) -> int:
    said = headers.get(name, str(default))
    if not _DIGITS.fullmatch(said) or int(said) > most:
        told = f"the header {name} must be a number from 0 to {most}"
        raise OpenAiError(400, "invalid_value", told, param=name)
    return int(said)


def _wish(headers: Mapping[str, str], name: str, *, default: bool) -> bool:
    said = headers.get(name)
    if said not in (None, "0", "1"):
        raise OpenAiError(400, "invalid_value", f"the header {name} must be 0 or 1", param=name)
    return default if said is None else said == "1"


def decode_body(body: bytes) -> JsonObject:
    """The JSON object in a body. Raises `OpenAiError`."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise OpenAiError(400, "invalid_json", f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise OpenAiError(400, "invalid_json", "the body must be a JSON object")
    return value


def checked(value: JsonObject, form: type[_Form]) -> _Form:
    """The value as this form. Raises `OpenAiError` that names the field."""
    try:
        return msgspec.convert(value, form)
    except msgspec.ValidationError as error:
        found = _PLACE.search(str(error))
        place = (found["path"] or found["missing"]) if found else None
        param = re.split(r"[.\[]", place)[0] if place else None
        raise OpenAiError(422, "invalid_value", str(error), param=param) from None


def error_of(error: BackendError) -> OpenAiError:
    """What went wrong at the model servers, as OpenAI's clients expect it.

    They try 408, 409, 429 and 5xx again by themselves: not after this node has done so.
    """
    match error:
        case UnknownModel():
            return OpenAiError(404, "model_not_found", str(error), param="model")
        case NoServerNow(decision=decision):
            wait_s = math.ceil(decision.wait_ms / 1000) or _SOON_S
            headers = {"retry-after": str(wait_s)}
            return OpenAiError(503, "model_unavailable", str(error), headers=headers)
        case Refused(failure=failure):
            is_overflow = isinstance(failure, ContextOverflow)
            status = HTTPStatus.BAD_REQUEST if is_overflow else failure.status
            return OpenAiError(status or 400, failure.code, str(error))
        case FormFailure():
            headers = {"x-should-retry": "false"}
            return OpenAiError(502, OutOfForm.code, str(error), headers=headers)
        case GivenUp(failure=failure):
            return _given_up(error, failure)
        case _:
            return OpenAiError(502, "backend_failed", str(error))


def _given_up(error: GivenUp, failure: Failure) -> OpenAiError:
    headers = {"x-should-retry": "false"}
    if failure.retry_after_ms is not None:
        headers["retry-after"] = str(math.ceil(failure.retry_after_ms / 1000))
    status = HTTPStatus.BAD_GATEWAY
    if isinstance(failure, Unsupported):
        status = HTTPStatus.BAD_REQUEST
    elif isinstance(failure, Silent):
        status = HTTPStatus.GATEWAY_TIMEOUT
    elif isinstance(failure, Overloaded):
        busy = failure.status == HTTPStatus.TOO_MANY_REQUESTS
        status = HTTPStatus.TOO_MANY_REQUESTS if busy else HTTPStatus.SERVICE_UNAVAILABLE
    return OpenAiError(status, failure.code, str(error), headers=headers)


class Manner(msgspec.Struct, frozen=True):
    """How a caller wants to be answered, beside the request itself."""

    asker: Asker
    explain: bool


def manner_of(headers: Mapping[str, str]) -> Manner:
    """What the headers say of it."""
    return Manner(_asker_of(headers), headers.get("x-bizra-explain") == "1")


def origin_of(routed: Routed[Any]) -> dict[str, str]:
    """The headers that tell where an answer comes from."""
    told = {"x-bizra-backend": routed.server}
    if routed.cache:
        told["x-cache"] = routed.cache
    return told


def _asker_of(headers: Mapping[str, str]) -> Asker:
    """Who asks, for the caches: by the key that he shows, which is not kept itself."""
    shown = headers.get("authorization", "")
    control = headers.get("cache-control", "").lower()
    tenant = sha256(shown.encode("utf-8", "replace")).hexdigest()
    return Asker(tenant, fresh="no-cache" in control or "no-store" in control)


def explanation(routed: Routed[Any]) -> JsonObject:
    """Who gave the answer and why that server was chosen, for a caller who asks."""
    return {"server": routed.server, **msgspec.to_builtins(routed.decision)}
