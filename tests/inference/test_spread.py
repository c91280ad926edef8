"""Work in parts over many nodes: cut, placed, lost, placed elsewhere, checked, merged."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gossip.codec import Digest
from gossip.effects import CancelTimer, Persist, SetTimer
from gossip.identity import NodeId
from inference.chunks import PART_TEXTS, fault_of, merge, split
from inference.kinds import (
    AnswerInput,
    AnswerOutput,
    EmbedInput,
    EmbedOutput,
    Quote,
    RankInput,
    RankOutput,
    SummarizeInput,
    SummarizeOutput,
    TaskInput,
    TaskOutput,
    decode_input,
    decode_output,
    encode_input,
    encode_output,
    kind_of,
)
from inference.spread import (
    MAX_TRIES,
    PER_NODE,
    FollowPart,
    NodesChanged,
    PartEnded,
    PartPlaced,
    PlacePart,
    Spread,
    SpreadAsked,
    SpreadDropped,
    SpreadEffect,
    SpreadEvent,
    Spreads,
    SpreadState,
)
from memory.messages import Document
from tests.consensus.world import MemoryReader

NODES = tuple(NodeId(bytes([at]) * 32) for at in range(1, 5))
TEXTS = tuple(f"text {at}" for at in range(PART_TEXTS * 3 + 5))


def embedded(given: TaskInput) -> TaskOutput:
    """Vectors by which a test can tell the texts again."""
    assert isinstance(given, EmbedInput)
    numbers = [float(text.rpartition(" ")[2]) for text in given.texts]
    return EmbedOutput(dimensions=1, vectors=struct.pack(f"<{len(numbers)}f", *numbers))


class Site:
    """Spreads with a disk and timers; parts wait until a test says what came of them."""

    def __init__(self) -> None:
        self.disk, self.now_ms = MemoryReader(), 0
        self.able: tuple[NodeId, ...] = NODES
        self.gone: frozenset[NodeId] = frozenset()
        self.count = 0
        self.start()

    def start(self) -> None:
        self.timers: dict[str, int] = {}
        self.work: dict[tuple[Digest, int, NodeId], PlacePart | FollowPart] = {}
        self.spreads = Spreads(self.disk)
        self.carry_out(self.spreads.on_started(self.now_ms))
        self.tell(NodesChanged({"embed": self.able}, self.gone))

    def carry_out(self, effects: list[SpreadEffect]) -> None:
        for effect in effects:
            match effect:
                case Persist():
                    self.disk.write(effect.writes)
                case SetTimer():
                    self.timers[effect.name] = self.now_ms + effect.delay_ms
                case CancelTimer():
                    self.timers.pop(effect.name, None)
                case PlacePart() | FollowPart():
                    self.work[effect.spread, effect.part, effect.executor] = effect
        self.spreads.check_invariants()

    def tell(self, event: SpreadEvent) -> None:
        self.carry_out(self.spreads.handle(self.now_ms, event))

    def ask(self, given: TaskInput, lead_ms: int = 60_000) -> Digest:
        self.count += 1
        name = Digest(self.count.to_bytes(32, "big"))
        spread = Spread(name, kind_of(given), self.now_ms, self.now_ms + lead_ms)
        self.tell(SpreadAsked(spread, encode_input(given)))
        return name

    def placed(self, key: tuple[Digest, int, NodeId]) -> None:
        self.tell(PartPlaced(*key, Digest(bytes([key[1]]) * 32)))

    def finish(self, key: tuple[Digest, int, NodeId], output: bytes | None = None) -> None:
        effect = self.work.pop(key)
        if output is None:
            assert isinstance(effect, PlacePart)
            output = encode_output(embedded(decode_input(effect.kind, effect.content)))
        self.tell(PartEnded(*key, output, ""))

    def fail(self, key: tuple[Digest, int, NodeId]) -> None:
        del self.work[key]
        self.tell(PartEnded(*key, None, "no memory"))

    def nodes(self, able: tuple[NodeId, ...], gone: frozenset[NodeId] = frozenset()) -> None:
        self.able, self.gone = able, gone
        self.work = {key: effect for key, effect in self.work.items() if key[2] not in gone}
        self.tell(NodesChanged({"embed": able}, gone))

    def state(self, name: Digest) -> SpreadState:
        found = self.spreads.find(name)
        assert found is not None
        return found.state

    def merged(self, name: Digest) -> TaskOutput:
        output = self.spreads.output(name)
        assert output is not None
        return decode_output("embed", output)


def test_parts_go_to_different_nodes_and_come_back_in_their_order() -> None:
    site = Site()
    name = site.ask(EmbedInput(texts=TEXTS))
    assert {key[2] for key in site.work} == set(NODES)
    for key in sorted(site.work, reverse=True):
        site.finish(key)
    assert site.state(name) is SpreadState.DONE
    assert site.merged(name) == embedded(EmbedInput(texts=TEXTS))


def test_a_lost_nodes_part_goes_to_another_and_late_words_count_for_nothing() -> None:
    site = Site()
    name = site.ask(EmbedInput(texts=TEXTS[:5]))
    (key,) = site.work
    site.placed(key)
    site.nodes(tuple(one for one in NODES if one != key[2]), frozenset({key[2]}))
    (other,) = site.work
    assert other[2] != key[2]
    site.tell(PartEnded(*key, b"late", ""))
    site.finish(other)
    assert site.state(name) is SpreadState.DONE


def test_a_wrong_output_counts_as_none() -> None:
    site = Site()
    name = site.ask(EmbedInput(texts=TEXTS[:5]))
    (key,) = site.work
    site.finish(key, encode_output(EmbedOutput(dimensions=1, vectors=bytes(8))))
    (other,) = site.work
    assert other[2] != key[2]
    found = site.spreads.find(name)
    assert found is not None
    assert "a vector for each text" in found.parts[0].tries[0].reason


def test_no_node_gets_more_than_its_share_nor_the_same_part_twice() -> None:
    site = Site()
    site.nodes(NODES[:1])
    name = site.ask(EmbedInput(texts=TEXTS))
    assert len(site.work) == PER_NODE
    for key in sorted(site.work):
        site.fail(key)
    assert len(site.work) == PER_NODE, "the parts that this node has not had"
    for key in sorted(site.work):
        site.fail(key)
    assert not site.work
    assert site.state(name) is SpreadState.RUNNING
    site.nodes(NODES)
    assert site.work


def test_it_fails_when_nobody_can_do_a_part_and_when_its_time_is_over() -> None:
    site = Site()
    many = tuple(NodeId(bytes([at]) * 32) for at in range(1, 2 + MAX_TRIES))
    site.nodes(many)
    name = site.ask(EmbedInput(texts=TEXTS[:5]))
    for _ in range(MAX_TRIES):
        (key,) = site.work
        site.fail(key)
    assert site.state(name) is SpreadState.FAILED
    late = site.ask(EmbedInput(texts=TEXTS[:5]))
    (timer,) = site.timers
    site.carry_out(site.spreads.on_timer(timer.removeprefix("spread/")))
    assert site.state(late) is SpreadState.FAILED


def test_after_a_restart_tasks_are_followed_and_what_had_none_goes_elsewhere() -> None:
    site = Site()
    name = site.ask(EmbedInput(texts=TEXTS))
    first, second, *rest = sorted(site.work)
    done = embedded(EmbedInput(texts=TEXTS[:PART_TEXTS]))
    site.finish(first)
    site.placed(second)
    site.start()
    assert isinstance(site.work[second], FollowPart)
    site.finish(
        second, encode_output(embedded(EmbedInput(texts=TEXTS[PART_TEXTS : 2 * PART_TEXTS])))
    )
    assert not set(rest) & set(site.work)
    for key in sorted(site.work):
        site.finish(key)
    assert site.state(name) is SpreadState.DONE
    merged = site.merged(name)
    assert isinstance(merged, EmbedOutput)
    assert isinstance(done, EmbedOutput)
    assert merged.vectors.startswith(done.vectors)


_words = st.text(alphabet="ab .\n", min_size=1, max_size=400).filter(str.strip)


@given(st.lists(_words, min_size=1, max_size=5), st.integers(20, 120))
def test_every_word_of_a_document_is_in_one_piece_at_its_place(
    texts: list[str], limit: int
) -> None:
    documents = tuple(Document(f"d{at}", text) for at, text in enumerate(texts))
    covered = {document.name: [False] * len(document.text) for document in documents}
    pieces = split(AnswerInput(question="q?", documents=documents), part_chars=limit)
    for piece in pieces:
        assert isinstance(piece.given, AnswerInput)
        encode_input(piece.given)
        for document in piece.given.documents:
            start = piece.offsets[document.name]
            whole = next(one.text for one in documents if one.name == document.name)
            assert whole[start : start + len(document.text)] == document.text
            for at in range(start, start + len(document.text)):
                assert not covered[document.name][at]
                covered[document.name][at] = True
    for document in documents:
        missed = [
            sign
            for sign, seen in zip(document.text, covered[document.name], strict=True)
            if not seen
        ]
        assert not "".join(missed).strip()


def test_quotations_get_their_places_in_the_whole() -> None:
    text = "First things first.\n\n" + "x " * 30 + "\n\nThe moon is far."
    whole = SummarizeInput(documents=(Document("d", text),), sentences=2)
    pieces = split(whole, part_chars=60)
    assert len(pieces) > 1
    outputs = []
    for piece in pieces:
        assert isinstance(piece.given, SummarizeInput)
        (document,) = piece.given.documents
        sentence = document.text.strip()[:10]
        start = document.text.index(sentence)
        quote = Quote("d", start, start + len(sentence), sentence, float(start))
        output = SummarizeOutput(sentences=(quote,))
        assert fault_of(piece.given, output) is None
        outputs.append(output)
    merged = merge(whole, pieces, outputs)
    assert isinstance(merged, SummarizeOutput)
    assert len(merged.sentences) == 2
    assert fault_of(whole, merged) is None


@pytest.mark.parametrize(
    ("given_input", "output"),
    [
        (EmbedInput(texts=("a", "b")), EmbedOutput(dimensions=1, vectors=bytes(4))),
        (
            AnswerInput(question="q?", documents=(Document("d", "text"),)),
            AnswerOutput(answered=True, answer="a", confidence=1.0, citations=()),
        ),
        (
            AnswerInput(question="q?", documents=(Document("d", "text"),)),
            AnswerOutput(
                answered=True,
                answer="a",
                confidence=1.0,
                citations=(Quote("d", 0, 4, "lies", 1.0),),
            ),
        ),
        (RankInput(query="q", documents=(Document("d", "text"),)), RankOutput(items=())),
        (EmbedInput(texts=("a",)), RankOutput(items=())),
    ],
)
def test_what_does_not_follow_from_the_input_is_no_output(
    given_input: TaskInput, output: TaskOutput
) -> None:
    assert fault_of(given_input, output) is not None


class Machine(RuleBasedStateMachine):
    """Nodes come and go, parts fail, the node restarts: what ends well has the right result."""

    @initialize()
    def begin(self) -> None:
        self.site = Site()
        self.asked: dict[Digest, int] = {}

    @rule(count=st.integers(1, len(TEXTS)))
    def ask(self, count: int) -> None:
        if self.site.spreads.refusal() is None:
            self.asked[self.site.ask(EmbedInput(texts=TEXTS[:count]))] = count

    @precondition(lambda self: any(isinstance(one, PlacePart) for one in self.site.work.values()))
    @rule(at=st.integers(0, 9), how=st.sampled_from(["placed", "finish", "fail", "garbage"]))
    def part(self, at: int, how: str) -> None:
        keys = sorted(key for key, one in self.site.work.items() if isinstance(one, PlacePart))
        key = keys[at % len(keys)]
        match how:
            case "placed":
                self.site.placed(key)
            case "finish":
                self.site.finish(key)
            case "fail":
                self.site.fail(key)
            case _:
                self.site.finish(key, b"garbage")

    @rule(able=st.sets(st.sampled_from(NODES)))
    def nodes(self, able: set[NodeId]) -> None:
        self.site.nodes(tuple(sorted(able)), frozenset(NODES) - able)

    @precondition(lambda self: self.asked)
    @rule(at=st.integers(0, 9))
    def drop(self, at: int) -> None:
        names = sorted(self.asked)
        self.site.tell(SpreadDropped(names[at % len(names)]))

    @rule()
    def restart(self) -> None:
        self.site.start()

    @invariant()
    def what_is_done_is_right(self) -> None:
        for name, count in self.asked.items():
            if self.site.state(name) is SpreadState.DONE:
                assert self.site.merged(name) == embedded(EmbedInput(texts=TEXTS[:count]))


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=50, stateful_step_count=25, deadline=None)
