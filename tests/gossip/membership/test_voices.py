"""Two nodes compare who accuses a third, and each learns what it lacks, in short and no forgery."""

from __future__ import annotations

from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from gossip.effects import Effect, Rejected, Send
from gossip.identity import NodeId
from gossip.membership.detector import Detector
from gossip.membership.messages import Ping, Rumours
from gossip.membership.suspicions import Suspicion
from gossip.membership.voices import (
    PREFIX_BYTES,
    FetchVoices,
    Voices,
    lengthen,
    shorten,
    split_tags,
    tagged,
)
from tests.gossip.membership.test_detection import Roster, statements
from tests.gossip.membership.town import node

ACCUSED, INCARNATION, SALT = node(8), 5, 77
DOUBLE = NodeId(node(3)[:PREFIX_BYTES] + b"x" * 28)
"""Somebody whose id begins as node 3's does."""


class WithDouble(Roster):
    """The same members and the double."""

    def members(self) -> list[NodeId]:
        return [*super().members(), DOUBLE]

    watched = connected = friends = members


def voice(number: int) -> Suspicion:
    return statements(number).suspect(ACCUSED, INCARNATION)


def detector(number: int, *accusers: int, roster: Roster | None = None) -> Detector:
    """One that has heard these."""
    core = Detector(statements(number), roster or Roster(), lambda: 0.5, count(1))
    core.on_message(0, node(2), Rumours(tuple(map(voice, accusers)), ()), always)
    return core


def always() -> bool:
    return True


def accusers_of(core: Detector) -> set[NodeId]:
    case = core.case(ACCUSED)
    return set() if case is None else set(case.voices)


def said(effects: list[Effect]) -> Voices:
    (one,) = effects
    assert isinstance(one, Send)
    assert isinstance(one.message, Voices)
    return one.message


def told(voices: bytes, wanted: bytes = b"") -> Voices:
    return Voices(ACCUSED, INCARNATION, SALT, voices, wanted)


def test_after_a_comparison_both_have_the_voices_of_both() -> None:
    asker, asked = detector(1, 3, 4), detector(7, 5)
    tags = b"".join(tagged(SALT, accusers_of(asker)))
    question = FetchVoices(ACCUSED, INCARNATION, SALT, tags)
    answer = said(asked.on_message(0, node(1), question, always))
    given = said(asker.on_message(0, node(7), answer, always))
    assert asked.on_message(0, node(1), given, always) == []
    assert accusers_of(asker) == accusers_of(asked) == {node(3), node(4), node(5)}


def test_who_has_enough_is_given_nothing_and_wants_nothing() -> None:
    asker, asked = detector(1, 3, 4, 5), detector(7, 2, 4, 6)
    tags = b"".join(tagged(SALT, accusers_of(asker)))
    question = FetchVoices(ACCUSED, INCARNATION, SALT, tags)
    assert asked.on_message(0, node(1), question, always) == []


def test_a_forged_voice_is_refused_and_counts_for_nothing() -> None:
    core = detector(1, 4)
    forged = node(3)[:PREFIX_BYTES] + voice(5).signature
    (refused,) = core.on_message(0, node(7), told(forged), always)
    assert isinstance(refused, Rejected)
    assert "did not sign" in refused.reason
    assert accusers_of(core) == {node(4)}


def test_what_costs_too_much_is_not_looked_at() -> None:
    core = detector(1, 4)
    assert core.on_message(0, node(7), told(shorten([voice(3)])), lambda: False) == []
    assert accusers_of(core) == {node(4)}


def test_of_two_whose_ids_begin_alike_the_one_that_signed_has_spoken() -> None:
    core = detector(1, 4, roster=WithDouble())
    assert core.on_message(0, node(7), told(shorten([voice(3)])), always) == []
    assert accusers_of(core) == {node(3), node(4)}


def test_a_known_voice_is_no_forgery_of_another_whose_id_begins_alike() -> None:
    core = detector(1, 3, roster=WithDouble())
    assert core.on_message(0, node(7), told(shorten([voice(3)])), always) == []
    assert accusers_of(core) == {node(3)}


@given(st.sets(st.integers(2, 7)), st.binary(max_size=67))
def test_short_voices_come_back_and_a_rest_names_nobody(numbers: set[int], rest: bytes) -> None:
    voices = [voice(number) for number in sorted(numbers)]
    found = list(lengthen(shorten(voices) + rest))
    assert found == [(one.accuser[:PREFIX_BYTES], one.signature) for one in voices]


@given(st.binary(max_size=99))
def test_tags_are_cut_into_pairs(joined: bytes) -> None:
    tags = split_tags(joined)
    assert b"".join(tags) == joined[: len(joined) // 2 * 2]
    assert all(len(tag) == 2 for tag in tags)


def test_a_liar_that_asks_all_the_time_keeps_nobody_from_asking_others() -> None:
    core = detector(1)
    asked: list[NodeId] = []
    for now_ms in range(0, 30_000, 50):
        effects = core.tick(now_ms) if core.due_ms <= now_ms else []
        for effect in effects:
            if not isinstance(effect, Send):
                continue
            if isinstance(effect.message, Ping) and effect.to != ACCUSED:
                core.heard(now_ms, effect.to)
            if isinstance(effect.message, FetchVoices):
                asked.append(effect.to)
        if core.is_suspect(ACCUSED):
            question = FetchVoices(ACCUSED, INCARNATION, SALT, b"")
            assert said(core.on_message(now_ms, node(2), question, always)).voices
    assert len(asked) > 10
    assert set(asked) > {node(3), node(4)}
