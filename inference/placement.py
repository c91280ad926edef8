"""Where a task may run: this node if it does such tasks, else the best peer that does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gossip.identity import NodeId


@dataclass(frozen=True, slots=True)
class GroupSize:
    """How often the same is to be done, how many must agree, and whether the ledger chooses by whom."""

    redundancy: int
    agreement: int
    is_drawn: bool = False


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


def choose_places(
    kind: str, own: NodeId | None, candidates: Sequence[NodeId], size: GroupSize
) -> tuple[NodeId, ...]:
    """Choose different executors for a group: the best peers, and this node itself (`own`) only if it must be.

    Raises `NoPlaceError`.
    """
    able = [*candidates, *(() if own is None else (own,))]
    if len(able) < size.redundancy:
        raise NoPlaceError(
            f"{size.redundancy} different nodes are to do the task, and {len(able)} in reach do tasks of "
            f"kind {kind!r}; `bizra-node peers` shows who can do what"
        )
    return tuple(able[: size.redundancy])
