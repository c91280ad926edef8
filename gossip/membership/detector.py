"""Who is there and who is not: SWIM with Lifeguard's cures, held against members that lie.

Every second one member, in a shuffled round, is asked whether it is there. Who does not answer
within half a second is asked five times more, and through three others, to whom it must sign the
answer. Who answers nobody is accused: a signed suspicion goes to all by gossip. Each that hears it asks
the accused itself before it passes that on, and adds its own suspicion only if it gets no answer
either; these are not pushed but compared, two nodes at a time. The accused, once it hears of it, signs a
life of a higher incarnation, and everything is forgotten.

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

from collections.abc import Callable, Iterator
from typing import assert_never

from gossip.effects import Effect, Send
from gossip.identity import NodeId
from gossip.membership.cases import Cases
from gossip.membership.lateness import Lateness
from gossip.membership.lots import Lots
from gossip.membership.messages import (
    Challenge,
    DetectionMessage,
    FetchDeaths,
    Heeded,
    ProbeFor,
    Proof,
    Rumours,
)
from gossip.membership.missed_deaths import MissedDeaths
from gossip.membership.pace import FANOUT, NEVER, Pace
from gossip.membership.probes import Probes
from gossip.membership.roster import Roster
from gossip.membership.rumour_mill import RumourMill
from gossip.membership.suspicions import Case, Statements
from gossip.membership.voices import FetchVoices, Voices

__all__ = ["Detector", "Pace", "Roster"]


class Detector:
    """`jitter` returns numbers from 0 to 1; `nonces` are never used twice.

    Joins its parts: `probes` asks, `cases` weighs who could not be reached, `rumour_mill` passes on,
    `missed_deaths` asks for what did not arrive.
    """

    def __init__(
        self,
        statements: Statements,
        roster: Roster,
        jitter: Callable[[], float],
        nonces: Iterator[int],
        pace: Pace | None = None,
    ) -> None:
        self._statements, self._roster = statements, roster
        self._node = statements.node
        self._pace = pace or Pace()
        self._lots = Lots(jitter)
        self._mill = RumourMill(self._node, self._pace, self._lots)
        self._lateness = Lateness()
        self._cases = Cases(
            statements,
            roster,
            self._lots,
            mill=self._mill,
            pace=self._pace,
            lateness=self._lateness,
        )
        self._probes = Probes(
            statements,
            roster,
            self._lots,
            nonces=nonces,
            pace=self._pace,
            lateness=self._lateness,
            helpful=self._cases.helpful,
        )
        self._missed = MissedDeaths(self._cases, roster, self._lots)
        self._probe_ms = -1
        self._refute_ms = 0

    # What it is asked

    def case(self, node: NodeId) -> Case | None:
        """What speaks against a node, if anything does."""
        return self._cases.get(node)

    def is_suspect(self, node: NodeId) -> bool:
        """Whether we ourselves can't reach it."""
        return self._cases.is_suspect(node)

    def suspects(self) -> list[NodeId]:
        """All whom we ourselves can't reach, the dead among them."""
        return self._cases.suspects()

    def is_dead(self, node: NodeId) -> bool:
        """Whether more than f members can't, and it had its time to answer."""
        return self._cases.is_dead(node)

    def dead_count(self, now_ms: int) -> int:
        """How many have been dead to us for a while, as our pongs say."""
        return self._missed.count(now_ms)

    def challenge(self, now_ms: int) -> int | None:
        """Which incarnation of ours is suspected and to be refuted now: once a second at most.

        The answer is to raise our incarnation at least above that, and `refuted`. Who has become late
        says so in the same way before anybody suspects it.
        """
        if now_ms < self._refute_ms:
            return None
        if self._cases.challenge >= 0:
            return self._cases.challenge
        return self._roster.own_incarnation if self._lateness.is_untold(now_ms) else None

    @property
    def due_ms(self) -> int:
        """When `tick` has something to do."""
        refute_ms = self._refute_ms if self._cases.challenge >= 0 else NEVER
        parts_ms = (self._probes.due_ms, self._mill.due_ms, self._cases.due_ms)
        return min(*parts_ms, refute_ms, self._probe_ms)

    def asked(self) -> list[NodeId]:
        """About whom questions are under way: who of them is not connected is to be dialed."""
        return self._probes.asked()

    def check_invariants(self) -> None:
        """Bounds hold; nobody is dead without enough voices, ours among them."""
        self._lateness.check_invariants()
        self._probes.check_invariants()
        self._mill.check_invariants()
        self._missed.check_invariants()
        self._cases.check_invariants()

    # What it is told

    def heard(self, now_ms: int, peer: NodeId) -> None:
        """It has spoken to us itself."""
        self._probes.heard(now_ms, peer)
        if self._cases.is_suspect(peer):
            self._probes.was_late(now_ms, peer)
        self._cases.heard(now_ms, peer)

    def lost(self, now_ms: int, peer: NodeId) -> None:
        """The connection with a member broke: ask through others at once."""
        if self._roster.incarnation(peer) is not None and not self.is_suspect(peer):
            self._probes.drop(peer)
            self._probes.begin(now_ms, peer, [])

    def ask(self, now_ms: int, node: NodeId) -> None:
        """Look after a member that is not connected, and is not in our rounds."""
        if node not in self._probes and self._cases.get(node) is None:
            self._probes.begin(now_ms, node, [], patience=2)

    def forgive(self, now_ms: int, gap_ms: int) -> None:
        """We were asleep for so long; what did not come meanwhile proves nothing."""
        self._probes.drop_all()
        self._probe_ms = now_ms
        self._cases.forgive(gap_ms)

    def refuted(self, now_ms: int, incarnation: int) -> None:
        """Our incarnation was raised because we are suspected: tell it."""
        self._refute_ms = now_ms + self._pace.period_ms
        self._cases.refuted(now_ms, self._statements.live(incarnation, self._lateness.declared_ms))

    def renewed(self, node: NodeId, incarnation: int) -> None:
        """A new record of a node was taken."""
        self._cases.renewed(node, incarnation)

    def on_dead_count(self, now_ms: int, peer: NodeId, dead: int) -> list[Effect]:
        """A member has answered our ping, and says that so many have been dead to it for a while."""
        return self._missed.on_count(now_ms, peer, dead)

    def on_message(
        self, now_ms: int, peer: NodeId, message: DetectionMessage, afford: Callable[[], bool]
    ) -> list[Effect]:
        """A member's word. `afford` takes one signature from what it may cost."""
        match message:
            case ProbeFor():
                return self._probes.on_probe_for(peer, message)
            case Challenge():
                if not afford():
                    return []
                proof = self._statements.prove(NodeId(message.asker), message.nonce)
                return [Send(peer, Proof(self._node, message.asker, message.nonce, proof))]
            case Proof():
                return self._probes.on_proof(
                    peer, message, afford, lambda node: self.heard(now_ms, node)
                )
            case Heeded():
                self._probes.on_heeded(peer, message)
                return []
            case Rumours():
                return self._cases.on_rumours(now_ms, peer, message, afford)
            case FetchVoices():
                return self._cases.on_fetch(now_ms, peer, message, afford)
            case Voices():
                return self._cases.on_voices(now_ms, peer, message, afford)
            case FetchDeaths():
                return self._missed.on_fetch(now_ms, peer, message)
            case _:
                assert_never(message)

    def tick(self, now_ms: int) -> list[Effect]:
        """Do what is due."""
        out: list[Effect] = []
        due_ms = self.due_ms
        if due_ms > 0:
            # Before the first round, and for what is to be said at once, it names no moment.
            self._probes.put_off(self._lateness.missed(max(0, now_ms - due_ms)))
        for node in self._probes.due(now_ms):
            if self._probes.go_on(node, out):
                self._cases.accuse(now_ms, node, out)
        if now_ms >= self._probe_ms:
            self._probe_ms = now_ms + self._pace.period_ms * (1 + self._probes.ill)
            self._probes.next(now_ms, out, self.is_dead, self.is_suspect)
        out.extend(self._cases.answers())
        for node in self._cases.due(now_ms):
            if self._cases.judge(now_ms, node, out) and node not in self._probes:
                # There is time: a member that is only slow must not gather voices. All others ask as well, so that
                # nobody is asked for help, and a voice that is missing or too many by bad luck does not matter.
                self._probes.begin(now_ms, node, out, patience=2, helpers=0, again=2)
        if now_ms >= self._mill.due_ms:
            self._gossip(now_ms, out)
        return out

    def _gossip(self, now_ms: int, out: list[Effect]) -> None:
        friends = self._cases.helpful()
        if self._mill.is_urgent:
            prompt = [peer for peer in friends if not self._lateness.of(now_ms, peer)]
            friends = prompt if len(prompt) >= FANOUT else friends
        # Where a third lie, one in 27 has three liars before it, one in 81 four. In a partial mesh orders differ.
        followers = FANOUT if self._cases.is_known_to_few else FANOUT + 1
        out.extend(self._mill.grind(now_ms, friends, self._cases.life_of, followers))
