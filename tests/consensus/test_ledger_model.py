"""The ledger against a model that any reader can check: dictionaries of balances, nonces and tasks."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from consensus.ledger.machine import Ledger
from consensus.ledger.outcomes import Code
from consensus.operations.transactions import (
    AdmitObserver,
    ClaimTask,
    CompleteTask,
    FailTask,
    Operation,
    SubmitTask,
    Transaction,
    Transfer,
    content_hash,
    task_id,
)
from tests.consensus.world import HashSigner, HashVerifier, Town

PEOPLE = [HashSigner(f"person {number}") for number in range(4)]
people = st.sampled_from(range(6))


@dataclass
class Expected:
    """A task in the model."""

    asker: int
    reward: int
    deadline_ms: int
    state: str = "queued"
    executor: int | None = None


class LedgerModel(RuleBasedStateMachine):
    """Two founders and four others, each step one transaction; blocks are cut at will."""

    @initialize()
    def begin(self) -> None:
        self.town = Town((2, 1))
        self.people = [*self.town.nodes, *PEOPLE]
        self.balances = {0: 1000, 1: 1000}
        self.nonces = dict.fromkeys(range(6), 0)
        self.members = {0, 1}
        self.tasks: dict[bytes, Expected] = {}
        self.treasury = self.town.genesis.treasury_amount
        self.pending: list[Transaction] = []
        self.expected: list[bool] = []

    def send(self, who: int, *operations: Operation, ok: bool) -> Transaction:
        """Put a transaction into the next block, with what the model thinks of it."""
        transaction = self.town.signed(self.people[who], *operations, nonce=self.nonces[who])
        if who in self.balances:
            self.nonces[who] += 1
        self.pending.append(transaction)
        self.expected.append(ok and who in self.balances)
        return transaction

    @property
    def block_ms(self) -> int:
        return self.town.now_ms + 1000

    @rule(who=people, to=people, amount=st.integers(1, 1500), again=st.integers(0, 1500))
    def transfer(self, who: int, to: int, amount: int, again: int) -> None:
        balance = self.balances.get(who, 0)
        amounts = [amount, again] if again else [amount]
        spent = amounts if to != who else [0, 0]
        ok = amount <= balance and again <= balance - spent[0]
        owner = self.people[to].node_id
        self.send(who, *(Transfer(owner, one) for one in amounts), ok=ok)
        if ok and to != who:
            self.balances[who] -= sum(amounts)
            self.balances[to] = self.balances.get(to, 0) + sum(amounts)

    @rule(who=people, node=people)
    def admit(self, who: int, node: int) -> None:
        ok = who in (0, 1) and node not in self.members
        self.send(who, AdmitObserver(self.people[node].node_id, None), ok=ok)
        if ok:
            grant = self.town.genesis.parameters.observer_grant
            self.members.add(node)
            self.treasury -= grant
            self.balances[node] = self.balances.get(node, 0) + grant

    @rule(who=people, reward=st.integers(0, 300), lead_ms=st.integers(500, 5000))
    def submit(self, who: int, reward: int, lead_ms: int) -> None:
        ok = who in self.members and 1 <= reward <= self.balances[who] and lead_ms >= 1000
        deadline_ms = self.block_ms + lead_ms
        operation = SubmitTask("embed", content_hash(b"in"), reward, None, deadline_ms)
        transaction = self.send(who, operation, ok=ok)
        if ok:
            self.balances[who] -= reward
            self.tasks[task_id(transaction.id, 0)] = Expected(who, reward, deadline_ms)

    @rule(who=people, data=st.data())
    def claim(self, who: int, data: st.DataObject) -> None:
        if self.tasks:
            name = data.draw(st.sampled_from(sorted(self.tasks)))
            task = self.tasks[name]
            ok = who in self.members and task.state == "queued"
            self.send(who, ClaimTask(name), ok=ok)
            if ok:
                task.state, task.executor = "assigned", who

    @rule(who=people, data=st.data())
    def fail(self, who: int, data: st.DataObject) -> None:
        if self.tasks:
            name = data.draw(st.sampled_from(sorted(self.tasks)))
            task = self.tasks[name]
            gives_up = task.state == "assigned" and who == task.executor
            takes_back = who == task.asker and (
                task.state == "queued"
                or (task.state == "assigned" and self.block_ms >= task.deadline_ms)
            )
            self.send(who, FailTask(name, "reason"), ok=gives_up or takes_back)
            if gives_up or takes_back:
                task.state = "cancelled" if task.state == "queued" else "failed"
                self.balances[task.asker] += task.reward

    @rule(who=people, data=st.data())
    def complete(self, who: int, data: st.DataObject) -> None:
        self.cut()
        if self.tasks:
            name = data.draw(st.sampled_from(sorted(self.tasks)))
            task = self.tasks[name]
            signed = self.town.receipt(name, self.people[who])
            ok = task.state == "assigned" and who == task.executor
            self.send(who, CompleteTask(signed), ok=ok)
            if ok:
                task.state = "settled"
                self.balances[who] += task.reward

    @rule()
    def cut(self) -> None:
        """Execute what is pending as one block."""
        result = self.town.block(*self.pending)
        assert [outcome.ok for outcome in result.outcomes] == self.expected
        self.pending, self.expected = [], []

    @rule()
    def wait(self) -> None:
        if not self.pending:
            self.town.now_ms += 2000

    @rule()
    def replay(self) -> None:
        """What was executed once is refused for ever."""
        self.cut()
        before = self.town.ledger.state_root
        done = [
            transaction
            for block, result in zip(self.town.executed, self.town.results, strict=True)
            for transaction, outcome in zip(block.transactions, result.outcomes, strict=True)
            if outcome.ok
        ]
        result = self.town.block(*done[-5:])
        assert {outcome.code for outcome in result.outcomes} <= {Code.BAD_NONCE}
        assert self.town.ledger.state_root == before

    @invariant()
    def the_ledger_is_what_the_model_says(self) -> None:
        if self.pending:
            return
        ledger = self.town.ledger
        accounts: dict[bytes, int] = {person.node_id: at for at, person in enumerate(self.people)}
        seen = {
            accounts[owner]: account for owner, account in ledger.accounts() if owner in accounts
        }
        assert {at: account.balance for at, account in seen.items()} == self.balances
        assert all(account.nonce == self.nonces[at] for at, account in seen.items())
        assert {name: task.state.value for name, task in ledger.tasks()} == {
            name: task.state for name, task in self.tasks.items()
        }
        treasury = ledger.account(self.town.genesis.treasury)
        assert treasury is not None
        assert treasury.balance == self.treasury

    def teardown(self) -> None:
        self.cut()
        again = Ledger.load(self.town.genesis, self.town.database, HashVerifier())
        assert again.state_root == self.town.ledger.state_root


TestLedgerModel = LedgerModel.TestCase
TestLedgerModel.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
