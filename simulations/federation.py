"""A Bizra federation in virtual time: the real engines, their users, and the judges."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

import msgspec

from consensus.blocks import Block
from consensus.certificates import Phase
from consensus.engine import (
    Engine,
    PeerConnected,
    PeerDisconnected,
    Received,
    Started,
    Submit,
    TimerFired,
    initial_writes,
)
from consensus.execution import BlockExecuted, UnknownProtocol
from consensus.genesis import Founder, Genesis, found
from consensus.ledger.events import Slashed, ValidatorDeactivated, VotingKeyRotated
from consensus.ledger.machine import Ledger
from consensus.messages import (
    Blocks,
    ConsensusMessage,
    Proposal,
    ViewChange,
    ViewChangeNames,
    Vote,
)
from consensus.operations.transactions import Transaction
from consensus.parameters import Parameters
from consensus.pbft.finality import Diverged, StateCertified
from consensus.pbft.own_votes import VotesAgain, VotesElsewhere, VotingKeys
from consensus.pbft.reports import Equivocation, Prepared, Timing, ViewEntered
from gossip.codec import decode
from gossip.effects import Broadcast, Store
from gossip.identity import NodeId, Signer
from simulations.clients import Client, Joiner
from simulations.history import History
from simulations.labels import labelled
from simulations.liars.attacks import KINDS
from simulations.liars.habits import UnrestrainedKeys
from simulations.oracles import Oracles
from simulations.registrar import STAKE_PER_POWER, Registrar, limits
from simulations.scenario import Scenario
from simulations.snapshot_node import FederationMessage, SnapshotNode, SnapshotTaken
from simulations.upgrades import FEE, Upgrades, fees
from simulations.worlds.disk import MemoryStore
from simulations.worlds.hooks import Vocabulary
from simulations.worlds.lives import SUPERVISOR_MS
from simulations.worlds.process import Core, Process
from simulations.worlds.result import Result
from simulations.worlds.signatures import Keyring
from simulations.worlds.trace import Trace
from simulations.worlds.world import TICK_US, World

CREATED_MS = 1_700_000_000_000
FOUNDER_AMOUNT = 1_000_000_000
_FIRST_ASKED_MS = 50
_DECODED = 256
"""More are hardly ever under way at once."""


_REGISTRY_MARKS: dict[type[object], str] = {
    Slashed: "liar punished",
    ValidatorDeactivated: "seat lost",
    VotingKeyRotated: "voting key rotated",
}


class Federation(World):
    """See the module. Make one, `run` it once."""

    vocabulary: ClassVar[Vocabulary] = Vocabulary(
        Started, Received, TimerFired, PeerConnected, PeerDisconnected
    )

    stores: ClassVar[tuple[Store, ...]] = (Store.CHAIN, Store.VOTES, Store.POOL)

    def __init__(self, scenario: Scenario, trace: Trace | None = None) -> None:
        super().__init__(scenario, trace)
        self.scenario = scenario
        self._language: Any = ConsensusMessage if scenario.snapshots is None else FederationMessage
        self._proposed_in: dict[bytes, int] = {}
        keys = Keyring(self.draws, real=scenario.signatures == "ed25519")
        users = [keys.signer(b"identity", node) for node in range(scenario.nodes)]
        self.identities = users
        self._voters = [keys.signer(b"voting", node) for node in range(scenario.nodes)]
        self.verifier = keys.verifier
        rotated = self._rotated(keys)
        self._genesis = self._founded(users)
        self._first_writes = initial_writes(self._genesis, self.verifier)
        ids = [NodeId(user.public) for user in users]
        chain = self._genesis.federation_id
        self._registrar = None
        if scenario.by_stake:
            self._registrar = Registrar(chain, scenario.deeds, ids, rotated)
        self._upgrades = None if scenario.upgrade is None else Upgrades(scenario.upgrade)
        self.populate(self._processes(ids))
        honest_keys = frozenset(
            key.public
            for one in self.honest
            for key in (self._voters[one.node], *rotated.get(one.node, ()))
        )
        self.oracles = Oracles(chain, self.verifier, honest_keys)
        self.clients = {
            one.node: Client(one.node, users[one.node], chain, tuple(ids[: scenario.founders]))
            for one in self.honest
        }
        self._users = tuple(ids[: scenario.founders])
        self._history = History(dict.fromkeys(self._users, FOUNDER_AMOUNT))
        self._joiners = tuple(
            Joiner(
                at_ms,
                ids[scenario.founders + place],
                self._voters[scenario.founders + place].public,
            )
            for place, at_ms in enumerate(scenario.joiners)
        )
        self._plan()

    # Beginnings

    def _rotated(self, keys: Keyring) -> dict[int, tuple[Signer, ...]]:
        """The keys of those who rotate theirs, in the order of their turns."""
        counts = Counter(deed.node for deed in self.scenario.deeds if deed.to is None)
        return {
            node: (
                self._voters[node],
                *(keys.signer(b"fresh" * turn, node) for turn in range(1, count + 1)),
            )
            for node, count in counts.items()
        }

    def _founded(self, users: list[Signer]) -> Genesis:
        founders = tuple(
            Founder(users[node].public, self._voters[node].public, weight, FOUNDER_AMOUNT)
            for node, weight in enumerate(self.scenario.weights)
        )
        if self.scenario.by_stake:
            founders = tuple(
                msgspec.structs.replace(
                    one,
                    amount=FOUNDER_AMOUNT + one.power * STAKE_PER_POWER,
                    stake=one.power * STAKE_PER_POWER,
                )
                for one in founders
            )
        return found("simulated", CREATED_MS, founders, self.limits())

    def limits(self) -> Parameters:
        """The constants of this federation."""
        if self.scenario.by_stake:
            return limits(self.scenario.max_block_txs)
        return Parameters(max_block_txs=self.scenario.max_block_txs)

    def _processes(self, ids: list[NodeId]) -> list[Process]:
        scenario, liars = self.scenario, self.scenario.liars
        kinds = {actor.node: actor.kind for actor in scenario.actors}
        processes: list[Process] = []
        for node in range(scenario.nodes):
            kind = kinds.get(node)
            for twin in (0, 1) if kind == "twin" else (None,):
                liar = None
                if kind is not None:
                    chain = self._genesis.federation_id
                    liar = KINDS[kind](node, self._voters[node], chain, self.draws)
                # As the daemon does, a block is synced before the votes cast above it.
                stores = {store: MemoryStore() for store in self.stores}
                stores[Store.CHAIN].write(self._first_writes)
                processes.append(
                    Process(
                        number=len(processes),
                        node=node,
                        address=ids[node],
                        stores=stores,
                        clock=self.clock_of(node, CREATED_MS),
                        sync_us=scenario.disk.sync_us,
                        is_honest=node not in liars,
                        liar=liar,
                        twin=twin,
                    )
                )
        return processes

    def _plan(self) -> None:
        """Put on the heap what the scenario says will happen."""
        scenario = self.scenario
        for process in self.processes:
            late = process.node - scenario.founders
            self.at(0 if late < 0 else scenario.joiners[late] * 1000, self.start, process)
        self.plan_faults()
        if scenario.upgrade is not None:
            for one in self.processes:
                if one.node in scenario.upgrade.late:
                    self.at(scenario.upgrade.late_ms * 1000, self._install, one)
        wanted = scenario.clients
        for one in self.honest:
            if one.node < scenario.founders and (not wanted.only or one.node in wanted.only):
                for place in range(wanted.transactions):
                    due_ms = _FIRST_ASKED_MS + place // wanted.burst * wanted.interval_ms
                    self.at(due_ms * 1000, self.transfer, one)
        self.at(TICK_US, self.tick)

    def boot(self, process: Process) -> Core:
        habits, parts = self.scenario.snapshots, self.engine_parts(process)
        if habits is not None:
            return SnapshotNode(habits=habits, **parts)
        engine = Engine(**parts)
        if self._registrar is not None:
            self._registrar.started(process.node, engine)
        return engine

    def engine_parts(self, process: Process) -> dict[str, Any]:
        """What an engine is made from."""
        delays, upgrades = self.scenario.delays, self._upgrades
        now_ms = self.now_us // 1000
        rules = Ledger if upgrades is None else upgrades.rules(process.node, now_ms)
        return {
            "rules": rules,
            "genesis": self._genesis,
            "voting_key": self._keys_of(process),
            "verifier": self.verifier,
            "chain": process.stores[Store.CHAIN],
            "votes": process.stores[Store.VOTES],
            "pool": process.stores[Store.POOL],
            "timing": Timing(
                progress_ms=delays.progress_ms,
                progress_cap_ms=delays.progress_cap_ms,
                status_ms=delays.status_ms,
                drift_ms=delays.drift_ms,
                collected_from=self.scenario.collected_from,
            ),
            "asks_at_start": process.is_honest and process.life > 0,
        }

    def _install(self, process: Process) -> None:
        """The operator of a late node starts the newer program."""
        self.line(process.name, "installs", "the program that knows the newer protocol")
        if process.is_up:
            self.die(process, SUPERVISOR_MS)

    def _keys_of(self, process: Process) -> VotingKeys:
        own = self._voters[process.node]
        held = (own,) if self._registrar is None else self._registrar.keys(process.node, own)
        return VotingKeys(*held) if process.is_honest else UnrestrainedKeys(*held)

    def decode(self, data: bytes) -> object:
        """A message that goes to several is decoded once; it is frozen all through."""
        if len(self.decoded) >= _DECODED:
            self.decoded.clear()
        message = self.decoded[data] = decode(data, self._language)
        return message

    def wipe_votes(self, process: Process) -> None:
        process.stores[Store.VOTES].wipe()

    def renew(self, process: Process) -> None:
        super().renew(process)
        process.stores[Store.CHAIN].write(self._first_writes)

    # Users

    def on_tick(self, now_ms: int) -> None:
        """Ask again for what has not happened; act as operators."""
        for one in self.honest:
            client, engine = self.clients[one.node], one.core
            if engine is None:
                continue
            shown = self.oracles.shown(one.number)
            for name in [
                id_ for id_, asked in client.pending.items() if _is_done(engine, shown, asked)
            ]:
                del client.pending[name]
            if client.pending and now_ms % 1000 == 0:
                self.turn(one, one.life, Submit(tuple(client.pending.values())))
            self._operate(one, client, now_ms)
            asked = self._asked_of_the_ledger(now_ms, one, client)
            if asked:
                self.turn(one, one.life, Submit(asked))
            self._read(one)

    def _asked_of_the_ledger(
        self, now_ms: int, one: Process, client: Client
    ) -> tuple[Transaction, ...]:
        """What an operator hands in about the registry, and about the protocol."""
        asked: tuple[Transaction, ...] = ()
        if self._registrar is not None and self._is_operated(one):
            asked += tuple(self._registrar.ask(now_ms, one.node, one.core, client))
        if self._upgrades is not None and one.core is not None:
            asked += self._upgrades.ask(now_ms, one, client)
        return asked

    def _read(self, one: Process) -> None:
        """Each user asks its own node for two balances."""
        engine: Engine | None = one.core
        if engine is None or engine.height != self.oracles.told(one.number):
            return  # down; or executed, not yet on disk: nobody is shown it
        for step in (0, 1):
            owner = self._users[(one.node + step) % len(self._users)]
            account = engine.ledger.account(owner)
            if account is not None:
                self._history.read(one.number, engine.height, owner, account.balance)
        self.marks["reads checked"] = self._history.reads

    def _is_operated(self, one: Process) -> bool:
        """Whether it is up and its operator has an account from the start."""
        return one.core is not None and one.node < self.scenario.founders

    def _operate(self, one: Process, client: Client, now_ms: int) -> None:
        for joiner in self._joiners:
            engine = one.core
            if engine is None or one.address not in engine.validators.nodes:
                return
            member = engine.ledger.member(joiner.node)
            if member is None and one is not self.honest[0]:
                continue
            asked = client.admit(now_ms, joiner, None if member is None else member.role)
            if asked is not None:
                self.turn(one, one.life, Submit((asked,)))

    def transfer(self, one: Process) -> None:
        """A user pays somebody."""
        transaction = self.clients[one.node].transfer()
        self.oracles.expect_success(transaction.id)
        if one.is_up:
            self.turn(one, one.life, Submit((transaction,)))

    def has_asked(self, now_ms: int) -> bool:
        wanted = self.scenario.clients
        rounds = -(-wanted.transactions // wanted.burst)
        last_ms = _FIRST_ASKED_MS + rounds * wanted.interval_ms
        deeds_ms = (one.at_ms for one in self.scenario.deeds)
        upgrade_ms = 0 if self.scenario.upgrade is None else self.scenario.upgrade.at_ms
        return now_ms >= max((last_ms, upgrade_ms, *self.scenario.joiners, *deeds_ms))

    def missing(self) -> str:
        heights = {}
        for one in self.honest:
            if one.core is None:
                return f"{one.name} is down"
            heights[one.name] = (one.core.height, one.core.certified)
        waiting = [
            transaction.id.hex()[:16]
            for client in self.clients.values()
            for transaction in client.pending.values()
        ]
        if waiting:
            return f"{len(waiting)} transactions never executed, one is {waiting[0]}; heights {heights}"
        for one in self.honest:
            engine: Engine = one.core
            if engine.height != self.oracles.height:
                return f"{one.name} stays at height {engine.height} of {self.oracles.height}"
            if engine.certified != engine.height:
                return (
                    f"{one.name} has certificates up to {engine.certified} of {engine.height} only"
                )
            if not {joiner.node for joiner in self._joiners} <= set(engine.validators.nodes):
                return f"{one.name} knows of no seat for somebody who joined"
        engine = self.honest[0].core
        lacks = "" if self._upgrades is None else self._upgrades.missing(engine)
        return lacks or ("" if self._registrar is None else self._registrar.missing(engine))

    def height(self) -> int:
        return self.oracles.height

    def describe(self, process: Process) -> str:
        engine: Engine = process.core
        replica = engine.replica
        entered = "" if replica.entered else " (asked for)"
        return (
            f"height={engine.height} certified={engine.certified}"
            f" epoch={engine.validators.epoch} view={replica.view}{entered}"
        )

    def label(self, message: Any) -> str:  # noqa: ANN401 - see World
        return labelled(message)

    # Judges and marks

    def on_restarted(self, process: Process) -> None:
        engine: Engine = process.core
        if not engine.replica.entered:
            self.marks["restart while asking for a view"] += 1
        if process.is_honest:
            first = engine.chain.first_height()
            if first > max(1, self.oracles.told(process.number)):  # died before it could tell
                self.oracles.took_snapshot(process.number, process.stores[Store.CHAIN], first)
            self.oracles.restarted(process.number, engine)

    def on_turn(self, process: Process) -> None:
        process.core.check_invariants()

    def on_cut(self, lost: list[Any]) -> None:
        said = [one.message for one in lost if isinstance(one, Broadcast)]
        if any(isinstance(one, Vote) and one.ballot.phase is Phase.COMMIT for one in said):
            self.marks["crash between prepared and commit"] += 1

    def on_send(self, process: Process, message: Any) -> None:  # noqa: ANN401 - see World
        kind = type(message)
        if kind is Proposal:
            first = self._proposed_in.setdefault(message.digest, message.view)
            if first < message.view:
                self.marks["re-proposal after a view change"] += 1
            return
        if kind is ViewChange or kind is ViewChangeNames:
            if message.prepared is not None:
                self.marks["view change while prepared"] += 1
        elif kind is not Vote:
            return
        if process.is_honest:
            self.oracles.sent(process.name, process.stores[Store.VOTES], message)
            if self._upgrades is not None and kind is Vote:
                self._upgrades.voted(process.name, process.core, message.ballot.height)

    def on_message(self, message: Any) -> None:  # noqa: ANN401 - see World
        if type(message) is Blocks and message.blocks:
            self.marks["blocks fetched"] += 1

    def on_notify(self, process: Process, what: Any) -> None:  # noqa: ANN401 - see World
        engine, number = process.core, process.number
        match what:
            case BlockExecuted():
                block = what.block
                self.oracles.executed(number, engine, block, what.result)
                self._write_down(process, block)
                self._mark(block, what)
                self.line(
                    process.name,
                    "executed",
                    f"height={block.height} epoch={block.header.epoch}"
                    f" txs={len(block.raw_transactions)} {block.digest.hex()[:12]}",
                )
            case Prepared():
                self.line(process.name, "prepared", f"height={what.block.height}")
            case StateCertified():
                self.oracles.certified(number, engine, what.certificate)
            case Diverged():
                self.oracles.diverged(number, what.own.height)
            case Equivocation():
                self.marks["equivocation seen"] += 1
                self.oracles.accused(number, what.voter)
                self._note_evidence(process, what)
                self.line(process.name, "evidence", f"against {what.voter.hex()[:8]}")
            case SnapshotTaken() | UnknownProtocol():
                self._end_life(process, what)
            case VotesElsewhere():
                self.marks["own vote from elsewhere"] += 1
                if process.is_honest:
                    self.oracles.silenced(process.name, what.sentence)
            case VotesAgain():
                self.marks["vote again after asking"] += 1
            case ViewEntered():
                if what.view:
                    self.marks["view change"] += 1
                self.line(process.name, "entered", f"epoch={what.epoch} view={what.view}")
            case _:
                pass

    def _end_life(self, process: Process, why: SnapshotTaken | UnknownProtocol) -> None:
        """A program that ends by itself, and is started again."""
        if isinstance(why, UnknownProtocol):
            self.marks["stopped at a newer protocol"] += 1
            self.line(process.name, "stopped", f"protocol {why.version} is not known here")
            self.die(process, SUPERVISOR_MS)
            return
        self.marks["snapshot taken"] += 1
        self.line(process.name, "snapshot", f"taken, height={why.height}")
        self.oracles.took_snapshot(process.number, process.stores[Store.CHAIN], why.height)
        self.die(process, 1)

    def _note_evidence(self, process: Process, report: Equivocation) -> None:
        if self._registrar is not None and process.is_honest:
            self._registrar.saw(process.node, report)

    def _mark(self, block: Block, executed: BlockExecuted) -> None:
        """What a block did to the set."""
        for event in executed.result.events:
            mark = _REGISTRY_MARKS.get(type(event))
            if mark is not None:
                self.marks[mark] += 1
        if executed.result.next_set.epoch != block.header.epoch:
            self.marks["epoch change"] += 1
            if self.wires.is_partitioned(self.now_us):
                self.marks["epoch change under a partition"] += 1

    def _write_down(self, process: Process, block: Block) -> None:
        """What this block means to clients; a crash may have kept the news of those below it from everybody."""
        chain = process.core.chain
        for height in range(self._history.height + 1, block.height + 1):
            stored, execution = chain.block(height), chain.execution(height)
            succeeded = (outcome.ok for outcome in execution.results.outcomes)
            self._history.ordered(height, tuple(zip(stored.transactions, succeeded, strict=True)))
            if self._upgrades is not None:
                self._upgrades.executed(height, process.stores[Store.CHAIN])
                if self._upgrades.last == height:
                    self._history.charge((FEE, fees))
        pending = self.clients[process.node].pending
        for transaction in block.transactions:
            if transaction.id in pending:
                self._history.answered(process.number, transaction.id, block.height)


def _is_done(engine: Engine, shown: int, transaction: Transaction) -> bool:
    """Whether its user has been told of the block that it is in, or that is below a snapshot here."""
    place = engine.chain.place_of(transaction.id)
    if place is not None:
        return place.height <= shown
    account = engine.ledger.account(transaction.body.sender)
    is_used = account is not None and transaction.body.nonce < account.nonce
    return engine.chain.first_height() > 1 and is_used


def run(scenario: Scenario, trace: Trace | None = None) -> Result:
    """Run a scenario from beginning to end."""
    return Federation(scenario, trace).run()
