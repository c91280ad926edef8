"""The genesis: what a federation agreed on before its first block.

Its hash is the federation's id and the chain id in everything that is signed. The whole supply is
minted here: the founders get their amounts, the rest goes to a treasury account that nobody holds
the key of and that admission grants are paid from.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated

import msgspec

from consensus.parameters import Parameters
from consensus.quorum import MAX_POWER, MAX_VALIDATORS, Validator, ValidatorSet
from gossip.codec import Bytes32, DecodeError, Digest, Name, Natural, Wire, digest, encode
from gossip.identity import NodeId, PublicKey
from gossip.json_form import Coins, from_json, to_json

Power = Annotated[int, msgspec.Meta(ge=1, le=MAX_POWER)]


class GenesisError(ValueError):
    """The genesis can't be used; the text begins with the field that is wrong."""


class Founder(Wire, frozen=True):
    """A validator of epoch 0: identity, key of its votes, power, what it owns at the start, and what of it is staked.

    The power is what the genesis says, whatever the policy for later sets is.
    """

    node: Bytes32
    voting_key: Bytes32
    power: Power
    amount: Coins
    stake: Coins = 0


class Genesis(Wire, frozen=True, dict=True, gc=True):
    """A new federation.

    Build it with `found` or `Genesis.load`, which check what the types don't say.
    """

    name: Name
    created_ms: Natural
    founders: Annotated[tuple[Founder, ...], msgspec.Meta(min_length=1, max_length=MAX_VALIDATORS)]
    parameters: Parameters

    @cached_property
    def federation_id(self) -> Digest:
        """The genesis hash: names the federation, and the chain in every signature."""
        return digest(b"genesis", encode(self))

    @cached_property
    def treasury(self) -> NodeId:
        """The account of what nobody owns yet. It is a hash, so nobody holds a key for it."""
        return NodeId(digest(b"treasury", self.federation_id))

    @property
    def treasury_amount(self) -> int:
        """What the treasury holds before the first block."""
        return self.parameters.supply - sum(founder.amount for founder in self.founders)

    def first_set(self) -> ValidatorSet:
        """The validators of epoch 0, in the order of the founders."""
        return ValidatorSet(
            0,
            tuple(
                Validator(founder.node, founder.voting_key, founder.power)
                for founder in self.founders
            ),
        )

    def to_json(self) -> str:
        """The genesis file."""
        return to_json(self)

    @classmethod
    def load(cls, text: str | bytes) -> Genesis:
        """Read a genesis file. Raises `GenesisError`."""
        try:
            genesis = from_json(text, cls)
        except DecodeError as error:
            raise GenesisError(str(error)) from None
        return _checked(genesis)


def found(
    name: str, created_ms: int, founders: tuple[Founder, ...], parameters: Parameters | None = None
) -> Genesis:
    """A new federation of these founders. Raises `GenesisError`."""
    genesis = Genesis(name, created_ms, founders, parameters or Parameters())
    return Genesis.load(genesis.to_json())


def found_alone(
    name: str,
    created_ms: int,
    founder: tuple[NodeId, PublicKey],
    founder_amount: int,
    parameters: Parameters | None = None,
) -> Genesis:
    """A federation of one: its founder's node, the key of its votes and what it owns.

    Raises `GenesisError`.
    """
    node, voting_key = founder
    return found(name, created_ms, (Founder(node, voting_key, 1, founder_amount),), parameters)


def _checked(genesis: Genesis) -> Genesis:
    """Refuse what each field allows by itself but not together."""
    parameters, founders = genesis.parameters, genesis.founders
    nodes = {founder.node for founder in founders}
    for field, text in (("name", genesis.name), ("parameters.unit", parameters.unit)):
        if not text.isprintable() or text != text.strip():
            raise GenesisError(f"{field}: has characters that don't print, or blanks at an end")
    if len(nodes) != len(founders):
        raise GenesisError("founders.node: a node stands twice")
    if len({founder.voting_key for founder in founders}) != len(founders):
        raise GenesisError("founders.voting_key: a key stands twice")
    if any(founder.voting_key in nodes for founder in founders):
        raise GenesisError("founders.voting_key: a voting key must not be an identity key")
    for place, founder in enumerate(founders):
        if founder.stake > founder.amount:
            raise GenesisError(f"founders.{place}.stake: more than the founder's amount")
    if genesis.treasury_amount < 0:
        raise GenesisError("parameters.supply: less than the founders' amounts together")
    if parameters.min_task_lead_ms > parameters.max_task_lead_ms:
        raise GenesisError("parameters.min_task_lead_ms: more than max_task_lead_ms")
    return genesis
