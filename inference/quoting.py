"""A conversation answered without a language model: by quoting the text that stands in it.

System, user and tool messages hold the text; the question is the last user message, or the part of
it that asks. What comes out says what it is: a quotation with its places, from the embedded model,
or that there is nothing to quote.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from inference.chat import JsonObject
from inference.failures import BadRequest, Unsupported
from inference.kinds import MAX_QUESTION_CHARS, AnswerInput, AnswerOutput
from memory.messages import Document

MODEL: Final = "bizra-extractive"
"""The name under which this is asked for."""

NOTE: Final = (
    "No language model answers here. bizra-extractive quotes from the text in this conversation."
)
_NO_TEXT: Final = (
    "This conversation holds no text to quote from: put the documents into a system message or "
    "above the question, or connect a model server (see docs/CLIENTS.md)."
)
_HOLDERS: Final = frozenset({"system", "developer", "user", "tool"})


class Quoted(msgspec.Struct, frozen=True):
    """The answer as text, and its sources as callers may want them."""

    text: str
    citations: tuple[JsonObject, ...] = ()


def check_quotable(body: JsonObject) -> None:
    """Raises `Unsupported` for what only a language model can do."""
    form = body.get("response_format") or {}
    demands_tool = body.get("tool_choice") not in (None, "auto", "none")
    for is_asked, what in (
        (form.get("type", "text") != "text", "answer in JSON (response_format)"),
        (demands_tool, "call tools (tool_choice)"),
        ((body.get("n") or 1) > 1, "give more than one answer (n)"),
        (bool(body.get("logprobs")), "tell log-probabilities (logprobs)"),
    ):
        if is_asked:
            raise Unsupported(f"{MODEL} is no language model: it can't {what}")


def question_of(messages: list[JsonObject]) -> AnswerInput | None:
    """The task that answers a conversation; None if it holds nothing to quote from.

    Raises `BadRequest` if nobody asks anything.
    """
    last = max(
        (at for at, message in enumerate(messages) if message.get("role") == "user"), default=-1
    )
    asked = text_of(messages[last].get("content")).strip() if last >= 0 else ""
    if not asked:
        raise BadRequest("messages: the last user message holds no question")
    question, rest = _part(asked)
    documents = [
        Document(f"message {at + 1} ({message['role']})", text)
        for at, message in enumerate(messages)
        if at != last
        and message.get("role") in _HOLDERS
        and (text := text_of(message.get("content"))).strip()
    ]
    if rest:
        documents.append(Document(f"message {last + 1} (user)", rest))
    return AnswerInput(question=question, documents=tuple(documents)) if documents else None


def text_of(content: Any) -> str:  # noqa: ANN401 - JSON: a string, or a list of parts
    """The text of a message; pictures and the like are left out."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, dict))
        return "\n\n".join(text for text in texts if isinstance(text, str))
    return ""


def _part(asked: str) -> tuple[str, str]:
    """The question in a message, and what else stands there.

    The question is the last paragraph that ends in a question mark, else the last one.
    """
    paragraphs = [part for part in asked.split("\n\n") if part.strip()]
    at = next(
        (
            number
            for number in reversed(range(len(paragraphs)))
            if paragraphs[number].rstrip().endswith("?")
        ),
        len(paragraphs) - 1,
    )
    question = paragraphs[at].strip()
    if len(question) > MAX_QUESTION_CHARS:
        raise BadRequest(
            f"messages: {MODEL} takes a question of at most {MAX_QUESTION_CHARS:,} characters, in "
            "a paragraph of its own"
        )
    return question, "\n\n".join(paragraphs[:at] + paragraphs[at + 1 :])


def quoted(output: AnswerOutput | None) -> Quoted:
    """What the caller reads."""
    if output is None:
        return Quoted(f"{NOTE}\n\n{_NO_TEXT}")
    if not output.answered:
        return Quoted(f"{NOTE}\n\nNo answer found in it.")
    citations = tuple(msgspec.to_builtins(quote) for quote in output.citations)
    sources = "\n".join(
        f'[{number}] {quote.document}, characters {quote.start} to {quote.end}: "{quote.text}"'
        for number, quote in enumerate(output.citations, 1)
    )
    return Quoted(f"{NOTE}\n\n{output.answer} [1]\n\nSources:\n{sources}", citations)
