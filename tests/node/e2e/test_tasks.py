"""Tasks between real daemons: done, handed over, broken off; and who gets to see what was asked."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from inference.executor import CAPACITY
from node.client import RefusedError
from node.views.records import JsonObject, TaskView
from node.work.service import DEFAULT_REWARD
from tests.node.e2e.daemons import WAIT_S, Daemon, await_agreement, await_peace, until

pytestmark = pytest.mark.timeout(180)

MARKER = "quetzalcoatlus northropi 7f3a9c51e2"
TEXT = (
    f"The {MARKER} was the largest animal that ever flew. Its wings spanned ten metres. "
    "It lived at the end of the Cretaceous and ate small dinosaurs. Wind tunnels help to study flight."
)
DOCUMENTS: list[JsonObject] = [
    {"name": "flight.md", "text": TEXT},
    {"name": "bread.md", "text": "Flour, water and salt make bread. The dough rests for an hour."},
]
LONG: JsonObject = {
    "texts": [f"{at} " + "many different words about nothing " * 30 for at in range(600)]
}
"""About a minute of work: it is always interrupted."""


def _settled(asker: Daemon, view: TaskView) -> TaskView:
    view = asker.client.await_task(view.task_id, 60)
    assert view.status == "settled", view
    assert view.receipt is not None
    assert view.usage is not None
    assert view.usage.tokens > 0
    return view


def _running(
    four: list[Daemon],
    executor: Daemon,
    *,
    deadline_s: int | None = None,
    reward: int | None = None,
) -> TaskView:
    """A task of the first node that its executor has claimed on the ledger and that takes long."""
    asker = four[0]
    view = asker.client.submit_task("embed", LONG, executor.id, reward, deadline_s)
    until(lambda: asker.client.task(view.task_id).status == "running", "the task to run")
    until(lambda: _on_ledger(four[3], view) == "assigned", "the claim to be final")
    return asker.client.task(view.task_id)


def _await_reward(asker: Daemon, before: int) -> None:
    """A reward is back; perhaps also the small one of the task that was taken over, whose deadline comes meanwhile."""
    until(lambda: asker.balance() - before in (0, DEFAULT_REWARD), "the reward to come back")


def _await_offers(four: list[Daemon]) -> None:
    """After a restart the first node believes what the others can do once they have said hello."""
    asker = four[0]

    def are_there() -> bool:
        peers = asker.client.peers().peers
        return sum("inference.embed" in one.capabilities for one in peers) == len(four) - 1

    until(are_there, "the others to say again what they can do", 15)


def _on_ledger(bystander: Daemon, view: TaskView) -> str:
    """What a node says that did not ask for it: the ledger's word."""
    try:
        return bystander.client.task(view.task_id).status
    except RefusedError:
        return "unknown"


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        ("embed", {"texts": [TEXT, "bread"]}, "vectors"),
        ("rank", {"query": "What flies?", "documents": DOCUMENTS}, "items"),
        ("summarize", {"documents": DOCUMENTS, "sentences": 2}, "sentences"),
        ("answer", {"question": "What did it eat?", "documents": DOCUMENTS}, "answer"),
    ],
)
def test_each_kind_is_done_at_home_and_by_a_peer_alike(
    four: list[Daemon], kind: str, given: JsonObject, expected: str
) -> None:
    plain, able = four[0], four[1]
    own = _settled(able, able.client.submit_task(kind, given))
    assert own.executor == able.id
    handed = _settled(plain, plain.client.submit_task(kind, given, able.id))
    assert handed.executor == able.id
    assert own.output is not None
    assert handed.output is not None
    assert own.output[expected] == handed.output[expected]
    await_agreement(four)
    seen = four[3].client.task(handed.task_id)
    assert (seen.status, seen.executor, seen.output) == ("settled", able.id, None)


def test_a_node_that_can_not_do_it_finds_a_peer_and_pays_it(
    four: list[Daemon], tmp_path: Path
) -> None:
    file = tmp_path / "flight.md"
    file.write_text(TEXT)
    asker = four[0]
    before = {one.id: int(asker.client.account(one.id).balance) for one in four}
    asked = asker.command(
        "task", "submit", "answer", "--query", "How wide were the wings?",
        "--input", file, "--reward", "700", "--wait", "--json",
    )  # fmt: skip
    assert asked.code == 0, asked
    assert "ten metres" in asked.json["output"]["answer"]
    executor = asked.json["executor"]
    assert executor in {one.id for one in four[1:]}
    after = {one.id: int(asker.client.account(one.id).balance) for one in four}
    assert after[asker.id] == before[asker.id] - 700
    assert after[executor] == before[executor] + 700


def test_only_the_two_that_work_on_it_ever_hold_the_content(four: list[Daemon]) -> None:
    """LevelDB keeps the first occurrence of a text as it is, compressed or not."""
    asker, executor, bystander = four[0], four[1], four[3]
    settled = _settled(
        asker, asker.client.submit_task("summarize", {"documents": DOCUMENTS}, executor.id)
    )
    await_agreement(four)
    assert bystander.client.task(settled.task_id).status == "settled"
    assert _holds(asker.home.tasks, MARKER)
    for one in four:
        assert not _holds(one.home.chain, MARKER)
    assert not _holds(bystander.home.path, MARKER)


def _holds(folder: Path, text: str) -> bool:
    files = (one for one in folder.rglob("*") if one.is_file())
    return any(text.encode() in one.read_bytes() for one in files)


def test_a_finished_task_is_there_after_a_restart(four: list[Daemon]) -> None:
    asker = four[0]
    before = _settled(
        asker, asker.client.submit_task("rank", {"query": "bread", "documents": DOCUMENTS})
    )
    asker.kill()
    asker.start()
    assert asker.client.task(before.task_id) == before
    await_peace(four)
    _await_offers(four)


def test_an_executor_that_vanishes_is_told_and_the_reward_comes_back(four: list[Daemon]) -> None:
    asker, executor = four[0], four[2]
    before = asker.balance()
    task = _running(four, executor, reward=5_000, deadline_s=5)
    assert asker.balance() == before - 5_000
    executor.kill()
    reason = until(lambda: asker.client.task(task.task_id).reason, "the loss to be told")
    assert reason is not None
    assert f"the executor {executor.id[:12]} was lost" in reason
    ended = asker.client.await_task(task.task_id, WAIT_S)
    assert ended.status == "failed"
    assert ended.reason is not None
    assert "deadline" in ended.reason
    until(lambda: asker.balance() == before, "the reward to come back")
    shown = asker.command("task", "show", task.task_id[:12])
    assert ended.reason in shown.out
    executor.start()
    await_peace(four)


def test_another_node_takes_over_from_one_that_vanishes_at_work(four: list[Daemon]) -> None:
    asker = four[0]
    some: JsonObject = {"texts": LONG["texts"][:80]}
    placed = asker.client.submit_task("embed", some)
    until(lambda: _on_ledger(four[0], placed) == "running", "the task to run")
    first = asker.client.task(placed.task_id)
    executor = next(one for one in four if one.id == first.executor)
    executor.kill()
    ended = asker.client.await_task(placed.task_id, 120)
    assert ended.status == "settled", ended
    assert ended.task_id != placed.task_id
    assert ended.executor not in (None, executor.id)
    assert ended.place is not None
    assert "is gone" in ended.place
    assert ended.output is not None
    assert len(ended.output["vectors"]) == 80
    older = asker.client.task(placed.task_id)
    assert (older.status, older.taken_over_by) == ("failed", ended.task_id)
    shown = asker.command("task", "show", placed.task_id[:12])
    assert ended.task_id in shown.out
    executor.start()
    await_peace(four)


def test_an_executor_that_restarts_gives_the_task_back(four: list[Daemon]) -> None:
    asker, executor = four[0], four[2]
    before = asker.balance()
    task = _running(four, executor, reward=5_000)
    executor.kill()
    executor.start()
    ended = asker.client.await_task(task.task_id, WAIT_S)
    assert ended.status == "failed"
    assert ended.reason
    _await_reward(asker, before)
    await_peace(four)


def test_a_model_that_dies_fails_the_task_with_a_reason(four: list[Daemon]) -> None:
    asker, executor = four[0], four[2]
    before = asker.balance()
    task = _running(four, executor, reward=5_000)
    (child,) = executor.left_over
    os.kill(child, signal.SIGKILL)
    ended = asker.client.await_task(task.task_id, WAIT_S)
    assert ended.status == "failed"
    assert ended.reason is not None
    assert "model" in ended.reason
    _await_reward(asker, before)
    # The next task gets a new model.
    _settled(asker, asker.client.submit_task("embed", {"texts": ["again"]}, executor.id))


def test_an_asker_that_restarts_in_the_middle_gets_its_result(four: list[Daemon]) -> None:
    asker, executor = four[0], four[1]
    some: JsonObject = {"texts": LONG["texts"][:12]}
    task = asker.client.submit_task("embed", some, executor.id)
    until(lambda: _on_ledger(four[3], task) in ("assigned", "settled"), "the claim to be final")
    asker.kill()
    asker.start()
    ended = _settled(asker, asker.client.task(task.task_id))
    assert ended.output is not None
    assert len(ended.output["vectors"]) == 12
    await_peace(four)
    _await_offers(four)


def test_a_task_that_nobody_began_is_cancelled(four: list[Daemon]) -> None:
    asker, executor = four[0], four[2]
    before = asker.balance()
    executor.process.send_signal(signal.SIGSTOP)
    try:
        task = asker.client.submit_task("embed", {"texts": ["x"]}, executor.id, 5_000)
        until(lambda: _on_ledger(four[3], task) == "queued", "the task to be on the ledger")
        assert asker.command("task", "cancel", task.task_id[:16]).code == 0
        ended = asker.client.await_task(task.task_id, WAIT_S)
        assert ended.status == "cancelled"
        _await_reward(asker, before)
    finally:
        executor.process.send_signal(signal.SIGCONT)
    await_peace(four)


def test_who_is_gone_before_accepting_is_replaced_and_a_task_for_it_alone_fails(
    four: list[Daemon],
) -> None:
    asker = four[0]
    executor, free = _stopped_before_accepting(four)
    until(lambda: _on_ledger(_other(four, executor), free) == "queued", "the task on the ledger")
    before = asker.balance()
    own = asker.client.submit_task("embed", {"texts": ["for you"]}, executor.id, 5_000)
    executor.kill()
    settled = _settled(asker, free)
    assert (settled.task_id, settled.executor) != (free.task_id, executor.id)
    assert asker.client.task(free.task_id).taken_over_by == settled.task_id
    failed = asker.client.await_task(own.task_id, WAIT_S)
    assert failed.status == "failed"
    assert failed.reason is not None
    assert f"the executor {executor.id[:12]} was lost" in failed.reason
    until(lambda: asker.balance() == before, "all rewards but one to come back")
    executor.start()
    await_peace(four)
    _await_offers(four)


def test_who_has_no_room_declines_what_is_for_it_alone_and_the_rest_goes_on_to_another(
    four: list[Daemon],
) -> None:
    """An executor has so many tasks in hand that it takes no more; its model stands still meanwhile."""
    asker = four[0]
    for at in range(6):
        executor = _next_executor(four)
        with _without_room(asker, executor):
            free = asker.client.submit_task("embed", {"texts": [f"for anybody {at}"]})
            settled = _settled(asker, free)
            assert settled.executor not in (None, executor.id)
            if free.executor != executor.id:
                continue  # whose turn it is has changed: again, with whoever's it is now
            assert asker.client.task(free.task_id).taken_over_by == settled.task_id
            assert f"the executor {executor.id[:12]} declined it" in (settled.place or "")
            alone = asker.client.submit_task("embed", {"texts": ["one more"]}, executor.id)
            ended = asker.client.await_task(alone.task_id, WAIT_S)
            assert ended.status == "failed"
            assert ended.reason is not None
            assert f"declined: this node has {CAPACITY} tasks in hand" in ended.reason
            return
    raise AssertionError("nobody was asked twice in a row")


@contextmanager
def _without_room(asker: Daemon, executor: Daemon) -> Iterator[None]:
    """Meanwhile this node's model stands still, and all tasks that it may have in hand wait for it."""
    _settled(asker, asker.client.submit_task("embed", {"texts": ["wake up"]}, executor.id))
    (child,) = executor.left_over
    os.kill(child, signal.SIGSTOP)
    try:
        held = [
            asker.client.submit_task("embed", {"texts": [f"number {at}"]}, executor.id)
            for at in range(CAPACITY)
        ]
        until(
            lambda: all(asker.client.task(one.task_id).status == "running" for one in held),
            "all to be accepted",
        )
        yield
    finally:
        os.kill(child, signal.SIGCONT)
    for one in held:
        _settled(asker, one)


def _next_executor(four: list[Daemon]) -> Daemon:
    """Who gets the first node's next task, if it is for anybody."""
    told = _settled(four[0], four[0].client.submit_task("embed", {"texts": ["whose turn?"]}))
    return next(one for one in four if one.id == told.executor)


def _stopped_before_accepting(four: list[Daemon]) -> tuple[Daemon, TaskView]:
    """A task for anybody, and its executor, which stood still before it was asked. Whose turn it is may change."""
    for _ in range(5):
        executor = _next_executor(four)
        executor.process.send_signal(signal.SIGSTOP)
        free = four[0].client.submit_task("embed", {"texts": ["for anybody"]})
        if free.executor == executor.id:
            return executor, free
        executor.process.send_signal(signal.SIGCONT)
        _settled(four[0], free)
    raise AssertionError("nobody was asked twice in a row")


def _other(four: list[Daemon], executor: Daemon) -> Daemon:
    """Neither the asker nor its executor."""
    return next(one for one in four[1:] if one is not executor)


def test_a_task_that_has_ended_or_is_not_ours_is_not_cancelled(four: list[Daemon]) -> None:
    asker = four[0]
    task = _settled(asker, asker.client.submit_task("embed", {"texts": ["x"]}))
    late = asker.command("task", "cancel", task.task_id, "--json")
    assert (late.code, late.json["error"]["code"]) == (1, "too_late")
    await_agreement(four)
    foreign = four[3].command("task", "cancel", task.task_id, "--json")
    assert (foreign.code, foreign.json["error"]["code"]) == (1, "unknown_task")


def test_an_executor_that_can_not_do_it_is_named(four: list[Daemon]) -> None:
    refused = four[1].command(
        "task", "submit", "embed", "--query", "x", "--executor", four[0].id, "--json"
    )
    assert (refused.code, refused.json["error"]["code"]) == (1, "no_executor")
    assert four[0].id[:12] in refused.json["error"]["detail"]


def test_bad_work_is_refused_with_a_sentence_before_anything_is_sent(
    four: list[Daemon], tmp_path: Path
) -> None:
    asker, before = four[0], four[0].status.height
    huge, rubbish, empty = tmp_path / "huge.txt", tmp_path / "rubbish.bin", tmp_path / "empty"
    huge.write_bytes(b"words " * 3_000_000)
    rubbish.write_bytes(bytes(range(256)) * 40)
    empty.mkdir()
    for arguments, code, words in (
        (("dance", "--query", "x"), 2, ("dance", "embed")),
        (("summarize", "--input", huge), 1, ("huge.txt", "16,000,000")),
        (("summarize", "--input", rubbish), 1, ("rubbish.bin",)),
        (("summarize", "--input", empty), 1, ("empty",)),
        (("summarize", "--input", tmp_path / "nowhere.md"), 1, ("nowhere.md",)),
        (("rank", "--input", rubbish), 2, ("--query",)),
        (("embed", "--query", "x", "--executor", "ff" * 32), 1, ("not reachable",)),
        (("embed", "--query", "x", "--reward", str(2**62)), 1, ("balance",)),
        (("embed", "--query", "x", "--deadline", "1"), 2, ("--deadline",)),
    ):
        ended = asker.command("task", "submit", *arguments)
        assert ended.code == code, ended
        assert not ended.out
        for word in words:
            assert word in ended.err, ended
    for kind, given in (("dance", {}), ("embed", {"texts": ["x" * 40_000]}), ("embed", {"a": 1})):
        with pytest.raises(RefusedError) as refused:
            asker.client.submit_task(kind, given)
        assert refused.value.status == 422
    assert asker.status.height == before
