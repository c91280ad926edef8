"""How long things may take in membership."""

from __future__ import annotations

from dataclasses import dataclass, field

from gossip.membership.pace import Pace

_UNSPACED = 32


@dataclass(frozen=True, slots=True)
class Timing:
    """How long things may take, in milliseconds.

    `refresh_ms`: so often a record is signed anew in a partial mesh, for those that are not connected; to them it
    counts for `lasts_ms`. These, `pull_ms` and `save_ms` are `spaced` among many.
    `capability_ms`: so long after it was last heard counts what a connected node can do, as it tells changes at once.
    `save_ms`: so often all times are written down.
    """

    beat_ms: int = 1_000
    hello_ms: int = 2_000
    asleep_ms: int = 2_500
    drop_ms: int = 15_000
    refresh_ms: int = 600_000
    lasts_ms: int = 2_400_000
    save_ms: int = 30_000
    pull_ms: int = 30_000
    spread_ms: int = 50
    forget_ms: int = 60_000
    capability_ms: int = 120_000
    pace: Pace = field(default_factory=Pace)


def spaced(period_ms: int, members: int) -> int:
    """A period of what costs more the more members there are: longer by itself for each doubling above 32.

    So memberlist spaces out its exchanges of whole states. What a record says lasts as many periods as ever.
    """
    doublings = (members - 1).bit_length() - (_UNSPACED - 1).bit_length()
    return period_ms * (1 + doublings) if members > _UNSPACED else period_ms
