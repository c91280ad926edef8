"""What can be wrong around a daemon that starts: each a sentence with what to do, and nothing is lost."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from gossip.identity import Ed25519Signer
from node.storage.store import LevelStore
from tests.node.e2e.daemons import Daemon, Ended, Fleet, command, until, with_clock_ahead


@pytest.fixture(scope="module")
def stopped(shared_fleet: Fleet) -> Daemon:
    """A home that founded a federation and holds some blocks; nothing runs."""
    daemon = shared_fleet.new("stopped").start()
    for _ in range(5):
        daemon.pay(daemon)
    assert daemon.end() == 0
    return daemon


@pytest.fixture
def copied(stopped: Daemon, tmp_path: Path) -> Path:
    """A copy of that home, to be damaged."""
    return Path(shutil.copytree(stopped.home.path, tmp_path / "home"))


def _refused(ended: Ended, *words: str) -> None:
    assert ended.code == 1, ended
    assert ended.err.startswith("Error: "), ended
    for word in words:
        assert word in ended.err


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--bootstrap", "127.0.0.1:7430"], "multiaddr"),
        (["--bootstrap", "/ip4/999.1.1.1/tcp/7430"], "999.1.1.1"),
        (["--bootstrap", "/ip4/0.0.0.0/tcp/7430"], "can't be dialed"),
        (["--listen", "/ip4/127.0.0.1/udp/7430"], "udp"),
        (["--listen", "7430"], "multiaddr"),
        (["--api", "localhost"], "HOST:PORT"),
        (["--bootstrap", "/ip4/127.0.0.1/tcp/1", "--found", "x"], "choose"),
    ],
)
def test_a_wrong_address_is_wrong_usage_and_makes_nothing(
    tmp_path: Path, given: list[str], says: str
) -> None:
    ended = command(tmp_path / "home", "run", *given)
    assert ended.code == 2
    assert says in ended.err
    assert not (tmp_path / "home").exists()


def test_a_taken_peer_port_is_told_with_its_address(stopped: Daemon) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"/ip4/127.0.0.1/tcp/{taken.getsockname()[1]}"
        ended = stopped.command("run", "--listen", address)
    _refused(ended, address, "in use", "choose another port")


def test_a_taken_http_port_is_told_with_its_address(stopped: Daemon) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = stopped.command("run", "--api", address)
    _refused(ended, address, "taken", "--api")


def test_a_home_in_use_is_not_started_twice(fleet: Fleet) -> None:
    daemon = fleet.new("busy").start()
    ended = daemon.command("run")
    _refused(ended, str(daemon.home.path), str(daemon.process.pid), "--home DIR")
    daemon.pay(daemon)
    assert daemon.command("status").code == 0


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def _mix_up(path: Path) -> None:
    """The seed of another key below this public key."""
    lines = path.read_text().splitlines()
    lines[2] = f"seed: {'5a' * 32}"
    path.write_text("\n".join(lines) + "\n")


def _swap(path: Path) -> None:
    other = {"identity.key": "voting.key", "voting.key": "identity.key"}[path.name]
    path.write_bytes((path.parent / other).read_bytes())


def _open_to_all(path: Path) -> None:
    path.chmod(0o644)


def _another_key(path: Path) -> None:
    """A sound key file of somebody else."""
    head = path.read_text().splitlines()[0]
    signer = Ed25519Signer(b"\x5a" * 32)
    path.write_text(f"{head}\npublic: {signer.public.hex()}\nseed: {signer.seed.hex()}\n")


@pytest.mark.parametrize(
    ("name", "spoil", "says"),
    [
        ("identity.key", _cut, "damaged"),
        ("identity.key", _mix_up, "does not make its public key"),
        ("voting.key", _swap, "is needed"),
        ("identity.key", _open_to_all, "chmod 600"),
        ("voting.key", Path.unlink, "is missing"),
        ("identity.key", _another_key, "another node's"),
        ("voting.key", _another_key, "another node's"),
    ],
)
def test_a_wrong_key_file_is_named_and_kept(
    copied: Path, name: str, spoil: Callable[[Path], None], says: str
) -> None:
    key = copied / name
    secret = key.read_text().splitlines()[2].split()[1]
    spoil(key)
    spoilt = key.read_bytes() if key.exists() else None
    ended = command(copied, "run")
    _refused(ended, str(key), says)
    assert (key.read_bytes() if key.exists() else None) == spoilt
    assert secret not in ended.out + ended.err
    if spoil in (_another_key, _mix_up):
        assert command(copied, "doctor").code == 1


@pytest.mark.parametrize("name", ["chain", "tasks"])
def test_a_missing_database_is_not_made_anew(copied: Path, name: str) -> None:
    """A chain without blocks would look new. What happens without votes stands in `test_registry.py`."""
    shutil.rmtree(copied / name)
    _refused(command(copied, "run"), str(copied / name), "missing", "put it back")
    assert not (copied / name).exists()


@pytest.mark.parametrize("name", ["chain", "peers", "tasks"])
def test_a_damaged_database_is_told_and_left_as_it_is(copied: Path, name: str) -> None:
    """Bits turn in the file that holds the entries; LevelDB's checksums tell."""
    folder = copied / name
    with LevelStore(folder) as store:
        store.write([(b"\xff/filler", bytes(range(256)) * 64)])
    files = sorted(
        (*folder.glob("*.log"), *folder.glob("*.ldb")), key=lambda one: one.stat().st_size
    )
    content = bytearray(files[-1].read_bytes())
    for at in range(len(content) // 4, len(content), 97):
        content[at] ^= 0x20
    files[-1].write_bytes(content)
    _refused(command(copied, "run"), str(folder), "damaged", "join again from a new home")
    assert files[-1].read_bytes() == content
    found = command(copied, "doctor", "--json")
    assert found.code == 1
    failed = {one["check"] for one in found.json["checks"] if one["status"] == "failed"}
    assert f"database {name}" in failed


def test_a_lost_genesis_file_comes_back_from_the_chain(stopped: Daemon, copied: Path) -> None:
    (copied / "genesis.json").unlink()
    daemon = Daemon.of(copied)
    try:
        daemon.start()
        assert (copied / "genesis.json").read_bytes() == stopped.home.genesis.read_bytes()
        assert daemon.status.height == 5
        daemon.pay(daemon)
    finally:
        assert daemon.stop() == ""


def test_a_damaged_genesis_file_is_told(copied: Path) -> None:
    genesis = copied / "genesis.json"
    genesis.write_text(genesis.read_text().replace("a", "b", 3))
    _refused(command(copied, "run"), str(genesis), "copy it from another node")


def test_a_genesis_of_another_federation_is_told(copied: Path, tmp_path: Path) -> None:
    assert command(tmp_path / "other", "init", "--found", "others").code == 0
    shutil.copy(tmp_path / "other" / "genesis.json", copied / "genesis.json")
    _refused(command(copied, "run"), str(copied / "chain"), "another federation", "delete")


def test_damaged_settings_are_told_with_their_line(copied: Path) -> None:
    with (copied / "config.toml").open("a") as config:
        config.write("kindz = []\n")
    _refused(command(copied, "run"), "config.toml", "line 7", "kindz")


def test_a_node_that_nobody_answers_says_so_and_goes_on_trying(fleet: Fleet) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"/ip4/127.0.0.1/tcp/{port}"
    lonely = fleet.new("lonely")
    lonely.launch("--bootstrap", address)
    said = lonely.says("In vain so far")
    assert address in said
    assert lonely.end() == 0
    assert not lonely.home.genesis.exists()
    # Where it was told to join somebody is there now; the same home begins anew.
    founder = fleet.new("founder")
    founder.launch("--listen", address)
    founder.started()
    lonely.start("--bootstrap", address)
    assert lonely.status.federation_id == founder.status.federation_id


def test_a_clock_far_off_is_told_on_both_sides(fleet: Fleet) -> None:
    founder = fleet.new("founder").start()
    fast = fleet.new("fast").start(
        "--bootstrap",
        founder.client.invite(3_600_000).invite,
        program=with_clock_ahead(600),
    )
    until(lambda: fast.status.role == "observer", "it to be let in")
    assert "The clock of fast is " in founder.says("s ahead of this machine's")
    assert "The clock of founder is " in fast.says("s behind this machine's")
    assert "set the clock" in fast.said
    found = founder.command("doctor", "--json")
    assert found.code == 1
    assert any(
        one["status"] == "failed" and "clock of fast" in one["detail"]
        for one in found.json["checks"]
    )
    (peer,) = founder.command("peers", "--json").json["peers"]
    assert 590_000 < peer["clock_offset_ms"] < 610_000
    founder.pay(fast)
    until(lambda: fast.status.height == founder.status.height, "it to follow all the same")


def test_a_command_without_a_daemon_ends_with_three(stopped: Daemon) -> None:
    ended = stopped.command("status", "--json")
    assert ended.code == 3
    assert "bizra-node run" in ended.json["error"]["detail"]
