"""A second, deliberately plain MiniLM to compare with: numpy only, one text at a time, no batching."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

Array = NDArray[np.float32]

_erf = np.vectorize(math.erf, otypes=[np.float32])


class NumpyMiniLm:
    def __init__(self, weights: Path) -> None:
        self._weights: dict[str, Array] = load_file(weights)

    def embed(self, ids: list[int]) -> Array:
        """float32[384] of one text's token ids, special tokens included."""
        embeddings = "embeddings."
        x: Array = (
            self._weights[embeddings + "word_embeddings.weight"][ids]
            + self._weights[embeddings + "position_embeddings.weight"][: len(ids)]
            + self._weights[embeddings + "token_type_embeddings.weight"][0]
        )
        x = self._norm(x, embeddings + "LayerNorm")
        for index in range(6):
            prefix = f"encoder.layer.{index}."
            attended = self._linear(self._attend(x, prefix), prefix + "attention.output.dense")
            x = self._norm(x + attended, prefix + "attention.output.LayerNorm")
            inner = self._linear(x, prefix + "intermediate.dense")
            gelu = 0.5 * inner * (1 + _erf(inner / math.sqrt(2)))
            x = self._norm(
                x + self._linear(gelu, prefix + "output.dense"), prefix + "output.LayerNorm"
            )
        mean: Array = x.mean(axis=0)
        normalised: Array = mean / np.linalg.norm(mean)
        return normalised

    def _attend(self, x: Array, prefix: str) -> Array:
        query, key, value = (
            self._linear(x, f"{prefix}attention.self.{name}").reshape(len(x), 12, 32).swapaxes(0, 1)
            for name in ("query", "key", "value")
        )
        scores = query @ key.swapaxes(1, 2) / math.sqrt(32)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        heads: Array = (weights @ value).swapaxes(0, 1).reshape(len(x), 384)
        return heads

    def _linear(self, x: Array, name: str) -> Array:
        result: Array = x @ self._weights[name + ".weight"].T + self._weights[name + ".bias"]
        return result

    def _norm(self, x: Array, name: str) -> Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12)
        result: Array = scaled * self._weights[name + ".weight"] + self._weights[name + ".bias"]
        return result
