"""The parts of a world by themselves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.identity import Ed25519Verifier
from simulations.scenario import Scenario, fault_of
from simulations.scenario_file import dump, parse
from simulations.seeds.expand import expand
from simulations.worlds.disk import MemoryStore
from simulations.worlds.draws import Draws
from simulations.worlds.faults import Partition
from simulations.worlds.network import Wires
from simulations.worlds.setting import Network
from simulations.worlds.signatures import Keyring


@given(st.integers(-(2**63), 2**63 - 1), st.integers(1, 10**6), st.text(max_size=16))
def test_a_draw_depends_on_its_key_alone(seed: int, bound: int, name: str) -> None:
    draws = Draws(seed)
    first = draws.below(bound, "purpose", name, 1)
    draws.below(bound, "purpose", name, 2)
    assert first == Draws(seed).below(bound, "purpose", name, 1)
    assert 0 <= first < bound


@given(st.integers(0, 100_000))
def test_every_seed_expands_to_a_sound_scenario_that_survives_its_file(seed: int) -> None:
    scenario = expand(seed)
    assert fault_of(scenario) is None
    assert parse(dump(scenario, "why\nit is here"), "a file") == scenario


def test_a_store_scans_in_order_and_forgets_only_when_told() -> None:
    store = MemoryStore()
    store.write(((b"a/2", b"two"), (b"a/1", b"one"), (b"b", b"other")))
    assert store.scan(b"a/") == [(b"a/1", b"one"), (b"a/2", b"two")]
    store.write(((b"a/1", None), (b"a/3", b"three")))
    assert store.scan(b"a/") == [(b"a/2", b"two"), (b"a/3", b"three")]
    assert store.get(b"a/1") is None
    store.wipe()
    assert store.scan(b"") == []


@pytest.mark.parametrize("real", [False, True])
def test_nobody_signs_for_somebody_else(*, real: bool) -> None:
    keys = Keyring(Draws(1), real=real)
    one, other, verifier = keys.signer(b"voting", 1), keys.signer(b"voting", 2), keys.verifier
    signature = one.sign(b"message")
    assert isinstance(verifier, Ed25519Verifier) is real
    assert verifier.verify(one.public, b"message", signature)
    assert not verifier.verify(other.public, b"message", signature)
    assert not verifier.verify(one.public, b"another", signature)


@pytest.mark.parametrize(
    ("direction", "out", "into"), [("both", 0, 0), ("out", 0, 1), ("in", 1, 0)]
)
def test_a_partition_cuts_in_its_direction_while_it_stands(
    direction: str, out: int, into: int
) -> None:
    cut = Partition(at_ms=10, until_ms=20, side=(0,), direction=direction)  # type: ignore[arg-type]
    wires = Wires(Scenario(seed=1, weights=(1, 1), faults=(cut,), network=Network(jitter_us=0)))
    luck = bytes(16)
    assert len(wires.deliveries(15_000, 0, 1, luck)) == out
    assert len(wires.deliveries(15_000, 1, 0, luck)) == into
    assert wires.deliveries(15_000, 1, 1, luck) == [500]
    assert wires.deliveries(20_000, 0, 1, luck) == [500]


def test_a_death_takes_what_was_written_lazily_since_the_last_synced_batch() -> None:
    disk = MemoryStore()
    disk.write(((b"a", b"1"), (b"b", b"1")))
    disk.write(((b"a", b"2"),), lazy=True)
    disk.write(((b"c", b"1"),))
    disk.write(((b"a", b"3"), (b"b", None), (b"d", b"1")), lazy=True)
    assert disk.scan(b"") == [(b"a", b"3"), (b"c", b"1"), (b"d", b"1")]
    disk.power_off()
    assert disk.scan(b"") == [(b"a", b"2"), (b"b", b"1"), (b"c", b"1")]
