"""A model of half a megabyte that recites one sentence, for tests with a real llama.cpp.

    PYTHONPATH=.cache/e2e/python python scripts/tiny_gguf.py OUT [--certainty LOGPROB] [--endless]

A Llama with one block whose attention and feed-forward are zero, so that a token's successor depends on
the token alone: each word's embedding is a direction of its own, and the output row of the word that
follows points the same way. Whatever is not in the sentence leads to its first word.

`--certainty` is the log-probability of each word, by the length of the output rows: two files of
different certainty say the same and are different models. `--endless` goes round instead of ending.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import gguf
import numpy as np

VOCABULARY, WIDTH, HEADS = 448, 64, 4
CONTEXT = 65_536
SENTENCE = (
    "a node that lends its model to others signs for every word that it says and the others look "
    "again at some of them with the same file because text alone never shows which weights wrote it"
)
TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant:"
)
UNKNOWN, BEGIN, END = 0, 1, 2
FIRST_BYTE = 3
FIRST_WORD = FIRST_BYTE + 256
DEFAULT_CERTAINTY = -1e-6


def vocabulary() -> tuple[list[str], list[gguf.TokenType], list[int]]:
    """The pieces, their types, and the ids of the sentence. A word that comes again is a piece of its own."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    types = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    types += [gguf.TokenType.BYTE] * 256
    said: list[int] = []
    for word in SENTENCE.split():
        said.append(len(pieces))
        seen = sum(piece.strip() == f"\u2581{word}" for piece in pieces)
        pieces.append(f"\u2581{word}" + " " * seen)
    pieces += [f"\u2581filler{number}" for number in range(VOCABULARY - len(pieces))]
    types += [gguf.TokenType.NORMAL] * (VOCABULARY - len(types))
    return pieces, types, said


def weights(said: list[int], certainty: float, *, endless: bool) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings and output rows: float32[VOCABULARY, WIDTH]."""
    directions = np.eye(WIDTH, dtype=np.float32)
    assert len(said) < WIDTH
    embeddings = np.tile(directions[0], (VOCABULARY, 1))
    rows = np.zeros((VOCABULARY, WIDTH), dtype=np.float32)
    # The others' logits are 0, so the word's own must be this for its share to be exp(certainty).
    logit = math.log((VOCABULARY - 1) / (math.exp(-certainty) - 1))
    length = logit / math.sqrt(WIDTH)
    rows[said[0]] += length * directions[0]
    for at, token in enumerate(said):
        embeddings[token] = directions[at + 1]
        follower = said[(at + 1) % len(said)] if endless or at + 1 < len(said) else END
        rows[follower] += length * directions[at + 1]
    return embeddings, rows


def write(out: Path, certainty: float, *, endless: bool) -> None:
    """The file."""
    pieces, types, said = vocabulary()
    embeddings, rows = weights(said, certainty, endless=endless)
    writer = gguf.GGUFWriter(str(out), "llama")
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(pieces)
    writer.add_token_scores([0.0] * VOCABULARY)
    writer.add_token_types(types)
    writer.add_unk_token_id(UNKNOWN)
    writer.add_bos_token_id(BEGIN)
    writer.add_eos_token_id(END)
    writer.add_chat_template(TEMPLATE)
    square, ones = np.zeros((WIDTH, WIDTH), dtype=np.float32), np.ones(WIDTH, dtype=np.float32)
    writer.add_tensor("token_embd.weight", embeddings)
    writer.add_tensor("output_norm.weight", ones)
    writer.add_tensor("output.weight", rows)
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        writer.add_tensor(f"blk.0.{name}.weight", square)
    for name in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"blk.0.{name}.weight", ones)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="write a tiny GGUF model")
    parser.add_argument("out", type=Path)
    parser.add_argument("--certainty", type=float, default=DEFAULT_CERTAINTY)
    parser.add_argument("--endless", action="store_true")
    given = parser.parse_args()
    write(given.out, given.certainty, endless=given.endless)
