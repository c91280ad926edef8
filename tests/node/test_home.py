from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from node.config import load_config
from node.founding import FoundingError, begin_chain, found, load_genesis, prepare
from node.storage.home import ApiFile, Home, HomeError, default_home
from node.storage.keyfile import KeyFileError
from node.storage.store import StoreError

CREATED_MS = 1_750_000_000_000

HOLD = """
import sys
from pathlib import Path
from node.storage.home import Home
with Home(Path(sys.argv[1])).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_the_home_is_the_one_of_the_environment_or_of_the_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BIZRA_HOME", "/somewhere/else")
    assert default_home() == Path("/somewhere/else")
    monkeypatch.delenv("BIZRA_HOME")
    assert default_home() == Path("~/.bizra").expanduser()


def test_a_new_home_is_private_and_keeps_its_token(home: Home) -> None:
    home.create()
    token = home.read_token()
    home.create()
    assert home.read_token() == token
    assert home.path.stat().st_mode & 0o777 == 0o700
    assert home.token.stat().st_mode & 0o777 == 0o600


def test_a_token_that_others_can_read_is_refused(home: Home) -> None:
    home.create()
    home.token.chmod(0o644)
    with pytest.raises(HomeError, match="chmod 600"):
        home.read_token()


def test_a_home_in_use_names_the_process_that_has_it(home: Home) -> None:
    home.create()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(home.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(HomeError, match=f"in use by the daemon with pid {holder.pid}"):
            home.lock().__enter__()
        holder.send_signal(signal.SIGKILL)
    with home.lock():
        assert (home.path / "lock").read_text() == f"{os.getpid()}\n"


def test_a_home_below_a_file_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeError, match="choose another with --home"):
        Home(tmp_path / "file" / "home").create()


def test_the_daemon_s_address_is_read_back_and_a_damaged_one_is_none(home: Home) -> None:
    home.create()
    where = ApiFile(7, "::1", 7440)
    home.write_api(where)
    assert home.read_api() == where
    assert where.url == "http://[::1]:7440"
    home.api.write_text("{")
    assert home.read_api() is None
    home.clear_api()
    assert home.read_api() is None


def test_founding_gives_a_home_that_can_run(home: Home) -> None:
    keys = prepare(home)
    genesis = found(home, keys, "Town", CREATED_MS)
    assert load_genesis(home) == genesis
    assert genesis.founders[0].node == keys.identity.node_id
    assert prepare(home).voting.public == keys.voting.public
    assert load_config(home.config).api.port == 7440


def test_a_home_is_founded_once(home: Home) -> None:
    keys = prepare(home)
    found(home, keys, "Town", CREATED_MS)
    with pytest.raises(FoundingError, match="belongs to a federation already"):
        found(home, keys, "Other", CREATED_MS)


def test_a_founding_that_was_interrupted_is_finished_by_doing_it_again(home: Home) -> None:
    keys = prepare(home)
    genesis = found(home, keys, "Town", CREATED_MS)
    home.genesis.unlink()
    begin_chain(home, genesis)
    assert load_genesis(home) == genesis


def test_the_chain_of_another_federation_is_not_taken_over(home: Home, tmp_path: Path) -> None:
    found(home, prepare(home), "Town", CREATED_MS)
    other = Home(tmp_path / "other")
    theirs = found(other, prepare(other), "Other", CREATED_MS)
    home.genesis.unlink()
    with pytest.raises(StoreError, match="another federation"):
        begin_chain(home, theirs)


def test_a_member_s_lost_voting_key_is_not_made_anew(home: Home) -> None:
    found(home, prepare(home), "Town", CREATED_MS)
    home.voting_key.unlink()
    with pytest.raises(KeyFileError, match="no voting key"):
        prepare(home)
    assert not home.voting_key.exists()


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"name": "x"}'])
def test_a_damaged_genesis_is_told(home: Home, content: bytes) -> None:
    home.create()
    home.genesis.write_bytes(content)
    with pytest.raises(FoundingError, match=r"genesis\.json can't be used"):
        load_genesis(home)


@pytest.mark.parametrize("name", ["", " x", "a\nb", "x" * 65])
def test_a_federation_needs_a_name_that_can_be_shown(home: Home, name: str) -> None:
    with pytest.raises(FoundingError, match="can't be founded: name"):
        found(home, prepare(home), name, CREATED_MS)
    assert not home.genesis.exists()
