"""Transactions that wait for a block: bounded, deduplicated, in nonce order for each sender.

Two rules of its own. Of two transactions with one nonce the one that expires sooner stays, so a sender can replace what
it has signed, the same one wins on every node in whatever order they come, and nobody can replace without end. Senders
with something urgent, what the federation itself waits for, get their turns first.

Only transactions whose signature has been verified may be added; whatever else a peer or a user can
get wrong is answered here with a code and a sentence. The nonces of each sender are used without
gaps. A transaction that comes before its predecessor is held, up to `max_gap` nonces ahead.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import Enum
from itertools import islice

import msgspec

from consensus.blocks import Block
from consensus.ledger.machine import Ledger
from consensus.operations.transactions import MAX_TRANSACTION_BYTES, Transaction
from consensus.weighing import weighed
from gossip.codec import Digest

_SLACK = 1024
"""How many stale entries the heap of expiries may hold, besides as many as are live."""


class RefusalCode(Enum):
    """Why a transaction is not taken, or not kept."""

    DUPLICATE = "duplicate"
    WRONG_CHAIN = "wrong_chain"
    TOO_LARGE = "too_large"
    EXPIRED = "expired"
    UNKNOWN_ACCOUNT = "unknown_account"
    BAD_NONCE = "bad_nonce"
    NONCE_TAKEN = "nonce_taken"
    REPLACED = "replaced"
    NONCE_TOO_FAR = "nonce_too_far"
    OVERDRAFT = "overdraft"
    SENDER_FULL = "sender_full"
    FULL = "full"


class Added(msgspec.Struct, frozen=True, gc=False):
    """The transaction waits. It is ready when all nonces before it are there.

    `replaced` is what waited with its nonce before.
    """

    is_ready: bool
    replaced: Transaction | None = None


class Refused(msgspec.Struct, frozen=True, gc=False):
    """The transaction is not taken."""

    code: RefusalCode
    reason: str


class Dropped(msgspec.Struct, frozen=True, gc=False):
    """A transaction that waited and never can be executed any more."""

    transaction: Transaction
    code: RefusalCode
    reason: str


@dataclass(frozen=True, slots=True)
class Limits:
    """The pool's bounds; the last three are for each sender."""

    max_count: int = 50_000
    max_size_bytes: int = 64 * 1024 * 1024
    max_sender_count: int = 10_000
    max_sender_bytes: int = 16 * 1024 * 1024
    max_gap: int = 512


class _Queue(msgspec.Struct, gc=False):
    """One sender's waiting transactions by nonce.

    All from `next_nonce` to `first_gap` are there.
    """

    next_nonce: int
    first_gap: int
    waiting: dict[int, Transaction] = msgspec.field(default_factory=dict)
    size_bytes: int = 0
    spending: int = 0
    urgent: int = 0


class Fit(msgspec.Struct, frozen=True, gc=False):
    """A transaction that can be taken, with what is asked of it again."""

    transaction: Transaction
    spending: int
    is_urgent: bool
    queue: _Queue
    """Its sender's, which is in use while anything waits in it."""


class Mempool:
    """See the module."""

    def __init__(self, chain: Digest, limits: Limits | None = None) -> None:
        self._chain = chain
        self._limits = limits or Limits()
        self._by_id: dict[bytes, Fit] = {}
        self._queues: dict[bytes, _Queue] = {}
        self._ready: dict[bytes, int] = {}
        """The senders whose turn comes, in the order in which they joined the line, and when that was, ms."""
        self._urgent: dict[bytes, None] = {}
        self._expiries: list[tuple[int, bytes]] = []
        self._size_bytes = 0
        self.now_ms = 0
        """Set by the owner before anything else happens in a turn."""
        self.overtaken_ms = 0
        """By how much the last block put somebody who joined the line later before somebody who waits still."""

    @property
    def size(self) -> int:
        """How many transactions wait, held ones included."""
        return len(self._by_id)

    @property
    def size_bytes(self) -> int:
        """The bytes of all that wait."""
        return self._size_bytes

    def has_ready(self) -> bool:
        """Whether a block could be filled."""
        return bool(self._ready)

    def get(self, transaction_id: bytes) -> Transaction | None:
        """A waiting transaction."""
        found = self._by_id.get(transaction_id)
        return None if found is None else found.transaction

    def contains(self, transaction_id: bytes) -> bool:
        """Whether a transaction waits."""
        return transaction_id in self._by_id

    def ids(self) -> tuple[bytes, ...]:
        """The ids of all that wait."""
        return tuple(self._by_id)

    def waiting(self, at_most: int) -> tuple[Transaction, ...]:
        """The first that came of those that wait, in the order in which they came."""
        return tuple(one.transaction for one in islice(self._by_id.values(), at_most))

    def next_nonce(self, sender: bytes, ledger: Ledger) -> int:
        """The nonce that the sender's next transaction should carry."""
        queue = self._queues.get(sender)
        if queue is not None:
            return queue.first_gap
        account = ledger.account(sender)
        return 0 if account is None else account.nonce

    def add(self, transaction: Transaction, ledger: Ledger) -> Added | Refused:
        """Take a transaction whose signature has been verified."""
        judged = self.judged(transaction, ledger)
        return judged if isinstance(judged, Refused) else self.place(judged)

    def judged(self, transaction: Transaction, ledger: Ledger) -> Fit | Refused:
        """Whether the transaction would be taken if it is signed."""
        body = transaction.body
        unfit = self._unfit(transaction, ledger.height)
        if unfit is not None:
            return unfit
        account = ledger.account(body.sender)
        if account is None:
            return Refused(
                RefusalCode.UNKNOWN_ACCOUNT,
                "the sender has no account: it has never received anything",
            )
        queue = self._queues.get(body.sender) or _Queue(account.nonce, account.nonce)
        spending, is_urgent = weighed(body)
        fit = Fit(transaction, spending, is_urgent, queue)
        return self._unplaceable(fit, account.balance) or fit

    def place(self, fit: Fit) -> Added:
        """Take a transaction that has been `judged` since anything else happened here, and is signed."""
        transaction, queue = fit.transaction, fit.queue
        body, name, size_bytes = transaction.body, transaction.id, len(transaction.raw)
        sender, nonce, waiting = body.sender, body.nonce, queue.waiting
        replaced = waiting.get(nonce)
        if replaced is not None:
            self._remove(replaced)
        self._queues[sender] = queue
        self._by_id[name] = fit
        waiting[nonce] = transaction
        heapq.heappush(self._expiries, (body.expiry_height, name))
        self._size_bytes += size_bytes
        queue.size_bytes += size_bytes
        queue.spending += fit.spending
        if fit.is_urgent:
            queue.urgent += 1
        first_gap = queue.first_gap
        while first_gap in waiting:
            first_gap += 1
        queue.first_gap = first_gap
        is_ready = nonce < first_gap
        if is_ready:
            self._note_ready(sender, queue)
        return Added(is_ready, replaced)

    def _note_ready(self, sender: bytes, queue: _Queue) -> None:
        self._ready.setdefault(sender, self.now_ms)
        if queue.urgent:
            self._urgent.setdefault(sender)

    def _unfit(self, transaction: Transaction, height: int) -> Refused | None:
        """Why the transaction can't be taken whatever else waits."""
        body = transaction.body
        if transaction.id in self._by_id:
            return Refused(RefusalCode.DUPLICATE, "the transaction waits already")
        if body.chain != self._chain:
            return Refused(RefusalCode.WRONG_CHAIN, "signed for another federation")
        if len(transaction.raw) > MAX_TRANSACTION_BYTES:
            return Refused(RefusalCode.TOO_LARGE, f"more than {MAX_TRANSACTION_BYTES} bytes")
        if body.expiry_height <= height:
            return Refused(
                RefusalCode.EXPIRED,
                f"valid up to height {body.expiry_height}, the next block has {height + 1}",
            )
        return None

    def _unplaceable(self, fit: Fit, balance: int) -> Refused | None:
        """Why the transaction doesn't fit its sender's account and queue, or the pool."""
        queue, limits, body = fit.queue, self._limits, fit.transaction.body
        nonce, size_bytes = body.nonce, len(fit.transaction.raw)
        if nonce < queue.next_nonce:
            return Refused(
                RefusalCode.BAD_NONCE,
                f"nonce {nonce} has been used, the account's next one is {queue.next_nonce}",
            )
        rival = queue.waiting.get(nonce)
        if rival is not None and body.expiry_height >= rival.body.expiry_height:
            return Refused(
                RefusalCode.NONCE_TAKEN,
                f"another transaction with nonce {nonce} waits, valid up to height "
                f"{rival.body.expiry_height}; only one that expires sooner replaces it",
            )
        if nonce > queue.first_gap + limits.max_gap:
            return Refused(
                RefusalCode.NONCE_TOO_FAR,
                f"nonce {nonce} is more than {limits.max_gap} ahead of {queue.first_gap}, "
                "the first one missing",
            )
        spending = queue.spending + fit.spending
        if rival is not None:
            spending -= self._by_id[rival.id].spending
        if spending > balance:
            return Refused(
                RefusalCode.OVERDRAFT,
                f"the balance is {balance}, {spending} are needed with what waits already",
            )
        if (
            rival is None and len(queue.waiting) >= limits.max_sender_count
        ) or queue.size_bytes + size_bytes > limits.max_sender_bytes:
            return Refused(
                RefusalCode.SENDER_FULL,
                "the sender has too much waiting; try again after the next block",
            )
        is_full = rival is None and len(self._by_id) >= limits.max_count
        if is_full or self._size_bytes + size_bytes > limits.max_size_bytes:
            return Refused(RefusalCode.FULL, "the node is busy; try again after the next block")
        return None

    def select(self, max_txs: int, max_bytes: int) -> tuple[Transaction, ...]:
        """What the next block should hold: senders take turns, each in its nonce order, the urgent ones first.

        Nothing is removed.
        """
        chosen: list[Transaction] = []
        left_bytes = max_bytes
        turn, senders = 0, list({**self._urgent, **self._ready})
        while senders:
            going_on: list[bytes] = []
            for sender in senders:
                if len(chosen) >= max_txs:
                    return tuple(chosen)
                queue = self._queues[sender]
                transaction = queue.waiting[queue.next_nonce + turn]
                if len(transaction.raw) > left_bytes:
                    continue
                chosen.append(transaction)
                left_bytes -= len(transaction.raw)
                if queue.next_nonce + turn + 1 < queue.first_gap:
                    going_on.append(sender)
            turn, senders = turn + 1, going_on
        return tuple(chosen)

    def remove_committed(self, block: Block, ledger: Ledger) -> tuple[Dropped, ...]:
        """Forget the block's transactions, and tell of those that it made impossible.

        The ledger has executed it.
        """
        served = dict.fromkeys([one.body.sender for one in block.transactions])
        self._watch(served)
        for transaction in block.transactions:
            self._remove(transaction)
        dropped: list[Dropped] = []
        for sender in served:
            dropped += self._settle(sender, ledger)
        while self._expiries and self._expiries[0][0] <= ledger.height:
            _, transaction_id = heapq.heappop(self._expiries)
            expired = self.get(transaction_id)
            if expired is not None:
                self._remove(expired)
                self._settle(expired.body.sender, ledger)
                reason = f"valid up to height {expired.body.expiry_height}"
                dropped.append(Dropped(expired, RefusalCode.EXPIRED, reason))
        if len(self._expiries) > 2 * self.size + _SLACK:
            self._expiries = [
                (one.transaction.body.expiry_height, name) for name, one in self._by_id.items()
            ]
            heapq.heapify(self._expiries)
        return tuple(dropped)

    def _watch(self, served: Collection[bytes]) -> None:
        """Compare whom a block serves with who waits longest here.

        A leader lets all senders have their turns in a line like this one, only the urgent go before. Where too much
        waits, the lines of two nodes may differ, and nothing is said.
        """
        self.overtaken_ms = 0
        oldest = next((at for sender, at in self._ready.items() if sender not in served), None)
        if oldest is None or 2 * self.size > self._limits.max_count:
            return
        newest = max(
            (
                self._ready[sender]
                for sender in served
                if sender in self._ready and sender not in self._urgent
            ),
            default=oldest,
        )
        self.overtaken_ms = max(0, newest - oldest)

    def _remove(self, transaction: Transaction) -> None:
        fit = self._by_id.pop(transaction.id, None)
        if fit is None:
            return
        queue, waiting, size_bytes = fit.queue, fit.queue.waiting, len(transaction.raw)
        self._size_bytes -= size_bytes
        del waiting[transaction.body.nonce]
        if waiting:
            queue.size_bytes -= size_bytes
            queue.spending -= fit.spending
            queue.urgent -= fit.is_urgent
        else:
            queue.size_bytes = queue.spending = queue.urgent = 0

    def _settle(self, sender: bytes, ledger: Ledger) -> Iterable[Dropped]:
        """Bring a sender's queue in line with its account; it moves to the end of the line."""
        queue = self._queues.get(sender)
        if queue is None:
            return ()
        self._ready.pop(sender, None)
        self._urgent.pop(sender, None)
        if not queue.waiting:
            del self._queues[sender]
            return ()
        account = ledger.account(sender)
        assert account is not None
        stale = [
            transaction for nonce, transaction in queue.waiting.items() if nonce < account.nonce
        ]
        for transaction in stale:
            self._remove(transaction)
        queue.next_nonce = queue.first_gap = account.nonce
        while queue.first_gap in queue.waiting:
            queue.first_gap += 1
        if queue.first_gap > queue.next_nonce:
            self._note_ready(sender, queue)
        if not queue.waiting:
            del self._queues[sender]
        reason = (
            f"another transaction has used its nonce; the account's next one is {account.nonce}"
        )
        return [Dropped(transaction, RefusalCode.BAD_NONCE, reason) for transaction in stale]
