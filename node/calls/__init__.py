"""The client's calls, one file for each kind of them; `node/client.py` puts them together.

`base.py` asks and waits. `lists.py`: read models and events; `work.py`: tasks; `contents.py`: what is long;
`proofs.py`: answers that are checked.
"""
