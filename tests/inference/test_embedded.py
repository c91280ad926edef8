"""The embedded backend on real processes: each kind, each way to fail, and no child left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest
import trio

from inference.backend import (
    BackendLost,
    BackendUnavailable,
    Busy,
    Result,
    TaskFailed,
    TimedOut,
)
from inference.embedded.backend import EmbeddedBackend
from inference.embedded.protocol import Done, Failed, Ready, Unable, frame
from inference.kinds import (
    AnswerInput,
    AnswerOutput,
    BadInput,
    EmbedInput,
    EmbedOutput,
    RankInput,
    RankOutput,
    SummarizeInput,
    SummarizeOutput,
    TaskInput,
    UnknownKind,
    Usage,
    decode_output,
    encode_input,
    kind_of,
)
from memory.messages import Document
from memory.model_files import MODEL_HASH

DOCUMENTS = (
    Document("bread.md", "Bake the bread at 245 degrees. Rye ferments faster than wheat."),
    Document("tower.md", "The lighthouse was built in 1871. It stands on a reef."),
)
SMALL = EmbedInput(texts=("a text",))
LONG = EmbedInput(texts=tuple(f"{index} " + "many words " * 200 for index in range(1500)))
"""About a minute of work: whatever ends it sooner has ended it in the middle."""


@pytest.fixture
async def backend() -> AsyncIterator[EmbeddedBackend]:
    async with EmbeddedBackend(nice=0) as running:
        yield running


async def run(backend: EmbeddedBackend, task: TaskInput, timeout_s: float = 30) -> Result:
    return await backend.run(kind_of(task), encode_input(task), timeout_s=timeout_s)


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(20):
        while not condition():  # noqa: ASYNC110  # see below
            await trio.sleep(0.005)  # another process changes it: there is no event to wait for


def is_gone(pid: int) -> bool:
    try:
        return process_fields(pid)[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def process_fields(pid: int) -> list[str]:
    """What /proc says of the process after its name: state, parent, and so on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def tunables_of(pid: int) -> str:
    environment = Path(f"/proc/{pid}/environ").read_text().split("\0")
    (found,) = (one for one in environment if one.startswith("GLIBC_TUNABLES="))
    return found.removeprefix("GLIBC_TUNABLES=")


def child_of(backend: EmbeddedBackend) -> int:
    pid = backend.child_pid
    assert pid is not None
    return pid


async def test_every_kind_is_done_by_one_child(backend: EmbeddedBackend) -> None:
    assert backend.describe().memory_bytes == 0
    question = "When was the lighthouse built?"
    expected: dict[TaskInput, type] = {
        SMALL: EmbedOutput,
        RankInput(query=question, documents=DOCUMENTS): RankOutput,
        SummarizeInput(documents=DOCUMENTS, sentences=1): SummarizeOutput,
        AnswerInput(question=question, documents=DOCUMENTS): AnswerOutput,
    }
    pids = set()
    for task, output_type in expected.items():
        result = await run(backend, task)
        output = decode_output(kind_of(task), result.output)
        assert isinstance(output, output_type)
        assert result.model_hash == MODEL_HASH
        assert result.usage.tokens > 0
        if isinstance(output, AnswerOutput):
            assert (output.answered, output.answer) == (True, DOCUMENTS[1].text[:33])
        pids.add(child_of(backend))
    assert len(pids) == 1
    description = backend.describe()
    assert description.kinds == ("embed", "rank", "summarize", "answer")
    assert description.is_running
    assert 50_000_000 < description.memory_bytes < 500_000_000


async def test_what_no_pipe_holds_at_once_goes_through_either_way(backend: EmbeddedBackend) -> None:
    long = ["word " * 6_500] * 4
    texts = (*long, *(f"text {number}" for number in range(100)))
    output = decode_output("embed", (await run(backend, EmbedInput(texts=texts))).output)
    assert isinstance(output, EmbedOutput)
    assert output.truncated == (0, 1, 2, 3)
    assert len(output.vectors) == len(texts) * output.dimensions * 4


async def test_bad_requests_are_refused_and_the_child_lives_on(backend: EmbeddedBackend) -> None:
    with pytest.raises(UnknownKind, match="no task kind 'dream'"):
        await backend.run("dream", b"", timeout_s=1)
    assert backend.child_pid is None
    await run(backend, SMALL)
    pid = child_of(backend)
    with pytest.raises(BadInput, match="input of 'rank' is not valid"):
        await backend.run("rank", b"\x80rubbish", timeout_s=30)
    with pytest.raises(BadInput, match="too large"):
        await backend.run("rank", bytes(70_000_000), timeout_s=30)
    await run(backend, SMALL)
    assert child_of(backend) == pid


async def test_a_killed_child_is_told_and_replaced(backend: EmbeddedBackend) -> None:
    await run(backend, SMALL)
    pid = child_of(backend)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:

            async def lose() -> None:
                with pytest.raises(BackendLost, match=r"ended \(signal 9\); ask again"):
                    await run(backend, LONG)

            nursery.start_soon(lose)
            await until(lambda: cpu_ticks(pid) > 100)
            os.kill(pid, signal.SIGKILL)
    assert (await run(backend, SMALL)).usage.items == 1
    assert child_of(backend) != pid


def cpu_ticks(pid: int) -> int:
    """Hundredths of a second that the process has computed."""
    fields = process_fields(pid)
    return int(fields[11]) + int(fields[12])


async def test_a_child_killed_while_idle_is_replaced_unnoticed(backend: EmbeddedBackend) -> None:
    await run(backend, SMALL)
    pid = child_of(backend)
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not backend.describe().is_running)
    await run(backend, SMALL)
    assert child_of(backend) != pid


async def test_a_task_beyond_its_time_ends_with_its_child(backend: EmbeddedBackend) -> None:
    await run(backend, SMALL)
    pid = child_of(backend)
    with pytest.raises(TimedOut, match=r"'embed' was not done within 0.3 s"):
        await run(backend, LONG, timeout_s=0.3)
    assert is_gone(pid)
    await run(backend, SMALL)


async def test_a_cancelled_task_ends_with_its_child(backend: EmbeddedBackend) -> None:
    await run(backend, SMALL)
    pid = child_of(backend)
    with trio.move_on_after(0.2) as scope:
        await run(backend, LONG)
    assert scope.cancelled_caught
    assert is_gone(pid)
    assert backend.describe().tasks_in_hand == 0
    await run(backend, SMALL)


async def test_callers_wait_their_turn_and_one_too_many_is_told_so() -> None:
    async with EmbeddedBackend(nice=0, max_tasks=3) as backend:
        done: list[int] = []

        async def work(number: int) -> None:
            await run(backend, SMALL)
            done.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(work, number)
            await until(lambda: backend.describe().tasks_in_hand == 3)
            with pytest.raises(Busy, match="3 tasks in hand"):
                await run(backend, SMALL)
        assert sorted(done) == [0, 1, 2]


async def test_waiting_for_a_turn_counts_against_the_time(backend: EmbeddedBackend) -> None:
    await run(backend, SMALL)
    pid = child_of(backend)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, backend, LONG)
        await until(lambda: backend.describe().tasks_in_hand == 1)
        with pytest.raises(TimedOut):
            await run(backend, SMALL, timeout_s=0.1)
        assert child_of(backend) == pid
        nursery.cancel_scope.cancel()


async def test_an_idle_child_is_ended_and_comes_back() -> None:
    async with EmbeddedBackend(nice=0, idle_s=0.05) as backend:
        for _ in range(2):
            await run(backend, SMALL)
            await until(partial(is_gone, child_of(backend)))
            assert backend.child_pid is None


async def test_leaving_takes_the_child_along() -> None:
    async with EmbeddedBackend(nice=0) as backend:
        await run(backend, SMALL)
        pid = child_of(backend)
        assert not is_gone(pid)
    assert is_gone(pid)


async def test_the_child_asks_for_large_pages_unless_its_user_wants_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for own, told in (
        ("", "glibc.malloc.hugetlb=1"),
        ("glibc.malloc.hugetlb=0", "glibc.malloc.hugetlb=0"),
    ):
        monkeypatch.setenv("GLIBC_TUNABLES", own)
        async with EmbeddedBackend(nice=0) as backend:
            await run(backend, SMALL)
            assert tunables_of(child_of(backend)) == told


async def test_the_child_steps_back_behind_the_daemon() -> None:
    async with EmbeddedBackend(nice=7) as backend:
        await run(backend, SMALL)
        own = os.getpriority(os.PRIO_PROCESS, 0)
        assert os.getpriority(os.PRIO_PROCESS, child_of(backend)) == min(own + 7, 19)


PARENT = """
import trio
from inference.embedded.backend import EmbeddedBackend
from inference.kinds import EmbedInput, encode_input

async def main():
    async with EmbeddedBackend(nice=0) as backend:
        small = encode_input(EmbedInput(texts=("a text",)))
        await backend.run("embed", small, timeout_s=30)
        print(backend.child_pid, flush=True)
        texts = tuple(f"{index} " + "many words " * 200 for index in range(1500))
        await backend.run("embed", encode_input(EmbedInput(texts=texts)), timeout_s=100)

trio.run(main)
"""


async def test_a_killed_daemon_leaves_no_child_even_in_the_middle_of_a_task() -> None:
    command = [sys.executable, "-c", PARENT]
    parent = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    with trio.fail_after(20):
        child = int(await parent.stdout.receive_some())
    await until(lambda: cpu_ticks(child) > 100)
    parent.kill()
    await parent.wait()
    await parent.stdout.aclose()
    await until(lambda: is_gone(child))


def speaking(*messages: bytes) -> tuple[str, ...]:
    """A child that writes these bytes and then waits for its end."""
    said = b"".join(messages)
    program = f"import sys; sys.stdout.buffer.write({said!r}); sys.stdout.flush(); sys.stdin.read()"
    return (sys.executable, "-c", program)


USAGE = Usage(items=1, tokens=1, duration_ms=0)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (speaking(frame(Unable("the file x is damaged; reinstall it"))), "cannot be loaded: the file x"),
        (speaking(frame(Ready("ab" * 32))), "loaded model abababab.*restart the node"),
        (speaking(frame(Done(b"", USAGE))), "did not start.*its log says more"),
        (speaking(b"Traceback"), "did not start: .*answered nonsense"),
        ((sys.executable, "-c", "raise SystemExit(3)"), r"did not start: .*\(exit code 3\)"),
        (("/no/such/program",), "cannot be started: .*No such file"),
        ((sys.executable, "-c", "import sys; sys.stdin.read()"), "not ready within 0.5 s"),
    ],
)  # fmt: skip
async def test_a_child_that_cannot_start_is_told_with_its_reason(
    command: tuple[str, ...], reason: str
) -> None:
    start_timeout_s = 0.5 if "not ready" in reason else 30
    async with EmbeddedBackend(command=command, start_timeout_s=start_timeout_s) as backend:
        for _ in range(2):
            with pytest.raises(BackendUnavailable, match=reason):
                await run(backend, SMALL)
            assert backend.child_pid is None


WITH_A_DAMAGED_MODEL = """
import sys
from functools import partial
from pathlib import Path
from inference.embedded import child
from memory import embedding
from memory.model_files import ModelFiles

embedding.find_model_files = lambda: ModelFiles(Path("/nowhere/weights"), Path("/nowhere/words"))
sys.exit(child.main(["--threads=1", "--nice=0"]))
"""


async def test_a_damaged_model_is_named_with_what_to_do() -> None:
    async with EmbeddedBackend(command=(sys.executable, "-c", WITH_A_DAMAGED_MODEL)) as backend:
        with pytest.raises(
            BackendUnavailable, match=r"cannot be loaded: .*/nowhere/weights.*reinstall"
        ):
            await run(backend, SMALL)


async def test_a_fault_inside_a_task_is_told_and_the_child_kept() -> None:
    ready = frame(Ready(MODEL_HASH))
    failed = frame(Failed("the task 'embed' failed: ZeroDivisionError"))
    async with EmbeddedBackend(
        command=speaking(ready, failed, frame(Done(b"x", USAGE)))
    ) as backend:
        with pytest.raises(TaskFailed, match="ZeroDivisionError"):
            await run(backend, SMALL)
        assert (await run(backend, SMALL)).output == b"x"


def test_the_backend_brings_no_model_into_the_daemon() -> None:
    program = (
        "import sys, inference.embedded.backend;"
        "heavy = {'numpy', 'onnx', 'onnxruntime', 'tokenizers', 'safetensors', 'pypdf'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
