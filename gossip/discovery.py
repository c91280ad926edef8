"""mDNS: who else is on the local network, and telling them that we are.

`zeroconf` lives in threads of its own. What it hears is handed to Trio's thread as a name in a
bounded queue; the questions that take time are asked from worker threads. Without a network that
does multicast there is no discovery, and everything else works.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TypeVar

import structlog
import trio
from zeroconf import Error, IPVersion, ServiceBrowser, ServiceInfo, ServiceStateChange, Zeroconf

from gossip.sightings import MAX_HOSTS, Sighting, read_sighting
from gossip.transport.address import Address

log = structlog.get_logger(__name__)

T = TypeVar("T")

SERVICE = "_bizra._tcp.local."
_WAITING = 64
_RESOLVE_MS = 1_500
_LABEL_DIGITS = 32


class DiscoveryError(Exception):
    """Multicast DNS does not work on this machine; the text says why."""


class Discovery:
    """One mDNS responder and browser; made by `open_discovery`."""

    def __init__(
        self,
        zeroconf: Zeroconf,
        names: trio.MemoryReceiveChannel[str],
        resolve_ms: int = _RESOLVE_MS,
    ) -> None:
        self._zeroconf = zeroconf
        self._names = names
        self._resolve_ms = resolve_ms

    async def announce(self, own: Sighting) -> None:
        """Tell the others until the discovery is closed. Raises `DiscoveryError`."""
        label = own.node.hex()[:_LABEL_DIGITS]
        service = ServiceInfo(
            SERVICE,
            f"{label}.{SERVICE}",
            port=own.port,
            parsed_addresses=list(own.hosts),
            properties=own.properties(),
            server=f"{label}.local.",
        )
        try:
            await _in_thread(partial(self._zeroconf.register_service, service))
        except (Error, OSError) as error:
            raise DiscoveryError(f"this node can't be announced: {error!r}") from None

    async def hear(self) -> Sighting:
        """Wait for the next who is heard, this node itself too; again when what it says changes."""
        while True:
            name = await self._names.receive()
            sighting = await _in_thread(partial(self._resolve, name))
            if sighting is not None:
                return sighting

    def _resolve(self, name: str) -> Sighting | None:
        try:
            service = ServiceInfo(SERVICE, name)
            if not service.request(self._zeroconf, self._resolve_ms):
                return None
            return read_sighting(
                service.decoded_properties,
                service.parsed_addresses()[:MAX_HOSTS],
                service.port,
            )
        except (Error, OSError, ValueError) as error:
            log.info("an announcement can't be read", service=name[:100], reason=str(error))
            return None


@asynccontextmanager
async def open_discovery(interfaces: Sequence[str]) -> AsyncIterator[Discovery]:
    """Listen on the interfaces with these IPv4 addresses. Raises `DiscoveryError`."""
    if not interfaces:
        raise DiscoveryError("this node listens on no IPv4 address")
    token = trio.lowlevel.current_trio_token()
    into, names = trio.open_memory_channel[str](_WAITING)

    def on_change(*, name: str, state_change: ServiceStateChange, **_: object) -> None:
        """Called in zeroconf's thread."""
        if state_change is not ServiceStateChange.Removed:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(hand_over, name)

    def hand_over(name: str) -> None:
        with suppress(trio.WouldBlock, trio.ClosedResourceError, trio.BrokenResourceError):
            into.send_nowait(name)

    def start() -> Zeroconf:
        zeroconf = Zeroconf(interfaces=list(interfaces), ip_version=IPVersion.V4Only)
        ServiceBrowser(zeroconf, SERVICE, handlers=[on_change])
        return zeroconf

    try:
        zeroconf = await trio.to_thread.run_sync(start)
    except (Error, OSError, RuntimeError) as error:
        raise DiscoveryError(f"multicast DNS does not work here: {error}") from None
    try:
        with names:
            yield Discovery(zeroconf, names)
    finally:
        into.close()
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(zeroconf.close)


async def listen_for(discovery: Discovery, seconds: float) -> list[Sighting]:
    """Everybody who is heard in this time."""
    heard: list[Sighting] = []
    with trio.move_on_after(seconds) as scope:
        while not scope.cancelled_caught:
            heard.append(await discovery.hear())
    return heard


async def _in_thread(call: Callable[[], T]) -> T:
    """Run what takes time; whoever is cancelled does not wait for its end."""
    return await trio.to_thread.run_sync(call, abandon_on_cancel=True)  # type: ignore[call-arg] # trio-typing is older


def own_place(addresses: Sequence[str]) -> tuple[tuple[str, ...], int] | None:
    """Hosts and port to announce, of the multiaddrs where this node can be dialed.

    Loopback is announced only if there is nothing else; None if there is no IP address.
    """
    parsed = [Address.parse(text) for text in addresses]
    places = [address for address in parsed if address.kind.startswith("ip")]
    if not places:
        return None
    far = [address for address in places if not _is_loopback(address.host)] or places
    port = far[0].port
    return tuple(address.host for address in far if address.port == port)[:MAX_HOSTS], port


def multiaddrs_of(sighting: Sighting) -> tuple[str, ...]:
    """Where to dial a node that was heard, and who must be there."""
    return tuple(
        str(Address("ip6" if ":" in host else "ip4", host, sighting.port, sighting.node))
        for host in sighting.hosts
    )


def multicast_interfaces(addresses: Sequence[str]) -> tuple[str, ...]:
    """The IPv4 interfaces on which others can reach these multiaddrs: that is where to speak."""
    hosts = [address.host for address in map(Address.parse, addresses) if address.kind == "ip4"]
    far = tuple(dict.fromkeys(host for host in hosts if not _is_loopback(host)))
    return far or tuple(dict.fromkeys(hosts))


def _is_loopback(host: str) -> bool:
    return host.startswith("127.") or host == "::1"
