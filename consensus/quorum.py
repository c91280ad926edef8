"""All quorum arithmetic, and the validator set of one epoch.

A quorum is more than 2/3 of the power, a weak quorum more than 1/3; "2f+1" and "f+1" are what that comes to when
n = 3f+1 and powers are equal. Nothing else in the project compares powers.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, NewType

import msgspec

from gossip.codec import Bytes32, Digest, Natural, Wire, digest, encode
from gossip.identity import NodeId, PublicKey

Epoch = NewType("Epoch", int)
View = NewType("View", int)
Height = NewType("Height", int)

MAX_VALIDATORS = 500
_TERM_BLOCKS = 16


class Validator(Wire, frozen=True):
    """One seat: the node that sits in it, the key of its votes, its power."""

    node: Bytes32
    voting_key: Bytes32
    power: Annotated[int, msgspec.Meta(ge=1, le=2**53)]


class ValidatorSet(Wire, frozen=True, dict=True):
    """Who votes in one epoch, in seat order. Immutable; its hash is what certificates promise for the next epoch."""

    epoch: Natural
    validators: Annotated[
        tuple[Validator, ...], msgspec.Meta(min_length=1, max_length=MAX_VALIDATORS)
    ]

    @cached_property
    def total(self) -> int:
        """W, the sum of all powers."""
        return sum(validator.power for validator in self.validators)

    @cached_property
    def hash(self) -> Digest:
        """What a STATE certificate carries as `next_set_hash`."""
        return digest(b"validator-set", encode(self))

    @cached_property
    def _by_key(self) -> dict[bytes, Validator]:
        return {validator.voting_key: validator for validator in self.validators}

    @cached_property
    def nodes(self) -> tuple[NodeId, ...]:
        """The identities of the members, in seat order."""
        return tuple(NodeId(validator.node) for validator in self.validators)

    def member(self, voting_key: bytes) -> Validator | None:
        """The seat whose votes this key signs."""
        return self._by_key.get(voting_key)

    def power_of(self, voting_keys: set[bytes] | frozenset[bytes]) -> int:
        """The power behind distinct voting keys; keys without a seat count nothing."""
        seats = self._by_key
        return sum(seats[key].power for key in voting_keys if key in seats)

    def is_quorum(self, power: int) -> bool:
        """More than two thirds: any two quorums share an honest member while less than a third lies."""
        return is_quorum(power, self.total)

    def is_weak_quorum(self, power: int) -> bool:
        """More than one third: at least one honest member is among them."""
        return is_weak_quorum(power, self.total)

    @cached_property
    def quorum_power(self) -> int:
        """The least power that is a quorum."""
        return 2 * self.total // 3 + 1

    @cached_property
    def faults_tolerated(self) -> int:
        """How many members, whichever they are, may be faulty while the rest is still a quorum."""
        left, tolerated = self.total, 0
        for power in sorted((validator.power for validator in self.validators), reverse=True):
            left -= power
            if not self.is_quorum(left):
                break
            tolerated += 1
        return tolerated

    def leader(self, view: int, height: int) -> Validator:
        """Who proposes `height` in `view`.

        Seats take turns in terms of a few blocks, each as often as its power weighs; each failed view moves on by one
        seat of plain rotation. A set that tolerates no fault is led by its heaviest seat, because it can't go on
        without that one anyway.
        """
        if not self.faults_tolerated:
            order = sorted(self.validators, key=lambda validator: -validator.power)
            return order[view % len(order)]
        turn = self._turns[height // _TERM_BLOCKS % len(self._turns)]
        return self.validators[(turn + view) % len(self.validators)]

    @cached_property
    def _turns(self) -> tuple[int, ...]:
        """Smooth weighted round robin over one full cycle, the cycle capped at 16 turns a seat."""
        powers = [validator.power for validator in self.validators]
        credit = [0] * len(powers)
        cycle = min(self.total, 16 * len(powers))
        turns: list[int] = []
        for _ in range(cycle):
            for seat, power in enumerate(powers):
                credit[seat] += power
            chosen = max(range(len(powers)), key=lambda seat: (credit[seat], -seat))
            credit[chosen] -= self.total
            turns.append(chosen)
        return tuple(turns)


def is_quorum(power: int, total: int) -> bool:
    """Whether `power` is strictly more than two thirds of `total`."""
    return 3 * power > 2 * total


def is_weak_quorum(power: int, total: int) -> bool:
    """Whether `power` is strictly more than one third of `total`."""
    return 3 * power > total


def admission_powers(seats: int) -> tuple[int, ...]:
    """The powers of a set that grows by admission, founder first.

    Below four seats no fault can be tolerated, so the founder keeps the quorum alone (1; 3:1; 5:1:1) and the others
    may sleep; from four on every seat weighs the same.
    """
    if seats >= 4:  # noqa: PLR2004 - the least n = 3f+1 with f = 1
        return (1,) * seats
    return (2 * seats - 1, *(1,) * (seats - 1))


def next_set(current: ValidatorSet, seats: tuple[tuple[NodeId, PublicKey], ...]) -> ValidatorSet:
    """The set of the next epoch for these seats in this order."""
    powers = admission_powers(len(seats))
    members = tuple(
        Validator(node, key, power) for (node, key), power in zip(seats, powers, strict=True)
    )
    return ValidatorSet(current.epoch + 1, members)
