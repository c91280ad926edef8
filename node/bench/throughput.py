"""How much passes between two nodes on one machine: small messages one way, and contents between daemons.

`python -m node.bench.throughput` is the receiving process of the first: it prints its address, counts the frames that
come, and tells the sender on the same stream when it has them all.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import trio

from gossip.transport import MEMBER_LIMITS, Frame
from gossip.transport.libp2p import Libp2pTransport
from node.bench.limits import cpu_seconds
from node.demo.cluster import Cluster
from node.demo.growth import grow
from node.errors import NodeError

_SENDER, _RECEIVER = bytes([1]) * 32, bytes([2]) * 32
_LOOPBACK: Final = ("/ip4/127.0.0.1/tcp/0",)
_CHANNEL: Final = 9
_MB: Final = 1_000_000
_WAIT_S: Final = 60.0


class ThroughputError(NodeError):
    """A measurement did not come to its end."""


@dataclass(frozen=True, slots=True)
class Messages:
    """Small frames one way between two processes; CPU is that of both."""

    size_bytes: int
    messages: int
    messages_per_s: float
    cpu_us_per_message: float


@dataclass(frozen=True, slots=True)
class Transfer:
    """One content from a daemon's store into another's, hashed and written; CPU is that of both daemons."""

    what: str
    size_bytes: int
    wire_bytes: int
    mb_per_s: float
    cpu_ms_per_mb: float


@dataclass(frozen=True, slots=True)
class Throughput:
    """All of it."""

    messages: Messages
    transfers: tuple[Transfer, ...]


def measure(messages: int, size_mb: int, say: Callable[[str], None]) -> Throughput:
    """Raises `NodeError`."""
    say(f"{messages} messages of 200 bytes")
    small = _messages(messages, 200)
    folder = Path(tempfile.mkdtemp(prefix="bizra-bench-"))
    cluster = Cluster(folder)
    try:
        say("starting 2 daemons")
        grow(cluster, 2, say)
        transfers = tuple(_transfers(cluster, size_mb, say))
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return Throughput(small, transfers)


def as_json(figures: Throughput) -> dict[str, object]:
    """The figures with the names that the command prints."""
    return asdict(figures)


def _transfers(cluster: Cluster, size_mb: int, say: Callable[[str], None]) -> Iterator[Transfer]:
    giver, taker = cluster.members
    for what, pieces in (("random", _random(size_mb)), ("text", _text(size_mb))):
        added = giver.client.add_content(pieces)
        say(f"{size_mb} MB of {what} bytes")
        pids = (giver.process.pid, taker.process.pid)
        before, began = sum(map(cpu_seconds, pids)), time.monotonic()
        *_, last = taker.client.fetch_content(added.content_id, None, keep=False)
        taken_s = time.monotonic() - began
        spent_s = sum(map(cpu_seconds, pids)) - before
        if not last.done:
            raise ThroughputError(f"the content did not arrive: {last.reason}")
        yield Transfer(
            what=what,
            size_bytes=added.size_bytes,
            wire_bytes=last.wire_bytes,
            mb_per_s=round(added.size_bytes / taken_s / _MB, 1),
            cpu_ms_per_mb=round(1000 * spent_s / size_mb, 2),
        )
        for member in (giver, taker):
            member.client.remove_content(added.content_id)


def _random(size_mb: int) -> Iterator[bytes]:
    source = random.Random(1)  # noqa: S311 - bytes that don't compress
    return (source.randbytes(_MB) for _ in range(size_mb))


def _text(size_mb: int) -> Iterator[bytes]:
    """No chunk is like another, but each is easy to compress."""
    for part in range(size_mb):
        line = f"entry {part} of a log that says much the same all day, as logs do\n".encode()
        yield (line * (_MB // len(line) + 1))[:_MB]


def _messages(messages: int, size_bytes: int) -> Messages:
    """Start the other process, send, and wait for its word that all has come."""
    command = [sys.executable, "-m", "node.bench.throughput", str(messages)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as receiver:
        try:
            assert receiver.stdout is not None
            address = receiver.stdout.readline().strip()
            taken_s, spent_s = trio.run(_send, address, receiver.pid, messages, bytes(size_bytes))
        except trio.TooSlowError:
            raise ThroughputError(f"not all messages came within {_WAIT_S:g} s") from None
        finally:
            receiver.kill()
    return Messages(
        size_bytes=size_bytes,
        messages=messages,
        messages_per_s=round(messages / taken_s),
        cpu_us_per_message=round(spent_s / messages * 1_000_000, 1),
    )


async def _send(address: str, receiver: int, messages: int, payload: bytes) -> tuple[float, float]:
    """The time that it took, and the CPU time of both processes, in seconds."""
    transport = Libp2pTransport(_SENDER, _LOOPBACK, lambda _: MEMBER_LIMITS)
    async with trio.open_nursery() as nursery:
        await nursery.start(transport.run)
        peer = await transport.dial(address)
        before = time.process_time() + cpu_seconds(receiver)
        began = time.monotonic()
        sent = 0
        with trio.fail_after(_WAIT_S):
            while sent < messages:
                while sent < messages and transport.send(peer, _CHANNEL, payload):
                    sent += 1
                await trio.lowlevel.checkpoint()
            await _told(transport)
        taken_s = time.monotonic() - began
        spent_s = time.process_time() + cpu_seconds(receiver) - before
        nursery.cancel_scope.cancel()
    return taken_s, spent_s


async def _told(transport: Libp2pTransport) -> None:
    async for event in transport.events:
        if isinstance(event, Frame):
            return


async def _receive_messages(messages: int) -> None:
    transport = Libp2pTransport(_RECEIVER, _LOOPBACK, lambda _: MEMBER_LIMITS)
    async with trio.open_nursery() as nursery:
        await nursery.start(transport.run)
        sys.stdout.write(f"{transport.addresses()[0]}\n")
        sys.stdout.flush()
        left = messages
        async for event in transport.events:
            if isinstance(event, Frame):
                left -= 1
                if not left:
                    transport.send(event.peer, _CHANNEL, b"all")


if __name__ == "__main__":
    trio.run(_receive_messages, int(sys.argv[1]))
