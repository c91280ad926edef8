from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from consensus.operations.transactions import Transfer
from node.cli import main
from node.storage.home import Home
from node.storage.store import LevelStore
from tests.node.alone import Alone


def lived(home_path: Path, blocks: int) -> str:
    """A home whose chain has some blocks; its state root."""
    node = Alone(home_path)
    for amount in range(1, blocks + 1):
        node.execute(Transfer(bytes([amount]) * 32, amount))
    root = node.engine.ledger.state_root.hex()
    node.close()
    return root


def replayed(home_path: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["--home", str(home_path), "--json", "replay", *words])


def test_replay_ends_at_the_state_that_the_node_had(home_path: Path) -> None:
    root = lived(home_path, 5)
    result = replayed(home_path)
    assert result.exit_code == 0, result.output
    view = json.loads(result.output)
    assert (view["height"], view["state_root"], view["equal"]) == (5, root, True)
    assert view["transactions"] == 5
    assert view["events_per_s"] > 0


def test_replay_stops_at_any_height(home_path: Path) -> None:
    lived(home_path, 5)
    view = json.loads(replayed(home_path, "--to", "3").output)
    assert view["height"] == 3
    beyond = replayed(home_path, "--to", "9")
    assert beyond.exit_code == 1
    assert "ends at height 5" in beyond.output


def test_a_changed_log_is_told(home_path: Path) -> None:
    lived(home_path, 3)
    with LevelStore(Home(home_path).chain) as chain:
        key = b"w/" + (2).to_bytes(8, "big")
        before = chain.get(key)
        assert before is not None
        chain.write([(key, before[:-1] + bytes([before[-1] ^ 1]))])
    result = replayed(home_path)
    assert result.exit_code == 1
    assert "height 2" in json.loads(result.output)["fault"]
