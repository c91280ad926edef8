"""Plays a protocol story: a few engines, messages that wait until they are delivered, a clock that is told to move.

A script is lines of commands, each followed by what changed, indented. Lines with # tell why. Commands:

    nodes 1 1 1 1          founders with these powers; they are connected and started
    observer               one more node, connected, without a seat
    submit N [TO]          node N's user pays somebody
    admit N M / seat N M   node N's operator lets M in, or speaks for its seat
    deliver [N]            hand over all that is under way, and what follows from it (only what goes to N)
    only KIND [N]          the same for one kind of message
    lose N | lose KIND     throw away what is under way from N, or of a kind
    mute N / unmute N      from now on N's messages are lost
    collect N              before nodes: sets of N and more have their votes collected
    deaf N KIND            from now on what is sent to several at once of that kind does not reach N
    keep N                 from now on N hands out nothing of what it collects
    equivocate N           N proposes one block to its first hearer and another to the rest
    censor N M             N takes no notice of what M's user asks for
    slow N MS              N's proposals take so much longer
    wait MS                the clock moves; timers fire, messages are delivered
    crash N / restart N    memory is gone; the disk stays
    part N                 the others are told that no connection leads to N any more
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from consensus.engine import (
    Engine,
    EngineEvent,
    PeerConnected,
    PeerDisconnected,
    Received,
    Started,
    Submit,
    TimerFired,
    initial_writes,
)
from consensus.execution import BlockExecuted
from consensus.genesis import Founder, Genesis, found
from consensus.ledger.machine import Ledger
from consensus.messages import (
    CollectedStates,
    CollectedVotes,
    ConsensusMessage,
    Proposal,
    Transactions,
    ViewChange,
    ViewChangeNames,
    Vote,
    proposal_bytes,
)
from consensus.operations.transactions import (
    AdmitObserver,
    ApproveValidator,
    Operation,
    TransactionBody,
    Transfer,
    decode_transaction,
    sign_transaction,
)
from consensus.pbft.finality import StateCertified
from consensus.pbft.reports import Equivocation, Prepared, Timing, ViewEntered
from gossip.codec import decode, encode
from gossip.effects import (
    Broadcast,
    CancelTimer,
    Effect,
    Notify,
    Persist,
    Rejected,
    Send,
    SetTimer,
    Store,
)
from gossip.identity import NodeId
from simulations.worlds.disk import MemoryStore
from simulations.worlds.draws import Draws
from simulations.worlds.signatures import Keyring

START_MS = 1_700_000_000_000


@dataclass(slots=True)
class Actor:
    number: int
    node_id: NodeId
    chain: MemoryStore
    votes: MemoryStore
    pool: MemoryStore
    timers: dict[str, int]
    engine: Engine | None = None
    muted: bool = False
    lies: bool = False
    censored: bytes | None = None
    keeps: bool = False
    slow_ms: int = 0
    nonce: int = 0

    def store(self, name: Store) -> MemoryStore:
        return {Store.CHAIN: self.chain, Store.VOTES: self.votes, Store.POOL: self.pool}[name]


@dataclass(frozen=True, slots=True)
class Letter:
    source: int
    target: int
    message: ConsensusMessage
    due_ms: int

    @property
    def kind(self) -> str:
        message = self.message
        if isinstance(message, Vote):
            return message.ballot.phase.name.lower()
        return type(message).__name__.lower()


class Story:
    def __init__(self) -> None:
        self.keys = Keyring(Draws(0), real=False)
        self.actors: list[Actor] = []
        self.letters: list[Letter] = []
        self.lines: list[str] = []
        self.now_ms = START_MS
        self.genesis: Genesis
        self.names: dict[bytes, str] = {}
        self.timing = Timing()
        self.deaf: set[tuple[int, str]] = set()
        self.posted: Counter[str] = Counter()
        self.rules: dict[int, type[Ledger]] = {}
        """The ledgers of those whose program is another one."""

    # Commands

    def play(self, command: str) -> list[str]:
        name, *words = command.split()
        act: Callable[..., None] = getattr(self, f"do_{name}")
        self.lines = []
        act(*words)
        return self.lines

    def do_nodes(self, *powers: str) -> None:
        users = [self.keys.signer(b"identity", number) for number in range(len(powers))]
        voters = [self.keys.signer(b"voting", number) for number in range(len(powers))]
        founders = tuple(
            Founder(user.public, voter.public, int(power), 1000)
            for user, voter, power in zip(users, voters, powers, strict=True)
        )
        self.genesis = found("a story", START_MS, founders)
        for _ in powers:
            self.do_observer()

    def do_collect(self, least: str) -> None:
        self.timing = Timing(collected_from=int(least))

    def do_keep(self, number: str) -> None:
        self.actors[int(number)].keeps = True

    def do_deaf(self, number: str, kind: str) -> None:
        self.deaf.add((int(number), kind))

    def do_observer(self) -> None:
        number = len(self.actors)
        user = self.keys.signer(b"identity", number)
        actor = Actor(number, NodeId(user.public), MemoryStore(), MemoryStore(), MemoryStore(), {})
        actor.chain.write(initial_writes(self.genesis, self.keys.verifier))
        self.actors.append(actor)
        self.names[user.public] = self.names[self.keys.signer(b"voting", number).public] = (
            f"n{number}"
        )
        self.do_restart(str(number))

    def do_restart(self, number: str) -> None:
        actor = self.actors[int(number)]
        actor.timers = {}
        actor.engine = Engine(
            genesis=self.genesis,
            voting_key=self.keys.signer(b"voting", actor.number),
            verifier=self.keys.verifier,
            chain=actor.chain,
            votes=actor.votes,
            pool=actor.pool,
            timing=self.timing,
            rules=self.rules.get(actor.number, Ledger),
        )
        self.turn(actor, Started())
        for other in self.actors:
            if other is not actor and other.engine is not None:
                self.turn(actor, PeerConnected(other.node_id))
                self.turn(other, PeerConnected(actor.node_id))

    def do_crash(self, number: str) -> None:
        actor = self.actors[int(number)]
        actor.engine, actor.timers = None, {}
        for disk in (actor.chain, actor.votes, actor.pool):
            disk.power_off()
        self.letters = [one for one in self.letters if one.target != actor.number]

    def do_part(self, number: str) -> None:
        gone = self.actors[int(number)]
        for actor in self.actors:
            if actor is not gone and actor.engine is not None:
                self.turn(actor, PeerDisconnected(gone.node_id))

    def do_submit(self, number: str, to: str = "0") -> None:
        self.ask(int(number), Transfer(self.actors[int(to)].node_id, 1))

    def do_admit(self, number: str, other: str) -> None:
        self.ask(int(number), AdmitObserver(self.actors[int(other)].node_id, None))

    def do_seat(self, number: str, other: str) -> None:
        node = int(other)
        key = self.keys.signer(b"voting", node).public
        self.ask(int(number), ApproveValidator(self.actors[node].node_id, key))

    def ask(self, number: int, operation: Operation) -> None:
        actor = self.actors[number]
        user = self.keys.signer(b"identity", number)
        chain = self.genesis.federation_id
        body = TransactionBody(chain, actor.node_id, actor.nonce, 1000, (operation,))
        actor.nonce += 1
        self.turn(actor, Submit((sign_transaction(user, body),)))

    def do_mute(self, number: str) -> None:
        self.actors[int(number)].muted = True

    def do_unmute(self, number: str) -> None:
        self.actors[int(number)].muted = False

    def do_equivocate(self, number: str) -> None:
        self.actors[int(number)].lies = True

    def do_censor(self, number: str, other: str) -> None:
        self.actors[int(number)].censored = self.actors[int(other)].node_id

    def do_slow(self, number: str, span_ms: str) -> None:
        self.actors[int(number)].slow_ms = int(span_ms)

    def do_lose(self, what: str) -> None:
        self.letters = [one for one in self.letters if what not in (str(one.source), one.kind)]

    def do_deliver(self, number: str = "") -> None:
        self.hand_over(lambda one: number in ("", str(one.target)))

    def do_only(self, kind: str, number: str = "") -> None:
        self.hand_over(lambda one: one.kind == kind and number in ("", str(one.target)))

    def hand_over(self, wanted: Callable[[Letter], bool]) -> None:
        while chosen := next(
            (one for one in self.letters if one.due_ms <= self.now_ms and wanted(one)), None
        ):
            self.letters.remove(chosen)
            source, target = self.actors[chosen.source], self.actors[chosen.target]
            message = chosen.message
            if isinstance(message, Transactions) and target.censored is not None:
                message = without(message, target.censored)
            self.turn(target, Received(source.node_id, message))

    def do_wait(self, span_ms: str) -> None:
        end_ms = self.now_ms + int(span_ms)
        while True:
            self.do_deliver()
            due = [(at, one.number, name) for one in self.actors for name, at in one.timers.items()]
            arrivals = [one.due_ms for one in self.letters]
            if arrivals and min(arrivals) <= min((end_ms, *(at for at, _, _ in due))):
                self.now_ms = min(arrivals)
                continue
            if not due or min(due)[0] > end_ms:
                break
            at_ms, number, name = min(due)
            self.now_ms = at_ms
            del self.actors[number].timers[name]
            self.turn(self.actors[number], TimerFired(name))
        self.now_ms = end_ms

    # Turns

    def turn(self, actor: Actor, event: EngineEvent) -> None:
        if actor.engine is None:
            return
        effects = actor.engine.handle(self.now_ms, event)
        actor.engine.check_invariants()
        for effect in effects:
            self.carry(actor, effect)

    def carry(self, actor: Actor, effect: Effect) -> None:
        match effect:
            case Persist():
                actor.store(effect.store).write(effect.writes, lazy=effect.lazy)
            case Send():
                self.post(actor, (effect.to,), effect.message)
            case Broadcast():
                self.post(actor, effect.to, effect.message)
            case SetTimer():
                actor.timers[effect.name] = self.now_ms + effect.delay_ms
            case CancelTimer():
                actor.timers.pop(effect.name, None)
            case Notify():
                self.tell(actor, effect.what)
            case Rejected():
                if not effect.cause.is_usual:
                    self.say(actor, f"refuses from {self.names[effect.peer]}: {effect.reason}")

    def post(self, actor: Actor, to: tuple[NodeId, ...], message: object) -> None:
        if isinstance(message, ViewChange | ViewChangeNames):
            bound = "" if message.prepared is None else ", prepared"
            line = f"asks for view {message.view}{bound}"
            if f"  n{actor.number} {line}" not in self.lines:
                self.say(actor, line)
        if actor.muted or (actor.keeps and isinstance(message, CollectedVotes | CollectedStates)):
            return
        numbers = [one.number for node in to for one in self.actors if one.node_id == node]
        for place, number in enumerate(numbers):
            if self.actors[number].engine is None:
                continue
            said: object = message
            if actor.lies and place > 0:
                said = self.lie(actor, message)
            sent: ConsensusMessage = decode(encode(said), ConsensusMessage)  # type: ignore[arg-type]
            slow_ms = actor.slow_ms if isinstance(sent, Proposal) else 0
            letter = Letter(actor.number, number, sent, self.now_ms + slow_ms)
            self.posted[letter.kind] += 1
            if len(to) == 1 or (number, letter.kind) not in self.deaf:
                self.letters.append(letter)

    def lie(self, actor: Actor, message: object) -> object:
        if not isinstance(message, Proposal):
            return message
        header = message.header
        other = msgspec.structs.replace(header, timestamp_ms=header.timestamp_ms + 1)
        chain = self.genesis.federation_id
        signed = proposal_bytes(chain, message.epoch, message.view, other.height, other.digest)
        signature = self.keys.signer(b"voting", actor.number).sign(signed)
        return Proposal(message.epoch, message.view, other, message.transactions, signature)

    def tell(self, actor: Actor, what: object) -> None:
        match what:
            case BlockExecuted():
                block = what.block
                place = f"height {block.height}, {len(block.raw_transactions)} transactions"
                self.say(
                    actor,
                    f"executes {place}, first proposed by {self.names[block.header.proposer]}",
                )
            case Prepared():
                self.say(actor, f"has prepared height {what.block.height}")
            case ViewEntered():
                self.say(actor, f"enters epoch {what.epoch} view {what.view}")
            case Equivocation():
                self.say(actor, f"has evidence against {self.names[what.voter]}")
            case StateCertified():
                self.say(actor, f"certifies height {what.certificate.statement.height}")
            case _:
                pass

    def say(self, actor: Actor, line: str) -> None:
        self.lines.append(f"  n{actor.number} {line}")


def without(message: Transactions, sender: bytes) -> Transactions:
    """What somebody sees who takes no notice of this sender."""
    return Transactions(
        tuple(raw for raw in message.raw if decode_transaction(raw).body.sender != sender)
    )


def replayed(script: str) -> str:
    """The script with what its commands really do."""
    story, out = Story(), []
    for line in script.splitlines():
        if line.startswith("#") or not line.strip():
            out.append(line)
        elif not line.startswith("  "):
            out += [line, *story.play(line)]
    return "\n".join(out) + "\n"
