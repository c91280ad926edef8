"""How a home without a federation gets one: it asks those it was told of, or those it hears, or founds its own."""

from __future__ import annotations

import trio

from consensus.genesis import Genesis
from gossip.codec import Digest, decode_canonical
from gossip.membership.events import AddBootstrap
from gossip.membership.notices import (
    BootstrapRefused,
    FederationFound,
    WrongFederation,
)
from gossip.sightings import ApplyTo, Choose, FoundOne, decide
from node.driver import now_ms
from node.errors import NodeError
from node.founding import begin_chain, found
from node.parts import Parts, bootstrap_event, peer_service
from node.peers.neighbours import by_sighting, look_around, several_federations
from node.peers.service import DialInVain
from node.storage.store import LevelStore, StagedStore


async def first_genesis(parts: Parts) -> Genesis | None:
    """Join by the given addresses or what is near, else found; None if told to stop first."""
    options = parts.options
    if options.found is None and options.config.bootstrap:
        parts.announcer.looking(options.config.bootstrap)
        return await _ask_for_genesis(parts, bootstrap_event(parts))
    if options.found is None and options.config.mdns:
        parts.announcer.listening()
        match decide(await look_around(parts.link.addresses(), parts.stop)):
            case ApplyTo() as near:
                parts.announcer.heard(near)
                return await _ask_for_genesis(parts, by_sighting(near), near.federation)
            case Choose() as choice:
                raise NodeError(several_federations(choice))
            case FoundOne():
                pass
    if parts.stop.is_set():
        return None
    name = options.found or f"{options.config.name}'s federation"
    genesis = found(options.home, parts.keys, name, now_ms())
    parts.announcer.founded(genesis)
    return genesis


async def _ask_for_genesis(
    parts: Parts, told: AddBootstrap, expected: Digest | None = None
) -> Genesis | None:
    found_there: list[FederationFound] = []
    with LevelStore(parts.home.peers, create=True) as disk:
        async with trio.open_nursery() as nursery:
            store = StagedStore(disk)
            peers = peer_service(parts, None, lambda _: None, store, nursery)

            def on_notice(notice: object) -> None:
                parts.announcer.peer_news(notice)
                match notice:
                    case DialInVain():
                        parts.announcer.dial_in_vain(notice.address, notice.reason)
                    case FederationFound() if not found_there:
                        found_there.append(notice)
                        nursery.cancel_scope.cancel()
                    case WrongFederation():
                        raise NodeError(
                            f"the node at {notice.address} belongs to the federation "
                            f"{notice.theirs.hex()}, the invite is for {notice.ours.hex()}"
                        )
                    case BootstrapRefused():
                        raise NodeError(f"the invite can't be used: {notice.reason}")
                    case _:
                        pass

            peers.connect(on_notice=on_notice)
            peers.post(told)
            nursery.start_soon(peers.run)
            await parts.stop.wait()
            nursery.cancel_scope.cancel()
    if not found_there:
        return None
    answer = found_there[0]
    if expected not in (None, answer.federation):
        raise NodeError(
            f"the node {answer.peer.hex()} was heard on this network as one of the federation "
            f"{expected.hex()}, and is of {answer.federation.hex()}; name a node that you trust: "
            "--bootstrap MULTIADDR"
        )
    genesis = decode_canonical(answer.genesis, Genesis)
    begin_chain(parts.home, genesis)
    parts.announcer.federation_found(genesis, answer)
    return genesis
