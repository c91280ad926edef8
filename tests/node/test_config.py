from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.config import ApiAddress, Config, ConfigError, load_config, to_toml, with_flags

FULL = Config(
    name='näme "quoted"',
    listen=("/ip4/0.0.0.0/tcp/7431", "/ip6/::/tcp/0"),
    bootstrap=("/ip4/192.168.1.5/tcp/7430",),
    api=ApiAddress("::1", 0),
    mdns=False,
    kinds=("embed",),
    model_idle_s=5,
    log_level="debug",
    shared_cache="5e" * 32,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def test_without_a_file_the_defaults_hold(path: Path) -> None:
    config = load_config(path)
    assert config == Config(config.name)
    assert config.name


def test_what_is_written_is_read_back(path: Path) -> None:
    path.write_text(to_toml(FULL), "utf-8")
    assert load_config(path) == FULL


@given(name=st.text(min_size=1, max_size=64).filter(lambda name: name.isprintable()))
def test_every_name_that_is_accepted_survives_the_file(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "name.toml"
    path.write_text(to_toml(Config(name)), "utf-8")
    if name == name.strip():
        assert load_config(path).name == name
    else:
        with pytest.raises(ConfigError, match="without blanks"):
            load_config(path)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('nmae = "x"', "line 2: unknown key 'nmae'; known are name, listen"),
        ("[api]\nport = 1", "line 2: api: expected a text"),
        ("name = 7", "line 2: name: expected a text in quotes, found 7"),
        ('name = ""', "expected 1 to 64 printable characters"),
        ('listen = "/ip4/0.0.0.0/tcp/7430"', "expected a list of texts"),
        ("listen = []", "expected at least one multiaddr"),
        ('listen = ["0.0.0.0:7430"]', "not a TCP multiaddr such as"),
        ('listen = ["/ip4/0.0.0.0/tcp/70000"]', "no port from 0 to 65535"),
        ('listen = ["/dns4/example.org/tcp/7430"]', "listen on an address of this machine"),
        ('bootstrap = ["/ip4/0.0.0.0/tcp/7430"]', "can't be dialed"),
        ('bootstrap = ["/ip4/10.0.0.1/udp/1/quic"]', "not a TCP multiaddr"),
        ('bootstrap = ["bizra1-aaaa"]', "this invite"),
        ('api = "7440"', "is not HOST:PORT"),
        ('api = "127.0.0.1:99999"', "is not HOST:PORT"),
        ("mdns = 1", "expected true or false"),
        ('kinds = ["paint"]', "there is no task kind 'paint'; known are embed"),
        ("model_idle_s = 0", "expected a number of seconds from 1"),
        ("model_idle_s = true", "expected a number of seconds from 1"),
        ('log_level = "loud"', "expected one of debug, info"),
        ('shared_cache = "my dog"', "expected 64 hex digits"),
    ],
)
def test_a_wrong_setting_is_told_with_file_line_and_what_is_allowed(
    path: Path, line: str, told: str
) -> None:
    path.write_text(f"# mine\n{line}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(path) in str(caught.value)
    assert told in str(caught.value)


@pytest.mark.parametrize("content", [b"name = ", b"\xff\xfe", b"name = 'a'\nname = 'b'"])
def test_a_file_that_is_no_toml_is_told(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"config\.toml"):
        load_config(path)


def test_flags_go_over_the_file_and_leave_the_rest() -> None:
    config = with_flags(FULL, api="127.0.0.1:1", listen=("/ip4/127.0.0.1/tcp/9",))
    assert config.api == ApiAddress("127.0.0.1", 1)
    assert config.listen == ("/ip4/127.0.0.1/tcp/9",)
    assert config.name == FULL.name
    assert with_flags(FULL) == FULL


def test_a_wrong_flag_is_named() -> None:
    with pytest.raises(ConfigError, match="--api: api: 'x' is not HOST:PORT"):
        with_flags(FULL, api="x")


def test_an_api_address_is_written_as_it_is_read() -> None:
    for text in ("127.0.0.1:7440", "[::1]:0", "localhost:80"):
        assert str(ApiAddress.parse(text)) == text
