"""The active validators, the strongest first, with what is at risk for each."""

from __future__ import annotations

from consensus.ledger.event_log import Logged
from consensus.ledger.events import EpochChanged, StakeChanged
from consensus.ledger.machine import Ledger
from consensus.ledger.records import StakeRecord
from consensus.operations.validators import Label
from consensus.projections.rows import Projection, RowReader, Rows, down, page_of, read, write
from consensus.quorum import ValidatorSet
from gossip.codec import Natural, Wire, decode
from gossip.json_form import Coins

_SET, _RANKED, _STAKE = b"s", b"r", b"k"


class Seat(Wire, frozen=True):
    """What an active validator weighs, and since which epoch it has sat without a break."""

    power: Natural
    since_epoch: Natural


class Backing(Wire, frozen=True):
    """What a node calls itself on the ledger, and what is bound to it by itself and by others."""

    name: Label
    own: Coins
    delegated: Coins


def _begin(rows: Rows, ledger: Ledger) -> None:
    _set(rows, ledger.validators)
    for node, record in ledger.stakes():
        _back(rows, node, record)


def _apply(rows: Rows, logged: Logged) -> None:
    match logged.event:
        case EpochChanged() as event:
            _set(rows, event.now)
        case StakeChanged(validator, None):
            rows.put(_STAKE + validator, None)
        case StakeChanged(validator, now) if now is not None:
            _back(rows, validator, now)
        case _:
            pass


def _back(rows: Rows, node: bytes, now: StakeRecord) -> None:
    write(rows, _STAKE + node, Backing(now.name, now.own, now.delegated))


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


VALIDATORS = Projection("validators", 2, frozenset({EpochChanged, StakeChanged}), _begin, _apply)


def backing(reader: RowReader, node: bytes) -> Backing | None:
    """What is at risk for a node; None for a validator by grant alone."""
    return read(reader, _STAKE + node, Backing)


def strongest(
    reader: RowReader, after: bytes | None, limit: int
) -> tuple[list[tuple[bytes, Seat]], bytes | None]:
    """A page of nodes and their seats, and where the next one begins."""
    page = page_of(reader, _RANKED, after, limit)
    return [(key[9:], decode(value, Seat)) for key, value in page.rows], page.next_key
