"""A NEW-VIEW of which only the names are here, until the VIEW-CHANGEs that it names are found or handed over.

In a large set a VIEW-CHANGE has up to two certificates of hundreds of signatures, and a quorum of them would not fit in
a frame. All of them were sent to everybody, so their hashes are enough for most; the rest is fetched from whoever
brought the names. What comes of it is the NEW-VIEW itself, judged like one that came whole.
"""

from __future__ import annotations

from collections.abc import Iterable

from consensus.messages import MAX_FETCHED_CHANGES, NewView, NewViewNames, ViewChange
from gossip.codec import Digest


class Opening:
    """What one peer has named, and what is here of it."""

    __slots__ = ("_asked", "_found", "_lacking", "_voters", "names")

    def __init__(self, names: NewViewNames) -> None:
        self.names = names
        self._lacking: dict[bytes, None] = dict.fromkeys(names.changes)
        self._found: dict[bytes, ViewChange] = {}
        self._voters: set[bytes] = set()
        self._asked: set[bytes] = set()

    def wants(self, name: Digest) -> bool:
        """Whether this VIEW-CHANGE is lacking."""
        return name in self._lacking

    def take(self, found: Iterable[tuple[Digest, ViewChange]]) -> bool:
        """Keep what is lacking, one of each voter; False if two of one voter are named: nothing will come of it."""
        for name, change in found:
            if name in self._lacking:
                if change.voter in self._voters:
                    return False
                del self._lacking[name]
                self._asked.discard(name)
                self._voters.add(change.voter)
                self._found[name] = change
        return True

    def ask(self, *, again: bool = False) -> tuple[bytes, ...]:
        """What to ask for now: the next few, once those before are here, or if they are waited for too long."""
        if self._asked and not again:
            return ()
        wanted = tuple(self._lacking)[:MAX_FETCHED_CHANGES]
        self._asked = set(wanted)
        return wanted

    def whole(self) -> NewView | None:
        """The NEW-VIEW, once nothing is lacking."""
        if self._lacking:
            return None
        names = self.names
        changes = tuple(self._found[name] for name in names.changes)
        return NewView(names.epoch, names.view, changes, names.voter, names.signature)
