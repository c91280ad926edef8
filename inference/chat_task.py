"""A conversation as a task of kind `chat`: what one node asks another one's model, and what comes back.

The input is OpenAI's request as JSON with the model and the SHA-256 of its file; the output is the
answer's JSON line by line, as it was streamed. Its canonical bytes are what the receipt's hashes
stand for, so whoever has the lines can check them against the ledger.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from gossip.codec import DecodeError, decode_canonical, encode
from inference.backend import BackendError
from inference.chat import Call, CallKind, JsonObject
from inference.failures import (
    BadRequest,
    Broken,
    ContextOverflow,
    Failure,
    Garbled,
    Locked,
    Overloaded,
    Silent,
    Unreachable,
    Unsupported,
    WrongModel,
)
from inference.kinds import BadInput, decode_output

CHAT: Final = "chat"
"""The name of the kind. It is no row of `KINDS`: the model servers do it, not the embedded model."""

MAX_REQUEST_CHARS: Final = 8_000_000
MAX_LINES: Final = 200_000
MAX_LINE_CHARS: Final = 4_000_000

_Line = Annotated[str, Meta(min_length=2, max_length=MAX_LINE_CHARS)]


class _Tagged(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag=CHAT,
    kw_only=True,
):
    """Base of both."""


class ChatInput(_Tagged, frozen=True, tag=CHAT):
    """`request` is OpenAI's body without the model; `file` the SHA-256 of the model's file, in hex.

    With `proof` the answer shall come with log-probabilities, where the server can tell them.
    """

    method: Literal["chat", "text"]
    model: Annotated[str, Meta(min_length=1, max_length=512)]
    file: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    streamed: bool
    proof: bool
    request: Annotated[str, Meta(min_length=2, max_length=MAX_REQUEST_CHARS)]

    def call(self) -> Call:
        """The call for a server of this machine. Raises `BadInput`."""
        try:
            body = msgspec.json.decode(self.request, type=dict)
        except (msgspec.DecodeError, RecursionError) as error:
            raise BadInput(f"the request is not a JSON object: {error}") from None
        wanted = "messages" if self.method == "chat" else "prompt"
        if wanted not in body:
            raise BadInput(f"the request has no {wanted}")
        if self.streamed:
            body["stream_options"] = {"include_usage": True}
        if self.proof:
            body["logprobs"] = True
        # The asker has other places: it is told at once, not after pauses.
        return Call(CallKind(self.method), self.model, body, file=self.file, waits=True)


class ChatOutput(_Tagged, frozen=True, tag=CHAT):
    """One JSON object a line. `is_whole` is False if its asker stopped it in the middle."""

    lines: Annotated[tuple[_Line, ...], Meta(max_length=MAX_LINES)]
    is_whole: bool


def chat_input(call: Call, *, streamed: bool) -> ChatInput:
    """A call to a peer as a task. Raises `BadRequest` for what is too large to be sent."""
    body = {key: value for key, value in call.body.items() if key not in ("model", "stream")}
    request = msgspec.json.encode(body).decode()
    if len(request) > MAX_REQUEST_CHARS:
        raise BadRequest(f"the request has more than {MAX_REQUEST_CHARS:,} characters")
    if call.kind is CallKind.EMBED:
        raise Unsupported("a peer is asked for text only; hand in a task of kind embed instead")
    is_chat = call.kind is CallKind.CHAT
    return ChatInput(
        method="chat" if is_chat else "text",
        model=call.model,
        file=call.file,
        streamed=streamed,
        proof=is_chat,
        request=request,
    )


def without_proof(call: Call, answer: JsonObject) -> JsonObject:
    """An answer, or a piece of one, without the log-probabilities that its caller did not ask for."""
    if call.kind is CallKind.CHAT and not call.body.get("logprobs"):
        for choice in answer["choices"]:
            choice.pop("logprobs", None)
    return answer


def decode_chat_input(data: bytes) -> ChatInput:
    """Raises `BadInput`."""
    try:
        return decode_canonical(data, ChatInput)
    except DecodeError as error:
        raise BadInput(f"the input of 'chat' is not valid: {error}") from None


def encode_chat(value: ChatInput | ChatOutput) -> bytes:
    """The canonical bytes."""
    return encode(value)


def check_output(kind: str, data: bytes) -> None:
    """Whether bytes are an output of this kind. Raises `UnknownKind`, `DecodeError`."""
    if kind == CHAT:
        decode_canonical(data, ChatOutput)
    else:
        decode_output(kind, data)


def chat_json(data: bytes) -> JsonObject:
    """An output for people: its text, whether it is whole, and the lines as they came."""
    output = decode_canonical(data, ChatOutput)
    lines: list[JsonObject] = [msgspec.json.decode(line) for line in output.lines]
    return {
        "kind": CHAT,
        "text": "".join(map(text_of, lines)),
        "is_whole": output.is_whole,
        "lines": lines,
    }


def text_of(line: JsonObject) -> str:
    """What the first choice of an answer, or of a piece of one, says."""
    choices = line.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else {}
    if not isinstance(first, dict):
        return ""
    part = first.get("message") or first.get("delta") or first
    text = part.get("content", part.get("text")) if isinstance(part, dict) else None
    return text if isinstance(text, str) else ""


def tokens_of(lines: list[JsonObject]) -> int:
    """What the answer cost by its own word; without one, a token a line."""
    for line in reversed(lines):
        usage = line.get("usage")
        if isinstance(usage, dict) and isinstance(usage.get("total_tokens"), int):
            return max(0, int(usage["total_tokens"]))
    return len(lines)


_BY_CODE: Final[dict[str, type[Failure]]] = {
    one.code: one
    for one in (
        BadRequest,
        Broken,
        ContextOverflow,
        Garbled,
        Locked,
        Overloaded,
        Silent,
        Unreachable,
        Unsupported,
        WrongModel,
    )
}
_TOLD: Final = "executor failed: "


def reason_of(error: BackendError) -> str:
    """A failure in words that `failure_of` understands at the other side."""
    failure = getattr(error, "failure", error)
    code = failure.code if isinstance(failure, Failure) else Overloaded.code
    return f"{code}: {failure}"


def failure_of(reason: str) -> Failure:
    """What a task's reason for having failed means for the request: the executor's word where it gave one.

    A peer that declines may do it later; anything else is a sign of a peer in trouble.
    """
    code, _, text = reason.rpartition(_TOLD)[2].partition(": ")
    if code in _BY_CODE:
        return _BY_CODE[code](text)
    return Overloaded(reason) if "declined" in reason else Broken(reason)
