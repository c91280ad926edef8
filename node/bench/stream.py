"""The streaming door driven by a compiled load generator, `stream_load.c`, its CPU counted apart.

No generator that can be installed drives a WebSocket with binary bodies of its user's on a schedule. This one knows no
protocol: what it sends is made here, and of what comes it takes frames apart.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from wsproto import ConnectionType, WSConnection
from wsproto.events import Request
from wsproto.frame_protocol import FrameProtocol

from node.bench.doors import Answered, Target, children_cpu_s
from node.bench.limits import cpu_seconds
from node.bench.load import LoadError

_SOURCE = Path(__file__).with_name("stream_load.c")
_PATH = "/api/v2/transactions/stream"


def has_compiler() -> bool:
    """Whether the generator can be made (Debian: gcc)."""
    return shutil.which("cc") is not None


def made(folder: Path) -> Path:
    """The compiled generator."""
    program, compiler = folder / "stream_load", shutil.which("cc")
    assert compiler is not None
    subprocess.run(
        [compiler, "-O2", "-o", str(program), str(_SOURCE)],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return program


def drive_stream(target: Target, bodies: Sequence[bytes], *, per_s: float) -> Answered:
    """Each body is a message, so many leave in a second. Raises `LoadError` if one was not taken whole."""
    program = made(target.folder)
    where = urlsplit(target.url)
    content = target.folder / "stream.bin"
    content.write_bytes(b"".join(map(_record, _frames(where.netloc, bodies))))
    before, own = cpu_seconds(target.pid), children_cpu_s()
    done = subprocess.run(
        [str(program), str(where.hostname), str(where.port), str(content), str(per_s)],
        capture_output=True,
        check=False,
        timeout=len(bodies) / per_s + 60,
    )
    spent, generated = cpu_seconds(target.pid) - before, children_cpu_s() - own
    if done.returncode:
        raise LoadError(f"the stream of submissions: {done.stderr.decode().strip()[:400]}")
    told = json.loads(done.stdout)
    return Answered(
        per_s=round(1000 * told["requests"] / told["duration_ms"], 1),
        p50_ms=round(told["p50_ms"], 3),
        p99_ms=round(told["p99_ms"], 3),
        requests=told["requests"],
        refused=0,
        broken=0,
        daemon_cpu_ms_per_request=round(1000 * spent / len(bodies), 4),
        generator_cpu_ms_per_request=round(1000 * generated / len(bodies), 4),
    )


def _frames(host: str, bodies: Sequence[bytes]) -> Iterable[bytes]:
    """What goes onto the wire: the request for a WebSocket, then each message as a masked frame."""
    yield WSConnection(ConnectionType.CLIENT).send(Request(host=host, target=_PATH))
    protocol = FrameProtocol(client=True, extensions=[])
    for body in bodies:
        yield bytes(protocol.send_data(body))


def _record(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content
