"""Deliberately broken protocols: a simulator that finds nothing is worth nothing.

Each mutant is a mistake that real systems have made, put into the real cores by replacing one function while it is
switched on.
"""

# ruff: noqa: ANN401, SLF001 - a mutant reaches into what it breaks
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

import consensus.engine
import consensus.quorum
import consensus.replica
import consensus.replica_base
import consensus.view_change
import consensus.voting
from consensus.certificates import Phase
from consensus.engine import Engine
from consensus.finality import Finality
from consensus.replica import Replica
from consensus.slot import Slot
from consensus.tally import Tally
from consensus.view_change import Binding
from consensus.view_requests import ViewRequests
from consensus.vote_log import VoteLog, load_vote_log
from consensus.voting import Voting
from gossip.effects import Persist, Store
from simulations.expand import expand
from simulations.federation import run
from simulations.scenario import Scenario

Patch = tuple[Any, str, Any]


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mistake."""

    name: str
    what: str
    patches: Callable[[], list[Patch]]


def _votes_after_sending() -> list[Patch]:
    sound = Engine.handle

    def handle(self: Engine, now_ms: int, event: Any) -> list[Any]:
        effects = sound(self, now_ms, event)
        late = [one for one in effects if isinstance(one, Persist) and one.store is Store.VOTES]
        return [one for one in effects if one not in late] + late

    return [(Engine, "handle", handle)]


def _votes_forgotten() -> list[Patch]:
    return [(consensus.engine, "load_vote_log", lambda _: VoteLog())]


def _ballots_forgotten() -> list[Patch]:
    def load(reader: Any) -> VoteLog:
        log = load_vote_log(reader)
        return VoteLog(log.view, None, log.prepared, log.bodies)

    return [(consensus.engine, "load_vote_log", load)]


def _weak_quorum() -> list[Patch]:
    return [(consensus.quorum, "is_quorum", consensus.quorum.is_weak_quorum)]


def _half_quorum() -> list[Patch]:
    return [(consensus.quorum, "is_quorum", lambda power, total: 2 * power > total)]


def _any_digest() -> list[Patch]:
    def has_quorum(self: Tally, _: bytes) -> bool:
        return self._members.is_quorum(sum(self._power.values()))

    def decided(self: Tally) -> bytes | None:
        return next(iter(self._power), None) if has_quorum(self, b"") else None

    return [(Tally, "has_quorum", has_quorum), (Tally, "decided", decided)]


def _votes_not_voters() -> list[Patch]:
    def add(self: Tally, voter: bytes, digest: bytes, signature: bytes) -> None:
        seat = self._members.member(voter)
        assert seat is not None
        self._by_digest.setdefault(digest, {})[voter] = signature  # type: ignore[assignment]
        self._power[digest] = self._power.get(digest, 0) + seat.power

    return [(Tally, "add", add), (Tally, "choice_of", lambda _self, _voter: None)]


def _unsigned_votes() -> list[Patch]:
    return [(consensus.voting, "is_endorsed", lambda *_: True)]


def _second_proposal() -> list[Patch]:
    sound = Voting._on_proposal

    def on_proposal(self: Voting, peer: Any, message: Any) -> str | None:
        known = self._slot.proposal
        here = self._is_here(message.epoch, message.view, message.block.height)
        if here and known is not None and known.block.digest != message.block.digest:
            self._slot.proposal = self._slot.prepare_cast = self._slot.commit_cast = None
        return sound(self, peer, message)

    return [(Voting, "_on_proposal", on_proposal)]


def _with_binding(change: Callable[..., Binding]) -> list[Patch]:
    modules = (consensus.view_change, consensus.replica, consensus.replica_base)
    return [(module, "compute_binding", change) for module in modules]


def _prepared_dropped() -> list[Patch]:
    sound = consensus.view_change.compute_binding

    def binding(changes: Any, rules: Any) -> Binding:
        found = sound(changes, rules)
        return Binding(found.height, found.digest, None, ())

    return _with_binding(binding)


def _any_certificate() -> list[Patch]:
    sound = consensus.view_change.compute_binding

    def binding(changes: Any, rules: Any) -> Binding:
        found = sound(changes, rules)
        proofs = [
            one.prepared
            for one in changes
            if one.prepared is not None and one.prepared.header.height == found.height + 1
        ]
        if not proofs:
            return found
        lowest = min(proofs, key=lambda proof: proof.certificate.ballot.view)
        return Binding(found.height, found.digest, lowest.header, found.signers)

    return _with_binding(binding)


def _not_recomputed() -> list[Patch]:
    return [(consensus.replica_base.ReplicaBase, "_forced", lambda _: None)]


def _unverified_changes() -> list[Patch]:
    return [(consensus.view_change, "_prepared_fault", lambda _change, _rules: None)]


def _old_view_votes() -> list[Patch]:
    sound = Replica._ask_for_view

    def ask(self: Replica, view: int) -> None:
        slot, at = self._slot, self._view
        kept = slot.proposal, slot.prepare_cast, slot.commit_cast
        sound(self, view)
        certificate = None
        if kept[0] is not None and kept[2] is None and self._view > at:
            ballot_tally = slot.tally(Phase.PREPARE, at)
            if ballot_tally.choice_of(self._signer.public) is not None:
                certificate = kept[0].block.digest
        if certificate is not None:
            now, self._view = self._view, at
            vote = self._own_vote(Phase.COMMIT, certificate)
            self._view = now
            self._cast_to_all(vote)

    return [(Replica, "_ask_for_view", ask)]


def _below_binding() -> list[Patch]:
    def may_vote(self: Replica) -> bool:
        return self._entered and self.is_validator

    return [(consensus.replica_base.ReplicaBase, "_may_vote", may_vote)]


def _never_resent() -> list[Patch]:
    def resend(self: Replica, now_ms: int) -> list[Any]:
        self._now_ms = now_ms
        self._propose_again()
        self._check_committed()
        return self._take()

    return [
        (Replica, "resend", resend),
        (Replica, "_missing_at", lambda _self, _status: []),
    ]


def _no_joining() -> list[Patch]:
    return [
        (ViewRequests, "view_to_join", lambda _self, _view: None),
        (ViewRequests, "view_after_suspicions", _own_suspicion_only),
    ]


def _own_suspicion_only(self: ViewRequests, view: int) -> int | None:
    views = [one for one in self._suspicions.values() if one >= view]
    return min(views) + 1 if self._members.is_quorum(len(views)) else None


def _not_proposed_again() -> list[Patch]:
    return [(Voting, "_propose_again", lambda _: None)]


def _unchecked_blocks() -> list[Patch]:
    return [(Engine, "_block_fault", lambda _self, _block: None)]


def _unchecked_sync() -> list[Patch]:
    return [(consensus.engine, "certified_block_fault", lambda *_: None)]


def _silent_after_restart() -> list[Patch]:
    return [(Finality, "answer", lambda _self, _peer, _certified: [])]


def _tip_of_another() -> list[Patch]:
    sound = Slot.committed_certificate

    def committed(self: Slot) -> Any:
        found = sound(self)
        if found is None or len(found.endorsements) < 2:  # noqa: PLR2004
            return found
        return msgspec.structs.replace(found, endorsements=found.endorsements[:-1])

    return [(Slot, "committed_certificate", committed)]


MUTANTS: tuple[Mutant, ...] = (
    Mutant("quorum_f_plus_1", "a weak quorum decides", _weak_quorum),
    Mutant("quorum_half", "more than half decides", _half_quorum),
    Mutant("votes_not_voters", "votes are counted instead of voters", _votes_not_voters),
    Mutant("unsigned_votes", "signatures of votes are not checked", _unsigned_votes),
    Mutant("any_digest", "PREPAREs for other digests count as well", _any_digest),
    Mutant("second_proposal", "a second proposal in one view is accepted", _second_proposal),
    Mutant("prepared_dropped", "a new view forgets what was prepared", _prepared_dropped),
    Mutant("not_recomputed", "what NEW-VIEW binds to is not enforced", _not_recomputed),
    Mutant(
        "unverified_changes", "certificates in VIEW-CHANGEs are not checked", _unverified_changes
    ),
    Mutant("any_certificate", "not the highest view's certificate is taken", _any_certificate),
    Mutant("votes_after_sending", "votes are sent before they are on disk", _votes_after_sending),
    Mutant("votes_forgotten", "a restart forgets all promises", _votes_forgotten),
    Mutant("ballots_forgotten", "a restart forgets the votes of its view", _ballots_forgotten),
    Mutant("old_view_votes", "COMMIT in the old view after VIEW-CHANGE", _old_view_votes),
    Mutant("below_binding", "votes below what the view begins with", _below_binding),
    Mutant("never_resent", "nothing lost is ever sent again", _never_resent),
    Mutant("no_joining", "no weak quorum is enough to join a view change", _no_joining),
    Mutant("not_proposed_again", "a new view's leader proposes nothing again", _not_proposed_again),
    Mutant("unchecked_blocks", "transactions of a proposal are not checked", _unchecked_blocks),
    Mutant("unchecked_sync", "fetched blocks are not checked", _unchecked_sync),
    Mutant("silent_after_restart", "lost STATE votes are not repeated", _silent_after_restart),
    Mutant("short_certificates", "a commit certificate loses a signature", _tip_of_another),
)


@contextmanager
def switched_on(mutant: Mutant) -> Iterator[None]:
    """The cores of this process are broken while this lasts."""
    patches = mutant.patches()
    sound = [(owner, name, getattr(owner, name)) for owner, name, _ in patches]
    for owner, name, broken in patches:
        setattr(owner, name, broken)
    try:
        yield
    finally:
        for owner, name, whole in sound:
            setattr(owner, name, whole)


@dataclass(frozen=True, slots=True)
class Found:
    """How a hunt for one mutant went."""

    name: str
    tried: int
    detections: int
    first: int | None
    """The number of scenarios it took, counted from 1."""
    how: str


def hunt(mutant: Mutant, scenarios: Iterable[Scenario], *, stop_at_first: bool = False) -> Found:
    """Run scenarios against a broken core."""
    tried = detections = 0
    first: int | None = None
    how = ""
    with switched_on(mutant):
        for scenario in scenarios:
            tried += 1
            violation = run(scenario).violation
            if violation is not None:
                detections += 1
                if first is None:
                    first, how = tried, violation
                if stop_at_first:
                    break
    return Found(mutant.name, tried, detections, first, how)


def hunt_seeds(mutant: Mutant, seeds: Iterable[int], *, stop_at_first: bool = False) -> Found:
    """Run the scenarios of seeds against a broken core."""
    return hunt(mutant, map(expand, seeds), stop_at_first=stop_at_first)
