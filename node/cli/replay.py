"""`replay`: execute the chain again from its genesis, and say whether everything comes out as it was."""

from __future__ import annotations

import time

import click

from consensus.chain import ChainReader
from consensus.replay import replay as replayed_blocks
from gossip.identity import Ed25519Verifier
from node.cli.session import Session, end_unless, with_session
from node.cli.shapes import pairs
from node.errors import NodeError
from node.founding import load_genesis
from node.storage.store import LevelStore


@click.command()
@click.option(
    "--to", "height", type=click.IntRange(1), metavar="HEIGHT", help="Stop at this height."
)
@with_session
def replay(session: Session, *, height: int | None) -> None:
    """Execute the stored blocks again; state roots and events must be the same.

    The node must be stopped: two programs can't have its database open.
    """
    genesis = load_genesis(session.home)
    if genesis is None:
        raise NodeError(
            f"{session.home.path} belongs to no federation yet; there is nothing to replay"
        )
    blocks = transactions = events = 0
    state_root, fault = b"", None
    with LevelStore(session.home.chain) as chain:
        first = ChainReader(chain).first_height()
        if first > 1:
            raise NodeError(
                f"the chain here begins with a snapshot of height {first}; replay on a node that "
                "has all blocks"
            )
        began = time.perf_counter()
        for one in replayed_blocks(genesis, chain, Ed25519Verifier(), height or 2**62):
            blocks, state_root = one.height, one.state_root
            transactions += one.transactions
            events += one.events
            if one.fault is not None:
                fault = f"height {one.height}: {one.fault}"
                break
        seconds = time.perf_counter() - began
    if height is not None and blocks < height and fault is None:
        raise NodeError(f"the chain ends at height {blocks}; --to {height} is beyond it")
    rate = round(events / seconds) if events else 0
    view = {
        "height": blocks,
        "transactions": transactions,
        "events": events,
        "state_root": state_root.hex(),
        "seconds": round(seconds, 3),
        "events_per_s": rate,
        "equal": fault is None,
        "fault": fault,
    }
    rows = [
        ("height", str(blocks)),
        ("transactions", str(transactions)),
        ("events", f"{events}, {rate} a second"),
        ("state root", state_root.hex() or "-"),
        ("as stored", "yes" if fault is None else f"no: {fault}"),
    ]
    session.tell(view, pairs(rows))
    end_unless(done=fault is None)
