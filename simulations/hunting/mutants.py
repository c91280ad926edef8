"""Deliberately broken protocols: a simulator that finds nothing is worth nothing.

Each mutant is a mistake that real systems have made, put into the real cores by replacing a function while it is
switched on. Those with a number are the list that every release is measured by (`docs/SIMULATOR.md`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from simulations.hunting import mistakes, task_mistakes
from simulations.hunting.mistakes import Patch
from simulations.seeds.families import Family


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mistake."""

    name: str
    what: str
    patches: Callable[[], list[Patch]]
    number: int | None = None
    """Its place in the list of 22."""
    family: Family = "federations"
    """The scenarios in which it can do harm at all."""


MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "quorum_two_f_plus_one",
        "a quorum is 2f+1, also where n is not 3f+1",
        mistakes.two_f_plus_one,
        1,
    ),
    Mutant("votes_not_voters", "votes are counted instead of voters", mistakes.votes_not_voters, 2),
    Mutant(
        "sender_from_payload",
        "the sender that a vote names is believed",
        mistakes.unsigned_votes,
        3,
    ),
    Mutant("any_digest", "PREPAREs for other digests count as well", mistakes.any_digest, 4),
    Mutant(
        "second_proposal", "a second proposal in one view is accepted", mistakes.second_proposal, 5
    ),
    Mutant(
        "prepared_dropped", "a new view forgets what was prepared", mistakes.prepared_dropped, 6
    ),
    Mutant(
        "not_recomputed", "what NEW-VIEW binds to is not computed again", mistakes.not_recomputed, 7
    ),
    Mutant(
        "unverified_changes",
        "certificates in VIEW-CHANGEs are not checked",
        mistakes.unverified_changes,
        8,
    ),
    Mutant(
        "any_certificate",
        "not the highest view's certificate is taken",
        mistakes.any_certificate,
        9,
    ),
    Mutant(
        "votes_after_sending",
        "votes are sent before they are on disk",
        mistakes.votes_after_sending,
        10,
    ),
    Mutant(
        "guard_off_by_one",
        "after a restart the last ballots do not bind",
        mistakes.ballots_forgotten,
        11,
    ),
    Mutant(
        "old_view_votes", "COMMIT in the old view after VIEW-CHANGE", mistakes.old_view_votes, 12
    ),
    Mutant(
        "state_votes_not_voters",
        "STATE votes are counted instead of voters",
        mistakes.state_votes_not_voters,
        13,
    ),
    Mutant(
        "unmatched_replies",
        "fetched blocks need a certificate, of whatever",
        mistakes.unmatched_replies,
        14,
    ),
    Mutant(
        "execution_over_a_gap",
        "a fetched block need not follow the last",
        mistakes.execution_over_a_gap,
        15,
    ),
    Mutant(
        "client_table_lost",
        "a restart loses the nonces of all accounts",
        mistakes.client_table_lost,
        16,
    ),
    Mutant(
        "constant_timeout",
        "no view is given more time than the last",
        mistakes.constant_timeout,
        17,
    ),
    Mutant(
        "change_never_resent",
        "a lost VIEW-CHANGE is not repeated",
        mistakes.change_never_resent,
        18,
    ),
    Mutant("no_joining", "no weak quorum is enough to join a view change", mistakes.no_joining, 19),
    Mutant(
        "not_proposed_again",
        "a new view's leader proposes nothing again",
        mistakes.not_proposed_again,
        20,
    ),
    Mutant("unsorted_set", "execution walks over an unsorted set", mistakes.unsorted_set, 21),
    Mutant(
        "unbounded_future",
        "messages of future views are kept without bound",
        mistakes.unbounded_future,
        22,
    ),
    Mutant("quorum_f_plus_1", "a weak quorum decides", mistakes.weak_quorum),
    Mutant("quorum_half", "more than half decides", mistakes.half_quorum),
    Mutant("votes_forgotten", "a restart forgets all promises", mistakes.votes_forgotten),
    Mutant("below_binding", "votes below what the view begins with", mistakes.below_binding),
    Mutant("never_resent", "nothing lost is ever sent again", mistakes.never_resent),
    Mutant(
        "unchecked_blocks", "transactions of a proposal are not checked", mistakes.unchecked_blocks
    ),
    Mutant("unchecked_sync", "fetched blocks are not checked", mistakes.unchecked_sync),
    Mutant(
        "silent_after_restart", "lost STATE votes are not repeated", mistakes.silent_after_restart
    ),
    Mutant("short_certificates", "a commit certificate loses a signature", mistakes.tip_of_another),
    Mutant(
        "snapshot_unproven",
        "a snapshot's proof is not checked",
        mistakes.snapshot_unproven,
        family="latecomers",
    ),
    Mutant(
        "snapshot_unsigned",
        "certificates in a snapshot's proof are not checked",
        mistakes.snapshot_unsigned,
        family="latecomers",
    ),
    Mutant(
        "snapshot_other_outcomes",
        "a snapshot may come with other outcomes than certified",
        mistakes.snapshot_other_outcomes,
        family="latecomers",
    ),
    Mutant(
        "snapshot_other_state",
        "a snapshot's state need not have the certified root",
        mistakes.snapshot_other_state,
        family="latecomers",
    ),
    Mutant(
        "snapshot_without_nonces",
        "snapshots lack the accounts' nonces",
        mistakes.snapshot_without_nonces,
        family="latecomers",
    ),
    Mutant(
        "collected_unsigned",
        "a collector's certificate is believed without its signatures",
        mistakes.collected_unsigned,
        family="collectors",
    ),
    Mutant(
        "collected_too_few",
        "a collector's certificate needs no quorum",
        mistakes.collected_too_few,
        family="collectors",
    ),
    Mutant(
        "collected_of_another_phase",
        "a collector may hand out PREPAREs as COMMITs",
        mistakes.collected_of_another_phase,
        family="collectors",
    ),
    Mutant(
        "unknown_rules",
        "a program goes on though it does not know the protocol's rules",
        mistakes.unknown_rules,
        family="upgrades",
    ),
    Mutant(
        "output_before_claim",
        "an output leaves before its claim is final",
        task_mistakes.output_before_claim,
        family="whole-nodes",
    ),
    Mutant(
        "outputs_not_compared",
        "an asker shows another output than was paid for",
        task_mistakes.outputs_not_compared,
        family="whole-nodes",
    ),
    Mutant(
        "outputs_not_checked",
        "an asker signs for whatever comes",
        task_mistakes.outputs_not_checked,
        family="whole-nodes",
    ),
    Mutant(
        "never_taken_back",
        "no reward returns to its asker",
        task_mistakes.never_taken_back,
        family="whole-nodes",
    ),
    Mutant(
        "outputs_not_kept",
        "an executor keeps its outputs in memory only",
        task_mistakes.outputs_not_kept,
        family="whole-nodes",
    ),
    Mutant(
        "worked_on_twice",
        "an offer that comes again is work again",
        task_mistakes.worked_on_twice,
        family="whole-nodes",
    ),
    Mutant(
        "refunded_twice",
        "who gives up pays the asker twice",
        task_mistakes.refunded_and_open,
        family="whole-nodes",
    ),
    Mutant(
        "lost_claims_kept",
        "a claim that a restart forgot is given back by nobody",
        task_mistakes.lost_claims_kept,
        family="whole-nodes",
    ),
)

BY_NAME = {mutant.name: mutant for mutant in MUTANTS}


@contextmanager
def switched_on(mutant: Mutant) -> Iterator[None]:
    """The cores of this process are broken while this lasts."""
    patches = mutant.patches()
    sound = [(owner, name, vars(owner)[name]) for owner, name, _ in patches]
    for owner, name, broken in patches:
        setattr(owner, name, broken)
    try:
        yield
    finally:
        for owner, name, whole in sound:
            setattr(owner, name, whole)


def switched_on_by_name(name: str) -> AbstractContextManager[None]:
    """The same for a mutant's name. Raises `ValueError` if there is none."""
    for mutant in MUTANTS:
        if mutant.name == name:
            return switched_on(mutant)
    raise ValueError(f"no mutant {name}; there are {', '.join(one.name for one in MUTANTS)}")
