"""OpenAI's form to Ollama's and back, for asking an Ollama server. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from inference.chat import Call, CallKind, JsonObject, decode_object, error_text
from inference.failures import Garbled, Overloaded, Unsupported
from inference.lines import Lines

_OPTIONS: Final = {
    "temperature": "temperature",
    "top_p": "top_p",
    "seed": "seed",
    "stop": "stop",
    "max_tokens": "num_predict",
    "max_completion_tokens": "num_predict",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "top_k": "top_k",
    "min_p": "min_p",
}
_DATA_URI: Final = "base64,"


def to_ollama(call: Call, *, stream: bool) -> JsonObject:
    """The body for `/api/chat`, or for `/api/generate`. Raises `Unsupported`."""
    body = call.body
    _check_supported(body, stream=stream)
    options = {
        theirs: body[ours] for ours, theirs in _OPTIONS.items() if body.get(ours) is not None
    }
    asked: JsonObject = {
        "model": call.model,
        "stream": stream,
        "options": {**options, **call.options},
    }
    if (form := _format(body.get("response_format"))) is not None:
        asked["format"] = form
    if call.kind is CallKind.TEXT:
        if not isinstance(body["prompt"], str):
            raise Unsupported("Ollama takes one prompt, as a text")
        asked["prompt"] = body["prompt"]
        return asked
    asked["messages"] = [_message(message) for message in body["messages"]]
    if body.get("tools") and body.get("tool_choice") != "none":
        asked["tools"] = body["tools"]
    return asked


def _check_supported(body: JsonObject, *, stream: bool) -> None:
    for is_asked, what in (
        (stream and (body.get("n") or 1) > 1, "more than one streamed answer (n)"),
        (bool(body.get("logprobs")), "log-probabilities (logprobs)"),
        (body.get("tool_choice") not in (None, "auto", "none"), "forced tools (tool_choice)"),
        (body.get("suffix") is not None, "a suffix"),
        (bool(body.get("echo")), "the prompt's echo"),
    ):
        if is_asked:
            raise Unsupported(f"{what} can't be asked of an Ollama server")


def _format(form: JsonObject | None) -> Any:  # noqa: ANN401 - "json", or a schema
    match form:
        case {"type": "json_object"}:
            return "json"
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return schema
        case None | {"type": "text"}:
            return None
        case _:
            raise Unsupported("this response_format can't be asked of an Ollama server")


def _message(message: JsonObject) -> JsonObject:
    content, images = message.get("content") or "", []
    if isinstance(content, list):
        texts = []
        for part in content:
            match part:
                case {"type": "text", "text": str(text)}:
                    texts.append(text)
                case {"type": "image_url", "image_url": {"url": str(url)}} if _DATA_URI in url:
                    images.append(url.partition(_DATA_URI)[2])
                case _:
                    raise Unsupported("Ollama takes texts and pictures sent as data, nothing else")
        content = "\n".join(texts)
    role = "system" if message["role"] == "developer" else message["role"]
    made: JsonObject = {"role": role, "content": content}
    if images:
        made["images"] = images
    if message.get("tool_calls"):
        made["tool_calls"] = [_tool_call(call) for call in message["tool_calls"]]
    return made


def _tool_call(call: JsonObject) -> JsonObject:
    match call:
        case {"function": {"name": str(name), "arguments": str(arguments)}}:
            return {"function": {"name": name, "arguments": decode_object(arguments.encode())}}
        case _:
            raise Unsupported("tool_calls: only calls of functions can be told to Ollama")


class OllamaAnswer:
    """Ollama's answer in OpenAI's form: whole, or line by line. `id` names it, `created` is Unix time."""

    def __init__(self, call: Call, *, id: str, created: int) -> None:  # noqa: A002 - the field's name
        self._call, self._lines = call, Lines()
        self._is_chat = call.kind is CallKind.CHAT
        self._head = {"id": id, "created": created, "model": call.model}
        self._tool_calls = 0
        self.is_done = False

    def event_in(self, _received: bytes) -> None:
        """Never: Ollama's lines are of another form."""

    def feed(self, received: bytes) -> Iterator[tuple[JsonObject, None]]:
        """The chunks that end in these bytes. Raises `Failure`, `LineTooLong`."""
        for line in self._lines.feed(received):
            if line.strip():
                for chunk in self._chunks(decode_object(line)):
                    yield chunk, None

    def whole(self, answer: JsonObject) -> JsonObject:
        """A plain answer. Raises `Failure`."""
        self._check(answer)
        delta = self._delta(answer)
        choice: JsonObject = {"index": 0, "finish_reason": self._finish(answer), "logprobs": None}
        if self._is_chat:
            tools = delta.pop("tool_calls", None)
            choice["message"] = {"role": "assistant", "content": None, **delta}
            if tools:
                choice["message"]["tool_calls"] = [_without_index(tool) for tool in tools]
        else:
            choice["text"] = delta["content"]
        kind = "chat.completion" if self._is_chat else "text_completion"
        return {**self._head, "object": kind, "choices": [choice], "usage": _usage(answer)}

    def _chunks(self, line: JsonObject) -> Iterator[JsonObject]:
        self._check(line)
        delta = self._delta(line)
        if delta.get("content") or len(delta) > 1:
            yield self._chunk(delta, None)
        if line.get("done"):
            self.is_done = True
            yield self._chunk({}, self._finish(line))
            if self._call.wants_usage:
                yield {**self._chunk({}, None), "choices": [], "usage": _usage(line)}

    def _chunk(self, delta: JsonObject, finish: str | None) -> JsonObject:
        choice: JsonObject = {"index": 0, "finish_reason": finish, "logprobs": None}
        if self._is_chat:
            choice["delta"] = delta
        else:
            choice["text"] = delta.get("content", "")
        kind = "chat.completion.chunk" if self._is_chat else "text_completion"
        return {**self._head, "object": kind, "choices": [choice]}

    def _check(self, answer: JsonObject) -> None:
        if answer.get("error"):
            raise Overloaded(f"it told an error in its answer: {error_text(answer)}")
        self._head["model"] = answer.get("model") or self._call.model

    def _delta(self, answer: JsonObject) -> JsonObject:
        if not self._is_chat:
            text = answer.get("response")
            if not isinstance(text, str):
                raise Garbled("a line of its answer has no response")
            return {"content": text}
        message = answer.get("message")
        if not isinstance(message, dict):
            raise Garbled("a line of its answer has no message")
        delta: JsonObject = {"content": str(message.get("content") or "")}
        if message.get("thinking"):
            delta["reasoning_content"] = message["thinking"]
        if message.get("tool_calls"):
            delta["tool_calls"] = [self._numbered(call) for call in message["tool_calls"]]
        return delta

    def _numbered(self, call: JsonObject) -> JsonObject:
        match call:
            case {"function": {"name": str(name), "arguments": dict(arguments)}}:
                index, self._tool_calls = self._tool_calls, self._tool_calls + 1
                return {
                    "index": index,
                    "id": f"call_{self._head['id']}_{index}",
                    "type": "function",
                    "function": {
                        "name": name,
                        "arguments": msgspec.json.encode(arguments).decode(),
                    },
                }
            case _:
                raise Garbled("a tool call of its answer has no name and arguments")

    def _finish(self, answer: JsonObject) -> str | None:
        if not answer.get("done"):
            return None
        if self._tool_calls:
            return "tool_calls"
        return "length" if answer.get("done_reason") == "length" else "stop"


def _without_index(tool: JsonObject) -> JsonObject:
    return {key: value for key, value in tool.items() if key != "index"}


def _usage(answer: JsonObject) -> JsonObject:
    prompt, completion = answer.get("prompt_eval_count") or 0, answer.get("eval_count") or 0
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
