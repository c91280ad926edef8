"""The local network in the daemon: who is near before there is a federation, and afterwards.

A running node announces itself, and dials members of its own federation that it hears and is not
connected with: one that is new here, or one that came back with another address. What is heard is
no reason to trust anybody, so nothing of it is kept.
"""

from __future__ import annotations

from typing import Final

import structlog
import trio

from gossip.discovery import (
    DiscoveryError,
    listen_for,
    multiaddrs_of,
    multicast_interfaces,
    open_discovery,
    own_place,
)
from gossip.identity import NodeId
from gossip.membership.events import AddBootstrap
from gossip.sightings import ApplyTo, Choose, Sighting
from gossip.transport import Transport
from node.peers.service import PeerService
from node.rounds import next_round

log = structlog.get_logger(__name__)

LISTEN_S: Final = 3.0
_AGAIN_S: Final = 10.0
_MAX_NEAR: Final = 256
_MAX_TOLD: Final = 8


async def look_around(addresses: tuple[str, ...], stop: trio.Event) -> list[Sighting]:
    """Listen for three seconds; nobody is heard where there is no multicast."""
    heard: list[Sighting] = []
    async with trio.open_nursery() as nursery:

        async def listen() -> None:
            try:
                async with open_discovery(multicast_interfaces(addresses)) as discovery:
                    heard.extend(await listen_for(discovery, LISTEN_S))
            except DiscoveryError as error:
                log.warning("no discovery on the local network", reason=str(error))
            nursery.cancel_scope.cancel()

        nursery.start_soon(listen)
        await stop.wait()
        nursery.cancel_scope.cancel()
    return heard


def by_sighting(near: ApplyTo) -> AddBootstrap:
    """Join by what was heard."""
    return AddBootstrap(
        tuple(address for member in near.members[:_MAX_TOLD] for address in multiaddrs_of(member))
    )


def several_federations(choice: Choose) -> str:
    """What the owner is told who must choose."""
    shown = "\n".join(
        f"  {one.federation.hex()}: {one.name}, {multiaddrs_of(one)[0]}" for one in choice.between
    )
    return (
        "there are several federations on this network; join one by the address of a member, "
        f"--bootstrap MULTIADDR, or found one, --found NAME:\n{shown}"
    )


class Neighbours:
    """Announces this node, and connects it with members that are near."""

    def __init__(self, peers: PeerService, link: Transport, name: str) -> None:
        self._peers, self._link, self._name = peers, link, name
        self._near: dict[NodeId, Sighting] = {}

    async def run(self) -> None:
        """Serve until cancelled; without multicast, end with a line in the log."""
        addresses = self._link.addresses()
        try:
            async with open_discovery(multicast_interfaces(addresses)) as discovery:
                own = self._own(addresses)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._dial_again)
                    if own is not None:
                        await discovery.announce(own)
                        log.info("mdns: announced", hosts=own.hosts, port=own.port)
                    while True:
                        await self._on_heard(await discovery.hear())
        except* DiscoveryError as group:
            log.warning("no discovery on the local network", reason=str(group.exceptions[0]))

    def _own(self, addresses: tuple[str, ...]) -> Sighting | None:
        record = self._peers.membership.own_record
        place = own_place(addresses)
        if record is None or place is None:
            return None
        federation = self._peers.membership.federation
        assert federation is not None, "a node with a record has a federation"
        return Sighting(NodeId(record.record.node), self._name, federation, *place)

    async def _on_heard(self, sighting: Sighting) -> None:
        membership = self._peers.membership
        if sighting.federation != membership.federation:
            return
        self._near.pop(sighting.node, None)
        self._near[sighting.node] = sighting
        if len(self._near) > _MAX_NEAR:
            del self._near[next(iter(self._near))]
        await self._meet(sighting)

    async def _dial_again(self) -> None:
        while True:
            await next_round(_AGAIN_S)
            for sighting in list(self._near.values()):
                await self._meet(sighting)

    async def _meet(self, sighting: Sighting) -> None:
        """Dial a member that is to be connected and is not; strangers are left alone."""
        membership = self._peers.membership
        if (
            sighting.node in self._link.peers()
            or not membership.is_member(sighting.node)
            or not membership.wants(sighting.node)
        ):
            return
        for address in multiaddrs_of(sighting):
            if await self._peers.dial(address):
                return
