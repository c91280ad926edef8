"""Prompts made of parts, each with a share of the model's room (row I1). Pure.

Three parts: the system's (who the model is, and the rules), the context's (documents, memory, history,
newest and most important last given up), and the user's. The user's words are never cut: if they
don't fit, the request does not. What a part does not need goes to the context.

Tokens are estimated, for this node has no tokeniser of the models it asks: four bytes of UTF-8 to a
token, which is on the safe side for prose in Latin script, and near it for code and other scripts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from inference.chat import JsonObject
from inference.failures import ContextOverflow

_BYTES_A_TOKEN: Final = 4
_MESSAGE_TOKENS: Final = 8
"""What a model's template puts around each message."""
_CUT: Final = "\n[..]"


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """How many tokens each part may have, and how many are kept free for the answer."""

    context_tokens: int = 4096
    answer_tokens: int = 1024
    system_share: float = 0.25

    @property
    def prompt_tokens(self) -> int:
        """What all parts have together."""
        return max(0, self.context_tokens - self.answer_tokens)

    @property
    def system_tokens(self) -> int:
        """What the system's part has at most."""
        return int(self.prompt_tokens * self.system_share)


class Piece(msgspec.Struct, frozen=True):
    """A piece of context. Of two the one with the higher `weight` is kept; of equals the earlier one.

    `cuttable`: its beginning alone is worth something.
    """

    text: str
    title: str = ""
    weight: float = 0.0
    cuttable: bool = True


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """The messages, what they cost by part (estimated), and what did not fit."""

    messages: tuple[JsonObject, ...]
    tokens: dict[str, int]
    left_out: tuple[str, ...]
    cut: tuple[str, ...]


def estimated_tokens(text: str) -> int:
    """How many tokens a text has, about."""
    return -(-len(text.encode("utf-8", "replace")) // _BYTES_A_TOKEN)


def build(
    user: str,
    *,
    system: str = "",
    rules: Sequence[str] = (),
    pieces: Sequence[Piece] = (),
    history: Sequence[JsonObject] = (),
    budget: Budget | None = None,
) -> Prompt:
    """A prompt within its budget. Raises `ContextOverflow` if the user's part alone has no room.

    Rules stand below the persona and are never cut; the persona is. History is given up from its
    oldest message on, before any piece of context.
    """
    budget = budget or Budget()
    asked = estimated_tokens(user) + _MESSAGE_TOKENS
    ruled = "\n".join(rules)
    needed = asked + (estimated_tokens(ruled) + _MESSAGE_TOKENS if ruled else 0)
    if needed > budget.prompt_tokens:
        raise ContextOverflow(
            f"the request has about {needed} tokens, and {budget.prompt_tokens} fit beside an answer "
            f"of {budget.answer_tokens}"
        )
    head, head_tokens, cut = _system(system, ruled, budget, asked)
    room = budget.prompt_tokens - asked - head_tokens
    kept, room, left_out, cut_pieces = _context(pieces, room)
    turns, room = _history(history, room)
    context = [{"role": "system", "content": _context_text(kept)}] if kept else []
    messages = [*head, *context, *turns, {"role": "user", "content": user}]
    spent = budget.prompt_tokens - asked - head_tokens - room
    return Prompt(
        messages=tuple(messages),
        tokens={"system": head_tokens, "context": spent, "user": asked},
        left_out=left_out,
        cut=(*cut, *cut_pieces),
    )


def _system(
    persona: str, ruled: str, budget: Budget, asked: int
) -> tuple[list[JsonObject], int, tuple[str, ...]]:
    if not persona and not ruled:
        return [], 0, ()
    rule_tokens = estimated_tokens(ruled) + 1 if ruled else 0
    room = min(budget.system_tokens, budget.prompt_tokens - asked)
    room = max(0, room - rule_tokens - _MESSAGE_TOKENS)
    fitting, is_cut = _cut_to(persona, room)
    text = "\n\n".join(filter(None, (fitting, ruled)))
    if not text:
        return [], 0, ("system",)
    tokens = estimated_tokens(text) + _MESSAGE_TOKENS
    return [{"role": "system", "content": text}], tokens, ("system",) if is_cut else ()


def _context(
    pieces: Sequence[Piece], room: int
) -> tuple[list[Piece], int, tuple[str, ...], tuple[str, ...]]:
    """The pieces that fit, in the order given; the room that is left; names of what was left out and cut."""
    room -= _MESSAGE_TOKENS if pieces else 0
    kept: dict[int, Piece] = {}
    left_out, cut = [], []
    for place in sorted(range(len(pieces)), key=lambda one: (-pieces[one].weight, one)):
        piece = pieces[place]
        overhead = estimated_tokens(piece.title) + 2
        fitting, is_cut = _cut_to(piece.text, room - overhead)
        if not fitting or (is_cut and not piece.cuttable):
            left_out.append(piece.title or f"piece {place + 1}")
            continue
        if is_cut:
            cut.append(piece.title or f"piece {place + 1}")
        kept[place] = msgspec.structs.replace(piece, text=fitting)
        room -= estimated_tokens(fitting) + overhead
    if pieces and not kept:
        room += _MESSAGE_TOKENS
    return [kept[place] for place in sorted(kept)], max(0, room), tuple(left_out), tuple(cut)


def _history(history: Sequence[JsonObject], room: int) -> tuple[list[JsonObject], int]:
    """The newest messages that fit, in their order."""
    kept: list[JsonObject] = []
    for message in reversed(history):
        content = message.get("content")
        tokens = estimated_tokens(content if isinstance(content, str) else str(content))
        if tokens + _MESSAGE_TOKENS > room:
            break
        room -= tokens + _MESSAGE_TOKENS
        kept.append(message)
    return kept[::-1], room


def _context_text(pieces: Sequence[Piece]) -> str:
    return "\n\n".join(f"{one.title}\n\n{one.text}" if one.title else one.text for one in pieces)


def _cut_to(text: str, tokens: int) -> tuple[str, bool]:
    """As much of the beginning as fits, to the end of a word, and whether that is less than all."""
    if estimated_tokens(text) <= tokens:
        return text, False
    room = tokens * _BYTES_A_TOKEN - len(_CUT)
    if room <= 0:
        return "", True
    begun = text.encode("utf-8", "replace")[:room].decode("utf-8", "ignore")
    cut = begun.rpartition(" ")[0] or begun
    return cut.rstrip() + _CUT, True
