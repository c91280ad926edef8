"""A program that others wrote reads /openapi.json and holds a real daemon to it: no 5xx, no breach of contract."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.node.e2e.daemons import Fleet

SEED = 20261126
LEAST_OPERATIONS = 85
NEVER_ENDING = r"/stream$|/events$|/watch$"
ENDS_THE_NODE = r"/leave$|/take$"
ASKS_STRANGERS = "post_backends"
"""It would have the daemon ask whatever server a generator makes up."""
NOT_IN_A_SCHEMA = "positive_data_acceptance"
"""Whether a signature holds or an id exists, no schema can say."""


def test_the_daemon_keeps_what_its_description_promises(fleet: Fleet) -> None:
    daemon = fleet.federation(1)[0]
    daemon.client.transfer("29" * 32, 5)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{daemon.client.url}/openapi.json"),
            *("--header", f"Authorization: Bearer {daemon.home.read_token()}"),
            *("--exclude-path-regex", f"{NEVER_ENDING}|{ENDS_THE_NODE}"),
            *("--exclude-operation-id", ASKS_STRANGERS),
            *("--exclude-checks", NOT_IN_A_SCHEMA),
            *("--phases", "examples,coverage,fuzzing"),
            *("--max-examples", "5", "--seed", str(SEED)),
            *("--no-color", "--continue-on-failure"),
        ],
        capture_output=True,
        check=False,
        timeout=110,
        cwd=daemon.home.path,
    )
    report = done.stdout.decode()
    assert done.returncode == 0, report[-6000:]
    tested = re.search(r"Tested: (\d+)", report)
    assert tested is not None
    assert int(tested[1]) >= LEAST_OPERATIONS
    assert daemon.is_running
