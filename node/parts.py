"""What a node has before it knows its federation, and the membership that both looking and running begin with."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

from consensus.genesis import Genesis
from gossip.codec import encode
from gossip.identity import Ed25519Verifier, NodeId
from gossip.membership import Membership, Profile
from gossip.membership.events import AddBootstrap
from gossip.membership.invites import InviteError, is_invite, parse_invite
from gossip.membership.mesh import MeshHabits
from gossip.membership.records import Capability
from gossip.transfer.service import ContentService
from gossip.transport.libp2p import Libp2pTransport
from inference.chat_task import CHAT
from memory.model_files import MODEL_HASH
from node.announcer import Announcer
from node.config import ConfigError, RunOptions
from node.founding import NodeKeys
from node.peers.service import Limits, PeerService
from node.service import VERSION
from node.storage.home import Home
from node.storage.store import StagedStore
from node.work.service import DEFAULT_REWARD

_FREE_SLOTS: Final = 8


@dataclass(frozen=True, slots=True)
class Parts:
    """What the node has before it knows its federation."""

    options: RunOptions
    keys: NodeKeys
    link: Libp2pTransport
    limits: Limits
    contents: ContentService
    announcer: Announcer
    stop: trio.Event
    """Set when the owner wants the node to end."""

    @property
    def home(self) -> Home:
        return self.options.home


def peer_service(
    parts: Parts,
    genesis: Genesis | None,
    admitted: Callable[[NodeId], str | None],
    store: StagedStore,
    nursery: trio.Nursery,
) -> PeerService:
    """The membership core in its shell; without a genesis it looks for a federation."""
    config, keys = parts.options.config, parts.keys
    membership = Membership(
        profile=Profile(
            name=config.name,
            addresses=parts.link.addresses(),
            capabilities=own_capabilities(config.kinds),
            load=0,
            voting_key=keys.voting.public,
            version=VERSION,
        ),
        signer=keys.identity,
        verifier=Ed25519Verifier(),
        genesis=None if genesis is None else encode(genesis),
        admitted=admitted,
        store=store,
        jitter=lambda: secrets.randbelow(2**16) / 2**16,
        nonce=secrets.randbits(32),
        mesh=MeshHabits.of(config.full_mesh_up_to, config.mesh_neighbours),
    )
    parts.limits.is_member = membership.is_member
    return PeerService(parts.link, membership, store, nursery)


def own_capabilities(kinds: tuple[str, ...]) -> tuple[Capability, ...]:
    """What the embedded model does for others."""
    model = bytes.fromhex(MODEL_HASH)
    return tuple(
        Capability("inference", kind, model, DEFAULT_REWARD, _FREE_SLOTS)
        for kind in kinds
        if kind != CHAT
    )


def bootstrap_event(parts: Parts) -> AddBootstrap:
    """What the owner told the node to join by. Raises `ConfigError`."""
    addresses: list[str] = []
    invite = None
    for text in parts.options.config.bootstrap:
        if not is_invite(text):
            addresses.append(text)
            continue
        try:
            invite = parse_invite(text)
        except InviteError as error:
            raise ConfigError(f"--bootstrap: the invite can't be read: {error}") from None
    return AddBootstrap(tuple(addresses), invite)
