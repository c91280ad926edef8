"""Floor 2: agreement. How a federation decides, executes and proves, as pure objects without clock, socket or disk.

A transaction's way: `transactions.py` says what is signed; `mempool.py` holds it; the leader's `replica.py` puts a
block of them (`blocks.py`) to the vote; `voting.py` is PBFT's normal case and `view_change.py` what binds a new leader;
`ledger.py` executes what is decided; `finality.py` gathers the signatures over what came of it; `receipts.py` and
`verify.py` prove that to somebody who has nothing but the genesis.

`snapshot.py` is the shorter way to where the others are, `recovery.py` the way on when a quorum is lost for good.

`engine.py` joins all of it into one core, `handle(now_ms, event) -> effects`: start reading there. `quorum.py` holds
all arithmetic of power, `certificates.py` all checking of votes, `vote_log.py` what a validator must never forget.
"""
