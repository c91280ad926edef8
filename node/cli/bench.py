"""`bizra-node bench`."""

from __future__ import annotations

import click

from node.bench.consensus import as_json, measure
from node.cli.session import Session, with_session


@click.group()
def bench() -> None:
    """Measure what the node costs, on real daemons on this machine."""


@bench.command()
@click.option("--nodes", type=click.IntRange(1, 10), default=4, show_default=True)
@click.option("--clients", type=click.IntRange(1, 2000), default=64, show_default=True)
@click.option("--seconds", type=click.FloatRange(1, 600), default=10, show_default=True)
@with_session
def consensus(session: Session, *, nodes: int, clients: int, seconds: float) -> None:
    """Signed transfers from clients to finality: daemons, libp2p, LevelDB, votes synced to disk."""
    figures = measure(nodes, clients, seconds, lambda text: click.echo(text, err=True))
    rows = [
        f"{one.clients:>7}  {one.tps:>8}  {one.p50_ms:>7}  {one.p99_ms:>7}  "
        f"{one.tx_per_cpu_second:>9}  {one.batch_mean:>6}"
        for one in figures
    ]
    last = figures[-1]
    walls = (
        f"limits of this run: {last.crypto_limit_tx_per_cpu_second} tx per CPU-second if {nodes} "
        f"nodes did nothing but check signatures; fdatasync {last.fdatasync_p50_ms} ms"
    )
    text = "\n".join(("clients      tx/s   p50 ms   p99 ms  tx/CPU-s   batch", *rows, "", walls))
    session.tell({"runs": as_json(figures)}, text)
