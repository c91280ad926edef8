from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from node.founding import found, prepare
from node.storage.home import Home
from tests.node.alone import CREATED_MS


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a federation of one, to be copied: founding one syncs many files."""
    home = Home(tmp_path_factory.mktemp("founded") / "home")
    found(home, prepare(home), "alone", CREATED_MS)
    return home.path


@pytest.fixture
def home_path(founded: Path, tmp_path: Path) -> Path:
    """A home of the test's own, in which the federation has not made a block yet."""
    return Path(shutil.copytree(founded, tmp_path / "home"))
