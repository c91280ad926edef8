"""Machines of a test's own: network namespaces joined by a switch in a third one."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.node.e2e.daemons import PROGRAM, Daemon

_NETWORK = "10.78.0"


class Lan:
    """Machines on one switch; each has one cable, called `cable` there."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._switch = f"{name}-switch"
        self._machines: list[str] = []

    def begin(self) -> None:
        """Make the switch."""
        ip(f"netns add {self._switch}")
        ip(f"-n {self._switch} link add bridge type bridge")
        ip(f"-n {self._switch} link set bridge up")

    def machine(self, host: int) -> str:
        """A new machine with this last number in its address; its namespace."""
        name = f"{self._name}-{host}"
        ip(f"netns add {name}")
        self._machines.append(name)
        ip(f"-n {name} link add cable type veth peer name to{host} netns {self._switch}")
        self.give_address(name, host)
        ip(f"-n {name} link set lo up")
        ip(f"-n {name} link set cable up")
        ip(f"-n {self._switch} link set to{host} up")
        self.plug(host)
        return name

    def plug(self, host: int) -> None:
        """Connect a machine's cable to the switch."""
        ip(f"-n {self._switch} link set to{host} master bridge")

    def unplug(self, host: int) -> None:
        """Let everything from and to a machine vanish; no machine notices that by itself."""
        ip(f"-n {self._switch} link set to{host} nomaster")

    def give_address(self, machine: str, host: int) -> None:
        """Its only address from now on."""
        ip(f"-n {machine} addr flush dev cable")
        ip(f"-n {machine} addr add {_NETWORK}.{host}/24 dev cable")

    def spoil(self, machine: str, how: str) -> None:
        """Have the kernel lose or delay what the machine sends; skips the test if it can't."""
        done = subprocess.run(
            ["ip", "netns", "exec", machine, "tc", *shlex.split(f"qdisc add dev cable root {how}")],
            check=False,
            capture_output=True,
        )
        if done.returncode:
            pytest.skip(f"tc {how}: {done.stderr.decode().strip()}")

    def end(self) -> None:
        """Take all of it away."""
        for name in (*self._machines, self._switch):
            ip(f"netns del {name}", check=False)


@contextmanager
def lan() -> Iterator[Lan]:
    """A network for one test; skips it without the right to make one."""
    if os.geteuid() != 0:
        pytest.skip("a network of namespaces needs root")
    made = Lan(f"bizra-lan-{os.getpid()}")
    try:
        made.begin()
        yield made
    finally:
        made.end()


def inside(machine: str) -> tuple[str, ...]:
    """The program, started on that machine."""
    return ("ip", "netns", "exec", machine, *PROGRAM)


def asked(machine: str, daemon: Daemon, *arguments: str) -> Any:  # noqa: ANN401 - what a test looks into
    """What a command of the owner prints there; its HTTP interface can't be reached from elsewhere."""
    done = subprocess.run(
        [*inside(machine), "--home", str(daemon.home.path), *arguments, "--json"],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def ip(arguments: str, *, check: bool = True) -> None:
    """Run Debian's `ip`."""
    subprocess.run(["ip", *shlex.split(arguments)], check=check, capture_output=True)
