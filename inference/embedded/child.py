"""The child process that holds the model: `python -m inference.embedded.child`.

It reads requests from stdin and answers them on stdout one by one, and logs to stderr. It lowers
its own priority, so that a full machine still votes in time, and asks the kernel to take it first
when memory runs out.

It dies with its parent, in the middle of a task too: a thread of its own waits for the end of
stdin's pipe, which ends the process at once. (Linux's parent-death signal was rejected: it follows the
*thread* that started the child, and trio starts processes from worker threads that come and go. That the
thread reads the requests too was rejected as well: handing them over costs more than reading them.)
"""

from __future__ import annotations

import argparse
import logging
import os
import select
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from gossip.codec import DecodeError, decode
from inference.embedded.protocol import (
    LENGTH_BYTES,
    Done,
    Failed,
    Ready,
    Refused,
    Request,
    Response,
    Unable,
    body_length,
    frame,
)
from inference.extractive import execute_measured
from inference.kinds import BadInput, UnknownKind, Usage, decode_input, encode_output
from memory.embedding import EmbeddingModel
from memory.model_files import ModelDamaged

log = logging.getLogger("inference.embedded.child")

OUT_OF_MEMORY_SCORE: Final = "500"
"""How gladly the kernel kills this process when memory runs out, -1000 to 1000; a daemon has 0."""
EXIT_UNABLE: Final = 1


def main(arguments: Sequence[str]) -> int:
    """Serve until stdin ends. The exit code is 0, or 1 if the model cannot be loaded."""
    parser = argparse.ArgumentParser(prog="inference.embedded.child", description=__doc__)
    parser.add_argument("--threads", type=int, required=True, help="threads of the model")
    parser.add_argument("--nice", type=int, required=True, help="priority given up, 0 to 19")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(levelname)s: %(message)s")
    os.nice(options.nice)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OUT_OF_MEMORY_SCORE, "ascii")
    output = _take_stdout()
    try:
        model = EmbeddingModel.load(threads=options.threads)
    except ModelDamaged as error:
        _write(output, Unable(str(error)))
        return EXIT_UNABLE
    stdin = sys.stdin.buffer
    threading.Thread(target=_end_with_parent, args=(stdin.fileno(),), daemon=True).start()
    _write(output, Ready(model.model_hash))
    while prefix := stdin.read(LENGTH_BYTES):
        _write(output, _respond(stdin.read(body_length(prefix)), model))
    return 0


def _take_stdout() -> BinaryIO:
    """Keep stdout for frames alone: whatever a library prints goes to stderr."""
    frames = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return frames


def _end_with_parent(stdin: int) -> None:
    """End the whole process when the parent closes the pipe or dies."""
    pipe = select.poll()
    pipe.register(stdin, 0)  # its end is told unasked
    pipe.poll()
    os._exit(0)


def _respond(body: bytes, model: EmbeddingModel) -> Response:
    """Do one task. Whatever goes wrong with it, the next one shall find the child alive."""
    started_ns = time.perf_counter_ns()
    try:
        request = decode(body, Request)
        task = decode_input(request.kind, request.input)
    except (DecodeError, UnknownKind, BadInput) as error:
        return Refused(str(error))
    try:
        done, items, tokens = execute_measured(task, model)
        output = encode_output(done)
    except Exception as error:
        log.exception("the task %r failed", request.kind)
        return Failed(f"the task {request.kind!r} failed: {type(error).__name__}: {error}")
    duration_ms = (time.perf_counter_ns() - started_ns) // 1_000_000
    return Done(output, Usage(items=items, tokens=tokens, duration_ms=duration_ms))


def _write(output: BinaryIO, message: Ready | Unable | Response) -> None:
    output.write(frame(message))
    output.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
