"""Transactions on their way in: from this node's users, and from the nodes where others handed them in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from consensus.faults import KNOWN, Fault, forged
from consensus.ledger.machine import Ledger
from consensus.mempool import Added, Dropped, Mempool, RefusalCode, Refused
from consensus.messages import Transactions, batched
from consensus.operations.transactions import Transaction, decode_transaction, id_of
from consensus.pool_log import PoolLog
from gossip.codec import DecodeError
from gossip.effects import Broadcast, Cause, Effect, Notify, Rejected
from gossip.identity import NodeId, Verifier

_CAUSES = {
    RefusalCode.DUPLICATE: Cause.KNOWN,
    RefusalCode.NONCE_TAKEN: Cause.KNOWN,
    RefusalCode.REPLACED: Cause.KNOWN,
    RefusalCode.WRONG_CHAIN: Cause.WRONG_CHAIN,
    RefusalCode.TOO_LARGE: Cause.MALFORMED,
    RefusalCode.EXPIRED: Cause.STALE,
    RefusalCode.BAD_NONCE: Cause.STALE,
    RefusalCode.NONCE_TOO_FAR: Cause.EARLY,
    RefusalCode.UNKNOWN_ACCOUNT: Cause.EARLY,
    RefusalCode.OVERDRAFT: Cause.EARLY,
    RefusalCode.SENDER_FULL: Cause.NO_ROOM,
    RefusalCode.FULL: Cause.NO_ROOM,
}
"""How a peer's transactions are refused. Who is a block ahead has pools and balances that are not yet those of here."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """The mempool's answers to the transactions of a `Submit`, in their order."""

    answers: tuple[tuple[Transaction, Added | Refused], ...]


class Intake:
    """The one way into the mempool: signatures are checked once, cheap reasons to refuse before them."""

    def __init__(
        self,
        mempool: Mempool,
        pool_log: PoolLog,
        ledger: Ledger,
        verifier: Verifier,
    ) -> None:
        self._mempool, self._pool_log, self._ledger = mempool, pool_log, ledger
        self._verifier = verifier

    def submit(
        self, transactions: tuple[Transaction, ...], others: tuple[NodeId, ...]
    ) -> list[Effect]:
        """Take what this node's users sign, and spread it; signatures are checked already."""
        answers: list[tuple[Transaction, Added | Refused]] = []
        dropped: list[Effect] = []
        for one in transactions:
            answer, replaced = self._add(one)
            answers.append((one, answer))
            dropped += replaced
        added = [one for one, answer in answers if isinstance(answer, Added)]
        return [
            *self._pool_log.keep(added),
            Notify(Submitted(tuple(answers))),
            *dropped,
            *spread(added, others),
        ]

    def restore(self) -> list[Effect]:
        """What this node's users handed in before a restart and no block holds yet."""
        stored = [one for one in self._pool_log.stored() if one.is_signed(self._verifier)]
        kept = [one.id for one in stored if isinstance(self._add(one)[0], Added)]
        return [*self._pool_log.retain(kept)]

    def take(
        self, peer: NodeId, message: Transactions, ways: tuple[NodeId, ...] = ()
    ) -> list[Effect]:
        """Take what a peer spreads, up to the first one that an honest peer would not have sent.

        What was not known is passed on to `ways`.
        """
        out: list[Effect] = []
        fresh: list[Transaction] = []
        unfit = KNOWN
        mempool, ledger, verifier = self._mempool, self._ledger, self._verifier
        for raw in message.raw:
            name = id_of(raw)
            if mempool.contains(name):
                continue
            try:
                transaction = decode_transaction(raw, name)
            except DecodeError as error:
                return [*out, Rejected(peer, f"transaction: {error}", Cause.MALFORMED)]
            judged = mempool.judged(transaction, ledger)
            if isinstance(judged, Refused):
                unfit = Fault(_CAUSES[judged.code], f"transaction: {judged.reason}")
                if not unfit.cause.is_usual:
                    return [*out, unfit.of(peer)]
                continue
            if not transaction.is_signed(verifier):
                return [*out, forged("transaction").of(peer)]
            fresh.append(transaction)
            added = mempool.place(judged)
            if added.replaced is not None:
                out += self._after(transaction, added)
        return [*out, *spread(fresh, ways)] if fresh else [*out, unfit.of(peer)]

    def _add(self, transaction: Transaction) -> tuple[Added | Refused, list[Effect]]:
        """Offer a transaction whose signature holds to the mempool."""
        answer = self._mempool.add(transaction, self._ledger)
        return answer, [] if isinstance(answer, Refused) else self._after(transaction, answer)

    def _after(self, transaction: Transaction, added: Added) -> list[Effect]:
        """What follows for the one that waited in its place before."""
        if added.replaced is None:
            return []
        reason = f"replaced by {transaction.id.hex()}, which expires sooner"
        dropped = Dropped(added.replaced, RefusalCode.REPLACED, reason)
        return [Notify(dropped), *self._pool_log.forget((added.replaced.id,))]


def spread(transactions: Iterable[Transaction], to: tuple[NodeId, ...]) -> list[Broadcast]:
    """Send transactions to these nodes, in messages that fit a frame."""
    if not to:
        return []
    return [
        Broadcast(to, Transactions(batch)) for batch in batched(one.raw for one in transactions)
    ]
