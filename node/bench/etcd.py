"""etcd (Raft, Go) under the load of the consensus benchmark: each client puts one key at a time over HTTP."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from secrets import token_bytes

import httpx2
import trio

from node.bench.rivals import VALUE_BYTES, Rival
from node.demo.cluster import until
from node.errors import NodeError

_START_S = 20.0


def etcd() -> Rival:
    """Raises `NodeError` if it is not installed."""
    binary = shutil.which("etcd")
    if binary is None:
        raise NodeError(
            "--against etcd: there is no etcd on the PATH; on Debian, install etcd-server"
        )
    run = _Etcd(binary)
    return Rival(
        "etcd", "each put one request to its HTTP gateway", run.start, run.load, durable=True
    )


class _Etcd:
    def __init__(self, binary: str) -> None:
        self._binary = binary
        self._urls: list[str] = []

    def start(self, folder: Path, nodes: int) -> Sequence[subprocess.Popen[bytes]]:
        ports = free_ports(2 * nodes)
        peers = [f"http://127.0.0.1:{port}" for port in ports[nodes:]]
        self._urls = [f"http://127.0.0.1:{port}" for port in ports[:nodes]]
        cluster = ",".join(f"n{at}={peer}" for at, peer in enumerate(peers))
        servers = []
        for at, (url, peer) in enumerate(zip(self._urls, peers, strict=True)):
            options = {
                "name": f"n{at}",
                "data-dir": str(folder / f"n{at}"),
                "listen-client-urls": url,
                "advertise-client-urls": url,
                "listen-peer-urls": peer,
                "initial-advertise-peer-urls": peer,
                "initial-cluster": cluster,
                "initial-cluster-state": "new",
                "log-level": "error",
            }
            line = [f"--{name}={value}" for name, value in options.items()]
            servers.append(subprocess.Popen([self._binary, *line], start_new_session=True))
        until(self._is_up, _START_S, "etcd did not come up")
        return servers

    def _is_up(self) -> bool:
        try:
            answers = [httpx2.get(f"{url}/health", trust_env=False) for url in self._urls]
        except httpx2.HTTPError:
            return False
        return all(one.json().get("health") == "true" for one in answers)

    def load(
        self, _: Sequence[subprocess.Popen[bytes]], clients: int, seconds: float
    ) -> list[float]:
        """Put for so long; the latency of each put."""
        latencies: list[float] = []
        trio.run(self._load, clients, time.perf_counter() + seconds, latencies)
        return latencies

    async def _load(self, clients: int, end: float, latencies: list[float]) -> None:
        async with trio.open_nursery() as nursery:
            for client in range(clients):
                url = self._urls[client % len(self._urls)]
                nursery.start_soon(_put_until, url, client, end, latencies)


async def _put_until(url: str, client: int, end: float, latencies: list[float]) -> None:
    key = b64encode(b"client %d" % client).decode()
    async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=30) as http:
        while (began := time.perf_counter()) < end:
            value = b64encode(token_bytes(VALUE_BYTES)).decode()
            answer = await http.post("/v3/kv/put", json={"key": key, "value": value})
            if answer.status_code != httpx2.codes.OK:
                raise NodeError(f"etcd refused a put: {answer.text[:300]}")
            latencies.append(time.perf_counter() - began)


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
