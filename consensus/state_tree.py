"""An authenticated map: a compact binary sparse Merkle tree over the hashes of its keys.

A key's place is the bits of its hash, first bit at the root. A subtree that holds a single leaf is that leaf, an empty
one has the zero digest, so the shape and the root depend on the content alone and never on the order of updates. The
idea is the Jellyfish tree's (Gao et al. 2021), without its 16-fold nodes and versions.

Nodes are immutable and shared between versions of the tree, and one update touches each changed path once.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from hashlib import blake2b
from typing import Annotated, TypeAlias

import msgspec

from gossip.codec import ZERO_DIGEST, Bytes32, Digest, Wire

_BITS = 256

Leaf: TypeAlias = "tuple[bytes, int, bytes]"
"""Digest, key hash as an integer, value hash."""
Branch: TypeAlias = "tuple[bytes, Node, Node, None]"
"""Digest, the half whose next bit is 0, the half whose next bit is 1. The length tells it from a leaf."""
Node: TypeAlias = "Leaf | Branch | None"


class ProofLeaf(Wire, frozen=True):
    """The leaf at the end of a key's path."""

    key_hash: Bytes32
    value_hash: Bytes32


class StateProof(Wire, frozen=True):
    """Shows what stands at the end of a key's path: its own leaf, another one, or nothing (the last two: absence).

    `siblings` begin below the root.
    """

    leaf: ProofLeaf | None
    siblings: Annotated[tuple[Bytes32, ...], msgspec.Meta(max_length=_BITS)]


def _key_hash(key: bytes) -> bytes:
    return blake2b(key, digest_size=32, person=b"state-key").digest()


def _value_hash(value: bytes) -> bytes:
    return blake2b(value, digest_size=32, person=b"state-value").digest()


def _leaf_digest(key_hash: bytes, value_hash: bytes) -> bytes:
    return blake2b(b"\x00" + key_hash + value_hash, digest_size=32).digest()


def _branch_digest(left: bytes, right: bytes) -> bytes:
    return blake2b(b"\x01" + left + right, digest_size=32).digest()


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
        """The next version: each key set to its value or, with None, deleted. Absent keys may be deleted."""
        leaves: list[tuple[int, Leaf | None]] = []
        for key, value in writes.items():
            key_hash = _key_hash(key)
            place = int.from_bytes(key_hash, "big")
            if value is None:
                leaves.append((place, None))
            else:
                value_hash = _value_hash(value)
                leaves.append((place, (_leaf_digest(key_hash, value_hash), place, value_hash)))
        leaves.sort(key=_place)
        places = [place for place, _ in leaves]
        return StateTree(
            _merged(self._node, places, [leaf for _, leaf in leaves], 0, len(places), _BITS - 1)
        )

    def prove(self, key: bytes) -> StateProof:
        """Inclusion or absence of a key."""
        place = int.from_bytes(_key_hash(key), "big")
        siblings: list[bytes] = []
        node, shift = self._node, _BITS - 1
        while node is not None and len(node) == 4:
            _, left, right, _ = node
            node, beside = (right, left) if place >> shift & 1 else (left, right)
            siblings.append(ZERO_DIGEST if beside is None else beside[0])
            shift -= 1
        leaf = None if node is None else ProofLeaf(node[1].to_bytes(32, "big"), node[2])
        return StateProof(leaf, tuple(siblings))


def _place(item: tuple[int, Leaf | None]) -> int:
    return item[0]


def _merged(
    node: Node, places: list[int], leaves: list[Leaf | None], start: int, stop: int, shift: int
) -> Node:
    """The subtree below bit `shift` with the updates `start` to `stop` of the sorted lists applied."""
    if start == stop:
        return node
    if node is None or len(node) == 3:
        kept = [] if node is None else [node]
        return _placed(kept, places, leaves, start, stop, shift)
    _, left, right, _ = node
    middle = _middle(places, start, stop, shift)
    return _joined(
        _merged(left, places, leaves, start, middle, shift - 1),
        _merged(right, places, leaves, middle, stop, shift - 1),
    )


def _placed(
    kept: list[Leaf],
    places: list[int],
    leaves: list[Leaf | None],
    start: int,
    stop: int,
    shift: int,
) -> Node:
    """The subtree of the updates `start` to `stop`, in the place of nothing or of one leaf."""
    new = [leaf for leaf in leaves[start:stop] if leaf is not None]
    for leaf in kept:
        at = bisect_left(places, leaf[1], start, stop)
        if at == stop or places[at] != leaf[1]:
            new.append(leaf)
            new.sort(key=_leaf_place)
    return _built(new, [leaf[1] for leaf in new], 0, len(new), shift)


def _leaf_place(leaf: Leaf) -> int:
    return leaf[1]


def _built(leaves: list[Leaf], places: list[int], start: int, stop: int, shift: int) -> Node:
    """The subtree of the sorted leaves `start` to `stop`."""
    if stop - start <= 1:
        return None if start == stop else leaves[start]
    middle = _middle(places, start, stop, shift)
    return _joined(
        _built(leaves, places, start, middle, shift - 1),
        _built(leaves, places, middle, stop, shift - 1),
    )


def _middle(places: list[int], start: int, stop: int, shift: int) -> int:
    """Where the places with a 1 in bit `shift` begin; the bits before are equal in all of them."""
    return bisect_left(places, (places[start] >> shift | 1) << shift, start, stop)


def _joined(left: Node, right: Node) -> Node:
    """The branch of two halves; a single leaf moves up."""
    if left is None:
        if right is None or len(right) == 3:
            return right
        return (_branch_digest(ZERO_DIGEST, right[0]), None, right, None)
    if right is None:
        return left if len(left) == 3 else (_branch_digest(left[0], ZERO_DIGEST), left, None, None)
    return (_branch_digest(left[0], right[0]), left, right, None)


def check_proof(proof: StateProof, key: bytes, value: bytes | None, root: bytes) -> bool:
    """Whether the proof shows that `key` has `value` (None: is absent) under `root`."""
    key_hash, depth = _key_hash(key), len(proof.siblings)
    place = int.from_bytes(key_hash, "big")
    leaf = proof.leaf
    if leaf is None:
        holds, digest = value is None, bytes(ZERO_DIGEST)
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
