"""What is passed on because it is like what was checked would have been found as good by the check itself."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from inference.backends.framing import framed, whole_chunk
from inference.backends.likeness import Likeness
from inference.chat import decode_object
from inference.sse import DATA, event

_REST = st.fixed_dictionaries(
    {},
    optional={
        "id": st.text(max_size=5),
        "created": st.integers(0, 9),
        "own": st.sampled_from(['"content":"', {"content": "x"}, {"content": 'a"b'}, 1.5, None]),
    },
)
_DELTA = st.fixed_dictionaries(
    {},
    optional={
        "role": st.just("assistant"),
        "content": st.text(max_size=5) | st.none() | st.just('"content":"x"'),
        "more": st.text(max_size=3),
    },
)
_SEPARATORS = st.sampled_from([(",", ":"), (", ", ": "), (",", " :"), (",\t", ":\t")])


@st.composite
def chunks(draw: st.DrawFn) -> dict[str, Any]:
    choices = [
        {"index": index, "delta": draw(_DELTA), "finish_reason": draw(st.none() | st.just("stop"))}
        for index in range(draw(st.sampled_from([1, 1, 1, 0, 2])))
    ]
    pairs = list({**draw(_REST), "choices": choices}.items())
    return dict(draw(st.permutations(pairs)))


def written(chunk: dict[str, Any], separators: tuple[str, str], ascii_only: bool) -> bytes:
    return event(json.dumps(chunk, separators=separators, ensure_ascii=ascii_only).encode())


def without_text(chunk: dict[str, Any]) -> dict[str, Any]:
    (choice,) = chunk["choices"]
    delta = {**choice["delta"], "content": "?"}
    return {**chunk, "choices": [{**choice, "delta": delta}]}


@given(
    chunk=chunks(),
    text=st.text(max_size=8),
    other=chunks(),
    manner=st.tuples(_SEPARATORS, st.booleans()),
    noise=st.tuples(st.integers(0), st.binary(max_size=3)),
)
def test_what_is_held_for_like_differs_in_its_text_alone(
    chunk: dict[str, Any],
    text: str,
    other: dict[str, Any],
    manner: tuple[tuple[str, str], bool],
    noise: tuple[int, bytes],
) -> None:
    said = written(chunk, *manner)
    likeness = Likeness.of(said, chunk)
    if likeness is None:
        return
    assert likeness.holds(said) or b"\\u" in said
    changed = json.loads(json.dumps(chunk))
    changed["choices"][0]["delta"]["content"] = text
    place = noise[0] % len(said)
    for one in (
        written(changed, *manner),
        written(other, *manner),
        said[:place] + noise[1] + said[place:],
        said[:place] + noise[1] + said[place + 1 :],
        said + said,
        said[:-1],
    ):
        if likeness.holds(one):
            assert one.count(b"\n") == 2
            assert one.endswith(b"\n\n")
            found = decode_object(one.removeprefix(DATA))
            assert without_text(found) == without_text(chunk)


@given(
    text=st.text(max_size=300),
    place=st.integers(0),
    noise=st.binary(max_size=3),
    cut=st.integers(0, 1),
)
def test_a_chunk_of_http_is_taken_only_if_it_is_one_whole_chunk_with_such_an_event(
    text: str, place: int, noise: bytes, cut: int
) -> None:
    def said(text: str) -> bytes:
        return event(json.dumps({"choices": [{"delta": {"content": text}}]}).encode())

    likeness = Likeness.of(said("x"), decode_object(said("x").removeprefix(DATA)))
    assert likeness is not None
    good = framed(said(text))
    assert likeness.holds_framed(good) or b"\\u" in good
    place %= len(good)
    bad = good[:place] + noise + good[place + cut :]
    if likeness.holds_framed(bad):
        part = whole_chunk(bad)
        assert part is not None
        assert likeness.holds(part)
        assert framed(part) == bad


def test_the_next_words_of_a_stream_are_like_the_first() -> None:
    def said(text: str, **more: str | None) -> bytes:
        delta = {"content": text}
        chunk = {"id": "a", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        return event(json.dumps({**chunk, **more}, ensure_ascii=False).encode())

    first = said("Hello")
    likeness = Likeness.of(first, decode_object(first.removeprefix(DATA)))
    assert likeness is not None
    assert all(map(likeness.holds, map(said, (" world", "", "\n", 'a "b" \\', "Grüße", "漢字"))))
    others = (
        said("x", id="b"),
        said("x", usage=None),
        said("x").replace(b"null", b'"stop"'),
        said("x").replace(b"x", b"\\x"),
        said("x").replace(b"x", b"\xff"),
        said("x").replace(b"x", b"\n"),
        said("x")[:-2],
    )
    assert not any(map(likeness.holds, others))


def test_several_choices_and_texts_elsewhere_are_looked_at_anew() -> None:
    for raw in (
        b'{"choices":[{"delta":{"content":"a"}},{"delta":{"content":"b"}}]}',
        b'{"content":"a","choices":[{"delta":{"content":"b"}}]}',
        b'{"choices":[{"delta":{"tool_calls":[{"content":"a"}]}}]}',
        b'{"choices":[{"text":"a"}]}',
        b'{"choices":[]}',
    ):
        assert Likeness.of(event(raw), decode_object(raw)) is None


def test_a_key_that_stands_twice_is_no_trap() -> None:
    raw = b'{"choices":[{"delta":{"content":"a","content":"b"}}]}'
    assert Likeness.of(event(raw), decode_object(raw)) is None
