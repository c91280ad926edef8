"""`bizra-node demo`: a whole federation on this machine, real processes, real work.

`cluster.py` starts, kills and stops the daemons; `story.py` is what happens, step by step.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from memory.documents import DocumentError, read_documents
from node.demo.cluster import Cluster, DemoError
from node.demo.story import tell

SAMPLE = Path(__file__).parent.parent / "sample"
"""Documents that ship with the package."""


QUESTION = "How many validators may fail?"


def main(
    *, nodes: int = 4, given: Path | None = None, question: str = QUESTION, keep: bool = False
) -> int:
    """Run the demo; the exit code. With `keep` the federation is left running and its homes are left there.

    Raises `NodeError` when the input can't be read, before anything is made; and when a step fails: then the daemons
    are stopped and their logs are left to be read.
    """
    source = given or SAMPLE
    try:
        reading = read_documents(source)
    except DocumentError as error:
        raise DemoError(str(error)) from None
    folder = Path(tempfile.mkdtemp(prefix="bizra-demo-"))
    cluster = Cluster(folder)
    finished = False
    try:
        tell(cluster, nodes, source, reading, question, keep=keep)
        finished = True
    finally:
        if not (finished and keep):
            cluster.stop()
        if finished and not keep:
            shutil.rmtree(folder, ignore_errors=True)
        elif not finished:
            print(f"The homes and logs of the nodes are in {folder}")  # noqa: T201
    return 0
