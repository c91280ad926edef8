"""Fleets of real daemons for one test, or for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.node.e2e.daemons import Daemon, Fleet


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Daemons for one test."""
    daemons = Fleet(tmp_path)
    try:
        yield daemons
    finally:
        daemons.stop()


@pytest.fixture(scope="module")
def shared_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Daemons that the tests of a module share."""
    daemons = Fleet(tmp_path_factory.mktemp("fleet"))
    try:
        yield daemons
    finally:
        daemons.stop()


@pytest.fixture(scope="session")
def four(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Daemon]]:
    """Four equal validators; the first does no tasks itself. Every test leaves them in peace."""
    daemons = Fleet(tmp_path_factory.mktemp("four"))
    try:
        yield daemons.federation(4, {0: ()})
    finally:
        daemons.stop()
