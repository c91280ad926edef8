from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.genesis import Founder, Genesis, GenesisError, found, found_alone
from consensus.parameters import Parameters
from gossip.codec import decode_canonical, encode
from tests.consensus.world import HashSigner, founders

ALICE, KEY = HashSigner("alice"), HashSigner("alice's voting key")
HOME = found_alone("home", 1, (ALICE.node_id, KEY.public), 1000)


def changed(**fields: object) -> str:
    return json.dumps(json.loads(HOME.to_json()) | fields)


def parameters(**fields: object) -> dict[str, Any]:
    return dict(json.loads(HOME.to_json())["parameters"]) | fields


def seat(**fields: object) -> dict[str, Any]:
    return dict(json.loads(HOME.to_json())["founders"][0]) | fields


@given(
    st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=16),
    st.integers(0, 2**63 - 1),
    st.lists(st.integers(1, 2**53), min_size=1, max_size=7),
    st.builds(Parameters, supply=st.integers(10**6, 2**63 - 1)),
)
def test_the_file_loads_back_to_the_same_hash(
    name: str, created_ms: int, powers: list[int], constants: Parameters
) -> None:
    _, _, seats = founders(tuple(powers))
    genesis = found(name, created_ms, seats, constants)
    again = Genesis.load(genesis.to_json())
    assert again == genesis
    assert again.federation_id == genesis.federation_id
    assert decode_canonical(encode(genesis), Genesis) == genesis


def test_any_other_constant_is_another_federation() -> None:
    ids = {HOME.federation_id}
    others: dict[str, object] = {"max_block_txs": 1999, "power": "stake", "slash_percent": 7}
    for name, value in parameters().items():
        other = {str: "70000", int: 70_000, bool: not value}[type(value)]
        text = changed(parameters=parameters(**{name: others.get(name, other)}))
        ids.add(Genesis.load(text).federation_id)
    assert len(ids) == len(parameters()) + 1


def test_the_founders_are_the_first_validators_and_the_rest_is_the_treasurys() -> None:
    nodes, keys, seats = founders((3, 1, 2), amount=10)
    genesis = found("three", 1, seats, Parameters(supply=100))
    first = genesis.first_set()
    assert first.epoch == 0
    assert first.nodes == tuple(node.node_id for node in nodes)
    assert [one.voting_key for one in first.validators] == [key.public for key in keys]
    assert [one.power for one in first.validators] == [3, 1, 2]
    assert genesis.treasury_amount == 70
    assert genesis.treasury not in first.nodes


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "not JSON"),
        (changed(name=""), "name: "),
        (changed(name="a\u202eb"), "name: has characters that don't print"),
        (changed(name=" home"), "name: has characters that don't print, or blanks"),
        (changed(created_ms=-1), "created_ms: "),
        (changed(founders=[]), "founders: "),
        (changed(founders=[seat(node="00")]), "founders.0.node: "),
        (changed(founders=[seat(power=0)]), "founders.0.power: "),
        (changed(founders=[seat(amount="-1")]), "founders.0.amount: "),
        (changed(founders=[seat(stake="1001")]), "founders.0.stake: more than"),
        (changed(parameters=parameters(power="wealth")), "parameters.power: "),
        (changed(parameters=parameters(slash_percent=101)), "parameters.slash_percent: "),
        (changed(founders=[seat(), seat(voting_key="11" * 32)]), "founders.node: "),
        (changed(founders=[seat(), seat(node="11" * 32)]), "founders.voting_key: "),
        (changed(founders=[seat(voting_key=ALICE.public.hex())]), "identity key"),
        (changed(parameters=parameters(supply="10")), "parameters.supply: less than"),
        (changed(parameters=parameters(supply=10)), "parameters.supply: expected an amount"),
        (changed(parameters=parameters(unit="\n")), "parameters.unit: "),
        (changed(parameters=parameters(max_block_txs=0)), "parameters.max_block_txs: "),
        (changed(parameters=parameters(max_block_txs=2001)), "parameters.max_block_txs: "),
        (changed(parameters=parameters(max_block_bytes=10)), "parameters.max_block_bytes: "),
        (changed(parameters=parameters(max_task_lead_ms=0)), "parameters.min_task_lead_ms: "),
        (changed(parameters=parameters(fee="1")), "parameters.fee: unknown field"),
        (changed(extra=1), "extra: unknown field"),
    ],
)
def test_what_is_wrong_is_named(text: str, sentence: str) -> None:
    with pytest.raises(GenesisError) as refusal:
        Genesis.load(text)
    assert sentence in str(refusal.value)


def test_founding_checks_what_loading_checks() -> None:
    with pytest.raises(GenesisError, match=r"founders\.0\.node"):
        found("home", 1, (Founder(b"short", KEY.public, 1, 1),))
    with pytest.raises(GenesisError, match="supply"):
        found_alone("home", 1, (ALICE.node_id, KEY.public), 2, Parameters(supply=1))
