"""How many sentences a CPU-second the embedded model embeds, beside plain onnxruntime on the same machine.

Plain: the same network run on token ids that are ready, nothing else. Whole: texts through the
backend as the node uses it: pipe, child process, tokeniser, network, vectors back; CPU of both processes.
The runs alternate, so that a machine that slows down slows both, and the child gives no priority up here: what others
throw out of the caches of one that does is no cost of the backend.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import trio

from inference.embedded.backend import EmbeddedBackend
from inference.kinds import EmbedInput, encode_input
from memory.embedding import SPECIAL_TOKENS, EmbeddingModel
from node.bench.limits import cpu_seconds

SHAPES: Final = ((16, 1), (128, 1), (16, 32), (128, 32))
"""Tokens of a sentence, the model's own two included, and sentences in a request."""
_ROUNDS: Final = 3
_WORD: Final = "node "
"""One token of the model's."""


@dataclass(frozen=True, slots=True)
class SpeedFigures:
    """Sentences of one length, so many in a request."""

    tokens: int
    batch: int
    sentences_per_cpu_s: float
    plain_onnxruntime_per_cpu_s: float
    ratio: float


def measure(seconds: float) -> tuple[SpeedFigures, ...]:
    """Each shape for about so many seconds on either side."""
    return trio.run(_measure, seconds)


async def _measure(seconds: float) -> tuple[SpeedFigures, ...]:
    model = EmbeddingModel.load(threads=1)
    figures = []
    async with EmbeddedBackend(nice=0) as backend:
        await _embed(backend, [_WORD], 0.0)
        for tokens, batch in SHAPES:
            texts = [_WORD * (tokens - SPECIAL_TOKENS)] * batch
            plain: list[float] = []
            whole: list[float] = []
            for _ in range(_ROUNDS):
                plain.append(_plain(model, tokens, batch, seconds / _ROUNDS))
                whole.append(await _embed(backend, texts, seconds / _ROUNDS))
            best_plain, best_whole = max(plain), max(whole)
            figures.append(
                SpeedFigures(
                    tokens,
                    batch,
                    round(best_whole, 1),
                    round(best_plain, 1),
                    round(best_whole / best_plain, 3),
                )
            )
    return tuple(figures)


def _plain(model: EmbeddingModel, tokens: int, batch: int, seconds: float) -> float:
    """Sentences a CPU-second, in batches as large as the model's own."""
    rows = max(1, min(batch, model.batch_tokens // tokens))
    ids = np.full((rows, tokens), 2309, np.int64)
    mask = np.ones_like(ids)
    count, ends = 0, time.monotonic() + seconds
    began = time.process_time()
    while time.monotonic() < ends:
        model.run_ids(ids, mask)
        count += rows
    return count / (time.process_time() - began)


async def _embed(backend: EmbeddedBackend, texts: Sequence[str], seconds: float) -> float:
    """The same through the backend."""
    task = encode_input(EmbedInput(texts=tuple(texts)))
    count, ends = 0, time.monotonic() + seconds
    before = cpu_seconds(os.getpid())
    while True:
        await backend.run("embed", task, timeout_s=60)
        count += len(texts)
        if time.monotonic() >= ends:
            return count / max(cpu_seconds(os.getpid()) - before, 1e-9)
