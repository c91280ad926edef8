"""Multiaddrs that this node can dial or listen on.

/ip4|ip6|dns|dns4|dns6/HOST/tcp/PORT[/p2p/PEERID].

Other transports of libp2p (QUIC, WebSocket, relays) are valid multiaddrs, and refused with a
sentence that says so.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

import ifaddr

from gossip.identity import NodeId
from gossip.transport.peer_id import node_id_from_peer_id, peer_id_from_node_id

_NAME = re.compile(r"(?=.{1,253}\Z)([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?\.?)+")
_MAX_PORT = 65_535
_MAX_LETTERS = 400
_EXAMPLE = "/ip4/192.168.1.5/tcp/7430"


@dataclass(frozen=True, slots=True)
class Address:
    """A place to dial or to listen at; `peer` is who is expected there, if anybody."""

    kind: str
    host: str
    port: int
    peer: NodeId | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises `ValueError` with a sentence for a person."""
        shown = repr(text[:_MAX_LETTERS])
        parts = text.split("/")
        if len(text) > _MAX_LETTERS or len(parts) < 5 or parts[0] or parts[3] != "tcp":  # noqa: PLR2004
            raise ValueError(f"{shown} is not a TCP multiaddr such as {_EXAMPLE}")
        kind, host, port, rest = parts[1], parts[2], parts[4], parts[5:]
        if not _is_host(kind, host):
            raise ValueError(f"{shown} names no host: {host!r} is not an {kind!r} address")
        if not (port.isascii() and port.isdigit() and int(port) <= _MAX_PORT):
            raise ValueError(f"{shown} has no port from 0 to {_MAX_PORT}")
        match rest:
            case []:
                return cls(kind, host, int(port))
            case ["p2p" | "ipfs", peer_id]:
                return cls(kind, host, int(port), node_id_from_peer_id(peer_id))
            case _:
                raise ValueError(f"{shown} goes on after the port; only TCP is spoken here")

    @classmethod
    def of_socket(cls, name: tuple[str, int]) -> Self:
        """From the first two parts of what a socket calls its own or its peer's name."""
        host, port = name
        host = host.partition("%")[0].removeprefix("::ffff:")
        return cls("ip6" if ":" in host else "ip4", host, port)

    def with_peer(self, peer: NodeId) -> Self:
        """The same place, with who is there."""
        return replace(self, peer=peer)

    @property
    def is_unspecified(self) -> bool:
        """Whether it stands for every interface, and so can be listened on and not dialed."""
        return self.kind.startswith("ip") and ipaddress.ip_address(self.host).is_unspecified

    def __str__(self) -> str:
        suffix = "" if self.peer is None else f"/p2p/{peer_id_from_node_id(self.peer)}"
        return f"/{self.kind}/{self.host}/tcp/{self.port}{suffix}"


def _is_host(kind: str, host: str) -> bool:
    if kind in ("dns", "dns4", "dns6"):
        return _NAME.fullmatch(host) is not None
    if kind not in ("ip4", "ip6"):
        return False
    try:
        return ipaddress.ip_address(host).version == int(kind[2])
    except ValueError:
        return False


def dialable(listening: Iterable[Address]) -> list[Address]:
    """What another machine can dial: unspecified addresses become those of the interfaces.

    Link-local addresses are left out, since they mean nothing without an interface; loopback comes
    last.
    """
    found: dict[Address, None] = {}
    for address in listening:
        for host in _interface_hosts() if address.is_unspecified else [address.host]:
            candidate = replace(address, host=host)
            if _is_host(address.kind, host):
                found[candidate] = None
    return sorted(found, key=lambda address: address.host in ("127.0.0.1", "::1"))


def _interface_hosts() -> list[str]:
    hosts = []
    for adapter in ifaddr.get_adapters():
        for address in adapter.ips:
            host = address.ip if isinstance(address.ip, str) else address.ip[0]
            if not ipaddress.ip_address(host.partition("%")[0]).is_link_local:
                hosts.append(host)
    return hosts
