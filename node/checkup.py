"""What can be wrong with a home and the machine around it, looked at piece by piece.

Each look gives a `Finding`: what was looked at, how it stands, and what to do. Nothing is changed.
"""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path

from consensus.chain import ChainReader
from gossip.codec import DecodeError
from gossip.transport.address import Address
from memory.model_files import MODEL_NAME, ModelDamaged, find_model_files
from node.client import Client, NotReachableError, RefusedError
from node.config import Config, load_config
from node.errors import NodeError
from node.founding import load_genesis, load_keys
from node.gateway.app import open_listener
from node.peers.clocks import DRIFT_MS, REMEDY, disagreement
from node.storage.home import Home
from node.storage.keyfile import Purpose, load_key
from node.storage.store import LevelStore
from node.views.records import PeerView

_EARLIEST_MS = 1_750_000_000_000
"""June 2025: a clock before this program was written is wrong."""
_LOW_BYTES = 1024 * 1024 * 1024


class Grade(Enum):
    """How a thing stands."""

    FINE = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `detail` says how it is, and what to do if it isn't fine."""

    subject: str
    grade: Grade
    detail: str


def check_up(home: Home) -> Iterator[Finding]:
    """Look at everything, the home first. A home that isn't there ends it."""
    if not home.path.is_dir():
        yield Finding(
            "home", Grade.FAILED, f"{home.path} is not there; make it with `bizra-node init`"
        )
        return
    yield _home(home)
    identity = _looked("identity key", lambda: _key(home.identity_key, Purpose.IDENTITY))
    voting = _looked("voting key", lambda: _key(home.voting_key, Purpose.VOTING))
    yield from (identity, voting)
    if identity.grade is voting.grade is Grade.FINE:
        yield _looked("keys", lambda: _keys(home))
    yield _looked("token", lambda: (home.read_token(), f"{home.token} is the owner's alone")[1])
    yield _looked("settings", lambda: _settings(home))
    yield _looked("federation", lambda: _federation(home))
    yield _disk(home)
    try:
        with Client.of_home(home) as client:
            yield from _running(client)
    except NotReachableError as error:
        yield Finding("daemon", Grade.WARNING, str(error))
        yield from _stopped(home)
    yield _looked("model", _model)


def _looked(subject: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(subject, Grade.FINE, look())
    except (NodeError, ModelDamaged) as error:
        return Finding(subject, Grade.FAILED, str(error))


def _home(home: Home) -> Finding:
    status = home.path.stat()
    if status.st_uid != os.geteuid():
        return Finding(
            "home",
            Grade.FAILED,
            f"{home.path} belongs to another user (uid {status.st_uid}); run as that user",
        )
    if stat.S_IMODE(status.st_mode) & 0o022:
        return Finding(
            "home",
            Grade.WARNING,
            f"others may write into {home.path}; type: chmod 700 {home.path}",
        )
    return Finding("home", Grade.FINE, str(home.path))


def _key(path: Path, purpose: Purpose) -> str:
    return f"{path}, public {load_key(path, purpose).public.hex()}"


def _keys(home: Home) -> str:
    load_keys(home)
    return f"both are those of {home.public_keys}"


def _settings(home: Home) -> str:
    load_config(home.config)
    return str(home.config) if home.config.exists() else "no config.toml; the defaults hold"


def _federation(home: Home) -> str:
    genesis = load_genesis(home)
    if genesis is None:
        return "none yet; `bizra-node run` founds one or joins one"
    return f"{genesis.name}, {genesis.federation_id.hex()}"


def _disk(home: Home) -> Finding:
    status = os.statvfs(home.path)
    free = status.f_bavail * status.f_frsize
    shown = f"{free // 2**20:,} MiB are free"
    if free < _LOW_BYTES:
        return Finding("disk", Grade.WARNING, f"only {shown}; a full disk stops the node")
    return Finding("disk", Grade.FINE, shown)


def _running(client: Client) -> Iterator[Finding]:
    try:
        view = client.status()
        waits_for = client.not_ready()
        newest = client.blocks(1).blocks
        peers = client.peers().peers
    except RefusedError as error:
        yield Finding("daemon", Grade.FAILED, str(error))
        return
    yield Finding("daemon", Grade.FINE, f"runs as {view.role} at height {view.height}")
    if waits_for is not None:
        yield Finding("readiness", Grade.WARNING, waits_for)
    yield _clock(newest[0].timestamp_ms if newest else 0)
    yield from _clocks_of(peers)


def _clocks_of(peers: Sequence[PeerView]) -> Iterator[Finding]:
    """How the clocks of others stand to this machine's."""
    alive = [one for one in peers if one.status == "alive"]
    offsets = [one.clock_offset_ms for one in alive]
    for peer in alive:
        if peer.clock_offset_ms is not None and abs(peer.clock_offset_ms) > DRIFT_MS:
            sentence = disagreement(peer.name, peer.clock_offset_ms, offsets)
            yield Finding("clocks of peers", Grade.FAILED, sentence)


def _stopped(home: Home) -> Iterator[Finding]:
    """What can only be looked at while no daemon has it open."""
    for path in (home.votes, home.pool, home.peers, home.tasks):
        if path.exists():
            yield _looked(f"database {path.name}", partial(_database, path))
    last_ms = 0
    if home.chain.exists():
        yield _looked("database chain", lambda: _database(home.chain))
        last_ms = _last_block_ms(home)
    yield _clock(last_ms)
    try:
        config = load_config(home.config)
    except NodeError:
        return
    yield from _ports(config)


def _database(path: Path) -> str:
    """Read all of it, checksums included."""
    with LevelStore(path) as store:
        entries = len(store.scan(b""))
    return f"{path} is sound, {entries:,} entries"


def _last_block_ms(home: Home) -> int:
    try:
        with LevelStore(home.chain) as store:
            chain = ChainReader(store)
            block = chain.block(chain.height())
    except (NodeError, DecodeError):
        return 0
    return 0 if block is None else block.header.timestamp_ms


def _clock(last_block_ms: int) -> Finding:
    now_ms = time.time_ns() // 1_000_000
    if now_ms < _EARLIEST_MS:
        return Finding("clock", Grade.FAILED, f"this machine's clock is years behind; {REMEDY}")
    if last_block_ms > now_ms + DRIFT_MS:
        ahead_s = (last_block_ms - now_ms) // 1000
        return Finding(
            "clock",
            Grade.FAILED,
            f"the last block is {ahead_s} s ahead of this machine's clock; {REMEDY}",
        )
    return Finding("clock", Grade.FINE, "not behind the last block")


def _ports(config: Config) -> Iterator[Finding]:
    yield _looked("HTTP address", lambda: _free_api(config))
    for text in config.listen:
        yield _looked("peer address", partial(_free, Address.parse(text)))


def _free_api(config: Config) -> str:
    open_listener(config.api).close()
    return f"{config.api} is free"


def _free(address: Address) -> str:
    family = socket.AF_INET6 if address.kind == "ip6" else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((address.host, address.port))
        except OSError as error:
            raise NodeError(
                f"{address} can't be listened on ({error.strerror}); stop what uses it, "
                "or choose another with `listen` in config.toml"
            ) from None
    return f"{address} is free"


def _model() -> str:
    find_model_files().verify()
    return f"{MODEL_NAME} is the pinned one"
