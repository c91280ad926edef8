"""What is taken out of an answer, and what does not have the form that was asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.chat import Call, CallKind
from inference.failures import BadRequest
from inference.structured import (
    CodeBlock,
    Shape,
    code_blocks,
    fitted,
    json_in,
    repair_call,
    shape_of,
)

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def call(form: object) -> Call:
    return Call(CallKind.CHAT, "m", {"messages": [], "response_format": form})


def shape(schema: dict[str, Any]) -> Shape:
    found = shape_of(call({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}))
    assert found is not None
    return found


def test_code_blocks_come_in_their_order_and_one_without_end_is_none() -> None:
    text = "Look:\n```Python\nprint(1)\n```\nor\n~~~~\n```\nnot a fence\n```\n~~~~\n```js\nopen"
    assert code_blocks(text) == (
        CodeBlock("python", "print(1)\n"),
        CodeBlock("", "```\nnot a fence\n```\n"),
    )


@given(st.text(alphabet="`~ab \n"))
def test_any_text_has_code_blocks_or_none(text: str) -> None:
    assert all(block.code in text for block in code_blocks(text))


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}',
        ' \n{"a": 1}\n',
        'Here it is:\n```json\n{"a": 1}\n```\nAnything else?',
        'Sure! {"a": 1} Good luck.',
    ],
)
def test_the_json_of_an_answer_is_found(text: str) -> None:
    found = json_in(text)
    assert found is not None
    assert json.loads(found[0]) == found[1] == {"a": 1}
    assert json.loads(fitted(text, Shape())) == {"a": 1}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("no", "not JSON"),
        ('{"name": "a"', "not JSON"),
        ('{"name": "a"}', "'age' is a required property"),
        ('{"name": "a", "age": "old"}', r"\['age'\]: 'old' is not of type 'integer'"),
        ('{"name": "a", "age": 1, "x": 2}', "Additional properties"),
        ("[1]", "is not of type 'object'"),
    ],
)
def test_what_does_not_fit_is_told(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        fitted(text, shape(PERSON))


def test_what_fits_is_given_as_it_was_written() -> None:
    assert fitted('{"name": "a",  "age": 1}', shape(PERSON)) == '{"name": "a",  "age": 1}'


def test_a_wrong_schema_is_the_callers_mistake() -> None:
    with pytest.raises(BadRequest, match="no JSON schema"):
        shape({"type": "nonsense"})
    with pytest.raises(BadRequest, match="needs a schema"):
        shape_of(call({"type": "json_schema"}))


def test_nothing_is_fetched_and_no_pattern_is_run() -> None:
    with pytest.raises(ValueError, match="refers to what is not in it"):
        fitted("{}", shape({"$ref": "http://127.0.0.1:9/schema.json"}))
    assert fitted('"aaaa!"', shape({"type": "string", "pattern": "(a+)+$"}))


def test_other_formats_ask_for_nothing() -> None:
    assert shape_of(call(None)) is None
    assert shape_of(call({"type": "text"})) is None
    assert shape_of(Call(CallKind.TEXT, "m", {"response_format": {"type": "json_object"}})) is None


def test_a_repair_shows_the_answer_and_what_is_wrong() -> None:
    again = repair_call(call({"type": "json_object"}), "oh", "it is not JSON")
    assert [message["role"] for message in again.body["messages"]] == ["assistant", "user"]
    assert "it is not JSON" in again.body["messages"][1]["content"]
