"""Real daemons for tests: processes of their own with homes, ports and terminals, on loopback only.

Whatever a test does, `Fleet.stop` ends what it started, by process id, and looks that nothing is left.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from node.client import Client
from node.storage.home import Home
from node.views.records import StatusView, TransactionView

Value = TypeVar("Value")

PROGRAM = (sys.executable, "-m", "node.cli")
START_S = 30.0
WAIT_S = 30.0
STOP_S = 10.0
ALL_KINDS = ("embed", "rank", "summarize", "answer")
TOLERANT = 4
"""So many equal validators stand one fault."""

_PAUSE_S = 0.02
_AHEAD = """
import sys, time
real, ahead_ns = time.time_ns, int(sys.argv.pop(1)) * 10**9
time.time_ns = lambda: real() + ahead_ns
from node.cli import main
main(prog_name="bizra-node")
"""


def with_clock_ahead(seconds: int) -> tuple[str, ...]:
    """The program on a machine whose clock is wrong."""
    return (sys.executable, "-c", _AHEAD, str(seconds))


def now_s() -> float:
    """Unix time, to be compared with what daemons note."""
    return datetime.now(UTC).timestamp()


def until(ask: Callable[[], Value], what: str, timeout_s: float = WAIT_S) -> Value:
    """Ask until the answer is true; that answer. Fails with `what` was waited for."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s:g} s in vain: {what}")
        time.sleep(_PAUSE_S)


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - what a test looks into
        """The one object that `--json` prints."""
        return json.loads(self.out)


def command(
    home: Path | None, *arguments: str | Path, stdin: bytes = b"", timeout_s: float = 60.0
) -> Ended:
    """Run `bizra-node` as a user does and wait for its end. It must never show a traceback."""
    chosen = () if home is None else ("--home", str(home))
    done = subprocess.run(
        [*PROGRAM, *chosen, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        check=False,
        timeout=timeout_s,
    )
    ended = Ended(done.returncode, done.stdout.decode(), done.stderr.decode())
    assert "Traceback" not in ended.out + ended.err, ended
    return ended


class Daemon:
    """One node: its home, and its process while it runs."""

    def __init__(self, path: Path, kinds: Sequence[str] = ALL_KINDS) -> None:
        path.mkdir(mode=0o700)
        self.name, self.home = path.name, Home(path)
        self._kinds = tuple(kinds)
        self._process: subprocess.Popen[bytes] | None = None
        self._client: Client | None = None
        self.listen = "/ip4/127.0.0.1/tcp/0"
        self._more = ""
        self._settle()

    def configure(self, more: str) -> None:
        """These lines too stand in its settings; before it is started."""
        self._more = more
        self._settle()

    @classmethod
    def of(cls, path: Path) -> Daemon:
        """The node of a home that is there already."""
        daemon = cls.__new__(cls)
        daemon.name, daemon.home = path.name, Home(path)
        daemon._kinds, daemon._process, daemon._client = ALL_KINDS, None, None
        daemon.listen = daemon._more = ""
        return daemon

    def _settle(self) -> None:
        self.home.config.write_text(
            f'name = "{self.name}"\nlisten = ["{self.listen}"]\napi = "127.0.0.1:0"\n'
            f"mdns = false\nfind_models = false\nkinds = {json.dumps(self._kinds)}\n{self._more}"
        )

    # Its process

    def launch(self, *arguments: str, program: Sequence[str] = PROGRAM) -> None:
        """Start the process; `started` waits until it is up."""
        assert not self.is_running
        with self._terminal.open("wb") as terminal:
            self._process = subprocess.Popen(
                [*program, "--home", str(self.home.path), "run", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=terminal,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def started(self) -> Daemon:
        """Wait until its HTTP interface answers. From then on it keeps its port, as real nodes do."""
        process = self.process

        def is_up() -> bool:
            assert process.poll() is None, f"{self.name} ended by itself: {self.said}"
            where = self.home.read_api()
            return where is not None and where.pid == process.pid

        until(is_up, f"{self.name} to start: {self.said}", START_S)
        if self.listen.endswith("/0"):
            self.listen = self.address.partition("/p2p/")[0]
            self._settle()
        return self

    def start(self, *arguments: str, program: Sequence[str] = PROGRAM) -> Daemon:
        """`bizra-node run` with these arguments; returns when it is up."""
        self.launch(*arguments, program=program)
        return self.started()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process that was started last."""
        assert self._process is not None
        return self._process

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def left_over(self) -> list[int]:
        """The processes that belong to its session, itself left out."""
        pid = self.process.pid
        return [one for one in _processes_of_session(pid) if one != pid]

    def kill(self) -> None:
        """`kill -9`; a model's process may outlive it by a moment, and is waited for."""
        self.process.kill()
        self.process.wait()
        self._hang_up()
        until(lambda: not self.left_over, f"the children of {self.name} to end")

    def end(self, how: signal.Signals = signal.SIGTERM, timeout_s: float = STOP_S) -> int:
        """Ask it to end; its exit code."""
        self.process.send_signal(how)
        code = self.process.wait(timeout_s)
        self._hang_up()
        return code

    def _hang_up(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def stop(self) -> str:
        """End it whatever its state; what was wrong about that."""
        if not self.is_running:
            self._hang_up()
            return ""
        try:
            code = self.end()
        except subprocess.TimeoutExpired:
            self.kill()
            return f"{self.name} did not end in {STOP_S:g} s: {self.said}"
        left = self.left_over
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        if code or left:
            return f"{self.name} ended with {code} and left {left}: {self.said}"
        return ""

    # What it shows

    @property
    def _terminal(self) -> Path:
        return self.home.path.with_suffix(".terminal")

    @property
    def said(self) -> str:
        """All that it wrote on its terminal since it was started last."""
        return self._terminal.read_text("utf-8", "replace")

    @property
    def logged(self) -> str:
        """Its log."""
        return self.home.log.read_text("utf-8", "replace") if self.home.log.exists() else ""

    def says(self, text: str, timeout_s: float = WAIT_S) -> str:
        """Wait for words on its terminal; all that it said."""
        until(lambda: text in self.said, f"{self.name} to say {text!r}", timeout_s)
        return self.said

    def saw(self, other: Daemon, status: str, since_s: float = 0.0) -> float | None:
        """When it first took the other for that, by its own log, as seconds of Unix time; None if it did not yet."""
        for line in self.logged.splitlines():
            said = json.loads(line)
            if (
                said["event"] != "peer status"
                or said["peer"] != other.id
                or said["after"] != status
            ):
                continue
            at_s = datetime.fromisoformat(said["timestamp"]).timestamp()
            if at_s >= since_s:
                return at_s
        return None

    @property
    def client(self) -> Client:
        """Its HTTP interface, called as its owner."""
        if self._client is None:
            self._client = Client.of_home(self.home)
        return self._client

    @property
    def status(self) -> StatusView:
        return self.client.status()

    @property
    def id(self) -> str:
        """Its node id, whether it runs or not."""
        return next(
            line.split()[1]
            for line in self.home.identity_key.read_text().splitlines()
            if line.startswith("public:")
        )

    @property
    def address(self) -> str:
        """Its first multiaddr, with its peer id."""
        where = self.home.read_api()
        assert where is not None
        return where.addresses[0]

    def command(self, *arguments: str | Path, stdin: bytes = b"") -> Ended:
        """A command of the owner in this home."""
        return command(self.home.path, *arguments, stdin=stdin)

    # What it does

    def pay(self, to: Daemon, amount: int = 1) -> TransactionView:
        """A transfer that must become final."""
        view = self.client.transfer(to.id, amount)
        view = self.client.await_transaction(view.tx_hash, WAIT_S)
        assert view.status == "finalized", view
        return view

    def balance(self) -> int:
        """What its account holds by its own ledger."""
        return int(self.client.account(self.id).balance)


class Fleet:
    """Daemons below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.all: list[Daemon] = []

    def new(self, name: str, kinds: Sequence[str] = ALL_KINDS) -> Daemon:
        """A home for a node that is not started yet."""
        daemon = Daemon(self.folder / name, kinds)
        self.all.append(daemon)
        return daemon

    def federation(
        self,
        size: int,
        kinds: dict[int, Sequence[str]] | None = None,
        settings: dict[int, str] | None = None,
    ) -> list[Daemon]:
        """Validators that know each other; `kinds` says what some can do, `settings` what else they are told."""
        chosen = kinds or {}
        members = [self.new(f"node{at}", chosen.get(at, ALL_KINDS)) for at in range(size)]
        for at, more in (settings or {}).items():
            members[at].configure(more)
        founder, newcomers = members[0].start(), members[1:]
        for one in newcomers:
            one.launch("--bootstrap", founder.address)
        for one in newcomers:
            one.started()
            seat(founder, one)
        await_peace(members)
        return members

    def stop(self) -> None:
        """End all; fails if one had to be forced or left a process behind."""
        faults = [fault for one in self.all if (fault := one.stop())]
        assert not faults, faults


def seat(judge: Daemon, candidate: Daemon) -> None:
    """Make an applicant a validator, by the word of one that holds the quorum."""
    until(lambda: knows(judge, candidate), f"{judge.name} to hear of {candidate.name}")
    judge.client.admit(candidate.id, validator=True)
    until(lambda: candidate.status.role == "validator", f"{candidate.name} to become a validator")


def knows(one: Daemon, other: Daemon) -> bool:
    """Whether it has the other's record: as a peer, or as an applicant with a name."""
    known = (*one.client.peers().peers, *one.client.peers(applicants=True).peers)
    return any(entry.node_id == other.id and entry.name for entry in known)


def await_peace(members: Sequence[Daemon]) -> None:
    """Wait until all are alive to each other, ready, and at the same block with the same state."""

    def sees_all(one: Daemon) -> bool:
        alive = {peer.node_id for peer in one.client.peers().peers if peer.status == "alive"}
        return alive.issuperset(other.id for other in members if other is not one)

    for one in members:
        until(lambda one=one: sees_all(one), f"{one.name} to see all others alive")  # type: ignore[misc]
        until(lambda one=one: one.client.not_ready() is None, f"{one.name} to be ready")  # type: ignore[misc]
    await_agreement(members)


def await_agreement(members: Sequence[Daemon]) -> StatusView:
    """Wait until all stand at the same block with the same state; the status of the first."""

    def shared() -> StatusView | None:
        views = [one.status for one in members]
        same = {(view.height, view.block_hash, view.state_root) for view in views}
        return views[0] if len(same) == 1 else None

    view = until(shared, f"{[one.name for one in members]} to agree on one state")
    assert view is not None
    return view


def _processes_of_session(session: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(entry.name))
    return found
