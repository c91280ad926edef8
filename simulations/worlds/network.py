"""What becomes of a message on its way: how long each copy takes, or nothing.

Whole numbers only, so that every machine comes to the same microsecond.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isqrt
from struct import Struct
from typing import TypeVar

from simulations.worlds.draws import MILLION, Draws
from simulations.worlds.faults import Clog, Cut, Lag, Loss, Partition, Throttle
from simulations.worlds.setting import Setting

_WORD = 2**32
_first_word = Struct(">I12x").unpack
Among = TypeVar("Among", Loss, Lag)
Link = tuple[int, int]


class Wires:
    """All links of one world."""

    def __init__(self, setting: Setting) -> None:
        self._network = setting.network
        self._shape = _SHAPES[setting.network.jitter_shape]
        self._heal_us = setting.heal_ms * 1000
        self._calm_us = setting.network.jitter_us // 2 + 1
        self._draws = Draws(setting.seed)
        self._partitions = tuple(
            (fault.at_ms * 1000, fault.until_ms * 1000, frozenset(fault.side), fault.direction)
            for fault in setting.faults
            if isinstance(fault, Partition)
        )
        self._closed = _closed(setting)
        cuts = [(begin, end) for begin, end, _, _ in self._partitions]
        cuts += [span for spans in self._closed.values() for span in spans]
        self._first_cut_us = min((begin for begin, _ in cuts), default=0)
        self._last_cut_us = max((end for _, end in cuts), default=0)
        self._clogged = _clogged(setting, self._draws)
        self._losses = _spans(setting, Loss)
        self._lags = _spans(setting, Lag)
        self._throttles = tuple(one for one in setting.faults if isinstance(one, Throttle))
        self._queues = self._network.bytes_per_s is not None or bool(self._throttles)
        self._keeps_order = setting.network.keeps_order
        self._is_even = not (
            (setting.network.loss_ppm or setting.network.tail_ppm or setting.network.duplicate_ppm)
            or (self._partitions or self._closed or self._clogged)
            or (self._losses or self._lags or self._queues)
        )
        """Whether nothing ever happens to a message but that it takes its time."""
        self._free_us: dict[int, int] = {}
        self._arrived_us: dict[Link, int] = {}

    def is_partitioned(self, now_us: int) -> bool:
        """Whether a partition stands."""
        return any(begin <= now_us < end for begin, end, _, _ in self._partitions)

    def is_cut(self, now_us: int, source: int, target: int) -> bool:
        """Whether nothing comes through between the two, in this direction."""
        for begin, end, side, direction in self._partitions:
            if begin <= now_us < end and (source in side) is not (target in side):
                leaves = source in side
                if direction == "both" or (direction == "out") is leaves:
                    return True
        closed = self._closed.get((source, target), ())
        return any(begin <= now_us < end for begin, end in closed)

    def deliveries(
        self, now_us: int, source: int, target: int, luck: bytes, size: int = 0
    ) -> list[int]:
        """How many microseconds each copy takes; none if it is lost. `luck` is 16 bytes drawn for the message."""
        network = self._network
        (jitter,) = _first_word(luck)
        if now_us >= self._heal_us:
            delays = [network.latency_us + jitter * self._calm_us // _WORD]
        elif self._is_even:
            delays = [network.latency_us + self._shape(jitter, network.jitter_us)]
        else:
            may_be_cut = self._first_cut_us <= now_us < self._last_cut_us
            if may_be_cut and self.is_cut(now_us, source, target):
                return []
            lost_ppm = network.loss_ppm
            if lost_ppm and int.from_bytes(luck[4:8], "big") % MILLION < lost_ppm:
                return []
            if self._losses and self._is_lost(now_us, source, target, luck):
                return []
            delay = network.latency_us + self._shape(jitter, network.jitter_us)
            if network.tail_ppm and int.from_bytes(luck[8:12], "big") % MILLION < network.tail_ppm:
                delay += int.from_bytes(luck[9:13], "big") % (network.tail_us + 1)
            delays = [delay]
            if network.duplicate_ppm:
                again = int.from_bytes(luck[12:16], "big")
                if again % MILLION < network.duplicate_ppm:
                    spread = 2 * network.jitter_us + network.tail_us + 1
                    delays.append(delay + again % spread)
            if self._lags or self._clogged or self._queues:
                more = self._held_us(now_us, source, target, size)
                delays = [delay + more for delay in delays]
        if self._keeps_order:
            return self._in_order(now_us, (source, target), delays)
        return delays

    def _is_lost(self, now_us: int, source: int, target: int, luck: bytes) -> bool:
        for fault, nodes in self._losses:
            if fault.at_ms * 1000 <= now_us < fault.until_ms * 1000 and _touches(
                nodes, source, target
            ):
                drawn = int.from_bytes(self._draws.raw(b"loss", luck, 4), "big")
                return drawn % MILLION < fault.lost_ppm
        return False

    def _held_us(self, now_us: int, source: int, target: int, size: int) -> int:
        """How long a message waits before it travels."""
        begin_us = now_us
        if self._queues:
            rate = self._rate(now_us, source)
            if rate is not None:
                begin_us = max(now_us, self._free_us.get(source, 0)) + size * MILLION // rate
                self._free_us[source] = begin_us
        for fault, nodes in self._lags:
            if fault.at_ms * 1000 <= now_us < fault.until_ms * 1000 and _touches(
                nodes, source, target
            ):
                begin_us += fault.more_us
        for begin, end in self._clogged.get((source, target), ()):
            if begin <= begin_us < end:
                begin_us = end
        return begin_us - now_us

    def _rate(self, now_us: int, source: int) -> int | None:
        rates = [
            fault.bytes_per_s
            for fault in self._throttles
            if fault.node == source and fault.at_ms * 1000 <= now_us < fault.until_ms * 1000
        ]
        if self._network.bytes_per_s is not None:
            rates.append(self._network.bytes_per_s)
        return min(rates, default=None)

    def _in_order(self, now_us: int, link: Link, delays: list[int]) -> list[int]:
        last_us = self._arrived_us.get(link, 0)
        ordered = []
        for delay in delays:
            last_us = max(last_us, now_us + delay)
            ordered.append(last_us - now_us)
        self._arrived_us[link] = last_us
        return ordered


def _uniform(luck: int, jitter_us: int) -> int:
    return luck * (jitter_us + 1) // _WORD


def _exponential(luck: int, jitter_us: int) -> int:
    """About exponential: minus the logarithm, drawn as straight lines between the powers of two."""
    zeros = 32 - luck.bit_length()
    rest = (luck << zeros) % 2**31 if luck else 0
    return (2 * jitter_us * ((zeros + 1) * 2**31 - rest)) // (3 * 2**31)


def _pareto(luck: int, jitter_us: int) -> int:
    """Pareto with exponent 2, less its least value: mean `jitter_us`, and now and then very much more."""
    return jitter_us * (isqrt(2**64 // (luck + 1)) - 2**16) // 2**16


_SHAPES: dict[str, Callable[[int, int], int]] = {
    "uniform": _uniform,
    "exponential": _exponential,
    "pareto": _pareto,
}


def _touches(nodes: frozenset[int], source: int, target: int) -> bool:
    return not nodes or source in nodes or target in nodes


def _spans(setting: Setting, kind: type[Among]) -> tuple[tuple[Among, frozenset[int]], ...]:
    return tuple(
        (fault, frozenset(fault.nodes)) for fault in setting.faults if isinstance(fault, kind)
    )


def _closed(setting: Setting) -> dict[Link, list[tuple[int, int]]]:
    """When each link is cut."""
    closed: dict[Link, list[tuple[int, int]]] = {}
    for fault in setting.faults:
        if isinstance(fault, Cut):
            span = (fault.at_ms * 1000, fault.until_ms * 1000)
            for source, target in fault.links:
                closed.setdefault((source, target), []).append(span)
                if not fault.one_way:
                    closed.setdefault((target, source), []).append(span)
    return closed


def _clogged(setting: Setting, draws: Draws) -> dict[Link, list[tuple[int, int]]]:
    """When each link is clogged: about half of those named, each from the first half of the fault to the second."""
    clogged: dict[Link, list[tuple[int, int]]] = {}
    for fault in setting.faults:
        if not isinstance(fault, Clog):
            continue
        begin_us, end_us = fault.at_ms * 1000, fault.until_ms * 1000
        half_us = (end_us - begin_us) // 2 + 1
        for source in range(setting.nodes):
            for target in range(setting.nodes):
                link = (source, target)
                named = not fault.nodes or source in fault.nodes or target in fault.nodes
                if source == target or not named or draws.below(2, "clogs", begin_us, link):
                    continue
                begin = begin_us + draws.below(half_us, "clogged", begin_us, link)
                end = end_us - draws.below(half_us, "unclogged", begin_us, link)
                clogged.setdefault(link, []).append((begin, end))
    return {link: sorted(spans) for link, spans in clogged.items()}
