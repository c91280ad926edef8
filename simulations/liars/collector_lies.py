"""Liars of large sets: asked to collect votes they hand out nothing or lies, and what they name is not there."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from consensus.certificates import Phase
from consensus.messages import (
    CollectedStates,
    CollectedVotes,
    NewViewNames,
    ViewChange,
    ViewChangeNames,
)
from gossip.codec import Wire, digest
from gossip.effects import Broadcast
from gossip.identity import NodeId
from simulations.liars.habits import Liar, Twisted

_SIGNATURE_BYTES = 64


class MuteCollector(Liar):
    """Votes and leads like everybody else, and hands out nothing of what it has collected."""

    kind = "mute_collector"

    def cast(self, to: tuple[NodeId, ...], message: Wire) -> Twisted:
        if isinstance(message, CollectedVotes | CollectedStates):
            return []
        return [Broadcast(to, message)]


class LyingCollector(Liar):
    """Hands out certificates that prove nothing, or the true one to some only."""

    kind = "lying_collector"

    def cast(self, to: tuple[NodeId, ...], message: Wire) -> Twisted:
        false: CollectedVotes | CollectedStates
        match message:
            case CollectedVotes():
                lies: tuple[Callable[[CollectedVotes], CollectedVotes], ...] = (
                    self._forged,
                    self._too_few,
                    self._other_height,
                    self._other_phase,
                    self._other_block,
                    self._cut,
                )
                false = lies[self.luck(len(lies), "collected", message)](message)
            case CollectedStates():
                root = digest(b"lie", message.statement.state_root)
                statement = msgspec.structs.replace(message.statement, state_root=root)
                false = msgspec.structs.replace(message, statement=statement)
            case _:
                return [Broadcast(to, message)]
        left, right = self.halves(to, message)
        return [Broadcast(left, message), Broadcast(right, false)]

    @staticmethod
    def _forged(message: CollectedVotes) -> CollectedVotes:
        """With one signature that its voter never made."""
        broken = bytes(_SIGNATURE_BYTES) + message.signatures[_SIGNATURE_BYTES:]
        return msgspec.structs.replace(message, signatures=broken)

    @staticmethod
    def _too_few(message: CollectedVotes) -> CollectedVotes:
        """True votes, and no quorum."""
        bits = int.from_bytes(message.voters, "little")
        voters = (bits & (bits - 1)).to_bytes(len(message.voters), "little")
        return msgspec.structs.replace(
            message, voters=voters, signatures=message.signatures[_SIGNATURE_BYTES:]
        )

    @staticmethod
    def _other_height(message: CollectedVotes) -> CollectedVotes:
        """As if they had voted for this block a height further on."""
        ballot = msgspec.structs.replace(message.ballot, height=message.ballot.height + 1)
        return msgspec.structs.replace(message, ballot=ballot)

    @staticmethod
    def _other_phase(message: CollectedVotes) -> CollectedVotes:
        """PREPAREs as COMMITs, and the other way round."""
        ballot = msgspec.structs.replace(message.ballot, phase=Phase(3 - message.ballot.phase))
        return msgspec.structs.replace(message, ballot=ballot)

    @staticmethod
    def _other_block(message: CollectedVotes) -> CollectedVotes:
        """As if they had voted for something that nobody has proposed."""
        name = digest(b"lie", message.ballot.digest)
        ballot = msgspec.structs.replace(message.ballot, digest=name)
        return msgspec.structs.replace(message, ballot=ballot)

    @staticmethod
    def _cut(message: CollectedVotes) -> CollectedVotes:
        """A signature less than there are voters."""
        return msgspec.structs.replace(message, signatures=message.signatures[_SIGNATURE_BYTES:])


class FalseNamer(Liar):
    """Names certificates and requests for a view that nobody has made, and hands over some of what it is asked for."""

    kind = "false_namer"

    def whole(self, message: Wire) -> Wire:
        return message

    def cast(self, to: tuple[NodeId, ...], message: Wire) -> Twisted:
        match message:
            case NewViewNames():
                false: Wire = msgspec.structs.replace(message, changes=self._other(message))
            case ViewChangeNames():
                false = msgspec.structs.replace(message, prepared=digest(b"lie", message.name))
            case ViewChange() if self.luck(2, "hands over", message):
                return []
            case _:
                return [Broadcast(to, message)]
        left, right = self.halves(to, message)
        if self.luck(2, "names", message):
            return [Broadcast(to, false)]
        return [Broadcast(left, message), Broadcast(right, false)]

    def _other(self, message: NewViewNames) -> tuple[bytes, ...]:
        first, *rest = message.changes
        lies = (
            tuple(rest) or (first,),
            (digest(b"lie", first), *rest),
            (first, first, *rest[1:]),
            tuple(digest(b"lie", one) for one in message.changes),
        )
        return lies[self.luck(len(lies), "named", message)]
