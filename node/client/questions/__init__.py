"""What can be asked of a node, one file for each subject: conversations, the same for scripts and for programs.

`chain.py`: the ledger and who decides it; `lists.py`: read models, page by page; `work.py`: tasks and the queue for
models; `house.py`: the node itself, its tokens, model servers, contents; `proofs.py`: answers that are checked.
"""
