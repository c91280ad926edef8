"""The registry while a federation runs: powers by stake, delegation, keys that are rotated, liars that are punished.

As in a daemon, whoever sees two contradicting signatures brings them to the ledger, which burns the key, takes stake
and seat, and begins an epoch; so do rotated keys, and powers that are reckoned again. Operators ask until it is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING

from consensus.evidence import evidence_of
from consensus.operations.transactions import Transaction
from consensus.operations.validators import Delegate, ReportEquivocation, rotate_voting_key
from consensus.parameters import Parameters
from consensus.pbft.reports import Equivocation
from consensus.quorum import LEAST_TOLERANT, capped_powers
from gossip.codec import Digest
from gossip.identity import NodeId, Signer

if TYPE_CHECKING:
    from consensus.engine import Engine
    from simulations.clients import Client
    from simulations.scenario import Deed

STAKE_PER_POWER = 1_000_000
_POWER_BLOCKS = 4
_KEPT = 0.8
"""What a punishment leaves of the stake."""


def limits(max_block_txs: int) -> Parameters:
    """The constants of a federation whose votes weigh by stake, and who is seated on approval brings one vote."""
    return Parameters(
        max_block_txs=max_block_txs,
        min_stake=STAKE_PER_POWER,
        power="stake",
        stake_per_power=STAKE_PER_POWER,
        power_blocks=_POWER_BLOCKS,
    )


@dataclass(slots=True)
class _Operator:
    """What one honest node's operator has to bring to the ledger."""

    evidence: dict[bytes, ReportEquivocation] = field(default_factory=dict)
    again_ms: dict[object, int] = field(default_factory=dict)


class Registrar:
    """What the operators of the honest nodes do with the registry."""

    AGAIN_MS = 3_000

    def __init__(
        self,
        chain: Digest,
        deeds: tuple[Deed, ...],
        ids: list[NodeId],
        keys: dict[int, tuple[Signer, ...]],
    ) -> None:
        """`keys` has the voting keys of each node that rotates its own, in the order of their turns."""
        self._chain, self._deeds, self._ids, self._keys = chain, deeds, ids, keys
        self._operators: dict[int, _Operator] = {}
        self._delegated: set[Deed] = set()
        self._rotations = {
            deed: place
            for node in keys
            for place, deed in enumerate(rotations(deeds, node), start=1)
        }
        self._forgotten: set[bytes] = set()

    def keys(self, node: int, key: Signer) -> Sequence[Signer]:
        """What a node's engine signs with: the keys in its home."""
        held = [one for one in self._keys.get(node, ()) if one.public not in self._forgotten]
        return held or (key,)

    def started(self, node: int, engine: Engine) -> None:
        """As a daemon does: forget the keys that were rotated away once their epochs are certified."""
        held = self._keys.get(node, ())
        if held and engine.has_certified_earlier_epochs(engine.certified):
            present = next(at for at, one in enumerate(held) if one.public == engine.keys.present)
            former = {one.public for one in held[:present]}
            self._forgotten |= former
            engine.keys.forget(former)

    def saw(self, node: int, report: Equivocation) -> None:
        """An honest node has evidence."""
        evidence = evidence_of(report)
        if evidence is not None:
            self._of(node).evidence.setdefault(report.voter, evidence)

    def _of(self, node: int) -> _Operator:
        return self._operators.setdefault(node, _Operator())

    def ask(self, now_ms: int, node: int, engine: Engine, client: Client) -> list[Transaction]:
        """What this node's operator hands in now."""
        asked: list[Transaction] = []
        operator = self._of(node)
        for voter, evidence in operator.evidence.items():
            record = engine.ledger.voting_key(voter)
            is_open = record is not None and not record.slashed
            if is_open and self._is_due(operator, now_ms, voter):
                asked.append(client.ask(evidence))
        for deed in self._deeds:
            if deed.node != node or now_ms < deed.at_ms:
                continue
            if deed.to is not None:
                if deed not in self._delegated:
                    self._delegated.add(deed)
                    amount = deed.power * STAKE_PER_POWER
                    asked.append(client.ask(Delegate(self._ids[deed.to], amount)))
            elif self._is_next(engine, deed) and self._is_due(operator, now_ms, deed):
                fresh = self._keys[node][self._rotations[deed]]
                asked.append(client.ask(rotate_voting_key(self._chain, self._ids[node], fresh)))
        return asked

    def _is_due(self, operator: _Operator, now_ms: int, what: object) -> bool:
        if now_ms < operator.again_ms.get(what, 0):
            return False
        operator.again_ms[what] = now_ms + self.AGAIN_MS
        return True

    def _turn(self, engine: Engine, node: int) -> int:
        """Which of a node's keys sits: 0 is the one that it began with, or none of them."""
        seated = engine.validators.member
        held = self._keys[node]
        return next((at for at in reversed(range(len(held))) if seated(held[at].public)), 0)

    def _is_next(self, engine: Engine, deed: Deed) -> bool:
        """Whether the key that this rotation brings comes after the one that sits."""
        return self._rotations[deed] == self._turn(engine, deed.node) + 1

    def missing(self, engine: Engine) -> str:
        """A rotation that has not happened."""
        for deed, place in self._rotations.items():
            if self._turn(engine, deed.node) < place:
                return f"n{deed.node} votes with an old key"
        return ""


def rotations(deeds: tuple[Deed, ...], node: int) -> list[Deed]:
    """Those of one node in the order of their times."""
    own = [deed for deed in deeds if deed.to is None and deed.node == node]
    return sorted(own, key=lambda deed: deed.at_ms)


def is_bearable(
    weights: tuple[int, ...], liars: tuple[int, ...], joiners: int, deeds: tuple[Deed, ...]
) -> bool:
    """Whether liars stay below a third of the power in every set that may come.

    Any of them may be punished or gone, any deed done or not, any number of the joiners there. Cutting the greatest
    powers can raise the others' share, so all of it is tried.
    """
    bound = [deed for deed in deeds if deed.to is not None]
    for states in product(("whole", "punished", "gone"), repeat=len(liars)):
        state_of = dict(zip(liars, states, strict=True))
        for done in product((False, True), repeat=len(bound)):
            for joined in range(joiners + 1):
                stakes = _stakes(
                    weights,
                    state_of,
                    [one for one, is_done in zip(bound, done, strict=True) if is_done],
                )
                seats = [node for node in stakes if state_of.get(node) != "gone"]
                present = [*(stakes[node] for node in seats), *(1,) * joined]
                if len(present) < LEAST_TOLERANT:
                    continue
                powers = capped_powers(tuple(present))
                lying = sum(
                    power for node, power in zip(seats, powers, strict=False) if node in state_of
                )
                if 3 * lying >= sum(powers):
                    return False
    return True


def _stakes(
    weights: tuple[int, ...], state_of: dict[int, str], deeds: list[Deed]
) -> dict[int, int]:
    stakes = dict(enumerate(weights))
    for deed in deeds:
        assert deed.to is not None
        stakes[deed.to] += deed.power
    for node, state in state_of.items():
        if state == "punished":
            stakes[node] = max(1, int(stakes[node] * _KEPT))
    return stakes
