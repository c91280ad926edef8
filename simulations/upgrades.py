"""A federation that goes on to protocol 2 while it runs, and nodes whose program does not know it yet.

There is no protocol 2 so far, so here is one, with one rule more: whoever pays anybody pays a fee to the treasury.
Operators whose program knows it say their word for it; the others' programs refuse to, as the daemon's does. A node
whose program doesn't know it must stop behind the last block of protocol 1 and vote for nothing above it, and go on
from its own disks once the newer program is installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from consensus.blocks import Block
from consensus.ledger.event_log import EventLog
from consensus.ledger.events import ParameterChanged
from consensus.ledger.machine import Ledger
from consensus.ledger.outcomes import Outcome
from consensus.ledger.records import Account
from consensus.ledger.state import Draft
from consensus.ledger.tables import ACCOUNTS
from consensus.operations.transactions import Transaction, Transfer
from consensus.operations.validators import ApproveParameter
from consensus.quorum import ValidatorSet
from gossip.effects import KeyValueReader
from simulations.violations import ViolationError

if TYPE_CHECKING:
    from consensus.engine import Engine
    from simulations.clients import Client
    from simulations.scenario import Upgrade
    from simulations.worlds.process import Process

NAME, NEWER = "protocol_version", 2
FEE = 1
_AGAIN_MS = 3_000


class SecondLedger(Ledger):
    """The ledger of a program that knows protocols 1 and 2."""

    speaks: ClassVar[int] = NEWER

    def _execute_one(
        self, draft: Draft, block: Block, present: ValidatorSet, transaction: Transaction
    ) -> Outcome:
        """Whatever it does under protocol 1; under protocol 2 its payments cost a fee each."""
        outcome = super()._execute_one(draft, block, present, transaction)
        if self.protocol_version >= NEWER and outcome.ok:
            treasury = self.genesis.treasury
            for payer in fees(transaction):
                _move(draft, payer, -FEE)
                _move(draft, treasury, FEE)
            draft.keep()
        return outcome


def fees(transaction: Transaction) -> tuple[bytes, ...]:
    """Who pays a fee for it, once for each."""
    body = transaction.body
    return (body.sender,) * sum(isinstance(one, Transfer) for one in body.operations)


def _move(draft: Draft, owner: bytes, amount: int) -> None:
    account = draft.get(ACCOUNTS, owner)
    assert account is not None
    draft.put(ACCOUNTS, owner, Account(account.balance + amount, account.nonce))


class Upgrades:
    """Who runs which program, and what their operators do."""

    def __init__(self, upgrade: Upgrade) -> None:
        self._upgrade = upgrade
        self._asked_ms: dict[int, int] = {}
        self.last: int | None = None
        """The last height of protocol 1, once a node has executed it."""

    def rules(self, node: int, now_ms: int) -> type[Ledger]:
        """The ledger of the program that this node starts now."""
        upgrade = self._upgrade
        is_late = node in upgrade.late and now_ms < upgrade.late_ms
        return Ledger if is_late else SecondLedger

    def ask(self, now_ms: int, one: Process, client: Client) -> tuple[Transaction, ...]:
        """What the operator of a validator hands in now: its word, again and again until the protocol is in force."""
        ledger: Ledger = one.core.ledger
        if now_ms < self._upgrade.at_ms or ledger.speaks < NEWER:
            return ()
        if ledger.protocol_version >= NEWER or one.address not in ledger.validators.nodes:
            return ()
        if now_ms < self._asked_ms.get(one.node, 0):
            return ()
        self._asked_ms[one.node] = now_ms + _AGAIN_MS
        return (client.ask(ApproveParameter(NAME, NEWER)),)

    def executed(self, height: int, chain: KeyValueReader) -> None:
        """A block is on a node's disk: note whether it is the last of protocol 1."""
        kinds: frozenset[type[object]] = frozenset((ParameterChanged,))
        for logged in EventLog(chain).block(height, kinds) or ():
            if isinstance(logged.event, ParameterChanged) and logged.event.name == NAME:
                self.last = height

    def voted(self, name: str, engine: Engine, height: int) -> None:
        """An honest node votes: not by rules that it doesn't know."""
        if self.last is not None and height > self.last and engine.ledger.speaks < NEWER:
            raise ViolationError(
                "protocol", f"{name} votes at height {height} and knows protocol 1 only"
            )

    def missing(self, engine: Engine) -> str:
        """Whether the federation goes on as it was."""
        is_done = engine.ledger.protocol_version == NEWER
        return "" if is_done else f"the federation never came to protocol {NEWER}"
