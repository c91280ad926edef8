"""The output of a task as text for people."""

from __future__ import annotations

import json
from collections.abc import Callable

from node.cli.shapes import plural, table
from node.views.records import JsonObject

_SHOWN_CHARS = 80


def output_text(output: JsonObject) -> str:
    """What came out; a kind that this version doesn't know is shown as JSON."""
    draw = _DRAWERS.get(str(output.get("kind")))
    return draw(output) if draw is not None else json.dumps(output, indent=2, ensure_ascii=False)


def _embed(output: JsonObject) -> str:
    size, dimensions = len(output["vectors"]), output["dimensions"]
    cut = len(output.get("truncated", ()))
    remark = f"; {cut} were longer than the model reads" if cut else ""
    return f"{plural(size, 'vector')} of {dimensions} dimensions{remark} (--json shows them)"


def _rank(output: JsonObject) -> str:
    rows = [
        (str(place), item["document"], f"{item['score']:.3f}", _one_line(item["passage"]["text"]))
        for place, item in enumerate(output["items"], 1)
    ]
    return table(("", "DOCUMENT", "SCORE", "BEST PASSAGE"), rows, empty="No documents.")


def _summarize(output: JsonObject) -> str:
    return "\n".join(f"{_squeezed(one['text'])}  [{_place(one)}]" for one in output["sentences"])


def _answer(output: JsonObject) -> str:
    lines = [output["answer"], ""]
    if output["answered"]:
        lines.append(f"confidence {output['confidence']:.2f}, from:")
    lines += [f"  [{_place(one)}] {_squeezed(one['text'])}" for one in output["citations"]]
    return "\n".join(lines).rstrip()


def _chat(output: JsonObject) -> str:
    return str(output["text"]) + ("" if output["is_whole"] else "\n(stopped by its asker)")


def _place(quote: JsonObject) -> str:
    return f"{quote['document']} {quote['start']}-{quote['end']}"


def _squeezed(text: str) -> str:
    return " ".join(text.split())


def _one_line(text: str) -> str:
    line = _squeezed(text)
    return line if len(line) <= _SHOWN_CHARS else f"{line[: _SHOWN_CHARS - 2]}.."


_DRAWERS: dict[str, Callable[[JsonObject], str]] = {
    "embed": _embed,
    "rank": _rank,
    "summarize": _summarize,
    "answer": _answer,
    "chat": _chat,
}
