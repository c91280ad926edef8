"""OpenAI's Responses API to chat requests and back. Pure.

The node keeps no conversations: `previous_response_id` and stored items are refused, and `store` is
answered with false. Tools are functions; those that OpenAI runs itself (web search, files) are
refused by name.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from inference.chat import Call, CallKind, JsonObject
from node.gateway.openai_form import (
    MAX_MODEL_CHARS,
    OpenAiError,
    checked,
    checked_chat,
    decode_body,
)

_ROLES: Final = ("user", "assistant", "system", "developer")
_TEXTS: Final = ("input_text", "output_text", "text")
_PASSED_ON: Final = (
    "temperature",
    "top_p",
    "parallel_tool_calls",
    "user",
    "seed",
    "stop",
    "metadata",
)


class ResponsesRequest(msgspec.Struct, kw_only=True):
    """The body of `/v1/responses`."""

    model: Annotated[str, Meta(min_length=1, max_length=MAX_MODEL_CHARS)]
    input: str | list[dict[str, Any]]
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: Annotated[int, Meta(ge=1, le=2**31)] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    text: dict[str, Any] | None = None
    previous_response_id: str | None = None
    conversation: str | dict[str, Any] | None = None
    background: bool | None = None
    store: bool | None = None
    truncation: Literal["auto", "disabled"] | None = None
    reasoning: dict[str, Any] | None = None
    include: list[str] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None


def read_response_call(body: bytes) -> tuple[Call, JsonObject]:
    """A chat call, and the request as it came. Raises `OpenAiError`."""
    value = decode_body(body)
    request = checked(value, ResponsesRequest)
    for name in ("previous_response_id", "conversation", "background"):
        if value.get(name):
            raise _unsupported(name, "this node stores no responses; send the conversation along")
    chat: JsonObject = {"model": request.model, "messages": _messages(request)}
    chat.update((name, value[name]) for name in _PASSED_ON if value.get(name) is not None)
    if request.max_output_tokens is not None:
        chat["max_tokens"] = request.max_output_tokens
    if request.tools:
        chat["tools"] = [_tool(tool) for tool in request.tools]
    if request.tool_choice is not None:
        chat["tool_choice"] = _tool_choice(request.tool_choice)
    if request.reasoning and request.reasoning.get("effort"):
        chat["reasoning_effort"] = request.reasoning["effort"]
    if (form := (request.text or {}).get("format")) is not None:
        chat["response_format"] = _response_format(form)
    if request.top_logprobs is not None or "message.output_text.logprobs" in (
        request.include or ()
    ):
        chat["logprobs"] = True
        chat["top_logprobs"] = request.top_logprobs or 0
    if request.stream:
        chat["stream"], chat["stream_options"] = True, {"include_usage": True}
    checked_chat(chat)
    return Call(CallKind.CHAT, request.model, chat), value


def _messages(request: ResponsesRequest) -> list[JsonObject]:
    messages: list[JsonObject] = []
    if request.instructions:
        messages.append({"role": "system", "content": request.instructions})
    if isinstance(request.input, str):
        messages.append({"role": "user", "content": request.input})
        return messages
    for item in request.input:
        _add_item(messages, item)
    if not messages:
        raise OpenAiError(422, "invalid_value", "input: must not be empty", param="input")
    return messages


def _add_item(messages: list[JsonObject], item: JsonObject) -> None:
    match item:
        case {"role": role, "content": content} if role in _ROLES:
            messages.append({"role": role, "content": _content(content)})
        case {
            "type": "function_call",
            "call_id": str(call_id),
            "name": str(name),
            "arguments": str(arguments),
        }:
            call = {
                "id": call_id,
                "type": "function",
                "function": {"name": name, "arguments": arguments},
            }
            last = messages[-1] if messages else None
            if last is not None and last["role"] == "assistant":
                last.setdefault("tool_calls", []).append(call)
            else:
                messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        case {"type": "function_call_output", "call_id": str(call_id), "output": output}:
            text = output if isinstance(output, str) else _content(output)
            messages.append({"role": "tool", "tool_call_id": call_id, "content": text})
        case {"type": "reasoning"}:
            pass  # a model's own thoughts about an earlier turn are not for another one
        case _:
            kind = str(item.get("type", "an item without role and content"))[:64]
            raise _unsupported("input", f"{kind!r} is not taken here")


def _content(content: object) -> str | list[JsonObject]:
    if isinstance(content, str):
        return content
    parts: list[JsonObject] = []
    for part in content if isinstance(content, list) else [content]:
        match part:
            case {"type": kind, "text": str(text)} if kind in _TEXTS:
                parts.append({"type": "text", "text": text})
            case {"type": "refusal", "refusal": str(text)}:
                parts.append({"type": "text", "text": text})
            case {"type": "input_image", "image_url": str(url)}:
                parts.append({"type": "image_url", "image_url": {"url": url}})
            case _:
                raise _unsupported("input", "content: expected input_text or input_image")
    if all(part["type"] == "text" for part in parts):
        return "".join(part["text"] for part in parts)
    return parts


def _tool(tool: JsonObject) -> JsonObject:
    if tool.get("type") != "function" or not isinstance(tool.get("name"), str):
        raise _unsupported("tools", f"only functions are, not {str(tool.get('type'))[:64]!r}")
    keys = ("name", "description", "parameters", "strict")
    return {
        "type": "function",
        "function": {key: tool[key] for key in keys if tool.get(key) is not None},
    }


def _tool_choice(choice: str | JsonObject) -> str | JsonObject:
    if isinstance(choice, dict):
        return {"type": "function", "function": {"name": choice.get("name")}}
    return choice


def _response_format(form: JsonObject) -> JsonObject:
    if form.get("type") != "json_schema":
        return form
    return {
        "type": "json_schema",
        "json_schema": {key: form[key] for key in ("name", "schema", "strict") if key in form},
    }


def _unsupported(param: str, told: str) -> OpenAiError:
    return OpenAiError(400, "unsupported_value", f"{param}: not supported: {told}", param=param)


def response_head(response_id: str, created: int, model: str, asked: JsonObject) -> JsonObject:
    """What a response repeats of its request, with nothing in it yet."""
    return {
        "id": response_id,
        "object": "response",
        "created_at": created,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": asked.get("instructions"),
        "max_output_tokens": asked.get("max_output_tokens"),
        "metadata": asked.get("metadata") or {},
        "model": model,
        "output": [],
        "parallel_tool_calls": asked.get("parallel_tool_calls") is not False,
        "previous_response_id": None,
        "reasoning": asked.get("reasoning") or {"effort": None, "summary": None},
        "store": False,
        "temperature": asked.get("temperature"),
        "text": asked.get("text") or {"format": {"type": "text"}},
        "tool_choice": asked.get("tool_choice") or "auto",
        "tools": asked.get("tools") or [],
        "top_p": asked.get("top_p"),
        "truncation": asked.get("truncation") or "disabled",
        "usage": None,
        "user": asked.get("user"),
    }


def usage_of(usage: JsonObject | None) -> JsonObject | None:
    """Chat's counts under their names here."""
    if not usage:
        return None
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    thought = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    given, made = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
    return {
        "input_tokens": given,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": usage.get("total_tokens") or given + made,
    }


def finished(head: JsonObject, output: list[JsonObject], finish: str | None) -> JsonObject:
    """The response at its end; `finish` is chat's `finish_reason`."""
    reasons = {"length": "max_output_tokens", "content_filter": "content_filter"}
    cut = reasons.get(finish or "")
    return {
        **head,
        "output": output,
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": cut} if cut else None,
    }


def message_item(item_id: str, content: list[JsonObject], status: str) -> JsonObject:
    """An answer's text as an item."""
    return {
        "id": item_id,
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": content,
    }


def text_part(text: str, logprobs: list[Any] | None = None) -> JsonObject:
    """Text inside an item."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs or []}


def call_item(item_id: str, call_id: str, name: str, arguments: str, status: str) -> JsonObject:
    """A call of a function as an item."""
    return {
        "id": item_id,
        "type": "function_call",
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        "status": status,
    }


def whole_response(head: JsonObject, answer: JsonObject) -> JsonObject:
    """A plain answer of chat as a response."""
    (choice, *_) = answer["choices"]
    message, number = choice["message"], head["id"].removeprefix("resp_")
    output = []
    if message.get("content"):
        logprobs = (choice.get("logprobs") or {}).get("content")
        part = text_part(message["content"], logprobs)
        output.append(message_item(f"msg_{number}", [part], "completed"))
    elif message.get("refusal"):
        refusal = {"type": "refusal", "refusal": message["refusal"]}
        output.append(message_item(f"msg_{number}", [refusal], "completed"))
    for at, call in enumerate(message.get("tool_calls") or ()):
        function = call.get("function") or {}
        name, arguments = str(function.get("name", "")), str(function.get("arguments", ""))
        call_id = str(call.get("id") or f"call_{number}_{at}")
        output.append(call_item(f"fc_{number}_{at}", call_id, name, arguments, "completed"))
    usage = usage_of(answer.get("usage"))
    return finished({**head, "usage": usage}, output, choice.get("finish_reason"))
