"""Which chunk is asked of whom: the core of a fetch, on a virtual clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gossip.effects import SetTimer
from gossip.identity import NodeId
from gossip.transfer.download import (
    Arrived,
    Ask,
    Complete,
    Download,
    DownloadEffect,
    DownloadEvent,
    DropSource,
    Lacking,
    Lied,
    SourceDown,
    SourceUp,
    Starved,
    Waited,
)

ANNA, BERT, CARA = (NodeId(bytes([number]) * 32) for number in (1, 2, 3))


def asks(effects: list[DownloadEffect]) -> list[tuple[NodeId, int]]:
    return [(one.peer, one.index) for one in effects if isinstance(one, Ask)]


def test_two_sources_are_asked_for_different_chunks() -> None:
    core = Download(frozenset(range(10)))
    first = asks(core.handle(0, SourceUp(ANNA)))
    second = asks(core.handle(0, SourceUp(BERT)))
    assert first == [(ANNA, 0), (ANNA, 1)]
    assert second == [(BERT, 2), (BERT, 3)]


def test_a_source_that_answers_gets_more_at_once() -> None:
    core = Download(frozenset(range(100)))
    core.handle(0, SourceUp(ANNA))
    assert len(asks(core.handle(10, Arrived(ANNA, 0)))) == 2
    assert len(asks(core.handle(20, Arrived(ANNA, 1)))) == 2


def test_a_liar_is_dropped_at_once_and_its_chunks_go_to_others() -> None:
    core = Download(frozenset(range(2)))
    core.handle(0, SourceUp(ANNA))
    core.handle(0, SourceUp(BERT))
    effects = core.handle(5, Lied(ANNA, "wrong hash"))
    assert DropSource(ANNA, "wrong hash") in effects
    assert core.sources == {BERT}
    assert asks(core.handle(6, SourceUp(ANNA))) == []


def test_a_slow_source_loses_its_chunks_and_then_its_place() -> None:
    core = Download(frozenset(range(40)))
    core.handle(0, SourceUp(ANNA))
    core.handle(0, SourceUp(BERT))
    now_ms, dropped = 0, []
    for index in range(2, 14):
        now_ms += 1000
        effects = core.handle(now_ms, Arrived(BERT, index)) + core.handle(now_ms, Waited())
        dropped += [one.peer for one in effects if isinstance(one, DropSource)]
    assert dropped == [ANNA]
    effects = []
    for index in sorted(core.missing):
        effects = core.handle(now_ms, Arrived(BERT, index))
    assert Complete() in effects


def test_the_only_source_is_borne_longer() -> None:
    core = Download(frozenset(range(4)))
    core.handle(0, SourceUp(ANNA))
    effects = core.handle(4000, Waited())
    assert not any(isinstance(one, DropSource | Starved) for one in effects)
    now_ms = 4000
    while not any(isinstance(one, Starved) for one in effects):
        now_ms += 4000
        effects = core.handle(now_ms, Waited())
        assert now_ms < 60_000
    assert DropSource(ANNA, "it has fallen silent") in effects


def test_at_the_end_an_idle_source_is_asked_for_what_another_owes() -> None:
    core = Download(frozenset(range(2)))
    core.handle(0, SourceUp(ANNA))
    assert asks(core.handle(1, SourceUp(BERT))) == [(BERT, 0)]
    assert asks(core.handle(2, Arrived(BERT, 0))) == [(BERT, 1)]
    assert Complete() in core.handle(3, Arrived(BERT, 1))


def test_what_nobody_has_starves_the_fetch() -> None:
    core = Download(frozenset({0}))
    core.handle(0, SourceUp(ANNA))
    assert Starved() in core.handle(1, Lacking(ANNA, 0))


@given(st.data())
def test_whatever_sources_do_no_chunk_is_forgotten(data: st.DataObject) -> None:
    core = Download(frozenset(range(data.draw(st.integers(1, 12)))))
    asked: dict[NodeId, list[int]] = {ANNA: [], BERT: [], CARA: []}
    now_ms = 0
    for _ in range(data.draw(st.integers(0, 40))):
        now_ms += data.draw(st.integers(0, 4000))
        peer = data.draw(st.sampled_from((ANNA, BERT, CARA)))
        what = data.draw(st.sampled_from(("up", "down", "good", "lacks", "lies", "wait")))
        if what in ("good", "lacks") and not asked[peer]:
            continue
        index = asked[peer].pop(0) if what in ("good", "lacks") else 0
        events: dict[str, DownloadEvent] = {
            "up": SourceUp(peer),
            "down": SourceDown(peer),
            "good": Arrived(peer, index),
            "lacks": Lacking(peer, index),
            "lies": Lied(peer, "a lie"),
            "wait": Waited(),
        }
        if what == "down":
            asked[peer].clear()
        effects = core.handle(now_ms, events[what])
        core.check_invariants()
        for one, chunk in asks(effects):
            assert one in core.sources
            asked[one].append(chunk)
        idle = not any(isinstance(one, SetTimer | Starved | Complete) for one in effects)
        assert not (idle and core.missing), "nothing would ever happen again"
    # An honest source that comes at last brings everything that is missing.
    dora = NodeId(bytes([4]) * 32)
    waiting = [chunk for one, chunk in asks(core.handle(now_ms, SourceUp(dora))) if one == dora]
    for _ in range(200):
        if not core.missing:
            break
        now_ms += 1
        if waiting:
            effects = core.handle(now_ms, Arrived(dora, waiting.pop(0)))
        else:
            now_ms += 10_000
            effects = core.handle(now_ms, Waited())
        waiting += [chunk for one, chunk in asks(effects) if one == dora]
    assert not core.missing
