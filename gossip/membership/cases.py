"""What speaks against whom: voices gathered, weighed against f, and dropped when the accused answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from gossip.effects import Effect, Rejected, Send
from gossip.identity import NodeId
from gossip.membership.lateness import Lateness
from gossip.membership.lots import Lots
from gossip.membership.messages import MAX_NAMED, FetchRecordsOf, Rumours
from gossip.membership.pace import FANOUT, FEW_VOICES, NEVER, Pace
from gossip.membership.roster import Roster
from gossip.membership.rumour_mill import TURNS, RumourMill
from gossip.membership.suspicions import Case, Life, Statements, Suspicion, Wolves
from gossip.membership.voices import (
    PREFIX_BYTES,
    FetchVoices,
    Voices,
    lengthen,
    shorten,
    split_tags,
    tagged,
)

_MAX_NOTED = 1024
_FORGET_PERIODS = 60
_EAGER_ASKS = 16
_MOST_DOUBLINGS = 4
_MAX_WAITING = 8
"""While so many wait for an answer nobody is dialed for one accuser's word."""


class Cases:
    """The open cases of one node, and the newest lives that it has heard of."""

    def __init__(
        self,
        statements: Statements,
        roster: Roster,
        lots: Lots,
        *,
        mill: RumourMill,
        pace: Pace,
        lateness: Lateness,
    ) -> None:
        self._statements, self._roster, self._lots = statements, roster, lots
        self._mill, self._pace, self._lateness = mill, pace, lateness
        self._node = statements.node
        self._cases: dict[NodeId, Case] = {}
        self._lives: dict[NodeId, Life] = {}
        self._wolves = Wolves()
        self._sought_ms: dict[NodeId, int] = {}
        self._answered_ms: dict[NodeId, int] = {}
        self._answers: dict[NodeId, Rumours] = {}
        self._challengers: dict[NodeId, None] = {}
        self._is_challenge_spread = False
        self.challenge = -1
        """The incarnation of ours that is suspected, or that we once had and forgot; -1 if none."""
        self.own_life: Life | None = None
        """What we answered last."""

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

    def dead(self, since_ms: int) -> list[NodeId]:
        """Members that have been dead to us since then or longer."""
        return [
            node
            for node, case in self._cases.items()
            if case.dead_ms is not None
            and case.dead_ms <= since_ms
            and self._incarnation(node) is not None
        ]

    def accused(self) -> list[NodeId]:
        """All against whom something speaks."""
        return list(self._cases)

    def own_words(self, nodes: Sequence[NodeId]) -> Rumours:
        """What we say against these dead ones, and what they have answered before."""
        return Rumours(
            tuple(self._cases[node].voices[self._node] for node in nodes),
            tuple(life for node in nodes for life in self.life_of(node)),
        )

    def helpful(self) -> Sequence[NodeId]:
        """Friends that we don't suspect."""
        friends, suspects = self._roster.friends(), frozenset(self.suspects())
        return [peer for peer in friends if peer not in suspects] if suspects else friends

    @property
    def is_known_to_few(self) -> bool:
        """Whether most members can't ask each other: a partial mesh."""
        return 2 * len(self._roster.connected()) < len(self._roster.members())

    def life_of(self, node: NodeId) -> tuple[Life, ...]:
        """What it has answered, as far as that is newer than its record."""
        life = self._lives.get(node)
        return () if life is None else (life,)

    @property
    def due_ms(self) -> int:
        """When one of the cases is to be judged."""
        if self._answers:
            return 0
        return min(map(self._due_ms, self._cases.values()), default=NEVER)

    def due(self, now_ms: int) -> Iterator[NodeId]:
        """Whose cases are to be judged now."""
        for node, case in list(self._cases.items()):
            if now_ms >= self._due_ms(case):
                yield node

    def check_invariants(self) -> None:
        """Nobody is dead without enough voices, ours among them."""
        assert len(self._sought_ms) <= _MAX_NOTED
        for node, case in self._cases.items():
            assert node != self._node
            assert not case.dead or case.own_ms is not None
            assert (case.own_ms is None) == (self._node not in case.voices)
            assert all(voice.incarnation == case.incarnation for voice in case.voices.values())

    # What it is told

    def heard(self, now_ms: int, peer: NodeId) -> None:
        """It has spoken to us itself: that refutes who accused it, for us.

        Where it may be that many can't ask it, it is to hear of it itself, and to answer all.
        """
        case = self._cases.pop(peer, None)
        if case is None:
            return
        self._note(self._answered_ms, now_ms, peer)
        self._mill.drop_suspicions(peer)
        all_voices = len(case.voices)
        is_late = now_ms - case.opened_ms > self._pace.timeout_ms
        if case.voices.pop(self._node, None) is None and not is_late:
            self._cry(now_ms, case)
        is_danger = all_voices > min(1, self._roster.tolerated) or self.is_known_to_few
        if case.voices and case.is_spread and is_danger:
            self._answers[peer] = Rumours((next(iter(case.voices.values())),), ())

    def answers(self) -> list[Effect]:
        """What members are to hear that others suspect, and what those hear that suspect us."""
        answers, self._answers = self._answers, {}
        return [Send(node, rumours) for node, rumours in answers.items()]

    def refuted(self, now_ms: int, life: Life) -> None:
        """We have answered who suspects us. Who alone says so hears it alone, and tells whom it had told.

        All hear it where the accusation is spread, and where we are late: else each would have to find out.
        """
        challengers, is_spread = self._challengers, self._is_challenge_spread
        self.challenge, self._challengers, self._is_challenge_spread = -1, {}, False
        self.own_life = life
        is_late = self._lateness.tell(now_ms)
        if is_late or is_spread or not challengers:
            is_calm = is_late and not is_spread and not challengers
            self._mill.tell(now_ms, life, set(), is_calm=is_calm)
            return
        for peer in challengers:
            self._answers[peer] = Rumours((), (life,))

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
        """We can't reach it. The first that can't says so to all, and all but many say it to itself."""
        incarnation = self._incarnation(node)
        if incarnation is None or self.is_suspect(node):
            return
        case = self._open(now_ms, node, incarnation)
        suspicion = self._statements.suspect(node, incarnation)
        self._tell_of(now_ms, case)
        case.own_ms, case.check_ms = now_ms, None
        case.ask_ms = now_ms + int(self._lots.jitter() * self._pace.voices_ms)
        case.voices[self._node] = suspicion
        if len(case.voices) == 1:
            self._tell(now_ms, case, suspicion)
        if len(case.voices) <= FEW_VOICES and node in self._roster.connected():
            out.append(Send(node, Rumours((suspicion,), self.life_of(node))))

    def judge(self, now_ms: int, node: NodeId, out: list[Effect]) -> bool:
        """Weigh the voices against a node; True if it is to be asked itself now."""
        case = self._cases[node]
        if self._incarnation(node) is None:
            del self._cases[node]
            return False
        if case.tell_ms is not None and now_ms >= case.tell_ms:
            self._tell_of(now_ms, case)
        if case.own_ms is None:
            if now_ms >= self._forget_ms(case):
                del self._cases[node]
                return False
            is_due = case.check_ms is not None and now_ms >= case.check_ms
            if is_due:
                case.check_ms = None
            return is_due
        self._drop_voices_of_strangers(case)
        if self._has_quorum(case) and now_ms >= case.deadline_ms(self._size, self._pace.period_ms):
            case.dead_ms = now_ms
        elif self._lacks_voices(case) and now_ms >= case.ask_ms:
            self._ask(now_ms, node, case, out)
        return False

    def _ask(self, now_ms: int, node: NodeId, case: Case, out: list[Effect]) -> None:
        """Compare voices with somebody."""
        self._wait(now_ms, case)
        helpful = self.helpful()
        # Not the same one again and again, however the lots fall.
        start = int(self._lots.jitter() * len(helpful)) + case.asks
        friends = [helpful[start % len(helpful)]] if helpful else []
        salt = int(self._lots.jitter() * (2**32 - 1))
        known = b"".join(tagged(salt, case.voices))
        out.extend(
            Send(friend, FetchVoices(node, case.incarnation, salt, known)) for friend in friends
        )

    def _wait(self, now_ms: int, case: Case) -> None:
        case.asks, case.is_put_off = case.asks + 1, False
        doublings = min(_MOST_DOUBLINGS, max(0, case.asks - _EAGER_ASKS))
        case.ask_ms = now_ms + (self._pace.voices_ms << doublings)

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
                self._take_life(now_ms, peer, life)
            else:
                self._mill.echo(peer, life)
        out: list[Effect] = []
        for suspicion in rumours.suspicions:
            if self._is_answered(suspicion):
                # Who still says so missed it, or it was only just said.
                if not out and self.own_life is not None and afford():
                    out.append(Send(peer, Rumours((), (self.own_life,))))
                continue
            case = self._cases.get(NodeId(suspicion.node))
            if (
                case is not None
                and suspicion.accuser in case.voices
                and case.incarnation == suspicion.incarnation
            ):
                case.is_spread = case.is_spread or self._is_spread(now_ms, peer, suspicion)
                case.knowing.add(peer)
                continue  # most are told more than once: the commonest answer is the quickest
            if self._is_new_suspicion(now_ms, suspicion):
                if not afford():
                    return out
                if not self._statements.is_suspicion(suspicion):
                    reason = "it passes on a suspicion that its accuser did not sign"
                    return [*out, Rejected(peer, reason)]
                self._take_suspicion(now_ms, peer, suspicion)
        return [*out, *self._seek(now_ms, peer, rumours.suspicions)]

    def _is_answered(self, one: Suspicion) -> bool:
        """Whether it speaks against us, and our last answer to that is newer."""
        life = self.own_life
        return one.node == self._node and life is not None and one.incarnation < life.incarnation

    def _seek(self, now_ms: int, peer: NodeId, told: Sequence[Suspicion]) -> list[Effect]:
        """A number that we have not seen says nothing before we have seen it signed: ask for that record.

        Those that are no neighbours of a node hear of its renewed records late.
        """
        unseen: dict[NodeId, int] = {}
        for one in told:
            node = NodeId(one.node)
            known = self._incarnation(node)
            if self._wolves.is_muted(now_ms, NodeId(one.accuser)):
                continue
            is_sought = now_ms - self._sought_ms.get(node, -NEVER) < self._pace.period_ms
            if known is not None and one.incarnation > known and not is_sought:
                unseen[node] = max(one.incarnation, unseen.get(node, 0))
        nodes = tuple(unseen)[:MAX_NAMED]
        if not nodes:
            return []
        for node in nodes:
            self._note(self._sought_ms, now_ms, node)
        # The voices come behind the records, and count then.
        voices = (Send(peer, FetchVoices(node, unseen[node], 0, b"")) for node in nodes)
        return [Send(peer, FetchRecordsOf(nodes)), *voices]

    def on_fetch(
        self, now_ms: int, peer: NodeId, fetch: FetchVoices, afford: Callable[[], bool]
    ) -> list[Effect]:
        """Tell voices against a node that the asker lacks, and say which of its we lack; or what it has answered."""
        node = NodeId(fetch.node)
        newer = tuple(one for one in self.life_of(node) if one.incarnation > fetch.incarnation)
        if newer:
            # It has answered, and the asker missed that.
            return [Send(peer, Rumours((), newer))]
        if not afford():
            return []
        case = self._cases.get(node)
        if case is not None and case.incarnation != fetch.incarnation:
            return []
        own = {} if case is None else case.voices
        theirs, ours = split_tags(fetch.known), tagged(fetch.salt, own)
        known, lacking = frozenset(theirs), max(0, self._enough - len(theirs))
        given: list[Suspicion] = []
        for tag, accuser in ours.items():
            if tag not in known and len(given) < lacking and afford():
                given.append(own[accuser])
        wanted: list[bytes] = []
        if self._would_listen(now_ms, peer, node, fetch.incarnation):
            wanted = [tag for tag in theirs if tag not in ours][: max(0, self._enough - len(own))]
        if not given and not wanted:
            return []
        if case is not None and case.own_ms is not None and not case.is_put_off:
            # We compare now, and need not ask as well; once between two questions of ours, or a liar could hold us up.
            case.is_put_off, case.ask_ms = True, now_ms + self._pace.voices_ms
        answer = Voices(node, fetch.incarnation, fetch.salt, shorten(given), b"".join(wanted))
        return [Send(peer, answer)]

    def _would_listen(self, now_ms: int, peer: NodeId, node: NodeId, incarnation: int) -> bool:
        if node == self._node or incarnation != self._incarnation(node):
            return False
        return node in self._cases or not (
            self._wolves.is_muted(now_ms, peer) or self._has_answered(now_ms, node)
        )

    def on_voices(
        self, now_ms: int, peer: NodeId, said: Voices, afford: Callable[[], bool]
    ) -> list[Effect]:
        """Take what is new and signed, and give what is wanted."""
        node = NodeId(said.node)
        if said.voices:
            accusers = self._by_prefix()
            for prefix, signature in lengthen(said.voices):
                bearers = [
                    Suspicion(accuser, node, said.incarnation, signature)
                    for accuser in accusers.get(prefix, ())
                ]
                candidates = [one for one in bearers if self._is_new_suspicion(now_ms, one)]
                for one in candidates:
                    if not afford():
                        return []
                    if self._statements.is_suspicion(one):
                        self._take_suspicion(now_ms, peer, one)
                        break
                else:
                    # Another bearer of the same prefix may have said it whose voice is known here.
                    if candidates and len(candidates) == len(bearers):
                        reason = "it passes on a suspicion that its accuser did not sign"
                        return [Rejected(peer, reason)]
        case = self._cases.get(node)
        if case is None or case.incarnation != said.incarnation or not said.wanted:
            return []
        ours = tagged(said.salt, case.voices)
        wanted = dict.fromkeys(split_tags(said.wanted))
        given = [case.voices[ours[tag]] for tag in wanted if tag in ours and afford()]
        if not given:
            return []
        return [Send(peer, Voices(node, said.incarnation, said.salt, shorten(given), b""))]

    def _by_prefix(self) -> dict[bytes, list[NodeId]]:
        """Who may have a voice, by the beginnings of their ids."""
        accusers: dict[bytes, list[NodeId]] = {}
        for node in self._roster.members():
            accusers.setdefault(node[:PREFIX_BYTES], []).append(node)
        return accusers

    # Small things

    @property
    def _size(self) -> int:
        return len(self._roster.members()) + 1

    @property
    def _enough(self) -> int:
        """So many voices are worth having."""
        return max(self._roster.tolerated + 1, min(FEW_VOICES, self._size - 1))

    def _note(self, kept: dict[NodeId, int], now_ms: int, node: NodeId) -> None:
        kept.pop(node, None)
        kept[node] = now_ms
        while len(kept) > _MAX_NOTED:
            del kept[next(iter(kept))]

    def _has_answered(self, now_ms: int, node: NodeId) -> bool:
        """Whether it did so lately that nobody can have missed it for a whole question since."""
        return (
            now_ms - self._answered_ms.get(node, -NEVER)
            < self._pace.verdict_ms - self._pace.gossip_ms
        )

    def _tell(self, now_ms: int, case: Case, one: Suspicion) -> None:
        # Who has missed the life that made its number known can not take it yet, and few ask for themselves here.
        is_hard = self.is_known_to_few and bool(self.life_of(NodeId(one.node)))
        self._mill.tell(now_ms, one, case.knowing, 2 * TURNS if is_hard else TURNS)

    def _tell_of(self, now_ms: int, case: Case) -> None:
        """Pass on the first voice, if it waits for that."""
        if case.tell_ms is not None:
            case.tell_ms = None
            for one in list(case.voices.values())[:1]:
                self._tell(now_ms, case, one)

    def _open(self, now_ms: int, node: NodeId, incarnation: int) -> Case:
        case = self._cases.get(node)
        if case is None or case.incarnation < incarnation:
            case = self._cases[node] = Case(incarnation, now_ms)
        return case

    def _forget_ms(self, case: Case) -> int:
        """Voices that nobody adds to are forgotten in the end."""
        return case.opened_ms + _FORGET_PERIODS * self._pace.period_ms

    def _due_ms(self, case: Case) -> int:
        if case.dead:
            return NEVER
        tell_ms = NEVER if case.tell_ms is None else case.tell_ms
        if case.own_ms is None:
            check_ms = NEVER if case.check_ms is None else case.check_ms
            return min(tell_ms, check_ms, self._forget_ms(case))
        ask_ms = case.ask_ms if self._lacks_voices(case) else NEVER
        dead_ms = NEVER
        if self._has_quorum(case):
            dead_ms = case.deadline_ms(self._size, self._pace.period_ms)
        return min(tell_ms, ask_ms, dead_ms)

    def _has_quorum(self, case: Case) -> bool:
        """Whether liars alone could not have said all of it."""
        return len(case.voices) > self._roster.tolerated

    def _lacks_voices(self, case: Case) -> bool:
        """Whether more would count, or make the time to answer shorter."""
        return len(case.voices) < self._enough

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

    def _take_life(self, now_ms: int, peer: NodeId, life: Life) -> None:
        node = NodeId(life.node)
        if node == self._node:
            # Our disk is older than what we once said.
            self.challenge = max(self.challenge, life.incarnation)
            return
        self._lives[node] = life
        is_news = self._lateness.said(now_ms, node, life.late_ms)
        case = self._cases.pop(node, None)
        if case is not None and not life.late_ms:
            self._cry(now_ms, case)
        is_awaited = case is not None or self._has_answered(now_ms, node)
        if is_news or is_awaited:
            # Where all ask the accused themselves, who misses this has the answer from there.
            turns = TURNS if self.is_known_to_few else 1
            self._mill.tell(now_ms, life, {peer, node}, turns, is_calm=not is_awaited)
        elif self.is_known_to_few and self._lots.jitter() * FANOUT < 1:
            # Nobody is known to lack it here. Some may, and can't ask themselves: it goes on to one on average.
            self._mill.tell(now_ms, life, {peer, node}, 1)

    def _cry(self, now_ms: int, case: Case) -> None:
        """It was there all the same. That is held against few accusers; not against those of one that is late."""
        if len(case.voices) <= self._roster.tolerated:
            for accuser in case.voices:
                self._wolves.cried(now_ms, accuser)

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
            return not (self._wolves.is_muted(now_ms, accuser) or self._has_answered(now_ms, node))
        return accuser not in case.voices and len(case.voices) <= self._roster.tolerated + 1

    def _take_suspicion(self, now_ms: int, peer: NodeId, one: Suspicion) -> None:
        node, is_spread = NodeId(one.node), self._is_spread(now_ms, peer, one)
        if node == self._node:
            self.challenge = one.incarnation
            self._challengers[peer] = None
            self._is_challenge_spread = self._is_challenge_spread or is_spread
            return
        case = self._open(now_ms, node, one.incarnation)
        case.is_spread = case.is_spread or is_spread
        case.knowing |= {peer, NodeId(one.accuser)}
        if not case.voices:
            self._look_into(now_ms, node, case)
        case.voices[NodeId(one.accuser)] = one
        self._tell_of_at_once(now_ms, case)

    def _is_spread(self, now_ms: int, peer: NodeId, one: Suspicion) -> bool:
        """Whether others than the accuser tell of it.

        If it has cried wolf lately that says nothing: liars pass on each other's lies. Such a one is looked into as
        if its accuser had told us.
        """
        return peer != one.accuser and not self._wolves.is_known(now_ms, NodeId(one.accuser))

    def _look_into(self, now_ms: int, node: NodeId, case: Case) -> None:
        """Ask the accused before passing it on: most that is false ends here.

        Who is far is dialed first by those that have it from the accuser itself; all others pass it on, and hear the
        answer before they dial. So a lie costs its victim a few handshakes, not one with everybody.
        """
        late_ms = self._lateness.of(now_ms, node)
        if node in self._roster.connected():
            case.check_ms, case.tell_ms = now_ms, now_ms + self._pace.verify_ms + late_ms
            return
        case.tell_ms, case.check_ms = now_ms, now_ms
        if not self._roster.is_far(node):
            return
        if not case.is_spread and self._waiting(now_ms) < _MAX_WAITING:
            case.tell_ms += self._pace.call_ms + late_ms
        else:
            jitter_ms = int(self._lots.jitter() * self._pace.period_ms)
            case.check_ms += self._pace.answer_ms + jitter_ms

    def _waiting(self, now_ms: int) -> int:
        """How many accusations wait for what their accused says before they are passed on."""
        return sum(
            case.tell_ms is not None and case.tell_ms > now_ms for case in self._cases.values()
        )

    def _tell_of_at_once(self, now_ms: int, case: Case) -> None:
        if case.tell_ms is not None and now_ms >= case.tell_ms:
            self._tell_of(now_ms, case)

    def _incarnation(self, node: NodeId) -> int | None:
        recorded, life = self._roster.incarnation(node), self._lives.get(node)
        if recorded is None or life is None:
            return recorded
        return max(recorded, life.incarnation)
