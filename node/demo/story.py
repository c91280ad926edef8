"""What happens in the demo, told as it happens; every figure is measured in this run."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click
import msgspec

from memory.documents import Reading
from memory.messages import Document
from node.client import Client, RefusedError
from node.demo.checking import check_offline, with_another_output, with_one_byte_changed
from node.demo.cluster import Cluster, DemoError, Member, until
from node.demo.growth import LEAST_FOR_A_FAULT, WAIT_S, grow
from node.views.records import JsonObject, TaskView

_TASK_S = 60.0
_TRANSFERS = 20
_WIDTH = 88


class _Voice:
    """Prints steps with the time since the beginning."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def step(self, text: str) -> None:
        """A heading."""
        click.echo(click.style(f"\n[{self.elapsed_s:5.1f} s] {text}", bold=True))

    def say(self, text: str) -> None:
        """A line below it, cut to the width of a terminal."""
        line = text.replace("\n", " ")
        click.echo(f"          {line if len(line) <= _WIDTH else line[: _WIDTH - 3] + '...'}")


def tell(
    cluster: Cluster, nodes: int, given: Path, reading: Reading, question: str, *, keep: bool
) -> None:
    """The whole story; `reading` is what was read from `given`. Raises `NodeError`."""
    voice = _Voice()
    documents = _show_input(voice, given, reading)
    voice.step("A federation is founded, and grows by address and admission")
    grow(cluster, nodes, voice.say)
    _show_peers(voice, cluster.members[-1])
    _transfer(voice, cluster.members)
    tasks = _work(voice, cluster.members, documents, question)
    if nodes >= LEAST_FOR_A_FAULT:
        _lose_and_regain(voice, cluster)
    else:
        voice.step(f"{nodes} nodes tolerate no fault: nothing is killed (take --nodes 4)")
    receipt = _prove(voice, cluster, tasks[-1])
    _farewell(voice, cluster, receipt, keep=keep)


def _show_input(voice: _Voice, given: Path, reading: Reading) -> tuple[Document, ...]:
    voice.step(f"Reading {given}")
    for document in reading.documents:
        voice.say(f"{document.name}: {len(document.text):,} characters")
    for left_out in reading.left_out:
        voice.say(f"left out: {left_out.name}: {left_out.reason}")
    return tuple(reading.documents)


def _show_peers(voice: _Voice, member: Member) -> None:
    voice.step(f"The peer table, as {member.name} sees it")
    for peer in member.client.peers().peers:
        can = ", ".join(peer.capabilities) or "no tasks"
        rtt = "-" if peer.rtt_ms is None else f"{peer.rtt_ms:g} ms"
        voice.say(f"{peer.name:6} {peer.node_id[:12]}  {peer.status}  {peer.role}  {rtt}  {can}")


def _transfer(voice: _Voice, members: list[Member]) -> None:
    voice.step(f"{_TRANSFERS} signed transfers are finalised by the federation")
    began = time.monotonic()
    sent: list[tuple[Client, str]] = []
    for index in range(_TRANSFERS):
        payer, payee = members[index % len(members)], members[(index + 1) % len(members)]
        sent.append((payer.client, payer.client.transfer(payee.node_id, index + 1).tx_hash))
    for client, name in sent:
        view = client.await_transaction(name, WAIT_S)
        if view.status != "finalized":
            raise DemoError(f"the transfer {name} is {view.status}: {view.reason}")
    status = members[0].client.status()
    voice.say(f"all final after {time.monotonic() - began:.2f} s, height {status.height}")
    began = time.monotonic()
    one = members[0].client.transfer(members[-1].node_id, 1)
    members[0].client.await_transaction(one.tx_hash, WAIT_S)
    voice.say(f"one more, alone: final after {1000 * (time.monotonic() - began):.0f} ms")


def _work(
    voice: _Voice, members: list[Member], documents: tuple[Document, ...], question: str
) -> list[TaskView]:
    """One task of each kind; the founder does none itself, so its tasks go to a peer."""
    plain: list[JsonObject] = msgspec.to_builtins(documents)
    asker, other = members[0], members[-1]
    return [
        _task(voice, members, other, "embed", {"texts": [one.text[:500] for one in documents]}),
        _task(voice, members, asker, "rank", {"query": question, "documents": plain}),
        _task(voice, members, other, "summarize", {"documents": plain, "sentences": 3}),
        _task(voice, members, asker, "answer", {"question": question, "documents": plain}),
    ]


def _task(
    voice: _Voice, members: list[Member], asker: Member, kind: str, given: JsonObject
) -> TaskView:
    asked = given.get("question") or given.get("query")
    voice.step(f"{asker.name} asks for {kind!r}" + (f": {asked}" if asked else ""))
    began = time.monotonic()
    handed_in = asker.client.submit_task(kind, given)
    view = asker.client.await_task(handed_in.task_id, _TASK_S)
    if view.status != "settled" or view.output is None or view.usage is None:
        raise DemoError(f"the task {view.task_id} is {view.status}: {view.reason}")
    worker = next((one.name for one in members if one.node_id == view.executor), "?")
    where = "did it itself" if worker == asker.name else f"handed to {worker}"
    voice.say(
        f"{where}; {view.usage.tokens:,} tokens, {view.usage.duration_ms} ms of work, "
        f"settled after {time.monotonic() - began:.1f} s"
    )
    for line in _shown(kind, view.output):
        voice.say(line)
    return view


def _shown(kind: str, output: JsonObject) -> list[str]:
    """The result in a few lines."""
    if kind == "embed":
        return [f"{len(output['vectors'])} vectors of {output['dimensions']} numbers"]
    if kind == "rank":
        return [
            f"{place}. {one['document']}  ({one['score']:+.2f})"
            for place, one in enumerate(output["items"][:3], 1)
        ]
    if kind == "summarize":
        return [f"- {one['text']}  [{one['document']}]" for one in output["sentences"]]
    return [f"-> {output['answer']}"] + [
        f"   {one['document']}, characters {one['start']} to {one['end']}"
        for one in output["citations"][:2]
    ]


def _lose_and_regain(voice: _Voice, cluster: Cluster) -> None:
    """Kill the node that leads, if it isn't the first one, in the middle of the work."""
    founder = cluster.members[0]
    primary = founder.client.status().primary
    lost = next((one for one in cluster.members[1:] if one.node_id == primary), cluster.members[-1])
    leads = "the primary" if lost.node_id == primary else "not the primary"
    voice.step(f"{lost.name} ({leads}) is killed with kill -9")
    cluster.kill(lost)
    before = founder.client.status()
    began = time.monotonic()
    view = founder.client.await_transaction(
        founder.client.transfer(cluster.members[1].node_id, 1).tx_hash, WAIT_S
    )
    took = time.monotonic() - began
    after = founder.client.status()
    change = f", view {before.view} -> {after.view}" if after.view != before.view else ""
    voice.say(f"the others go on: a transfer is {view.status} after {took:.2f} s{change}")
    living = [one for one in cluster.members if one is not lost]
    for index in range(_TRANSFERS):
        payer, payee = living[index % len(living)], living[(index + 1) % len(living)]
        name = payer.client.transfer(payee.node_id, 1).tx_hash
        payer.client.await_transaction(name, WAIT_S)
    height = founder.client.status().height
    voice.say(f"{_TRANSFERS} more transfers without it, height {height}")
    voice.step(f"{lost.name} is started again")
    began = time.monotonic()
    cluster.restart(lost)
    until(
        lambda: lost.client.status().height >= height,
        WAIT_S,
        f"{lost.name} did not catch up",
    )
    took = time.monotonic() - began
    theirs, ours = founder.client.status(), lost.client.status()
    until(
        lambda: _same_state(founder, lost),
        WAIT_S,
        f"{lost.name} has another state than the others",
    )
    voice.say(f"caught up to height {ours.height} after {took:.1f} s, the same state root:")
    voice.say(f"{theirs.state_root}")


def _same_state(left: Member, right: Member) -> bool:
    one, other = left.client.status(), right.client.status()
    return (one.height, one.state_root) == (other.height, other.state_root)


def _prove(voice: _Voice, cluster: Cluster, task: TaskView) -> Path:
    """Write the receipt of a settled task; check it, and a copy with one byte changed, offline."""
    voice.step("A receipt is checked offline, with the genesis file alone")
    founder = cluster.members[0]
    assert task.tx_hash is not None
    name = task.tx_hash
    until(lambda: _receipt(founder, name) is not None, WAIT_S, "the receipt was not certified")
    path = cluster.folder / "receipt.json"
    path.write_text(json.dumps(_receipt(founder, name), indent=2))
    sound = check_offline(path, founder.home.genesis)
    if not sound["valid"]:
        raise DemoError(f"the receipt {path} does not hold: {sound['reason']}")
    voice.say(
        f"valid: {sound['kind']} at height {sound['height']}, {len(sound['signers'])} signers, "
        f"power {sound['power']} of a quorum of {sound['quorum']}"
    )
    for what, changed in (
        ("one byte of the file changed", with_one_byte_changed(path)),
        ("one byte of the answer forged", with_another_output(path)),
    ):
        verdict = check_offline(changed, founder.home.genesis)
        if verdict["valid"]:
            raise DemoError(f"the changed receipt {changed} was accepted")
        voice.say(f"{what}: refused, {verdict['reason']}")
    return path


def _receipt(member: Member, name: str) -> JsonObject | None:
    """The proof of a transaction, once a quorum has certified what came of it."""
    try:
        return member.client.receipt(name)
    except RefusedError:
        return None


def _farewell(voice: _Voice, cluster: Cluster, receipt: Path, *, keep: bool) -> None:
    founder = cluster.members[0]
    if not keep:
        voice.step(f"Done. All {len(cluster.members)} nodes are stopped and their homes removed.")
        voice.say("`bizra-node demo --keep` leaves them running. On your own machines:")
        voice.say("  bizra-node run                              found a federation")
        voice.say("  bizra-node run --bootstrap ADDRESS|INVITE   join it from another machine")
        return
    home = f"--home {founder.home.path}"
    voice.step("Done. The federation is left running. Type next:")
    for line in (
        f"bizra-node {home} status",
        f"bizra-node {home} peers",
        f"bizra-node {home} task submit answer --query 'What is a receipt?' --input FILE --wait",
        f"bizra-node verify {receipt} --genesis {founder.home.genesis}",
        f"bizra-node {home} invite        then, in another home or on another machine:",
        "bizra-node run --bootstrap INVITE",
    ):
        click.echo(f"          {line}")
    pids = " ".join(str(one.process.pid) for one in cluster.members)
    click.echo(f"\n          To stop it: kill {pids}; rm -r {cluster.folder}")
