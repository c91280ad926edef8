"""Rotations of the voting key, one after the other, on a node that validates alone: what is kept and what waits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from consensus.chain import certified_height_write
from consensus.engine import Engine
from consensus.pbft.own_votes import VotingKeys
from gossip.codec import encode
from gossip.identity import Ed25519Verifier
from node.chain.own_account import OwnAccount
from node.chain.registry import Registry
from node.chain.service import ChainService
from node.founding import found, prepare
from node.storage.home import Home
from node.storage.store import LevelStore, StagedStore
from node.storage.voting_key import MOST_RETIRED, finish_rotation, retired_keys
from node.views.facade import Problem

_CREATED_MS = 1_750_000_000_000


@dataclass
class _Validator:
    """The parts of a daemon that a rotation goes through."""

    home: Home
    identity: bytes
    engine: Engine
    chain: ChainService
    registry: Registry
    disk: LevelStore

    async def rotate(self) -> None:
        """To the end, as a daemon does when the block with it is on disk."""
        done = await self.registry.rotate_key()
        assert done.status == "finalized"
        finish_rotation(self.home, self.identity, self.engine.keys.present)

    def certify(self, height: int) -> None:
        """As if the certificates had come so far, and no further."""
        self.disk.write((certified_height_write(height),))


@asynccontextmanager
async def _validator(home: Home) -> AsyncIterator[_Validator]:
    keys = prepare(home)
    genesis = found(home, keys, "alone", _CREATED_MS)
    with ExitStack() as stack:
        disks = {
            name: stack.enter_context(LevelStore(getattr(home, name)))
            for name in ("chain", "votes", "pool")
        }
        stores = {name: StagedStore(disk) for name, disk in disks.items()}
        engine = Engine(
            genesis=genesis,
            voting_key=VotingKeys(keys.voting),
            verifier=Ed25519Verifier(),
            chain=stores["chain"],
            votes=stores["votes"],
            pool=stores["pool"],
        )
        chain = ChainService(engine, stores, lambda _to, _payload, _urgent: True)
        account = OwnAccount(keys.identity, chain)
        registry = Registry(home, engine.keys, chain, account)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(chain.run)
            yield _Validator(home, keys.identity.public, engine, chain, registry, disks["chain"])
            nursery.cancel_scope.cancel()


async def test_keys_are_kept_until_their_epochs_are_certified_and_too_many_have_to_wait(
    tmp_path: Path,
) -> None:
    async with _validator(Home(tmp_path / "home")) as node:
        used = []
        for kept in range(1, MOST_RETIRED + 1):
            used.append(node.engine.keys.present)
            node.certify(0)
            await node.rotate()
            assert {one.public for one in retired_keys(node.home)} == set(used)
            assert len(used) == kept
        node.certify(0)
        height = node.engine.height
        with pytest.raises(Problem, match="no quorum has certified") as refused:
            await node.rotate()
        assert refused.value.code == "not_ready"
        assert (node.engine.height, len(retired_keys(node.home))) == (height, MOST_RETIRED)

        node.certify(node.engine.certified)
        last = node.engine.keys.present
        await node.rotate()
        assert [one.public for one in retired_keys(node.home)] == [last]


async def test_a_final_block_is_handed_out_in_its_canonical_bytes_and_one_that_is_not_here_is_not(
    tmp_path: Path,
) -> None:
    async with _validator(Home(tmp_path / "home")) as node:
        await node.rotate()
        height = node.engine.height
        handed_out = node.chain.certified_block(height)
        assert handed_out == encode(node.engine.chain.certified_block(height))
        assert node.chain.certified_block(height + 1) is None
        assert node.chain.certified_block(0) is None
