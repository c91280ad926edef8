"""The page that a run becomes: complete in itself, and alive in a real browser."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from simulations.cli import main
from simulations.library import named
from simulations.report import report, spans, views
from simulations.running import run_any
from simulations.worlds.trace import Transition


def shown(page: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="shown">(.*?)</script>', page, re.DOTALL)
    assert found
    told: dict[str, object] = json.loads(found[1])
    return told


def test_a_page_holds_the_run_and_asks_for_nothing_else() -> None:
    result, page = report(named("two-phase-commit"))
    told = shown(page)
    assert told["violation"] == result.violation
    assert told["trace"] == result.trace_hash
    assert len(told["messages"]) == result.messages  # type: ignore[arg-type]
    assert not re.search(r"""(src|href)=|https?://|@import|url\(""", page)
    assert "{{" not in page.replace("{{}}", "")


def test_being_drawn_changes_nothing_about_a_run() -> None:
    assert report(named("two-halves"))[0].trace_hash == run_any(named("two-halves")).trace_hash


def test_text_of_a_scenario_cannot_end_the_page_early() -> None:
    nasty = msgspec.structs.replace(named("calm"), why="</script><b>")
    _, page = report(nasty)
    assert shown(page)["why"] == "</script><b>"
    assert "</script><b>" not in page


def test_times_down_and_views_are_read_from_the_transitions() -> None:
    events = [
        Transition(10, "n0", "entered", "epoch=0 view=1"),
        Transition(20, "n1", "crashed", "for 5 ms"),
        Transition(30, "n1", "restarted", ""),
        Transition(40, "n0", "crashed", "for 5 ms"),
    ]
    place = {"n0": 0, "n1": 1}
    assert spans(events, place, 50) == [[1, 20, 30], [0, 40, 50]]
    assert views(events, place, 50) == [[0, 0, 10, 0], [0, 10, 50, 1], [1, 0, 50, 0]]


def test_a_page_that_cannot_be_written_is_told_with_a_way_out(tmp_path: Path) -> None:
    told = CliRunner().invoke(main, ["report", "calm", "--out", str(tmp_path / "no" / "a.html")])
    assert told.exit_code == 1
    assert "--out" in told.output


HANDS = Path(__file__).with_name("report_hands.js")


@pytest.mark.browser
def test_a_browser_zooms_filters_and_marks_what_broke_with_every_control(tmp_path: Path) -> None:
    result, page = report(named("two-phase-commit"))
    drawn = shown(page)
    kinds: list[str] = drawn["kinds"]  # type: ignore[assignment]
    nodes = [one["name"] for one in drawn["nodes"]]  # type: ignore[attr-defined]
    messages: list[tuple[int, int, int, int, str, list[int]]] = drawn["messages"]  # type: ignore[assignment]
    (tmp_path / "page.html").write_text(
        page.replace("</body>", f"<script>{HANDS.read_text()}</script></body>")
    )
    chromium = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    )
    done = subprocess.run(
        [
            chromium,
            *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--window-size=1400,1000", "--enable-logging=stderr", "--virtual-time-budget=8000"),
            f"--user-data-dir={tmp_path / 'profile'}",
            "--dump-dom",
            (tmp_path / "page.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    assert "Uncaught" not in done.stderr
    found = re.search(r'<pre id="told">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    told = json.loads(found[1].replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&"))
    assert told["verdict"] == result.violation
    assert told["messages"] == result.messages
    assert told["red"] > 200
    assert told["in"] < told["whole"] == told["zero"] == told["all"]
    assert told["out"] > told["in"]
    assert told["wheeled"][1] < told["wheeled"][0]
    assert told["plus"] < told["minus"]
    assert told["right"] > 0
    assert told["left"] == pytest.approx(0)
    assert told["v"] < told["whole"]
    assert told["broken"]
    assert told["button"]
    assert told["dragged"] > 0
    assert told["brushed"] < told["whole"]
    assert told["stretched"] == 0 < told["squeezed"]
    by_kind = {name: sum(kinds[one[3]] == name for one in messages) for name in kinds}
    assert dict(told["kinds"]) == by_kind
    assert dict(told["nodes"]) == {
        name: sum(place in one[1:3] for one in messages) for place, name in enumerate(nodes)
    }
    assert told["only"] == by_kind[kinds[0]]
    assert told["again"] == told["unsearched"] == result.messages
    assert told["lost"] == sum(not one[5] for one in messages) > 0
    assert told["searched"] == sum("transaction=3" in one[4] for one in messages) > 0
    assert told["listed"] > told["words"] > told["filtered"] == 1
    assert "violation" in told["chosen"]
    assert "arrives" in told["tip"]
    assert told["gone"]
