"""libp2p without its own start-up code. Import this before any part of the library.

`import libp2p` imports all of it: QUIC, ACME, DNS, HTTP clients. They take three fifths of its time and
37 MB, and this node never uses them. Submodules can be imported alone, if the packages above them are
there without having run; what those then lack runs at the first access to one of their names, as if it
were imported then.
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType


def bare(*names: str) -> None:
    """Put these packages, parents first, into `sys.modules` without running them. Those that are there stay."""
    for name in names:
        if name not in sys.modules:
            sys.modules[name] = module = _waiting(name)
            parent, _, last = name.rpartition(".")
            if parent:
                setattr(sys.modules[parent], last, module)


def _waiting(name: str) -> ModuleType:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"no package named {name!r}", name=name)
    module, loader = importlib.util.module_from_spec(spec), spec.loader

    def run(attribute: str) -> object:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        del module.__dict__["__getattr__"]
        loader.exec_module(module)
        return getattr(module, attribute)

    module.__dict__["__getattr__"] = run
    return module


bare("libp2p", "libp2p.transport")
