"""The backend that every node has: MiniLM in a child process of its own.

A model never shares a process with consensus: it holds the interpreter for milliseconds at a time
and needs more memory than the daemon. So:

1. `protocol.py` has the messages between the two processes, and their framing.
2. `child.py` is the child: it loads the model, does one task after another, and dies with its
   parent.
3. `process.py` is one such child seen from the daemon.
4. `backend.py` offers it to the rest: `EmbeddedBackend` starts a child at first use, ends it when
   idle, starts another after a crash, and keeps the queue. It imports no model.
"""
