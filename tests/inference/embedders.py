"""Two embedders for tests: one that remembers a real model's vectors, one that needs no model."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from inference.extractive import Embedder

Vectors = NDArray[np.float32]


class RememberingEmbedder:
    """Computes each text once, so that many questions on the same documents are quick."""

    def __init__(self, model: Embedder) -> None:
        self._model = model
        self._known: dict[str, Vectors] = {}
        self.dimensions = model.dimensions
        self.max_tokens = model.max_tokens

    def embed(self, texts: Sequence[str]) -> Vectors:
        new = sorted(set(texts) - set(self._known))
        if new:
            self._known.update(zip(new, self._model.embed(new), strict=True))
        return np.stack([self._known[text] for text in texts])

    def embed_counted(self, texts: Sequence[str]) -> tuple[Vectors, list[int]]:
        return self.embed(texts), self.token_counts(texts)

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        return self._model.token_counts(texts)


class WordHashEmbedder:
    """Texts that share words are near each other: enough for what holds with every embedder."""

    dimensions = 16
    max_tokens = 50

    def embed(self, texts: Sequence[str]) -> Vectors:
        vectors = np.full((len(texts), self.dimensions), 1e-3, np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split():
                vectors[row, blake2b(word.encode(), digest_size=1).digest()[0] % 16] += 1
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

    def embed_counted(self, texts: Sequence[str]) -> tuple[Vectors, list[int]]:
        return self.embed(texts), self.token_counts(texts)

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]
