"""The same task at several desks: results are fixed, opened, compared, paid, whatever breaks on the way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.operations.groups import AgreementRule, OfferKinds
from gossip.codec import Digest
from inference.agreement import are_alike, largest_alike
from inference.asker import GRACE_MS, Stage
from inference.kinds import AnswerOutput, EmbedOutput, encode_output
from tests.inference.desks import KIND, LEAD_MS, OUTPUT, REWARD, Node, Village

LIE = encode_output(EmbedOutput(vectors=bytes(12), dimensions=3))
ALL_MS = LEAD_MS + 2 * 60_000 + GRACE_MS + 60_000


def vectors(*rows: tuple[float, ...]) -> bytes:
    data = np.asarray(rows, "<f4").tobytes()
    return encode_output(EmbedOutput(vectors=data, dimensions=len(rows[0])))


@pytest.fixture
def village() -> Village:
    return Village(workers=3)


def begun(
    village: Village, *, rule: AgreementRule = AgreementRule.EQUAL
) -> tuple[Node, tuple[Digest, ...]]:
    """A group that all workers of the village have claimed; its asker and its members."""
    asker = village.nodes[-1]
    tasks = asker.ask_group(village.nodes[:-1], rule=rule)
    village.settle()
    assert all(village.task(task).executor is not None for task in tasks)
    return asker, tasks


def finish(village: Village, tasks: tuple[Digest, ...], *outputs: bytes | None) -> None:
    for node, task, output in zip(village.nodes, tasks, outputs, strict=False):
        if output is not None:
            node.finish(task, output)
        village.settle()


def stages(asker: Node, tasks: tuple[Digest, ...]) -> list[Stage]:
    return [asker.stage(task) for task in tasks]


def earned(village: Village) -> list[int]:
    return [village.town.balance(node.signer) - 1000 for node in village.nodes]


def test_three_agree_and_all_are_paid_and_hand_over(village: Village) -> None:
    asker, tasks = begun(village)
    finish(village, tasks, OUTPUT, OUTPUT, OUTPUT)
    assert stages(asker, tasks) == [Stage.SETTLED] * 3
    assert [asker.desk.output(task) for task in tasks] == [OUTPUT] * 3
    assert earned(village) == [REWARD, REWARD, REWARD, -3 * REWARD]


def test_no_output_leaves_its_executor_before_the_verdict(village: Village) -> None:
    asker, tasks = begun(village)
    finish(village, tasks, OUTPUT, OUTPUT, None)
    assert [village.task(task).state.value for task in tasks] == [
        "committed",
        "committed",
        "assigned",
    ]
    assert [asker.desk.output(task) for task in tasks] == [None] * 3


def test_who_contradicts_is_shown_as_failed_and_unpaid(village: Village) -> None:
    asker, tasks = begun(village)
    finish(village, tasks, OUTPUT, LIE, OUTPUT)
    assert stages(asker, tasks) == [Stage.SETTLED, Stage.FAILED, Stage.SETTLED]
    assert "others agreed" in asker.reason(tasks[1])
    assert earned(village) == [REWARD, 0, REWARD, -2 * REWARD]
    assert asker.desk.output(tasks[1]) is None


def test_the_ledger_draws_and_the_asker_learns_whom_to_ask(village: Village) -> None:
    for node in village.nodes[:-1]:
        assert village.town.code(node.signer, OfferKinds((KIND,))) == "ok"
    asker = village.nodes[-1]
    tasks = asker.ask_group((), drawn=2)
    village.settle()
    for node in village.nodes[:-1]:
        for task in tuple(node.work):
            node.finish(task)
    village.settle()
    assert stages(asker, tasks) == [Stage.SETTLED] * 2


def test_one_that_vanishes_is_left_out_and_the_others_are_paid(village: Village) -> None:
    asker, tasks = begun(village)
    finish(village, tasks, OUTPUT, OUTPUT, None)
    village.nodes[2].crash()
    village.wait(ALL_MS)
    assert stages(asker, tasks) == [Stage.SETTLED, Stage.SETTLED, Stage.FAILED]
    assert village.escrow() == 0


def test_executors_end_a_group_whose_asker_has_vanished(village: Village) -> None:
    asker, tasks = begun(village)
    finish(village, tasks, OUTPUT, OUTPUT, None)
    asker.crash()
    village.nodes[2].crash()
    village.wait(ALL_MS)
    assert village.escrow() == 0
    assert earned(village)[:2] == [REWARD, REWARD]


def test_an_executor_that_restarts_between_fixing_and_opening_goes_on(village: Village) -> None:
    asker, tasks = begun(village)
    finish(village, tasks, OUTPUT, OUTPUT, None)
    village.nodes[0].restart()
    finish(village, tasks, None, None, OUTPUT)
    village.wait(30_000)
    assert stages(asker, tasks) == [Stage.SETTLED] * 3


def test_vectors_that_hardly_differ_are_alike_and_the_asker_says_so(village: Village) -> None:
    asker, tasks = begun(village, rule=AgreementRule.ATTESTED)
    one, near, far = vectors((1.0, 0.0)), vectors((1.0, 1e-6)), vectors((0.0, 1.0))
    finish(village, tasks, one, near, far)
    village.settle()
    assert stages(asker, tasks) == [Stage.SETTLED, Stage.SETTLED, Stage.FAILED]
    assert earned(village) == [REWARD, REWARD, 0, -2 * REWARD]


def test_an_asker_that_never_compares_pays_all_in_the_end(village: Village) -> None:
    asker, tasks = begun(village, rule=AgreementRule.ATTESTED)
    asker.crash()
    finish(village, tasks, vectors((1.0, 0.0)), vectors((0.0, 1.0)), vectors((0.5, 0.5)))
    village.wait(ALL_MS)
    assert village.escrow() == 0
    assert earned(village)[:3] == [REWARD] * 3


def test_only_outputs_of_one_shape_and_direction_are_alike() -> None:
    assert are_alike("embed", vectors((1.0, 0.0)), vectors((1.0, 0.0)))
    assert not are_alike("embed", vectors((1.0, 0.0)), vectors((1.0, 0.0), (1.0, 0.0)))
    assert not are_alike("embed", vectors((1.0, 0.0)), vectors((0.0, 0.0)))
    assert not are_alike("embed", vectors((1.0, 0.0)), vectors((float("nan"), 0.0)))
    assert not are_alike("embed", vectors((1.0, 0.0)), vectors((1.0, 0.1)))
    no = encode_output(AnswerOutput(answered=False, answer="no", confidence=0.1, citations=()))
    nearly = encode_output(AnswerOutput(answered=False, answer="no", confidence=0.2, citations=()))
    assert not are_alike("answer", no, nearly)
    names = {"a": vectors((0.0, 1.0)), "b": vectors((1.0, 0.0)), "c": vectors((1.0, 1e-5))}
    assert largest_alike("embed", names) == ("b", "c")


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["finish", "lie", "crash", "wait"]), st.integers(0, 3))),
    st.sampled_from(list(AgreementRule)),
)
def test_whatever_breaks_all_rewards_are_out_of_escrow_in_the_end(
    steps: list[tuple[str, int]], rule: AgreementRule
) -> None:
    village = Village(workers=3)
    asker, tasks = begun(village, rule=rule)
    for what, place in steps[:12]:
        node = village.nodes[place]
        match what:
            case "finish" | "lie":
                for task in tuple(node.work):
                    node.finish(task, OUTPUT if what == "finish" else LIE)
            case "crash":
                node.restart()
            case _:
                village.wait(20_000 * place)
        village.settle()
    village.wait(ALL_MS)
    assert village.escrow() == 0
    assert all(not asker.stage(task).value.startswith(("queued", "running")) for task in tasks)
    assert sum(earned(village)) == 0
