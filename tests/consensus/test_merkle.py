from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.merkle import merkle_path, merkle_root, path_leads_to
from gossip.codec import ZERO_DIGEST

lists = st.lists(st.binary(max_size=40), min_size=1, max_size=40, unique=True)


@given(lists, st.data())
def test_every_item_has_a_path_to_the_root(items: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(items) - 1))
    assert path_leads_to(merkle_path(items, index), items[index], merkle_root(items))


@given(lists, st.data())
def test_a_path_leads_nowhere_from_another_item(items: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(items) - 1))
    other = data.draw(st.binary(max_size=70).filter(lambda item: item != items[index]))
    assert not path_leads_to(merkle_path(items, index), other, merkle_root(items))


@given(lists, st.data())
def test_a_root_allows_one_path_for_each_place(items: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(items) - 1))
    path, root = merkle_path(items, index), merkle_root(items)
    for at in range(len(items) + 2):
        for size in range(len(items) + 3):
            changed = msgspec.structs.replace(path, index=at, size=size)
            assert path_leads_to(changed, items[index], root) == (changed == path)
    longer = msgspec.structs.replace(path, siblings=(*path.siblings, bytes(32)))
    assert not path_leads_to(longer, items[index], root)
    if path.siblings:
        shorter = msgspec.structs.replace(path, siblings=path.siblings[:-1])
        assert not path_leads_to(shorter, items[index], root)


@given(lists, lists)
def test_different_lists_have_different_roots(one: list[bytes], other: list[bytes]) -> None:
    assert (merkle_root(one) == merkle_root(other)) == (one == other)


def test_nothing_has_the_zero_root_and_no_paths() -> None:
    assert merkle_root([]) == ZERO_DIGEST
    path = merkle_path([b"a"], 0)
    assert not path_leads_to(path, b"a", ZERO_DIGEST)
    assert not path_leads_to(msgspec.structs.replace(path, size=0), b"a", ZERO_DIGEST)


def test_an_inner_node_is_no_leaf() -> None:
    items = [b"a", b"b"]
    path = merkle_path(items, 0)
    for fake in (path.siblings[0], path.siblings[0] * 2):
        assert not path_leads_to(path, fake, merkle_root(items))


@pytest.mark.parametrize("size", [2**63 - 1, 2**62])
def test_absurd_sizes_end_soon(size: int) -> None:
    path = msgspec.structs.replace(merkle_path([b"a"], 0), size=size, index=size - 1)
    assert not path_leads_to(path, b"a", merkle_root([b"a"]))
