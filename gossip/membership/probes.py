"""Questions under way: who is asked whether it is there, directly and through others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from gossip.effects import Broadcast, Effect, Rejected, Send
from gossip.identity import NodeId
from gossip.membership.lots import Lots
from gossip.membership.messages import Challenge, Heeded, Ping, ProbeFor, Proof
from gossip.membership.pace import NEVER, Pace
from gossip.membership.roster import Roster
from gossip.membership.suspicions import Statements

_HELPERS = 3
_MOST_ILL = 8
_MAX_PROBES = 1024


@dataclass(slots=True)
class _Probe:
    """One question under way; `asked` helpers, of which `heeded` said that they try.

    `again_ms` is when the node itself is asked for the last time.
    """

    node: NodeId
    nonce: int
    timeout_ms: int
    end_ms: int
    asked: frozenset[NodeId] | None = None
    heeded: int = 0
    again_ms: int | None = None

    @property
    def due_ms(self) -> int:
        if self.asked is None:
            return self.timeout_ms
        return self.end_ms if self.again_ms is None else self.again_ms


class Probes:
    """Asks one member after the other in shuffled rounds, and whom the rest of detection wants asked.

    `helpful` are those who would ask for us. `ill` is Lifeguard's local health: 0 is well.
    """

    def __init__(
        self,
        statements: Statements,
        roster: Roster,
        lots: Lots,
        *,
        nonces: Iterator[int],
        pace: Pace,
        helpful: Callable[[], Sequence[NodeId]],
    ) -> None:
        self._statements, self._roster, self._lots = statements, roster, lots
        self._nonces, self._pace, self._helpful = nonces, pace, helpful
        self._ring: list[NodeId] = []
        self._probes: dict[NodeId, _Probe] = {}
        self._ill = 0

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

    def next(self, now_ms: int, out: list[Effect], is_dead: Callable[[NodeId], bool]) -> None:
        """Ask the next of the round."""
        members = self._roster.watched()
        known = set(members)
        for _ in range(len(members) + 1):
            if not self._ring:
                self._ring = self._lots.draw(members, len(members))
            node = self._ring.pop() if self._ring else None
            if node is not None and node in known and not is_dead(node):
                if node not in self._probes:
                    self.begin(now_ms, node, out)
                return

    def begin(self, now_ms: int, node: NodeId, out: list[Effect], patience: int = 1) -> None:
        """Ask a member: directly, if it is connected."""
        if len(self._probes) >= _MAX_PROBES:
            return
        nonce, slower = next(self._nonces), patience * (1 + self._ill)
        there = node in self._roster.connected()
        timeout_ms = now_ms + (self._pace.timeout_ms * slower if there else 0)
        end_ms = now_ms + self._pace.period_ms * slower
        self._probes[node] = _Probe(node, nonce, timeout_ms, end_ms)
        if there:
            out.append(Send(node, Ping(nonce)))

    def go_on(self, node: NodeId, out: list[Effect]) -> bool:
        """Ask through others, and itself twice more; True if that was in vain too."""
        probe = self._probes[node]
        if probe.again_ms is not None:
            probe.again_ms = None
            if node in self._roster.connected():
                out.append(Send(node, Ping(probe.nonce)))
            return False
        if probe.asked is None:
            others = [peer for peer in self._helpful() if peer != node]
            helpers = sorted(self._lots.draw(others, _HELPERS))
            probe.asked = frozenset(helpers)
            if helpers:
                out.append(Broadcast(tuple(helpers), ProbeFor(node, probe.nonce)))
                if node in self._roster.connected():
                    # What was lost on the way is asked again: cheaper than a case that all look into.
                    out.append(Send(node, Ping(probe.nonce)))
                    probe.again_ms = (probe.timeout_ms + probe.end_ms) // 2
                return False
        del self._probes[node]
        ills = len(probe.asked) - probe.heeded if probe.asked else 0
        self._ill = min(_MOST_ILL, self._ill + max(0, ills))
        return True

    def heard(self, node: NodeId) -> None:
        """It is there."""
        probe = self._probes.pop(node, None)
        if probe is not None and probe.asked is None:
            self._ill = max(0, self._ill - 1)

    def drop(self, node: NodeId) -> None:
        """Ask no further."""
        self._probes.pop(node, None)

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
