"""Merkle trees over a list of byte strings, with inclusion paths.

The shape is RFC 6962's, leaves and nodes hash differently. Above the tree stands the list's length,
so that a root allows exactly one path for each place.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Annotated

import msgspec

from gossip.codec import ZERO_DIGEST, Bytes32, Digest, Natural, Wire

_MAX_DEPTH = 64


class MerklePath(Wire, frozen=True):
    """Shows that a leaf stands at `index` of a list of `size`: its siblings from the leaf upwards."""

    index: Natural
    size: Natural
    siblings: Annotated[tuple[Bytes32, ...], msgspec.Meta(max_length=_MAX_DEPTH)]


_LEAF = blake2b(b"\x00", digest_size=32, person=b"merkle")
_NODE = blake2b(b"\x01", digest_size=32, person=b"merkle")
"""Copying a hash that has begun takes a third of the time of beginning one."""


def _leaf(item: bytes) -> bytes:
    leaf = _LEAF.copy()
    leaf.update(item)
    return leaf.digest()


def _node(left: bytes, right: bytes) -> bytes:
    node = _NODE.copy()
    node.update(left + right)
    return node.digest()


def _root(size: int, top: bytes) -> Digest:
    data = b"\x02" + size.to_bytes(8, "big") + top
    return Digest(blake2b(data, digest_size=32, person=b"merkle").digest())


def merkle_root(items: Sequence[bytes]) -> Digest:
    """The root over the items in order; the zero digest for none.

    An odd node moves up unchanged.
    """
    level: list[bytes] = []
    begun = _LEAF.copy
    for item in items:
        leaf = begun()
        leaf.update(item)
        level.append(leaf.digest())
    if not level:
        return ZERO_DIGEST
    while len(level) > 1:
        level = _level_above(level)
    return _root(len(items), level[0])


def _level_above(level: list[bytes]) -> list[bytes]:
    above: list[bytes] = []
    begun = _NODE.copy
    for left, right in zip(level[::2], level[1::2], strict=False):
        node = begun()
        node.update(left + right)
        above.append(node.digest())
    if len(level) % 2:
        above.append(level[-1])
    return above


def merkle_path(items: Sequence[bytes], index: int) -> MerklePath:
    """The path of `items[index]`."""
    siblings: list[bytes] = []
    level, at = [_leaf(item) for item in items], index
    while len(level) > 1:
        beside = at ^ 1
        if beside < len(level):
            siblings.append(level[beside])
        level, at = _level_above(level), at // 2
    return MerklePath(index, len(items), tuple(siblings))


def path_leads_to(path: MerklePath, item: bytes, root: bytes) -> bool:
    """Whether `item` stands at the path's place under `root`."""
    if path.index >= path.size:
        return False
    above, at, width = _leaf(item), path.index, path.size
    siblings = iter(path.siblings)
    while width > 1:
        if at ^ 1 < width:
            beside = next(siblings, None)
            if beside is None:
                return False
            above = _node(beside, above) if at % 2 else _node(above, beside)
        at, width = at // 2, (width + 1) // 2
    return next(siblings, None) is None and _root(path.size, above) == root
