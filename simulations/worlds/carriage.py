"""What leaves a process and where it arrives: the time line of a world, and its messages.

Every message is encoded once, goes to each of its hearers by itself, and draws its luck by its content, its link and
how often the same was sent there before.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any

from simulations.violations import ViolationError
from simulations.worlds.draws import Draws
from simulations.worlds.hooks import Hooks
from simulations.worlds.network import Wires
from simulations.worlds.process import Process
from simulations.worlds.setting import Setting
from simulations.worlds.trace import Message, Trace

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""What a transport carries in one frame."""
_TWIN_PERIOD_US = 1_500_000
_FLOOD_SPAN_US = 100_000
_FLOOD_MESSAGES = 500
"""So many messages of a liar are read on one link in each span; a daemon holds back whoever wastes its time."""
_ROUTES = 1024
"""So many sets of hearers are kept with the processes behind them."""

Route = tuple[tuple[Process, bytes], ...]
"""Who is behind some addresses, each with the beginning of the luck of a first message to it."""


class Carriage(Hooks):
    """The part of a world that moves things through time and between processes; `World` says what they do there."""

    __slots__ = (
        "_by_address",
        "_counter",
        "_floods",
        "_heap",
        "_is_done",
        "_luck",
        "_named",
        "_passed_over",
        "_routes",
        "_sent",
        "_stopped",
        "break_on",
        "decoded",
        "draws",
        "events",
        "honest",
        "marks",
        "message_bytes",
        "messages",
        "now_us",
        "processes",
        "setting",
        "trace",
        "wires",
    )

    def __init__(self, setting: Setting, trace: Trace | None = None) -> None:
        self.setting = setting
        self.trace = trace or Trace()
        self.now_us = 0
        self.messages = self.message_bytes = self.events = 0
        self.marks: Counter[str] = Counter()
        self._passed_over = 0
        self.draws = Draws(setting.seed)
        self._luck = self.draws.begun(b"luck")
        self._named = self.draws.begun(b"message").copy
        self.wires = Wires(setting)
        self.processes: tuple[Process, ...] = ()
        self.honest: tuple[Process, ...] = ()
        self._by_address: dict[Hashable, tuple[Process, ...]] = {}
        self._routes: dict[tuple[int, tuple[Hashable, ...]], Route] = {}
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._counter = 0
        self._sent: dict[bytes, int] = {}
        self.decoded: dict[bytes, object] = {}
        """What a subclass's `decode` keeps of messages that go to several; they are frozen all through."""
        self._floods: dict[tuple[int, int], tuple[int, int]] = {}
        self._is_done = False
        self._stopped: str | None = None
        self.break_on: re.Pattern[str] | None = None
        """The run ends after the first transition whose line this is found in."""

    def at(self, time_us: int, act: Callable[..., None], *arguments: object) -> None:
        """Do this then."""
        self._counter += 1
        heapq.heappush(self._heap, (time_us, self._counter, act, arguments))

    def deliver(self, peer: Hashable, target: Process, data: bytes, name: bytes) -> None:
        """A message has arrived; `name` is the key of its luck."""
        raise NotImplementedError

    def transmit(
        self, process: Process, to: tuple[Hashable, ...], data: bytes, label: str = "garbage"
    ) -> None:
        """Send these bytes to everybody who has one of these addresses."""
        sent, drawn, heap, deliver = self._sent, self._luck.copy, self._heap, self.deliver
        drawing = self._named()
        drawing.update(data)
        name = drawing.digest()
        now_us, source, size, here = self.now_us, process.node, len(data), process.address
        deliveries, wants_messages = self.wires.deliveries, self.trace.wants_messages
        is_plain = process.is_honest and process.twin is None
        if size > MAX_MESSAGE_BYTES and process.is_honest:
            raise ViolationError("bounds", f"{process.name} sends a message of {size} bytes")
        for target, first in self._routes.get((process.number, to)) or self._route(process, to):
            if (not is_plain or target.twin is not None) and not self._passes(process, target):
                continue
            link = first + name
            count = sent.get(link, 0)
            sent[link] = count + 1
            drawing = drawn()
            drawing.update(b"%d " % (count + 1) + link[2:] if count else link)
            self.messages += 1
            delays = deliveries(now_us, source, target.node, drawing.digest(), size)
            self.message_bytes += size
            if wants_messages:
                arrivals = [now_us + delay for delay in delays]
                entry = Message(now_us, process.name, target.name, label, arrivals)
                self.trace.message(entry)
            for delay in delays:
                self._counter = counter = self._counter + 1
                heapq.heappush(heap, (now_us + delay, counter, deliver, (here, target, data, name)))

    def _route(self, process: Process, to: tuple[Hashable, ...]) -> Route:
        if len(self._routes) >= _ROUTES:
            self._routes.clear()
        route = self._routes[process.number, to] = tuple(
            (target, b"1 %d>" % process.number + target.link)
            for address in to
            for target in self._by_address[address]
        )
        return route

    def _passes(self, process: Process, target: Process) -> bool:
        """Whether a twin sees the other at all, and a liar is still read."""
        if (process.twin is not None or target.twin is not None) and not self._is_linked(
            process, target
        ):
            return False
        if process.is_honest or self._is_borne(process, target):
            return True
        self.marks["flood held back"] += 1
        return False

    def _is_borne(self, liar: Process, target: Process) -> bool:
        """Whether a liar is still read: two of them that answer each other's noise would fill the world with it."""
        span, link = self.now_us // _FLOOD_SPAN_US, (liar.number, target.number)
        since, count = self._floods.get(link, (span, 0))
        count = count + 1 if since == span else 1
        self._floods[link] = span, count
        return count <= _FLOOD_MESSAGES

    def _is_linked(self, one: Process, other: Process) -> bool:
        """Each node sees the one twin, the other or both, for a while."""
        twin, node = (one, other) if one.twin is not None else (other, one)
        seen = self.draws.below(3, "twin", twin.node, node.node, self.now_us // _TWIN_PERIOD_US)
        return seen in (twin.twin, 2)

    def line(self, who: str, kind: str, detail: str) -> None:
        """Note a transition; end the run here if it is the one that was waited for."""
        text = self.trace.line(self.now_us, who, kind, detail)
        if self.break_on is not None and self.break_on.search(text):
            self._stop(f"at {text.strip()}")

    def _stop(self, why: str) -> None:
        self._is_done, self._stopped = True, why
