"""The whole node of a federation: its parts put together, and run until its owner wants it to end."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

import structlog
import trio

from consensus.engine import Engine, PeerConnected, PeerDisconnected, Received, Relaying
from consensus.genesis import Genesis
from consensus.pbft.own_votes import VotingKeys
from gossip.identity import Ed25519Verifier, NodeId
from gossip.membership.events import Leaving
from inference.answer_cache import AnswerCache
from inference.backends.router import ModelRouter
from inference.cache import CacheKind
from inference.embedded.backend import EmbeddedBackend
from inference.engine import AnswerEngine
from inference.shared_answers import Circle
from node.chain.event_hub import EventHub
from node.chain.own_account import OwnAccount
from node.chain.projector import Projector, open_projections
from node.chain.read_models import ReadModels
from node.chain.registry import Registry
from node.chain.service import ChainService
from node.chain.signatures import in_process
from node.chain.snapshots import Habits, Snapshots, Taken
from node.driver import now_ms
from node.founding import check_chain
from node.gateway.app import Doors, make_app, open_listener
from node.gateway.backroom import BackroomParts
from node.gateway.http.listening import serve
from node.group_service import GroupService
from node.model_offers import ModelOffers
from node.models.backends import Backends
from node.models.breaker_news import BreakerNews
from node.models.files import ModelFiles
from node.models.servers import make_router
from node.news import News
from node.parts import Parts, bootstrap_event, peer_service
from node.peers.clocks import ClockWatch
from node.peers.neighbours import Neighbours
from node.peers.service import PeerService
from node.peers.topics import TopicService
from node.service import NodeService
from node.storage.home import ApiFile, Home
from node.storage.sealed_store import SealedStore
from node.storage.shelf import DiskShelf
from node.storage.store import LevelStore, StagedStore
from node.storage.votes import open_votes
from node.storage.voting_key import finish_rotation, forget_retired, next_key, retired_keys
from node.tokens import Tokens
from node.work.audits import Audits
from node.work.canaries import Canaries
from node.work.foreman import ForemanService
from node.work.peer_chat import PeerChats
from node.work.service import TaskService
from node.work.shared_answers import SharedAnswers
from node.work.spreads import SpreadService
from node.work.takeovers import TakeOvers

log = structlog.get_logger(__name__)

_BESIDE: Final = ("gateway", "answers", "shared")
"""Databases that no core writes."""
_FAREWELL_S: Final = 0.3
_GOOD_BYE_S: Final = 1.0
"""How long a good-bye may take to leave: a frozen peer doesn't hold up who ends."""


@dataclass(frozen=True, slots=True)
class _Node:
    """The parts that talk to each other."""

    engine: Engine
    peers: PeerService
    chain: ChainService
    tasks: TaskService
    account: OwnAccount
    service: NodeService
    topics: TopicService


@dataclass(frozen=True, slots=True)
class Again:
    """The node is to begin anew, with a snapshot and where it was to be found."""

    taken: Taken
    api_port: int


async def run_node(parts: Parts, genesis: Genesis) -> Again | None:
    """Run until `parts.stop` is set, or until a snapshot was taken to begin anew with. Raises `NodeError`."""
    config = parts.options.config
    listener = open_listener(config.api)
    breakers = BreakerNews()
    async with (
        _opened(parts.home, parts.keys.voting.public) as stores,
        EmbeddedBackend(idle_s=config.model_idle_s) as backend,
        make_router(config.backend, backend, now_s=_now_s, on_breaker=breakers.on_change) as models,
        in_process() as signatures,
        trio.open_nursery() as nursery,
    ):
        check_chain(parts.home, genesis, stores.staged["chain"])
        files = ModelFiles(config.backend, models)
        node = _assemble(parts, genesis, stores, (backend, models, files), nursery)
        breakers.publish = node.topics.publish
        foreman = ForemanService(models, stores.staged["work"], nursery)
        audits = Audits(models, files, foreman, nursery, config.audit_per_cent)
        spreads = SpreadService(foreman, node.tasks, node.peers, config.kinds, nursery)
        chats = PeerChats(node.tasks, node.peers, foreman, audits)
        models.join(chats)
        sharing = _sharing(parts, node, stores.disks["shared"], audits, nursery)
        _connect(parts, node, nursery)
        chain_disk = stores.disks["chain"]
        projector = Projector(
            stores.projections, chain_disk, lambda: node.engine.ledger, node.chain
        )
        hub = EventHub(chain_disk, node.chain)
        node.chain.listen(hub.on_report)
        backends = Backends(models, config.backend, parts.home.backends, _now_s, files)
        backends.load()
        snapshots = _snapshots(parts, genesis, node.chain, stores.staged["chain"])
        app = make_app(
            node.service,
            token=parts.home.read_token(),
            host=config.api.host,
            doors=Doors(
                feed=node.chain,
                signatures=signatures,
                models=AnswerEngine(models, _answers(stores.disks["answers"], sharing)),
                contents=parts.contents,
                snapshots=snapshots,
                topics=node.topics,
                stop=parts.stop,
                groups=GroupService(node.service, node.tasks, node.engine.ledger),
                chat_peers=config.chat_peers,
                backroom=BackroomParts(foreman, spreads, chats.check),
                backends=backends,
                registry=Registry(parts.home, node.engine.keys, node.chain, node.account),
                reading=_read_models(node, projector, chain_disk),
                hub=hub,
                keys=stores.disks["gateway"],
                quota_per_s=config.quota_per_s,
                client_parallel=config.client_parallel,
                tokens=Tokens(parts.home.tokens),
                traffic=node.chain,
            ),
        )
        host, port = listener.getsockname()[:2]
        services = (
            foreman,
            spreads,
            TakeOvers(node.tasks, node.peers, config.kinds),
            node.chain,
            node.tasks,
            node.peers,
            node.topics,
            projector,
            snapshots,
        )
        for task in [one.run for one in services]:
            nursery.start_soon(task)
        nursery.start_soon(serve, app, listener)
        shared = () if sharing is None else (sharing.capability(),)
        offers = ModelOffers(files, node.peers, node.tasks, config.kinds, shared)
        nursery.start_soon(files.run, models.meet, offers.renew)
        if config.canary_every_s:
            canaries = Canaries(chats, files.is_here, config.canary_every_s)
            nursery.start_soon(canaries.run)
        if config.find_models:
            nursery.start_soon(backends.look_around)
        if config.mdns:
            nursery.start_soon(Neighbours(node.peers, parts.link, config.name).run)
        nursery.start_soon(ClockWatch(node.peers.membership.table, parts.announcer).run)
        parts.home.write_api(ApiFile(os.getpid(), host, port, parts.link.addresses()))
        parts.announcer.running(
            node.service.status(), parts.link.addresses(), f"http://{host}:{port}"
        )
        try:
            await _until_told(parts, node, snapshots)
        finally:
            parts.home.clear_api()
        nursery.cancel_scope.cancel()
    taken = None if parts.stop.is_set() else snapshots.taken
    return None if taken is None else Again(taken, port)


def _assemble(
    parts: Parts,
    genesis: Genesis,
    opened: _Stores,
    places: tuple[EmbeddedBackend, ModelRouter, ModelFiles],
    nursery: trio.Nursery,
) -> _Node:
    backend, models, files = places
    stores = opened.staged
    keys, config = parts.keys, parts.options.config
    verifier = Ed25519Verifier()
    voting = _voting_keys(parts, opened)
    engine = Engine(
        genesis=genesis,
        voting_key=voting,
        verifier=verifier,
        chain=stores["chain"],
        votes=stores["votes"],
        pool=stores["pool"],
        asks_at_start=True,
    )

    finish_rotation(parts.home, keys.identity.public, voting.present)
    if engine.has_certified_earlier_epochs(engine.certified):
        voting.forget(forget_retired(parts.home))

    def admitted(node: NodeId) -> str | None:
        member = engine.ledger.member(node)
        return None if member is None else member.role.value

    peers = peer_service(parts, genesis, admitted, stores["peers"], nursery)
    chain = ChainService(engine, stores, peers.send_consensus, peers.link.together)
    account = OwnAccount(keys.identity, chain)
    tasks = TaskService(
        chain=chain,
        peers=peers,
        account=account,
        identity=keys.identity,
        verifier=verifier,
        backend=backend,
        kinds=config.kinds,
        store=stores["tasks"],
        nursery=nursery,
        models=models,
        files=files,
    )
    service = NodeService(
        name=config.name,
        identity=keys.identity,
        voting=voting.candidate,
        chain=chain,
        peers=peers,
        tasks=tasks,
        account=account,
        silence=opened.silence,
    )
    chain.note_votes(opened.votes)
    topics = TopicService(peers, keys.identity, genesis.federation_id)
    return _Node(engine, peers, chain, tasks, account, service, topics)


def _voting_keys(parts: Parts, opened: _Stores) -> VotingKeys:
    """The key in use, the one that a rotation under way wants, and those of before that may still be needed."""
    voting = VotingKeys(parts.keys.voting)
    pending = next_key(parts.home)
    if pending is not None:
        voting.add(pending)
    for former in retired_keys(parts.home):
        voting.add(former)
    if opened.silence is not None:
        voting.silence(parts.keys.voting.public)
        parts.announcer.silenced(f"{opened.silence}")
        log.error("this node must not vote", reason=opened.silence)
    return voting


def _connect(parts: Parts, node: _Node, nursery: trio.Nursery) -> None:
    """Let the parts hear of each other."""
    news = News(parts, node.engine, node.peers, node.account, nursery)
    node.chain.listen(news.on_report)
    node.chain.charge_to(node.peers.charge)
    node.peers.connect(
        on_notice=news.on_notice,
        on_consensus=lambda peer, message: node.chain.post(Received(peer, message)),
        on_broadcast=node.topics.on_message,
        room=node.chain.room,
        has_leisure=node.chain.has_leisure,
        on_reachable=lambda peer, here: node.chain.post(
            PeerConnected(peer) if here else PeerDisconnected(peer)
        ),
        on_mesh=lambda is_partial: node.chain.post(Relaying(is_partial)),
    )
    if parts.options.config.bootstrap:
        node.peers.post(bootstrap_event(parts))


def _read_models(node: _Node, projector: Projector, chain: LevelStore) -> ReadModels | None:
    """None for a node that began with a snapshot: what they are made of is not all here."""
    if node.engine.chain.first_height() > 1:
        return None
    models = ReadModels(projector, chain, node.service.name_of)
    node.service.reputation_of = lambda peer: models.reputation(peer).view.score
    return models


def _snapshots(
    parts: Parts, genesis: Genesis, chain: ChainService, store: StagedStore
) -> Snapshots:
    config = parts.options.config
    return Snapshots(
        home=parts.home,
        genesis=genesis,
        link=parts.link,
        contents=parts.contents,
        chain=chain,
        store=store,
        habits=Habits(config.snapshot_every, config.snapshot_behind),
    )


async def _until_told(parts: Parts, node: _Node, snapshots: Snapshots) -> None:
    """Wait for the owner's wish to end, and say good-bye to the others; or for a snapshot to begin anew with."""
    async with trio.open_nursery() as nursery:

        async def end_with(event: trio.Event) -> None:
            await event.wait()
            nursery.cancel_scope.cancel()

        nursery.start_soon(end_with, parts.stop)
        nursery.start_soon(end_with, snapshots.ready)
    if not parts.stop.is_set():
        # Whoever asked for it over HTTP hears of it before the door closes.
        await trio.sleep(_FAREWELL_S)
        return
    with trio.move_on_after(_GOOD_BYE_S):
        node.peers.post(Leaving())
        await node.peers.caught_up()
        await parts.link.flushed()
    parts.announcer.stopped()


@dataclass(frozen=True, slots=True)
class _Stores:
    """The open databases; `staged` are those that cores write."""

    disks: dict[str, LevelStore]
    staged: dict[str, StagedStore]
    projections: LevelStore
    votes: SealedStore
    silence: str | None
    """Why the node must not vote with its present key, or None."""


@asynccontextmanager
async def _opened(home: Home, voting_key: bytes) -> AsyncIterator[_Stores]:
    with ExitStack() as stack:
        disks = {
            name: stack.enter_context(
                LevelStore(getattr(home, name), create=name in ("pool", "peers", "work", *_BESIDE))
            )
            for name in ("pool", "chain", "peers", "tasks", "work", *_BESIDE)
        }
        staged = {
            name: StagedStore(disk, sync=name != "pool")
            for name, disk in disks.items()
            if name not in _BESIDE
        }
        votes, silence = open_votes(home, disks["chain"], voting_key, stack)
        staged["votes"] = votes
        projections = stack.enter_context(open_projections(home.projections))
        yield _Stores(disks, staged, projections, votes, silence)


def _now_s() -> int:
    return now_ms() // 1000


def _answers(disk: LevelStore, sharing: SharedAnswers | None) -> AnswerCache:
    """The caches of answers; those in memory count on a clock that never goes back."""
    shelf = DiskShelf(CacheKind.RESPONSES, disk, now_ms)
    return AnswerCache(shelf, lambda: int(trio.current_time() * 1000), sharing)


def _sharing(
    parts: Parts,
    node: _Node,
    disk: LevelStore,
    audits: Audits,
    nursery: trio.Nursery,
) -> SharedAnswers | None:
    """None where the owner has not said with whom."""
    secret = parts.options.config.shared_cache
    if not secret:
        return None
    return SharedAnswers(
        circle=Circle(bytes.fromhex(secret)),
        signer=parts.keys.identity,
        verifier=Ed25519Verifier(),
        ledger=node.engine.ledger,
        shelf=DiskShelf(CacheKind.SHARED, disk, now_ms),
        peers=node.peers,
        tasks=node.tasks,
        audits=audits,
        nursery=nursery,
    )
