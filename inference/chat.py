"""What is asked of a model server, in OpenAI's form, and whether what it answers is an answer.

OpenAI's JSON is the form inside the node too: a request goes to a server that speaks it as it came,
with all that this version has no name for, and other protocols are translated at the edge. What is
checked here is what callers rely on: that the right model answered, that every choice came to its
end, that one stream has one id and begins with a role.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Any, Final

import msgspec

from inference.failures import Broken, Garbled, Overloaded, WrongModel

JsonObject = dict[str, Any]

AUTO: Final = "auto"
"""The model name that leaves the choice to the node."""

_MOST_LETTERS_A_TOKEN: Final = 16
_USUAL_LETTERS_A_TOKEN: Final = 4
_NO_CHOICES: Final = "its answer has no list of choices"
_TOKEN_FIELDS: Final = (
    "content",
    "tool_calls",
    "function_call",
    "reasoning_content",
    "reasoning",
    "refusal",
)


class CallKind(Enum):
    """Which of OpenAI's methods."""

    CHAT = "chat"
    TEXT = "text"
    EMBED = "embed"


class Call(msgspec.Struct, frozen=True):
    """A request whose form has been checked. `body` is OpenAI's JSON.

    `options` are settings that only Ollama's own API has; they reach a server of that kind alone.
    `peers` says that the texts may leave this machine for a peer of the federation, `quotes` that
    `auto` may be answered by quoting. `file` is the SHA-256 of the file that the model must be, or
    the beginning of it; empty if the caller leaves it open. `why` is the router's reason for the
    server that is asked. With `continues` another server may go on with a stream that breaks;
    with `waits` the caller has another way than to wait for an answer, so nobody is asked a second time after a pause.
    """

    kind: CallKind
    model: str
    body: JsonObject
    options: JsonObject = {}
    peers: bool = False
    quotes: bool = True
    file: str = ""
    why: str = ""
    continues: bool = False
    waits: bool = False

    @property
    def wants_usage(self) -> bool:
        """Whether a stream shall end with what it cost."""
        return bool((self.body.get("stream_options") or {}).get("include_usage"))


def least_tokens(call: Call) -> int:
    """How many tokens a request has at the very least: no tokeniser makes fewer of so many letters."""
    return _letters(call) // _MOST_LETTERS_A_TOKEN


def likely_tokens(call: Call) -> int:
    """About how many tokens a request and its answer have, as far as that can be told without a tokeniser."""
    answer = call.body.get("max_completion_tokens") or call.body.get("max_tokens") or 0
    room = answer if isinstance(answer, int) else 0
    return _letters(call) // _USUAL_LETTERS_A_TOKEN + room


def _letters(call: Call) -> int:
    given = call.body.get("messages") or call.body.get("prompt") or call.body.get("input")
    return sum(len("".join(text.split())) for text in _texts(given))


def _texts(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case list():
            for one in value:
                yield from _texts(one)
        case {"content": content}:
            yield from _texts(content)
        case {"type": "text", "text": str(text)}:
            yield text
        case _:
            pass


def same_model(asked: str, said: str) -> bool:
    """Whether a server's name for its model means the one that was asked for.

    Ollama adds `:latest` to a name without a tag; llama.cpp calls a model by its file.
    """
    return _plain_name(asked) == _plain_name(said)


def _plain_name(name: str) -> str:
    if name.endswith(".gguf"):
        return name.removesuffix(".gguf").rpartition("/")[2]
    return name.removesuffix(":latest")


def check_model(asked: str, answer: JsonObject) -> None:
    """Raises `WrongModel` if the answer names another model; silence is no lie."""
    said = answer.get("model")
    if isinstance(said, str) and said and not same_model(asked, said):
        raise WrongModel(f"it was asked for the model {asked!r} and answered with {said[:200]!r}")


def check_answer(call: Call, answer: JsonObject) -> JsonObject:
    """A plain answer that is whole. Raises `Garbled`, `WrongModel`, `Overloaded`."""
    _raise_error(answer)
    check_model(call.model, answer)
    field = "message" if call.kind is CallKind.CHAT else "text"
    choices = _choices(answer)
    if not choices:
        raise Garbled("its answer has no choices")
    for choice in choices:
        if not isinstance(choice.get(field), dict if call.kind is CallKind.CHAT else str):
            raise Garbled(f"a choice of its answer has no {field}")
        if not choice.get("finish_reason"):
            raise Broken("its answer ended without a finish_reason")
    return answer


class StreamCheck:
    """Follows one stream: every chunk goes through `take`, its end through `end`."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._id: str | None = None
        self._said: object = None
        """The name of the model in the last chunk, which is not looked at again and again."""
        self._open: dict[int, bool] = {}
        """By choice: whether it still waits for its finish_reason."""

    def take(self, chunk: JsonObject) -> bool:
        """Make a chunk what callers may see: with the stream's one id, its first delta with a role.

        True if it had to be changed for that. Raises `Garbled`, `WrongModel`, `Overloaded`.
        """
        if chunk.get("error"):
            _raise_error(chunk)
        if (said := chunk.get("model")) != self._said:
            check_model(self._call.model, chunk)
            self._said = said
        if self._id is None:
            self._id = str(chunk.get("id") or "")
        is_changed = chunk.get("id") != self._id
        if is_changed:
            chunk["id"] = self._id
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            raise Garbled(_NO_CHOICES)
        for choice in choices:
            if not isinstance(choice, dict):
                raise Garbled(_NO_CHOICES)
            index = choice.get("index", 0)
            if not isinstance(index, int):
                raise Garbled("a choice of its stream has no number as index")
            if self._call.kind is CallKind.CHAT:
                delta = choice.get("delta")
                if not isinstance(delta, dict):
                    raise Garbled("a choice of its stream has no delta")
                if index not in self._open and "role" not in delta:
                    delta["role"] = "assistant"
                    is_changed = True
            self._open[index] = self._open.get(index, True) and not choice.get("finish_reason")
        return is_changed

    @property
    def is_complete(self) -> bool:
        """Whether every choice has come to its end."""
        return bool(self._open) and not any(self._open.values())

    def end(self) -> None:
        """The stream's end. Raises `Broken` unless every choice had come to its own."""
        if not self.is_complete:
            raise Broken("its stream ended without a finish_reason")


def has_token(chunk: JsonObject) -> bool:
    """Whether a chunk holds a part of the answer, or its end: from here on a caller has seen it."""
    for choice in chunk["choices"]:
        delta = choice.get("delta") or {}
        if choice.get("finish_reason") or choice.get("text"):
            return True
        if any(delta.get(field) for field in _TOKEN_FIELDS):
            return True
    return False


def decode_object(data: bytes) -> JsonObject:
    """A JSON object from a server. Raises `Garbled`."""
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        shown = data[:60].decode("utf-8", "replace")
        raise Garbled(f"it answered what is not JSON ({error}): {shown!r}") from None
    if not isinstance(value, dict):
        raise Garbled("it answered JSON that is not an object")
    return value


def error_text(answer: JsonObject) -> str | None:
    """The sentence of an error in OpenAI's, Ollama's or FastAPI's form; None if there is none."""
    error = answer.get("error") or answer.get("detail")
    if isinstance(error, dict):
        error = error.get("message") or str(error)
    return str(error)[:1000] if error else None


def _raise_error(answer: JsonObject) -> None:
    """Some servers tell errors with the status 200, and all do once a stream has begun."""
    if answer.get("error"):
        raise Overloaded(f"it told an error in its answer: {error_text(answer)}")


def _choices(answer: JsonObject) -> list[JsonObject]:
    choices = answer.get("choices")
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        raise Garbled(_NO_CHOICES)
    return choices
