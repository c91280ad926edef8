"""Every interleaving of a few real replicas: not a sample of what may happen, but all of it, within bounds.

Four replicas of equal weight, one of them faulty; the others are the real consensus core. Messages arrive in any order,
late, twice or never; timers run out whenever they run. Each state in which anybody has said or decided anything new is
visited; what only concerns one replica is left until it matters (see `stepping.py`), which leaves nothing out.

Bounds: views, heights, and no restarts. Differs from exploring seeds: nothing is left to luck, so within the bounds
there is a proof, though only within them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from time import perf_counter

from consensus.blocks import Block, make_block
from consensus.certificates import Ballot, Phase, endorse
from consensus.genesis import Founder, found
from consensus.messages import (
    ConsensusMessage,
    Proposal,
    ViewChange,
    Vote,
    proposal_bytes,
    view_change_bytes,
)
from consensus.parameters import Parameters
from consensus.pbft.replica import Replica
from consensus.pbft.reports import Timing, Tip
from consensus.pbft.view_change import EpochBase
from consensus.pbft.vote_log import VoteLog
from gossip.identity import NodeId, Signer
from simulations.exhaust.stepping import Bounds, Mail, Walker
from simulations.violations import ViolationError
from simulations.worlds.draws import Draws
from simulations.worlds.signatures import Keyring

SEATS = 4
_LIES = (2, 3)
"""Timestamps of the two blocks that a lying leader makes."""


@dataclass(frozen=True, slots=True)
class Case:
    """One small world.

    `told`: which of its blocks, 0 or 1, the faulty leader tells each honest seat of, in seat order, -1 for none; it
    votes for that block, to that seat. `BOTH` lets it tell everybody anything. None: it says nothing at all.
    """

    name: str
    faulty: int
    views: int
    heights: int = 1
    told: tuple[int, ...] | None = None
    asks: bool = False
    """Whether it also asks for every view, as if it had prepared nothing."""


BOTH: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of one case."""

    case: Case
    states: int
    steps: int
    """Transitions between those states."""
    cores: int
    """Different states of the real core, over all replicas."""
    core_runs: int
    decisions: int
    """States in which somebody has just decided."""
    wall_s: float
    is_complete: bool
    violation: str | None = None
    history: tuple[str, ...] = ()


def cases(views: int = 2, heights: int = 2, *, asks: bool = False) -> list[Case]:
    """The standard cases. Of those that are equal but for which lie is called which, one is run: symmetry.

    `asks`: liars ask for views as well, which takes far longer.
    """
    standard = [
        Case("a silent follower", faulty=3, views=views),
        Case("a silent first leader", faulty=0, views=views),
        Case("a silent follower, more heights", faulty=3, views=1, heights=heights),
        Case("an equivocating leader that tells anybody anything", 0, views=1, told=BOTH),
    ]
    for told in product((0, 1, -1), repeat=SEATS - 1):
        if told == _least(told) and told != (-1,) * len(told):
            name = "".join({0: "A", 1: "B", -1: "-"}[one] for one in told)
            standard.append(
                Case(f"an equivocating leader, {name}", 0, views=views, told=told, asks=asks)
            )
    return standard


def _least(told: tuple[int, ...]) -> tuple[int, ...]:
    """Of a way to tell two blocks and the same with the blocks exchanged, the one that is run."""
    other = tuple(one if one < 0 else 1 - one for one in told)
    return min(told, other, key=lambda one: tuple((part + 3) % 3 for part in one))


class _Small:
    """The world of one case."""

    def __init__(self, case: Case) -> None:
        keys = Keyring(Draws(1), real=False)
        self.verifier = keys.verifier
        users = [keys.signer(b"identity", seat) for seat in range(SEATS)]
        self.voters = [keys.signer(b"voting", seat) for seat in range(SEATS)]
        founders = tuple(
            Founder(user.public, voter.public, 1, 1_000)
            for user, voter in zip(users, self.voters, strict=True)
        )
        genesis = found("exhaustive", 1, founders, Parameters())
        self.chain, self.members = genesis.federation_id, genesis.first_set()
        self.honest = tuple(seat for seat in range(SEATS) if seat != case.faulty)
        self.case = case
        self.mail = Mail(tuple(NodeId(user.public) for user in users))
        shared = frozenset(map(id, (self.verifier, self.members, *self.voters)))
        bounds = Bounds(case.views, case.heights)
        self.walkers = [
            Walker(
                seat=seat,
                members=self.members,
                mail=self.mail,
                bounds=bounds,
                honest=frozenset(self.honest),
                shared=shared,
                replica=self._replica(self.voters[seat]),
            )
            for seat in self.honest
        ]
        self.lies = {
            seat: self._lies_to(seat, place) if case.told is not None else 0
            for place, seat in enumerate(self.honest)
        }

    def _replica(self, signer: Signer) -> Replica:
        return Replica(
            chain=self.chain,
            signer=signer,
            verifier=self.verifier,
            members=self.members,
            base=EpochBase(0, self.chain),
            tip=Tip(0, self.chain, 1, None),
            log=VoteLog(),
            timing=Timing(),
            check_block=lambda _: None,
            find=lambda _: None,
        )

    def _lies_to(self, seat: int, place: int) -> int:
        """What the liar may say to this seat, at any time."""
        faulty, told = self.case.faulty, self.case.told
        assert told is not None
        blocks = [self._block(lie) for lie in _LIES]
        chosen = blocks if told == BOTH else [blocks[told[place]]] if told[place] >= 0 else []
        said: list[ConsensusMessage] = []
        signer = self.voters[faulty]
        for block in chosen:
            signed = proposal_bytes(self.chain, 0, 0, 1, block.digest)
            said.append(Proposal(0, 0, block.header, (), signer.sign(signed)))
            for phase in Phase:
                ballot = Ballot(phase, 0, 0, 1, block.digest)
                said.append(Vote(ballot, endorse(signer, self.chain, ballot)))
        for view in range(1, self.case.views if self.case.asks else 1):
            signed = view_change_bytes(self.chain, 0, view, None, None)
            said.append(ViewChange(0, view, None, None, signer.public, signer.sign(signed)))
        mask = 0
        for message in said:
            mask |= 1 << self.mail.number(faulty, seat, message)
        return mask

    def _block(self, timestamp_ms: int) -> Block:
        return make_block(
            chain=self.chain,
            height=1,
            epoch=0,
            prev_hash=self.chain,
            proposer=self.members.validators[self.case.faulty].node,
            timestamp_ms=timestamp_ms,
            transactions=(),
        )


MOST_STATES = 10_000_000
"""All of two views need fewer; so many take some 2 GiB."""
Tell = Callable[[Case, int], None]


def check(case: Case, limit: int = MOST_STATES, tell: Tell | None = None) -> Checked:
    """Walk through a case; incomplete if it has more than `limit` states. `tell` hears how many there were so far."""
    begin = perf_counter()
    small: _Small | None = None
    counts = _Counts()
    violation: str | None = None
    history: tuple[str, ...] = ()
    try:
        small = _Small(case)
        _walk(small, counts, limit, tell)
    except ViolationError as error:
        violation = str(error)
        history = counts.history or _history(small, counts)
    except Exception as error:  # noqa: BLE001 - whatever leaves a core is what is looked for
        violation = f"no exception: {error!r}"
        history = _history(small, counts)
    walkers = [] if small is None else small.walkers
    return Checked(
        case,
        counts.states,
        counts.steps,
        sum(one.cores for one in walkers),
        sum(one.core_runs for one in walkers),
        counts.decisions,
        perf_counter() - begin,
        counts.is_complete and violation is None,
        violation,
        history,
    )


@dataclass(slots=True)
class _Counts:
    states: int = 0
    steps: int = 0
    decisions: int = 0
    is_complete: bool = False
    history: tuple[str, ...] = ()
    state: tuple[int, ...] = ()
    """The one whose moves are looked at."""
    place: int = 0
    """And whose."""


def _history(small: _Small | None, counts: _Counts) -> tuple[str, ...]:
    """What each replica took before one of them came upon what it found by itself; that one's last."""
    if small is None or not counts.state:
        return ()
    others = [
        line
        for place, walker in enumerate(small.walkers)
        if place != counts.place
        for line in walker.history(counts.state[place])
    ]
    return (*others, *small.walkers[counts.place].history_of_last())


def _walk(small: _Small, counts: _Counts, limit: int, tell: Tell | None) -> None:
    """Layer by layer: every move adds to what was said, so no state comes back in a later layer."""
    walkers = small.walkers
    places = range(len(walkers))
    layer = {tuple(walker.start for walker in walkers)}
    while layer:
        counts.states += len(layer)
        if tell is not None:
            tell(small.case, counts.states)
        if counts.states > limit:
            return
        following: set[tuple[int, ...]] = set()
        for state in layer:
            counts.state = state
            here = [walkers[place].locals[state[place]] for place in places]
            for place in places:
                counts.place, walker = place, walkers[place]
                at_hand = small.lies[walker.seat]
                for other in places:
                    at_hand |= here[other].sent[walker.seat]
                for after in walker.moves(state[place], at_hand):
                    counts.steps += 1
                    then = (*state[:place], after, *state[place + 1 :])
                    if then in following:
                        continue
                    following.add(then)
                    if walker.locals[after].decided != here[place].decided:
                        counts.decisions += 1
                        _agree(small, then, counts)
        layer = following
    counts.is_complete = True


def _agree(small: _Small, state: tuple[int, ...], counts: _Counts) -> None:
    """One block for each height."""
    walkers = small.walkers
    decided = [walker.locals[at].decided for walker, at in zip(walkers, state, strict=True)]
    for height in range(max(map(len, decided))):
        named = {one[height] for one in decided if len(one) > height}
        if len(named) > 1:
            counts.history = tuple(
                line
                for walker, at in zip(walkers, state, strict=True)
                for line in walker.history(at)
            )
            digests = " and ".join(sorted(one.hex()[:16] for one in named))
            raise ViolationError("agreement", f"height {height + 1}: {digests}")
