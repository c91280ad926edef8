"""The active validators, the strongest first."""

from __future__ import annotations

from consensus.event_log import Logged
from consensus.events import EpochChanged
from consensus.genesis import Genesis
from consensus.projections.rows import Projection, RowReader, Rows, down, page_of, read, write
from consensus.quorum import ValidatorSet
from gossip.codec import Natural, Wire, decode

_SET, _RANKED = b"s", b"r"


class Seat(Wire, frozen=True):
    """What an active validator weighs, and since which epoch it has sat without a break."""

    power: Natural
    since_epoch: Natural


def _begin(rows: Rows, genesis: Genesis) -> None:
    _set(rows, genesis.first_set())


def _apply(rows: Rows, logged: Logged) -> None:
    if isinstance(logged.event, EpochChanged):
        _set(rows, logged.event.now)


def _set(rows: Rows, now: ValidatorSet) -> None:
    before = read(rows, _SET, ValidatorSet)
    since: dict[bytes, int] = {}
    for seat in () if before is None else before.validators:
        key = _RANKED + down(seat.power) + seat.node
        known = read(rows, key, Seat)
        assert known is not None
        since[seat.node] = known.since_epoch
        rows.put(key, None)
    for seat in now.validators:
        row = Seat(seat.power, since.get(seat.node, now.epoch))
        write(rows, _RANKED + down(seat.power) + seat.node, row)
    write(rows, _SET, now)


VALIDATORS = Projection("validators", 1, frozenset({EpochChanged}), _begin, _apply)


def strongest(
    reader: RowReader, after: bytes | None, limit: int
) -> tuple[list[tuple[bytes, Seat]], bytes | None]:
    """A page of nodes and their seats, and where the next one begins."""
    page = page_of(reader, _RANKED, after, limit)
    return [(key[9:], decode(value, Seat)) for key, value in page.rows], page.next_key
