"""The daemon: starts, runs one node until it is told to stop, and says what went wrong.

A home without a federation first gets one (`looking.py`); then the whole node runs (`assembly.py`): transport,
membership, consensus, tasks, HTTP. Everything runs in one Trio loop but the model, which is a child process, and
writing to a slow disk, which is done in a thread.
"""

from __future__ import annotations

import signal
import sys
from dataclasses import replace
from typing import Final, TypeVar

import trio

from gossip.codec import DecodeError
from gossip.transfer.service import ContentService
from gossip.transfer.store import ContentError, ContentStore
from gossip.transport import ListenError
from gossip.transport.libp2p import Libp2pTransport
from node import sweeping
from node.announcer import Announcer
from node.assembly import run_node
from node.chain.snapshots import begin_with
from node.config import RunOptions
from node.errors import NodeError
from node.founding import NodeKeys, load_genesis, prepare, resume
from node.heap import share_heap
from node.logs import start_log
from node.looking import first_genesis
from node.parts import Parts
from node.peers.service import Limits
from node.storage.voting_key import held

_Error = TypeVar("_Error", bound=Exception)
_MB: Final = 1_000_000

_LOOP_WAITS_S = 0.0005


def run(options: RunOptions) -> None:
    """Run a node until SIGINT or SIGTERM. Raises `NodeError` with a sentence for its owner.

    Python's default looks for cycles after each 700 new objects; a block has more, and hardly any cycles
    (`sweeping.py`). And it lets the loop wait up to 5 ms behind a thread that works, each time that it has waited for
    the network or the disk.
    """
    share_heap()
    sys.setswitchinterval(_LOOP_WAITS_S)
    sweeping.begin()
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
    with home.lock(), held(keys.voting.public), start_log(home.log, options.config.log_level):
        stop = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sweeping.Sweeper().run)
            nursery.start_soon(_watch_signals, stop, nursery.cancel_scope)
            again: RunOptions | None = options
            while again is not None:
                again = await _run_once(again, keys, stop)
            nursery.cancel_scope.cancel()


async def _run_once(options: RunOptions, keys: NodeKeys, stop: trio.Event) -> RunOptions | None:
    """Run until told to stop; or until a snapshot was taken, and then say how to go on after it."""
    home, limits = options.home, Limits()
    link = Libp2pTransport(keys.identity.seed, options.config.listen, limits)
    async with trio.open_nursery() as nursery:
        await nursery.start(link.run)
        contents = _contents(options, link, limits)
        parts = Parts(options, keys, link, limits, contents, Announcer(sys.stdout), stop)
        genesis = load_genesis(home) or resume(home) or await first_genesis(parts)
        again = None if genesis is None else await run_node(parts, genesis)
        listen = link.bound()
        nursery.cancel_scope.cancel()
    if again is None:
        return None
    await trio.to_thread.run_sync(begin_with, home, again.taken)
    parts.announcer.snapshot_taken(again.taken.height)
    api = replace(options.config.api, port=again.api_port)
    return replace(options, config=replace(options.config, listen=listen, api=api))


def _contents(options: RunOptions, link: Libp2pTransport, limits: Limits) -> ContentService:
    """What members fetch from each other. Raises `NodeError` when the disk fails."""
    config = options.config
    try:
        store = ContentStore(options.home.content, config.contents_mb * _MB)
    except ContentError as error:
        raise NodeError(str(error)) from None
    return ContentService(link, store, limits.admits, config.send_mb_per_s * _MB or None)


async def _watch_signals(stop: trio.Event, scope: trio.CancelScope) -> None:
    """The first SIGINT or SIGTERM asks the node to end, the second one ends it."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            if stop.is_set():
                scope.cancel()
            stop.set()
