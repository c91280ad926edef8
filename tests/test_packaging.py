"""What is installed, locked and forbidden: the lock, the import contracts, the wheel's content."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from libp2p.crypto.ecc import ECCPublicKey, create_new_key_pair
from libp2p.crypto.key_exchange import create_ephemeral_key_pair

ROOT = Path(__file__).parent.parent
PACKAGES = {"node", "consensus", "gossip", "inference", "memory", "simulations"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()

# A row of the lock and its continuation lines: "name==version ; marker \", then "--hash=..." lines.
ENTRY = re.compile(
    r"^(?P<name>[a-z0-9-]+)==(?P<version>\S+).*\n(?P<rest>(?:    .*\n?)*)", re.MULTILINE
)
REQUIREMENT = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[^]]*\])?(?P<bounds>.*)$")


def name_of(requirement: str) -> str:
    found = REQUIREMENT.match(requirement)
    assert found
    return re.sub(r"[-_.]+", "-", found["name"]).lower()


def declared() -> list[str]:
    project = PROJECT["project"]
    build: list[str] = PROJECT["build-system"]["requires"]
    return [*project["dependencies"], *project["optional-dependencies"]["dev"], *build]


def locked() -> dict[str, set[str]]:
    versions: dict[str, set[str]] = {}
    for entry in ENTRY.finditer(LOCK):
        versions.setdefault(entry["name"], set()).add(entry["version"])
    return versions


def test_every_row_of_the_lock_has_hashes() -> None:
    entries = list(ENTRY.finditer(LOCK))
    assert len(entries) == sum("==" in row and row[0].isalnum() for row in LOCK.splitlines() if row)
    bare = [entry["name"] for entry in entries if "--hash=sha256:" not in entry["rest"]]
    assert bare == []


@pytest.mark.parametrize(
    "forbidden", ["://", "--index-url", "--extra-index-url", "--find-links", " @ "]
)
def test_the_lock_names_no_address(forbidden: str) -> None:
    assert forbidden not in LOCK


@pytest.mark.parametrize("requirement", declared(), ids=name_of)
def test_a_declared_dependency_is_locked(requirement: str) -> None:
    versions = locked().get(name_of(requirement))
    assert versions, f"{requirement} is not in requirements.lock: run make lock"
    exact = re.search(r"==(\S+)$", requirement)
    if exact:
        assert versions == {exact[1]}


def test_the_lock_leaves_torch_out() -> None:
    assert {"torch", "sentence-transformers", "transformers"}.isdisjoint(locked())


def test_the_import_contracts_name_all_six_packages() -> None:
    config = PROJECT["tool"]["importlinter"]
    assert set(config["root_packages"]) == PACKAGES
    floors = next(contract for contract in config["contracts"] if contract["id"] == "floors")
    assert {name for layer in floors["layers"] for name in layer.split(" | ")} == PACKAGES


def test_the_cores_are_kept_from_time_randomness_and_io() -> None:
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    cores = next(contract for contract in contracts if contract["id"] == "pure-cores")
    assert "consensus" in cores["source_modules"]
    needed = {"trio", "time", "random", "os", "socket", "logging", "structlog", "libp2p"}
    assert needed <= set(cores["forbidden_modules"])


def test_the_wheel_ships_all_six_packages() -> None:
    assert set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == PACKAGES


def test_libp2p_agrees_on_elliptic_curve_keys_with_the_fastecdsa_that_overrides_its_own() -> None:
    public = create_new_key_pair("P-256").public_key
    assert ECCPublicKey.from_bytes(public.to_bytes(), "P-256").to_bytes() == public.to_bytes()
    ours, our_secret = create_ephemeral_key_pair("P-256")
    theirs, their_secret = create_ephemeral_key_pair("P-256")
    assert our_secret(theirs.to_bytes()) == their_secret(ours.to_bytes())


def test_setup_refuses_a_python_that_does_not_run(tmp_path: Path) -> None:
    shim = tmp_path / "python3.12"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    run = subprocess.run(
        [ROOT / "scripts" / "setup.sh"],
        env={"PATH": "/usr/bin:/bin", "PYTHON": str(shim)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert f"PYTHON={shim} does not run" in run.stderr


def test_setup_says_which_python_is_needed(tmp_path: Path) -> None:
    shim = tmp_path / "python3"
    shim.write_text("#!/bin/sh\necho 3.9\n")
    shim.chmod(0o755)
    run = subprocess.run(
        [ROOT / "scripts" / "setup.sh"],
        env={"PATH": "/usr/bin:/bin", "PYTHON": str(shim)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "Python 3.11 or newer is needed" in run.stderr
