"""What is taken out of an answer's text: code blocks, JSON, and whether it has the form that was asked for.

A schema is JSON Schema (draft 2020-12). Two things are left to the model server, for a pattern may
take for ever and holds up the whole process: `pattern`, and schemas with `patternProperties`, of
which only the JSON is checked. Nothing is fetched: a `$ref` outside the schema does not fit.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

import msgspec

from inference.chat import Call, CallKind
from inference.failures import BadRequest

_FENCE: Final = re.compile(r" {0,3}(?P<fence>`{3,}|~{3,}) *(?P<language>[^\s`]*)[^`]*")
_MAX_TOLD_CHARS: Final = 500
_KEPT_VALIDATORS: Final = 64


class CodeBlock(msgspec.Struct, frozen=True):
    """A fenced block; `language` is empty if the model named none."""

    language: str
    code: str


class Shape(msgspec.Struct, frozen=True):
    """The form that a caller wants: any JSON object, or one that fits a schema (as JSON)."""

    schema: bytes | None = None


def code_blocks(text: str) -> tuple[CodeBlock, ...]:
    """All fenced blocks, in their order; one that is not closed is no block (CommonMark, section 4.5)."""
    found: list[CodeBlock] = []
    fence, language, begin = "", "", 0
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines):
        match = _FENCE.fullmatch(line.rstrip())
        if match is None:
            continue
        if not fence:
            fence, language, begin = match["fence"], match["language"].lower(), number + 1
        elif match["fence"].startswith(fence) and line.strip() == match["fence"]:
            found.append(CodeBlock(language, "".join(lines[begin:number])))
            fence = ""
    return tuple(found)


def shape_of(call: Call) -> Shape | None:
    """What the caller wants, None if any text will do. Raises `BadRequest` for a wrong schema."""
    form = call.body.get("response_format")
    if call.kind is not CallKind.CHAT or not isinstance(form, dict):
        return None
    match form:
        case {"type": "json_object"}:
            return Shape()
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            shape = Shape(msgspec.json.encode(schema))
            _check_schema(shape)
            return shape
        case {"type": "json_schema"}:
            raise BadRequest("response_format: json_schema needs a schema")
        case _:
            return None


def json_in(text: str) -> tuple[str, Any] | None:
    """The JSON of an answer and its value: all of it, its one code block, or from the first to the last brace."""
    for candidate in _candidates(text):
        try:
            return candidate, msgspec.json.decode(candidate)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            continue
    return None


def _candidates(text: str) -> list[str]:
    stripped = text.strip()
    found = [stripped]
    blocks = [block for block in code_blocks(text) if block.language in ("", "json")]
    if len(blocks) == 1:
        found.append(blocks[0].code.strip())
    begin, end = stripped.find("{"), stripped.rfind("}")
    if 0 <= begin < end:
        found.append(stripped[begin : end + 1])
    return found


def fitted(text: str, shape: Shape) -> str:
    """The JSON of an answer, as the caller wants it. Raises `ValueError` that says what is wrong with it.

    It may take long for a large answer: call it in a thread.
    """
    found = json_in(text)
    if found is None:
        raise ValueError("it is not JSON")
    written, value = found
    if shape.schema is None:
        if not isinstance(value, dict):
            raise ValueError("it is JSON, but not an object")
        return written
    if (fault := _schema_fault(shape.schema, value)) is not None:
        raise ValueError(fault)
    return written


def repair_call(call: Call, text: str, fault: str) -> Call:
    """The same question once more, with the answer that does not fit and why it doesn't."""
    wanted = "fits the JSON schema" if shape_of(call) != Shape() else "is one JSON object"
    request = (
        f"Your answer can't be used: {fault}. Answer again with nothing but JSON that {wanted}."
    )
    messages = [
        *call.body["messages"],
        {"role": "assistant", "content": text},
        {"role": "user", "content": request},
    ]
    return msgspec.structs.replace(call, body={**call.body, "messages": messages})


def _check_schema(shape: Shape) -> None:
    from jsonschema.exceptions import SchemaError  # noqa: PLC0415 - slow to import, seldom needed

    assert shape.schema is not None
    try:
        _validator(shape.schema)
    except SchemaError as error:
        told = error.message[:_MAX_TOLD_CHARS]
        raise BadRequest(f"response_format: this is no JSON schema: {told}") from None
    except RecursionError:
        raise BadRequest("response_format: the schema is too deep") from None


def _schema_fault(schema: bytes, value: object) -> str | None:
    from referencing.exceptions import Unresolvable  # noqa: PLC0415 - as above

    if b'"patternProperties"' in schema:
        return None
    try:
        fault = next(iter(_validator(schema).iter_errors(value)), None)
    except Unresolvable as error:
        return f"the schema refers to what is not in it ({error})"
    except RecursionError:
        return "it is nested too deeply"
    if fault is None:
        return None
    place = "".join(f"[{one!r}]" for one in fault.absolute_path) or "the whole"
    return f"it does not fit the schema at {place}: {fault.message[:_MAX_TOLD_CHARS]}"


@lru_cache(_KEPT_VALIDATORS)
def _validator(schema: bytes) -> Any:  # noqa: ANN401 - jsonschema has no types
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - as above
    from jsonschema.validators import extend  # noqa: PLC0415 - as above
    from referencing import Registry  # noqa: PLC0415 - as above

    value = msgspec.json.decode(schema)
    # Checked with the same omissions: jsonschema tries `pattern` as a regular expression.
    Draft202012Validator.check_schema(value)
    kind = extend(Draft202012Validator, {"pattern": _left_out})
    return kind(value, registry=Registry())


def _left_out(*_: object) -> None:
    """A keyword that is not checked here."""
