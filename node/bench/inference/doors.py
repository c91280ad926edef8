"""What stands between callers and a model server: a node, or LiteLLM in an environment of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from node.bench.inference.callers import API_KEY, DoorError
from node.bench.inference.model_server import MODEL
from node.bench.limits import cpu_seconds
from node.demo.cluster import Cluster, until

LITELLM: Final = "litellm[proxy]==1.106.0"
"""Pinned, and before 1.107.0, which is reported to have been tampered with."""
_LITELLM_START_S: Final = 90.0
_FAREWELL_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Door:
    """A process that listens at `url`."""

    url: str
    pid: int

    def cpu_seconds(self) -> float:
        """What it and its children have used so far."""
        return cpu_seconds(self.pid)

    def resident_mb(self) -> float:
        """Its memory and that of its children, in 10^6 bytes; pages that they share count twice."""
        page_bytes = os.sysconf("SC_PAGE_SIZE")
        pages = (
            int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
            for pid in _family(self.pid)
        )
        return sum(pages) * page_bytes / 1e6


def _family(pid: int) -> list[int]:
    """A process and all below it."""
    try:
        told = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii")
    except OSError:
        return [pid]
    return [pid, *(one for child in told.split() for one in _family(int(child)))]


@contextmanager
def model_server() -> Iterator[str]:
    """The tiny model server in its own process; gives its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "node.bench.inference.model_server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.communicate()


@contextmanager
def relay(model_url: str) -> Iterator[Door]:
    """A bare relay to the model server, for what a door costs that takes a turn of Trio's loop for each chunk."""
    port = str(urlsplit(model_url).port)
    process = subprocess.Popen(
        [sys.executable, "-m", "node.bench.inference.relay", port], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield Door(f"http://127.0.0.1:{int(process.stdout.readline())}", process.pid)
    finally:
        process.kill()
        process.communicate()


@contextmanager
def node(cluster: Cluster, model_url: str | None) -> Iterator[Door]:
    """A federation of one, with one model server behind it or none."""
    settings = "quota_per_s = 1000000\n"  # the callers are one, and ask as fast as they can
    if model_url is not None:
        settings += f'[[backend]]\nname = "bench"\nurl = "{model_url}"\nkind = "openai"\n'
    member = cluster.start("ada", ("embed", "rank", "summarize", "answer"), None, settings)
    try:
        yield Door(member.client.url, member.process.pid)
    finally:
        cluster.stop()


@contextmanager
def litellm(folder: Path, model_url: str, say: Callable[[str], None]) -> Iterator[Door]:
    """LiteLLM's proxy. Raises `DoorError`."""
    program = _installed(say)
    port = _free_port()
    config = folder / "litellm.yaml"
    config.write_text(
        f"model_list:\n  - model_name: {MODEL}\n    litellm_params:\n"
        f"      model: openai/{MODEL}\n      api_base: {model_url}/v1\n      api_key: none\n"
    )
    with (folder / "litellm.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "--config", config, "--port", str(port), "--host", "127.0.0.1"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "LITELLM_LOCAL_MODEL_COST_MAP": "True",
                "LITELLM_LOG": "ERROR",
                "LITELLM_MASTER_KEY": API_KEY,
            },
        )
    url = f"http://127.0.0.1:{port}"

    def is_up() -> bool:
        if process.poll() is not None:
            told = (folder / "litellm.log").read_text("utf-8", "replace").strip()
            raise DoorError(f"LiteLLM ended by itself: {told[-800:]}")
        try:
            with urllib.request.urlopen(f"{url}/health/liveliness", timeout=2) as answer:  # noqa: S310 - loopback
                return bool(answer.status == 200)  # noqa: PLR2004 - HTTP's own number
        except (urllib.error.URLError, OSError):
            return False

    try:
        until(is_up, _LITELLM_START_S, "LiteLLM did not start")
        yield Door(url, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(_FAREWELL_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _installed(say: Callable[[str], None]) -> Path:
    """LiteLLM's program, installed from the package index if it isn't there."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = base / "bizra-bench" / LITELLM.replace("[proxy]==", "-")
    program = home / "bin" / "litellm"
    if not program.exists():
        say(f"installing {LITELLM} into {home} (once; some minutes)")
        shutil.rmtree(home, ignore_errors=True)
        for command in (
            [sys.executable, "-m", "venv", str(home)],
            [str(home / "bin" / "pip"), "install", "--quiet", LITELLM],
        ):
            done = subprocess.run(command, capture_output=True, check=False)
            if done.returncode:
                shutil.rmtree(home, ignore_errors=True)
                raise DoorError(
                    f"LiteLLM can't be installed: {done.stderr.decode('utf-8', 'replace')[-500:]}"
                )
    return program


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
