"""The library's packages are there without having run, and run when they are asked for."""

import subprocess
import sys

import pytest


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_transport_leaves_out_what_it_does_not_use() -> None:
    code = "import sys, gossip.transport.libp2p; print(*sys.modules)"
    loaded = set(run(code).split())
    assert "libp2p.security.noise.patterns" in loaded
    assert not {"requests", "urllib3", "libp2p.host.basic_host", "dns.asyncresolver"} & loaded


@pytest.mark.parametrize(
    "code",
    [
        "from libp2p import new_host; print(callable(new_host))",
        "import libp2p; print(callable(libp2p.new_host))",
        "from libp2p.transport import TransportManager; print(callable(TransportManager))",
        "import libp2p; print(not hasattr(libp2p, 'unheard_of'))",
    ],
)
def test_whoever_asks_for_the_rest_gets_it(code: str) -> None:
    assert run(f"import gossip.transport.libp2p\n{code}") == "True"
