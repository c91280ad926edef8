"""The four task kinds without a language model: sentences chosen and quoted, none invented.

Meaning comes from an `Embedder` (all-MiniLM-L6-v2 in the daemon's child process), words from BM25.
Both are put on one scale by z-scores and added: on 1,200 docstrings of the standard library and on
651 package descriptions that was the safest of the ways to join them.

Pure functions: the same input and embedder give the same output.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final, Protocol, assert_never

import msgspec
import numpy as np
from numpy.typing import NDArray

from inference.kinds import (
    AnswerInput,
    AnswerOutput,
    EmbedInput,
    EmbedOutput,
    Quote,
    RankedDocument,
    RankInput,
    RankOutput,
    SummarizeInput,
    SummarizeOutput,
    TaskInput,
    TaskOutput,
)
from inference.words import WordIndex
from memory.chunking import PASSAGE_CHARS, Chunk, passages, sentences
from memory.messages import Document

RETRIEVED_PASSAGES: Final = 6
"""How many passages a question's answer is looked for in."""
CITATIONS: Final = 3
COVERAGE_WEIGHT: Final = 0.2
"""What shared words add to a sentence's cosine when the best one is chosen."""
MMR_BALANCE: Final = 0.7
"""Maximal marginal relevance (Carbonell and Goldstein 1998): 1 is relevance alone, 0 novelty."""
NEAR_DUPLICATE: Final = 0.9
"""The cosine from which two sentences say the same, and a summary keeps one."""
CONFIDENCE_THRESHOLD: Final = 0.5
COSINE_SLOPE: Final = 5.7
COVERAGE_SLOPE: Final = 4.4
INTERCEPT: Final = -3.9
"""A logistic regression of "this question has an answer here" on the best sentence's cosine and
word coverage, fitted on the calibration questions under `tests/inference`."""
NO_ANSWER: Final = "no answer found in these documents"

Vectors = NDArray[np.float32]
Scores = NDArray[np.float64]


class Embedder(Protocol):
    """What turns texts into vectors; `memory.embedding.EmbeddingModel` is one."""

    @property
    def dimensions(self) -> int: ...

    @property
    def max_tokens(self) -> int: ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """float32[len(texts), dimensions], each row of length 1."""
        ...

    def embed_counted(self, texts: Sequence[str]) -> tuple[Vectors, list[int]]:
        """What `embed` and `token_counts` give, read once."""
        ...

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        """Each text's whole length in tokens."""
        ...


class _Piece(msgspec.Struct, frozen=True):
    """A sentence or passage, and the document that it stands in."""

    document: Document
    chunk: Chunk

    def quote(self, score: float) -> Quote:
        return Quote(self.document.name, self.chunk.start, self.chunk.end, self.chunk.text, score)


def execute_measured(task: TaskInput, embedder: Embedder) -> tuple[TaskOutput, int, int]:
    """Do a task of any kind; beside its output what `measure` says of it."""
    if isinstance(task, EmbedInput):
        # Short texts are embedded in the time of a few readings.
        output, counts = _embed(task, embedder)
        return output, len(counts), sum(counts)
    return execute(task, embedder), *measure(task, embedder)


def execute(task: TaskInput, embedder: Embedder) -> TaskOutput:
    """Do a task of any kind."""
    match task:
        case EmbedInput():
            return embed(task, embedder)
        case RankInput():
            return rank(task, embedder)
        case SummarizeInput():
            return summarize(task, embedder)
        case AnswerInput():
            return answer(task, embedder)
        case _:
            assert_never(task)


def measure(task: TaskInput, embedder: Embedder) -> tuple[int, int]:
    """The task's items (texts or documents) and its length in tokens, for `Usage`."""
    match task:
        case EmbedInput():
            return len(task.texts), sum(embedder.token_counts(task.texts))
        case RankInput():
            asked = [task.query]
        case SummarizeInput():
            asked = []
        case AnswerInput():
            asked = [task.question]
        case _:
            assert_never(task)
    texts = [document.text for document in task.documents]
    return len(texts), sum(embedder.token_counts(asked + texts))


def embed(task: EmbedInput, embedder: Embedder) -> EmbedOutput:
    """The texts' vectors, and which texts were too long to be read whole."""
    return _embed(task, embedder)[0]


def _embed(task: EmbedInput, embedder: Embedder) -> tuple[EmbedOutput, list[int]]:
    vectors, counts = embedder.embed_counted(task.texts)
    output = EmbedOutput(
        dimensions=embedder.dimensions,
        vectors=vectors.astype("<f4", copy=False).tobytes(),
        truncated=tuple(i for i, count in enumerate(counts) if count > embedder.max_tokens),
    )
    return output, counts


def rank(task: RankInput, embedder: Embedder) -> RankOutput:
    """All documents, ordered by the cosine of their best passage and by BM25 over their whole text."""
    pieces = _passages(task.documents)
    cosines = _cosines(task.query, pieces, embedder)
    best: dict[str, tuple[float, _Piece]] = {}
    for piece, cosine in zip(pieces, cosines.tolist(), strict=True):
        name = piece.document.name
        if name not in best or cosine > best[name][0]:
            best[name] = (cosine, piece)
    meaning = np.array([best[document.name][0] for document in task.documents])
    words = WordIndex([document.text for document in task.documents]).scores(task.query)
    scores = hybrid(meaning, words)
    items = []
    for index in _descending(scores):
        cosine, piece = best[task.documents[index].name]
        item = RankedDocument(piece.document.name, float(scores[index]), piece.quote(cosine))
        items.append(item)
    return RankOutput(items=tuple(items))


def summarize(task: SummarizeInput, embedder: Embedder) -> SummarizeOutput:
    """Sentences near the centre of all sentences, yet unlike one another, in reading order."""
    pieces = _sentences(task.documents)
    vectors = embedder.embed([piece.chunk.text for piece in pieces])
    centre = vectors.mean(axis=0)
    relevance = vectors @ (centre / max(float(np.linalg.norm(centre)), 1e-9))
    chosen = sorted(_marginal_relevance(vectors, relevance, task.sentences))
    return SummarizeOutput(
        sentences=tuple(pieces[index].quote(float(relevance[index])) for index in chosen)
    )


def answer(task: AnswerInput, embedder: Embedder) -> AnswerOutput:
    """The sentence nearest to the question among the best passages, if it is near enough."""
    retrieved = _passages(task.documents)
    index = WordIndex([piece.chunk.text for piece in retrieved])
    meaning = _cosines(task.question, retrieved, embedder)
    scores = hybrid(meaning, index.scores(task.question))
    top = [retrieved[i] for i in _descending(scores)[:RETRIEVED_PASSAGES]]
    pieces = list(_sentences_within(top))
    cosines = _cosines(task.question, pieces, embedder)
    coverage = np.array([index.coverage(task.question, piece.chunk.text) for piece in pieces])
    confidence = [
        _logistic(COSINE_SLOPE * cosine + COVERAGE_SLOPE * covered + INTERCEPT)
        for cosine, covered in zip(cosines.tolist(), coverage.tolist(), strict=True)
    ]
    ranking = _descending(cosines + COVERAGE_WEIGHT * coverage)
    best = ranking[0]
    if confidence[best] < CONFIDENCE_THRESHOLD:
        return AnswerOutput(
            answered=False, answer=NO_ANSWER, confidence=confidence[best], citations=()
        )
    cited = [i for i in ranking if confidence[i] >= CONFIDENCE_THRESHOLD][:CITATIONS]
    return AnswerOutput(
        answered=True,
        answer=" ".join(pieces[best].chunk.text.split()),
        confidence=confidence[best],
        citations=tuple(pieces[i].quote(confidence[i]) for i in cited),
    )


def hybrid(meaning: Scores, words: Scores) -> Scores:
    """Cosines and BM25 scores of the same texts, joined: the sum of their z-scores."""
    return _z_scores(meaning) + _z_scores(words)


def _passages(documents: Sequence[Document]) -> list[_Piece]:
    """Every document's passages: at least one each, were it of dashes alone."""
    return [
        _Piece(document, chunk)
        for document in documents
        for chunk in passages(document.text) or _beginning(document.text)
    ]


def _sentences(documents: Sequence[Document]) -> list[_Piece]:
    """All sentences; where there is no prose at all, the passages."""
    found = [
        _Piece(document, chunk) for document in documents for chunk in sentences(document.text)
    ]
    return found or _passages(documents)


def _beginning(text: str) -> tuple[Chunk, ...]:
    return (Chunk(0, min(len(text), PASSAGE_CHARS), text[:PASSAGE_CHARS]),)


def _sentences_within(top: Sequence[_Piece]) -> Iterator[_Piece]:
    """The sentences that lie in these passages, each once; of a passage without any, itself."""
    cache: dict[str, tuple[Chunk, ...]] = {}
    seen: set[tuple[str, int]] = set()
    for piece in top:
        name = piece.document.name
        if name not in cache:
            cache[name] = sentences(piece.document.text)
        inside = [
            chunk
            for chunk in cache[name]
            if piece.chunk.start <= chunk.start and chunk.end <= piece.chunk.end
        ]
        for chunk in inside or [piece.chunk]:
            if (name, chunk.start) not in seen:
                seen.add((name, chunk.start))
                yield _Piece(piece.document, chunk)


def _cosines(text: str, pieces: Sequence[_Piece], embedder: Embedder) -> Scores:
    """float64[pieces]: how near each piece is to `text`, -1 to 1."""
    vectors = embedder.embed([text, *(piece.chunk.text for piece in pieces)])
    cosines: Scores = (vectors[1:] @ vectors[0]).astype(np.float64)
    return cosines


def _z_scores(values: Scores) -> Scores:
    """Distance from the mean in standard deviations; zeros where all values are the same."""
    deviation = float(values.std())
    if deviation == 0:
        return np.zeros_like(values)
    standard: Scores = (values - values.mean()) / deviation
    return standard


def _descending(scores: Scores) -> list[int]:
    """Indices from the highest score to the lowest, equals in their order."""
    return [int(index) for index in np.argsort(-scores, kind="stable")]


def _marginal_relevance(vectors: Vectors, relevance: Vectors, count: int) -> list[int]:
    """Greedy choice of at most `count` rows, each relevant and unlike those chosen before it."""
    likeness = np.zeros(len(vectors), np.float32)
    is_open = np.ones(len(vectors), bool)
    chosen: list[int] = []
    while len(chosen) < count and is_open.any():
        worth = MMR_BALANCE * relevance - (1 - MMR_BALANCE) * likeness
        pick = int(np.argmax(np.where(is_open, worth, -np.inf)))
        chosen.append(pick)
        likeness = np.maximum(likeness, vectors @ vectors[pick])
        is_open &= likeness < NEAR_DUPLICATE
        is_open[pick] = False
    return chosen


def _logistic(value: float) -> float:
    return 1 / (1 + math.exp(-value))
