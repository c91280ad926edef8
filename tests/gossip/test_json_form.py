from __future__ import annotations

import json
from enum import Enum
from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.codec import Bytes32, DecodeError, Name, Natural, Wire
from gossip.json_form import Coins, from_json, to_json

KEY = bytes(range(32))


class Colour(Enum):
    RED = "red"


class Circle(Wire, frozen=True, tag="circle"):
    radius: Natural


class Square(Wire, frozen=True, tag="square"):
    side: Natural
    colour: Colour


class Sheet(Wire, frozen=True):
    name: Name
    key: Bytes32
    price: Coins
    shapes: Annotated[tuple[Circle | Square, ...], msgspec.Meta(max_length=4)]
    parent: Bytes32 | None = None
    best: Circle | None = None


SHEET = Sheet("one", KEY, 2**62, (Circle(1), Square(2, Colour.RED)), None, Circle(3))
shapes = st.builds(Circle, st.integers(0, 2**63 - 1)) | st.builds(
    Square, st.integers(0, 9), st.just(Colour.RED)
)
keys = st.binary(min_size=32, max_size=32)
sheets = st.builds(
    Sheet,
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9),
    keys,
    st.integers(0, 2**63 - 1),
    st.lists(shapes, max_size=4).map(tuple),
    st.none() | keys,
    st.none() | st.builds(Circle, st.integers(0, 9)),
)


@given(sheets)
def test_what_is_written_reads_as_itself(sheet: Sheet) -> None:
    assert from_json(to_json(sheet), Sheet) == sheet


def test_keys_are_hex_and_amounts_decimal_strings() -> None:
    written = json.loads(to_json(SHEET))
    assert written["key"] == KEY.hex()
    assert written["price"] == str(2**62)
    assert written["shapes"][1] == {"type": "square", "side": 2, "colour": "red"}
    assert written["parent"] is None
    assert written["best"] == {"type": "circle", "radius": 3}


def changed(**fields: object) -> str:
    return json.dumps(json.loads(to_json(SHEET)) | fields)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "expected an object"),
        ('{"name": "a", "name": "b"}', "twice"),
        (changed(more=1), "more: unknown field"),
        (changed(key=KEY.hex().upper()), "key: expected lower-case hex"),
        (changed(key=KEY.hex()[2:]), "key: "),
        (changed(key=None), "key: expected lower-case hex"),
        (changed(price=5), "price: expected an amount"),
        (changed(price="05"), "price: expected an amount"),
        (changed(price="-5"), "price: expected an amount"),
        (changed(price="\u0665"), "price: expected an amount"),
        (changed(price=str(2**63)), "price: "),
        (changed(price="9" * 5000), "price: expected an amount"),
        (changed(shapes=[{"type": "line"}]), "shapes.0.type: unknown"),
        (changed(shapes=[{"type": "circle", "radius": -1}]), "shapes.0.radius: "),
        (changed(shapes=[{"type": "circle", "radius": 1.0}]), "shapes.0.radius: "),
        (changed(shapes=[{"type": "circle", "radius": 10**30}]), "shapes.0.radius: "),
        (changed(shapes=[{"type": "circle"}]), "shapes.0.radius: missing"),
        (changed(shapes=[{"type": "circle", "radius": True}]), "shapes.0.radius: "),
        (changed(shapes=[{"type": "square", "side": 1, "colour": "blue"}]), "shapes.0.colour: "),
        (changed(shapes=[{"type": "circle", "radius": 1}] * 5), "shapes: "),
        (changed(shapes={}), "shapes: expected a list"),
        (changed(best={"type": "square", "radius": 1}), "best.type: expected 'circle'"),
        (changed(name="\ud800"), "name: not Unicode"),
        (changed(name=""), "name: "),
        (changed(name=["a"]), "name: expected a plain value"),
        (changed(name=7), "name: "),
    ],
)
def test_what_is_wrong_is_named(text: str, sentence: str) -> None:
    with pytest.raises(DecodeError) as refusal:
        from_json(text, Sheet)
    assert sentence in str(refusal.value)


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_rubbish_is_refused_with_a_decode_error(rubbish: bytes | str) -> None:
    with pytest.raises(DecodeError):
        from_json(rubbish, Sheet)
