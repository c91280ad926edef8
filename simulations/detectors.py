"""Failure detection in the simulator: the real `gossip.membership.detector` as a guest, for large federations.

    bizra-sim run thousand-members

Differs from `members.py`: everybody is connected with everybody and known to all from the beginning, so what is left of
membership is to find out who is there. A node keeps its incarnation on disk.
"""

# ruff: noqa: ANN401 - a guest takes whatever the world has
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from struct import unpack
from typing import Any, ClassVar, NamedTuple

from gossip.codec import ZERO_DIGEST
from gossip.effects import Broadcast
from gossip.effects import Send as SendTo
from gossip.identity import NodeId, Signer
from gossip.membership.detector import Detector
from gossip.membership.messages import DetectionMessage, MembershipMessage, Ping, Pong
from gossip.membership.suspicions import Statements
from simulations.guest import (
    Guest,
    Note,
    Place,
    Received,
    Send,
    SetTimer,
    Started,
    TimerFired,
    Write,
    broken,
)
from simulations.worlds.draws import Draws
from simulations.worlds.signatures import Keyring

_TICK = "tick"
_INCARNATION = b"incarnation"
_SPREAD_MS = 1_000
_ASLEEP_MS = 2_500
_JITTERS = 16
"""So many numbers are drawn at a time: a round among 1,000 takes 1,000."""


class Suspected(NamedTuple):
    """A node can't reach these; those that are dead to it are among them."""

    nodes: tuple[int, ...]
    dead: tuple[int, ...]


class Town:
    """Who is who, the same for all nodes of a run."""

    def __init__(self, nodes: int) -> None:
        self.keys = Keyring(Draws(0), real=False)
        self.signers: list[Signer] = [self.keys.signer(b"member", at) for at in range(nodes)]
        self.ids = [NodeId(one.public) for one in self.signers]
        self.numbers = {node: at for at, node in enumerate(self.ids)}


class Lookout:
    """The detector of one node, which is its own roster: see `gossip.membership.roster.Roster`."""

    def __init__(self, place: Place, town: Town) -> None:
        self.number, self._town = place.number, town
        self._others = town.ids[: place.number] + town.ids[place.number + 1 :]
        self.tolerated = len(self._others) // 3
        kept = place.disk.get(_INCARNATION)
        self.own_incarnation = 1 if kept is None else int.from_bytes(kept, "big") + 1
        statements = Statements(ZERO_DIGEST, town.signers[place.number], town.keys.verifier)
        self._luck = Draws(place.number)
        self._drawn = 0
        self._jitters: list[float] = []
        nonces: Iterator[int] = count(place.number << 32)
        self.core = Detector(statements, self, self._jitter, nonces)
        self._now_ms = self._due_ms = 0
        self._told = Suspected((), ())

    def _jitter(self) -> float:
        if not self._jitters:
            self._drawn += 1
            drawn = self._luck.raw(b"jitter", b"%d" % self._drawn, 4 * _JITTERS)
            self._jitters = [word / 2**32 for word in unpack(f">{_JITTERS}I", drawn)]
        return self._jitters.pop()

    def number_of(self, node: NodeId) -> int:
        """The number of a node in the scenario."""
        return self._town.numbers[node]

    def members(self) -> Sequence[NodeId]:
        """All others."""
        return self._others

    watched = connected = friends = members

    def is_far(self, _: NodeId) -> bool:
        """Everybody is connected with everybody."""
        return False

    def has_voice(self, _: NodeId) -> bool:
        """Everybody is admitted."""
        return True

    def incarnation(self, node: NodeId) -> int | None:
        """That of its first record; the detector knows of later lives."""
        return 1 if node in self._town.numbers else None

    def handle(self, now_ms: int, event: Any) -> list[Any]:
        """One event of the world, through the detector."""
        gap_ms, self._now_ms = now_ms - self._now_ms, max(now_ms, self._now_ms)
        if gap_ms > _ASLEEP_MS and not isinstance(event, Started):
            self.core.forgive(self._now_ms, gap_ms)
        out: list[Any] = []
        match event:
            case Started():
                self._due_ms = self._now_ms + int(self._jitter() * _SPREAD_MS)
                if self.own_incarnation > 1:
                    self.core.refuted(self._now_ms, self.own_incarnation)
                return [self._kept(), SetTimer(_TICK, self._due_ms - self._now_ms)]
            case TimerFired():
                self._due_ms = -1
                self._carry(self.core.tick(self._now_ms), out)
            case Received():
                self._take(event.sender, event.message, out)
            case _:
                raise TypeError(f"no such event: {event!r}")
        self._go_on(out)
        return out

    def _take(self, sender: int, message: Any, out: list[Any]) -> None:
        peer = self._town.ids[sender]
        self.core.heard(self._now_ms, peer)
        if isinstance(message, Ping):
            dead = self.core.dead_count(self._now_ms)
            out.append(Send(sender, Pong(message.nonce, self._now_ms, dead)))  # type: ignore[arg-type]
        elif isinstance(message, Pong):
            self._carry(self.core.on_dead_count(self._now_ms, peer, message.dead), out)
        elif isinstance(message, DetectionMessage):
            self._carry(self.core.on_message(self._now_ms, peer, message, lambda: True), out)

    def _go_on(self, out: list[Any]) -> None:
        challenge = self.core.challenge(self._now_ms)
        if challenge is not None:
            self.own_incarnation = max(self.own_incarnation, challenge) + 1
            out.append(self._kept())
            self.core.refuted(self._now_ms, self.own_incarnation)
        suspects = self.core.suspects()
        if suspects or self._told.nodes:
            numbers = self._town.numbers
            nodes = tuple(sorted(numbers[node] for node in suspects))
            dead = tuple(sorted(numbers[node] for node in suspects if self.core.is_dead(node)))
            if (nodes, dead) != self._told:
                self._told = Suspected(nodes, dead)
                out.append(Note(self._told))
        due_ms = self.core.due_ms
        if due_ms != self._due_ms:
            self._due_ms = due_ms
            out.append(SetTimer(_TICK, max(0, due_ms - self._now_ms)))

    def _kept(self) -> Write:
        return Write({_INCARNATION: self.own_incarnation.to_bytes(8, "big")})

    def _carry(self, effects: Sequence[Any], out: list[Any]) -> None:
        numbers = self._town.numbers
        for effect in effects:
            match effect:
                case Broadcast():
                    out += (Send(numbers[node], effect.message) for node in effect.to)  # type: ignore[arg-type]
                case SendTo():
                    out.append(Send(numbers[effect.to], effect.message))  # type: ignore[arg-type]
                case _:
                    out.append(effect)


class Detectors(Guest):
    """See the module. `gone`: from this number on nodes are away for a while, which somebody must notice.

    Of those below it nobody may be taken for dead by anybody, at any time.
    """

    nodes: ClassVar[int] = 9
    messages: ClassVar[Any] = MembershipMessage
    bound_ms: ClassVar[int] = 60_000

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        super().__init__(parameters)
        self._gone = int(parameters.get("gone", -1))
        self._town: Town | None = None
        self._noticed: set[int] = set()

    def boot(self, place: Place) -> Lookout:
        if self._town is None:
            self._town = Town(place.nodes)
        return Lookout(place, self._town)

    def noted(self, node: int, what: Suspected) -> None:
        """Whoever is there is never dead to anybody."""
        self._noticed.update(what.nodes)
        if what.dead and what.dead[0] < self._gone:
            broken("nobody healthy dead", f"n{node} takes n{what.dead[0]} for dead")

    def missing(self, cores: Mapping[int, Lookout]) -> str:
        """Who was away was missed, and after healing nobody is."""
        if self._gone >= 0:
            for number in range(self._gone, len(cores)):
                if number not in self._noticed:
                    return f"nobody noticed that n{number} was away"
        for at, one in cores.items():
            for node in one.core.suspects():
                return f"n{at} can't reach n{one.number_of(node)}"
        return ""

    def describe(self, core: Lookout) -> str:
        """How many it can't reach."""
        return f"suspects={len(core.core.suspects())} incarnation={core.own_incarnation}"
