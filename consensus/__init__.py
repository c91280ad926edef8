"""Floor 2: agreement. How a federation decides, executes and proves, as pure objects without clock, socket or disk.

`engine.py` joins all of it into one core, `handle(now_ms, event) -> effects`: start reading there. Below it stand

- `operations/`: what users sign, `transactions.py` first;
- `pbft/`: how a block is decided: `replica.py`, the normal case in `voting.py`, a new leader in `view_changing.py`, its
  duties in `view_change.py`, the signatures over what came of it in `finality.py`;
- `ledger/`: what decided blocks do: `machine.py` executes them, `event_log.py` says what happened;
- `projections/`: read models, as plain functions of those events.

A transaction's way through the files beside these: `intake.py` takes it, `mempool.py` holds it, `blocks.py` is what it
is voted on in, `execution.py` keeps what came of it in one batch, `chain.py` says where that lies; `receipts.py` and
`verify.py` prove it to somebody who has nothing but the genesis. `quorum.py` holds all arithmetic of power,
`certificates.py` all checking of votes.

`sync.py` and `snapshot.py` lead to where the others are, `recovery.py` on when a quorum is lost for good.
"""
