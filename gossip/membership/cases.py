"""What speaks against whom: voices gathered, weighed against f, and dropped when the accused answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from gossip.effects import Effect, Rejected, Send
from gossip.identity import NodeId
from gossip.membership.lots import Lots
from gossip.membership.messages import (
    MAX_NAMED,
    MAX_RUMOURS,
    FetchRecordsOf,
    FetchVoices,
    Rumours,
)
from gossip.membership.pace import FULL_VOICES, NEVER, Pace
from gossip.membership.roster import Roster
from gossip.membership.rumour_mill import RumourMill
from gossip.membership.suspicions import Case, Life, Statements, Suspicion, Wolves

_MAX_SOUGHT = 1024


class Cases:
    """The open cases of one node, and the newest lives that it has heard of."""

    def __init__(
        self, statements: Statements, roster: Roster, lots: Lots, mill: RumourMill, pace: Pace
    ) -> None:
        self._statements, self._roster, self._lots = statements, roster, lots
        self._mill, self._pace = mill, pace
        self._node = statements.node
        self._cases: dict[NodeId, Case] = {}
        self._lives: dict[NodeId, Life] = {}
        self._wolves = Wolves()
        self._sought_ms: dict[NodeId, int] = {}
        self.challenge = -1
        """The incarnation of ours that is suspected, or that we once had and forgot; -1 if none."""

    # What it is asked

    def get(self, node: NodeId) -> Case | None:
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

    def helpful(self) -> Sequence[NodeId]:
        """Friends that we don't suspect."""
        friends, suspects = self._roster.friends(), frozenset(self.suspects())
        return [peer for peer in friends if peer not in suspects] if suspects else friends

    def life_of(self, node: NodeId) -> tuple[Life, ...]:
        """What it has answered, as far as that is newer than its record."""
        life = self._lives.get(node)
        return () if life is None else (life,)

    @property
    def due_ms(self) -> int:
        """When one of the cases is to be judged."""
        return min(map(self._due_ms, self._cases.values()), default=NEVER)

    def due(self, now_ms: int) -> Iterator[NodeId]:
        """Whose cases are to be judged now."""
        for node, case in list(self._cases.items()):
            if now_ms >= self._due_ms(case):
                yield node

    def check_invariants(self) -> None:
        """Nobody is dead without enough voices, ours among them."""
        assert len(self._sought_ms) <= _MAX_SOUGHT
        for node, case in self._cases.items():
            assert node != self._node
            assert not case.dead or case.own_ms is not None
            assert (case.own_ms is None) == (self._node not in case.voices)
            assert all(voice.incarnation == case.incarnation for voice in case.voices.values())

    # What it is told

    def heard(self, peer: NodeId) -> None:
        """It has spoken to us itself: we take our accusation back."""
        case = self._cases.get(peer)
        if case is not None:
            case.own_ms, case.check_ms, case.dead = None, None, False
            case.voices.pop(self._node, None)
            if not case.voices:
                del self._cases[peer]

    def forgive(self, gap_ms: int) -> None:
        """We were asleep for so long: everybody has that much more time to answer."""
        for case in self._cases.values():
            case.opened_ms += gap_ms

    def renewed(self, node: NodeId, incarnation: int) -> None:
        """A new record of a node was taken."""
        life, case = self._lives.get(node), self._cases.get(node)
        if life is not None and life.incarnation <= incarnation:
            del self._lives[node]
        if case is not None and case.incarnation < incarnation:
            del self._cases[node]

    def accuse(self, now_ms: int, node: NodeId, out: list[Effect]) -> None:
        """We can't reach it: say so, to itself as well."""
        incarnation = self._incarnation(node)
        if incarnation is None or self.is_suspect(node):
            return
        case = self._open(now_ms, node, incarnation)
        suspicion = self._statements.suspect(node, incarnation)
        case.own_ms, case.check_ms, case.asked_ms = now_ms, None, now_ms
        case.voices[self._node] = suspicion
        self._tell(now_ms, suspicion, full=len(case.voices) <= FULL_VOICES)
        if node in self._roster.connected():
            out.append(Send(node, Rumours((suspicion,), self.life_of(node))))

    def judge(self, now_ms: int, node: NodeId, out: list[Effect]) -> bool:
        """Weigh the voices against a node; True if it is to be asked itself now."""
        case = self._cases[node]
        if self._incarnation(node) is None:
            del self._cases[node]
            return False
        if case.own_ms is None:
            if case.check_ms is None or now_ms - case.opened_ms >= 60 * self._pace.period_ms:
                del self._cases[node]
                return False
            case.check_ms = None
            return True
        self._drop_voices_of_strangers(case)
        case.dead = (
            now_ms >= case.deadline_ms(self._size, self._pace.period_ms)
            and len(case.voices) > self._roster.tolerated
        )
        if not case.dead:
            case.asked_ms = now_ms
            friends = self._lots.draw(self.helpful(), 1)
            out.extend(Send(friend, FetchVoices(node, case.incarnation)) for friend in friends)
        return False

    def on_rumours(
        self, now_ms: int, peer: NodeId, rumours: Rumours, afford: Callable[[], bool]
    ) -> list[Effect]:
        """Take what is new and signed."""
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
        return self._seek(now_ms, peer, rumours.suspicions)

    def _seek(self, now_ms: int, peer: NodeId, told: Sequence[Suspicion]) -> list[Effect]:
        """A number that we have not seen says nothing before we have seen it signed: ask for that record.

        Those that are no neighbours of a node hear of its renewed records late.
        """
        unseen: dict[NodeId, int] = {}
        for one in told:
            node = NodeId(one.node)
            known = self._incarnation(node)
            is_sought = now_ms - self._sought_ms.get(node, -NEVER) < self._pace.period_ms
            if known is not None and one.incarnation > known and not is_sought:
                unseen[node] = max(one.incarnation, unseen.get(node, 0))
        nodes = tuple(unseen)[:MAX_NAMED]
        if not nodes:
            return []
        for node in nodes:
            self._sought_ms.pop(node, None)
            self._sought_ms[node] = now_ms
        while len(self._sought_ms) > _MAX_SOUGHT:
            del self._sought_ms[next(iter(self._sought_ms))]
        # The voices come behind the records, and count then.
        voices = (Send(peer, FetchVoices(node, unseen[node])) for node in nodes)
        return [Send(peer, FetchRecordsOf(nodes)), *voices]

    def on_fetch(self, peer: NodeId, fetch: FetchVoices) -> list[Effect]:
        """Tell the voices against a node, or what it has answered."""
        case = self._cases.get(NodeId(fetch.node))
        if case is None or case.incarnation != fetch.incarnation:
            # Perhaps it has answered, and the asker missed that.
            lives = self.life_of(NodeId(fetch.node))
            newer = tuple(life for life in lives if life.incarnation > fetch.incarnation)
            return [Send(peer, Rumours((), newer))] if newer else []
        voices = tuple(case.voices[accuser] for accuser in sorted(case.voices))[:MAX_RUMOURS]
        return [Send(peer, Rumours(voices, self.life_of(NodeId(fetch.node))))]

    # Small things

    @property
    def _size(self) -> int:
        return len(self._roster.members()) + 1

    def _tell(self, now_ms: int, what: Suspicion | Life, *, full: bool) -> None:
        self._mill.tell(now_ms, what, self._size, full=full)

    def _open(self, now_ms: int, node: NodeId, incarnation: int) -> Case:
        case = self._cases.get(node)
        if case is None or case.incarnation < incarnation:
            case = self._cases[node] = Case(incarnation, now_ms)
        return case

    def _due_ms(self, case: Case) -> int:
        if case.dead:
            return NEVER
        if case.own_ms is None:
            # Voices that nobody adds to are forgotten in the end.
            last = case.opened_ms + 60 * self._pace.period_ms
            return last if case.check_ms is None else min(last, case.check_ms)
        if self._lacks_voices(case):
            return case.asked_ms + self._pace.voices_ms
        return case.deadline_ms(self._size, self._pace.period_ms)

    def _lacks_voices(self, case: Case) -> bool:
        voices = len(case.voices)
        return voices <= self._roster.tolerated or voices < min(FULL_VOICES, self._size - 1)

    def _drop_voices_of_strangers(self, case: Case) -> None:
        """An accuser may have been removed since."""
        for accuser in list(case.voices):
            if accuser != self._node and not self._roster.has_voice(accuser):
                del case.voices[accuser]

    def _is_new_life(self, life: Life) -> bool:
        if life.node == self._node:
            return life.incarnation > self._roster.own_incarnation
        known = self._incarnation(NodeId(life.node))
        return known is not None and life.incarnation > known

    def _take_life(self, now_ms: int, life: Life) -> None:
        node = NodeId(life.node)
        if node == self._node:
            # Our disk is older than what we once said.
            self.challenge = max(self.challenge, life.incarnation)
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
            return self.challenge < one.incarnation <= self._roster.own_incarnation
        if one.incarnation != self._incarnation(node):
            return False
        case = self._cases.get(node)
        if case is None:
            return not self._wolves.is_muted(now_ms, accuser)
        return accuser not in case.voices and len(case.voices) <= self._roster.tolerated + 1

    def _take_suspicion(self, now_ms: int, one: Suspicion) -> None:
        node = NodeId(one.node)
        if node == self._node:
            self.challenge = one.incarnation
            return
        case = self._open(now_ms, node, one.incarnation)
        if not case.voices and case.own_ms is None:
            case.check_ms = now_ms + self._check_in_ms(node)
        case.voices[NodeId(one.accuser)] = one
        self._tell(now_ms, one, full=len(case.voices) <= FULL_VOICES)

    def _check_in_ms(self, node: NodeId) -> int:
        """By lot, so that not all ask at the same moment."""
        if self._roster.is_far(node):
            return self._pace.answer_ms + int(self._lots.jitter() * self._pace.period_ms)
        return int(self._lots.jitter() * self._pace.check_ms)

    def _incarnation(self, node: NodeId) -> int | None:
        recorded, life = self._roster.incarnation(node), self._lives.get(node)
        if recorded is None or life is None:
            return recorded
        return max(recorded, life.incarnation)
