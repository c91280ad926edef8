"""The queue: order, deadlines, restarts, and that nothing is lost or answered twice."""

from __future__ import annotations

from hashlib import blake2b

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gossip.codec import Digest
from gossip.effects import CancelTimer, Persist, SetTimer
from inference.waiting import (
    AT_ONCE,
    ENDED,
    MAX_WAITING,
    RETRY_MS,
    Enqueue,
    GiveUp,
    NotServed,
    PlacesChanged,
    Queued,
    QueueEffect,
    QueueEvent,
    QueueState,
    Serve,
    Served,
    TriedAgain,
    WaitingRoom,
    Withdrawn,
)
from tests.consensus.world import MemoryReader

HOUR_MS = 3_600_000


class Office:
    """A room with a disk and timers; what it wants served is kept until a test says what came of it."""

    def __init__(self) -> None:
        self.disk, self.now_ms, self.count = MemoryReader(), 0, 0
        self.start()

    def start(self) -> None:
        self.timers: dict[str, int] = {}
        self.serving: dict[Digest, Serve] = {}
        self.room = WaitingRoom(self.disk)
        self.carry_out(self.room.on_started(self.now_ms))

    def carry_out(self, effects: list[QueueEffect]) -> None:
        for effect in effects:
            match effect:
                case Persist():
                    self.disk.write(effect.writes)
                case SetTimer():
                    self.timers[effect.name] = self.now_ms + effect.delay_ms
                case CancelTimer():
                    self.timers.pop(effect.name, None)
                case Serve():
                    assert Digest(effect.entry.id) not in self.serving
                    self.serving[Digest(effect.entry.id)] = effect
                case GiveUp():
                    del self.serving[effect.id]
        self.room.check_invariants()

    def tell(self, event: QueueEvent) -> None:
        self.carry_out(self.room.handle(self.now_ms, event))

    def ask(self, model: str = "m", *, priority: int = 5, lead_ms: int = HOUR_MS) -> Digest:
        self.count += 1
        name = Digest(blake2b(str(self.count).encode(), digest_size=32).digest())
        entry = Queued(
            id=name,
            method="chat",
            model=model,
            priority=priority,
            since_ms=self.now_ms,
            deadline_ms=self.now_ms + lead_ms,
            number=0,
            size_bytes=0,
        )
        self.tell(Enqueue(entry, b"asked"))
        return name

    def wait(self, delay_ms: int) -> None:
        end_ms = self.now_ms + delay_ms
        while due := sorted((at, name) for name, at in self.timers.items() if at <= end_ms):
            at, name = due[0]
            self.now_ms = max(self.now_ms, at)
            del self.timers[name]
            self.carry_out(self.room.on_timer(self.now_ms, name.removeprefix("queue/")))
        self.now_ms = end_ms

    def served(self, name: Digest) -> None:
        del self.serving[name]
        self.tell(Served(name, b"answer", "here"))

    def not_served(self, name: Digest, *, may_wait: bool = True) -> None:
        del self.serving[name]
        self.tell(NotServed(name, "no", may_wait))

    def escalate(self, name: Digest) -> None:
        del self.serving[name]
        self.tell(NotServed(name, "garbled", may_wait=False, escalates=True))

    def state(self, name: Digest) -> QueueState:
        found = self.room.find(name)
        assert found is not None
        return found.state


def test_what_waits_is_served_by_priority_then_in_its_order_once_its_model_is_there() -> None:
    office = Office()
    early, late, urgent = office.ask(), office.ask(), office.ask(priority=9)
    assert [office.room.position(one) for one in (urgent, early, late)] == [1, 2, 3]
    office.wait(RETRY_MS)
    assert not office.serving
    office.tell(PlacesChanged(frozenset({"m"})))
    assert list(office.serving) == [urgent, early, late]
    office.served(urgent)
    assert office.state(urgent) is QueueState.DONE
    assert office.room.answer(urgent) == b"answer"


def test_what_all_servers_failed_at_waits_for_a_person_to_decide_over_restarts() -> None:
    office = Office()
    office.tell(PlacesChanged(frozenset({"m"})))
    retried, answered, given_up, late = (
        *(office.ask() for _ in range(3)),
        office.ask(lead_ms=2 * RETRY_MS),
    )
    office.wait(RETRY_MS)
    for one in (retried, answered, given_up, late):
        office.escalate(one)
        assert office.state(one) is QueueState.ESCALATED
    assert not office.room.line()
    office.start()
    assert [Digest(one.id) for one in office.room.escalated()] == [
        retried,
        answered,
        given_up,
        late,
    ]
    office.tell(PlacesChanged(frozenset({"m"})))
    assert not office.serving, "nobody tries it unasked"
    office.tell(TriedAgain(retried))
    assert list(office.serving) == [retried]
    office.tell(Served(answered, b"mine", "a person"))
    assert office.room.answer(answered) == b"mine"
    office.tell(Withdrawn(given_up))
    assert office.state(given_up) is QueueState.CANCELLED
    office.wait(RETRY_MS)
    assert office.state(late) is QueueState.FAILED
    office.tell(TriedAgain(late))
    assert office.state(late) is QueueState.FAILED, "what has ended stays so"


def test_another_models_request_does_not_hold_up_the_line() -> None:
    office = Office()
    office.ask("absent")
    present = office.ask("m")
    office.wait(RETRY_MS)
    office.tell(PlacesChanged(frozenset({"m"})))
    assert list(office.serving) == [present]


def test_only_so_many_are_under_way_at_once() -> None:
    office = Office()
    names = [office.ask() for _ in range(AT_ONCE + 2)]
    office.wait(RETRY_MS)
    office.tell(PlacesChanged(frozenset({"m"})))
    assert list(office.serving) == names[:AT_ONCE]
    office.served(names[0])
    assert names[AT_ONCE] in office.serving


def test_what_still_cannot_be_served_keeps_its_place_and_what_is_refused_fails() -> None:
    office = Office()
    first, second = office.ask(), office.ask()
    office.tell(PlacesChanged(frozenset({"m"})))
    office.wait(RETRY_MS)
    office.not_served(first)
    assert office.room.position(first) == 1
    office.not_served(second, may_wait=False)
    assert office.state(second) is QueueState.FAILED
    office.wait(RETRY_MS)
    assert list(office.serving) == [first]


def test_a_deadline_ends_what_waits_and_what_is_under_way() -> None:
    office = Office()
    name, running = office.ask("absent", lead_ms=10_000), office.ask("m", lead_ms=10_000)
    office.tell(PlacesChanged(frozenset({"m"})))
    office.wait(RETRY_MS)
    assert list(office.serving) == [running]
    office.wait(10_000)
    assert office.state(name) is office.state(running) is QueueState.FAILED
    assert not office.serving


def test_a_restart_finds_the_queue_again_and_serves_what_was_under_way_anew() -> None:
    office = Office()
    first, second = office.ask(), office.ask()
    office.tell(PlacesChanged(frozenset({"m"})))
    office.wait(RETRY_MS)
    office.served(first)
    office.start()
    assert office.state(first) is QueueState.DONE
    assert office.room.answer(first) == b"answer"
    assert office.state(second) is QueueState.WAITING
    office.tell(PlacesChanged(frozenset({"m"})))
    assert list(office.serving) == [second]


def test_a_full_queue_says_so() -> None:
    office = Office()
    for _ in range(MAX_WAITING):
        assert office.room.refusal(5) is None
        office.ask("absent")
    told = office.room.refusal(5)
    assert told is not None
    assert str(MAX_WAITING) in told


class Machine(RuleBasedStateMachine):
    """Whatever happens in whatever order, a request ends once, and what has ended stays as it is."""

    @initialize()
    def begin(self) -> None:
        self.office = Office()
        self.asked: list[Digest] = []
        self.ended: dict[Digest, Queued] = {}

    @rule(model=st.sampled_from(["m", "n"]), priority=st.integers(0, 9), lead=st.integers(0, 60))
    def ask(self, model: str, priority: int, lead: int) -> None:
        self.asked.append(self.office.ask(model, priority=priority, lead_ms=lead * 1000))

    @rule(models=st.frozensets(st.sampled_from(["m", "n"])))
    def places(self, models: frozenset[str]) -> None:
        self.office.tell(PlacesChanged(models))

    @precondition(lambda self: self.office.serving)
    @rule(at=st.integers(0, 3), how=st.sampled_from(["served", "later", "refused", "garbled"]))
    def ends(self, at: int, how: str) -> None:
        names = sorted(self.office.serving)
        name = names[at % len(names)]
        if how == "served":
            self.office.served(name)
        elif how == "garbled":
            self.office.escalate(name)
        else:
            self.office.not_served(name, may_wait=how == "later")

    @precondition(lambda self: self.asked)
    @rule(at=st.integers(0, 20))
    def try_again(self, at: int) -> None:
        self.office.tell(TriedAgain(self.asked[at % len(self.asked)]))

    @precondition(lambda self: self.asked)
    @rule(at=st.integers(0, 20))
    def withdraw(self, at: int) -> None:
        self.office.tell(Withdrawn(self.asked[at % len(self.asked)]))

    @rule(delay_ms=st.integers(0, 70_000))
    def wait(self, delay_ms: int) -> None:
        self.office.wait(delay_ms)

    @rule()
    def restart(self) -> None:
        self.office.start()

    @invariant()
    def nothing_is_lost_and_nothing_ends_twice(self) -> None:
        room = self.office.room
        for name in self.asked:
            entry = room.find(name)
            assert entry is not None
            if entry.state in ENDED:
                assert self.ended.setdefault(name, entry) == entry
            else:
                assert name not in self.ended
                assert entry.deadline_ms >= self.office.now_ms
                assert (name in self.office.serving) == (entry.state is QueueState.RUNNING)
        line = room.line()
        assert [room.position(Digest(one.id)) for one in line] == list(range(1, len(line) + 1))


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
