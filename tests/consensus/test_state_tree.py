from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.ledger import state_tree
from consensus.ledger.state_tree import ProofLeaf, StateProof, StateTree, check_proof
from gossip.codec import ZERO_DIGEST

# Few distinct keys, so that updates meet each other.
NAMES = [b"key %d" % number for number in range(61)]
keys = st.sampled_from(NAMES)
values = st.binary(max_size=3)
contents = st.dictionaries(keys, values, max_size=40)
batches = st.lists(st.dictionaries(keys, values | st.none(), max_size=20), max_size=6)


def reference_root(content: Mapping[bytes, bytes]) -> bytes:
    """The definition, as dumb as can be: strings of bits, every subtree from scratch."""
    leaves = {}
    for key, value in content.items():
        key_hash = blake2b(key, digest_size=32, person=b"state-key").digest()
        value_hash = blake2b(value, digest_size=32, person=b"state-value").digest()
        leaf = blake2b(b"\x00" + key_hash + value_hash, digest_size=32).digest()
        leaves["".join(f"{byte:08b}" for byte in key_hash)] = leaf

    def root(prefix: str) -> bytes:
        below = [leaf for bits, leaf in leaves.items() if bits.startswith(prefix)]
        if len(below) <= 1:
            return below[0] if below else bytes(32)
        halves = root(prefix + "0") + root(prefix + "1")
        return blake2b(b"\x01" + halves, digest_size=32).digest()

    return root("")


@given(contents)
def test_the_root_is_the_definitions(content: dict[bytes, bytes]) -> None:
    assert StateTree().update(content).root == reference_root(content)


@given(batches)
def test_updates_in_batches_come_to_the_content_they_leave(
    steps: list[dict[bytes, bytes | None]],
) -> None:
    tree, content = StateTree(), dict[bytes, bytes]()
    for step in steps:
        before, tree = tree, tree.update(step)
        assert before.root == reference_root(content), "an older version changed"
        for key, value in step.items():
            if value is None:
                content.pop(key, None)
            else:
                content[key] = value
        assert tree.root == reference_root(content)


@given(contents, st.randoms(use_true_random=False))
def test_the_order_of_updates_never_matters(content: dict[bytes, bytes], random: object) -> None:
    order = list(content)
    random.shuffle(order)  # type: ignore[attr-defined]
    tree = StateTree()
    for key in order:
        tree = tree.update({key: content[key]})
    assert tree.root == StateTree().update(content).root
    for key in order:
        tree = tree.update({key: None})
    assert tree.root == ZERO_DIGEST


@given(contents, keys, values)
def test_a_proof_shows_the_value_or_the_absence_and_nothing_else(
    content: dict[bytes, bytes], key: bytes, other: bytes
) -> None:
    tree = StateTree().update(content)
    proof = tree.prove(key)
    assert check_proof(proof, key, content.get(key), tree.root)
    if other != content.get(key):
        assert not check_proof(proof, key, other, tree.root)
    if key in content:
        assert not check_proof(proof, key, None, tree.root)
    assert not check_proof(proof, key, content.get(key), b"\x01" * 32)


@given(contents, keys, keys)
def test_a_proof_of_one_key_is_worth_nothing_for_a_present_other(
    content: dict[bytes, bytes], key: bytes, other: bytes
) -> None:
    tree = StateTree().update(content)
    if key != other and other in content:
        assert not check_proof(tree.prove(key), other, None, tree.root)


def test_another_leaf_shows_absence_only_where_it_belongs() -> None:
    """Not even under a root that somebody built by hand with a leaf in the wrong half."""
    hashes = {key: blake2b(key, digest_size=32, person=b"state-key").digest() for key in NAMES}
    low = next(key for key in NAMES if hashes[key][0] < 128)
    high = next(key for key in NAMES if hashes[key][0] >= 128)
    leaf = blake2b(b"\x00" + hashes[high] + bytes(32), digest_size=32).digest()
    root = blake2b(b"\x01" + leaf + bytes(32), digest_size=32).digest()
    misplaced = StateProof(ProofLeaf(hashes[high], bytes(32)), (ZERO_DIGEST,))
    assert not check_proof(misplaced, low, None, root)


@given(contents.filter(bool), st.data())
def test_a_tampered_proof_shows_nothing(content: dict[bytes, bytes], data: st.DataObject) -> None:
    tree = StateTree().update(content)
    key = data.draw(st.sampled_from(sorted(content)))
    proof = tree.prove(key)
    leafless = msgspec.structs.replace(proof, leaf=None)
    stranger = msgspec.structs.replace(proof, leaf=ProofLeaf(b"\x07" * 32, bytes(32)))
    for forged in (leafless, stranger):
        assert not check_proof(forged, key, None, tree.root)
    for at in range(len(proof.siblings)):
        siblings = (*proof.siblings[:at], b"\x07" * 32, *proof.siblings[at + 1 :])
        changed = msgspec.structs.replace(proof, siblings=siblings)
        assert not check_proof(changed, key, content[key], tree.root)


@pytest.mark.parametrize("shared_bits", [1, 8, 100, 255])
def test_keys_whose_hashes_begin_alike_stand_apart(
    shared_bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long shared beginnings can't be found by trying; here the hash of a key is the key."""
    monkeypatch.setattr(state_tree, "_key_place", lambda key: (key, int.from_bytes(key, "big")))
    base = 0b1011 << 250
    one, other = (number.to_bytes(32, "big") for number in (base, base ^ 1 << (255 - shared_bits)))
    third = (base ^ 1 << 255).to_bytes(32, "big")
    for steps in ([one, other, third], [third, one, other], [other, third, one]):
        tree = StateTree()
        for key in steps:
            tree = tree.update({key: b"v"})
        assert tree.root == StateTree().update(dict.fromkeys(steps, b"v")).root
        assert len(tree.prove(one).siblings) == shared_bits + 1
        assert check_proof(tree.prove(other), other, b"v", tree.root)
        pruned = tree.update({other: None})
        assert check_proof(pruned.prove(other), other, None, pruned.root)
        assert len(pruned.prove(one).siblings) == 1
