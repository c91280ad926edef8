"""Signed transfers from clients to finality, through real daemons with their disks and their network."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import httpx2
import trio

from consensus.genesis import Genesis
from consensus.messages import Transactions
from consensus.quorum import Validator, ValidatorSet
from gossip.codec import encode
from node.bench.limits import cpu_seconds, fdatasync_p50_ms, verifications_per_cpu_second
from node.bench.load import Load, LoadError
from node.bench.traffic import messages_sent
from node.bench.wallets import Wallets
from node.demo.cluster import Cluster, Member
from node.demo.together import begin
from node.storage.keyfile import Purpose, load_key
from node.views.records import ValidatorsView

_RATE_TO_SIGN = 4_000
_RATE_OF_ONE = 300
_LEAST_RATE = 200
_WAIT_S = 30.0
_WORTH_TELLING = 0.1


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
    payload_bytes: int
    bytes_per_transaction: int
    operations_per_second: float
    cpu_ms_per_block_and_node: float
    messages_per_block: dict[str, float]
    """Sent by all nodes together, by kind; those below a tenth are left out."""
    signed: bool = True
    durable: bool = True


@dataclass(frozen=True, slots=True)
class Work:
    """What is asked of a federation: payments under one signature, and bytes beside them that nobody reads."""

    clients: int
    seconds: float
    operations: int = 1
    payload_bytes: int = 128


def measure(nodes: int, work: Work, say: Callable[[str], None]) -> list[ConsensusFigures]:
    """One federation, measured with one client and with all of them. Raises `NodeError`."""
    folder = Path(tempfile.mkdtemp(prefix="bizra-bench-"))
    cluster = Cluster(folder)
    try:
        walls = Walls(verifications_per_cpu_second() / nodes, fdatasync_p50_ms(folder))
        say(f"starting {nodes} daemons")
        founder = begin(cluster, nodes, say)
        genesis = Genesis.load(founder.home.genesis.read_bytes())
        figures = []
        for count in dict.fromkeys((1, work.clients)):
            say(f"{count} clients for {work.seconds:g} s")
            figures.append(one_load(cluster, genesis, replace(work, clients=count), walls))
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return figures


def one_load(cluster: Cluster, genesis: Genesis, work: Work, walls: Walls) -> ConsensusFigures:
    """One run with fresh accounts."""
    founder = cluster.members[0]
    each = max(1, round(_rate_to_sign(work) * work.seconds / work.clients))
    accounts = Wallets(genesis.federation_id, work.clients, bytes.fromhex(founder.node_id))
    fund(founder, accounts, each * work.operations)
    wallets = accounts.sign(each, work.payload_bytes, work.operations)
    load = Load(
        [member.client.url for member in cluster.members],
        wallets,
        members_of(founder.client.validators()),
        genesis.federation_id,
    )
    height = founder.client.status().height
    sent_before = messages_sent(cluster.members)
    before = sum(cpu_seconds(member.process.pid) for member in cluster.members)
    trio.run(load.run, work.seconds, height + 1)
    spent = sum(cpu_seconds(member.process.pid) for member in cluster.members) - before
    sent = messages_sent(cluster.members) - sent_before
    measured = load.measured
    count = len(measured.latencies_s)
    if not count:
        raise LoadError("no transaction became final")
    return ConsensusFigures(
        nodes=len(cluster.members),
        clients=work.clients,
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
        payload_bytes=work.payload_bytes,
        bytes_per_transaction=len(wallets[0][0].raw),
        operations_per_second=round(work.operations * count / measured.seconds, 1),
        cpu_ms_per_block_and_node=round(1000 * spent / measured.blocks / len(cluster.members), 2),
        messages_per_block=_a_block(sent, measured.blocks),
    )


def _a_block(sent: Counter[str], blocks: int) -> dict[str, float]:
    means = {kind: round(count / blocks, 1) for kind, count in sorted(sent.items())}
    return {kind: mean for kind, mean in means.items() if mean >= _WORTH_TELLING}


def _rate_to_sign(work: Work) -> int:
    """More a second than will be asked for; signing takes time too."""
    if work.clients == 1:
        return _RATE_OF_ONE
    return max(_LEAST_RATE, _RATE_TO_SIGN // work.operations)


def fund(founder: Member, accounts: Wallets, each: int) -> None:
    """Give every client's account what it will pay out, from the founder's own."""
    rich = load_key(founder.home.identity_key, Purpose.IDENTITY)
    nonce = founder.client.account(founder.node_id).nonce
    funding = accounts.funding(rich, nonce, each)
    url = f"{founder.client.url}/api/v2/transactions/batch"
    answer = httpx2.post(
        url, content=encode(Transactions(tuple(one.raw for one in funding))), trust_env=False
    )
    if answer.status_code != httpx2.codes.ACCEPTED or answer.json()["refused"]:
        raise LoadError(f"the clients' accounts could not be funded: {answer.text[:300]}")
    view = founder.client.await_transaction(funding[-1].id.hex(), _WAIT_S)
    if view.status != "finalized":
        raise LoadError(f"the clients' accounts could not be funded: {view.reason}")


def members_of(view: ValidatorsView) -> ValidatorSet:
    """The set that the node says votes now."""
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
