"""`bizra-sim large-sets`: what a block costs with many validators, with and without collectors."""

from __future__ import annotations

import json
import sys

import click
import msgspec

from consensus.quorum import MAX_VALIDATORS
from simulations.large_sets import Cost, measure
from simulations.recording import commit

_MIB = 2**20
_WAYS = {"both": (False, True), "all": (False,), "collectors": (True,)}
_HEAD = ("nodes", "votes go", "blocks", "messages/block", "MiB/block", "busiest MiB", "CPU s")


def _sizes(_context: click.Context, _option: click.Parameter, text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(int(one) for one in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r} is no list of whole numbers, such as 50,100") from None
    if not all(1 <= one <= MAX_VALIDATORS for one in sizes):
        raise click.BadParameter(f"a set has 1 to {MAX_VALIDATORS} validators")
    return sizes


@click.command("large-sets")
@click.option(
    "--nodes",
    default="50,100,300,500",
    show_default=True,
    callback=_sizes,
    help="Sizes, with commas between.",
)
@click.option(
    "--blocks", type=click.IntRange(1, 100), default=2, show_default=True, help="In each run."
)
@click.option(
    "--way",
    type=click.Choice(["both", "all", "collectors"]),
    default="both",
    show_default=True,
    help="How votes travel.",
)
@click.option(
    "--leader-fails",
    is_flag=True,
    help="The leader is gone after the first block: a view change, too.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def large_sets_command(
    nodes: tuple[int, ...], blocks: int, way: str, *, leader_fails: bool, as_json: bool
) -> None:
    """Count messages and bytes of a block, votes from all to all and by way of collectors."""
    costs: list[Cost] = []
    if not as_json:
        click.echo("{:>5}  {:<13} {:>6} {:>15} {:>10} {:>12} {:>7}".format(*_HEAD))
    for size in nodes:
        for collected in _WAYS[way]:
            cost = measure(size, blocks, collected=collected, leader_fails=leader_fails)
            costs.append(cost)
            if not as_json:
                _print(cost)
    if as_json:
        rows = [msgspec.to_builtins(one) for one in costs]
        click.echo(json.dumps({"runs": rows, "commit": commit()}))
    if any(one.violation is not None for one in costs):
        sys.exit(1)


def _print(cost: Cost) -> None:
    way = "by collectors" if cost.collected else "all to all"
    click.echo(
        f"{cost.nodes:>5}  {way:<13} {cost.blocks:>6} {cost.messages_per_block:>15,.0f}"
        f" {cost.bytes_per_block / _MIB:>10.2f} {cost.busiest_bytes_per_block / _MIB:>12.2f}"
        f" {cost.cpu_s:>7.1f}"
    )
    if cost.leader_fails:
        click.echo(
            f"{'':>7}view changes: {cost.view_changes:,} messages,"
            f" {cost.view_change_bytes / _MIB:.2f} MiB; largest message {cost.largest_message_bytes:,} bytes"
        )
    if cost.violation is not None:
        click.echo(f"{'':>7}broken: {cost.violation}")
