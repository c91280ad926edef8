"""The core of broadcasting: see the package."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, assert_never

from gossip.broadcast.messages import (
    MAX_NUMBERS,
    MAX_PAYLOAD_BYTES,
    MAX_SPANS,
    MAX_TOGETHER,
    BroadcastMessage,
    Have,
    Publication,
    Publish,
    Series,
    SignedPublication,
    Span,
    Want,
    is_signed,
    sign_publication,
)
from gossip.broadcast.sources import Source
from gossip.broadcast.topics import check_topic
from gossip.codec import Digest
from gossip.effects import Broadcast, Effect, Notify, Rejected, Send, SetTimer
from gossip.identity import NodeId, Signer, Verifier

TIMER: Final = "broadcast"

_MAX_SERIES: Final = 4096
_OVERHEAD_BYTES: Final = 256
_TOGETHER_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Habits:
    """Durations in milliseconds, bounds in bytes, `relays` and `offers` in peers.

    `per_s` and `burst` bound what is taken from one publisher.
    """

    tick_ms: int = 500
    offered_ms: int = 5_000
    lost_ms: int = 10_000
    kept_ms: int = 60_000
    kept_bytes: int = 16 * 2**20
    relays: int = 4
    offers: int = 2
    per_s: int = 500
    burst: int = 2_000


@dataclass(frozen=True, slots=True)
class Received:
    """A member's message."""

    peer: NodeId
    message: BroadcastMessage


@dataclass(frozen=True, slots=True)
class Say:
    """Publish this. The topic and the size of the payload have been checked."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """Who can be sent to; `everybody` is whether these are all members there are."""

    peers: tuple[NodeId, ...]
    everybody: bool


@dataclass(frozen=True, slots=True)
class TimerFired:
    """The timer that was set ran out."""

    name: str


BroadcastEvent = Received | Say | Neighbourhood | TimerFired


@dataclass(frozen=True, slots=True)
class Heard:
    """A publication has come, or was made here; each is told once."""

    publication: Publication


@dataclass(frozen=True, slots=True)
class Lost:
    """These numbers of a series did not come in time, and nobody had them."""

    series: Series
    numbers: tuple[int, ...]


@dataclass(slots=True)
class _Kept:
    signed: SignedPublication
    came_ms: int

    @property
    def size_bytes(self) -> int:
        return len(self.signed.publication.payload) + _OVERHEAD_BYTES


@dataclass(slots=True)
class _Allowance:
    left: float
    filled_ms: int


class Broadcaster:
    """`jitter` returns numbers from 0 to 1. `begun_ms` must be greater in each run of the node."""

    def __init__(
        self,
        *,
        signer: Signer,
        verifier: Verifier,
        federation: Digest,
        begun_ms: int,
        is_member: Callable[[NodeId], bool],
        jitter: Callable[[], float],
        habits: Habits | None = None,
    ) -> None:
        self._signer, self._verifier, self._federation = signer, verifier, federation
        self._own = Series(NodeId(signer.public), begun_ms)
        self._is_member, self._jitter = is_member, jitter
        self._habits = habits or Habits()
        self._number = 0
        self._peers: tuple[NodeId, ...] = ()
        self._everybody = True
        self._sources: dict[Series, Source] = {}
        self._kept: dict[tuple[Series, int], _Kept] = {}
        self._kept_bytes = 0
        self._allowances: dict[NodeId, _Allowance] = {}
        self._is_ticking = False

    def check_invariants(self) -> None:
        """What must hold after every event."""
        habits = self._habits
        assert self._kept_bytes == sum(kept.size_bytes for kept in self._kept.values())
        assert self._kept_bytes <= habits.kept_bytes + MAX_PAYLOAD_BYTES + _OVERHEAD_BYTES
        assert len(self._sources) <= _MAX_SERIES
        for series, number in self._kept:
            source = self._sources.get(series)
            assert source is None or source.has(number), "kept, and not counted"

    def handle(self, now_ms: int, event: BroadcastEvent) -> list[Effect]:
        """Take one event; the effects are carried out in order."""
        out: list[Effect] = []
        match event:
            case Say():
                self._say(now_ms, out, event)
            case Received():
                self._on_message(now_ms, out, event.peer, event.message)
            case Neighbourhood():
                self._on_neighbourhood(out, event)
            case TimerFired():
                self._is_ticking = False
                self._on_tick(now_ms, out)
            case _:
                assert_never(event)
        if not self._is_ticking and (
            self._kept or any(one.since_ms for one in self._sources.values())
        ):
            self._is_ticking = True
            out.append(SetTimer(TIMER, self._habits.tick_ms))
        return out

    def _say(self, now_ms: int, out: list[Effect], said: Say) -> None:
        check_topic(said.topic)
        assert len(said.payload) <= MAX_PAYLOAD_BYTES
        self._number += 1
        publication = Publication(
            self._own.publisher,
            self._own.begun_ms,
            self._number,
            now_ms,
            said.topic,
            said.payload,
        )
        signed = sign_publication(self._signer, self._federation, publication)
        self._take(now_ms, out, signed)
        if self._peers:
            chosen = self._peers if self._everybody else self._draw(2 * self._habits.relays, ())
            out.append(Broadcast(chosen, Publish((signed,))))

    def _on_neighbourhood(self, out: list[Effect], event: Neighbourhood) -> None:
        fresh = [peer for peer in event.peers if peer not in self._peers]
        self._peers, self._everybody = event.peers, event.everybody
        spans = self._spans(key for key, _ in self._kept.items())
        if spans:
            out.extend(Send(peer, Have(spans)) for peer in fresh)

    # Messages

    def _on_message(
        self, now_ms: int, out: list[Effect], peer: NodeId, message: BroadcastMessage
    ) -> None:
        match message:
            case Publish():
                for signed in message.items:
                    if not self._on_publication(now_ms, out, peer, signed):
                        return
            case Have():
                lacking = [
                    (span.series, number)
                    for span in message.spans
                    if self._is_member(span.series.publisher)
                    for number in span.numbers
                    if not self._has(span.series, number)
                ]
                if lacking:
                    out.append(Send(peer, Want(self._spans(lacking))))
            case Want():
                self._answer(out, peer, message)
            case _:
                assert_never(message)

    def _on_publication(
        self, now_ms: int, out: list[Effect], peer: NodeId, signed: SignedPublication
    ) -> bool:
        """Whether to read on: who sends what does not hold is not listened to any further."""
        publication = signed.publication
        series, number = publication.series, publication.number
        if self._has(series, number):
            return True
        if not self._is_member(series.publisher):
            out.append(Rejected(peer, "a publication of somebody who is no member"))
            return False
        if not number or not self._may_cost(now_ms, series.publisher):
            # Not counted, so that it is offered again, and taken when there is room.
            return True
        if not is_signed(signed, self._federation, self._verifier):
            out.append(Rejected(peer, "a publication that its publisher did not sign"))
            return False
        if not self._is_recent(series):
            return True
        self._take(now_ms, out, signed)
        if not self._everybody:
            others = self._draw(self._habits.relays, (peer, series.publisher))
            if others:
                out.append(Broadcast(others, Publish((signed,))))
        return True

    def _is_recent(self, series: Series) -> bool:
        """Make a place for a series, if it is one of the two newest of its publisher."""
        if series in self._sources:
            return True
        known = sorted(one for one in self._sources if one.publisher == series.publisher)
        if len(known) > 1:
            if series < known[0]:
                return False
            del self._sources[known[0]]
        if len(self._sources) >= _MAX_SERIES:
            del self._sources[next(iter(self._sources))]
        return True

    def _take(self, now_ms: int, out: list[Effect], signed: SignedPublication) -> None:
        publication = signed.publication
        series, number = publication.series, publication.number
        source = self._sources.get(series)
        if source is None:
            source = self._sources[series] = Source.beginning_at(number)
        lost = source.take(now_ms, number)
        kept = self._kept[series, number] = _Kept(signed, now_ms)
        self._kept_bytes += kept.size_bytes
        while self._kept_bytes > self._habits.kept_bytes and len(self._kept) > 1:
            self._forget(next(iter(self._kept)))
        if lost:
            out.append(Notify(Lost(series, tuple(lost))))
        out.append(Notify(Heard(publication)))

    def _forget(self, key: tuple[Series, int]) -> None:
        self._kept_bytes -= self._kept.pop(key).size_bytes

    def _has(self, series: Series, number: int) -> bool:
        source = self._sources.get(series)
        return source is not None and source.has(number)

    def _may_cost(self, now_ms: int, publisher: NodeId) -> bool:
        """Whether one more signature of this publisher is checked now."""
        habits = self._habits
        allowance = self._allowances.get(publisher)
        if allowance is None:
            if len(self._allowances) >= _MAX_SERIES:
                del self._allowances[next(iter(self._allowances))]
            allowance = self._allowances[publisher] = _Allowance(habits.burst, now_ms)
        fresh = habits.per_s * max(0, now_ms - allowance.filled_ms) / 1000
        allowance.left = min(float(habits.burst), allowance.left + fresh)
        allowance.filled_ms = now_ms
        if allowance.left < 1:
            return False
        allowance.left -= 1
        return True

    def _answer(self, out: list[Effect], peer: NodeId, want: Want) -> None:
        items: list[SignedPublication] = []
        size_bytes = 0
        for span in want.spans:
            for number in span.numbers:
                kept = self._kept.get((span.series, number))
                if kept is None:
                    continue
                items.append(kept.signed)
                size_bytes += kept.size_bytes
                if size_bytes >= _TOGETHER_BYTES or len(items) == MAX_TOGETHER:
                    out.append(Send(peer, Publish(tuple(items))))
                    return  # The rest is offered again, and asked for again.
        if items:
            out.append(Send(peer, Publish(tuple(items))))

    # Time

    def _on_tick(self, now_ms: int, out: list[Effect]) -> None:
        habits = self._habits
        for key, kept in list(self._kept.items()):
            if now_ms - kept.came_ms < habits.kept_ms:
                break
            self._forget(key)
        fresh = [
            key for key, kept in self._kept.items() if now_ms - kept.came_ms < habits.offered_ms
        ]
        if fresh:
            offers = Have(self._spans(fresh))
            out.extend(Send(peer, offers) for peer in self._draw(habits.offers, ()))
        missing: list[tuple[Series, int]] = []
        for series in sorted(self._sources):
            source = self._sources[series]
            lost = source.give_up(now_ms - habits.lost_ms)
            if lost:
                out.append(Notify(Lost(series, tuple(lost))))
            missing += ((series, number) for number in source.missing())
        if missing:
            wanted = Want(self._spans(missing))
            out.extend(Send(peer, wanted) for peer in self._draw(habits.offers, ()))

    # Small things

    def _draw(self, count: int, without: Sequence[NodeId]) -> tuple[NodeId, ...]:
        """Some of the peers, by lot, in the order of their ids."""
        left = [peer for peer in self._peers if peer not in without]
        chosen = (
            left.pop(min(int(self._jitter() * len(left)), len(left) - 1))
            for _ in range(min(count, len(left)))
        )
        return tuple(sorted(chosen))

    @staticmethod
    def _spans(keys: Iterable[tuple[Series, int]]) -> tuple[Span, ...]:
        """Numbers by their series, as many as a message holds."""
        by_series: dict[Series, list[int]] = {}
        for series, number in keys:
            by_series.setdefault(series, []).append(number)
        spans = [
            Span(series.publisher, series.begun_ms, tuple(numbers[at : at + MAX_NUMBERS]))
            for series, numbers in sorted(by_series.items())
            for at in range(0, len(numbers), MAX_NUMBERS)
        ]
        return tuple(spans[:MAX_SPANS])
