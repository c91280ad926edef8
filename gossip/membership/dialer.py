"""Whom to dial, at which address, and when.

Two kinds of targets: members that we know, and addresses that we were told to join by. Of two
members the one with the smaller id dials at once and the other only after two seconds, so that they
don't end up with two connections. A target's addresses are tried in turn; after each round in vain
the pause doubles, from 1 s to 30 s. A member that was here within the last ten minutes is asked for
every second, so that a network that was cut is whole again as soon as it is mended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from gossip.identity import NodeId

MAX_BOOTSTRAPS = 32
_MAX_IN_FLIGHT = 16
_FLIGHT_MS = 60_000
_LEAD_MS = 2_000
_FIRST_PAUSE_MS = 1_000
_LONGEST_PAUSE_MS = 30_000
_RECENT_MS = 600_000
_RECENT_PAUSE_MS = 1_000
_DOUBLINGS = 5
_MAX_LOST = 4_096


@dataclass(slots=True)
class _Target:
    """`failures` counts addresses tried in vain since the last good one; `choices` what there was.

    `peer` is the member, or who was found at a bootstrap address.
    """

    due_ms: int
    failures: int = 0
    choices: int = 1
    peer: NodeId | None = None


@dataclass(frozen=True, slots=True)
class _Flight:
    target: _Target
    since_ms: int


class Dialer:
    """Remembers attempts; what there is to dial comes with each question.

    `jitter` returns numbers from 0 to 1; a pause is shortened by up to a quarter.
    """

    def __init__(self, own: NodeId, jitter: Callable[[], float]) -> None:
        self._own = own
        self._jitter = jitter
        self._members: dict[NodeId, _Target] = {}
        self._bootstraps: dict[str, _Target] = {}
        self._flights: dict[str, _Flight] = {}
        self._good: set[NodeId] = set()
        """Who is connected and of use, whether or not we would dial it."""
        self._lost_ms: dict[NodeId, int] = {}
        """When one of those was lost, oldest first."""
        self.is_prompt = False
        """Whether to dial at once whichever id is smaller: the other side may not want to dial at all."""

    def is_host(self, peer: NodeId) -> bool:
        """Whether this peer was found at an address to join by."""
        return any(target.peer == peer for target in self._bootstraps.values())

    def failures(self, node: NodeId) -> int:
        """How often a member that is to be connected was dialed in vain since it was there last."""
        target = self._members.get(node)
        return 0 if target is None else target.failures

    def add_bootstrap(self, now_ms: int, address: str, peer: NodeId | None) -> None:
        """An address to join by, dialed at once; `peer` is who was found there before.

        Beyond the bound the oldest is forgotten.
        """
        if address in self._bootstraps:
            return
        self._bootstraps[address] = _Target(now_ms, peer=peer)
        while len(self._bootstraps) > MAX_BOOTSTRAPS:
            del self._bootstraps[next(iter(self._bootstraps))]

    def due(
        self,
        now_ms: int,
        known: Iterable[NodeId],
        addresses_of: Callable[[NodeId], tuple[str, ...]],
        connected: AbstractSet[NodeId],
        members: AbstractSet[NodeId],
    ) -> list[str]:
        """The addresses to dial now.

        `known` are those of the `members` to be connected with; `addresses_of` has the best one
        first. A member is not dialed for having been found at an address to join by.
        """
        self._expire(now_ms)
        self._members = {
            node: self._members.get(node) or _Target(now_ms + self._lead_ms(node), peer=node)
            for node in known
        }
        chosen: list[str] = []
        for node, target in self._members.items():
            if node not in connected and self._is_ready(now_ms, target):
                addresses = addresses_of(node)
                if addresses:
                    target.choices = len(addresses)
                    address = addresses[target.failures % target.choices]
                    self._launch(now_ms, address, target, chosen)
        for address, target in self._bootstraps.items():
            is_covered = target.peer in connected or target.peer in members
            if not is_covered and self._is_ready(now_ms, target):
                self._launch(now_ms, address, target, chosen)
        return chosen

    def on_dialed(self, address: str, peer: NodeId) -> None:
        """The dial has come to `peer`."""
        self._flights.pop(address, None)
        bootstrap = self._bootstraps.get(address)
        if bootstrap is not None:
            bootstrap.peer = peer

    def on_failed(self, now_ms: int, address: str) -> None:
        """The dial has failed; the next address of its target is due, or a pause."""
        flight = self._flights.pop(address, None)
        if flight is not None:
            self._failed(now_ms, flight.target)

    def on_good(self, peer: NodeId) -> None:
        """`peer` has turned out to be of our federation."""
        self._good.add(peer)
        for target in self._targets_of(peer):
            target.failures = 0

    def on_bad(self, now_ms: int, peer: NodeId) -> None:
        """`peer` is connected and no use to us."""
        self._good.discard(peer)
        self._lost_ms.pop(peer, None)
        for target in self._targets_of(peer):
            self._failed(now_ms, target)

    def on_down(self, now_ms: int, peer: NodeId) -> None:
        """The connection with `peer` is gone."""
        if peer in self._good:
            self._good.remove(peer)
            self._lost_ms.pop(peer, None)
            self._lost_ms[peer] = now_ms
            if len(self._lost_ms) > _MAX_LOST:
                del self._lost_ms[next(iter(self._lost_ms))]
        member = self._members.get(peer)
        if member is not None:
            member.due_ms = max(member.due_ms, now_ms + self._lead_ms(peer))

    def check_invariants(self) -> None:
        """Bounds hold."""
        assert len(self._bootstraps) <= MAX_BOOTSTRAPS
        assert len(self._flights) <= _MAX_IN_FLIGHT
        assert len(self._lost_ms) <= _MAX_LOST

    def _is_ready(self, now_ms: int, target: _Target) -> bool:
        if target.due_ms > now_ms or len(self._flights) >= _MAX_IN_FLIGHT:
            return False
        return all(flight.target is not target for flight in self._flights.values())

    def _launch(self, now_ms: int, address: str, target: _Target, chosen: list[str]) -> None:
        if address not in self._flights:
            self._flights[address] = _Flight(target, now_ms)
            target.due_ms = now_ms + self._pause_ms(_FIRST_PAUSE_MS)
            chosen.append(address)

    def _failed(self, now_ms: int, target: _Target) -> None:
        target.failures += 1
        rounds, more = divmod(target.failures, target.choices)
        if more:
            target.due_ms = now_ms
            return
        lost_ms = None if target.peer is None else self._lost_ms.get(target.peer)
        is_recent = lost_ms is not None and now_ms - lost_ms < _RECENT_MS
        longest_ms = _RECENT_PAUSE_MS if is_recent else _LONGEST_PAUSE_MS
        pause_ms = min(longest_ms, _FIRST_PAUSE_MS << min(rounds - 1, _DOUBLINGS))
        target.due_ms = now_ms + self._pause_ms(pause_ms)

    def _expire(self, now_ms: int) -> None:
        """A dial that nobody answered for must not block its target for ever."""
        for address, flight in list(self._flights.items()):
            if now_ms - flight.since_ms >= _FLIGHT_MS:
                self.on_failed(now_ms, address)

    def _targets_of(self, peer: NodeId) -> list[_Target]:
        targets = [target for target in self._bootstraps.values() if target.peer == peer]
        return [*targets, self._members[peer]] if peer in self._members else targets

    def _lead_ms(self, node: NodeId) -> int:
        return 0 if self.is_prompt or self._own < node else _LEAD_MS

    def _pause_ms(self, pause_ms: int) -> int:
        return pause_ms - int(self._jitter() * pause_ms / 4)
