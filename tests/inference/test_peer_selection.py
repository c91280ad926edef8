"""Which peer is asked for a model: consent, the model's file, and then merit."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from inference.chat import AUTO, CallKind
from inference.selection import Decision, Merits, ServerKind, Standing, Verdict, Wanted, select

FILE, OTHER = "ab" * 32, "cd" * 32


def peer(name: str, file: str = FILE, **merits: Any) -> Standing:  # noqa: ANN401 - fields of `Merits`
    said = Merits(**{"free_slots": 1, **merits})
    return Standing(
        name=name,
        kind=ServerKind.PEER,
        models=("m",),
        files={"m": file} if file else {},
        merits=said,
    )


def reading(name: str, tokens: int, **merits: Any) -> Standing:  # noqa: ANN401 - as above
    return structs.replace(peer(name, **merits), contexts={"m": tokens})


def local(name: str = "studio", file: str = "") -> Standing:
    files = {"m": file} if file else {}
    return Standing(name=name, kind=ServerKind.OPENAI, models=("m",), files=files)


HERE = Standing(name="embedded", kind=ServerKind.EMBEDDED, models=("bizra-extractive",))


def chosen(decision: Decision) -> list[str]:
    return [choice.server for choice in decision.choices]


def verdict(decision: Decision, server: str) -> Verdict:
    return next(one.verdict for one in decision.considered if one.server == server)


def test_without_consent_no_peer_is_asked_and_the_caller_learns_how_to_give_it() -> None:
    decision = select(Wanted("m"), CallKind.CHAT, [peer("p")])
    assert chosen(decision) == []
    assert not decision.is_known
    assert "x-bizra-peers" in decision.considered[0].reason


def test_peers_come_after_this_machines_servers_and_before_quotations() -> None:
    standings = [HERE, peer("p"), local()]
    assert chosen(select(Wanted("m", peers=True), CallKind.CHAT, standings)) == ["studio", "p"]
    auto = select(Wanted(AUTO, peers=True), CallKind.CHAT, standings)
    assert chosen(auto) == ["studio", "p", "embedded"]


def test_who_wants_no_quotations_gets_none_for_auto_but_may_name_the_embedded_model() -> None:
    auto = select(Wanted(AUTO, quotes=False), CallKind.CHAT, [HERE])
    assert chosen(auto) == []
    assert auto.is_known, "what writes may come later: no reason to say that there is no such model"
    assert not select(Wanted(AUTO), CallKind.EMBED, [HERE]).is_known
    named = select(Wanted("bizra-extractive", quotes=False), CallKind.CHAT, [HERE])
    assert chosen(named) == ["embedded"]


def test_a_file_that_is_named_must_be_known_and_the_same() -> None:
    standings = [local(), local("ollama", OTHER), peer("p"), peer("q", OTHER)]
    decision = select(Wanted("m", FILE[:8], peers=True), CallKind.CHAT, standings)
    assert chosen(decision) == ["p"]
    assert decision.choices[0].file == FILE
    assert [one.verdict for one in decision.considered].count(Verdict.OTHER_FILE) == 3


def test_peers_that_do_not_tell_their_file_are_not_believed() -> None:
    assert chosen(select(Wanted("m", peers=True), CallKind.CHAT, [peer("p", "")])) == []


@pytest.mark.parametrize("own", ["", FILE])
def test_one_name_for_two_files_is_nobodys_until_the_caller_says_which(own: str) -> None:
    standings = [*([local("studio", own)] if own else []), peer("p"), peer("q", OTHER)]
    decision = select(Wanted("m", peers=True), CallKind.CHAT, standings)
    assert chosen(decision) == (["studio"] if own else [])
    assert verdict(decision, "q") is Verdict.OTHER_FILE
    assert "m@" in decision.considered[-1].reason


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"free_slots": 1}, {"free_slots": 0}),
        ({"trust": 1000}, {"trust": 500}),
        ({"load": 100}, {"load": 900}),
        ({"price": 1}, {"price": 2}),
        ({"rtt_ms": 1}, {"rtt_ms": 200}),
        ({"rtt_ms": 200}, {"rtt_ms": None}),
        ({"sent": 1}, {"sent": 2}),
    ],
)
def test_merit_decides_between_peers(better: dict[str, Any], worse: dict[str, Any]) -> None:
    standings = [peer("worse", **worse), peer("better", **better)]
    decision = select(Wanted("m", peers=True), CallKind.CHAT, standings)
    assert chosen(decision) == ["better", "worse"]


def test_a_distrusted_peer_is_not_asked_and_the_reason_is_told() -> None:
    decision = select(
        Wanted("m", peers=True),
        CallKind.CHAT,
        [peer("p", distrust="3 answers were another model's")],
    )
    assert chosen(decision) == []
    assert decision.considered[0].verdict is Verdict.DISTRUSTED
    assert "another model" in decision.considered[0].reason


def test_the_explanation_of_a_peer_names_all_that_counted() -> None:
    told = select(Wanted("m", peers=True), CallKind.CHAT, [peer("p", rtt_ms=3, load=125)])
    reason = told.considered[0].reason
    for part in (FILE[:12], "1 slots", "load 12.5 %", "price 0", "3 ms", "trust 1"):
        assert part in reason


def test_a_peer_that_reads_less_than_the_request_has_is_not_asked_and_the_reason_is_told() -> None:
    standings = [reading("small", 100), reading("large", 200), peer("silent")]
    decision = select(
        Wanted("m", peers=True, least_tokens=150, likely_tokens=190), CallKind.CHAT, standings
    )
    assert chosen(decision) == ["large", "silent"]
    assert verdict(decision, "small") is Verdict.TOO_LONG
    told = {one.server: one.reason for one in decision.considered}
    assert "reads 100 tokens" in told["small"]
    assert "reads 200 tokens" in told["large"]
    assert "reads" not in told["silent"]


def test_a_peer_that_likely_reads_too_little_comes_last_whatever_speaks_for_it() -> None:
    standings = [reading("small", 100, price=1), reading("large", 1000, price=9)]
    wanted = Wanted("m", peers=True, least_tokens=50, likely_tokens=200)
    decision = select(wanted, CallKind.CHAT, standings)
    assert chosen(decision) == ["large", "small"]
    assert "likely needs 200" in decision.considered[1].reason
    assert decision.choices[0].may_read_more(decision.choices[1])
    assert not decision.choices[1].may_read_more(decision.choices[0])
