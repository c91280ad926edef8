"""etcd (Raft, Go) under the load of the consensus benchmark: each client puts one key at a time over HTTP.

The clients are wrk's connections where that is installed: clients in Python cost more than the servers that they load,
and what they can do would be measured in place of etcd. Else they are tasks of this process.
"""

from __future__ import annotations

import json
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
_STOP_S = 60.0
LETTERS = -(-8 * VALUE_BYTES // 6) - 1
"""Random digits of a value in base 64; with an A and the sign for the end they are all of it."""

_PUTS = """
local letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
local keys, length, at = {}, 0, 0
local headers = {["Content-Type"] = "application/json"}
function init(args)
  length = tonumber(args[1])
  for place = 2, #args do keys[#keys + 1] = args[place] end
  math.randomseed(os.time())
end
function request()
  at = at % #keys + 1
  local value = {}
  for place = 1, length do
    local letter = math.random(#letters)
    value[place] = letters:sub(letter, letter)
  end
  local body = '{"key": "' .. keys[at] .. '", "value": "' .. table.concat(value) .. 'A="}'
  return wrk.format("POST", "/v3/kv/put", headers, body)
end
function done(summary, latency, requests)
  local errors, seen = summary.errors, {}
  for place = 1, #latency do
    local us, count = latency(place)
    seen[#seen + 1] = string.format("[%d, %d]", us, count)
  end
  io.write(string.format('\\n{"failed": %d, "seen": [%s]}\\n',
    errors.status + errors.connect + errors.read + errors.write + errors.timeout, table.concat(seen, ", ")))
end
"""
"""Each connection puts one key at a time; at the end every latency is told, with how often it was seen."""


def etcd() -> Rival:
    """Raises `NodeError` if it is not installed."""
    binary = shutil.which("etcd")
    if binary is None:
        raise NodeError(
            "--against etcd: there is no etcd on the PATH; on Debian, install etcd-server"
        )
    run = _Etcd(binary)
    compiled = shutil.which("wrk") is not None
    note = f"each put one request to its HTTP gateway, by {'wrk' if compiled else 'Python'}"
    return Rival("etcd", note, run.start, run.load_by_wrk if compiled else run.load, durable=True)


class _Etcd:
    def __init__(self, binary: str) -> None:
        self._binary = binary
        self._urls: list[str] = []
        self._folder = Path()

    def start(self, folder: Path, nodes: int) -> Sequence[subprocess.Popen[bytes]]:
        self._folder = folder
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
            with (folder / f"n{at}.log").open("wb") as log:
                servers.append(
                    subprocess.Popen([self._binary, *line], stderr=log, start_new_session=True)
                )
        try:
            until(self._is_up, _START_S, "etcd did not come up")
        except NodeError as error:
            said = (folder / "n0.log").read_text("utf-8", "replace").strip().splitlines()
            raise NodeError(f"{error}: {said[-1] if said else 'it said nothing'}") from None
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

    def load_by_wrk(
        self, _: Sequence[subprocess.Popen[bytes]], clients: int, seconds: float
    ) -> list[float]:
        """The same, by a compiled generator for each server."""
        script = self._folder / "puts.lua"
        script.write_text(_PUTS)
        running = []
        for at, url in enumerate(self._urls):
            keys = [_key(client) for client in range(at, clients, len(self._urls))]
            if not keys:
                continue
            line = ["wrk", "-t1", f"-c{len(keys)}", f"-d{max(1, round(seconds))}s"]
            line += ["--timeout", "30s", "-s", str(script), url, "--", str(LETTERS), *keys]
            running.append(subprocess.Popen(line, stdout=subprocess.PIPE))
        latencies: list[float] = []
        for one in running:
            said, _errors = one.communicate(timeout=seconds + _STOP_S)
            told = json.loads(said.decode().strip().splitlines()[-1])
            if told["failed"]:
                raise NodeError(f"etcd refused {told['failed']} puts, or did not answer")
            for us, count in told["seen"]:
                latencies += [us / 1_000_000] * count
        return latencies

    async def _load(self, clients: int, end: float, latencies: list[float]) -> None:
        async with trio.open_nursery() as nursery:
            for client in range(clients):
                url = self._urls[client % len(self._urls)]
                nursery.start_soon(_put_until, url, client, end, latencies)


async def _put_until(url: str, client: int, end: float, latencies: list[float]) -> None:
    key = _key(client)
    async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=30) as http:
        while (began := time.perf_counter()) < end:
            value = b64encode(token_bytes(VALUE_BYTES)).decode()
            answer = await http.post("/v3/kv/put", json={"key": key, "value": value})
            if answer.status_code != httpx2.codes.OK:
                raise NodeError(f"etcd refused a put: {answer.text[:300]}")
            latencies.append(time.perf_counter() - began)


def _key(client: int) -> str:
    return b64encode(b"client %d" % client).decode()


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
