"""Lines, events and the judgement of streams: however the bytes are cut, the same comes out."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.chat import Call, CallKind, StreamCheck, decode_object, has_token, same_model
from inference.failures import Broken, Garbled, Overloaded, WrongModel
from inference.lines import Lines, LineTooLong
from inference.sse import SseParser, event

CALL = Call(CallKind.CHAT, "m", {})


def cut(data: bytes, places: list[int]) -> list[bytes]:
    borders = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in pairwise(borders)]


def delta(text: str | None = None, finish: str | None = None, **more: object) -> dict[str, Any]:
    made: dict[str, Any] = {} if text is None else {"content": text}
    return {"choices": [{"index": 0, "delta": made, "finish_reason": finish}], **more}


plain = st.binary(max_size=30).map(lambda data: data.replace(b"\n", b"").replace(b"\r", b""))


@given(
    lines=st.lists(plain), end=st.sampled_from([b"\n", b"\r\n"]), places=st.lists(st.integers(0))
)
def test_lines_come_out_as_they_went_in(lines: list[bytes], end: bytes, places: list[int]) -> None:
    reader = Lines()
    data = b"".join(line + end for line in lines) + b"rest"
    assert [line for part in cut(data, places) for line in reader.feed(part)] == lines
    assert reader.rest == b"rest"


@given(
    events=st.lists(plain.filter(lambda data: not data.startswith(b" "))),
    places=st.lists(st.integers(0)),
)
def test_events_come_out_as_they_went_in_between_pings(
    events: list[bytes], places: list[int]
) -> None:
    parser = SseParser()
    data = b"".join(b": ping\n\nid: 7\nretry: 9\n" + event(one) for one in events) + b"data: cut"
    assert [one for part in cut(data, places) for one in parser.feed(part)] == events


def test_several_data_lines_are_one_event() -> None:
    assert list(SseParser().feed(b"data: a\ndata:b\r\n\r\n")) == [b"a\nb"]


@pytest.mark.parametrize("data", [b"x" * 11, b"x" * 11 + b"\n", b"a\n" + b"y" * 11])
def test_a_line_beyond_the_bound_is_refused_before_it_is_all_there(data: bytes) -> None:
    with pytest.raises(LineTooLong):
        list(Lines(10).feed(data))


def test_an_event_beyond_the_bound_is_refused() -> None:
    with pytest.raises(LineTooLong):
        list(SseParser(20).feed(b"data: 123456\n" * 4))


def test_a_stream_gets_one_id_and_begins_with_a_role() -> None:
    check = StreamCheck(CALL)
    first, second = delta("a", id="x"), delta("b", id="y", finish="stop")
    assert check.take(first)
    assert check.take(second)
    check.end()
    assert first["choices"][0]["delta"] == {"content": "a", "role": "assistant"}
    assert second["choices"][0]["delta"] == {"content": "b"}
    assert first["id"] == second["id"] == "x"


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [delta("a")],
        [{"choices": []}],
        [delta("a", "stop"), {"choices": [{"index": 1, "delta": {}}]}],
    ],
)
def test_a_stream_in_which_a_choice_has_no_end_is_broken(chunks: list[dict[str, Any]]) -> None:
    check = StreamCheck(CALL)
    for chunk in chunks:
        check.take(chunk)
    with pytest.raises(Broken):
        check.end()


@pytest.mark.parametrize(
    ("chunk", "failure"),
    [
        ({"error": {"message": "oh"}}, Overloaded),
        (delta("a", model="other"), WrongModel),
        ({}, Garbled),
        ({"choices": "x"}, Garbled),
        ({"choices": [{"index": 0}]}, Garbled),
        ({"choices": [{"index": "0", "delta": {}}]}, Garbled),
    ],
)
def test_what_is_no_chunk_of_the_asked_model_is_refused(
    chunk: dict[str, Any], failure: type[Exception]
) -> None:
    with pytest.raises(failure):
        StreamCheck(CALL).take(chunk)


@pytest.mark.parametrize("data", [b"<html>", b'{"a": ', b"[1]", b"\xff", b"", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(Garbled):
        decode_object(data)


def test_a_role_alone_is_no_token_and_an_end_is_one() -> None:
    assert not has_token(delta())
    assert not has_token(delta(""))
    assert has_token(delta("a"))
    assert has_token(delta(finish="stop"))


@given(
    value=st.recursive(
        st.none() | st.integers(-9, 9) | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["choices", "delta", "index", "error", "id", "model"]),
                inner,
                max_size=4,
            )
        ),
    )
)
def test_whatever_a_server_sends_is_a_chunk_or_a_failure(value: object) -> None:
    try:
        chunk = decode_object(json.dumps(value).encode())
        StreamCheck(CALL).take(chunk)
    except (Garbled, Overloaded, WrongModel):
        return
    has_token(chunk)


@pytest.mark.parametrize(
    ("asked", "said", "same"),
    [("m", "m", True), ("m", "m:latest", True), ("m", "/models/m.gguf", True), ("m", "n", False),
     ("m:7b", "m:latest", False), ("a/m", "b/m", False)],
)  # fmt: skip
def test_names_of_models(asked: str, said: str, same: bool) -> None:
    assert same_model(asked, said) is same
