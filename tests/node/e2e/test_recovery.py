"""What operators do when validators are lost for good, and what an old copy of a home may not do."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from consensus.certificates import Ballot, Phase, endorse
from consensus.genesis import Genesis
from consensus.messages import Vote
from gossip.codec import Digest, encode
from gossip.transport import MEMBER_LIMITS
from gossip.transport.libp2p import Libp2pTransport
from node.client import StillWaitingError
from node.peers.service import CONSENSUS_CHANNEL
from node.storage.home import Home
from node.storage.keyfile import Purpose, load_key
from tests.node.e2e.daemons import PROGRAM, Daemon, Fleet, await_agreement, await_peace, until

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.slow,  # federations of four that are stopped and started again, twice
]


def test_survivors_of_a_lost_quorum_go_on_by_a_file_that_all_of_them_sign(
    fleet: Fleet, tmp_path: Path
) -> None:
    members = fleet.federation(4, dict.fromkeys(range(4), ()))
    old = members[0].pay(members[1], 5).tx_hash
    members[0].pay(members[1], 6)  # what certifies a block is on disk with the next one
    await_agreement(members)
    (ada, ben), lost = members[:2], members[2:]
    for one in lost:
        one.kill()
    for one in (ada, ben):
        one.stop()
    file = tmp_path / "recovery.json"
    short = ada.command("recover", "propose", "--lost", lost[0].id, "-o", file, "--json")
    assert short.code == 1
    assert "which is a quorum" in short.out + short.err
    gone = [word for one in lost for word in ("--lost", one.id[:12])]
    told = ada.command("recover", "propose", *gone, "-o", file, "--json")
    assert told.code == 0, told.err
    assert told.json["unsigned"] == [ben.id]
    early = ada.command("recover", "apply", file)
    assert early.code == 1
    assert "not all survivors have signed it" in early.err
    assert ben.command("recover", "sign", file).code == 0
    for one in (ada, ben):
        assert one.command("recover", "apply", file).code == 0
        assert "goes on by that file already" in one.command("recover", "apply", file).out
        one.start()
    await_peace([ada, ben])
    new = ada.pay(ben, 7).tx_hash
    status = await_agreement([ada, ben])
    assert (status.quorum, status.faults_tolerated) == (2, 0)
    _check_receipts(ada, old, new, told.json["trust"], tmp_path)
    unpinned = ada.command("audit", "--json")
    assert unpinned.code == 1
    assert f"--trust {told.json['trust']}" in unpinned.err
    pinned = ada.command("audit", "--trust", told.json["trust"], "--json")
    assert (pinned.code, pinned.json["state_root"]) == (0, status.state_root), pinned.err
    assert ben.stop() == ""
    replayed = ben.command("replay", "--json")
    assert replayed.code == 0, replayed.err


def _check_receipts(node: Daemon, old: str, new: str, trust: str, folder: Path) -> None:
    """Those of before hold as ever; later ones for whoever pins the survivors."""
    files = {name: folder / f"{name}.json" for name in ("old", "new")}
    for name, tx_hash in (("old", old), ("new", new)):
        until(
            lambda tx_hash=tx_hash, name=name: (  # type: ignore[misc]
                node.command("receipt", tx_hash, "-o", files[name]).code == 0
            ),
            "the receipt",
        )
    assert node.command("verify", files["old"]).code == 0
    unpinned = node.command("verify", files["new"])
    assert unpinned.code == 1
    assert f"--trust {trust}" in unpinned.out + unpinned.err
    assert node.command("verify", files["new"], "--trust", trust).code == 0


def test_a_home_from_a_backup_notices_what_it_has_promised_since_and_votes_no_more(
    fleet: Fleet, tmp_path: Path
) -> None:
    members = fleet.federation(4, dict.fromkeys(range(4), ()))
    members[0].pay(members[1])
    await_agreement(members)
    first, restored = members[0], members[3]
    assert restored.stop() == ""
    backup = tmp_path / "backup"
    shutil.copytree(restored.home.path, backup)
    restored.start()
    await_peace(members)
    for one in members[1:3]:
        one.stop()
    stuck = first.client.transfer(members[1].id, 1).tx_hash
    with pytest.raises(StillWaitingError):
        first.client.await_transaction(stuck, 3)
    until(lambda: restored.status.view > 0, "it to promise another view")
    assert restored.stop() == ""
    shutil.rmtree(restored.home.path)
    shutil.copytree(backup, restored.home.path)
    restored.start()
    until(lambda: restored.status.voting.startswith("no"), "it to notice")
    assert "votes with this node's key" in restored.says("votes with this node's key")
    for one in members[1:3]:
        one.start()
    assert until(lambda: first.pay(members[1]), "the others to go on").status == "finalized"
    assert restored.status.voting.startswith("no")


def test_a_copy_on_another_machine_reaches_nobody_while_the_original_runs_and_then_takes_its_place(
    fleet: Fleet, tmp_path: Path
) -> None:
    """The lock of a voting key lies in the folder for temporary files, so another such folder is another machine."""
    members = fleet.federation(4, dict.fromkeys(range(4), ()))
    original = members[3]
    assert original.stop() == ""
    home = fleet.folder / "copy"
    shutil.copytree(original.home.path, home)
    original.start()
    await_peace(members)
    copy = Daemon.of(home)
    fleet.all.append(copy)
    settings = re.sub("/tcp/[0-9]+", "/tcp/0", copy.home.config.read_text())
    copy.home.config.write_text(settings)
    machine = tmp_path / "machine"
    machine.mkdir()
    copy.start(program=("env", f"TMPDIR={machine}", *PROGRAM))
    for _ in range(3):
        members[0].pay(original)
        assert copy.status.voting.startswith("waits: ")
    assert "reaches none of them" in copy.status.voting
    assert original.status.voting == "yes"
    assert original.stop() == ""
    until(lambda: copy.status.voting == "yes", "it to be heard")
    await_agreement([*members[:3], copy])
    assert members[1].stop() == ""
    assert members[0].pay(copy).status == "finalized"
    assert members[0].client.validators().epoch == copy.client.validators().epoch == 3


async def test_a_validator_whose_key_votes_elsewhere_hears_of_it_and_votes_no_more(
    fleet: Fleet, tmp_path: Path
) -> None:
    """Another process with a copy of its voting key votes at the next height, and the vote comes to it."""
    members = await trio.to_thread.run_sync(fleet.federation, 4, dict.fromkeys(range(4), ()))
    first, twice, sender = members[0], members[3], members[1]
    assert twice.status.voting == "yes"
    assert sender.stop() == ""
    ballot = Ballot(Phase.PREPARE, 3, 0, twice.status.height + 1, Digest(bytes(31) + b"x"))
    payload = encode(_signed_elsewhere(twice.home, ballot))

    def told() -> None:
        said = twice.says("votes with this node's key")
        assert f"it voted at height {ballot.height} in view 0, which this node's log lacks" in said
        assert twice.status.voting.startswith("no")

    def for_good() -> None:
        sender.start()
        assert first.pay(sender).status == "finalized"
        assert twice.stop() == ""
        twice.start()
        await_agreement(members)
        assert twice.status.voting.startswith("no")

    async with _speaking_as(sender.home) as link:
        peer = await link.dial(twice.address)
        assert link.send(peer, CONSENSUS_CHANNEL, payload)
        await trio.to_thread.run_sync(told)
    await trio.to_thread.run_sync(for_good)


def _signed_elsewhere(home: Home, ballot: Ballot) -> Vote:
    key = load_key(home.voting_key, Purpose.VOTING)
    chain = Genesis.load(home.genesis.read_bytes()).federation_id
    return Vote(ballot, endorse(key, chain, ballot))


@asynccontextmanager
async def _speaking_as(member: Home) -> AsyncIterator[Libp2pTransport]:
    """A transport of a member whose daemon does not run."""
    seed = load_key(member.identity_key, Purpose.IDENTITY).seed
    link = Libp2pTransport(seed, ["/ip4/127.0.0.1/tcp/0"], lambda _: MEMBER_LIMITS)
    async with trio.open_nursery() as nursery:
        await nursery.start(link.run)
        yield link
        nursery.cancel_scope.cancel()
