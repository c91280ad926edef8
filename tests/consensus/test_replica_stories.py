"""Golden scripts: the protocol told by what its replicas do. UPDATE_GOLDEN=1 writes them anew."""

import os
from pathlib import Path

import pytest

from tests.consensus.story import replayed

SCRIPTS = sorted((Path(__file__).parent / "golden").glob("*.txt"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_the_replicas_do_what_the_script_says(path: Path) -> None:
    script = path.read_text(encoding="utf-8")
    told = replayed(script)
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(told, encoding="utf-8")
    assert told == script
    assert script.startswith("# ")
