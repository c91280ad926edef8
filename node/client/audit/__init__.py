"""Auditing a node from outside: its whole chain executed again from the genesis, and its lists held against that.

A proof (`node/client/proven.py`) shows one record of the ledger. Whether a list is whole, what the sums over the
chain are and what the event log says, no single proof shows; whoever has executed every block knows it. So an audit
keeps a copy:

`copy.py` is what lies in the directory that the auditor names: a chain database and read models, written and read by
the same code as a node's own (`consensus.auditing`, `consensus.execution`'s batches, `node.chain.projector`,
`node.chain.read_models`). It keeps its place, so the next audit costs the new blocks alone.
`compare.py` finds the first difference between what a node says and what the copy says.
`questions.py` are the conversations: fetch blocks, ask for a list, bring the copy to the block after which the node's
answer holds (`X-Height`), compare. `audits.py` holds them, for scripts and for programs.
"""
