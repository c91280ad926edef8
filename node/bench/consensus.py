"""Signed transfers from clients to finality, through real daemons with their disks and their network."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import trio

from consensus.genesis import Genesis
from consensus.quorum import Validator, ValidatorSet
from consensus.transactions import Transaction, TransactionBody, Transfer, sign_transaction
from gossip.identity import Ed25519Signer
from node.bench.limits import cpu_seconds, fdatasync_p50_ms, verifications_per_cpu_second
from node.bench.load import Load, LoadError
from node.demo.cluster import Cluster, Member
from node.demo.growth import grow
from node.gateway.views import ValidatorsView

_RATE_TO_SIGN = 4_000
_FUNDS = 100_000
_WAIT_S = 30.0
_NEVER = 2**62


@dataclass(frozen=True, slots=True)
class Walls:
    """What this machine can't do better, measured just before."""

    crypto_limit: float
    fdatasync_p50_ms: float


@dataclass(frozen=True, slots=True)
class ConsensusFigures:
    """One run. CPU is that of the daemons alone; the limits were measured just before."""

    nodes: int
    clients: int
    transactions: int
    tps: float
    p50_ms: float
    p99_ms: float
    cpu_seconds: float
    tx_per_cpu_second: float
    crypto_limit_tx_per_cpu_second: float
    fdatasync_p50_ms: float
    blocks: int
    batch_mean: float
    bytes_per_transaction: int
    signed: bool = True
    durable: bool = True


def measure(
    nodes: int, clients: int, seconds: float, say: Callable[[str], None]
) -> list[ConsensusFigures]:
    """One federation, measured with one client and with `clients`. Raises `NodeError`."""
    folder = Path(tempfile.mkdtemp(prefix="bizra-bench-"))
    cluster = Cluster(folder)
    try:
        walls = Walls(verifications_per_cpu_second() / nodes, fdatasync_p50_ms(folder))
        say(f"starting {nodes} daemons")
        founder = grow(cluster, nodes, say)
        genesis = Genesis.load(founder.home.genesis.read_bytes())
        figures = []
        for count in dict.fromkeys((1, clients)):
            say(f"{count} clients for {seconds:g} s")
            figures.append(one_load(cluster, genesis, count, seconds, walls))
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return figures


def one_load(
    cluster: Cluster,
    genesis: Genesis,
    clients: int,
    seconds: float,
    walls: Walls,
    *,
    series: int = 0,
) -> ConsensusFigures:
    """One run with fresh accounts; of two runs on one cluster with as many clients each has its own `series`."""
    founder = cluster.members[0]
    signers = [
        Ed25519Signer((clients * 1_000_000 + series * 10_000 + index).to_bytes(32, "big"))
        for index in range(clients)
    ]
    fund(founder, signers)
    wallets = sign(genesis, signers, round(_RATE_TO_SIGN * seconds), founder)
    load = Load(
        [member.client.url for member in cluster.members],
        wallets,
        _members(founder.client.validators()),
        genesis.federation_id,
    )
    height = founder.client.status().height
    before = sum(cpu_seconds(member.process.pid) for member in cluster.members)
    trio.run(load.run, seconds, height + 1)
    spent = sum(cpu_seconds(member.process.pid) for member in cluster.members) - before
    measured = load.measured
    count = len(measured.latencies_s)
    if not count:
        raise LoadError("no transaction became final")
    return ConsensusFigures(
        nodes=len(cluster.members),
        clients=clients,
        transactions=count,
        tps=round(count / measured.seconds, 1),
        p50_ms=round(measured.percentile_ms(0.5), 2),
        p99_ms=round(measured.percentile_ms(0.99), 2),
        cpu_seconds=round(spent, 2),
        tx_per_cpu_second=round(count / spent, 1),
        crypto_limit_tx_per_cpu_second=round(walls.crypto_limit, 1),
        fdatasync_p50_ms=round(walls.fdatasync_p50_ms, 3),
        blocks=measured.blocks,
        batch_mean=round(count / measured.blocks, 1),
        bytes_per_transaction=len(wallets[0][0].raw),
    )


def fund(founder: Member, signers: list[Ed25519Signer]) -> None:
    """Give every client's account something to pay with, from the founder's own."""
    sent = [founder.client.transfer(signer.public.hex(), _FUNDS) for signer in signers]
    view = founder.client.await_transaction(sent[-1].tx_hash, _WAIT_S)
    if view.status != "finalized":
        raise LoadError(f"the clients' accounts could not be funded: {view.reason}")


def sign(
    genesis: Genesis, signers: list[Ed25519Signer], total: int, payee: Member
) -> list[list[Transaction]]:
    """Enough transactions for the whole run, each signed by its own client."""
    each = max(1, total // len(signers))
    to = bytes.fromhex(payee.node_id)
    return [
        [
            sign_transaction(
                signer,
                TransactionBody(
                    genesis.federation_id, signer.public, nonce, _NEVER, (Transfer(to, 1),)
                ),
            )
            for nonce in range(each)
        ]
        for signer in signers
    ]


def _members(view: ValidatorsView) -> ValidatorSet:
    return ValidatorSet(
        view.epoch,
        tuple(
            Validator(bytes.fromhex(seat.node_id), bytes.fromhex(seat.voting_key), seat.power)
            for seat in view.validators
        ),
    )


def as_json(figures: list[ConsensusFigures]) -> list[dict[str, object]]:
    """The figures with the names that the command prints."""
    return [asdict(one) for one in figures]
