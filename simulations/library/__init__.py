"""Named scenarios that come with the simulator, each with why it exists: `bizra-sim list`."""

from __future__ import annotations

import difflib
from importlib.resources import files

from simulations.scenario_file import parse
from simulations.worlds.setting import Setting


class UnknownScenarioError(ValueError):
    """No scenario has this name; the text says which are near."""


def names() -> list[str]:
    """All names, in order."""
    return sorted(
        one.name.removesuffix(".toml")
        for one in files(__package__).iterdir()
        if one.name.endswith(".toml")
    )


def named(name: str) -> Setting:
    """A scenario by its name. Raises `UnknownScenarioError`."""
    known = names()
    if name not in known:
        near = difflib.get_close_matches(name, known, 3, 0.5)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise UnknownScenarioError(
            f"{name}: neither a file nor the name of a scenario{hint} (bizra-sim list shows all)"
        )
    text = (files(__package__) / f"{name}.toml").read_text(encoding="utf-8")
    return parse(text, f"{name}.toml")


def scenarios() -> list[Setting]:
    """All of them."""
    return [named(name) for name in names()]
