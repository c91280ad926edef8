"""All quorum arithmetic, and the validator set of one epoch.

A quorum is more than 2/3 of the power, a weak quorum more than 1/3; "2f+1" and "f+1" are what that comes to when
n = 3f+1 and powers are equal. Nothing else in the project compares powers.
"""

from __future__ import annotations

from enum import Enum
from functools import cached_property
from typing import Annotated, NewType

import msgspec

from gossip.codec import Bytes32, Digest, Natural, Wire, digest, encode
from gossip.identity import NodeId, PublicKey

Epoch = NewType("Epoch", int)
View = NewType("View", int)
Height = NewType("Height", int)

MAX_VALIDATORS = 500
MAX_POWER = 2**53
LEAST_TOLERANT = 4
"""The least n = 3f+1 with f = 1."""

_TERM_BLOCKS = 16


class SetFault(Enum):
    """Why one set must not follow another."""

    TOO_SMALL = "too_small"
    TOO_MANY = "too_many"
    TOO_FAST = "too_fast"


class Validator(Wire, frozen=True):
    """One seat: the node that sits in it, the key of its votes, its power."""

    node: Bytes32
    voting_key: Bytes32
    power: Annotated[int, msgspec.Meta(ge=1, le=MAX_POWER)]


class ValidatorSet(Wire, frozen=True, dict=True, gc=True):
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

    def others(self, voting_key: bytes) -> tuple[NodeId, ...]:
        """The identities of all whose votes another key signs, in seat order. One set is asked by few."""
        known = self._others.get(voting_key)
        if known is None:
            known = tuple(
                NodeId(one.node) for one in self.validators if one.voting_key != voting_key
            )
            if voting_key in self._by_key:
                self._others[voting_key] = known
        return known

    @cached_property
    def _others(self) -> dict[bytes, tuple[NodeId, ...]]:
        return {}

    @cached_property
    def key_order(self) -> dict[bytes, int]:
        """The place of each voting key among all of them, in their order: that of signers in a certificate."""
        return {key: place for place, key in enumerate(sorted(self._by_key))}

    @cached_property
    def _seats(self) -> dict[bytes, int]:
        return {one.voting_key: seat for seat, one in enumerate(self.validators)}

    def seat_of(self, voting_key: bytes) -> int:
        """The number of a member's seat."""
        return self._seats[voting_key]

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
        if min(powers) == max(powers):
            return tuple(range(len(powers)))
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
    if seats >= LEAST_TOLERANT:
        return (1,) * seats
    return (2 * seats - 1, *(1,) * (seats - 1))


def capped_powers(wanted: tuple[int, ...]) -> tuple[int, ...]:
    """These powers, the greatest cut down until each is below a third of all; needs four seats or more.

    The cut is the greatest `c` with `3c < sum(min(power, c))`. The right side less the left is concave in `c` and above
    zero at 1, so the fitting ones are all from 1 to the one that is looked for.
    """
    assert len(wanted) >= LEAST_TOLERANT
    low, high = 1, max(wanted)
    while low < high:
        middle = (low + high + 1) // 2
        if 3 * middle < sum(min(power, middle) for power in wanted):
            low = middle
        else:
            high = middle - 1
    return tuple(min(power, low) for power in wanted)


def stake_powers(stakes: tuple[int, ...], stake_per_power: int, *, cap: bool) -> tuple[int, ...]:
    """The powers of seats with these stakes, founder first: at least 1 each, and below four seats as in admission."""
    if len(stakes) < LEAST_TOLERANT:
        return admission_powers(len(stakes))
    wanted = tuple(min(max(1, stake // stake_per_power), MAX_POWER) for stake in stakes)
    return capped_powers(wanted) if cap else wanted


def next_set(
    current: ValidatorSet,
    seats: tuple[tuple[NodeId, PublicKey], ...],
    powers: tuple[int, ...] | None = None,
) -> ValidatorSet:
    """The set of the next epoch for these seats in this order; without powers, those of admission."""
    members = tuple(
        Validator(node, key, power)
        for (node, key), power in zip(seats, powers or admission_powers(len(seats)), strict=True)
    )
    return ValidatorSet(current.epoch + 1, members)


def change_fault(present: ValidatorSet, coming: ValidatorSet) -> SetFault | None:
    """Why one set must not follow another at one boundary, or None.

    A set never shrinks below four, or at all below four. From four seats on, voting keys that come in stay below a
    third of the new power, and those that go below a third of the old: the others are a quorum by themselves.
    """
    before, after = len(present.validators), len(coming.validators)
    if after < before and after < LEAST_TOLERANT:
        return SetFault.TOO_SMALL
    if after > MAX_VALIDATORS:
        return SetFault.TOO_MANY
    come = sum(one.power for one in coming.validators if present.member(one.voting_key) is None)
    gone = sum(one.power for one in present.validators if coming.member(one.voting_key) is None)
    if after >= LEAST_TOLERANT and 3 * come >= coming.total:
        return SetFault.TOO_FAST
    if before >= LEAST_TOLERANT and 3 * gone >= present.total:
        return SetFault.TOO_FAST
    return None
