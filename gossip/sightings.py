"""What nodes on the local network say of themselves, and what one without a federation does then.

Nothing here is signed: anybody on the network may say anything. A sighting is a hint where to dial.
Who is there is proven by the connection, and its federation by the genesis that it shows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gossip.codec import Digest
from gossip.identity import NodeId

MAX_HOSTS = 8
_MAX_NAME = 64
_MAX_PORT = 65_535
_ID = re.compile(r"[0-9a-f]{64}")
_VERSION = "1"


@dataclass(frozen=True, slots=True)
class Sighting:
    """A node that says it is near: where it listens, and to which federation it belongs."""

    node: NodeId
    name: str
    federation: Digest
    hosts: tuple[str, ...]
    port: int

    def properties(self) -> dict[str, str]:
        """What stands in the TXT record; hosts and port have records of their own."""
        return {
            "v": _VERSION,
            "node": self.node.hex(),
            "name": self.name,
            "federation": self.federation.hex(),
        }


def read_sighting(
    properties: Mapping[str, str | None], hosts: Sequence[str], port: int | None
) -> Sighting | None:
    """What a node announces, or None if it makes no sense here."""
    node, federation = properties.get("node") or "", properties.get("federation") or ""
    name = properties.get("name") or ""
    if properties.get("v") != _VERSION or not (_ID.fullmatch(node) and _ID.fullmatch(federation)):
        return None
    if not 1 <= len(name) <= _MAX_NAME or not name.isprintable() or name != name.strip():
        return None
    if port is None or not 1 <= port <= _MAX_PORT or not hosts:
        return None
    return Sighting(
        NodeId(bytes.fromhex(node)),
        name,
        Digest(bytes.fromhex(federation)),
        tuple(hosts[:MAX_HOSTS]),
        port,
    )


@dataclass(frozen=True, slots=True)
class FoundOne:
    """Nobody is there: begin a federation."""


@dataclass(frozen=True, slots=True)
class ApplyTo:
    """There is exactly one federation: ask these members of it, in this order."""

    federation: Digest
    members: tuple[Sighting, ...]


@dataclass(frozen=True, slots=True)
class Choose:
    """There are several, with one member of each: that is for the owner to decide."""

    between: tuple[Sighting, ...]


Decision = FoundOne | ApplyTo | Choose


def decide(heard: Iterable[Sighting]) -> Decision:
    """What a node without a federation does after it has listened."""
    by_federation: dict[Digest, dict[NodeId, Sighting]] = {}
    for sighting in heard:
        by_federation.setdefault(sighting.federation, {})[sighting.node] = sighting
    if not by_federation:
        return FoundOne()
    sorted_members = {
        federation: tuple(members[node] for node in sorted(members))
        for federation, members in sorted(by_federation.items())
    }
    if len(sorted_members) > 1:
        return Choose(tuple(members[0] for members in sorted_members.values()))
    return ApplyTo(*next(iter(sorted_members.items())))
