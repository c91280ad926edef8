"""What operators do when validators are lost for good, and what an old copy of a home may not do."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from node.client import StillWaitingError
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
