"""Which chunk of a content to ask of which peer, and whom to ask no more. A pure core.

Each source has some requests under way, the more the quicker it answers. The chunks go in order. When all are asked
for, an idle source is asked for the ones that others have owed longest, so that the slowest doesn't decide when the
whole is there.

A source that lies once is dropped. One that lets a request wait too long loses its requests to others, and is dropped
when it does so repeatedly while others deliver.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from dataclasses import dataclass, field
from typing import Final, assert_never

from gossip.effects import SetTimer
from gossip.identity import NodeId

DOWNLOAD_TIMER: Final = "download"
_FIRST_WINDOW: Final = 2
_WIDEST_WINDOW: Final = 8
_MOST_STRIKES: Final = 3
_MOST_STRIKES_ALONE: Final = 10
_ASKED_TWICE: Final = 2


@dataclass(frozen=True, slots=True)
class SourceUp:
    """A peer says that it has the content, or some of it."""

    peer: NodeId


@dataclass(frozen=True, slots=True)
class SourceDown:
    """The stream to a source is gone."""

    peer: NodeId


@dataclass(frozen=True, slots=True)
class Arrived:
    """A source has delivered a chunk, and its hash is right."""

    peer: NodeId
    index: int


@dataclass(frozen=True, slots=True)
class Lacking:
    """A source says that it does not have this chunk."""

    peer: NodeId
    index: int


@dataclass(frozen=True, slots=True)
class Lied:
    """A source has sent something else than it was asked for."""

    peer: NodeId
    reason: str


@dataclass(frozen=True, slots=True)
class Waited:
    """The timer that was set has run out."""


DownloadEvent = SourceUp | SourceDown | Arrived | Lacking | Lied | Waited


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask a source for a chunk."""

    peer: NodeId
    index: int


@dataclass(frozen=True, slots=True)
class DropSource:
    """Talk no more with this source, for the reason given."""

    peer: NodeId
    reason: str


@dataclass(frozen=True, slots=True)
class Complete:
    """All chunks are here."""


@dataclass(frozen=True, slots=True)
class Starved:
    """No source is left that could bring what is missing."""


DownloadEffect = Ask | DropSource | Complete | Starved | SetTimer


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a request may wait, in milliseconds: at least `least_ms`, else `times` what the source usually takes."""

    least_ms: int = 3_000
    times: int = 6


@dataclass(slots=True)
class _Source:
    """One peer. `asked` are the chunks that it was asked for and has not answered, and when.

    `owed` are those of them that are left to it. `since_ms` is when it last answered, was given more time, or was asked
    while it owed nothing. `usual_ms` is what an answer takes, smoothed.
    """

    asked: dict[int, int] = field(default_factory=dict)
    owed: set[int] = field(default_factory=set)
    lacks: set[int] = field(default_factory=set)
    window: int = _FIRST_WINDOW
    since_ms: int = 0
    usual_ms: int = 0
    strikes: int = 0


class Download:
    """One content's way here. `missing` are the chunks that are not on disk yet."""

    def __init__(self, missing: frozenset[int], patience: Patience | None = None) -> None:
        self._missing = set(missing)
        self._waiting = sorted(missing)
        self._patience = patience or Patience()
        self._sources: dict[NodeId, _Source] = {}
        self._banned: set[NodeId] = set()
        self._told = False

    @property
    def missing(self) -> frozenset[int]:
        """What is not here yet."""
        return frozenset(self._missing)

    @property
    def sources(self) -> frozenset[NodeId]:
        """Who is asked."""
        return frozenset(self._sources)

    def is_banned(self, peer: NodeId) -> bool:
        """Whether it was dropped for good."""
        return peer in self._banned

    def check_invariants(self) -> None:
        """What must hold after every event."""
        owed = {index for source in self._sources.values() for index in source.owed}
        waiting = set(self._waiting)
        assert len(waiting) == len(self._waiting)
        assert waiting | (owed & self._missing) == self._missing, "a chunk is forgotten"
        assert not waiting & owed
        for source in self._sources.values():
            assert source.owed <= set(source.asked)
            assert len(source.asked) <= _WIDEST_WINDOW
        assert not self._banned & set(self._sources)

    def handle(self, now_ms: int, event: DownloadEvent) -> list[DownloadEffect]:
        """Take one event; the effects are carried out in order."""
        out: list[DownloadEffect] = []
        match event:
            case SourceUp():
                if event.peer not in self._banned:
                    self._sources.setdefault(event.peer, _Source())
            case SourceDown():
                self._forget(event.peer)
            case Arrived():
                self._on_arrived(now_ms, event.peer, event.index)
            case Lacking():
                self._on_lacking(now_ms, event.peer, event.index)
            case Lied():
                self._ban(out, event.peer, event.reason)
            case Waited():
                self._on_waited(now_ms, out)
            case _:
                assert_never(event)
        self._go_on(now_ms, out)
        return out

    def _on_arrived(self, now_ms: int, peer: NodeId, index: int) -> None:
        self._missing.discard(index)
        source = self._sources.get(peer)
        if (source is None or index not in source.owed) and index in self._waiting:
            self._waiting.remove(index)
        if source is None:
            return
        taken_ms = now_ms - self._answered(now_ms, source, index)
        source.usual_ms = (3 * source.usual_ms + taken_ms) // 4 if source.usual_ms else taken_ms
        source.window = min(_WIDEST_WINDOW, source.window + 1)
        source.strikes = 0

    def _answered(self, now_ms: int, source: _Source, index: int) -> int:
        """When the source was asked for what it has answered now."""
        source.since_ms = now_ms
        source.owed.discard(index)
        return source.asked.pop(index, now_ms)

    def _on_lacking(self, now_ms: int, peer: NodeId, index: int) -> None:
        source = self._sources.get(peer)
        if source is not None:
            source.lacks.add(index)
            self._take_back(source, index)
            self._answered(now_ms, source, index)

    def _on_waited(self, now_ms: int, out: list[DownloadEffect]) -> None:
        for peer in sorted(self._sources):
            source = self._sources[peer]
            if not source.asked or now_ms < self._late_ms(source):
                continue
            source.strikes += 1
            source.since_ms = now_ms
            if len(self._sources) == 1:
                if source.strikes >= _MOST_STRIKES_ALONE:
                    self._ban(out, peer, "it has fallen silent")
                continue
            source.window = 1
            for index in sorted(source.owed):
                self._take_back(source, index)
            if source.strikes >= _MOST_STRIKES:
                self._ban(out, peer, "it is too slow")

    def _go_on(self, now_ms: int, out: list[DownloadEffect]) -> None:
        if not self._missing:
            if not self._told:
                self._told = True
                out.append(Complete())
            return
        for peer in sorted(self._sources, key=lambda one: (self._sources[one].strikes, one)):
            self._ask(now_ms, peer, self._sources[peer], out)
        due = [self._late_ms(source) for source in self._sources.values() if source.asked]
        if due:
            out.append(SetTimer(DOWNLOAD_TIMER, max(1, min(due) - now_ms)))
        else:
            out.append(Starved())

    def _ask(self, now_ms: int, peer: NodeId, source: _Source, out: list[DownloadEffect]) -> None:
        while len(source.asked) < source.window:
            index = self._next_for(source)
            if index is None:
                return
            if not source.asked:
                source.since_ms = now_ms
            source.asked[index] = now_ms
            source.owed.add(index)
            out.append(Ask(peer, index))

    def _next_for(self, source: _Source) -> int | None:
        """The first chunk that nobody is asked for, or the one that another owes longest."""
        for at, index in enumerate(self._waiting):
            if index not in source.lacks and index not in source.asked:
                return self._waiting.pop(at)
        if source.asked:
            return None
        owed = [
            (other.asked[index], index)
            for other in self._sources.values()
            for index in other.owed
            if index in self._missing and index not in source.lacks
        ]
        counts = Counter(index for _, index in owed)
        return min((pair for pair in owed if counts[pair[1]] < _ASKED_TWICE), default=(0, None))[1]

    def _late_ms(self, source: _Source) -> int:
        """When it has been silent for too long."""
        patience = self._patience
        return source.since_ms + max(patience.least_ms, patience.times * source.usual_ms)

    def _take_back(self, source: _Source, index: int) -> None:
        """A source is not counted on for this chunk any more."""
        if index not in source.owed:
            return
        source.owed.discard(index)
        if index in self._missing and all(index not in one.owed for one in self._sources.values()):
            insort(self._waiting, index)

    def _forget(self, peer: NodeId) -> None:
        source = self._sources.pop(peer, None)
        if source is not None:
            for index in sorted(source.owed):
                self._take_back(source, index)

    def _ban(self, out: list[DownloadEffect], peer: NodeId, reason: str) -> None:
        if peer in self._sources:
            self._forget(peer)
            self._banned.add(peer)
            out.append(DropSource(peer, reason))
