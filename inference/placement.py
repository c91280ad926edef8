"""Where a task may run: this node if it does such tasks, else the best peer that does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gossip.identity import NodeId


class NoPlaceError(Exception):
    """Nobody reachable can do the task; the text says who was asked for and what is missing."""


@dataclass(frozen=True, slots=True)
class Place:
    """The chosen executor, and why it was chosen."""

    executor: NodeId
    reason: str


def choose_place(
    kind: str,
    *,
    own: NodeId,
    serves: bool,
    candidates: Sequence[NodeId],
    wanted: NodeId | None,
) -> Place:
    """Choose an executor. `candidates` are reachable peers that do this kind, best first.

    Raises `NoPlaceError`.
    """
    if wanted is not None:
        if wanted == own and serves:
            return Place(own, "this node was asked for")
        if wanted in candidates:
            return Place(wanted, "that node was asked for")
        raise NoPlaceError(
            f"the node {wanted.hex()[:12]} is not reachable or does not do tasks of kind {kind!r}; "
            "`bizra-node peers` shows who does"
        )
    if serves:
        return Place(own, "this node does such tasks itself")
    if candidates:
        return Place(candidates[0], f"this node does no {kind!r}; the best reachable peer does")
    raise NoPlaceError(
        f"neither this node nor a reachable peer does tasks of kind {kind!r}; "
        "`bizra-node peers` shows who can do what"
    )
