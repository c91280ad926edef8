"""Floor 4: tasks to answers - what can be asked of a node, and where and how it is done.

In reading order:

1. `inference/kinds.py` is the contract: the task kinds `embed`, `rank`, `summarize` and `answer`,
   the types and the bytes of their inputs and outputs, and the table `KINDS`.
2. `inference/extractive.py` does them with a sentence embedder and BM25 (`inference/words.py`):
   pure functions, every word of the result quoted from the documents given.
3. `inference/backend.py` says what any backend offers and how it may fail;
   `inference/embedded/` is the one that every node has, in a child process.

Nothing is imported here, so that a daemon that only passes tasks on stays small.
"""
