"""The four kinds of task that a federation understands, and the exact bytes of inputs and outputs.

- `embed`: some texts -> their float32 vectors in one model.
- `rank`: a query and documents -> the documents by relevance, each with its best passage.
- `summarize`: documents -> the sentences that carry them, with their places, in reading order.
- `answer`: a question and documents -> a quoted answer with citations, or honestly none.

Inputs and outputs are structs with named fields (people read them as JSON) and a `kind` that tags
them. Their MessagePack bytes are canonical: the hash of an input or output in a receipt identifies
it. Documents are named, and every place in an output is a name with `start` and `end`, such that
`document.text[start:end] == text`.

`KINDS` is the table that everything else looks kinds up in. This module is light: a daemon imports
it without bringing in a model.
"""

from __future__ import annotations

from typing import Annotated, Final, assert_never

import msgspec
from msgspec import Meta

from gossip.codec import DecodeError, decode_canonical, encode
from memory.messages import MAX_NAME_CHARS, Document

MAX_TEXTS: Final = 4096
MAX_TEXT_CHARS: Final = 32_768
MAX_DOCUMENTS: Final = 1_000
MAX_TOTAL_CHARS: Final = 4_000_000
"""All texts of one input together: about a million tokens, minutes of work for one core."""
MAX_QUESTION_CHARS: Final = 2_048
MAX_SENTENCES: Final = 100
MAX_CITATIONS: Final = 16
MAX_QUOTE_CHARS: Final = 2_048
"""A quoted passage or sentence; longer sentences are cut to passages before they are scored."""

_Text = Annotated[str, Meta(min_length=1, max_length=MAX_TEXT_CHARS)]
_Question = Annotated[str, Meta(min_length=1, max_length=MAX_QUESTION_CHARS)]
_Documents = Annotated[tuple[Document, ...], Meta(min_length=1, max_length=MAX_DOCUMENTS)]
_Index = Annotated[int, Meta(ge=0, lt=MAX_TEXTS)]
_Count = Annotated[int, Meta(ge=0, lt=2**53)]
_SentenceCount = Annotated[int, Meta(ge=1, le=MAX_SENTENCES)]


class UnknownKind(ValueError):  # noqa: N818  # judges a request, not the program
    """A task names a kind that this version doesn't know. The text lists those it does."""


class BadInput(ValueError):  # noqa: N818  # judges a request, not the program
    """An input does not fit its kind. The text names the field and what is wrong with it."""


class _Tagged(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", kw_only=True
):
    """Base of inputs and outputs: the tag is the name of the kind."""


class EmbedInput(_Tagged, frozen=True, tag="embed"):
    """Texts to turn into vectors."""

    texts: Annotated[tuple[_Text, ...], Meta(min_length=1, max_length=MAX_TEXTS)]


class RankInput(_Tagged, frozen=True, tag="rank"):
    """A query and the documents to order by relevance to it."""

    query: _Question
    documents: _Documents


class SummarizeInput(_Tagged, frozen=True, tag="summarize"):
    """Documents, and how many of their sentences to choose."""

    documents: _Documents
    sentences: _SentenceCount = 5


class AnswerInput(_Tagged, frozen=True, tag="answer"):
    """A question that the documents may answer."""

    question: _Question
    documents: _Documents


class Quote(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Text that stands in `document` from `start` (included) to `end` (excluded), in characters."""

    document: Annotated[str, Meta(min_length=1, max_length=MAX_NAME_CHARS)]
    start: _Count
    end: _Count
    text: Annotated[str, Meta(max_length=MAX_QUOTE_CHARS)]
    score: float


class RankedDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One place in a ranking.

    `score` is a sum of z-scores: it orders this ranking and means nothing outside it. The passage's
    own score is its cosine with the query, -1 to 1.
    """

    document: Annotated[str, Meta(min_length=1, max_length=MAX_NAME_CHARS)]
    score: float
    passage: Quote


class EmbedOutput(_Tagged, frozen=True, tag="embed"):
    """`vectors`: float32[texts, dimensions], little-endian, row by row, each of length 1.

    `truncated` lists the texts that were longer than the model reads; their ends have no part in
    their vectors.
    """

    dimensions: Annotated[int, Meta(ge=1, le=65_536)]
    vectors: Annotated[bytes, Meta(max_length=64_000_000)]
    truncated: Annotated[tuple[_Index, ...], Meta(max_length=MAX_TEXTS)] = ()


class RankOutput(_Tagged, frozen=True, tag="rank"):
    """Every document that was given, the most relevant first."""

    items: Annotated[tuple[RankedDocument, ...], Meta(max_length=MAX_DOCUMENTS)]


class SummarizeOutput(_Tagged, frozen=True, tag="summarize"):
    """The chosen sentences in reading order; `score` is the cosine with the documents' centre."""

    sentences: Annotated[tuple[Quote, ...], Meta(max_length=MAX_SENTENCES)]


class AnswerOutput(_Tagged, frozen=True, tag="answer"):
    """`answer` is the first citation on one line, or says that none was found.

    `confidence` is what was compared with the threshold, 0 to 1. Without an answer, `citations`
    are empty: a near miss shown as a source would be taken for one.
    """

    answered: bool
    answer: Annotated[str, Meta(max_length=MAX_QUOTE_CHARS)]
    confidence: float
    citations: Annotated[tuple[Quote, ...], Meta(max_length=MAX_CITATIONS)]


TaskInput = EmbedInput | RankInput | SummarizeInput | AnswerInput
TaskOutput = EmbedOutput | RankOutput | SummarizeOutput | AnswerOutput


class Usage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a task cost.

    `items` are the texts or documents given; `tokens` the input's length in the model's own tokens,
    each text counted once and whole, so that anybody with the tokenizer can count again;
    `duration_ms` the time from the input's arrival at the model to its output.
    """

    items: _Count
    tokens: _Count
    duration_ms: _Count


class Kind(msgspec.Struct, frozen=True):
    """A row of `KINDS`. `capability` is what a node's record lists when it can do such tasks."""

    name: str
    input_type: type[TaskInput]
    output_type: type[TaskOutput]
    capability: str


KINDS: Final[dict[str, Kind]] = {
    name: Kind(name, input_type, output_type, f"inference.{name}")
    for name, input_type, output_type in (
        ("embed", EmbedInput, EmbedOutput),
        ("rank", RankInput, RankOutput),
        ("summarize", SummarizeInput, SummarizeOutput),
        ("answer", AnswerInput, AnswerOutput),
    )
}


def kind_named(name: str) -> Kind:
    """The row of `KINDS`. Raises `UnknownKind`."""
    if name not in KINDS:
        raise UnknownKind(f"there is no task kind {name[:64]!r}; known are {', '.join(KINDS)}")
    return KINDS[name]


def parse_input(name: str, fields: object) -> TaskInput:
    """An input from plain values (decoded JSON, say). Raises `UnknownKind`, `BadInput`."""
    kind = kind_named(name)
    try:
        value = msgspec.convert(fields, kind.input_type)
    except msgspec.ValidationError as error:
        raise BadInput(f"the input of {name!r} is not valid: {error}") from None
    _check(name, value)
    return value


def encode_input(value: TaskInput) -> bytes:
    """The canonical bytes of an input. Raises `BadInput` if it breaks a bound of its kind."""
    data = encode(value)
    decode_input(kind_of(value), data)
    return data


def decode_input(name: str, data: bytes) -> TaskInput:
    """Decode and check what a task was given. Raises `UnknownKind`, `BadInput`."""
    kind = kind_named(name)
    try:
        value = decode_canonical(data, kind.input_type)
    except DecodeError as error:
        raise BadInput(f"the input of {name!r} is not valid: {error}") from None
    _check(name, value)
    return value


def encode_output(value: TaskOutput) -> bytes:
    """The canonical bytes of an output."""
    return encode(value)


def decode_output(name: str, data: bytes) -> TaskOutput:
    """Decode what a task gave. Raises `UnknownKind` or `gossip.codec.DecodeError`."""
    return decode_canonical(data, kind_named(name).output_type)


def kind_of(value: TaskInput | TaskOutput) -> str:
    """The name of the kind that an input or output belongs to."""
    return str(value.__struct_config__.tag)


def _check(name: str, value: TaskInput) -> None:
    """What types cannot say: distinct names, words in every document, and a bounded whole."""
    match value:
        case EmbedInput(texts=texts):
            total_chars = sum(map(len, texts))
        case (
            RankInput(documents=documents)
            | SummarizeInput(documents=documents)
            | AnswerInput(documents=documents)
        ):
            _check_documents(name, documents)
            total_chars = sum(len(document.text) for document in documents)
        case _:
            assert_never(value)
    if total_chars > MAX_TOTAL_CHARS:
        raise BadInput(
            f"the input of {name!r} holds {total_chars:,} characters; "
            f"at most {MAX_TOTAL_CHARS:,} are allowed"
        )


def _check_documents(name: str, documents: tuple[Document, ...]) -> None:
    seen: set[str] = set()
    for document in documents:
        if document.name in seen:
            raise BadInput(f"the input of {name!r} has two documents named {document.name[:64]!r}")
        if not document.text.strip():
            raise BadInput(f"the document {document.name[:64]!r} holds no text")
        seen.add(document.name)
