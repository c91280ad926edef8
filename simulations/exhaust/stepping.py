"""The real replica as a graph: states with numbers, and steps that are run once and then known.

A local state is what one replica is, what it has sent so far, and what was handed to it. A step hands it one message,
or lets its timer run out. Each step of the real core is run once, on a copy; every later walk over it is a look into a
table.
"""

# ruff: noqa: SLF001 - a model looks into what it walks through
from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import cast

from consensus.certificates import Phase
from consensus.messages import ConsensusMessage
from consensus.pbft.replica import Replica, ReplicaMessage
from consensus.pbft.reports import Decided, Equivocation
from consensus.quorum import ValidatorSet
from consensus.sync import tip_of
from gossip.codec import Digest, encode
from gossip.effects import Broadcast, Effect, Notify, Send
from gossip.identity import NodeId
from simulations.exhaust.forking import fork, frozen
from simulations.violations import ViolationError

TIMEOUT = -1
NOTHING = -1
_NOW_MS = 1
_WITHOUT_MEANING = frozenset(
    {"_now_ms", "_out", "_failed_views", "_kept", "_written", "_log", "_guard_height", "_timing"}
    | {"_proven", "_named", "_names"}
)
"""Time does not pass here and nobody restarts, so what only these two read makes no difference.

Nor does what has been hashed or checked already."""


class Mail:
    """All messages that anybody ever sends, numbered for each receiver."""

    def __init__(self, nodes: tuple[NodeId, ...]) -> None:
        self.nodes = nodes
        self.seats = {node: seat for seat, node in enumerate(nodes)}
        self._numbers: dict[tuple[int, int, bytes], int] = {}
        self.sent: list[list[tuple[int, ConsensusMessage]]] = [[] for _ in nodes]

    def number(self, sender: int, receiver: int, message: ConsensusMessage) -> int:
        """The number of this message among those to its receiver."""
        name = (sender, receiver, encode(message))
        known = self._numbers.get(name)
        if known is None:
            known = self._numbers[name] = len(self.sent[receiver])
            self.sent[receiver].append((sender, message))
        return known


@dataclass(slots=True)
class Local:
    """A local state. Sets of messages are numbers with one bit for each."""

    core: int
    sent: tuple[int, ...]
    """For each seat, the messages sent to it."""
    taken: int
    """Messages that were handed over and would change something if they came again."""
    decided: tuple[Digest, ...]
    steps: dict[int, int] = field(default_factory=dict)
    before: tuple[int, tuple[int, ...]] | None = None
    """The state it was first reached from, and by which steps."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far a walk goes."""

    views: int
    heights: int


class Walker:
    """All local states of one replica."""

    def __init__(
        self,
        *,
        seat: int,
        members: ValidatorSet,
        mail: Mail,
        bounds: Bounds,
        honest: frozenset[int],
        shared: frozenset[int],
        replica: Replica,
    ) -> None:
        self.seat, self._mail, self._bounds = seat, mail, bounds
        self._honest, self._shared = honest, shared
        self._honest_keys = frozenset(members.validators[one].voting_key for one in honest)
        self._cores: list[tuple[Replica, tuple[Digest, ...]]] = []
        self._core_of: dict[Hashable, int] = {}
        self._core_steps: dict[tuple[int, int], tuple[int, tuple[int, ...]]] = {}
        self.locals: list[Local] = []
        self._local_of: dict[tuple[int, tuple[int, ...], int], int] = {}
        self._moves: dict[tuple[int, int], tuple[int, ...]] = {}
        self._tried: tuple[int, int] | None = None
        """The step of the real core that was tried last, from which local state."""
        self.core_runs = 0
        sent = [0] * len(mail.nodes)
        decided = self._carry(replica, (), replica.set_waiting(_NOW_MS, waiting=True), sent)
        self.start = self._local(self._core(replica, decided), tuple(sent), 0)

    @property
    def cores(self) -> int:
        """How many different states of the real core were met."""
        return len(self._cores)

    # Steps of the real core

    def _core(self, replica: Replica, decided: tuple[Digest, ...]) -> int:
        name = (self._fingerprint(replica), decided)
        known = self._core_of.get(name)
        if known is None:
            known = self._core_of[name] = len(self._cores)
            self._cores.append((replica, decided))
        return known

    def _fingerprint(self, replica: Replica) -> Hashable:
        """All that can still matter: PREPAREs and suspicions of views that were left are never read again."""
        slot, requests, view = replica._slot, replica._requests, replica.view
        tallies, suspicions = slot._tallies, requests._suspicions
        slot._tallies = {
            at: one for at, one in tallies.items() if at[0] is not Phase.PREPARE or at[1] >= view
        }
        requests._suspicions = {who: at for who, at in suspicions.items() if at >= view}
        found = frozen(replica, _WITHOUT_MEANING, self._shared)
        slot._tallies, requests._suspicions = tallies, suspicions
        return found

    def _core_step(self, core: int, what: int) -> tuple[int, tuple[int, ...]]:
        known = self._core_steps.get((core, what))
        if known is None:
            self.core_runs += 1
            before, decided = self._cores[core]
            replica = fork(before, self._shared)
            sent = [0] * len(self._mail.nodes)
            if what == TIMEOUT:
                effects = replica.on_progress_timeout(_NOW_MS)
            else:
                sender, message = self._mail.sent[self.seat][what]
                peer = self._mail.nodes[sender]
                effects = replica.on_message(_NOW_MS, peer, cast("ReplicaMessage", message))
            after = self._carry(replica, decided, effects, sent)
            known = self._core_steps[core, what] = self._core(replica, after), tuple(sent)
        return known

    def _carry(
        self,
        replica: Replica,
        decided: tuple[Digest, ...],
        effects: list[Effect],
        sent: list[int],
    ) -> tuple[Digest, ...]:
        """Post what is sent, execute what is decided, propose when it may; what is decided afterwards."""
        queue = deque(effects)
        while True:
            while queue:
                effect = queue.popleft()
                match effect:
                    case Broadcast():
                        self._post(effect.to, cast("ConsensusMessage", effect.message), sent)
                    case Send():
                        self._post((effect.to,), cast("ConsensusMessage", effect.message), sent)
                    case Notify(what=Decided() as found):
                        decided = (*decided, found.block.digest)
                        tip = tip_of(found.block, found.certificate)
                        queue += replica.advance(_NOW_MS, tip)
                    case Notify(what=Equivocation() as found):
                        self._judge(found)
                    case _:
                        pass
            if not replica.can_propose or replica.tip.height >= self._bounds.heights:
                break
            queue += replica.propose(_NOW_MS, ())
        replica.check_invariants()
        return decided

    def _post(self, to: tuple[NodeId, ...], message: ConsensusMessage, sent: list[int]) -> None:
        for node in to:
            receiver = self._mail.seats[node]
            if receiver in self._honest:
                sent[receiver] |= 1 << self._mail.number(self.seat, receiver, message)

    def _judge(self, found: Equivocation) -> None:
        if found.voter in self._honest_keys:
            raise ViolationError(
                "evidence", f"n{self.seat} can prove that honest {found.voter.hex()[:8]} lied"
            )

    # Local states

    def _local(
        self,
        core: int,
        sent: tuple[int, ...],
        taken: int,
        before: tuple[int, tuple[int, ...]] | None = None,
    ) -> int:
        """Of what was taken, only what would change something again tells states apart.

        So the network may hand anything over twice, wherever it matters not once more.
        """
        for what in _bits(taken):
            after, said = self._core_step(core, what)
            if after == core and not any(new & ~old for new, old in zip(said, sent, strict=True)):
                taken &= ~(1 << what)
        name = (core, sent, taken)
        known = self._local_of.get(name)
        if known is None:
            known = self._local_of[name] = len(self.locals)
            decided = self._cores[core][1]
            self.locals.append(Local(core, sent, taken, decided, before=before))
        return known

    def step(self, state: int, what: int) -> int:
        """Where a step leads, `NOTHING` if it changes nothing."""
        local = self.locals[state]
        known = local.steps.get(what)
        if known is None:
            self._tried = state, what
            core, said = self._core_step(local.core, what)
            sent = tuple(old | new for old, new in zip(local.sent, said, strict=True))
            if core == local.core and sent == local.sent:
                known = NOTHING
            else:
                taken = local.taken if what == TIMEOUT else local.taken | 1 << what
                known = self._local(core, sent, taken, (state, (what,)))
            local.steps[what] = known
        return known

    def is_silent(self, state: int, after: int) -> bool:
        """Whether nobody else can tell the two states apart."""
        one, other = self.locals[state], self.locals[after]
        return one.sent == other.sent and one.decided == other.decided

    def _possible(self, state: int, at_hand: int) -> Iterator[int]:
        local = self.locals[state]
        yield from _bits(at_hand & ~local.taken)
        replica = self._cores[local.core][0]
        if replica._timer_runs and replica.entered and replica.view < self._bounds.views - 1:
            yield TIMEOUT

    # Moves: what others can see

    def moves(self, state: int, at_hand: int) -> tuple[int, ...]:
        """The states that follow by one visible step, with as few silent ones before it as it needs.

        Silent steps of one replica change nothing for the others, so each may wait until the visible step that would be
        another without it. What is `at_hand` stays at hand, so nothing is lost by waiting.
        """
        name = state, at_hand & ~self.locals[state].taken
        known = self._moves.get(name)
        if known is not None:
            return known
        found: set[int] = set()
        seen = {state}
        stack: list[tuple[int, tuple[int, ...]]] = [(state, ())]
        while stack:
            at, silent = stack.pop()
            for what in self._possible(at, at_hand):
                after = self.step(at, what)
                if after == NOTHING:
                    continue
                if self.is_silent(at, after):
                    if after not in seen:
                        seen.add(after)
                        stack.append((after, (*silent, what)))
                elif self._is_needed(state, silent, what, after):
                    found.add(after)
        self._moves[name] = known = tuple(sorted(found))
        return known

    def _is_needed(self, state: int, silent: tuple[int, ...], visible: int, after: int) -> bool:
        """Whether none of the silent steps could as well come behind the visible one."""
        for late in silent:
            at: int | None = state
            for what in silent:
                if what != late and at is not None:
                    beyond = self.step(at, what)
                    if beyond != NOTHING:
                        at = beyond if self.is_silent(at, beyond) else None
            if at is None:
                continue
            seen = self.step(at, visible)
            if seen == NOTHING or self.is_silent(at, seen):
                continue
            then = self.step(seen, late)
            if (seen if then == NOTHING else then) == after:
                return False
        return True

    def history(self, state: int) -> list[str]:
        """How a state was first reached, one line a step."""
        lines: list[str] = []
        at: int | None = state
        while at is not None:
            before = self.locals[at].before
            if before is None:
                break
            at, steps = before
            lines += [self._told(what) for what in reversed(steps)]
        return lines[::-1]

    def history_of_last(self) -> list[str]:
        """The same for what was tried last, that step included."""
        if self._tried is None:
            return []
        state, what = self._tried
        return [*self.history(state), self._told(what)]

    def _told(self, what: int) -> str:
        if what == TIMEOUT:
            return f"n{self.seat} waits no longer"
        sender, message = self._mail.sent[self.seat][what]
        return f"n{self.seat} takes {type(message).__name__} of n{sender}: {_gist(message)}"


def _gist(message: ConsensusMessage) -> str:
    for name in ("ballot", "view"):
        part = getattr(message, name, None)
        if part is None:
            continue
        if name == "view":
            block = getattr(message, "digest", b"")
            return f"view {part} {block.hex()[:8]}".rstrip()
        phase = part.phase.name
        return f"{phase} view {part.view} height {part.height} {part.digest.hex()[:8]}"
    return ""


def _bits(mask: int) -> Iterator[int]:
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
