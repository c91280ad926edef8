"""What members say of a member that does not answer, and what it answers to that.

A `Suspicion` is signed by who could not reach the node, a `Life` by the node itself. Both are tied
to an incarnation: the number of the node's newest record, which only the node can raise and which
never goes back, not even when all restart at once. A suspicion of an older incarnation says
nothing any more; one of an incarnation that its owner never signed says nothing yet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated

import msgspec

from gossip.codec import Bytes32, Bytes64, Digest, Natural, Wire
from gossip.identity import NodeId, Signer, Verifier, signing_bytes
from gossip.membership.lateness import MOST_MS

_CONFIRMATIONS = 2
_MULTIPLE = 4
_LONGEST = 6
_FIRST_MUTE_MS = 8_000
_LONGEST_MUTE_MS = 120_000
_FORGOTTEN_MS = 60_000
_MAX_WOLVES = 2_048


LateMs = Annotated[int, msgspec.Meta(ge=0, le=MOST_MS)]


class Suspicion(Wire, frozen=True):
    """`accuser` could not reach `node`, neither by itself nor through others."""

    accuser: Bytes32
    node: Bytes32
    incarnation: Natural
    signature: Bytes64


class Life(Wire, frozen=True):
    """`node` is there, whatever was said of it up to this incarnation; so late is it for what it has to do."""

    node: Bytes32
    incarnation: Natural
    late_ms: LateMs
    signature: Bytes64


class Statements:
    """Signs and checks for one node in one federation."""

    def __init__(self, federation: Digest, signer: Signer, verifier: Verifier) -> None:
        self._federation, self._signer, self._verifier = federation, signer, verifier
        self.node = NodeId(signer.public)

    def suspect(self, node: NodeId, incarnation: int) -> Suspicion:
        """Our own suspicion."""
        said = self._bytes("suspicion", self.node, node, incarnation)
        return Suspicion(self.node, node, incarnation, self._signer.sign(said))

    def live(self, incarnation: int, late_ms: int = 0) -> Life:
        """Our own sign of life."""
        said = self._bytes("life", self.node, incarnation, late_ms)
        return Life(self.node, incarnation, late_ms, self._signer.sign(said))

    def leave(self, seq: int) -> bytes:
        """Our own good-bye."""
        return self._signer.sign(self._bytes("leave", self.node, seq))

    def is_leave(self, node: bytes, seq: int, signature: bytes) -> bool:
        """Whether `node` said good-bye so."""
        return self._verifier.verify(node, self._bytes("leave", node, seq), signature)

    def prove(self, asker: NodeId, nonce: int) -> bytes:
        """The answer to a challenge that came through somebody else."""
        return self._signer.sign(self._bytes("proof", self.node, asker, nonce))

    def is_suspicion(self, one: Suspicion) -> bool:
        """Whether its accuser signed it."""
        said = self._bytes("suspicion", one.accuser, one.node, one.incarnation)
        return self._verifier.verify(one.accuser, said, one.signature)

    def is_life(self, one: Life) -> bool:
        """Whether its node signed it."""
        said = self._bytes("life", one.node, one.incarnation, one.late_ms)
        return self._verifier.verify(one.node, said, one.signature)

    def is_proof(self, node: bytes, nonce: int, signature: bytes) -> bool:
        """Whether `node` answered this challenge of ours."""
        return self._verifier.verify(node, self._bytes("proof", node, self.node, nonce), signature)

    def _bytes(self, kind: str, *fields: object) -> bytes:
        return signing_bytes(kind, self._federation, *fields)


@dataclass(slots=True)
class Case:
    """What speaks against one node in one incarnation.

    `own_ms` is since when this node itself can't reach it, None while it has not tried; `check_ms`
    is when to try, `tell_ms` when to pass on what was heard unless it answers first. `ask_ms` is
    when to look for more voices, after `asks` times; `is_put_off` is whether somebody who asked us has
    put that off since the last time. `is_spread` is whether others than the accusers
    themselves tell of it, `knowing` are those that told us, and those that we told. Only who is
    unreachable for us, and for more than f members in all, is `dead` in the end, since `dead_ms`.
    """

    incarnation: int
    opened_ms: int
    voices: dict[NodeId, Suspicion] = field(default_factory=dict)
    knowing: set[NodeId] = field(default_factory=set)
    own_ms: int | None = None
    check_ms: int | None = None
    tell_ms: int | None = None
    ask_ms: int = 0
    asks: int = 0
    is_put_off: bool = False
    is_spread: bool = False
    dead_ms: int | None = None

    @property
    def dead(self) -> bool:
        """See above."""
        return self.dead_ms is not None

    def deadline_ms(self, members: int, period_ms: int) -> int:
        """When the time to refute is over.

        Dadgar, Phillips, Currey 2018 (Lifeguard), with the parameters of memberlist for a LAN:
        confirmations shorten it from `_LONGEST` times the least to the least.
        """
        least = _MULTIPLE * max(1.0, math.log10(max(1, members))) * period_ms
        wanted = _CONFIRMATIONS if members - 2 >= _CONFIRMATIONS else 0
        if not wanted:
            return self.opened_ms + int(least)
        confirmed = min(max(0, len(self.voices) - 1), wanted)
        share = math.log(confirmed + 1) / math.log(wanted + 1)
        longest = _LONGEST * least
        return self.opened_ms + int(longest - (longest - least) * share)


class Wolves:
    """Who cries wolf: accused by few, the accused was there. It opens no case for a while.

    The first time costs nothing; the next one within a minute eight seconds, and each further one four times
    as much, two minutes at most. In a case that others opened its voice still counts.
    """

    def __init__(self) -> None:
        self._cries: dict[NodeId, tuple[int, int]] = {}

    def cried(self, now_ms: int, accuser: NodeId) -> None:
        """Its accusation was refuted."""
        last_ms, times = self._cries.pop(accuser, (now_ms, 0))
        again = times + 1 if now_ms - last_ms < _FORGOTTEN_MS + _mute_ms(times) else 1
        self._cries[accuser] = (now_ms, again)
        if len(self._cries) > _MAX_WOLVES:
            del self._cries[next(iter(self._cries))]

    def is_known(self, now_ms: int, accuser: NodeId) -> bool:
        """Whether it has cried lately, if only once."""
        last_ms, times = self._cries.get(accuser, (0, 0))
        return times > 0 and now_ms - last_ms < _FORGOTTEN_MS + _mute_ms(times)

    def is_muted(self, now_ms: int, accuser: NodeId) -> bool:
        """Whether what it says now is not worth asking the accused."""
        last_ms, times = self._cries.get(accuser, (0, 0))
        return now_ms - last_ms < _mute_ms(times)


def _mute_ms(times: int) -> int:
    return 0 if times <= 1 else min(_LONGEST_MUTE_MS, _FIRST_MUTE_MS << 2 * min(times - 2, 8))
