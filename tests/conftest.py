"""Which tests run where, and how Hypothesis searches."""

import os
import shutil
import subprocess

import pytest
from hypothesis import settings

# On CI the same examples every time; a failure found there can be repeated here. In neither profile
# does the clock of a busy machine decide.
settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("dev", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

NEEDS_MORE = {
    "browser": "needs Chromium",
    "server": "needs a real server program",
    "namespace": "needs network namespaces",
    "slow": "takes minutes",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all",
        action="store_true",
        help="run the tests that need a browser, a server or a network namespace, and the slow ones, too",
    )


def why_not_here(marker: str) -> str | None:
    """What this machine lacks for tests so marked, or None. A server is for the test to find."""
    if marker == "browser":
        names = ("chromium", "chromium-browser", "google-chrome")
        return None if any(map(shutil.which, names)) else "Chromium is not installed"
    if marker == "namespace":
        if not shutil.which("ip") or not shutil.which("unshare"):
            return "iproute2 or util-linux is not installed"
        tried = subprocess.run(
            ["unshare", "--map-root-user", "--net", "true"], capture_output=True, check=False
        )
        return None if tried.returncode == 0 else "this user may not make network namespaces"
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wants_all = config.getoption("--all")
    for marker, need in NEEDS_MORE.items():
        marked = [item for item in items if item.get_closest_marker(marker)]
        if not marked:
            continue
        lack = why_not_here(marker) if wants_all else "run by: make test-all"
        if lack:
            for item in marked:
                item.add_marker(pytest.mark.skip(reason=f"{need}; {lack}"))
