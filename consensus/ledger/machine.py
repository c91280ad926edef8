"""The ledger state machine: what blocks do to accounts, tasks, members and the validator set.

Deterministic: integers, the block's own time, sorted iteration. Whether transactions are signed is
checked before they come here, when they enter a mempool or a replica checks a block.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, ClassVar

from consensus.blocks import Block, Header
from consensus.genesis import Genesis
from consensus.ledger.applying import applied
from consensus.ledger.conservation import money_made
from consensus.ledger.events import AccountChanged, EpochChanged, Event
from consensus.ledger.outcomes import Code, Outcome, Refusal, Results
from consensus.ledger.records import (
    Account,
    InForce,
    KeyRecord,
    Member,
    Offering,
    Registration,
    Reputation,
    Role,
    StakeRecord,
    Task,
    TaskGroup,
    TaskState,
)
from consensus.ledger.registry import end_block
from consensus.ledger.seats import give_up, prune_words
from consensus.ledger.state import STATE_PREFIX, Context, Draft, State, Table
from consensus.ledger.state_tree import StateProof, StateTree
from consensus.ledger.tables import (
    ACCOUNTS,
    CANDIDATES,
    GROUPS,
    IN_FORCE,
    INVITES,
    KEYS,
    MEMBERS,
    OFFERINGS,
    REGISTRATIONS,
    REPUTATION,
    STAKES,
    TASKS,
    THE_ONE,
    VALIDATORS,
    WORDS,
)
from consensus.operations.transactions import Transaction, TransactionBody
from consensus.parameters import PROTOCOL_VERSION, Parameters
from consensus.quorum import ValidatorSet
from gossip.codec import DecodeError, Digest, decode_canonical, digest, encode
from gossip.effects import KeyValueReader, Write
from gossip.identity import Verifier

HEIGHT_KEY = b"ledger/height"
"""In the chain store, beside the state: the height of the last executed block, 8 bytes."""

_TABLES: dict[bytes, Table[Any]] = {
    table.prefix: table
    for table in (
        ACCOUNTS,
        MEMBERS,
        INVITES,
        CANDIDATES,
        TASKS,
        VALIDATORS,
        STAKES,
        REGISTRATIONS,
        KEYS,
        IN_FORCE,
        WORDS,
        REPUTATION,
        GROUPS,
        OFFERINGS,
    )
}


_VALIDATORS_KEY, _IN_FORCE_KEY = VALIDATORS.key(THE_ONE), IN_FORCE.key(THE_ONE)


class LedgerError(Exception):
    """The persisted state can't be used; the text says why."""


@dataclass(frozen=True, slots=True)
class BlockResult:
    """What executing a block came to.

    `writes` go to the chain store, in one batch with the block itself.
    """

    height: int
    writes: tuple[Write, ...]
    results: Results
    results_root: Digest
    state_root: Digest
    next_set: ValidatorSet
    events: tuple[Event, ...]
    event_ends: tuple[int, ...]
    """For each transaction, where its events end in `events`; those behind the last are the block's."""

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """One for each transaction, in block order."""
        return self.results.outcomes


@dataclass(frozen=True, slots=True)
class Recovered:
    """What giving up seats came to: writes of the chain store, the survivors, the root after it."""

    writes: tuple[Write, ...]
    members: ValidatorSet
    state_root: Digest


class Ledger:
    """The state after the last executed block, in memory."""

    speaks: ClassVar[int] = PROTOCOL_VERSION
    """The newest protocol whose rules it knows."""

    def __init__(self, genesis: Genesis, verifier: Verifier) -> None:
        self._genesis = genesis
        self._verifier = verifier
        self._state = State()
        self._tree = StateTree()
        self._validators: ValidatorSet
        self.height = 0
        """The height of the last executed block; 0 before the first."""
        self._apply(_genesis_values(genesis))

    @classmethod
    def load(cls, genesis: Genesis, reader: KeyValueReader, verifier: Verifier) -> Ledger:
        """The ledger as persisted: `initial_writes`, then the writes of each block.

        Raises `LedgerError` if the state is missing, damaged, or of another federation.
        """
        raw_height = reader.get(HEIGHT_KEY)
        if raw_height is None:
            raise LedgerError("there is no stored state")
        ledger = cls(genesis, verifier)
        ledger._state, ledger._tree = State(), StateTree()
        ledger.height = int.from_bytes(raw_height, "big")
        cut = len(STATE_PREFIX)
        pairs = {key[cut:]: value for key, value in reader.scan(STATE_PREFIX)}
        for key, value in pairs.items():
            ledger._state.put(key, _decoded(key, value))
        ledger._tree = ledger._tree.update(pairs)
        ledger._validators = ledger._state.get(_VALIDATORS_KEY)
        if ledger.account(genesis.treasury) is None:
            raise LedgerError("the stored state belongs to another federation, or is damaged")
        return ledger

    @property
    def genesis(self) -> Genesis:
        """What the ledger began with."""
        return self._genesis

    @property
    def parameters(self) -> Parameters:
        """The federation's constants in force."""
        return self._in_force.parameters

    @property
    def protocol_version(self) -> int:
        """The protocol that the federation speaks from the next block on."""
        return self._in_force.protocol_version

    @property
    def is_outdated(self) -> bool:
        """Whether the next block is executed by rules that are not known here."""
        return self.protocol_version > self.speaks

    @property
    def _in_force(self) -> InForce:
        now: InForce = self._state.get(_IN_FORCE_KEY)
        return now

    @property
    def state_root(self) -> Digest:
        """The root of the state tree."""
        return self._tree.root

    @property
    def validators(self) -> ValidatorSet:
        """The set that votes on the next block."""
        return self._validators

    def account(self, owner: bytes) -> Account | None:
        """An account, or None if it never received anything."""
        prefix = ACCOUNTS.prefix
        found: Account | None = self._state.tables[prefix].get(prefix + owner)
        return found

    def accounts(self) -> list[tuple[bytes, Account]]:
        """All accounts, in the order of their ids."""
        return sorted(self._state.items(ACCOUNTS))

    def task(self, name: bytes) -> Task | None:
        """A task by its id."""
        task: Task | None = self._state.get(TASKS.key(name))
        return task

    def tasks(
        self,
        *,
        state: TaskState | None = None,
        submitter: bytes | None = None,
        executor: bytes | None = None,
    ) -> list[tuple[bytes, Task]]:
        """The ids and tasks that fit, oldest first."""
        fitting = [
            (name, task)
            for name, task in self._state.items(TASKS)
            if state in (None, task.state)
            and submitter in (None, task.submitter)
            and executor in (None, task.executor)
        ]
        return sorted(fitting, key=lambda pair: (pair[1].submit_height, pair[0]))

    def group(self, name: bytes) -> TaskGroup | None:
        """A group of tasks by its id."""
        group: TaskGroup | None = self._state.get(GROUPS.key(name))
        return group

    def group_ids(self) -> list[bytes]:
        """The ids of all groups of tasks, in order."""
        return sorted(name for name, _ in self._state.items(GROUPS))

    def offering(self, node: bytes) -> tuple[str, ...]:
        """The kinds of task that the ledger may give a node."""
        offering: Offering | None = self._state.get(OFFERINGS.key(node))
        return () if offering is None else offering.kinds

    def reputation(self, node: bytes) -> Reputation | None:
        """How a node has done, or None if nothing is known."""
        reputation: Reputation | None = self._state.get(REPUTATION.key(node))
        return reputation

    def reputations(self) -> list[tuple[bytes, Reputation]]:
        """All of whom something is known, members or not any more, in the order of their ids."""
        return sorted(self._state.items(REPUTATION))

    def member(self, node: bytes) -> Member | None:
        """A member, or None if the node is none."""
        member: Member | None = self._state.get(MEMBERS.key(node))
        return member

    def members(self) -> list[tuple[bytes, Member]]:
        """All members, in the order of their ids."""
        return sorted(self._state.items(MEMBERS))

    def stake(self, node: bytes) -> StakeRecord | None:
        """What is at risk for a node's votes, or None if it has none and wants none."""
        record: StakeRecord | None = self._state.get(STAKES.key(node))
        return record

    def stakes(self) -> list[tuple[bytes, StakeRecord]]:
        """All that is at risk, in the order of the nodes."""
        return sorted(self._state.items(STAKES))

    def registration(self, node: bytes) -> Registration | None:
        """A candidate's wish for a seat, or None."""
        wish: Registration | None = self._state.get(REGISTRATIONS.key(node))
        return wish

    def registrations(self) -> list[tuple[bytes, Registration]]:
        """All candidates that have registered, in the order of the nodes."""
        return sorted(self._state.items(REGISTRATIONS))

    def voting_key(self, key: bytes) -> KeyRecord | None:
        """Whose a voting key is, or None if it is nobody's."""
        record: KeyRecord | None = self._state.get(KEYS.key(key))
        return record

    def is_invite_used(self, invite: bytes) -> bool:
        """Whether somebody came in with this invite."""
        return self._state.get(INVITES.key(invite)) is not None

    def initial_writes(self) -> tuple[Write, ...]:
        """All of the state as writes of the chain store; the first batch of a new chain."""
        values = sorted(self._state.everything(), key=_first)
        return _stored(((key, encode(value)) for key, value in values), self.height)

    def value(self, key: bytes) -> bytes | None:
        """The encoded value of a state key, as `prove` speaks of it."""
        value = self._state.get(key)
        return None if value is None else encode(value)

    def prove(self, key: bytes) -> StateProof:
        """Shows the value of a state key, or its absence, under `state_root`."""
        return self._tree.prove(key)

    def check_invariants(self) -> None:
        """Assert what must hold after every block.

        No money was made or lost, and the members' roles fit the validators' seats.
        """
        state, members = self._state, self.validators
        balances = [account.balance for account in state.values(ACCOUNTS)]
        escrow = sum([task.reward for task in state.values(TASKS) if task.is_open])
        staked = sum([record.total for record in state.values(STAKES)])
        supply = self._genesis.parameters.supply
        assert min(balances) >= 0, "an account is overdrawn"
        assert sum(balances) + escrow + staked == supply, "money was made or lost"
        cut, seated = len(MEMBERS.prefix), state.keyed(MEMBERS).items()
        voting = {key[cut:] for key, member in seated if member.role is Role.VALIDATOR}
        assert voting == set(members.nodes), "the members' roles don't fit the validator set"
        assert members == state.get(_VALIDATORS_KEY), "other validators than the state's"
        for seat in members.validators:
            key = state.read(KEYS, seat.voting_key)
            assert key is not None, "a seat's key has no record"
            assert key.node == seat.node, "a key belongs to another seat"
            assert key.last_epoch is None, "a seat votes with a key that was given up"
            assert state.read(STAKES, seat.node) is not None, "a seat without a stake record"

    def execute(self, block: Block) -> BlockResult:
        """Execute the next committed block.

        The caller persists `writes` before it tells anybody. One protocol holds for all of a block: the one that was in
        force before it.
        """
        header, present = block.header, self.validators
        assert not self.is_outdated, f"protocol {self.protocol_version} is not known here"
        assert header.height == self.height + 1, f"block {header.height} after {self.height}"
        assert header.chain == self._genesis.federation_id, "a block of another federation"
        draft = Draft(self._state)
        outcomes: list[Outcome] = []
        event_ends: list[int] = []
        events = draft.events
        for transaction in block.transactions:
            outcomes.append(self._execute_one(draft, block, present, transaction))
            event_ends.append(len(events))
        end_block(draft, self._context(draft, header, present, None, self._genesis.treasury))
        draft.keep()
        coming = draft.get(VALIDATORS, THE_ONE)
        assert coming is not None
        if coming != present:
            prune_words(draft, coming)
            draft.emit(EpochChanged(coming))
            draft.keep()
        return self._commit(header.height, draft, tuple(outcomes), tuple(event_ends), coming)

    def recover(self, lost: AbstractSet[bytes]) -> Recovered:
        """Give up seats after the last block, as survivors agree by `consensus/recovery.py`; nothing else does this."""
        draft, present = Draft(self._state), self.validators
        context = Context(
            self._genesis,
            self.parameters,
            self._verifier,
            present,
            self.height,
            0,
            None,
            self._genesis.treasury,
            b"",
        )
        members = give_up(draft, context, lost)
        draft.keep()
        assert money_made(self._state, draft.changes) == 0, "money was made or lost"
        encoded = self._apply(draft.changes)
        return Recovered(_stored(encoded.items(), self.height), members, self.state_root)

    def _execute_one(
        self, draft: Draft, block: Block, present: ValidatorSet, transaction: Transaction
    ) -> Outcome:
        """All operations of a transaction, or none."""
        body, name, header = transaction.body, transaction.id, block.header
        sender = body.sender
        account = draft.get(ACCOUNTS, sender)
        refusal = self._unusable(account, header.height, body)
        if refusal is not None:
            return Outcome(name, refusal.code, 0, refusal.figures)
        assert account is not None
        context = self._context(draft, header, present, name, sender)
        draft.put_kept(ACCOUNTS, sender, Account(account.balance, account.nonce + 1))
        for index, operation in enumerate(body.operations):
            refusal = applied(draft, context, operation, index)
            if refusal is not None:
                draft.drop()
                return Outcome(name, refusal.code, index, refusal.figures)
        draft.keep()
        return Outcome(name, Code.OK)

    def _context(
        self,
        draft: Draft,
        header: Header,
        present: ValidatorSet,
        transaction: bytes | None,
        sender: bytes,
    ) -> Context:
        in_force = draft.get(IN_FORCE, THE_ONE)
        assert in_force is not None
        return Context(
            self._genesis,
            in_force.parameters,
            self._verifier,
            present,
            header.height,
            header.timestamp_ms,
            transaction,
            sender,
            header.prev_hash,
        )

    def _unusable(
        self, account: Account | None, height: int, body: TransactionBody
    ) -> Refusal | None:
        """Why a transaction changes nothing at all, not even its sender's nonce."""
        if body.chain != self._genesis.federation_id:
            return Refusal(Code.WRONG_CHAIN)
        if account is None:
            return Refusal(Code.UNKNOWN_ACCOUNT)
        if body.nonce != account.nonce:
            return Refusal(Code.BAD_NONCE, (account.nonce, body.nonce))
        if body.expiry_height < height:
            return Refusal(Code.EXPIRED, (body.expiry_height, height))
        return None

    def _commit(
        self,
        height: int,
        draft: Draft,
        outcomes: tuple[Outcome, ...],
        event_ends: tuple[int, ...],
        coming: ValidatorSet,
    ) -> BlockResult:
        """Make the draft the state."""
        changes = draft.changes
        assert money_made(self._state, changes) == 0, "money was made or lost"
        encoded = self._apply(changes)
        self.height = height
        results = Results(outcomes, digest(b"state-writes", encode(list(encoded.items()))))
        cut = len(ACCOUNTS.prefix)
        accounts = [
            AccountChanged(key[cut:], value)
            for key in encoded
            if isinstance(value := changes[key], Account)
        ]
        return BlockResult(
            height,
            _stored(encoded.items(), height),
            results,
            results.root,
            self.state_root,
            coming,
            (*draft.events, *accounts),
            event_ends,
        )

    def _apply(self, changes: dict[bytes, Any]) -> dict[bytes, bytes | None]:
        """Put changes into the state and the tree; their encoded form, in the order of the keys."""
        tables = self._state.tables
        encoded: dict[bytes, bytes | None] = {}
        for key in sorted(changes):
            value = changes[key]
            if value is None:
                encoded[key] = None
                tables[key[:1]].pop(key, None)
            else:
                encoded[key] = encode(value)
                tables[key[:1]][key] = value
        if _VALIDATORS_KEY in changes:
            self._validators = changes[_VALIDATORS_KEY]
        self._tree = self._tree.update(encoded)
        return encoded


def _first(change: tuple[bytes, Any]) -> bytes:
    return change[0]


def _stored(values: Iterable[Write], height: int) -> tuple[Write, ...]:
    """State values as writes of the chain store."""
    changes = [(STATE_PREFIX + key, value) for key, value in values]
    return (*changes, (HEIGHT_KEY, height.to_bytes(8, "big")))


def _genesis_values(genesis: Genesis) -> dict[bytes, Any]:
    values: dict[bytes, Any] = {
        ACCOUNTS.key(genesis.treasury): Account(genesis.treasury_amount, 0),
        VALIDATORS.key(THE_ONE): genesis.first_set(),
        IN_FORCE.key(THE_ONE): InForce(genesis.parameters),
    }
    for founder in genesis.founders:
        values[ACCOUNTS.key(founder.node)] = Account(founder.amount - founder.stake, 0)
        values[MEMBERS.key(founder.node)] = Member(Role.VALIDATOR, 0)
        values[STAKES.key(founder.node)] = StakeRecord(own=founder.stake)
        values[KEYS.key(founder.voting_key)] = KeyRecord(founder.node, 0)
    return values


def _decoded(key: bytes, value: bytes) -> Any:  # noqa: ANN401 - the key says which type
    table = _TABLES.get(key[:1])
    if table is None:
        raise LedgerError(f"the stored state has an unknown key {key.hex()}")
    try:
        return decode_canonical(value, table.kind)
    except DecodeError as error:
        raise LedgerError(f"the stored state is damaged at {key.hex()}: {error}") from None
