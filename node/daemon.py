"""The daemon: puts the parts of a node together and runs them until it is told to stop.

A home without a federation first looks for one (`--bootstrap`) or founds one; with a genesis in the home the whole node
runs: transport, membership, consensus, tasks, HTTP. Everything runs in one Trio loop but the model, which is a child
process, and writing to disk, which is done in a thread.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

import structlog
import trio

from consensus.engine import BlockExecuted, Engine, PeerConnected, PeerDisconnected, Received
from consensus.events import EpochChanged, MemberChanged
from consensus.genesis import Genesis
from consensus.transactions import AdmitObserver
from gossip.codec import DecodeError, Digest, decode_canonical, encode
from gossip.identity import Ed25519Verifier, NodeId
from gossip.membership import Membership, Profile
from gossip.membership.events import AddBootstrap, AdmissionChanged, Leaving
from gossip.membership.invites import InviteError, is_invite, parse_invite
from gossip.membership.notices import (
    ApplicantArrived,
    BootstrapRefused,
    FederationFound,
    InvitePresented,
    StandingChanged,
    StatusChanged,
    WrongFederation,
)
from gossip.membership.records import Capability
from gossip.sightings import ApplyTo, Choose, FoundOne, decide
from gossip.transport import ListenError
from gossip.transport.libp2p import Libp2pTransport
from inference.breaker import BreakerChanged
from inference.embedded.backend import EmbeddedBackend
from memory.model_files import MODEL_HASH
from node.announcer import Announcer
from node.chain_service import ChainService
from node.clocks import ClockWatch
from node.config import ConfigError, RunOptions
from node.driver import now_ms
from node.errors import NodeError
from node.founding import NodeKeys, begin_chain, check_chain, found, load_genesis, prepare, resume
from node.gateway.app import make_app, open_listener, serve
from node.home import ApiFile, Home
from node.logs import start_log
from node.model_servers import make_router
from node.neighbours import Neighbours, by_sighting, look_around, several_federations
from node.own_account import NotTakenError, OwnAccount
from node.peer_service import DialInVain, Limits, PeerService
from node.service import VERSION, NodeService
from node.store import LevelStore, StagedStore
from node.task_service import DEFAULT_REWARD, TaskService

log = structlog.get_logger(__name__)

_Error = TypeVar("_Error", bound=Exception)

_FAREWELL_S: Final = 0.3
_FREE_SLOTS: Final = 8


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the node has before it knows its federation."""

    options: RunOptions
    keys: NodeKeys
    link: Libp2pTransport
    limits: Limits
    announcer: Announcer
    stop: trio.Event
    """Set when the owner wants the node to end."""

    @property
    def home(self) -> Home:
        return self.options.home


def run(options: RunOptions) -> None:
    """Run a node until SIGINT or SIGTERM. Raises `NodeError` with a sentence for its owner."""
    trio.run(_main, options)


async def _main(options: RunOptions) -> None:
    try:
        await _run_locked(options)
    except* NodeError as group:
        raise _first(group) from None
    except* ListenError as group:
        raise NodeError(f"--listen: {_first(group)}") from None
    except* DecodeError as group:
        raise NodeError(
            f"a database in {options.home.path} holds what this program can't read "
            f"({_first(group)}): it is damaged, or of a newer version. Keep a copy of the home, "
            "and join again from a new one"
        ) from None


def _first(group: BaseExceptionGroup[_Error]) -> _Error:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


async def _run_locked(options: RunOptions) -> None:
    home = options.home
    keys = prepare(home)
    with home.lock(), start_log(home.log, options.config.log_level):
        limits = Limits()
        link = Libp2pTransport(keys.identity.seed, options.config.listen, limits)
        stop = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch_signals, stop, nursery.cancel_scope)
            await nursery.start(link.run)
            parts = _Parts(options, keys, link, limits, Announcer(sys.stdout), stop)
            genesis = load_genesis(home) or resume(home) or await _first_genesis(parts)
            if genesis is not None:
                await _run_node(parts, genesis)
            nursery.cancel_scope.cancel()


async def _watch_signals(stop: trio.Event, scope: trio.CancelScope) -> None:
    """The first SIGINT or SIGTERM asks the node to end, the second one ends it."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            if stop.is_set():
                scope.cancel()
            stop.set()


async def _first_genesis(parts: _Parts) -> Genesis | None:
    """Join by the given addresses or what is near, else found; None if told to stop first."""
    options = parts.options
    if options.found is None and options.config.bootstrap:
        parts.announcer.looking(options.config.bootstrap)
        return await _ask_for_genesis(parts, _bootstrap_event(parts))
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
    parts: _Parts, told: AddBootstrap, expected: Digest | None = None
) -> Genesis | None:
    found_there: list[FederationFound] = []
    with LevelStore(parts.home.peers, create=True) as disk:
        async with trio.open_nursery() as nursery:
            store = StagedStore(disk)
            peers = _peer_service(parts, None, lambda _: None, store, nursery)

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


def _peer_service(
    parts: _Parts,
    genesis: Genesis | None,
    admitted: Callable[[NodeId], str | None],
    store: StagedStore,
    nursery: trio.Nursery,
) -> PeerService:
    config, keys = parts.options.config, parts.keys
    model = bytes.fromhex(MODEL_HASH)
    membership = Membership(
        profile=Profile(
            name=config.name,
            addresses=parts.link.addresses(),
            capabilities=tuple(
                Capability("inference", kind, model, DEFAULT_REWARD, _FREE_SLOTS)
                for kind in config.kinds
            ),
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
    )
    parts.limits.is_member = membership.is_member
    return PeerService(parts.link, membership, store, nursery)


def _bootstrap_event(parts: _Parts) -> AddBootstrap:
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


@asynccontextmanager
async def _stores(home: Home) -> AsyncIterator[dict[str, StagedStore]]:
    async with AsyncExitStack() as stack:
        opened = {}
        for name in ("chain", "votes", "peers", "tasks"):
            path = getattr(home, name)
            disk = stack.enter_context(LevelStore(path, create=name == "peers"))
            opened[name] = StagedStore(disk)
        yield opened


async def _run_node(parts: _Parts, genesis: Genesis) -> None:
    options, home, keys = parts.options, parts.home, parts.keys
    listener = open_listener(options.config.api)
    host, port = listener.getsockname()[:2]
    verifier = Ed25519Verifier()
    async with (
        _stores(home) as stores,
        EmbeddedBackend(idle_s=options.config.model_idle_s) as backend,
        make_router(
            options.config.backend, backend, now_s=_now_s, on_breaker=_log_breaker
        ) as models,
        trio.open_nursery() as nursery,
    ):
        check_chain(home, genesis, stores["chain"])
        engine = Engine(
            genesis=genesis,
            voting_key=keys.voting,
            verifier=verifier,
            chain=stores["chain"],
            votes=stores["votes"],
        )

        def admitted(node: NodeId) -> str | None:
            member = engine.ledger.member(node)
            return None if member is None else member.role.value

        peers = _peer_service(parts, genesis, admitted, stores["peers"], nursery)
        chain = ChainService(engine, stores["chain"], stores["votes"], peers.send_consensus)
        account = OwnAccount(keys.identity, chain)
        tasks = TaskService(
            chain=chain,
            peers=peers,
            account=account,
            identity=keys.identity,
            verifier=verifier,
            backend=backend,
            kinds=options.config.kinds,
            store=stores["tasks"],
            nursery=nursery,
        )
        service = NodeService(
            name=options.config.name,
            identity=keys.identity,
            chain=chain,
            peers=peers,
            tasks=tasks,
            account=account,
        )
        news = _News(parts.announcer, engine, peers, account, nursery)
        chain.listen(news.on_report)
        peers.connect(
            on_notice=news.on_notice,
            on_consensus=lambda peer, message: chain.post(Received(peer, message)),
            on_reachable=lambda peer, here: chain.post(
                PeerConnected(peer) if here else PeerDisconnected(peer)
            ),
        )
        if options.config.bootstrap:
            peers.post(_bootstrap_event(parts))
        app = make_app(
            service,
            token=home.read_token(),
            host=options.config.api.host,
            feed=chain,
            models=models,
        )
        nursery.start_soon(chain.run)
        nursery.start_soon(tasks.run)
        nursery.start_soon(peers.run)
        nursery.start_soon(serve, app, listener)
        if options.config.mdns:
            nursery.start_soon(Neighbours(peers, parts.link, options.config.name).run)
        nursery.start_soon(ClockWatch(peers.membership.table, parts.announcer).run)
        home.write_api(ApiFile(os.getpid(), host, port, parts.link.addresses()))
        parts.announcer.running(service.status(), parts.link.addresses(), f"http://{host}:{port}")
        try:
            await parts.stop.wait()
            with trio.move_on_after(_FAREWELL_S):
                peers.post(Leaving())
                await peers.caught_up()
            parts.announcer.stopped()
        finally:
            home.clear_api()
        nursery.cancel_scope.cancel()


def _now_s() -> int:
    return now_ms() // 1000


def _log_breaker(server: str, change: BreakerChanged) -> None:
    log.warning(
        "circuit breaker", server=server, before=change.before.value, after=change.after.value
    )


class _News:
    """What happens in one part and matters to another, or to whoever watches the terminal."""

    def __init__(
        self,
        announcer: Announcer,
        engine: Engine,
        peers: PeerService,
        account: OwnAccount,
        nursery: trio.Nursery,
    ) -> None:
        self._announcer, self._engine, self._peers = announcer, engine, peers
        self._account, self._nursery = account, nursery
        self._admitting: set[bytes] = set()

    def on_report(self, what: object) -> None:
        """Tell membership whom the ledger has admitted."""
        if not isinstance(what, BlockExecuted):
            return
        changed: set[NodeId] = set()
        for event in what.result.events:
            if isinstance(event, MemberChanged):
                changed.add(NodeId(event.node))
                if event.node == self._account.node_id:
                    self._announcer.own_role(event.role.value, self._engine.validators)
            elif isinstance(event, EpochChanged):
                self._announcer.epoch(event.now)
        if changed:
            self._peers.post(AdmissionChanged(tuple(sorted(changed))))

    def on_notice(self, notice: object) -> None:
        """Let in who shows an invite of ours; tell the rest to the terminal and the log."""
        self._announcer.peer_news(notice)
        match notice:
            case InvitePresented() if notice.node not in self._admitting:
                self._admitting.add(notice.node)
                self._nursery.start_soon(self._admit, notice)
            case WrongFederation() | BootstrapRefused():
                log.error("joining failed", notice=str(notice))
            case ApplicantArrived() | StandingChanged() | StatusChanged() | DialInVain():
                log.info("peer news", notice=str(notice))
            case _:
                pass

    async def _admit(self, notice: InvitePresented) -> None:
        try:
            transaction = await self._account.transact(AdmitObserver(notice.node, notice.invite_id))
            await self._account.settle(transaction.id)
        except NotTakenError as error:
            log.warning("an invited node was not let in", node=notice.node.hex(), reason=str(error))
        finally:
            self._admitting.discard(notice.node)
