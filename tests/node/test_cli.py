from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from consensus.genesis import Genesis
from consensus.operations.transactions import SubmitTask, Transfer, content_hash
from consensus.parameters import Parameters
from node.cli.joining import qr_code
from node.storage.home import ApiFile, Home
from node.storage.store import LevelStore
from tests.node.alone import STRANGER, Alone, serving
from tests.node.test_gateway import (
    BLOCK_KEYS,
    PEER_KEYS,
    STATUS_KEYS,
    TASK_KEYS,
    TRANSACTION_KEYS,
)

BOB = bytes(range(32))
VERDICT_KEYS = {"valid", "reason", "kind", "height", "signers", "power", "quorum"}
HEAVY = ("libp2p", "onnxruntime", "numpy", "plyvel", "trio", "hypercorn", "starlette", "nacl")


@dataclass
class Ended:
    """How a call of the program ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - a test knows what it expects
        """The one object that was printed."""
        return json.loads(self.out)


async def call(home: Path, *words: str, given: bytes = b"") -> Ended:
    """Run `bizra-node` with these words as a process of its own."""
    ended = await trio.run_process(
        [sys.executable, "-m", "node.cli", "--home", str(home), *words],
        stdin=given,
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout.decode(), ended.stderr.decode())


@dataclass
class Running:
    """A node with its gateway, and the program beside it."""

    node: Alone
    home: Path

    async def __call__(self, *words: str, given: bytes = b"") -> Ended:
        return await call(self.home, *words, given=given)


@pytest.fixture
async def cli(home_path: Path) -> AsyncIterator[Running]:
    async with serving(home_path) as (node, _):
        yield Running(node, home_path)


async def test_status_tells_the_promised_keys_and_how_many_faults_are_stood(cli: Running) -> None:
    told = await cli("status", "--json")
    assert told.code == 0
    assert told.json.keys() >= STATUS_KEYS
    shown = await cli("status")
    assert "tolerates no faulty validator" in shown.out
    assert told.json["node_id"] in shown.out


async def test_a_transfer_ends_as_the_federation_decided(cli: Running) -> None:
    paid = await cli("tx", "transfer", BOB.hex(), "5", "--wait", "--json")
    assert paid.code == 0
    assert paid.json.keys() >= TRANSACTION_KEYS
    assert (paid.json["status"], paid.json["height"]) == ("finalized", 1)
    shown = await cli("tx", "show", paid.json["txHash"][:8], "--json")
    assert shown.json == paid.json
    unpaid = await cli("tx", "transfer", BOB.hex(), str(10**12), "--json")
    assert unpaid.code == 1
    assert unpaid.json["error"]["code"] == "overdraft"
    assert "the balance is" in unpaid.err


async def caught_up(cli: Running) -> None:
    """The read models have all blocks."""
    while cli.node.projector.height < cli.node.engine.height:
        await cli.node.projector.moved()


async def test_accounts_and_transactions_are_listed_and_proven(cli: Running) -> None:
    for amount in (5, 6):
        cli.node.execute(Transfer(BOB, amount))
    await caught_up(cli)
    account = await cli("account", "show", BOB.hex()[:12], "--json")
    assert account.json == {"id": BOB.hex(), "balance": "11", "nonce": 0}
    proven = await cli("account", "show", BOB.hex(), "--proven", "--json")
    assert proven.json == account.json
    assert "after block 2" in (await cli("account", "show", BOB.hex(), "--proven")).out
    listed = await cli("account", "list", "--json")
    assert account.json in listed.json["accounts"]
    assert (await cli("account", "list", "--proven", "--json")).json == listed.json
    first = await cli("tx", "list", "--account", BOB.hex(), "--limit", "1", "--json")
    (newest,) = first.json["transactions"]
    assert (newest["status"], newest["height"]) == ("finalized", 2)
    rest = await cli("tx", "list", "--account", BOB.hex(), "--after", first.json["next"], "--json")
    assert [one["height"] for one in rest.json["transactions"]] == [1]
    checked = await cli("tx", "list", "--account", BOB.hex(), "--proven", "--json")
    assert [one["height"] for one in checked.json["transactions"]] == [2, 1]
    shown = await cli("tx", "list", "--limit", "1")
    assert "More: bizra-node tx list --after" in shown.out


async def test_tasks_of_the_ledger_are_listed_and_proven(cli: Running) -> None:
    deadline_ms = cli.node.now_ms + 3_600_000
    cli.node.execute(SubmitTask("embed", content_hash(b"in"), 7, None, deadline_ms))
    await caught_up(cli)
    own = cli.node.keys.identity.node_id.hex()
    listed = await cli("task", "ledger", "--owner", own[:12], "--json")
    (row,) = listed.json["tasks"]
    assert (row["kind"], row["status"], row["height"]) == ("embed", "queued", 1)
    proven = await cli("task", "ledger", "--owner", own[:12], "--proven", "--json")
    (task,) = proven.json["tasks"]
    assert task["task_id"] == row["task_id"]
    assert (task["submitter"], task["reward"], task["executor"]) == (own, "7", None)
    assert row["task_id"] in (await cli("task", "ledger", "--state", "queued", "--proven")).out
    assert "no such task" in (await cli("task", "ledger", "--state", "settled")).out
    assert (await cli("task", "ledger", "--state", "queued", "--owner", own)).code == 2


async def test_a_node_is_audited_and_its_lists_are_answered_from_the_copy(
    cli: Running, tmp_path: Path
) -> None:
    for amount in (5, 6):
        cli.node.execute(Transfer(BOB, amount))
    await caught_up(cli)
    told = await cli("audit", "--all", "--json")
    assert told.code == 0, told.err
    assert (told.json["height"], told.json["blocks"]) == (2, 2)
    assert told.json["state_root"] == cli.node.engine.ledger.state_root.hex()
    assert {"name": "transactions", "items": 2, "height": 2} in told.json["lists"]
    shown = await cli("audit")
    assert "up to block 2, 0 blocks of them now" in shown.out
    listed = ("tx", "list", "--account", BOB.hex()[:12], "--json")
    assert (await cli(*listed, "--audited")).json == (await cli(*listed)).json
    for words in (("events",), ("account", "list"), ("fairness",), ("task", "ledger")):
        assert (await cli(*words, "--json", "--audited")).json == (await cli(*words, "--json")).json
    own = cli.node.keys.identity.node_id.hex()
    assert (await cli("reputation", own, "--audited", "--json")).json["score"] == 500
    assert "Nobody has earned" in (await cli("leaderboard", "--audited")).out
    assert "Nobody has ended" in (await cli("reputation", "--audited")).out
    where = ApiFile(**json.loads((cli.home / "api.json").read_bytes()))
    elsewhere = ("--url", where.url, "--genesis", str(Home(cli.home).genesis))
    empty = tmp_path / "empty"
    lost = await call(empty, "audit", *elsewhere)
    assert lost.code == 2
    assert "--directory DIR" in lost.err
    kept = await call(empty, "audit", *elsewhere, "--directory", str(tmp_path / "a"), "--json")
    assert kept.json["blocks"] == 2
    strange = f"0:{'ab' * 32}"
    false = await call(
        empty, "audit", *elsewhere, "--directory", str(tmp_path / "a"), "--trust", strange, "--json"
    )
    assert (false.code, false.json["error"]["code"]) == (1, "audit_failed")
    assert "not those that you trust" in false.err


async def test_rankings_say_so_when_nobody_has_worked(cli: Running) -> None:
    assert (await cli("leaderboard", "--json")).json == {"leaders": [], "next": None}
    assert "Nobody has earned" in (await cli("leaderboard")).out
    assert (await cli("reputation", "--proven", "--json")).json == {"nodes": [], "next": None}
    own = cli.node.keys.identity.node_id.hex()
    assert (await cli("reputation", own, "--json")).json["score"] == 500
    fair = await cli("fairness", "--json")
    assert fair.json == {"gini": None, "members": 1, "total": "0"}
    assert "no reward yet" in (await cli("fairness")).out


async def test_the_event_log_is_shown_and_followed_behind_a_cursor(cli: Running) -> None:
    paid = cli.node.execute(Transfer(BOB, 5))
    log = await cli("events", "--json")
    kinds = [one["kind"] for one in log.json["events"]]
    assert kinds[0] == "BlockCreated"
    assert "TransactionExecuted" in kinds
    assert "BlockFinalized" in (await cli("events", "--after", "0")).out
    words = ("--follow", "--after", "0", "--count", "2", "--json")
    followed = await cli("events", *words)
    first, second = map(json.loads, followed.out.splitlines())
    assert (first["event"], first["txHash"]) == ("transaction", paid.id.hex())
    assert second["event"] == "block"
    cli.node.execute(Transfer(BOB, 6))
    behind = ("--follow", "--after", second["cursor"], "--count", "1")
    again = await cli("events", *behind, "--account", BOB.hex())
    assert "finalized" in again.out
    wrong = await cli("events", "--follow", "--after", "999")
    assert (wrong.code, "the log ends" in wrong.err) == (1, True)
    assert (await cli("events", "--account", BOB.hex())).code == 2


async def test_blocks_are_shown_by_height_and_hash(cli: Running) -> None:
    assert "no block yet" in (await cli("block", "list")).out
    cli.node.execute(Transfer(BOB, 5))
    by_height = await cli("block", "show", "1", "--json")
    assert by_height.json.keys() >= BLOCK_KEYS
    by_hash = await cli("block", "show", by_height.json["hash"][:10], "--json")
    assert by_hash.json == by_height.json
    missing = await cli("block", "show", "9")
    assert missing.code == 1
    assert "heights go from 1 to 1" in missing.err


async def test_the_beginning_of_a_hash_may_look_like_a_number(cli: Running) -> None:
    blocks = 0
    while True:
        cli.node.execute(Transfer(BOB, 5))
        blocks += 1
        newest = await cli("block", "show", str(blocks), "--json")
        beginning = newest.json["hash"][:4]
        if beginning.isdigit() and int(beginning) > blocks:
            break
    shown = await cli("block", "show", beginning, "--json")
    assert shown.json == newest.json


async def test_peers_and_applicants(cli: Running) -> None:
    assert (await cli("peers", "--json")).json == {"peers": []}
    asking = await cli("peers", "--applicants", "--json")
    assert asking.json["peers"][0].keys() >= PEER_KEYS
    shown = await cli("peers", "--applicants")
    assert f"bizra-node admit {STRANGER.node_id[:12]}" in shown.out


async def test_watching_goes_on_until_ctrl_c_which_is_no_error(cli: Running) -> None:
    async with trio.open_nursery() as nursery:
        words = [sys.executable, "-m", "node.cli", "--home", str(cli.home), "--json"]
        watching = await nursery.start(
            partial(
                trio.run_process, [*words, "peers", "--watch"], stdout=subprocess.PIPE, check=False
            )
        )
        shown = b""
        while shown.count(b"\n") < 2:
            shown += await watching.stdout.receive_some()
        assert shown.splitlines()[:2] == [b'{"peers": []}'] * 2
        watching.send_signal(signal.SIGINT)
        async for _ in watching.stdout:
            pass
        assert await watching.wait() == 0


async def test_a_newcomer_is_invited_or_admitted_by_the_first_digits_of_its_id(
    cli: Running,
) -> None:
    invite = await cli("invite", "--hours", "2", "--json")
    assert invite.json["expires_at_ms"] - cli.node.now_ms == 2 * 60 * 60 * 1000
    admitted = await cli("admit", "abab", "--json")
    assert (admitted.code, admitted.json["node_id"]) == (0, STRANGER.node_id)
    again = await cli("admit", "abab")
    assert again.code == 1
    assert "the node is a member already" in again.out


async def test_an_invite_is_drawn_as_a_qr_code_with_dark_finders_on_a_light_edge(
    cli: Running,
) -> None:
    plain = await cli("invite")
    drawn = await cli("invite", "--qr")
    assert drawn.out.startswith(plain.out.rstrip())
    code = drawn.out.removeprefix(plain.out.rstrip()).strip("\n").splitlines()
    assert len({len(line) for line in code[:-1]}) == 1
    assert 2 * len(code) >= len(code[0])
    assert any(line.startswith("\N{FULL BLOCK}" * 4) for line in code)
    as_json = await cli("invite", "--qr", "--json")
    assert as_json.json["invite"] in plain.out


def test_what_does_not_fit_a_qr_code_is_said_so() -> None:
    assert "3000 characters: too many" in qr_code("x" * 3000)


async def test_validators_are_listed(cli: Running) -> None:
    told = await cli("validators", "list", "--json")
    assert [seat["power"] for seat in told.json["validators"]] == [1]


async def test_a_token_is_made_listed_and_revoked(cli: Running) -> None:
    made = await cli("token", "create", "till", "--scope", "pay", "--quota", "5", "--json")
    assert (made.code, len(made.json["token"])) == (0, 64)
    assert "till  pay  5/s" in (await cli("token", "list")).out
    assert (await cli("token", "revoke", "till")).code == 0
    again = await cli("token", "revoke", "till")
    assert again.code == 1
    assert "no token named 'till'" in again.err


async def test_a_task_is_read_from_files_and_its_result_shown(cli: Running, tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "bees.md").write_text("# Bees\n\nBees dance to tell where the flowers are.\n")
    (folder / "photo.jpg").write_bytes(bytes(range(256)))
    words = ("task", "submit", "answer", "--input", str(folder), "--query", "Why do bees dance?")
    done = await cli(*words, "--wait", "--json")
    assert done.code == 0
    assert done.json.keys() >= TASK_KEYS | {"reason"}
    assert "photo.jpg is left out" in done.err
    (request,) = cli.node.requests
    assert request.input == _answer_input("bees.md", "Why do bees dance?", request.input)
    listed = await cli("task", "list", "--json")
    assert listed.json["tasks"][0]["task_id"] == done.json["task_id"]
    assert "settled" in (await cli("task", "show", done.json["task_id"])).out
    cancelled = await cli("task", "cancel", done.json["task_id"])
    assert (cancelled.code, "has ended" in cancelled.err) == (1, True)


def _answer_input(name: str, question: str, seen: Any) -> Any:  # noqa: ANN401
    """The input with its texts as they were read; name and question are this test's."""
    (document,) = seen.documents
    assert "dance" in document.text
    return type(seen)(question=question, documents=(type(document)(name, document.text),))


async def test_standard_input_is_a_document(cli: Running) -> None:
    done = await cli("task", "submit", "embed", "--input", "-", given="Grüße".encode())
    assert done.code == 0
    (request,) = cli.node.requests
    assert request.input.texts == ("Grüße",)  # type: ignore[union-attr] # it is an embedding


WRONG_TASKS: list[tuple[tuple[str, ...], int, str]] = [
    (("submit", "paint", "--input", "-"), 2, "there is no task kind 'paint'"),
    (("submit", "rank", "--input", "-"), 2, "rank needs a question"),
    (("submit", "embed"), 2, "embed needs something to work on"),
    (("submit", "summarize", "--query", "x", "--input", "-"), 2, "--query is not for"),
    (("submit", "embed", "--sentences", "3", "--input", "-"), 2, "--sentences is for"),
    (("submit", "embed", "--input", "/nowhere/at/all"), 1, "/nowhere/at/all does not exist"),
    (("submit", "embed", "--input", sys.executable), 1, "larger than|binary|not text"),
    (("show", "0000"), 1, "no known task id begins with 0000"),
    (("show", "xyz"), 1, "is no task id"),
]


async def test_a_wrong_task_is_told(cli: Running, subtests: pytest.Subtests) -> None:
    for words, code, told in WRONG_TASKS:
        with subtests.test(words=words):
            ended = await cli("task", *words, given=b"text")
            assert ended.code == code
            assert any(part in ended.err for part in told.split("|")), ended.err
    assert cli.node.requests == []


async def test_binary_rubbish_as_a_document_is_refused_before_it_is_sent(cli: Running) -> None:
    ended = await cli("task", "submit", "embed", "--input", "-", given=bytes(range(256)) * 40)
    assert ended.code == 1
    assert "standard input" in ended.err


async def test_a_receipt_is_verified_offline_and_not_after_one_changed_byte(
    cli: Running, tmp_path: Path
) -> None:
    transaction = cli.node.execute(Transfer(BOB, 5))
    file, genesis = tmp_path / "receipt.json", tmp_path / "genesis.json"
    written = await cli("receipt", transaction.id.hex(), "-o", str(file))
    assert written.code == 0
    genesis.write_bytes(Home(cli.home).genesis.read_bytes())
    words = ("verify", str(file), "--genesis", str(genesis), "--json")
    good = await call(tmp_path / "none", *words)
    assert good.code == 0
    assert good.json.keys() >= VERDICT_KEYS
    assert good.json["valid"]
    text = file.read_text()
    at = text.index('"state_root": "') + 20
    file.write_text(text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1 :])
    bad = await call(tmp_path / "none", *words)
    assert (bad.code, bad.json["valid"], bool(bad.json["reason"])) == (1, False, True)


async def test_a_stopped_node_is_not_reachable(home_path: Path) -> None:
    for words in (("status",), ("peers",), ("tx", "show", "abcd"), ("task", "list"), ("invite",)):
        ended = await call(home_path, *words, "--json")
        assert ended.code == 3
        assert ended.json["error"]["code"] == "not_reachable"
        assert "bizra-node run" in ended.err


@pytest.fixture
def dead_pid() -> int:
    with subprocess.Popen(["true"]) as dead:
        pass
    return dead.pid


async def test_what_a_killed_daemon_left_is_not_taken_for_a_running_one(
    home_path: Path, dead_pid: int
) -> None:
    Home(home_path).write_api(ApiFile(dead_pid, "127.0.0.1", 9))
    ended = await call(home_path, "status")
    assert ended.code == 3
    assert "no daemon is running" in ended.err


async def test_an_address_where_nobody_listens_is_not_reachable(
    home_path: Path, unused_port: int
) -> None:
    Home(home_path).write_api(ApiFile(1, "127.0.0.1", unused_port))
    ended = await call(home_path, "status")
    assert ended.code == 3
    assert f"127.0.0.1:{unused_port} does not answer" in ended.err


@pytest.fixture
async def unused_port() -> int:
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    port: int = listener.socket.getsockname()[1]
    await listener.aclose()
    return port


WRONG_USAGE: list[tuple[str, ...]] = [
    ("nonsense",),
    ("tx", "transfer", "abcd"),
    ("tx", "transfer", "abcd", "five"),
    ("tx", "transfer", "abcd", "0"),
    ("tx", "transfer", "abcd", "-5"),
    ("status", "--loud"),
    ("block", "list", "--limit", "0"),
    ("run", "--api", "7440"),
    ("run", "--listen", "0.0.0.0:7430"),
    ("run", "--bootstrap", "bizra1-aaaa"),
    ("run", "--bootstrap", "nowhere"),
    ("run", "--found", "Town", "--bootstrap", "/ip4/127.0.0.1/tcp/1"),
    ("init", "--name", ""),
]


async def test_wrong_usage_ends_with_2_and_says_what_is_wrong(
    tmp_path: Path, subtests: pytest.Subtests
) -> None:
    ended: dict[tuple[str, ...], Ended] = {}

    async def run(words: tuple[str, ...]) -> None:
        ended[words] = await call(tmp_path / "home", *words)

    async with trio.open_nursery() as nursery:
        for words in WRONG_USAGE:
            nursery.start_soon(run, words)
    for words, one in ended.items():
        with subtests.test(words=words):
            assert one.code == 2
            assert "Error: " in one.err
            assert "Traceback" not in one.err
            assert one.out == ""


async def test_help_and_status_load_nothing_heavy(home_path: Path) -> None:
    program = (
        "import sys\nfrom node.cli import main\n"
        "main(sys.argv[1:], standalone_mode=False) if sys.argv[1:] != ['status'] else "
        "__import__('node.cli.about') and __import__('node.client')\n"
        f"print(sorted(set({HEAVY}) & set(sys.modules)))"
    )
    for words in (["--help"], ["status"]):
        ended = await trio.run_process(
            [sys.executable, "-c", program, *words], capture_stdout=True, check=True
        )
        assert ended.stdout.decode().splitlines()[-1] == "[]"


async def test_init_makes_a_home_once_and_says_how_to_start(tmp_path: Path) -> None:
    home = tmp_path / "home"
    made = await call(home, "init", "--name", "ada", "--found", "Town")
    assert made.code == 0
    assert f"bizra-node run --home {home}" in made.out
    first = await call(home, "id", "--json")
    again = await call(home, "init", "--json")
    assert again.json["node_id"] == first.json["node_id"]
    assert again.json["federation_id"]
    other = await call(home, "init", "--found", "Other")
    assert (other.code, "belongs to a federation already" in other.err) == (1, True)
    config = await call(home, "config", "show", "--json")
    assert (config.json["name"], config.json["api"]) == ("ada", "127.0.0.1:7440")


async def test_a_federation_is_founded_with_constants_of_its_own(tmp_path: Path) -> None:
    home = tmp_path / "home"
    wished = ("power=stake", "stake_per_power=1000", "cap_power=false", "unit=bean")
    said = [word for one in wished for word in ("--set", one)]
    assert (await call(home, "init", "--found", "Town", *said)).code == 0
    parameters = Genesis.load(Home(home).genesis.read_bytes()).parameters
    assert (parameters.power, parameters.stake_per_power) == ("stake", 1000)
    assert (parameters.cap_power, parameters.unit) == (False, "bean")
    assert parameters.min_stake == Parameters().min_stake


@pytest.mark.parametrize(
    ("wished", "why"),
    [
        ("power=heavy", "power=heavy: Invalid enum value"),
        ("nonsense=1", "those are: unit, supply"),
        ("min_stake", "not NAME=VALUE"),
        ("min_stake=x", "a whole number"),
        ("slash_percent=900", "slash_percent=900: Expected `int` <= 100"),
        ("cap_power=1", "true or false"),
        ("supply=1", "less than the founders' amounts"),
    ],
)
async def test_a_constant_that_cannot_be_is_refused_and_named(
    tmp_path: Path, wished: str, why: str
) -> None:
    told = await call(tmp_path / "home", "init", "--found", "Town", "--set", wished)
    assert told.code == 1
    assert why in told.err
    assert not Home(tmp_path / "home").genesis.exists()


async def test_constants_are_for_a_federation_that_begins(tmp_path: Path) -> None:
    told = await call(tmp_path / "home", "init", "--set", "power=stake")
    assert (told.code, "--found NAME" in told.err) == (2, True)


async def test_config_check_names_the_line(home_path: Path) -> None:
    assert (await call(home_path, "config", "check")).code == 0
    Home(home_path).config.write_text('name = "x"\nmdns = "yes"\n')
    ended = await call(home_path, "config", "check")
    assert ended.code == 1
    assert "line 2: mdns: expected true or false" in ended.err


async def test_an_open_key_file_is_refused_everywhere(home_path: Path) -> None:
    Home(home_path).identity_key.chmod(0o644)
    for words in (("id",), ("run", "--api", "127.0.0.1:0", "--listen", "/ip4/127.0.0.1/tcp/0")):
        ended = await call(home_path, *words)
        assert ended.code == 1
        assert "chmod 600" in ended.err
        assert "Traceback" not in ended.err


async def test_the_doctor_finds_a_healthy_home_healthy(cli: Running) -> None:
    told = await cli("doctor", "--json")
    assert told.code == 0
    assert told.json["ok"]
    checks = {check["check"]: check["status"] for check in told.json["checks"]}
    assert checks["identity key"] == checks["daemon"] == checks["clock"] == "ok"


async def test_the_doctor_names_what_is_wrong_and_changes_nothing(home_path: Path) -> None:
    home = Home(home_path)
    home.config.write_text('api = "127.0.0.1:0"\nlisten = ["/ip4/127.0.0.1/tcp/0"]\n')
    home.voting_key.chmod(0o644)
    with LevelStore(home.chain):
        pass
    (home.chain / "CURRENT").unlink()
    ended = await call(home_path, "doctor", "--json")
    assert ended.code == 1
    failed = {
        one["check"]: one["detail"] for one in ended.json["checks"] if one["status"] == "failed"
    }
    assert failed.keys() == {"voting key", "database chain"}
    assert "chmod 600" in failed["voting key"]
    assert "CURRENT is missing" in failed["database chain"]
    assert not (home.chain / "CURRENT").exists()


async def test_the_doctor_of_an_empty_place_says_how_to_begin(tmp_path: Path) -> None:
    ended = await call(tmp_path / "none", "doctor")
    assert ended.code == 1
    assert "bizra-node init" in ended.out
