"""PySyncObj (Raft, Python) under the load of the consensus benchmark.

Its operations are called in the process of a server, so each server is a process that runs its share of the clients:
`python -m node.bench.pysyncobj PORT PORTS FOLDER`, which then reads `CLIENTS SECONDS` from its input and answers with
the latencies as JSON.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from secrets import token_bytes
from typing import Any

from node.bench.etcd import free_ports
from node.bench.rivals import VALUE_BYTES, Rival
from node.errors import NodeError

_TICK_S = 0.002
_START_S = 20.0
_PAUSE_S = 0.01


def pysyncobj() -> Rival:
    """Raises `NodeError` if it is not installed."""
    if find_spec("pysyncobj") is None:
        raise NodeError(
            "--against pysyncobj: it is not installed here; `pip install pysyncobj` beside bizra-node"
        )
    note = "the clients run in the servers' processes; its journal is not synced"
    return Rival("pysyncobj", note, _start, _load, durable=False)


def _start(folder: Path, nodes: int) -> Sequence[subprocess.Popen[bytes]]:
    ports = free_ports(nodes)
    listed = ",".join(map(str, ports))
    servers = [
        subprocess.Popen(
            [sys.executable, "-m", "node.bench.pysyncobj", str(port), listed, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        for port in ports
    ]
    for one in servers:
        assert one.stdout is not None
        if one.stdout.readline().strip() != b"ready":
            raise NodeError("a server of pysyncobj did not come up")
    return servers


def _load(servers: Sequence[subprocess.Popen[bytes]], clients: int, seconds: float) -> list[float]:
    for at, one in enumerate(servers):
        assert one.stdin is not None
        share = len(range(at, clients, len(servers)))
        one.stdin.write(b"%d %g\n" % (share, seconds))
        one.stdin.flush()
    latencies: list[float] = []
    for one in servers:
        assert one.stdout is not None
        latencies += json.loads(one.stdout.readline())
    return latencies


def _serve(port: int, ports: list[int], folder: Path) -> None:
    library: Any = importlib.import_module("pysyncobj")

    class Store(library.SyncObj):  # type: ignore[misc] # the library has no types
        """One key a client."""

        def __init__(self) -> None:
            conf = library.SyncObjConf(
                autoTickPeriod=_TICK_S,
                appendEntriesPeriod=_TICK_S,
                journalFile=str(folder / f"journal-{port}"),
            )
            others = [f"127.0.0.1:{one}" for one in ports if one != port]
            super().__init__(f"127.0.0.1:{port}", others, conf)
            self.values: dict[int, bytes] = {}

        @library.replicated  # type: ignore[untyped-decorator]
        def put(self, client: int, value: bytes) -> None:
            """Agreed on by a majority before it is carried out."""
            self.values[client] = value

    store = Store()
    deadline = time.monotonic() + _START_S
    while not store.isReady():
        if time.monotonic() > deadline:
            sys.exit(1)
        time.sleep(_PAUSE_S)
    print("ready", flush=True)  # noqa: T201 - its owner reads this
    clients, seconds = sys.stdin.readline().split()
    print(json.dumps(_closed_loop(store, int(clients), float(seconds))), flush=True)  # noqa: T201
    sys.stdin.read()


def _closed_loop(store: Any, clients: int, seconds: float) -> list[float]:  # noqa: ANN401 - untyped
    """Each client puts its next value when the last one is agreed on."""
    latencies: list[float] = []
    under_way = clients
    end = time.perf_counter() + seconds

    def ask(client: int) -> None:
        began = time.perf_counter()

        def answered(_: object, error: object) -> None:
            nonlocal under_way
            now = time.perf_counter()
            if not error:
                latencies.append(now - began)
            if now < end:
                ask(client)
            else:
                under_way -= 1

        store.put(client, token_bytes(VALUE_BYTES), callback=answered)

    for client in range(clients):
        ask(client)
    while under_way and time.perf_counter() < end + _START_S:
        time.sleep(_PAUSE_S)
    return latencies


if __name__ == "__main__":
    _serve(int(sys.argv[1]), [int(one) for one in sys.argv[2].split(",")], Path(sys.argv[3]))
