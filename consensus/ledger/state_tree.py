"""An authenticated map: a compact binary sparse Merkle tree over the hashes of its keys.

A key's place is the bits of its hash, first bit at the root. A subtree that holds a single leaf is
that leaf, an empty one has the zero digest, so the shape and the root depend on the content alone
and never on the order of updates. The idea is the Jellyfish tree's (Gao et al. 2021), without its
16-fold nodes and versions.

Nodes are immutable and shared between versions of the tree, and one update touches each changed
path once.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Annotated, Final, TypeAlias

import msgspec

from gossip.codec import ZERO_DIGEST, Bytes32, Digest, Wire

_BITS = 256
_PAIR = 2
_PLACES_KEPT = 16_384
_EMPTY = bytes(ZERO_DIGEST)

Leaf: TypeAlias = "tuple[bytes, int, bytes]"
"""Digest, key hash as an integer, value hash."""
Branch: TypeAlias = "tuple[bytes, Node, Node, None]"
"""Digest, the half whose next bit is 0, the half whose next bit is 1."""
Node: TypeAlias = "Leaf | Branch | None"

_LEAF_FIELDS: Final = 3
"""Plain tuples are half the cost of objects; their length tells a leaf from a branch."""


class ProofLeaf(Wire, frozen=True):
    """The leaf at the end of a key's path."""

    key_hash: Bytes32
    value_hash: Bytes32


class StateProof(Wire, frozen=True):
    """Shows what stands at the end of a key's path: its own leaf, another one, or nothing.

    The last two show that the key is absent. `siblings` begin below the root.
    """

    leaf: ProofLeaf | None
    siblings: Annotated[tuple[Bytes32, ...], msgspec.Meta(max_length=_BITS)]


_Updates: TypeAlias = "tuple[list[int], list[Leaf | None]]"
"""Places in ascending order, and what is to stand there (None: nothing)."""


_VALUE = blake2b(digest_size=32, person=b"state-value")
_LEAF = blake2b(b"\x00", digest_size=32)
_BRANCH = blake2b(b"\x01", digest_size=32)
"""Copying a hash that has begun takes two thirds of the time of beginning one."""


@lru_cache(maxsize=_PLACES_KEPT)
def _key_place(key: bytes) -> tuple[bytes, int]:
    """A key's hash, also as a number; the same accounts change again and again."""
    key_hash = blake2b(key, digest_size=32, person=b"state-key").digest()
    return key_hash, int.from_bytes(key_hash, "big")


def _value_hash(value: bytes) -> bytes:
    hashing = _VALUE.copy()
    hashing.update(value)
    return hashing.digest()


def _leaf_digest(key_hash: bytes, value_hash: bytes) -> bytes:
    hashing = _LEAF.copy()
    hashing.update(key_hash + value_hash)
    return hashing.digest()


def _branch_digest(left: bytes, right: bytes) -> bytes:
    hashing = _BRANCH.copy()
    hashing.update(left + right)
    return hashing.digest()


class StateTree:
    """One version of the map. Holds hashes only; values live elsewhere."""

    __slots__ = ("_node",)

    def __init__(self, node: Node = None) -> None:
        self._node = node

    @property
    def root(self) -> Digest:
        """The digest of the whole content; the zero digest of nothing."""
        return ZERO_DIGEST if self._node is None else Digest(self._node[0])

    def update(self, writes: Mapping[bytes, bytes | None]) -> StateTree:
        """The next version: each key set to its value or, with None, deleted.

        Absent keys may be deleted.
        """
        if not writes:
            return self
        found: dict[int, Leaf | None] = {}
        begun_value, begun_leaf = _VALUE.copy, _LEAF.copy
        for key, value in writes.items():
            key_hash, place = _key_place(key)
            if value is None:
                found[place] = None
            else:
                hashing = begun_value()
                hashing.update(value)
                value_hash = hashing.digest()
                hashing = begun_leaf()
                hashing.update(key_hash + value_hash)
                found[place] = (hashing.digest(), place, value_hash)
        places = sorted(found)
        updates = places, [found[place] for place in places]
        return StateTree(_updated(self._node, updates, 0, len(places), _BITS - 1))

    def prove(self, key: bytes) -> StateProof:
        """Inclusion or absence of a key."""
        _, place = _key_place(key)
        siblings: list[bytes] = []
        node, shift = self._node, _BITS - 1
        while node is not None and len(node) != _LEAF_FIELDS:
            _, left, right, _ = node
            node, beside = (right, left) if place >> shift & 1 else (left, right)
            siblings.append(ZERO_DIGEST if beside is None else beside[0])
            shift -= 1
        leaf = None if node is None else ProofLeaf(node[1].to_bytes(32, "big"), node[2])
        return StateProof(leaf, tuple(siblings))


def _leaf_place(leaf: Leaf) -> int:
    return leaf[1]


def _updated(node: Node, updates: _Updates, start: int, stop: int, shift: int) -> Node:
    """The subtree from bit `shift` on, with the updates `start` to `stop` applied, of which there are some."""
    places, leaves = updates
    if stop - start == 1:
        return _with_one(node, places[start], leaves[start], shift)
    if node is None or len(node) == _LEAF_FIELDS:
        return _grown(node, updates, start, stop, shift)
    middle = bisect_left(places, (places[start] >> shift | 1) << shift, start, stop)
    _, left, right, _ = node
    if start < middle:
        left = _updated(left, updates, start, middle, shift - 1)
    if middle < stop:
        right = _updated(right, updates, middle, stop, shift - 1)
    if left is None or right is None:
        return _joined(left, right)
    hashing = _BRANCH.copy()
    hashing.update(left[0] + right[0])
    return (hashing.digest(), left, right, None)


def _grown(node: Leaf | None, updates: _Updates, start: int, stop: int, shift: int) -> Node:
    """The same of a leaf or nothing."""
    places, leaves = updates
    new = [leaf for leaf in leaves[start:stop] if leaf is not None]
    if node is not None and node[1] not in places[start:stop]:
        new.append(node)
        new.sort(key=_leaf_place)
    return _built(new, [leaf[1] for leaf in new], 0, len(new), shift)


def _with_one(node: Node, place: int, leaf: Leaf | None, shift: int) -> Node:
    """The subtree with one update applied: down to its place, and back with new digests."""
    passed: list[tuple[int, Node]] = []
    while node is not None and len(node) != _LEAF_FIELDS:
        _, left, right, _ = node
        if place >> shift & 1:
            passed.append((1, left))
            node = right
        else:
            passed.append((0, right))
            node = left
        shift -= 1
    if node is None or node[1] == place:
        node = leaf
    elif leaf is not None:
        node = _parted(node, leaf, shift)
    begun = _BRANCH.copy
    for bit, beside in reversed(passed):
        if node is None or beside is None:
            node = _joined(beside, node) if bit else _joined(node, beside)
        else:
            left, right = (beside, node) if bit else (node, beside)
            hashing = begun()
            hashing.update(left[0] + right[0])
            node = (hashing.digest(), left, right, None)
    return node


def _parted(one: Leaf, other: Leaf, shift: int) -> Node:
    """The subtree of two leaves: a chain of branches down to the first bit in which they differ."""
    lower, upper = (one, other) if one[1] < other[1] else (other, one)
    differing = (lower[1] ^ upper[1]).bit_length() - 1
    node = _joined(lower, upper)
    for bit in range(differing + 1, shift + 1):
        node = _joined(None, node) if lower[1] >> bit & 1 else _joined(node, None)
    return node


def _built(leaves: list[Leaf], places: list[int], start: int, stop: int, shift: int) -> Node:
    """The subtree of the sorted leaves `start` to `stop`."""
    if stop - start == 1:
        return leaves[start]
    if stop - start == _PAIR:
        return _parted(leaves[start], leaves[start + 1], shift)
    if start == stop:
        return None
    middle = _middle(places, start, stop, shift)
    left = _built(leaves, places, start, middle, shift - 1)
    right = _built(leaves, places, middle, stop, shift - 1)
    return _joined(left, right)


def _middle(places: list[int], start: int, stop: int, shift: int) -> int:
    """Where the places with a 1 in bit `shift` begin; the bits before are equal in all of them."""
    return bisect_left(places, (places[start] >> shift | 1) << shift, start, stop)


def _joined(left: Node, right: Node) -> Node:
    """The branch of two halves; a single leaf moves up."""
    if left is not None and right is not None:
        hashing = _BRANCH.copy()
        hashing.update(left[0] + right[0])
        return (hashing.digest(), left, right, None)
    single = right if left is None else left
    if single is None or len(single) == _LEAF_FIELDS:
        return single
    if left is None:
        return (_branch_digest(_EMPTY, single[0]), None, single, None)
    return (_branch_digest(single[0], _EMPTY), single, None, None)


def check_proof(proof: StateProof, key: bytes, value: bytes | None, root: bytes) -> bool:
    """Whether the proof shows that `key` has `value` (None: is absent) under `root`."""
    (key_hash, place), depth = _key_place(key), len(proof.siblings)
    leaf = proof.leaf
    if leaf is None:
        holds, digest = value is None, _EMPTY
    elif leaf.key_hash == key_hash:
        holds = value is not None and _value_hash(value) == leaf.value_hash
        digest = _leaf_digest(leaf.key_hash, leaf.value_hash)
    else:
        other = int.from_bytes(leaf.key_hash, "big")
        holds = value is None and (place ^ other) >> (_BITS - depth) == 0
        digest = _leaf_digest(leaf.key_hash, leaf.value_hash)
    for level in range(depth - 1, -1, -1):
        beside = proof.siblings[level]
        one = place >> (_BITS - 1 - level) & 1
        digest = _branch_digest(beside, digest) if one else _branch_digest(digest, beside)
    return holds and digest == root
