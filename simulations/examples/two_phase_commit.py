"""Two-phase commit (Gray 1978) with a mistake: who has promised to commit and hears nothing more gives up and aborts.

bizra-sim explore --core simulations.examples.two_phase_commit:TwoPhaseCommit
"""

from simulations import guest
from simulations.guest import Broadcast, Note, Received, Request, Send, SetTimer, TimerFired, Write

COORDINATOR, PATIENCE_MS = 0, 400


class Prepare(guest.Message):
    transaction: int


class Promise(guest.Message):
    transaction: int


class Outcome(guest.Message):
    transaction: int
    commits: bool


class Node:
    def __init__(self, place: guest.Place) -> None:
        self.disk, self.others = place.disk, set(range(place.nodes)) - {COORDINATOR}
        self.is_coordinator = place.number == COORDINATOR
        self.gives_up = place.parameters.get("gives_up", True)
        self.promised: dict[int, set[int]] = {}

    def handle(self, now_ms: int, event: object) -> list[object]:
        match event:
            case Request(transaction):
                self.promised[transaction] = set()
                return [Broadcast(Prepare(transaction)), *self.wait(transaction)]
            case Received(_, Prepare(transaction)) if self.outcome(transaction) is None:
                promise = Write({b"%d" % transaction: b"promised"})
                return [promise, Send(COORDINATOR, Promise(transaction)), *self.wait(transaction)]
            case Received(sender, Promise(transaction)) if transaction in self.promised:
                self.promised[transaction].add(sender)
                if self.promised[transaction] == self.others:
                    return self.decide(transaction, commits=True)
            case Received(_, Outcome(transaction, commits)):
                return self.decide(transaction, commits=commits)
            case TimerFired(name) if self.is_coordinator or self.gives_up:
                return self.decide(int(name), commits=False)
        return []

    def wait(self, transaction: int) -> list[object]:
        return [SetTimer(str(transaction), PATIENCE_MS)]

    def outcome(self, transaction: int) -> bytes | None:
        found = self.disk.get(b"%d" % transaction)
        return None if found == b"promised" else found

    def decide(self, transaction: int, *, commits: bool) -> list[object]:
        if self.outcome(transaction) is not None:
            return []
        keep = Write({b"%d" % transaction: b"committed" if commits else b"aborted"})
        tell = [Broadcast(Outcome(transaction, commits))] if self.is_coordinator else []
        return [keep, *tell, Note((transaction, commits))]


class TwoPhaseCommit(guest.Guest):
    nodes, messages = 4, Prepare | Promise | Outcome

    def __init__(self, parameters: dict[str, object]) -> None:
        super().__init__(parameters)
        self.decided: dict[int, bool] = {}

    def boot(self, place: guest.Place) -> Node:
        return Node(place)

    def requests(self) -> list[tuple[int, int, int]]:
        return [(100 + 300 * transaction, COORDINATOR, transaction) for transaction in range(10)]

    def noted(self, node: int, what: tuple[int, bool]) -> None:
        transaction, commits = what
        if self.decided.setdefault(transaction, commits) is not commits:
            guest.broken(
                "atomicity", f"n{node} and another disagree about transaction {transaction}"
            )
