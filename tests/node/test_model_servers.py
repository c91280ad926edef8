"""`[[backend]]` in config.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.config import Config, ConfigError, load_config, to_toml
from node.models.servers import ModelServer

SERVERS = (
    ModelServer("studio", "http://127.0.0.1:1234/v1", "openai", "key", ("m", "n"), 5),
    ModelServer("ollama", "http://[::1]:11434", "ollama"),
    ModelServer("file", "/models/q.gguf", "gguf", files={"q": "/models/q.gguf"}),
)
GOOD = {"name": '"a"', "url": '"http://localhost:1"', "kind": '"openai"'}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(to_toml(Config("x", backend=SERVERS)))
    assert load_config(path).backend == SERVERS


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("name", '"embedded"', "not 'embedded'"),
        ("name", '"a b"', "expected 1 to 64 letters"),
        ("url", '"https://api.example.org:443"', "expected http://127.0.0.1:PORT"),
        ("url", '"http://127.0.0.1"', "expected http://127.0.0.1:PORT"),
        ("url", '"http://127.0.0.1:x"', "Port could not be cast"),
        ("url", '"http://10.0.0.5:1234"', "is not this machine; forward its port by ssh"),
        ("kind", '"other"', "expected one of openai, ollama, gguf"),
        ("kind", '"gguf"', "expected the path of a file"),
        ("kind", "1", "expected a text in quotes"),
        ("api_key", '"a\\nb"', "visible ASCII"),
        ("models", '"m"', "expected a list of texts"),
        ("timeout_s", "0", "expected a number of seconds"),
        ("color", "1", "unknown key 'color'; known are name, url"),
    ],
)
def test_a_wrong_setting_is_told(tmp_path: Path, key: str, value: str, told: str) -> None:
    path = tmp_path / "config.toml"
    rows = {**GOOD, key: value}
    path.write_text("[[backend]]\n" + "".join(f"{name} = {rows[name]}\n" for name in rows))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert "line 1: backend: " in str(caught.value)
    assert told in str(caught.value)


def test_two_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(to_toml(Config("x", backend=SERVERS[:1] * 2)))
    with pytest.raises(ConfigError, match="two have the name 'studio'"):
        load_config(path)
