"""A member that floods: what it costs the validators, in CPU for each transaction that they decide.

A process with the member's identity sends each validator as much as its connection takes: forged and stale votes,
questions. First beside no load, where the validators' CPU shows what it costs them; then beside the same load as
without it, by turns. Its own CPU is of lowest priority, since on one machine it would be taken from theirs.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import fmean
from typing import Final

import trio

from consensus.certificates import Ballot, Endorsement, Phase
from consensus.genesis import Genesis
from consensus.messages import ConsensusMessage, FetchBlocks, Status, Vote
from gossip.codec import Wire, decode, encode
from gossip.identity import NodeId
from gossip.transport import MEMBER_LIMITS, Frame
from gossip.transport.libp2p import Libp2pTransport
from node.bench.consensus import ConsensusFigures, Walls, Work, one_load
from node.bench.limits import cpu_seconds, fdatasync_p50_ms, verifications_per_cpu_second
from node.bench.load import LoadError
from node.client import Client
from node.demo.cluster import Cluster, Member, until
from node.demo.growth import WAIT_S, grow
from node.peers.service import CONSENSUS_CHANNEL
from node.storage.home import Home
from node.storage.keyfile import Purpose, load_key

_LOOPBACK: Final = ("/ip4/127.0.0.1/tcp/0",)
_IGNORANT: Final = Status(
    0, 0, entered=True, height=0, has_proposal=False, is_prepared=False, certified=0
)
_PAUSE_S: Final = 0.005
_IDLE_S: Final = 5.0
_TURNS: Final = 2
_KINDS: Final = 8
"""The last four of them are all forged votes at the height at hand: those cost most."""


@dataclass(frozen=True, slots=True)
class FloodFigures:
    """`ratio` is transactions per CPU-second of the validators, flooded over not, each the mean of its turns."""

    nodes: int
    clients: int
    tx_per_cpu_second: float
    tx_per_cpu_second_flooded: float
    ratio: float
    tps: float
    tps_flooded: float
    cpu_percent: float
    """What the flood costs a validator that has nothing else to do, in percent of a core."""
    sent: int
    """Messages that the flooder could get rid of."""
    refused: dict[str, int]
    """By the founder, of the flooder's messages, by reason."""


def measure(nodes: int, work: Work, say: Callable[[str], None]) -> FloodFigures:
    """Raises `NodeError`."""
    folder = Path(tempfile.mkdtemp(prefix="bizra-bench-"))
    cluster = Cluster(folder)
    try:
        walls = Walls(verifications_per_cpu_second() / nodes, fdatasync_p50_ms(folder))
        founder = grow(cluster, nodes, say)
        genesis = Genesis.load(founder.home.genesis.read_bytes())
        member = cluster.start("mallory", (), founder.address)
        knows = partial(_knows, founder.client, member.node_id)
        until(knows, WAIT_S, "mallory was not seen to apply")
        founder.client.admit(member.node_id, validator=False)
        until(partial(_is_observer, member.client), WAIT_S, "mallory was not let in")
        cluster.kill(member)
        cluster.members.remove(member)
        sent: list[int] = []
        flood = partial(_flooding, cluster, member, sent)
        quiet = replace(work, seconds=work.seconds / _TURNS)
        say(f"{_IDLE_S:g} s without load and flood, as long with the flood alone")
        idle_ms = _cpu_ms_per_s(cluster)
        with flood():
            flooded_ms = _cpu_ms_per_s(cluster)
        calm: list[ConsensusFigures] = []
        flooded: list[ConsensusFigures] = []
        for turn in range(_TURNS):
            say(f"turn {turn + 1}: the load without the flood, then with it")
            calm.append(one_load(cluster, genesis, quiet, walls))
            with flood():
                flooded.append(one_load(cluster, genesis, quiet, walls))
        view = founder.client.status()
        refused = {one.reason: one.count for one in view.refused if one.node_id == member.node_id}
        if not refused:
            raise LoadError("the flood did not reach the founder")
        per_cpu_s, per_cpu_s_flooded = map(_per_cpu_second, (calm, flooded))
        return FloodFigures(
            nodes=nodes,
            clients=work.clients,
            tx_per_cpu_second=round(per_cpu_s, 1),
            tx_per_cpu_second_flooded=round(per_cpu_s_flooded, 1),
            ratio=round(per_cpu_s_flooded / per_cpu_s, 3),
            tps=round(fmean(one.tps for one in calm), 1),
            tps_flooded=round(fmean(one.tps for one in flooded), 1),
            cpu_percent=round((flooded_ms - idle_ms) / 10, 2),
            sent=sum(sent),
            refused=refused,
        )
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _per_cpu_second(turns: list[ConsensusFigures]) -> float:
    return sum(one.transactions for one in turns) / sum(one.cpu_seconds for one in turns)


def _cpu_ms_per_s(cluster: Cluster) -> float:
    """What a validator spends now, the mean of all."""
    pids = [one.process.pid for one in cluster.members]
    before, began_s = sum(map(cpu_seconds, pids)), time.monotonic()
    time.sleep(_IDLE_S)
    spent_s = sum(map(cpu_seconds, pids)) - before
    return 1000 * spent_s / (time.monotonic() - began_s) / len(pids)


@contextmanager
def _flooding(cluster: Cluster, member: Member, sent: list[int]) -> Iterator[None]:
    """The flood lasts as long as the block; then `sent` has how many messages it could get rid of."""
    voter = cluster.members[0].client.validators().validators[0].voting_key
    command = [sys.executable, "-m", "node.bench.flood", str(member.home.path), voter]
    with subprocess.Popen(
        [*command, *(one.address for one in cluster.members)], stdout=subprocess.PIPE
    ) as process:
        try:
            yield
        finally:
            process.terminate()
            sent.append(int(process.communicate()[0] or 0))


def _knows(client: Client, node_id: str) -> bool:
    return any(one.node_id == node_id and one.name for one in client.peers(applicants=True).peers)


def _is_observer(client: Client) -> bool:
    return client.status().role == "observer"


class _Flooder:
    """Sends until SIGTERM; what validators say of themselves tells it where a forged vote is looked at."""

    def __init__(self, home: Home, voter: bytes) -> None:
        identity = load_key(home.identity_key, Purpose.IDENTITY)
        self._link = Libp2pTransport(identity.seed, _LOOPBACK, lambda _: MEMBER_LIMITS)
        self._voter = voter
        self._place = (0, 0, 1)
        self._number = 0
        self.sent = 0

    async def run(self, addresses: Sequence[str]) -> None:
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._link.run)
                nursery.start_soon(self._listen)
                for address in addresses:
                    nursery.start_soon(self._send, await self._link.dial(address))
                async for _ in signals:
                    nursery.cancel_scope.cancel()

    async def _listen(self) -> None:
        async for event in self._link.events:
            if isinstance(event, Frame) and event.channel == CONSENSUS_CHANNEL:
                message: object = decode(event.payload, ConsensusMessage)  # type: ignore[arg-type]
                if isinstance(message, Status):
                    self._place = message.epoch, message.view, message.height

    async def _send(self, peer: NodeId) -> None:
        for kind in cycle(range(_KINDS)):
            taken = self._link.send(peer, CONSENSUS_CHANNEL, encode(self._message(kind)))
            self.sent += taken
            await trio.sleep(0 if taken else _PAUSE_S)

    def _message(self, kind: int) -> Wire:
        epoch, view, height = self._place
        self._number += 1
        digest = self._number.to_bytes(32, "big")
        forged = Endorsement(self._voter, bytes(64))
        match kind:
            case 0:
                return _IGNORANT
            case 1:
                return FetchBlocks(1)
            case 2:
                return Vote(Ballot(Phase.PREPARE, epoch, view, max(1, height - 1), digest), forged)
            case 3:
                return Vote(Ballot(Phase.PREPARE, epoch, view, height + 50, digest), forged)
            case _:
                return Vote(Ballot(Phase.COMMIT, epoch, view, height + 1, digest), forged)


if __name__ == "__main__":
    os.nice(19)
    flooder = _Flooder(Home(Path(sys.argv[1])), bytes.fromhex(sys.argv[2]))
    trio.run(flooder.run, sys.argv[3:])
    sys.stdout.write(f"{flooder.sent}\n")
