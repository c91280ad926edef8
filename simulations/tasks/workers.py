"""Nodes that are sound in consensus and lie about tasks: what each does instead of what its desk wants.

A liar has its own identity key, so it can sign whatever receipt it likes; it has nobody else's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec import structs

from consensus.operations.transactions import (
    ClaimTask,
    CompleteTask,
    FailTask,
    SignedReceipt,
    content_hash,
    sign_receipt,
)
from gossip.codec import Digest
from gossip.identity import Signer
from inference.desk_events import Answer, OfferTo, Transact, Work
from inference.handoff import Accepted, Finished
from simulations.scenario import WorkerKind

if TYPE_CHECKING:
    from simulations.tasks.whole_node import WholeNode

ASKERS = frozenset({"mute_asker", "stranger", "grabber"})
"""Those that lie as askers."""


def other_receipt(signed: SignedReceipt, signer: Signer) -> SignedReceipt:
    """A receipt under the same key for other words."""
    false = structs.replace(signed.receipt, output_hash=content_hash(b"other words"))
    return sign_receipt(signer, false)


class Worker:
    """A node's lies. By itself: a sound one."""

    def __init__(self, signer: Signer) -> None:
        self.signer = signer

    def twist(self, node: WholeNode, effect: Any) -> list[Any]:  # noqa: ANN401, ARG002 - a desk's effects
        """What it does instead of `effect`."""
        return [effect]


class Dropper(Worker):
    """Claims, and drops the work: neither an output nor an end comes of it."""

    def twist(self, node: WholeNode, effect: Any) -> list[Any]:  # noqa: ANN401, ARG002
        """See `Worker`."""
        match effect:
            case Work() | Transact(operation=FailTask() | CompleteTask()):
                return []
            case _:
                return [effect]


class Vanisher(Worker):
    """Accepts and claims, then answers nobody about any task any more."""

    def twist(self, node: WholeNode, effect: Any) -> list[Any]:  # noqa: ANN401, ARG002
        """See `Worker`."""
        match effect:
            case Answer(reply=Accepted()) | Transact(operation=ClaimTask()):
                return [effect]
            case Answer() | Work() | Transact(operation=FailTask() | CompleteTask()):
                return []
            case _:
                return [effect]


class Keeper(Worker):
    """Settles its receipt, is paid, and never sends the output."""

    def twist(self, node: WholeNode, effect: Any) -> list[Any]:  # noqa: ANN401, ARG002
        """See `Worker`."""
        is_output = isinstance(effect, Answer) and isinstance(effect.reply, Finished)
        return [] if is_output else [effect]


class Garbler(Worker):
    """Sends bytes that do not hash to its receipt."""

    def twist(self, node: WholeNode, effect: Any) -> list[Any]:  # noqa: ANN401, ARG002
        """See `Worker`."""
        match effect:
            case Answer(reply=Finished()):
                content = bytes([effect.content[0] ^ 1]) + effect.content[1:]
                return [Answer(effect.peer, effect.task, effect.reply, content)]
            case _:
                return [effect]


class SecondReceipt(Worker):
    """Sends a good output with its receipt, and settles another receipt."""

    def twist(self, node: WholeNode, effect: Any) -> list[Any]:  # noqa: ANN401, ARG002
        """See `Worker`."""
        match effect:
            case Transact(operation=CompleteTask(signed)):
                return [Transact(CompleteTask(other_receipt(signed, self.signer)))]
            case _:
                return [effect]


class MuteAsker(Worker):
    """Takes outputs and never signs for them."""

    def twist(self, node: WholeNode, effect: Any) -> list[Any]:  # noqa: ANN401, ARG002
        """See `Worker`."""
        return [] if type(effect).__name__ == "Countersign" else [effect]


class Stranger(Worker):
    """Offers other input than it put on the ledger."""

    def twist(self, node: WholeNode, effect: Any) -> list[Any]:  # noqa: ANN401, ARG002
        """See `Worker`."""
        match effect:
            case OfferTo():
                other = structs.replace(effect.offer, size_bytes=len(effect.content) + 1)
                return [OfferTo(effect.executor, other, effect.content + b"!")]
            case _:
                return [effect]


class Grabber(Worker):
    """Takes the task back as soon as its output is here, and keeps the output."""

    def twist(self, node: WholeNode, effect: Any) -> list[Any]:  # noqa: ANN401, ARG002
        """See `Worker`."""
        match effect:
            case OfferTo():
                return [effect, Transact(FailTask(Digest(effect.offer.task), "changed my mind"))]
            case _ if type(effect).__name__ == "Countersign":
                return [Transact(FailTask(effect.task, "changed my mind")), effect]
            case _:
                return [effect]


WORKERS: dict[WorkerKind, Callable[[Signer], Worker]] = {
    "dropper": Dropper,
    "vanisher": Vanisher,
    "keeper": Keeper,
    "garbler": Garbler,
    "second_receipt": SecondReceipt,
    "wrong_answers": Worker,
    "mute_asker": MuteAsker,
    "stranger": Stranger,
    "grabber": Grabber,
}
"""`wrong_answers` is sound but for its backend."""
