"""The daemons of a demo: real processes, each with a home, ports and a log of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from node.client import Client
from node.errors import NodeError
from node.storage.home import Home

START_S = 20.0
_STOP_S = 5.0
_PAUSE_S = 0.02


class DemoError(NodeError):
    """A step of the demo did not come to its end; the text says which and where the logs are."""


@dataclass(slots=True)
class Member:
    """One daemon."""

    name: str
    home: Home
    kinds: tuple[str, ...]
    process: subprocess.Popen[bytes]
    client: Client
    node_id: str
    address: str

    @property
    def short(self) -> str:
        """The beginning of its id."""
        return self.node_id[:12]


def _on_sigterm(_number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + signal.SIGTERM)


class Cluster:
    """Starts daemons below one folder, and stops them by their own process ids.

    From then on SIGTERM ends this program like Ctrl-C does, so that its owner's `finally` is reached.
    """

    def __init__(self, folder: Path) -> None:
        signal.signal(signal.SIGTERM, _on_sigterm)
        self.folder = folder
        self.members: list[Member] = []
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(
        self, name: str, kinds: tuple[str, ...], bootstrap: str | None, settings: str = ""
    ) -> Member:
        """A new node; returns when its HTTP interface answers. `settings` are lines of TOML."""
        home = Home(self.folder / name)
        home.path.mkdir(mode=0o700, exist_ok=True)
        listed = ", ".join(f'"{kind}"' for kind in kinds)
        home.config.write_text(
            f'name = "{name}"\nlisten = ["/ip4/127.0.0.1/tcp/0"]\n'
            f'api = "127.0.0.1:0"\nmdns = false\nfind_models = false\nkinds = [{listed}]\n'
            + (f'bootstrap = ["{bootstrap}"]\n' if bootstrap else "")
            + settings
        )
        member = self._launch(name, home, kinds)
        self.members.append(member)
        return member

    def restart(self, member: Member) -> None:
        """Start a daemon again in its home."""
        member.client.close()
        again = self._launch(member.name, member.home, member.kinds)
        member.process, member.client, member.address = again.process, again.client, again.address

    def kill(self, member: Member) -> None:
        """`kill -9`."""
        member.process.send_signal(signal.SIGKILL)
        member.process.wait()

    def _launch(self, name: str, home: Home, kinds: tuple[str, ...]) -> Member:
        home.clear_api()
        with (home.path / "terminal").open("ab") as terminal:
            process = subprocess.Popen(
                [sys.executable, "-m", "node.cli", "--home", str(home.path), "run"],
                stdin=subprocess.DEVNULL,
                stdout=terminal,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._processes[name] = process

        def is_up() -> bool:
            if process.poll() is not None:
                raise DemoError(f"the node {name} ended by itself: {_last_line(home)}")
            return home.read_api() is not None

        until(is_up, START_S, f"the node {name} did not start")
        where = home.read_api()
        assert where is not None
        client = Client.of_home(home)
        address = where.addresses[0]
        return Member(name, home, kinds, process, client, client.status().node_id, address)

    def stop(self) -> None:
        """End all daemons and wait for them; those that do not listen are killed."""
        for member in self.members:
            member.client.close()
        living = [one for one in self._processes.values() if one.poll() is None]
        for process in living:
            process.terminate()
        deadline = time.monotonic() + _STOP_S
        for process in living:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def until(condition: Callable[[], bool], timeout_s: float, failure: str) -> float:
    """Wait for a condition; the seconds that it took. Raises `DemoError`."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > timeout_s:
            raise DemoError(f"{failure} within {timeout_s:g} s")
        time.sleep(_PAUSE_S)
    return time.monotonic() - began


def _last_line(home: Home) -> str:
    lines = (home.path / "terminal").read_text("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
