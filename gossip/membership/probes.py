"""Questions under way: who is asked whether it is there, directly and through others."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from gossip.effects import Broadcast, Effect, Rejected, Send
from gossip.identity import NodeId
from gossip.membership.lateness import Lateness
from gossip.membership.lots import Lots
from gossip.membership.messages import Challenge, Heeded, Ping, ProbeFor, Proof
from gossip.membership.pace import NEVER, Pace
from gossip.membership.roster import Roster
from gossip.membership.suspicions import Statements

HELPERS = 3
_STEPS = 5
"""So many times who does not answer in time is asked once more, and others with it from the second time on."""
_MOST_PATIENT = 3
_PATIENT_MS = 60_000
_MAX_SLOW = 1_024
_MOST_ILL = 8
_MAX_PROBES = 1024
_CALLED_BACK = 4
"""One in so many of the turns of the dead is used."""


class _Step(enum.Enum):
    """What is tried next, as long as there is no answer."""

    PING = enum.auto()
    HELP = enum.auto()


@dataclass(slots=True)
class _Probe:
    """One question under way; `asked` helpers, of which `heeded` said that they try.

    `steps` are tried in turn, the last one first in the list. `late_ms` is when an answer is a late one.
    """

    node: NodeId
    nonce: int
    late_ms: int
    end_ms: int
    steps: list[tuple[int, _Step]]
    helpers: int
    asked: frozenset[NodeId] | None = None
    heeded: int = 0

    @property
    def due_ms(self) -> int:
        return self.steps[-1][0] if self.steps else self.end_ms


class Probes:
    """Asks one member after the other in shuffled rounds, and whom the rest of detection wants asked.

    `helpful` are those who would ask for us. `ill` is Lifeguard's local health: 0 is well. Who
    answered late is asked more patiently for a minute, who says that it is late by as much, and everybody
    by as much as we are late ourselves: a busy machine says nothing against others.
    """

    def __init__(
        self,
        statements: Statements,
        roster: Roster,
        lots: Lots,
        *,
        nonces: Iterator[int],
        pace: Pace,
        lateness: Lateness,
        helpful: Callable[[], Sequence[NodeId]],
    ) -> None:
        self._statements, self._roster, self._lots = statements, roster, lots
        self._nonces, self._pace, self._helpful = nonces, pace, helpful
        self._lateness = lateness
        self._ring: list[NodeId] = []
        self._passed_over = 0
        self._probes: dict[NodeId, _Probe] = {}
        self._ill = 0
        self._slow: dict[NodeId, tuple[int, int]] = {}

    @property
    def ill(self) -> int:
        """By how many periods this node is slower with others, as it seems to be slow itself."""
        return self._ill

    @property
    def due_ms(self) -> int:
        """When one of the questions goes on."""
        return min((probe.due_ms for probe in self._probes.values()), default=NEVER)

    def __contains__(self, node: NodeId) -> bool:
        return node in self._probes

    def asked(self) -> list[NodeId]:
        """About whom questions are under way."""
        return list(self._probes)

    def due(self, now_ms: int) -> list[NodeId]:
        """Whom to `go_on` asking now."""
        return [node for node, probe in self._probes.items() if now_ms >= probe.due_ms]

    def check_invariants(self) -> None:
        """Bounds hold."""
        assert len(self._probes) <= _MAX_PROBES
        assert 0 <= self._ill <= _MOST_ILL
        assert len(self._slow) <= _MAX_SLOW

    def next(
        self,
        now_ms: int,
        out: list[Effect],
        is_dead: Callable[[NodeId], bool],
        is_suspect: Callable[[NodeId], bool],
    ) -> None:
        """Ask the next of the round."""
        members = self._roster.watched()
        known = set(members)
        for _ in range(len(members) + 1):
            if not self._ring:
                self._ring = self._lots.draw(members, len(members))
            node = self._ring.pop() if self._ring else None
            if node is None or node not in known:
                continue
            if is_dead(node):
                self._call_back(node, out)
                continue
            if node not in self._probes:
                if is_suspect(node):
                    # Its case is open already: this is only in case that it can be reached again.
                    self.begin(now_ms, node, out, helpers=1, again=2)
                else:
                    self.begin(now_ms, node, out)
            return

    def _call_back(self, node: NodeId, out: list[Effect]) -> None:
        """Now and then a dead one is asked once: two that take each other for dead may both have missed it all."""
        self._passed_over += 1
        if self._passed_over % _CALLED_BACK == 0 and node in self._roster.connected():
            out.append(Send(node, Ping(next(self._nonces))))

    def begin(
        self,
        now_ms: int,
        node: NodeId,
        out: list[Effect],
        *,
        patience: int = 1,
        helpers: int = HELPERS,
        again: int = _STEPS,
    ) -> None:
        """Ask a member: directly if it is connected, so many times `again`, and through so many `helpers`."""
        if len(self._probes) >= _MAX_PROBES:
            return
        nonce, pace = next(self._nonces), self._pace
        slower = max(patience, self._patience(now_ms, node)) * (1 + self._ill)
        allowed_ms = self._lateness.own_ms + self._lateness.of(now_ms, node)
        end_ms = now_ms + pace.verdict_ms * slower + allowed_ms
        steps = [(now_ms, _Step.HELP)] if helpers else []
        late_ms = now_ms + pace.timeout_ms + allowed_ms
        if node in self._roster.connected():
            timeout_ms = now_ms + pace.timeout_ms * slower + allowed_ms
            each_ms = (end_ms - timeout_ms) // again
            steps = [(timeout_ms + at * each_ms, _Step.PING) for at in reversed(range(again))]
            if helpers:
                steps.insert(-1, (timeout_ms + each_ms, _Step.HELP))
            late_ms += each_ms
            out.append(Send(node, Ping(nonce)))
        self._probes[node] = _Probe(node, nonce, late_ms, end_ms, steps, helpers)

    def go_on(self, node: NodeId, out: list[Effect]) -> bool:
        """Ask itself again, and through others; True if that was in vain too."""
        probe = self._probes[node]
        if probe.steps:
            _, step = probe.steps.pop()
            if step is _Step.PING:
                # What was lost on the way is asked again: cheaper than a case that all look into.
                if node in self._roster.connected():
                    out.append(Send(node, Ping(probe.nonce)))
                return False
            others = [peer for peer in self._helpful() if peer != node]
            helpers = sorted(self._lots.draw(others, probe.helpers))
            probe.asked = frozenset(helpers)
            if helpers:
                out.append(Broadcast(tuple(helpers), ProbeFor(node, probe.nonce)))
            if helpers or probe.steps:
                return False
        del self._probes[node]
        ills = len(probe.asked) - probe.heeded if probe.asked else 0
        self._ill = min(_MOST_ILL, self._ill + max(0, ills))
        return True

    def heard(self, now_ms: int, node: NodeId) -> None:
        """It is there."""
        probe = self._probes.pop(node, None)
        if probe is None:
            return
        if probe.asked is None:
            self._ill = max(0, self._ill - 1)
        if now_ms > probe.late_ms:
            self.was_late(now_ms, node)

    def was_late(self, now_ms: int, node: NodeId) -> None:
        """It was there all the same: from now on it is asked more patiently for a while."""
        patience = min(_MOST_PATIENT, self._patience(now_ms, node) + 1)
        self._slow.pop(node, None)
        self._slow[node] = (patience, now_ms + _PATIENT_MS)
        if len(self._slow) > _MAX_SLOW:
            del self._slow[next(iter(self._slow))]

    def _patience(self, now_ms: int, node: NodeId) -> int:
        patience, until_ms = self._slow.get(node, (1, NEVER))
        return patience if now_ms < until_ms else 1

    def drop(self, node: NodeId) -> None:
        """Ask no further."""
        self._probes.pop(node, None)

    def put_off(self, duration_ms: int) -> None:
        """We turn out to be later than we knew: who is being asked has that much more time."""
        for probe in self._probes.values():
            probe.late_ms += duration_ms
            probe.end_ms += duration_ms
            probe.steps = [(at_ms + duration_ms, step) for at_ms, step in probe.steps]

    def drop_all(self) -> None:
        """What did not come in time proves nothing."""
        self._probes.clear()

    def on_probe_for(self, peer: NodeId, message: ProbeFor) -> list[Effect]:
        """Ask for another, and say at once that we do."""
        node = NodeId(message.node)
        effects: list[Effect] = [Send(peer, Heeded(message.nonce))]
        if node != peer and node in self._roster.connected():
            effects.append(Send(node, Challenge(peer, message.nonce)))
        return effects

    def on_heeded(self, peer: NodeId, message: Heeded) -> None:
        """A helper tries."""
        for probe in self._probes.values():
            if probe.nonce == message.nonce and peer in (probe.asked or ()):
                probe.heeded += 1

    def on_proof(
        self,
        peer: NodeId,
        proof: Proof,
        afford: Callable[[], bool],
        heard: Callable[[NodeId], None],
    ) -> list[Effect]:
        """A sign of life that came through another: pass it on to who asked, or take it."""
        if proof.asker != self._statements.node:
            asker = NodeId(proof.asker)
            passes = proof.node == peer and asker in self._roster.connected() and afford()
            return [Send(asker, proof)] if passes else []
        node = NodeId(proof.node)
        probe = self._probes.get(node)
        if probe is None or probe.nonce != proof.nonce or not afford():
            return []
        if not self._statements.is_proof(node, proof.nonce, proof.signature):
            return [Rejected(peer, "it brings a sign of life that its node did not sign")]
        heard(node)
        return []
