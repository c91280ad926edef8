"""Ollama's requests to OpenAI's form and the answers back, for clients that speak to an Ollama server. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from inference.chat import Call, CallKind, JsonObject
from inference.failures import Garbled
from node.gateway.openai_form import OpenAiError, checked, decode_body

_OPTIONS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "seed": "seed",
    "stop": "stop",
    "num_predict": "max_tokens",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
}
_Model = Annotated[str, Meta(min_length=1, max_length=512)]


class OllamaMessage(msgspec.Struct):
    """A message; pictures are base64."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    images: list[str] | None = None
    tool_calls: list[dict[str, Any]] | None = None


class _Common(msgspec.Struct, kw_only=True):
    model: _Model
    stream: bool | None = None
    format: str | dict[str, Any] | None = None
    options: dict[str, Any] | None = None
    queue: bool | None = None


class OllamaChatRequest(_Common, kw_only=True):
    """The body of `/api/chat`."""

    messages: Annotated[list[OllamaMessage], Meta(min_length=1, max_length=10_000)]
    tools: list[dict[str, Any]] | None = None


class OllamaGenerateRequest(_Common, kw_only=True):
    """The body of `/api/generate`."""

    prompt: str
    system: str | None = None
    images: list[str] | None = None
    suffix: str | None = None
    template: str | None = None
    context: list[int] | None = None
    raw: bool | None = None


class OllamaEmbedRequest(msgspec.Struct, kw_only=True):
    """The body of `/api/embed`."""

    model: _Model
    input: str | list[str]
    truncate: bool | None = None
    dimensions: int | None = None
    options: dict[str, Any] | None = None


def read_chat(body: bytes) -> Call:
    """The request of `/api/chat`. Raises `OpenAiError`."""
    given = checked(decode_body(body), OllamaChatRequest)
    messages = [_message(message) for message in given.messages]
    asked: JsonObject = {"messages": messages}
    if given.tools:
        asked["tools"] = given.tools
    return _call(given, asked)


def read_generate(body: bytes) -> Call:
    """The request of `/api/generate`: a chat of one message. Raises `OpenAiError`."""
    given = checked(decode_body(body), OllamaGenerateRequest)
    for name in ("suffix", "template", "context", "raw"):
        if getattr(given, name):
            raise OpenAiError(400, "unsupported", f"{name}: not offered by this node", param=name)
    messages = [] if not given.system else [{"role": "system", "content": given.system}]
    messages.append(_message(OllamaMessage("user", given.prompt, given.images)))
    return _call(given, {"messages": messages})


def read_embed(body: bytes) -> Call:
    """The request of `/api/embed`; as with Ollama, long texts are cut unless `truncate` is false."""
    given = checked(decode_body(body), OllamaEmbedRequest)
    if not given.input:
        raise OpenAiError(400, "invalid_value", "input: must not be empty", param="input")
    asked: JsonObject = {"model": given.model, "input": given.input}
    asked["truncate"] = given.truncate is not False
    if given.dimensions is not None:
        asked["dimensions"] = given.dimensions
    return Call(CallKind.EMBED, given.model, asked, given.options or {})


def _call(given: _Common, asked: JsonObject) -> Call:
    options = given.options or {}
    for theirs, ours in _OPTIONS.items():
        # Below zero Ollama means "no limit", which is what OpenAI's form means by saying nothing.
        if (value := options.get(theirs)) is not None and not (
            theirs == "num_predict" and isinstance(value, int) and value < 1
        ):
            asked[ours] = value
    if given.format == "json":
        asked["response_format"] = {"type": "json_object"}
    elif isinstance(given.format, dict):
        schema = {"name": "answer", "schema": given.format}
        asked["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif given.format:
        raise OpenAiError(400, "invalid_value", 'format: must be "json" or a schema')
    # Ollama streams unless it is told not to.
    asked["stream"] = given.stream is not False
    if given.queue:
        asked["queue"] = True
    if asked["stream"]:
        asked["stream_options"] = {"include_usage": True}
    return Call(CallKind.CHAT, given.model, {"model": given.model, **asked}, options)


def _message(message: OllamaMessage) -> JsonObject:
    made: JsonObject = {"role": message.role, "content": message.content or ""}
    if message.images:
        pictures = (
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}}
            for image in message.images
        )
        made["content"] = [{"type": "text", "text": made["content"]}, *pictures]
    if message.tool_calls:
        made["tool_calls"] = [
            _tool_call(number, call) for number, call in enumerate(message.tool_calls)
        ]
    return made


def _tool_call(number: int, call: JsonObject) -> JsonObject:
    match call:
        case {"function": {"name": str(name), "arguments": dict(arguments)}}:
            told = {"name": name, "arguments": msgspec.json.encode(arguments).decode()}
            return {"id": f"call_{number}", "type": "function", "function": told}
        case _:
            raise OpenAiError(422, "invalid_value", "tool_calls: a function has name and arguments")


class OllamaForm:
    """Answers in Ollama's form, of `/api/chat` or of `/api/generate`."""

    def __init__(self, *, is_chat: bool) -> None:
        self._is_chat = is_chat
        self._finish: str | None = None
        self._calls: dict[int, JsonObject] = {}
        """Ollama tells a tool call at once, OpenAI piece by piece: they are put together here."""

    def whole(self, answer: JsonObject) -> JsonObject:
        """A plain answer. Raises `Garbled`."""
        choice = answer["choices"][0]
        self._finish = choice["finish_reason"]
        line = self._line(answer, str(choice["message"].get("content") or ""))
        for number, call in enumerate(choice["message"].get("tool_calls") or ()):
            self._gather({"index": number, **call})
        return self._closed(line, answer.get("usage"))

    def chunk(self, chunk: JsonObject) -> JsonObject | None:
        """The line for a chunk, None if it holds nothing that Ollama's clients read."""
        choice = next(iter(chunk["choices"]), None)
        if choice is None:
            return None
        self._finish = choice.get("finish_reason") or self._finish
        for call in choice["delta"].get("tool_calls") or ():
            self._gather(call)
        text = choice["delta"].get("content")
        return self._line(chunk, text) if text else None

    def last(self, chunk: JsonObject) -> JsonObject:
        """The line that ends a stream, from its last chunk. Raises `Garbled`."""
        return self._closed(self._line(chunk, ""), chunk.get("usage"))

    def _line(self, source: JsonObject, text: str) -> JsonObject:
        line: JsonObject = {
            "model": source.get("model", ""),
            "created_at": datetime.fromtimestamp(source.get("created", 0), UTC).isoformat(),
            "done": False,
        }
        if self._is_chat:
            line["message"] = {"role": "assistant", "content": text}
        else:
            line["response"] = text
        return line

    def _closed(self, line: JsonObject, usage: JsonObject | None) -> JsonObject:
        line["done"] = True
        line["done_reason"] = "length" if self._finish == "length" else "stop"
        if usage:
            line["prompt_eval_count"] = usage.get("prompt_tokens", 0)
            line["eval_count"] = usage.get("completion_tokens", 0)
        if self._calls and self._is_chat:
            line["message"]["tool_calls"] = [
                {"function": _with_arguments(call)} for _, call in sorted(self._calls.items())
            ]
        return line

    def _gather(self, call: JsonObject) -> None:
        function = call.get("function") or {}
        known = self._calls.setdefault(call.get("index", 0), {"name": "", "arguments": ""})
        known["name"] += function.get("name") or ""
        known["arguments"] += function.get("arguments") or ""


def _with_arguments(call: JsonObject) -> JsonObject:
    try:
        return {"name": call["name"], "arguments": msgspec.json.decode(call["arguments"] or "{}")}
    except msgspec.DecodeError as error:
        raise Garbled(f"the arguments of a tool call are not JSON: {error}") from None
