"""BFT-SMaRt (Java) under the load of the consensus benchmark: its own microbenchmark, as its authors ship it.

`BFT_SMART_HOME` names a folder with its `lib` and `config`, as `gradle installDist` lays them out. Each client sends
one request of 128 bytes again and again, signed once with the key that all share; each replica checks that signature
at each execution, and writes and syncs each batch before it answers. The bare form does neither.

Clients begin one by one and pause ever less over their first requests, and Java compiles what it runs often: both is
over before anything is measured.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from node.bench.etcd import free_ports
from node.bench.rivals import VALUE_BYTES, Rival, stop
from node.demo.cluster import until
from node.errors import NodeError

HOME = "BFT_SMART_HOME"
_LEAST = 4
_START_S = 60.0
_WARM_S = 20.0
_TAIL_S = 60.0
_FIRST_CLIENT = 1_001
_ENDLESS = 20_000_000
_REPORT_EVERY = 100_000
_DEMO = "bftsmart.demo.microbenchmarks"
_READY = "Ready to process operations"
_NANOSECONDS = 1_000_000_000


def bft_smart() -> Rival:
    """Signed and synced, as this node's own transactions are. Raises `NodeError` if it is not installed."""
    note = "its own benchmark: one key and one signed request for all clients"
    run = _BftSmart(_home("bft-smart"), "default", "rwd")
    return Rival(
        "bft-smart",
        note,
        run.start,
        run.load,
        durable=True,
        signed=True,
        byzantine=True,
        warm=run.warm,
    )


def bft_smart_bare() -> Rival:
    """Unsigned and in memory. Raises `NodeError` if it is not installed."""
    run = _BftSmart(_home("bft-smart-bare"), "nosig", "")
    return Rival(
        "bft-smart-bare",
        "its own benchmark",
        run.start,
        run.load,
        durable=False,
        byzantine=True,
        warm=run.warm,
    )


def _home(named: str) -> Path:
    said = f"--against {named}: "
    if shutil.which("java") is None:
        raise NodeError(
            f"{said}there is no java on the PATH; on Debian, install default-jre-headless"
        )
    home = os.environ.get(HOME)
    if home is None:
        raise NodeError(
            f"{said}{HOME} is not set; it names BFT-SMaRt's folder, made of its sources by `gradle installDist`"
        )
    for part in ("lib/BFT-SMaRt.jar", "config/system.config"):
        if not (Path(home) / part).is_file():
            raise NodeError(f"{said}there is no {part} in {HOME}={home}")
    return Path(home)


class _BftSmart:
    def __init__(self, home: Path, signatures: str, writing: str) -> None:
        self._home = home
        self._signatures = signatures
        self._writing = writing
        self._told = Path()

    def start(self, folder: Path, nodes: int) -> Sequence[subprocess.Popen[bytes]]:
        if nodes < _LEAST:
            raise NodeError("--against bft-smart needs --nodes 4 or more: fewer tolerate no fault")
        self._told = folder / "clients" / f"latencies_{_FIRST_CLIENT}.txt"
        folders = [folder / f"n{at}" for at in range(nodes)]
        ports = free_ports(2 * nodes)
        for one in (*folders, self._told.parent):
            shutil.copytree(self._home / "config", one / "config")
            _configure(one / "config", ports)
        servers = [
            self._java(
                one,
                "ThroughputLatencyServer",
                at,
                _REPORT_EVERY,
                0,
                0,
                "false",
                self._signatures,
                self._writing,
            )
            for at, one in enumerate(folders)
        ]
        try:
            until(
                lambda: all(_READY in _log(one) for one in folders), _START_S, "it did not come up"
            )
        except NodeError as error:
            stop(servers)
            raise NodeError(f"BFT-SMaRt: {error}; it said: {_last_line(folders[0])}") from None
        return servers

    def warm(
        self, _: Sequence[subprocess.Popen[bytes]], clients: int
    ) -> Sequence[subprocess.Popen[bytes]]:
        """Start the clients, and wait until they and the servers go at full speed."""
        program = self._java(
            self._told.parent,
            "ThroughputLatencyClient",
            *(_FIRST_CLIENT, clients, _ENDLESS, VALUE_BYTES, 0, "false", "false", self._signatures),
        )
        try:
            until(
                lambda: self._told.exists() and self._told.stat().st_size > 0,
                _START_S,
                "BFT-SMaRt answered nothing",
            )
            time.sleep(_WARM_S)
        except BaseException:
            stop([program])
            raise
        return [program]

    def load(
        self, _: Sequence[subprocess.Popen[bytes]], clients: int, seconds: float
    ) -> Iterator[float]:
        """What is answered in so many seconds from now; read afterwards, since the clients write it down late."""
        del clients
        began_ms = 1000 * time.time()  # noqa: TID251 - held against the clients' own stamps
        time.sleep(seconds)
        return self._answered(began_ms, began_ms + 1000 * seconds)

    def _answered(self, began_ms: float, end_ms: float) -> Iterator[float]:
        """Lines are `CLIENT, END in ms, LATENCY in ns`, written together some hundreds at a time."""
        until(
            lambda: any(at_ms > end_ms for at_ms, _ in self._lines()),
            _TAIL_S,
            "BFT-SMaRt's clients wrote nothing down",
        )
        for at_ms, latency_ns in self._lines():
            if began_ms <= at_ms < end_ms:
                yield latency_ns / _NANOSECONDS

    def _lines(self) -> Iterator[tuple[int, int]]:
        whole, _, _ = self._told.read_text().rpartition("\n")
        for line in whole.splitlines():
            _, at_ms, latency_ns = line.split("\t")
            yield int(at_ms), int(latency_ns)

    def _java(self, folder: Path, program: str, *words: object) -> subprocess.Popen[bytes]:
        line = ["java", "-Djava.security.properties=config/java.security"]
        line += ["-Dlogback.configurationFile=config/logback.xml", "-cp", f"{self._home}/lib/*"]
        line += [f"{_DEMO}.{program}", *map(str, words)]
        with (folder / "log").open("wb") as log:
            return subprocess.Popen(
                [*filter(None, line)], cwd=folder, stdout=log, stderr=log, start_new_session=True
            )


def _configure(config: Path, ports: Sequence[int]) -> None:
    """So many servers on ports of our own; all else stays as it is shipped."""
    nodes = len(ports) // 2
    pairs = zip(ports[:nodes], ports[nodes:], strict=True)
    lines = [f"{at} 127.0.0.1 {users} {others}\n" for at, (users, others) in enumerate(pairs)]
    (config / "hosts.config").write_text("".join(lines))
    wanted = {
        "system.servers.num": nodes,
        "system.servers.f": (nodes - 1) // 3,
        "system.initial.view": ",".join(map(str, range(nodes))),
    }
    text = (config / "system.config").read_text()
    for key, value in wanted.items():
        text = re.sub(rf"(?m)^{re.escape(key)}\s*=.*$", f"{key} = {value}", text)
    (config / "system.config").write_text(text)


def _log(folder: Path) -> str:
    return (folder / "log").read_text("utf-8", "replace")


def _last_line(folder: Path) -> str:
    lines = _log(folder).strip().splitlines()
    return lines[-1] if lines else "it said nothing"
