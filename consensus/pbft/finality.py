"""STATE votes: from "committed" to "this is what came of it", provable to outsiders.

After executing a block every validator signs a statement of its outcome. A quorum of equal statements is a STATE
certificate: receipts, light clients and newcomers rely on it. A replica whose own result differs from the certified one
has a damaged state or a bug and must stop.

Nobody waits for STATE votes to decide the next block, so they leave with the next proposal or vote of their node, or
after a moment if none comes: a message less for each block. A certificate costs no sync: what a crash loses of it, the
others repeat.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import assert_never

import msgspec

from consensus.certificates import (
    StateCertificate,
    StateStatement,
    certificate_fault,
    endorse,
    is_endorsed,
)
from consensus.chain import ChainReader, certified_height_write, state_certificate_write
from consensus.faults import (
    FAR_AHEAD,
    KNOWN,
    OTHER_EPOCH,
    OVER,
    PUSHED_OUT,
    forged,
    seatless,
    unsound,
)
from consensus.messages import Certified, CollectedStates, Proposal, StateVote, Vote
from consensus.pbft.collected import collected_states, unpacked
from consensus.pbft.collection import TO_ALL, TWICE_BAD, UNMATCHED, UNSEATED
from consensus.pbft.own_votes import StateKeys
from consensus.pbft.tally import Tally
from consensus.quorum import Validator, ValidatorSet
from gossip.codec import Digest, digest, encode
from gossip.effects import (
    Broadcast,
    CancelTimer,
    Effect,
    Notify,
    Persist,
    Send,
    SetTimer,
    Store,
)
from gossip.identity import NodeId, Verifier

STATE_TIMER, STATES_TIMER = "state", "states"
_HELD_MS = 25
_TAKE_ALONG = (Proposal, Vote)
_MAX_HELD = 16
_EARLY_HEIGHTS = 2
_EARLY_COLLECTED = 4
_PATIENCE = 5
"""So much longer than other votes STATE votes wait for their collector: no block waits for them."""
_ANSWERS = 16
_KEPT_OPEN = 64
"""So many of the lowest heights without a certificate are in memory, and so many of the newest."""


class StateCertified(msgspec.Struct, frozen=True, gc=False):
    """Everything up to this height is provable."""

    certificate: StateCertificate


@dataclass(frozen=True, slots=True)
class Diverged:
    """A quorum signed another result than this node computed: it must stop and resync."""

    own: StateStatement
    certified: StateStatement


@dataclass(slots=True)
class _Open:
    """An executed height without a certificate."""

    own: StateStatement
    own_vote: StateVote | None
    members: ValidatorSet
    tally: Tally
    statements: dict[Digest, StateStatement]
    gatherers: tuple[Validator, ...]
    """Who collects the votes, in a large set."""
    stage: int = 0
    """So many of them have kept this node waiting."""
    is_due: bool = False
    distrusted: set[NodeId] = field(default_factory=set)

    @property
    def own_key(self) -> bytes | None:
        """The key that this node signed with, if one of its keys sits in the set."""
        return None if self.own_vote is None else self.own_vote.endorsement.voter


class Finality:
    """Gathers STATE votes for the heights that are executed but not yet certified."""

    def __init__(
        self,
        chain: Digest,
        keys: StateKeys,
        verifier: Verifier,
        reader: ChainReader,
        collect_ms: int,
    ) -> None:
        self._wait_ms = _PATIENCE * collect_ms
        self._is_waiting = False
        self._early_collected: dict[NodeId, CollectedStates] = {}
        self._chain, self._keys, self._verifier, self._reader = chain, keys, verifier, reader
        self._open: dict[int, _Open] = {}
        self._early: dict[tuple[NodeId, int], StateVote] = {}
        self._held: list[Broadcast] = []
        self._timer_runs = False
        self._executed = reader.height()
        self._certified = reader.certified_height()
        self._closed_now: set[int] = set()
        # The oldest and the newest; what lies between is not looked at, since a damaged number may make it endless.
        oldest = min(self._executed, self._certified + _KEPT_OPEN)
        newest = max(oldest, self._executed - _KEPT_OPEN)
        for height in (
            *range(self._certified + 1, oldest + 1),
            *range(newest + 1, self._executed + 1),
        ):
            self._reopen(height)
        self._advance()

    @property
    def certified(self) -> int:
        """Every height up to this one has its certificate."""
        return self._certified

    def resume(self) -> list[Effect]:
        """After a restart: a certificate that needs no other vote was perhaps never written."""
        out: list[Effect] = []
        for height in sorted(self._open):
            opened = self._open.get(height)
            if opened is not None:
                out += self._check(opened)
        return out

    def _reopen(self, height: int) -> _Open | None:
        execution = self._reader.execution(height)
        if execution is None or self._reader.state_certificate(height) is not None:
            return None
        start = self._reader.epoch(execution.statement.epoch)
        return None if start is None else self._begin(execution.statement, start.members)

    def _vote(self, statement: StateStatement, members: ValidatorSet) -> StateVote | None:
        key = self._keys.of(members)
        return None if key is None else StateVote(statement, endorse(key, self._chain, statement))

    def _begin(
        self,
        statement: StateStatement,
        members: ValidatorSet,
        gatherers: tuple[Validator, ...] = (),
    ) -> _Open:
        vote = self._vote(statement, members)
        opened = _Open(statement, vote, members, Tally(members), {}, gatherers)
        self._open[statement.height] = opened
        if vote is not None:
            own = vote.endorsement
            opened.tally.add(own.voter, self._name(opened, statement), own.signature)
        return opened

    @staticmethod
    def _name(opened: _Open, statement: StateStatement) -> Digest:
        for name, first in islice(opened.statements.items(), 1):
            if first == statement:
                return name
        name = digest(b"statement", encode(statement))
        opened.statements[name] = statement
        return name

    def executed(
        self,
        statement: StateStatement,
        members: ValidatorSet,
        known: StateCertificate | None,
        gatherers: tuple[Validator, ...] = (),
    ) -> list[Effect]:
        """A block was executed by the set `members`; sign it, or take the certificate that came with it."""
        self._executed = statement.height
        opened = self._begin(statement, members, gatherers)
        past = statement.height - _KEPT_OPEN
        if past > self._certified + _KEPT_OPEN:
            self._open.pop(past, None)
        if known is not None and self._is_about(known, statement, members):
            return self._close(opened, known)
        if opened.own_vote is not None:
            to = self._receivers(opened)
            if to:
                self._held.append(Broadcast(to, opened.own_vote))
        out = self._check(opened)
        early = [key for key in self._early if key[1] <= statement.height]
        for key in early:
            out += self.on_vote(key[0], self._early.pop(key))
        early_collected, self._early_collected = self._early_collected, {}
        for peer, message in early_collected.items():
            out += self.on_collected(peer, message)
        if statement.height in self._open:
            out += self._wait_for(opened)
        return out

    # By way of collectors

    def _receivers(self, opened: _Open) -> tuple[NodeId, ...]:
        """Who gets the own vote: the collectors that are waited for, or everybody."""
        everybody = not opened.gatherers or opened.stage >= TO_ALL
        chosen = opened.members.validators if everybody else opened.gatherers[: opened.stage + 1]
        return tuple(NodeId(one.node) for one in chosen if one.voting_key != opened.own_key)

    def _wait_for(self, opened: _Open) -> list[Effect]:
        if self._is_waiting or not opened.gatherers or opened.own_vote is None:
            return []
        self._is_waiting = True
        return [SetTimer(STATES_TIMER, self._wait_ms)]

    def on_collect_timeout(self) -> list[Effect]:
        """Votes that no certificate has answered from one timeout to the next go to one collector more, or to all."""
        out: list[Effect] = []
        self._is_waiting = False
        for _, opened in sorted(self._open.items()):
            if opened.own_vote is None or opened.stage >= TO_ALL or not opened.gatherers:
                continue
            if opened.is_due:
                opened.stage += 1
                out.append(Broadcast(self._receivers(opened), opened.own_vote))
            opened.is_due = True
            out += self._wait_for(opened)
        return out

    def on_collected(self, peer: NodeId, message: CollectedStates) -> list[Effect]:
        """Take the certificate that a collector hands out."""
        statement = message.statement
        opened = self._open.get(statement.height)
        if opened is None:
            if self._executed < statement.height <= self._executed + _EARLY_HEIGHTS:
                return self._keep_collected(peer, message)
            return [(FAR_AHEAD if statement.height > self._executed else OVER).of(peer)]
        if statement.epoch != opened.members.epoch:
            return [OTHER_EPOCH.of(peer)]
        if peer not in opened.members.nodes:
            return [UNSEATED.of(peer)]
        if peer in opened.distrusted:
            return [TWICE_BAD.of(peer)]
        endorsements = unpacked(message.voters, message.signatures, opened.members)
        if endorsements is None:
            opened.distrusted.add(peer)
            return [UNMATCHED.of(peer)]
        out = self.on_certified(peer, Certified(StateCertificate(statement, endorsements)))
        if statement.height in self._open:
            opened.distrusted.add(peer)
        return out

    def _keep_collected(self, peer: NodeId, message: CollectedStates) -> list[Effect]:
        """It is ahead: the newest one of each of a few peers is kept."""
        before = self._early_collected.pop(peer, None)
        self._early_collected[peer] = message
        if before is not None:
            return [(KNOWN if before == message else PUSHED_OUT).of(peer)]
        if len(self._early_collected) <= _EARLY_COLLECTED:
            return []
        oldest = next(iter(self._early_collected))
        del self._early_collected[oldest]
        return [PUSHED_OUT.of(oldest)]

    def _hand_out(self, opened: _Open, certificate: StateCertificate) -> list[Effect]:
        """As a collector, give everybody what has just come together."""
        if all(one.voting_key != opened.own_key for one in opened.gatherers):
            return []
        others = tuple(
            NodeId(one.node)
            for one in opened.members.validators
            if one.voting_key != opened.own_key
        )
        return [Broadcast(others, collected_states(certificate, opened.members))]

    def hand_over(self, out: list[Effect]) -> None:
        """At the end of a turn: put the own votes behind what leaves anyway; if nothing does, have them leave soon."""
        if self._closed_now:
            self._closed_now.clear()
        if not self._held:
            return
        goes_along = len(self._held) > _MAX_HELD
        for one in out:
            if type(one) is Broadcast and type(one.message) in _TAKE_ALONG:
                goes_along = True
                break
        if goes_along:
            out += self._held
            self._held = []
            if self._timer_runs:
                self._timer_runs = False
                out.append(CancelTimer(STATE_TIMER))
        elif not self._timer_runs:
            self._timer_runs = True
            out.append(SetTimer(STATE_TIMER, _HELD_MS))

    def on_timer(self) -> list[Effect]:
        """Nothing took the own votes along."""
        self._timer_runs = False
        held, self._held = self._held, []
        return [*held]

    def _is_about(
        self, known: StateCertificate, statement: StateStatement, members: ValidatorSet
    ) -> bool:
        """Whether it certifies this height; one of another height says nothing about this one."""
        same = known.statement.height == statement.height
        return same and not certificate_fault(known, members, self._chain, self._verifier)

    def on_message(
        self, peer: NodeId, message: StateVote | CollectedStates | Certified
    ) -> list[Effect]:
        """Take what a peer says about the outcome of a block."""
        match message:
            case StateVote():
                return self.on_vote(peer, message)
            case CollectedStates():
                return self.on_collected(peer, message)
            case Certified():
                return self.on_certified(peer, message)
            case _:
                assert_never(message)

    def on_vote(self, peer: NodeId, message: StateVote) -> list[Effect]:
        """Count a STATE vote."""
        statement, voter = message.statement, message.endorsement.voter
        opened = self._open.get(statement.height)
        if opened is None:
            if self._executed < statement.height <= self._executed + _EARLY_HEIGHTS:
                before = self._early.get((peer, statement.height))
                self._early[peer, statement.height] = message
                if before is None:
                    return []
                return [(KNOWN if before == message else PUSHED_OUT).of(peer)]
            return [(FAR_AHEAD if statement.height > self._executed else OVER).of(peer)]
        if statement.epoch != opened.members.epoch:
            return [OTHER_EPOCH.of(peer)]
        if opened.members.member(voter) is None:
            return [seatless("state vote").of(peer)]
        if opened.tally.choice_of(voter) is not None:
            return [KNOWN.of(peer)]
        if not is_endorsed(message.endorsement, statement, self._chain, self._verifier):
            return [forged("state vote").of(peer)]
        opened.tally.add(voter, self._name(opened, statement), message.endorsement.signature)
        return self._check(opened)

    def on_certified(self, peer: NodeId, message: Certified) -> list[Effect]:
        """Take a certificate from somebody who has it."""
        certificate = message.certificate
        opened = self._open.get(certificate.statement.height)
        if opened is None:
            is_ahead = certificate.statement.height > self._executed
            return [(FAR_AHEAD if is_ahead else OVER).of(peer)]
        fault = certificate_fault(certificate, opened.members, self._chain, self._verifier)
        if fault:
            return [unsound(f"state certificate: {fault}").of(peer)]
        return self._close(opened, certificate)

    def answer(self, peer: NodeId, certified: int) -> list[Effect]:
        """Give a peer whose certificates end at `certified` the next ones, or this node's votes for them."""
        out: list[Effect] = []
        for height in range(certified + 1, min(certified + _ANSWERS, self._executed) + 1):
            opened = self._open.get(height)
            if opened is None:
                known = self._reader.state_certificate(height)
                vote = self._vote_from_disk(height) if known is None else None
                if known is not None:
                    out.append(Send(peer, Certified(known)))
                elif vote is not None:
                    out.append(Send(peer, vote))
            elif opened.own_vote is not None:
                out.append(Send(peer, opened.own_vote))
        return out

    def _vote_from_disk(self, height: int) -> StateVote | None:
        """The own vote for a height that is not in memory."""
        execution = self._reader.execution(height)
        start = None if execution is None else self._reader.epoch(execution.statement.epoch)
        if execution is None or start is None:
            return None
        return self._vote(execution.statement, start.members)

    def _check(self, opened: _Open) -> list[Effect]:
        certificate = self._own_certificate(opened)
        if certificate is None:
            return []
        return [*self._hand_out(opened, certificate), *self._close(opened, certificate)]

    @staticmethod
    def _own_certificate(opened: _Open) -> StateCertificate | None:
        """What the votes that are here make, if they are a quorum."""
        name = opened.tally.decided()
        if name is None:
            return None
        statement = opened.statements[Digest(name)]
        return StateCertificate(statement, opened.tally.endorsements(name))

    def _close(self, opened: _Open, certificate: StateCertificate) -> list[Effect]:
        if certificate.statement != opened.own:
            return [Notify(Diverged(opened.own, certificate.statement))]
        out: list[Effect] = []
        closing: StateCertificate | None = certificate
        while closing is not None:
            height = closing.statement.height
            del self._open[height]
            self._closed_now.add(height)
            known_alone = self._advance()
            writes = (state_certificate_write(closing), certified_height_write(self._certified))
            out += [Persist(Store.CHAIN, writes, lazy=True), Notify(StateCertified(closing))]
            closing = known_alone
        return out

    def _advance(self) -> StateCertificate | None:
        """Move up to the lowest height without a certificate, and take back into memory what comes into the window.

        Returns the certificate of a height that the own vote alone certifies; the caller closes that one and goes on.
        """
        while self._certified < self._executed and self._certified + 1 not in self._open:
            self._certified += 1
            height = self._certified + _KEPT_OPEN
            if height > self._executed or height in self._open or height in self._closed_now:
                continue
            opened = self._reopen(height)
            found = None if opened is None else self._own_certificate(opened)
            if found is not None:
                return found
        return None

    def check_invariants(self) -> None:
        """What must hold after every event."""
        assert self._certified <= self._executed
        for height in self._open:
            assert self._certified < height <= self._executed
        assert len(self._open) <= 2 * _KEPT_OPEN
        assert self._certified == self._executed or self._certified + 1 in self._open
