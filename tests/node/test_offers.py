"""What a node's record says of its models: read as it was written, and as far as it is there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gossip.codec import decode_canonical, encode
from gossip.membership.records import Capability
from node.models.offers import MODELS, contexts_of, files_of, reads_row

FILE, OTHER = b"f" * 32, b"o" * 32


def model(name: str = "m", file: bytes | None = FILE) -> Capability:
    return Capability(MODELS, name, file, 100, 4)


@given(st.integers(-1, 2**40))
def test_a_row_says_how_much_a_model_reads_and_stands_in_a_record_as_it_always_was(
    tokens: int,
) -> None:
    row = reads_row(model(), tokens)
    if row is None:
        assert not 1 <= tokens < 10**10
        return
    assert decode_canonical(encode(row), Capability) == row
    assert contexts_of([model(), row]) == {"m": tokens}
    assert files_of([model(), row]) == {"m": FILE.hex()}


def test_a_record_of_before_says_nothing_and_no_row_speaks_for_another_file() -> None:
    row = reads_row(model(), 4096)
    assert row is not None
    assert contexts_of([model(), model("n")]) == {}
    assert contexts_of([model(file=OTHER), row]) == {}
    assert contexts_of([row]) == {}


def test_of_two_rows_the_smaller_one_counts() -> None:
    rows = [reads_row(model(), tokens) for tokens in (8192, 4096)]
    assert contexts_of([model(), *(row for row in rows if row is not None)]) == {"m": 4096}


@given(st.text(alphabet="reads-0123456789", max_size=16))
def test_no_kind_of_row_is_misread(kind: str) -> None:
    row = Capability(kind, "m", FILE, 0, 0)
    told = contexts_of([model(), row])
    assert told == {} or kind == f"reads-{told['m']}"
