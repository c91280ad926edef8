"""Daemons that find each other with no argument, on a network of their own."""

from __future__ import annotations

import os
import shlex
import subprocess

import pytest

from tests.node.e2e.daemons import PROGRAM, Daemon, Fleet, until


def with_mdns(daemon: Daemon, listen: str | None = None) -> Daemon:
    text = daemon.home.config.read_text().replace("mdns = false", "mdns = true")
    if listen is not None:
        text = text.replace(daemon.listen, listen)
    daemon.home.config.write_text(text)
    return daemon


@pytest.mark.namespace
def test_two_machines_on_one_cable_find_each_other_with_no_argument(fleet: Fleet) -> None:
    """A third one, told not to listen, founds beside them."""
    if os.geteuid() != 0:
        pytest.skip("a cable between two namespaces needs root")
    names = [f"bizra-test-{os.getpid()}-{end}" for end in ("a", "b")]
    try:
        for name in names:
            ip(f"netns add {name}")
        ip(f"-n {names[0]} link add cable type veth peer name cable netns {names[1]}")
        for host, name in enumerate(names, 1):
            ip(f"-n {name} addr add 10.77.0.{host}/24 dev cable")
            ip(f"-n {name} link set lo up")
            ip(f"-n {name} link set cable up")
        there = [("ip", "netns", "exec", name, *PROGRAM) for name in names]
        founder, newcomer, deaf = (
            with_mdns(fleet.new(name), "/ip4/0.0.0.0/tcp/0") for name in ("ada", "ben", "cleo")
        )
        founder.launch(program=there[0])
        founder.says("is running as validator")
        until(lambda: "mdns: announced" in founder.logged, "the founder to be announced")
        assert "Founded the federation" in founder.said
        newcomer.launch(program=there[1])
        deaf.launch("--no-mdns", program=there[1])
        newcomer.says("is running as applicant")
        assert "Heard ada on this network" in newcomer.said
        assert "Founded" not in newcomer.said
        founder.says("asks to be let in")
        assert "Founded the federation" in deaf.says("is running as validator")
        assert "Listening" not in deaf.said
        assert "mdns" not in deaf.logged
    finally:
        fleet.stop()
        for name in names:
            ip(f"netns del {name}", check=False)


def ip(arguments: str, *, check: bool = True) -> None:
    subprocess.run(["ip", *shlex.split(arguments)], check=check, capture_output=True)
