"""What clients saw, held against one account book: linearizable writes, reads that never go back.

The chain itself names the order, so nothing has to be searched (as Wing and Gong 1993 must): it is enough that this
order explains every answer. Heights are agreed on one after the other, so whatever had its answer before something else
was asked for stands before it; an answer must name the place where its transaction stands. Reads, which a node answers
by itself, must be the book after the height they speak of, never a height below one that the same node has shown or
called final before, restarts included. A read at another node may be older; newer than that is promised to nobody.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field

from consensus.operations.transactions import Transaction, Transfer
from simulations.violations import ViolationError

Place = tuple[int, int]
"""Height, and place in the block."""
Fees = tuple[int, Callable[[Transaction], tuple[bytes, ...]]]
"""What a fee is, and who pays one for a transaction, as often as it does."""


@dataclass(slots=True)
class _Account:
    """An account's balance after each height that changed it."""

    heights: list[int] = field(default_factory=lambda: [0])
    balances: list[int] = field(default_factory=list)
    is_followed: bool = True
    """Whether only transfers have touched it; the book knows no other rules."""

    def at(self, height: int) -> int:
        return self.balances[bisect_right(self.heights, height) - 1]

    def add(self, height: int, amount: int) -> None:
        if self.heights[-1] == height:
            self.balances[-1] += amount
        else:
            self.heights.append(height)
            self.balances.append(self.balances[-1] + amount)


class History:
    """The book of one world. `balances` are those at the beginning."""

    def __init__(self, balances: dict[bytes, int]) -> None:
        self._accounts = {
            owner: _Account(balances=[balance]) for owner, balance in balances.items()
        }
        self._places: dict[bytes, Place] = {}
        self._shown: dict[int, int] = {}
        self._fees: Fees | None = None
        self._height = 0
        self.reads = 0

    @property
    def height(self) -> int:
        """The last height that is in the book."""
        return self._height

    def ordered(self, height: int, transactions: tuple[tuple[Transaction, bool], ...]) -> None:
        """The federation has agreed on a height: what is in it, and what of that succeeded."""
        assert height == self._height + 1
        self._height = height
        for index, (transaction, succeeded) in enumerate(transactions):
            self._places[transaction.id] = height, index
            self._book(height, transaction, succeeded=succeeded)

    def charge(self, fees: Fees) -> None:
        """From the next height on what succeeds costs its sender something."""
        self._fees = fees

    def _book(self, height: int, transaction: Transaction, *, succeeded: bool) -> None:
        body = transaction.body
        for operation in body.operations:
            if not isinstance(operation, Transfer):
                if body.sender in self._accounts:
                    self._accounts[body.sender].is_followed = False
            elif succeeded:
                for owner, amount in (
                    (body.sender, -operation.amount),
                    (operation.to, operation.amount),
                ):
                    if owner in self._accounts:
                        self._accounts[owner].add(height, amount)
        if self._fees is not None and succeeded:
            fee, payers_of = self._fees
            for payer in payers_of(transaction):
                if payer in self._accounts:
                    self._accounts[payer].add(height, -fee)

    def answered(self, node: int, transaction: bytes, height: int) -> None:
        """A node tells its client that this is final."""
        place = self._places.get(transaction)
        if place is None or place[0] != height:
            raise ViolationError(
                "linearizability",
                f"n{node} calls {transaction.hex()[:16]} final at {height}, it stands at {place}",
            )
        self._shown[node] = max(self._shown.get(node, 0), height)

    def read(self, node: int, height: int, owner: bytes, balance: int) -> None:
        """A node answers a client what an account holds."""
        if height < self._shown.get(node, 0):
            raise ViolationError(
                "reads", f"n{node} shows height {height} after it has shown {self._shown[node]}"
            )
        self._shown[node] = height
        account = self._accounts.get(owner)
        if account is None or not account.is_followed:
            return
        self.reads += 1
        if height > self._height or account.at(height) != balance:
            raise ViolationError(
                "reads",
                f"n{node} at height {height} says {balance} for {owner.hex()[:8]},"
                f" the book says {account.at(height)} after {min(height, self._height)}",
            )
