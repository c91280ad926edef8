"""Coverage-guided fuzzing of the decoder and the core, as long as one likes; needs atheris (`pip install atheris`).

    python -m tests.consensus.guided_fuzz FOLDER -max_total_time=600

FOLDER is filled with real messages of every kind and keeps what was found; other options are libFuzzer's.
`test_fuzz.py` does the same at random in every run of the tests.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any


def main(arguments: list[str]) -> None:
    """Raises whatever an input has brought about, after libFuzzer has written it down."""
    try:
        atheris: Any = importlib.import_module("atheris")
    except ImportError:
        sys.exit("guided_fuzz: atheris is not installed: pip install atheris")
    if len(arguments) < 2 or arguments[1].startswith("-"):
        sys.exit("guided_fuzz: name a folder for what is found")
    with atheris.instrument_imports(include=["consensus", "gossip"]):
        messages = importlib.import_module("tests.consensus.fuzz_messages")
    messages.fill(Path(arguments[1]))
    atheris.Setup(arguments, messages.take)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
