"""The blocks that may yet be decided at one height.

A PREPARE promises to hand its block over, and each view that fails while it proposes something new adds one. None may
be let go before the height is decided, for a later view may be bound to any of them. So memory holds the newest few;
older ones that were voted for are on disk, and are read back when somebody needs them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet

from consensus.blocks import Block

IN_MEMORY = 4

LoadBody = Callable[[bytes], Block | None]


class Bodies:
    """Blocks by digest. Without `load` all stay in memory."""

    __slots__ = ("_blocks", "_load", "_on_disk")

    def __init__(self, load: LoadBody | None) -> None:
        self._load = load
        self._blocks: dict[bytes, Block] = {}
        self._on_disk: set[bytes] = set()

    def put(self, block: Block) -> None:
        """Hold a block; it counts as the newest."""
        self._blocks.pop(block.digest, None)
        self._blocks[block.digest] = block

    def get(self, digest: bytes) -> Block | None:
        """A block, from memory or disk."""
        found = self._blocks.get(digest)
        if found is None and digest in self._on_disk and self._load is not None:
            found = self._load(digest)
        return found

    def in_memory(self) -> tuple[Block, ...]:
        """Those that cost no look at the disk."""
        return tuple(self._blocks.values())

    def thin_out(self, written: AbstractSet[bytes], needed: Iterable[bytes]) -> None:
        """Keep the newest in memory, those that are `needed` soon, and those that are not written."""
        if self._load is None:
            return
        kept = {*list(self._blocks)[-IN_MEMORY:], *needed}
        gone = [digest for digest in self._blocks if digest not in kept and digest in written]
        for digest in gone:
            del self._blocks[digest]
        self._on_disk.update(gone)
