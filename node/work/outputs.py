"""Outputs of tasks as people and programs see them."""

from __future__ import annotations

import struct
from typing import Any

import msgspec

from inference.chat_task import CHAT, chat_json
from inference.kinds import EmbedOutput, decode_output
from node.views.records import JsonObject


def output_json(kind: str, output: bytes) -> JsonObject:
    """An output for people: vectors as lists of numbers."""
    if kind == CHAT:
        return chat_json(output)
    decoded = decode_output(kind, output)
    shown: dict[str, Any] = msgspec.to_builtins(decoded)
    if isinstance(decoded, EmbedOutput):
        row = struct.Struct(f"<{decoded.dimensions}f")
        shown["vectors"] = [list(one) for one in row.iter_unpack(decoded.vectors)]
    return shown
