"""How often connections are asked whether they live, by how many there are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.transport.muxer import Patience


@pytest.mark.parametrize("connections", [0, 1, 8])
def test_each_of_few_is_asked_every_two_seconds(connections: int) -> None:
    assert Patience().pace_s(connections) == 2.0


@given(st.integers(1, 120))
def test_all_of_many_together_are_asked_no_more_often_than_all_of_few(connections: int) -> None:
    patience = Patience()
    of_few = patience.few_connections / patience.ping_every_s
    assert connections / patience.pace_s(connections) <= of_few
    assert patience.pace_s(connections) <= patience.pace_s(connections + 1)


def test_nobody_is_asked_more_seldom_than_twice_a_minute() -> None:
    assert Patience().pace_s(256) == 30.0


def test_who_is_patient_already_is_not_hurried_by_a_crowd() -> None:
    assert Patience(ping_every_s=1000).pace_s(256) == 1000
