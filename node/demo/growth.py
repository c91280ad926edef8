"""A federation grows on this machine: one node founds, each further one joins by address and is admitted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from node.demo.cluster import Cluster, Member, until

NAMES = ("ada", "ben", "cleo", "dora", "emil", "fay", "gus", "hana", "ivo", "jana")
ALL_KINDS = ("embed", "rank", "summarize", "answer")
WAIT_S = 20.0
LEAST_FOR_A_FAULT = 4


def grow(cluster: Cluster, nodes: int, say: Callable[[str], None]) -> Member:
    """Start `nodes` daemons and make them all validators; the founder, which does no tasks itself if it has peers.

    Raises `DemoError`.
    """
    founder = cluster.start(NAMES[0], () if nodes > 1 else ALL_KINDS, None)
    say(f"{founder.name} {founder.short} founds at {founder.address}")
    for name in names(nodes)[1:]:
        member = cluster.start(name, ALL_KINDS, founder.address)
        role = member.client.status().role
        until(partial(_has_applied, founder, member), WAIT_S, f"{name} was not seen to apply")
        for judge in _judges(cluster.members, member):
            until(partial(_knows, judge, member), WAIT_S, f"{judge.name} did not hear of {name}")
            judge.client.admit(member.node_id, validator=True)
        until(partial(_is_validator, member), WAIT_S, f"{name} did not become a validator")
        status = member.client.status()
        say(
            f"{name} {member.short} joins as {role}, is admitted as validator: "
            f"epoch {status.epoch}, {status.faults_tolerated} may fail"
        )
    for member in cluster.members:
        is_ready = partial(knows_all, member, nodes - 1)
        until(is_ready, WAIT_S, f"{member.name} did not find all others")
    return founder


def names(nodes: int) -> tuple[str, ...]:
    """So many names; those without a proper one are numbered."""
    return (*NAMES, *(f"node{number}" for number in range(len(NAMES) + 1, nodes + 1)))[:nodes]


def _judges(members: list[Member], newcomer: Member) -> list[Member]:
    """Whose word is needed: below four validators the founder holds the quorum alone."""
    others = [one for one in members if one is not newcomer]
    return others if len(others) >= LEAST_FOR_A_FAULT else others[:1]


def _is_validator(member: Member) -> bool:
    return member.client.status().role == "validator"


def _has_applied(founder: Member, member: Member) -> bool:
    applicants = founder.client.peers(applicants=True).peers
    return any(one.node_id == member.node_id and one.name for one in applicants)


def _knows(judge: Member, member: Member) -> bool:
    """A validator can speak for a candidate once it has heard of it."""
    known = (*judge.client.peers().peers, *judge.client.peers(applicants=True).peers)
    return any(one.node_id == member.node_id and one.name for one in known)


def knows_all(member: Member, others: int) -> bool:
    """Whether it is ready, and so many others are alive to it."""
    alive = sum(peer.status == "alive" for peer in member.client.peers().peers)
    return alive == others and member.client.not_ready() is None
