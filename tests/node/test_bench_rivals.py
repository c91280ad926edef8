"""Other systems beside ours: how each is named when it is not there, and how one that is there is started and read."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from node.bench import bft_smart
from node.bench.rivals import measure_rival
from node.cli import main
from node.errors import NodeError

JAVA = """#!{python}
import sys, time
from pathlib import Path

at = next(at for at, one in enumerate(sys.argv) if "microbenchmarks" in one)
program, *words = sys.argv[at:]
if program.endswith("Server"):
    print("Ready to process operations", *words, flush=True)
    time.sleep(600)
with Path("latencies_1001.txt").open("w") as told:
    while True:
        told.write(f"1001\\t{{int(1000 * time.time())}}\\t5000000\\n")
        told.flush()
        time.sleep(0.01)
"""
"""Stands for Java: a server says that it is ready, the clients write down an answer of 5 ms every 10 ms."""

CONFIG = """# as shipped
system.servers.num = 4
system.servers.f = 1
system.initial.view = 0,1,2,3
system.communication.useSignatures = 0
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in {
        "bin/java": JAVA.format(python=sys.executable),
        "smart/lib/BFT-SMaRt.jar": "",
        "smart/config/system.config": CONFIG,
        "smart/config/hosts.config": "0 127.0.0.1 11000 11001",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "bin/java").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv(bft_smart.HOME, str(tmp_path / "smart"))
    monkeypatch.setattr(bft_smart, "_WARM_S", 0)
    return tmp_path / "smart"


@pytest.mark.parametrize("rival", ["bft-smart", "bft-smart-bare", "etcd", "pysyncobj"])
def test_a_rival_that_is_not_installed_is_named_before_anything_starts(
    rival: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("node.bench.pysyncobj.find_spec", lambda _: None)
    result = CliRunner().invoke(main, ["bench", "consensus", "--against", rival])
    assert result.exit_code == 1
    assert f"--against {rival}" in result.output
    assert "starting" not in result.output


def test_a_home_without_its_library_says_which_file_is_missing(home: Path) -> None:
    (home / "lib/BFT-SMaRt.jar").unlink()
    with pytest.raises(NodeError, match=f"no lib/BFT-SMaRt.jar in {bft_smart.HOME}={home}"):
        bft_smart.bft_smart()


def test_only_what_is_answered_while_it_is_measured_counts(home: Path) -> None:
    figures = measure_rival(bft_smart.bft_smart(), 7, 3, 1, lambda _: None)
    assert (figures.signed, figures.byzantine, figures.durable) == (True, True, True)
    assert (figures.p50_ms, figures.p99_ms) == (5, 5)
    assert 0 < figures.operations <= 100


def test_so_many_servers_are_configured_on_ports_of_their_own(home: Path, tmp_path: Path) -> None:
    run = bft_smart.bft_smart_bare()
    servers = run.start(tmp_path / "run", 7)
    try:
        config = (tmp_path / "run/n6/config/system.config").read_text()
        hosts = (tmp_path / "run/n6/config/hosts.config").read_text()
        words = (tmp_path / "run/n6/log").read_text().split()
    finally:
        for one in servers:
            one.kill()
            one.wait()
    assert (
        "system.servers.num = 7\nsystem.servers.f = 2\nsystem.initial.view = 0,1,2,3,4,5,6\n"
        in config
    )
    assert "system.communication.useSignatures = 0" in config
    assert len({port for line in hosts.splitlines() for port in line.split()[2:]}) == 14
    assert "nosig" in words


def test_fewer_than_four_are_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="--nodes 4 or more"):
        bft_smart.bft_smart().start(tmp_path / "run", 3)
