"""The model's library reports to nobody."""

import os
import subprocess
import sys
from pathlib import Path


def test_loading_the_model_s_library_leaves_no_trace_of_its_telemetry(tmp_path: Path) -> None:
    """Its first act would be a session file beside the temporary files, its second to look up a collector."""
    code = (
        "import os, memory.embedding, onnxruntime as ort;"
        "ort.SessionOptions(); print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.decode().strip() == "1"
    assert list(tmp_path.iterdir()) == []


def test_nothing_else_imports_the_library() -> None:
    root = Path(__file__).parent.parent.parent
    packages = ("node", "consensus", "gossip", "inference", "memory", "simulations")
    found = {
        str(path.relative_to(root))
        for package in packages
        for path in (root / package).rglob("*.py")
        if "import onnxruntime" in path.read_text()
    }
    assert found == {"memory/quiet_onnx.py"}
