"""What the owner of a node can ask of the validator registry: each deed is a transaction of the node's own account."""

from __future__ import annotations

from typing import Final

import trio

from consensus.operations.validators import (
    ApproveExpulsion,
    ApproveParameter,
    ApproveRemoval,
    Delegate,
    LeaveValidators,
    Stake,
    Undelegate,
    Unstake,
    ValidatorOperation,
    activate_validator,
    rotate_voting_key,
)
from consensus.parameters import PROTOCOL_VERSION
from consensus.pbft.own_votes import VotingKeys
from gossip.codec import Digest
from node.chain.own_account import NotTakenError, OwnAccount, problem_of
from node.chain.service import ChainService
from node.storage.home import Home
from node.storage.voting_key import MOST_RETIRED, forget_retired, prepare_rotation
from node.views.facade import Problem
from node.views.ledger import parameters_view, registry_view
from node.views.records import (
    DeedView,
    ParametersView,
    RegistryView,
)

PATIENCE_S: Final = 20.0


class Registry:
    """One method for each deed. Deeds raise `Problem`; they return once the operation was executed."""

    def __init__(
        self, home: Home, voting: VotingKeys, chain: ChainService, account: OwnAccount
    ) -> None:
        self._home, self._voting, self._service = home, voting, chain
        self._engine, self._account = chain.engine, account

    # Questions

    @property
    def height(self) -> int:
        """Answers are of the ledger after this block."""
        return self._engine.ledger.height

    def listed(self) -> RegistryView:
        """All validators and candidates."""
        return registry_view(self._engine.ledger)

    def parameters(self) -> ParametersView:
        """The federation's constants."""
        return parameters_view(self._engine.ledger)

    # Deeds

    async def activate(self) -> DeedView:
        """Take the approved seat; the node must have caught up."""
        if self._engine.is_syncing:
            raise Problem(409, "not_ready", "this node is still catching up; try again when it has")
        height = self._engine.height
        return await self._do(
            activate_validator(self._chain, self._own, self._voting.candidate, height)
        )

    async def leave(self) -> DeedView:
        """Give up the seat, or withdraw the registration."""
        return await self._do(LeaveValidators())

    async def stake(self, amount: int) -> DeedView:
        """Bind more of the node's own money."""
        return await self._do(Stake(amount))

    async def unstake(self, amount: int) -> DeedView:
        """Take some of it back."""
        return await self._do(Unstake(amount))

    async def delegate(self, validator: bytes, amount: int) -> DeedView:
        """Bind money to a validator."""
        return await self._do(Delegate(validator, amount))

    async def undelegate(self, validator: bytes, amount: int) -> DeedView:
        """Take some of it back."""
        return await self._do(Undelegate(validator, amount))

    async def rotate_key(self) -> DeedView:
        """Vote with a fresh key from the next epoch on; its file is written before anybody hears of it."""
        self._make_room()
        fresh = await trio.to_thread.run_sync(prepare_rotation, self._home)
        self._engine.keys.add(fresh)
        return await self._do(rotate_voting_key(self._chain, self._own, fresh))

    def _make_room(self) -> None:
        """Forget the keys of before that nobody needs any more; wait with another one while there are too many."""
        kept = self._home.retired_voting_keys()
        if not kept:
            return
        if self._engine.has_certified_earlier_epochs(self._service.certified_on_disk()):
            self._engine.keys.forget(forget_retired(self._home))
        elif len(kept) >= MOST_RETIRED:
            raise Problem(
                409,
                "not_ready",
                f"{len(kept)} keys that were rotated away may still have to sign what came of their blocks, which no "
                f"quorum has certified yet (certified up to {self._engine.certified} of {self._engine.height}, see "
                "`bizra-node status`); rotate again when it has",
            )

    async def approve_removal(self, node: bytes) -> DeedView:
        """Say a validator's word against another's seat."""
        return await self._do(ApproveRemoval(node))

    async def approve_expulsion(self, node: bytes) -> DeedView:
        """Say a validator's word against an observer's membership."""
        return await self._do(ApproveExpulsion(node))

    async def approve_parameter(self, name: str, value: int) -> DeedView:
        """Say a validator's word for another value of a constant."""
        if name == "protocol_version" and value > PROTOCOL_VERSION:
            raise Problem(
                409,
                "unknown_protocol",
                f"this program speaks protocol {PROTOCOL_VERSION}; install a newer one first",
            )
        return await self._do(ApproveParameter(name, value))

    @property
    def _own(self) -> bytes:
        return self._account.node_id

    @property
    def _chain(self) -> Digest:
        return self._engine.ledger.genesis.federation_id

    async def _do(self, operation: ValidatorOperation) -> DeedView:
        kind = str(operation.__struct_config__.tag)
        try:
            transaction = await self._account.transact(operation)
            status = "pending"
            with trio.move_on_after(PATIENCE_S):
                await self._account.settle(transaction.id)
                status = "finalized"
        except NotTakenError as error:
            raise problem_of(error, str(error)) from None
        return DeedView(operation=kind, status=status, tx_hash=transaction.id.hex())
