"""Audits of a node over real sockets, and of one whose HTTP server lies."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from click.testing import CliRunner

from consensus.ledger.records import TaskState
from consensus.ledger.state import STATE_PREFIX
from consensus.ledger.tables import ACCOUNTS
from consensus.messages import Blocks, CertifiedBlock
from consensus.operations.transactions import (
    AdmitObserver,
    ClaimTask,
    CompleteTask,
    FailTask,
    Remark,
    SubmitTask,
    TaskReceipt,
    Transfer,
    Usage,
    content_hash,
    sign_receipt,
    task_id,
)
from gossip.codec import decode, encode
from gossip.identity import Ed25519Signer
from node.cli import main
from node.client import Client, RefusedError
from node.client.audit.audits import Audit
from node.client.audit.compare import first_difference
from node.client.audit.copy import AuditError
from node.client.conversations import Reply
from node.client.proven import NotProvenError
from node.storage.store import LevelStore
from node.views.headers import HEIGHT
from tests.node.alone import Alone
from tests.node.served import Served, run, serving_beside

__all__ = ["run"]

BOB = Ed25519Signer(b"b" * 32)
Forgery = Callable[[str, bytes], bytes]
"""What a liar makes of the true answer to a path."""


def _claimed(node: Alone) -> bytes:
    """A task of the node's own that it has taken upon itself."""
    deadline = node.now_ms + 3_600_000
    asked = node.execute(SubmitTask("embed", content_hash(b"in"), 70, None, deadline))
    name = task_id(asked.id, 0)
    node.execute(ClaimTask(name))
    return name


def worked(node: Alone) -> None:
    """A task of the node's own, which it does itself and is paid for."""
    own, deadline = node.keys.identity, node.now_ms + 3_600_000
    name = task_id(node.execute(SubmitTask("embed", content_hash(b"in"), 70, None, deadline)).id, 0)
    node.execute(ClaimTask(name))
    receipt = TaskReceipt(
        node.genesis.federation_id,
        name,
        "embed",
        own.node_id,
        own.node_id,
        content_hash(b"in"),
        content_hash(b"out"),
        bytes(32),
        Usage(1, 2, 3),
        node.now_ms,
        bytes(32),
    )
    node.execute(CompleteTask(sign_receipt(own, receipt)))


@pytest.fixture(scope="module")
def lived(founded: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A node whose chain has payments and a settled task."""
    path = tmp_path_factory.mktemp("lived") / "home"
    path.mkdir()
    for one in founded.rglob("*"):
        target = path / one.relative_to(founded)
        target.mkdir(exist_ok=True) if one.is_dir() else target.write_bytes(one.read_bytes())
    for one in (path / "identity.key", path / "voting.key", path / "token"):
        one.chmod(0o600)
    node = Alone(path)
    for amount in (5, 6, 7):
        node.execute(Transfer(BOB.node_id, amount))
    worked(node)
    node.close()
    with serving_beside(path) as served:
        yield served


@pytest.fixture(scope="module")
def copied(lived: Served, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of an audit that has gone to the end."""
    path = tmp_path_factory.mktemp("copied")
    with lived.client() as client, client.audit(path, lived.genesis) as audit:
        audit.catch_up()
    return path


@contextmanager
def lying(url: str, forge: Forgery) -> Iterator[str]:
    """An HTTP server that hands on what the node says, and lies about some of it; its URL."""
    http = httpx2.Client(base_url=url, trust_env=False)

    class Liar(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told = http.get(self.path)
            body = forge(self.path, told.content)
            self.send_response(told.status_code)
            if HEIGHT in told.headers:
                self.send_header(HEIGHT, told.headers[HEIGHT])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    with http, ThreadingHTTPServer(("127.0.0.1", 0), Liar) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(20)


def forged(beginning: str, change: Callable[[Any], object]) -> Forgery:
    """A lie about the JSON answers to some paths."""

    def forge(path: str, body: bytes) -> bytes:
        if not path.startswith(f"/api/v2/{beginning}"):
            return body
        answer = json.loads(body)
        change(answer)
        return json.dumps(answer).encode()

    return forge


def forged_blocks(change: Callable[[list[CertifiedBlock]], None]) -> Forgery:
    def forge(path: str, body: bytes) -> bytes:
        if not path.startswith("/api/v2/blocks/certified"):
            return body
        blocks = list(decode(body, Blocks).blocks)
        change(blocks)
        return encode(Blocks(tuple(blocks)))

    return forge


@contextmanager
def audited(url: str, lived: Served, directory: Path) -> Iterator[Audit]:
    with Client(url) as client, client.audit(directory, lived.genesis) as audit:
        yield audit


def test_an_honest_node_passes_and_the_answers_are_those_of_the_chain(
    lived: Served, tmp_path: Path
) -> None:
    seen: list[tuple[int, int]] = []
    with (
        lived.client() as client,
        client.audit(
            tmp_path, lived.genesis, progress=lambda done, known: seen.append((done, known))
        ) as audit,
    ):
        assert audit.catch_up() == 6
        assert seen == [(height, 6) for height in range(1, 7)]
        ((leader,), height) = (audit.leaderboard().view.leaders, audit.leaderboard().height)
        assert (leader.earned, leader.tasks, height) == ("70", 1, 6)
        assert audit.fairness().view == client.fairness()
        own = lived.node.keys.identity.node_id
        assert audit.reputation(own).view.settled == 1
        assert [one.score for one in audit.reputations().view.nodes] == [
            one.score for one in client.reputations().nodes
        ]
        pages = [audit.transactions(BOB.node_id, limit=2)]
        pages.append(audit.transactions(BOB.node_id, 2, pages[0].view.next))
        assert [len(one.view.transactions) for one in pages] == [2, 1]
        assert audit.accounts().view == client.accounts()
        assert audit.active_validators().view[0].power == 1
        assert audit.ledger_tasks(executor=own).view.tasks[0].status == "settled"
        events = audit.event_log("3", 1000)
        assert events.view == client.event_log("3", 1000)
        walked = {one.name: one.items for one in audit.everything(whole=True)}
        assert walked["transactions"] == 6
        assert walked["events"] == len(client.event_log("0", 1000).events)


LIES = {
    "a leader earned more": (
        forged("leaderboard", lambda it: it["leaders"][0].update(earned="7000")),
        r"leaders: id .*earned is 7000; the chain says 70",
    ),
    "a leader is left out": (
        forged("leaderboard", lambda it: it["leaders"].clear()),
        "leaders leaves out id .*, the next after its last item",
    ),
    "rewards fall more evenly": (
        forged("fairness", lambda it: it.update(gini=0.5)),
        r"gini is 0.5; the chain says 0.0",
    ),
    "a score is better": (
        forged("reputation", lambda it: it["nodes"][0].update(score=999)),
        "score is 999; the chain says",
    ),
    "a transaction is left out": (
        forged("transactions", lambda it: it["transactions"].pop(3)),
        r"transactions leaves out txHash .*, which belongs at place 4",
    ),
    "a transaction is made up": (
        forged("transactions", lambda it: it["transactions"][0].update(txHash="ab" * 32)),
        r"transactions leaves out txHash .*, which belongs at place 1",
    ),
    "two accounts stand the other way round": (
        forged("accounts", lambda it: it["accounts"].reverse()),
        "accounts has id .* at place 1, where .* belongs",
    ),
    "a list pretends to end": (
        forged("accounts", lambda it: (it["accounts"].pop(), it.update(next=None))),
        "accounts leaves out id",
    ),
    "an event is changed": (
        forged("events/log", lambda it: it["events"][8]["data"].update(height=77)),
        r"events: cursor .*data.height is",
    ),
    "an event is left out": (
        forged("events/log", lambda it: it["events"].pop(2)),
        r"events leaves out cursor 1\.2, which belongs at place 3",
    ),
    "a task is somebody else's work": (
        forged("ledger/tasks", lambda it: it["tasks"][0].update(executor="ab" * 32)),
        "executor is abab",
    ),
    "a validator weighs more": (
        forged("validators/active", lambda it: it[0].update(power=9)),
        "power is 9; the chain says 1",
    ),
    "a quorum is smaller": (
        forged("validators", lambda it: isinstance(it, dict) and it.update(quorum=0)),
        "quorum is 0; the chain says 1",
    ),
    "a candidate is left out": (
        forged("validators/registry", lambda it: it["validators"].clear()),
        "validators leaves out id",
    ),
    "a constant is another": (
        forged("parameters", lambda it: it["parameters"].update(max_block_txs=1)),
        r"parameters\.max_block_txs is 1; the chain says 2000",
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lie_in_a_list_is_told_with_its_place(name: str, lived: Served, copied: Path) -> None:
    forge, told = LIES[name]
    with lying(lived.url, forge) as url, audited(url, lived, copied) as audit:
        with pytest.raises(NotProvenError, match=f"after block 6, is false: .*{told}") as caught:
            audit.everything()
        assert caught.value.code == "audit_failed"


def _other_amount(blocks: list[CertifiedBlock]) -> None:
    block = blocks[1].block
    raw = block.raw_transactions[0].replace(bytes([6, 0xC4]), bytes([9, 0xC4]), 1)
    blocks[1] = msgspec.structs.replace(
        blocks[1], block=msgspec.structs.replace(block, raw_transactions=(raw,))
    )


def _other_root(blocks: list[CertifiedBlock]) -> None:
    state = blocks[2].state
    assert state is not None
    statement = msgspec.structs.replace(state.statement, state_root=bytes(32))
    state = msgspec.structs.replace(state, statement=statement)
    blocks[2] = msgspec.structs.replace(blocks[2], state=state)


BLOCK_LIES: dict[str, tuple[Callable[[list[CertifiedBlock]], None], str]] = {
    "a transaction is forged": (_other_amount, "block 2: the transaction root does not match"),
    "a block is left out": (lambda it: it.__delitem__(1), "block 2: it does not follow"),
    "a block stands twice": (lambda it: it.insert(1, it[0]), "block 2: it does not follow"),
    "a certificate is that of another block": (
        lambda it: it.__setitem__(1, msgspec.structs.replace(it[1], certificate=it[0].certificate)),
        "block 2: its certificate is for something else",
    ),
    "a certificate has no signers": (
        lambda it: it.__setitem__(
            1,
            msgspec.structs.replace(
                it[1],
                certificate=msgspec.structs.replace(it[1].certificate, endorsements=()),
            ),
        ),
        "block 2: power 0 of 1 is no quorum",
    ),
    "the state is another": (_other_root, "state after block 3: the signature of .* does not"),
}


@pytest.mark.parametrize("name", BLOCK_LIES)
def test_a_forged_chain_is_told_with_its_height_and_what_held_is_kept(
    name: str, lived: Served, tmp_path: Path
) -> None:
    change, told = BLOCK_LIES[name]
    with (
        lying(lived.url, forged_blocks(change)) as url,
        audited(url, lived, tmp_path) as audit,
        pytest.raises(AuditError, match=f"not the chain of the federation: .*{told}"),
    ):
        audit.catch_up()
    with audited(lived.url, lived, tmp_path) as audit:
        assert audit.height in (1, 2)
        assert audit.catch_up() == 6
        audit.everything(whole=True)


def test_what_is_no_chain_at_all_is_told(lived: Served, tmp_path: Path) -> None:
    def rubbish(path: str, body: bytes) -> bytes:
        return b"rubbish" if path.startswith("/api/v2/blocks/certified") else body

    with (
        lying(lived.url, rubbish) as url,
        audited(url, lived, tmp_path) as audit,
        pytest.raises(AuditError, match="are no blocks"),
    ):
        audit.catch_up()


def test_answers_without_end_or_bottom_are_told(
    lived: Served, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bottomless(path: str, _: bytes) -> bytes:
        return b"[" * 100_000 if "/fairness" in path else b"[" * 1_000_000

    monkeypatch.setattr("node.client.answers.MAX_ANSWER_BYTES", 500_000)
    with lying(lived.url, bottomless) as url, audited(url, lived, copied) as audit:
        with pytest.raises(AuditError, match="is no JSON: maximum recursion"):
            audit.fairness()
        with pytest.raises(RefusedError, match="longer than 500,000 bytes"):
            audit.leaderboard()
        with pytest.raises(RefusedError, match="longer than 500,000 bytes"):
            audit.catch_up()


def test_a_node_that_refuses_says_why(lived: Served, copied: Path) -> None:
    with audited(lived.url, lived, copied) as audit, pytest.raises(RefusedError) as refused:
        audit.event_log(limit=5000)
    assert refused.value.code == "bad_parameter"


def test_an_audit_goes_on_where_it_stopped(home_path: Path, tmp_path: Path) -> None:
    with serving_beside(home_path) as served, served.client() as client:
        served.ask(lambda: worked(served.node))
        seen: list[int] = []
        for expected in ([1, 2, 3], [], [4]):
            seen.clear()
            with client.audit(
                tmp_path, served.genesis, progress=lambda done, _: seen.append(done)
            ) as audit:
                audit.catch_up()
                audit.everything(whole=True)
                assert audit.height == served.node.engine.height
            assert seen == expected
            if expected == []:
                served.ask(lambda: served.node.execute(Transfer(BOB.node_id, 8)))


def test_lists_that_come_from_the_cache_hold_after_the_block_that_they_name(
    home_path: Path, tmp_path: Path
) -> None:
    """Whatever changes: what was kept of an answer is never told for a block after which it is another."""
    with serving_beside(home_path) as served, served.client() as client:
        node = served.node
        own = node.keys.identity.node_id

        def nothing() -> None:
            pass

        deeds: list[Callable[[], object]] = [
            nothing,
            lambda: node.execute(Transfer(BOB.node_id, 5)),
            lambda: node.execute(Remark(b"only the nonce changes")),
            lambda: node.execute(Transfer(BOB.node_id, 2**50)),
            lambda: node.execute(AdmitObserver(BOB.node_id, None)),
            lambda: worked(node),
            lambda: node.execute(FailTask(_claimed(node), "too hard")),
        ]
        with client.audit(tmp_path, served.genesis) as audit:
            for deed in deeds:
                served.ask(deed)
                for _ in range(2):
                    audit.everything(whole=True)
                    audit.reputation(own)
                    audit.transactions(BOB.node_id) if audit.height > 1 else None
                    audit.ledger_tasks(owner=own)
                    audit.ledger_tasks(state=TaskState.SETTLED)


def test_an_audit_that_is_interrupted_loses_nothing(lived: Served, tmp_path: Path) -> None:
    def interrupt(done: int, _: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with lived.client() as client:
        with (
            pytest.raises(KeyboardInterrupt),
            client.audit(tmp_path, lived.genesis, progress=interrupt) as audit,
        ):
            audit.catch_up()
        seen: list[int] = []
        with client.audit(
            tmp_path, lived.genesis, progress=lambda done, _: seen.append(done)
        ) as audit:
            audit.everything()
        assert seen == [5, 6]


def test_ctrl_c_at_the_command_ends_it_with_130_and_says_how_to_go_on(
    lived: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: Audit) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(Audit, "catch_up", interrupted)
    ended = CliRunner().invoke(main, ["--home", str(lived.home.path), "audit", "--json"])
    assert ended.exit_code == 130
    assert json.loads(ended.stdout)["error"]["code"] == "interrupted"
    assert "goes on from there" in ended.stderr


def test_a_chain_without_a_block_is_audited_too(home_path: Path, tmp_path: Path) -> None:
    with serving_beside(home_path) as served, audited(served.url, served, tmp_path) as audit:
        assert audit.catch_up() == 0
        walked = audit.everything(whole=True)
        assert {one.height for one in walked} == {0}
        assert audit.state_root == served.node.engine.ledger.state_root


def test_a_copy_of_another_federation_and_a_damaged_one_are_told(
    lived: Served, tmp_path: Path
) -> None:
    with audited(lived.url, lived, tmp_path) as audit:
        audit.catch_up()
    stranger = type(lived.genesis).load(
        lived.genesis.to_json().replace(lived.genesis.name, "elsewhere")
    )
    with (
        lived.client() as client,
        pytest.raises(AuditError, match="another federation"),
        client.audit(tmp_path, stranger),
    ):
        pass
    with LevelStore(tmp_path / "chain") as chain:
        key = STATE_PREFIX + ACCOUNTS.key(BOB.node_id)
        value = chain.get(key)
        assert value is not None
        chain.write([(key, value[:-1] + bytes([value[-1] ^ 1]))])
    with (
        pytest.raises(AuditError, match=r"is damaged .*delete it"),
        audited(lived.url, lived, tmp_path),
    ):
        pass


def test_a_node_whose_read_models_are_behind_is_told(
    lived: Served, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.client.audit.questions._TRIES", 3)
    with lived.client() as client, client.audit(copied, lived.genesis) as audit:
        told = client._told
        monkeypatch.setattr(client, "_told", lambda asked: Reply(told(asked).content, 5))
        with pytest.raises(AuditError, match="read models are behind"):
            audit.leaderboard()
        monkeypatch.setattr(client, "_told", lambda asked: Reply(told(asked).content, 7))
        with pytest.raises(AuditError, match="hands out no block above 6"):
            audit.leaderboard()
        monkeypatch.setattr(client, "_told", lambda asked: Reply(told(asked).content))
        with pytest.raises(AuditError, match="does not say after which block"):
            audit.leaderboard()


def test_programs_audit_under_both_event_loops(
    lived: Served, tmp_path: Path, run: Callable[..., None]
) -> None:
    async def story() -> None:
        async with lived.client() as client, client.audit(tmp_path, lived.genesis) as audit:
            assert await audit.catch_up() == 6
            assert (await audit.leaderboard()).view.leaders[0].earned == "70"
            assert (await audit.fairness()).height == 6
            assert len((await audit.transactions(BOB.node_id)).view.transactions) == 3
            await audit.everything(whole=True)
        forge, told = LIES["an event is changed"]
        with lying(lived.url, forge) as url:
            async with Client(url) as client, client.audit(tmp_path, lived.genesis) as audit:
                with pytest.raises(AuditError, match=told):
                    await audit.event_log()

    run(story)


OWN = {"nodes": [{"id": "a", "name": "", "n": 1}], "next": None}


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"nodes": [{"id": "a", "name": 5, "n": 1}], "next": None}, "name is 5"),
        ({"nodes": [{"id": "a", "name": "", "n": True}], "next": None}, "n is True"),
        ({"nodes": [{"id": "a", "name": "", "n": 1, "x": 1}], "next": None}, "x is nothing"),
        ({"nodes": [{"id": "a", "name": ""}], "next": None}, "n is missing"),
        ({"nodes": [{"id": "a", "name": "", "n": 1}] * 2, "next": None}, "too many"),
        ({"nodes": [5], "next": None}, "nodes[0] is 5"),
        ({"nodes": [5, 6], "next": None}, "has 2 items; the chain says 1"),
        ({"nodes": "none", "next": None}, "nodes is none"),
        ([], "the answer is []"),
    ],
)
def test_whatever_differs_is_told(told: object, why: str) -> None:
    fault = first_difference(told, OWN)
    assert fault is not None
    assert why in fault


def test_what_a_node_calls_its_peers_is_no_difference() -> None:
    told = {"nodes": [{"id": "a", "name": "ada", "n": 1}], "next": None}
    assert first_difference(told, OWN) is None
