"""Who is there and who is not: SWIM with Lifeguard's cures, held against members that lie.

Every second one member, in a shuffled round, is asked whether it is there. Who does not answer
within half a second is asked once more, and through three others, to whom it must sign the answer.
Who answers nobody is accused: a signed suspicion goes to all by gossip. Each that hears it asks the
accused itself, and adds its own suspicion only if it gets no answer either. The accused, once it
hears of it, signs a life of a higher incarnation, and everything is forgotten.

A node takes another for dead when it can't reach it itself, suspicions of more than f distinct
admitted members are there, its own among them, and the time to refute is over. So f liars can kill
nobody, and can't bring anybody back whom honest members don't hear. With fewer voices it stays
suspect.

Das, Gupta, Motivala 2002 (SWIM); Dadgar, Phillips, Currey 2018 (Lifeguard); parameters of
memberlist. Differs: suspicions are signed, counted against f and checked by each member; probes
carry nothing; a helper says at once that it heeds, in place of a late negative answer; being
suspected does not count as ill health, or liars could slow others down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, assert_never

from gossip.effects import Broadcast, Effect, Rejected, Send
from gossip.identity import NodeId
from gossip.membership.messages import (
    MAX_RUMOURS,
    Challenge,
    DetectionMessage,
    FetchVoices,
    Heeded,
    Ping,
    ProbeFor,
    Proof,
    Rumours,
)
from gossip.membership.suspicions import (
    Case,
    Life,
    Statements,
    Suspicion,
    Wolves,
    retransmissions,
)

_HELPERS = 3
_FANOUT = 3
_MOST_ILL = 8
_MAX_PROBES = 1024
_MAX_QUEUE = 4096
_FULL_VOICES = 3
_NEVER = 2**62


class Roster(Protocol):
    """Who there is, as the rest of membership knows."""

    @property
    def tolerated(self) -> int:
        """How many admitted members may lie: f = floor((admitted - 1) / 3)."""

    @property
    def own_incarnation(self) -> int:
        """The number of our newest record."""

    def members(self) -> Sequence[NodeId]:
        """All others that count and have not left."""

    def connected(self) -> Sequence[NodeId]:
        """Those of them that can be asked directly."""

    def friends(self) -> Sequence[NodeId]:
        """Those of the connected that take us for a member too, and will do us a favour."""

    def has_voice(self, node: NodeId) -> bool:
        """Whether what it says of others counts: it is admitted."""

    def incarnation(self, node: NodeId) -> int | None:
        """The number of a member's newest record; None if it is no member."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Durations in milliseconds: those of memberlist on a LAN, but that gossip is quicker."""

    period_ms: int = 1_000
    timeout_ms: int = 500
    gossip_ms: int = 120
    check_ms: int = 200
    voices_ms: int = 1_000


@dataclass(slots=True)
class _Probe:
    """One question under way; `asked` helpers, of which `heeded` said that they try."""

    node: NodeId
    nonce: int
    timeout_ms: int
    end_ms: int
    asked: frozenset[NodeId] | None = None
    heeded: int = 0


@dataclass(slots=True)
class _Rumour:
    what: Suspicion | Life
    left: int


class Detector:
    """`jitter` returns numbers from 0 to 1; `nonces` are never used twice."""

    def __init__(
        self,
        statements: Statements,
        roster: Roster,
        jitter: Callable[[], float],
        nonces: Iterator[int],
        pace: Pace | None = None,
    ) -> None:
        self._statements, self._roster = statements, roster
        self._jitter, self._nonces = jitter, nonces
        self._pace = pace or Pace()
        self._node = statements.node
        self._ring: list[NodeId] = []
        self._probes: dict[NodeId, _Probe] = {}
        self._cases: dict[NodeId, Case] = {}
        self._lives: dict[NodeId, Life] = {}
        self._queue: dict[tuple[bytes, bytes], _Rumour] = {}
        self._probe_ms = -1
        self._gossip_ms = 0
        self._ill = 0
        self._wolves = Wolves()
        self._challenge = -1
        self._refute_ms = 0

    # What it is asked

    def case(self, node: NodeId) -> Case | None:
        """What speaks against a node, if anything does."""
        return self._cases.get(node)

    def is_suspect(self, node: NodeId) -> bool:
        """Whether we ourselves can't reach it."""
        case = self._cases.get(node)
        return case is not None and case.own_ms is not None

    def suspects(self) -> list[NodeId]:
        """All whom we ourselves can't reach, the dead among them."""
        return [node for node, case in self._cases.items() if case.own_ms is not None]

    def is_dead(self, node: NodeId) -> bool:
        """Whether more than f members can't, and it had its time to answer."""
        case = self._cases.get(node)
        return case is not None and case.dead

    def challenge(self, now_ms: int) -> int | None:
        """Which incarnation of ours is suspected and to be refuted now: once a second at most.

        The answer is to raise our incarnation at least above that, and `refuted`.
        """
        return self._challenge if self._challenge >= 0 and now_ms >= self._refute_ms else None

    @property
    def due_ms(self) -> int:
        """When `tick` has something to do."""
        due = min((_probe_due(probe) for probe in self._probes.values()), default=_NEVER)
        if self._queue:
            due = min(due, self._gossip_ms)
        if self._challenge >= 0:
            due = min(due, self._refute_ms)
        for case in self._cases.values():
            due = min(due, self._case_due(case))
        return min(due, self._probe_ms)

    def check_invariants(self) -> None:
        """Bounds hold; nobody is dead without enough voices, ours among them."""
        assert len(self._probes) <= _MAX_PROBES
        assert len(self._queue) <= _MAX_QUEUE
        assert 0 <= self._ill <= _MOST_ILL
        for node, case in self._cases.items():
            assert node != self._node
            assert not case.dead or case.own_ms is not None
            assert (case.own_ms is None) == (self._node not in case.voices)
            assert all(voice.incarnation == case.incarnation for voice in case.voices.values())

    # What it is told

    def heard(self, peer: NodeId) -> None:
        """It has spoken to us itself."""
        probe = self._probes.pop(peer, None)
        if probe is not None and probe.asked is None:
            self._ill = max(0, self._ill - 1)
        case = self._cases.get(peer)
        if case is not None:
            case.own_ms, case.check_ms, case.dead = None, None, False
            case.voices.pop(self._node, None)
            if not case.voices:
                del self._cases[peer]

    def lost(self, now_ms: int, peer: NodeId) -> None:
        """The connection with a member broke: ask through others at once."""
        if self._roster.incarnation(peer) is not None and not self.is_suspect(peer):
            self._probes.pop(peer, None)
            self._begin(now_ms, peer, [])

    def forgive(self, now_ms: int, gap_ms: int) -> None:
        """We were asleep for so long; what did not come meanwhile proves nothing."""
        self._probes.clear()
        self._probe_ms = now_ms
        for case in self._cases.values():
            case.opened_ms += gap_ms

    def refuted(self, now_ms: int, incarnation: int) -> None:
        """Our incarnation was raised because we are suspected: tell it."""
        self._challenge = -1
        self._refute_ms = now_ms + self._pace.period_ms
        self._tell(now_ms, self._statements.live(incarnation), full=True)

    def renewed(self, node: NodeId, incarnation: int) -> None:
        """A new record of a node was taken."""
        life, case = self._lives.get(node), self._cases.get(node)
        if life is not None and life.incarnation <= incarnation:
            del self._lives[node]
        if case is not None and case.incarnation < incarnation:
            del self._cases[node]

    def on_message(
        self, now_ms: int, peer: NodeId, message: DetectionMessage, afford: Callable[[], bool]
    ) -> list[Effect]:
        """A member's word. `afford` takes one signature from what it may cost."""
        match message:
            case ProbeFor():
                return self._on_probe_for(peer, message)
            case Challenge():
                if not afford():
                    return []
                proof = self._statements.prove(NodeId(message.asker), message.nonce)
                return [Send(peer, Proof(self._node, message.asker, message.nonce, proof))]
            case Proof():
                return self._on_proof(peer, message, afford)
            case Heeded():
                for probe in self._probes.values():
                    if probe.nonce == message.nonce and peer in (probe.asked or ()):
                        probe.heeded += 1
                return []
            case Rumours():
                return self._on_rumours(now_ms, peer, message, afford)
            case FetchVoices():
                return self._on_fetch(peer, message)
            case _:
                assert_never(message)

    def tick(self, now_ms: int) -> list[Effect]:
        """Do what is due."""
        out: list[Effect] = []
        for probe in list(self._probes.values()):
            if now_ms >= _probe_due(probe):
                self._go_on(now_ms, probe, out)
        if now_ms >= self._probe_ms:
            self._probe_ms = now_ms + self._pace.period_ms * (1 + self._ill)
            self._next_probe(now_ms, out)
        for node, case in list(self._cases.items()):
            if now_ms >= self._case_due(case):
                self._judge(now_ms, node, case, out)
        if self._queue and now_ms >= self._gossip_ms:
            self._gossip(now_ms, out)
        return out

    # Probes

    def _next_probe(self, now_ms: int, out: list[Effect]) -> None:
        members = self._roster.members()
        known = set(members)
        for _ in range(len(members) + 1):
            if not self._ring:
                self._ring = self._draw(members, len(members))
            node = self._ring.pop() if self._ring else None
            if node is not None and node in known and not self.is_dead(node):
                if node not in self._probes:
                    self._begin(now_ms, node, out)
                return

    def _begin(self, now_ms: int, node: NodeId, out: list[Effect], patience: int = 1) -> None:
        if len(self._probes) >= _MAX_PROBES:
            return
        nonce, slower = next(self._nonces), patience * (1 + self._ill)
        there = node in self._roster.connected()
        timeout_ms = now_ms + (self._pace.timeout_ms * slower if there else 0)
        end_ms = now_ms + self._pace.period_ms * slower
        self._probes[node] = _Probe(node, nonce, timeout_ms, end_ms)
        if there:
            out.append(Send(node, Ping(nonce)))

    def _go_on(self, now_ms: int, probe: _Probe, out: list[Effect]) -> None:
        if probe.asked is None:
            others = [peer for peer in self._helpful() if peer != probe.node]
            helpers = sorted(self._draw(others, _HELPERS))
            probe.asked = frozenset(helpers)
            if helpers:
                out.append(Broadcast(tuple(helpers), ProbeFor(probe.node, probe.nonce)))
                if probe.node in self._roster.connected():
                    # What was lost on the way is asked again: cheaper than a case that all look into.
                    out.append(Send(probe.node, Ping(probe.nonce)))
                return
        del self._probes[probe.node]
        ills = len(probe.asked) - probe.heeded if probe.asked else 0
        self._ill = min(_MOST_ILL, self._ill + max(0, ills))
        self._accuse(now_ms, probe.node, out)

    def _on_probe_for(self, peer: NodeId, message: ProbeFor) -> list[Effect]:
        node = NodeId(message.node)
        effects: list[Effect] = [Send(peer, Heeded(message.nonce))]
        if node != peer and node in self._roster.connected():
            effects.append(Send(node, Challenge(peer, message.nonce)))
        return effects

    def _on_proof(self, peer: NodeId, proof: Proof, afford: Callable[[], bool]) -> list[Effect]:
        if proof.asker != self._node:
            asker = NodeId(proof.asker)
            passes = proof.node == peer and asker in self._roster.connected() and afford()
            return [Send(asker, proof)] if passes else []
        node = NodeId(proof.node)
        probe = self._probes.get(node)
        if probe is None or probe.nonce != proof.nonce or not afford():
            return []
        if not self._statements.is_proof(node, proof.nonce, proof.signature):
            return [Rejected(peer, "it brings a sign of life that its node did not sign")]
        self.heard(node)
        return []

    # Suspicions

    def _accuse(self, now_ms: int, node: NodeId, out: list[Effect]) -> None:
        incarnation = self._incarnation(node)
        if incarnation is None or self.is_suspect(node):
            return
        case = self._open(now_ms, node, incarnation)
        suspicion = self._statements.suspect(node, incarnation)
        case.own_ms, case.check_ms, case.asked_ms = now_ms, None, now_ms
        case.voices[self._node] = suspicion
        self._tell(now_ms, suspicion, full=len(case.voices) <= _FULL_VOICES)
        if node in self._roster.connected():
            out.append(Send(node, Rumours((suspicion,), self._life_of(node))))

    def _open(self, now_ms: int, node: NodeId, incarnation: int) -> Case:
        case = self._cases.get(node)
        if case is None or case.incarnation < incarnation:
            case = self._cases[node] = Case(incarnation, now_ms)
        return case

    def _case_due(self, case: Case) -> int:
        if case.dead:
            return _NEVER
        if case.own_ms is None:
            # Voices that nobody adds to are forgotten in the end.
            last = case.opened_ms + 60 * self._pace.period_ms
            return last if case.check_ms is None else min(last, case.check_ms)
        if self._lacks_voices(case):
            return case.asked_ms + self._pace.voices_ms
        return case.deadline_ms(self._size, self._pace.period_ms)

    def _judge(self, now_ms: int, node: NodeId, case: Case, out: list[Effect]) -> None:
        if self._incarnation(node) is None:
            del self._cases[node]
            return
        if case.own_ms is None:
            if case.check_ms is None or now_ms - case.opened_ms >= 60 * self._pace.period_ms:
                del self._cases[node]
                return
            case.check_ms = None
            if node not in self._probes:
                # There is time: a member that is only slow must not gather voices.
                self._begin(now_ms, node, out, patience=2)
            return
        self._drop_voices_of_strangers(case)
        case.dead = (
            now_ms >= case.deadline_ms(self._size, self._pace.period_ms)
            and len(case.voices) > self._roster.tolerated
        )
        if not case.dead:
            case.asked_ms = now_ms
            friends = self._draw(self._helpful(), 1)
            out.extend(Send(friend, FetchVoices(node, case.incarnation)) for friend in friends)

    def _lacks_voices(self, case: Case) -> bool:
        voices = len(case.voices)
        return voices <= self._roster.tolerated or voices < min(_FULL_VOICES, self._size - 1)

    def _drop_voices_of_strangers(self, case: Case) -> None:
        """An accuser may have been removed since."""
        for accuser in list(case.voices):
            if accuser != self._node and not self._roster.has_voice(accuser):
                del case.voices[accuser]

    def _on_rumours(
        self, now_ms: int, peer: NodeId, rumours: Rumours, afford: Callable[[], bool]
    ) -> list[Effect]:
        for life in rumours.lives:
            if self._is_new_life(life):
                if not afford():
                    return []
                if not self._statements.is_life(life):
                    return [Rejected(peer, "it passes on a life that its node did not sign")]
                self._take_life(now_ms, life)
        for suspicion in rumours.suspicions:
            case = self._cases.get(NodeId(suspicion.node))
            if (
                case is not None
                and suspicion.accuser in case.voices
                and case.incarnation == suspicion.incarnation
            ):
                continue  # most are told more than once: the commonest answer is the quickest
            if self._is_new_suspicion(now_ms, suspicion):
                if not afford():
                    return []
                if not self._statements.is_suspicion(suspicion):
                    return [
                        Rejected(peer, "it passes on a suspicion that its accuser did not sign")
                    ]
                self._take_suspicion(now_ms, suspicion)
        return []

    def _is_new_life(self, life: Life) -> bool:
        if life.node == self._node:
            return life.incarnation > self._roster.own_incarnation
        known = self._incarnation(NodeId(life.node))
        return known is not None and life.incarnation > known

    def _take_life(self, now_ms: int, life: Life) -> None:
        node = NodeId(life.node)
        if node == self._node:
            # Our disk is older than what we once said.
            self._challenge = max(self._challenge, life.incarnation)
            return
        self._lives[node] = life
        case = self._cases.pop(node, None)
        if case is not None and len(case.voices) <= self._roster.tolerated:
            for accuser in case.voices:
                self._wolves.cried(now_ms, accuser)
        self._tell(now_ms, life, full=True)

    def _is_new_suspicion(self, now_ms: int, one: Suspicion) -> bool:
        node, accuser = NodeId(one.node), NodeId(one.accuser)
        if accuser in (node, self._node) or not self._roster.has_voice(accuser):
            return False
        if node == self._node:
            return self._challenge < one.incarnation <= self._roster.own_incarnation
        if one.incarnation != self._incarnation(node):
            return False
        case = self._cases.get(node)
        if case is None:
            return not self._wolves.is_muted(now_ms, accuser)
        return accuser not in case.voices and len(case.voices) <= self._roster.tolerated + 1

    def _take_suspicion(self, now_ms: int, one: Suspicion) -> None:
        node = NodeId(one.node)
        if node == self._node:
            self._challenge = one.incarnation
            return
        case = self._open(now_ms, node, one.incarnation)
        if not case.voices and case.own_ms is None:
            case.check_ms = now_ms + int(self._jitter() * self._pace.check_ms)
        case.voices[NodeId(one.accuser)] = one
        self._tell(now_ms, one, full=len(case.voices) <= _FULL_VOICES)

    def _on_fetch(self, peer: NodeId, fetch: FetchVoices) -> list[Effect]:
        case = self._cases.get(NodeId(fetch.node))
        if case is None or case.incarnation != fetch.incarnation:
            # Perhaps it has answered, and the asker missed that.
            lives = self._life_of(NodeId(fetch.node))
            newer = tuple(life for life in lives if life.incarnation > fetch.incarnation)
            return [Send(peer, Rumours((), newer))] if newer else []
        voices = tuple(case.voices[accuser] for accuser in sorted(case.voices))[:MAX_RUMOURS]
        return [Send(peer, Rumours(voices, self._life_of(NodeId(fetch.node))))]

    # Gossip

    def _tell(self, now_ms: int, what: Suspicion | Life, *, full: bool) -> None:
        """Pass on: the first voices and every life as often as memberlist would, the rest once."""
        left = retransmissions(self._size) if full else _FANOUT
        key = (what.node, what.accuser if isinstance(what, Suspicion) else b"")
        if isinstance(what, Life):
            for stale in [one for one in self._queue if one[0] == what.node]:
                del self._queue[stale]
        if not self._queue:
            self._gossip_ms = max(now_ms, self._gossip_ms)
        self._queue[key] = _Rumour(what, left)
        while len(self._queue) > _MAX_QUEUE:
            del self._queue[next(iter(self._queue))]

    def _gossip(self, now_ms: int, out: list[Effect]) -> None:
        self._gossip_ms = now_ms + self._pace.gossip_ms
        to = tuple(sorted(self._draw(self._helpful(), _FANOUT)))
        told = sorted(self._queue.items(), key=lambda entry: -entry[1].left)[: MAX_RUMOURS // 2]
        suspicions, lives = [], []
        for key, rumour in told:
            rumour.left -= max(1, len(to))
            if rumour.left <= 0:
                del self._queue[key]
            if isinstance(rumour.what, Suspicion):
                suspicions.append(rumour.what)
            else:
                lives.append(rumour.what)
        accused = dict.fromkeys(one.node for one in suspicions)
        lives.extend(life for node in accused for life in self._life_of(NodeId(node)))
        if to:
            rumours = Rumours(tuple(suspicions), tuple(dict.fromkeys(lives)))
            out.append(Broadcast(to, rumours))

    # Small things

    @property
    def _size(self) -> int:
        return len(self._roster.members()) + 1

    def _helpful(self) -> Sequence[NodeId]:
        friends, suspects = self._roster.friends(), frozenset(self.suspects())
        return [peer for peer in friends if peer not in suspects] if suspects else friends

    def _incarnation(self, node: NodeId) -> int | None:
        recorded, life = self._roster.incarnation(node), self._lives.get(node)
        if recorded is None or life is None:
            return recorded
        return max(recorded, life.incarnation)

    def _life_of(self, node: NodeId) -> tuple[Life, ...]:
        life = self._lives.get(node)
        return () if life is None else (life,)

    def _draw(self, nodes: Sequence[NodeId], count: int) -> list[NodeId]:
        """Some of them in random order."""
        pool, size = list(nodes), len(nodes)
        for at in range(min(count, size)):
            other = at + min(int(self._jitter() * (size - at)), size - at - 1)
            pool[at], pool[other] = pool[other], pool[at]
        return pool[:count]


def _probe_due(probe: _Probe) -> int:
    return probe.timeout_ms if probe.asked is None else probe.end_ms
