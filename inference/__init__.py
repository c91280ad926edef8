"""Floor 4: tasks to answers - what can be asked of a node, and where and how it is done.

In reading order:

1. `inference/kinds.py` is the contract: the task kinds `embed`, `rank`, `summarize` and `answer`,
   the types and the bytes of their inputs and outputs, and the table `KINDS`.
2. `inference/extractive.py` does them with a sentence embedder and BM25 (`inference/words.py`):
   pure functions, every word of the result quoted from the documents given.
3. `inference/backend.py` says what any backend offers and how it may fail;
   `inference/embedded/` is the one that every node has, in a child process.
4. `inference/placement.py` chooses the node that does a task; `inference/handoff.py` is how input
   and output travel between the two nodes.
5. `inference/lifecycle.py` tells the life of a task and holds `TaskDesk`, the pure core of both its
   sides: `inference/asker.py` and `inference/executor.py`. What it is told and what it asks for
   stands in `inference/desk_events.py`. `node/work/service.py` gives it a real backend, real
   streams and the node's account.

6. `inference/backends/` asks model servers beside this node, and the embedded model last, for chat
   and embeddings. Its pure parts: `inference/chat.py` (what is asked, and whether an answer is
   one), `inference/selection.py` (whom to ask, and why), `inference/failures.py`,
   `inference/retry.py` and `inference/breaker.py` (what to do when it fails), `inference/sse.py`,
   and `inference/quoting.py` (a conversation answered without a language model).
7. `inference/engine.py` is what the doors ask: it holds answers to the form that was asked for
   (`inference/structured.py`) and keeps those that are deterministic (`inference/cache.py`).
   `inference/prompt.py` makes prompts within budgets; `inference/gguf/` is llama.cpp in a child.

Nothing is imported here, so that a daemon that only passes tasks on stays small.
"""
