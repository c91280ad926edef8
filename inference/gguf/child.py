"""The child that runs a model's server: `python -m inference.gguf.child --idle-s 60 -- llama-server ...`.

Its stdin is the parent's word: `+` when a request begins, `-` when it has ended. When none has been
under way for so long, or the parent is gone, the server is ended and so is the child.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

OUT_OF_MEMORY_SCORE: Final = "500"
"""How gladly the kernel kills this process when memory runs out, -1000 to 1000; a daemon has 0."""
_PR_SET_PDEATHSIG: Final = 1
_FAREWELL_S: Final = 3.0
_LOOK_S: Final = 1.0


def main(arguments: Sequence[str]) -> int:
    """Run until the server, the parent or the patience ends. The exit code is the server's, or 0."""
    parser = argparse.ArgumentParser(prog="inference.gguf.child", description=__doc__)
    parser.add_argument("--idle-s", type=float, required=True)
    parser.add_argument("--nice", type=int, default=10)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args(arguments)
    os.nice(options.nice)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OUT_OF_MEMORY_SCORE, "ascii")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    server = subprocess.Popen(
        options.command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        preexec_fn=_die_with_parent,  # noqa: PLW1509 - this process has one thread
    )
    try:
        return _watch(server, options.idle_s)
    finally:
        _end(server)


def _die_with_parent() -> None:
    """Let the kernel kill the server when this process is killed; the signal follows the thread, and there is one."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _watch(server: subprocess.Popen[bytes], idle_s: float) -> int:
    under_way, quiet_s = 0, 0.0
    while server.poll() is None:
        ready, _, _ = select.select([sys.stdin.fileno()], [], [], _LOOK_S)
        if ready:
            said = os.read(sys.stdin.fileno(), 4096)
            if not said:
                return 0
            under_way += said.count(b"+") - said.count(b"-")
            quiet_s = 0.0
        elif under_way == 0:
            quiet_s += _LOOK_S
            if quiet_s >= idle_s:
                return 0
    return server.returncode


def _end(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(_FAREWELL_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
