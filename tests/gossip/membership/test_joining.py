"""How a stranger becomes a member: by an address, by an invite, or not at all."""

from __future__ import annotations

import pytest

from gossip.identity import NodeId
from gossip.membership.applicants import MAX_APPLICANTS
from gossip.membership.events import AddBootstrap, AdmissionChanged, Disconnect, PeerUp, Received
from gossip.membership.invites import InviteFault, issue_invite
from gossip.membership.messages import (
    FetchRecords,
    FetchSince,
    Hello,
    Leave,
    Ping,
    Pong,
    Records,
    Spare,
    Standing,
    Welcome,
    federation_of,
)
from gossip.membership.notices import (
    ApplicantArrived,
    BootstrapRefused,
    FederationFound,
    InvitePresented,
    Liveness,
    StandingChanged,
    WrongFederation,
)
from tests.gossip.membership.town import (
    FEDERATION,
    GENESIS,
    LATENCY_MS,
    START_MS,
    Resident,
    Town,
    address,
    invite_from,
    node,
    signed_record,
    signer,
)

OTHER_GENESIS = b"the genesis of another federation"


def founded(count: int = 2) -> Town:
    town = Town()
    for number in range(1, count + 1):
        town.settle(number, bootstrap=(address(1),) if number > 1 else ())
    town.run(3_000)
    return town


def admit(town: Town, number: int, *ledgers: dict[NodeId, str]) -> None:
    """The block that admits a node reaches everybody."""
    town.ledger[node(number)] = "observer"
    for word in ledgers:
        word.update(town.ledger)
    for one in list(town.residents.values()):
        town.tell(one.number, AdmissionChanged((node(number),)))


def answers_to(town: Town, number: int) -> list[Welcome]:
    """The welcomes that a node was sent."""
    return [m for _, to, m in town.sent if to == node(number) and isinstance(m, Welcome)]


def test_by_a_bare_address_one_finds_the_federation_and_waits() -> None:
    town = founded()
    newcomer = town.settle(9, role=None, genesis=None, ledger={}, bootstrap=(address(2),))
    town.run(200)
    (found,) = newcomer.told(FederationFound)
    assert (found.genesis, found.federation) == (GENESIS, FEDERATION)
    assert (found.peer, found.standing) == (node(2), Standing.APPLICANT)
    assert "admit" in found.reason
    assert newcomer.core.is_member(node(2))
    assert newcomer.core.table() == ()
    (waiting,) = town.residents[node(2)].core.applicants()
    assert (waiting.node_id, waiting.name, waiting.connected) == (node(9), "", True)


def test_an_applicant_is_shown_by_name_and_learns_the_table_when_it_is_admitted() -> None:
    town = founded(3)
    word: dict[NodeId, str] = {}
    newcomer = town.settle(9, role=None, ledger=word, bootstrap=(address(2),))
    host = town.residents[node(2)]
    town.run(1_000)
    (arrived,) = host.told(ApplicantArrived)
    assert (arrived.applicant.name, arrived.applicant.addresses) == ("node 9", (address(9),))
    assert host.core.applicants() == (arrived.applicant,)
    assert [one.standing for one in newcomer.told(StandingChanged)] == [Standing.APPLICANT]
    assert not host.core.is_member(node(9))
    assert "node 9" not in host.knows()
    assert newcomer.knows() == {"node 2"}
    record = host.core.record_of(node(9))
    assert record is not None
    assert record.voting_key == bytes([9]) * 32

    admit(town, 9)
    town.run(4 * LATENCY_MS)
    assert [one.standing for one in newcomer.told(StandingChanged)][-1] is Standing.MEMBER
    assert newcomer.knows() == {"node 1", "node 2", "node 3"}
    assert host.core.applicants() == ()
    assert host.status(9) is Liveness.ALIVE
    admit(town, 9, word)
    town.run(3_000)
    for one in town.residents.values():
        assert len(one.core.table()) == 3
        assert all(row.connected and row.role for row in one.core.table())
        assert one.rejected == []


def test_who_is_no_member_any_more_is_told_and_waits_like_a_stranger() -> None:
    town = founded(3)
    word = dict(town.ledger)
    lost = town.settle(9, ledger=word, bootstrap=(address(2),))
    admit(town, 9, word)
    town.run(3_000)
    assert all(
        one.status(9) is Liveness.ALIVE for one in town.residents.values() if one is not lost
    )
    del town.ledger[node(9)]
    for number in (1, 2, 3):
        town.tell(number, AdmissionChanged((node(9),)))
    town.run(4 * LATENCY_MS)
    for number in (1, 2, 3):
        host = town.residents[node(number)].core
        assert not host.is_member(node(9))
        assert node(9) not in {row.node_id for row in host.table()}
    told = lost.told(StandingChanged)[-1]
    assert told.standing is Standing.APPLICANT
    assert "not a member any more" in told.reason


def test_with_an_invite_one_is_a_member_at_once_and_the_ledger_is_asked() -> None:
    town = founded(3)
    newcomer = town.settle(9, role=None, genesis=None, ledger={}, invite=invite_from(1))
    town.run(200)
    (found,) = newcomer.told(FederationFound)
    assert (found.federation, found.standing) == (FEDERATION, Standing.MEMBER)
    issuer = town.residents[node(1)]
    (presented,) = issuer.told(InvitePresented)
    assert (presented.node, presented.invite_id) == (node(9), bytes([1]) * 32)
    assert issuer.core.is_member(node(9))
    assert issuer.core.applicants() == ()
    assert not town.residents[node(2)].core.is_member(node(9))


def test_the_core_that_follows_has_the_address_and_the_invite_from_disk() -> None:
    town = founded(3)
    searching = town.settle(9, role=None, genesis=None, ledger={}, invite=invite_from(1))
    town.run(200)
    word: dict[NodeId, str] = {}
    town.kill(9)
    newcomer = town.settle(9, role=None, ledger=word, disk=searching.disk)
    town.run(200)
    assert newcomer.knows() == {"node 1", "node 2", "node 3"}
    assert town.residents[node(1)].status(9) is Liveness.ALIVE
    assert town.residents[node(1)].row(9).role is None
    assert town.residents[node(1)].core.candidates("embed")[0].name != "node 9"
    admit(town, 9, word)
    town.run(5_000)
    assert {row.role for row in newcomer.core.table()} == {"validator"}
    assert all(len(one.core.table()) == 3 for one in town.residents.values())


def test_a_core_that_takes_over_open_connections_is_greeted_anew() -> None:
    town = founded(2)
    searching = town.settle(9, role=None, genesis=None, ledger={}, invite=invite_from(1))
    town.run(200)
    searching.up = False
    newcomer = town.settle(9, role=None, ledger={}, disk=searching.disk)
    town.tell(9, PeerUp(node(1), address(1), outbound=True))
    town.run(200)
    assert newcomer.knows() == {"node 1", "node 2"}
    assert town.residents[node(1)].status(9) is Liveness.ALIVE


def test_an_invite_is_used_once() -> None:
    town = founded(1)
    invite = invite_from(1)
    town.settle(8, role=None, ledger={}, invite=invite)
    town.run(200)
    late = town.settle(9, role=None, ledger={}, invite=invite)
    town.run(200)
    issuer = town.residents[node(1)]
    assert [one.node for one in issuer.told(InvitePresented)] == [node(8)]
    assert [row.node_id for row in issuer.core.applicants()] == [node(9)]
    assert "used" in late.told(StandingChanged)[-1].reason


def test_a_used_invite_stays_used_over_a_restart_and_after_admission() -> None:
    town = founded(1)
    invite = invite_from(1)
    town.settle(8, role=None, ledger={}, invite=invite)
    town.run(200)
    town.kill(1)
    issuer = town.settle(1, disk=town.residents[node(1)].disk)
    town.run(3_000)
    assert issuer.core.is_member(node(8))
    assert [one.node for one in issuer.told(InvitePresented)] == [node(8)]
    admit(town, 8)
    late = town.settle(9, role=None, ledger={}, invite=invite)
    town.run(200)
    assert "used" in late.told(StandingChanged)[-1].reason
    del town.ledger[node(8)]
    town.tell(1, AdmissionChanged((node(8),)))
    assert not issuer.core.is_member(node(8))


def test_an_invite_shown_to_another_than_its_issuer_lets_nobody_in() -> None:
    town = founded(2)
    town.meet(9, 2)
    invite = invite_from(1)
    town.say(9, 2, Hello(FEDERATION, signed_record(9), invite, 1))
    town.run(2 * LATENCY_MS)
    (answer,) = answers_to(town, 9)
    assert answer.standing is Standing.APPLICANT
    assert node(1).hex() in answer.reason


def test_an_invite_is_shown_to_nobody_but_its_issuer() -> None:
    town = founded(2)
    town.settle(
        9, role=None, genesis=None, ledger={}, bootstrap=(address(2),), invite=invite_from(1)
    )
    town.run(1_000)
    shown = [
        to for sender, to, m in town.sent if sender == node(9) and isinstance(m, Hello) and m.invite
    ]
    assert set(shown) == {node(1)}


@pytest.mark.parametrize(
    ("invite", "reason"),
    [
        (invite_from(1, expires_ms=START_MS), InviteFault.EXPIRED),
        (
            issue_invite(
                signer(1),
                federation=federation_of(OTHER_GENESIS),
                invite_id=bytes(32),
                expires_ms=2**60,
                addresses=(address(1),),
            ),
            InviteFault.OTHER_FEDERATION,
        ),
    ],
)
def test_a_bad_invite_is_refused_on_both_sides(invite: object, reason: InviteFault) -> None:
    town = founded(1)
    town.meet(9, 1)
    town.say(9, 1, Hello(FEDERATION, signed_record(9), invite, 1))  # type: ignore[arg-type]
    town.run(2 * LATENCY_MS)
    (answer,) = answers_to(town, 9)
    assert (answer.standing, answer.reason) == (Standing.APPLICANT, reason.value)
    town.tell(1, AddBootstrap((), invite))  # type: ignore[arg-type]
    assert town.residents[node(1)].told(BootstrapRefused) == [BootstrapRefused(reason.value)]


def test_rubbish_is_no_address_to_join_by() -> None:
    town = founded(1)
    town.tell(1, AddBootstrap((address(2), "localhost:7430")))
    (refused,) = town.residents[node(1)].told(BootstrapRefused)
    assert refused.reason == (
        "'localhost:7430' is not a multiaddr such as /ip4/192.168.1.5/tcp/7430"
    )


def test_provisional_membership_ends_with_the_invite() -> None:
    town = founded(1)
    invite = invite_from(1, expires_ms=START_MS + 10_000)
    newcomer = town.settle(9, role=None, ledger={}, invite=invite)
    town.run(1_000)
    assert town.residents[node(1)].core.is_member(node(9))
    town.run(10_000)
    assert not town.residents[node(1)].core.is_member(node(9))
    assert newcomer.told(StandingChanged)[-1].standing is Standing.APPLICANT


def test_an_invite_whose_issuer_shows_another_genesis_leads_nowhere() -> None:
    town = Town()
    town.settle(1, genesis=OTHER_GENESIS)
    newcomer = town.settle(9, role=None, genesis=None, ledger={}, invite=invite_from(1))
    town.run(30_000)
    assert newcomer.told(FederationFound) == []
    wrong = newcomer.told(WrongFederation)
    assert (wrong[0].theirs, wrong[0].ours) == (federation_of(OTHER_GENESIS), FEDERATION)
    assert len(wrong) <= 6, "it is dialed ever more seldom"


def test_a_genesis_that_is_not_that_of_its_federation_is_refused() -> None:
    town = Town()
    newcomer = town.settle(9, role=None, genesis=None, ledger={})
    town.tell(9, PeerUp(node(50), address(50), outbound=True))
    hello = next(m for _, to, m in town.sent if to == node(50) and isinstance(m, Hello))
    for genesis in (OTHER_GENESIS, None):
        welcome = Welcome(FEDERATION, genesis, signed_record(50), Standing.MEMBER, "", hello.nonce)
        (effect, *_) = town.tell(9, Received(node(50), welcome))
        assert isinstance(effect, Disconnect)
        town.tell(9, PeerUp(node(50), address(50), outbound=True))
        hello = [m for _, to, m in town.sent if to == node(50) and isinstance(m, Hello)][-1]
    assert newcomer.told(FederationFound) == []


def test_a_searching_node_believes_nobody_who_comes_by_himself() -> None:
    town = Town()
    newcomer = town.settle(9, role=None, genesis=None, ledger={})
    town.tell(9, PeerUp(node(50), address(50), outbound=False))
    hello = next(m for _, to, m in town.sent if to == node(50) and isinstance(m, Hello))
    welcome = Welcome(FEDERATION, GENESIS, signed_record(50), Standing.MEMBER, "", hello.nonce)
    town.tell(9, Received(node(50), welcome))
    assert newcomer.told(FederationFound) == []
    assert "nobody told" in newcomer.rejected[-1].reason


def test_two_that_search_part() -> None:
    town = Town()
    town.settle(8, role=None, genesis=None, ledger={}, bootstrap=(address(9),))
    town.settle(9, role=None, genesis=None, ledger={})
    town.run(100)
    assert town.lines == set()


def test_nodes_of_two_federations_part_and_both_say_why() -> None:
    town = Town()
    ours = town.settle(1)
    theirs = town.settle(2, genesis=OTHER_GENESIS, bootstrap=(address(1),))
    town.run(100)
    assert town.lines == set()
    for one, other in ((ours, theirs), (theirs, ours)):
        told = one.told(WrongFederation)
        assert told[0].peer == other.node
        assert (told[0].ours, told[0].theirs) == (one.core.federation, other.core.federation)
        assert one.core.table() == ()
    dialed_before = len(theirs.dialed)
    town.run(120_000)
    assert len(theirs.dialed) - dialed_before < 15


def stranger_at(town: Town, number: int = 1, stranger: int = 50) -> Resident:
    town.meet(stranger, number)
    town.run(0)
    town.say(stranger, number, Hello(FEDERATION, signed_record(stranger), None, 1))
    town.run(2 * LATENCY_MS)
    return town.residents[node(number)]


@pytest.mark.parametrize(
    "message",
    [
        Records((signed_record(50, 5),)),
        FetchRecords(()),
        Spare(full=True),
        Leave(node(50), 2**63 - 1, bytes(64)),
    ],
)
def test_a_stranger_may_say_nothing_that_only_members_may(message: object) -> None:
    town = founded(2)
    host = stranger_at(town)
    town.sent.clear()
    town.say(50, 1, message)
    town.run(2 * LATENCY_MS)
    assert host.rejected[-1].reason == "it is not a member, and may only say hello and ping"
    assert [m for _, to, m in town.sent if to == node(50)] == []
    assert host.knows() == {"node 2"}


def test_a_stranger_gets_the_genesis_and_an_answer_to_its_ping() -> None:
    town = founded(1)
    town.meet(50, 1)
    town.run(0)
    town.say(50, 1, Hello(None, None, None, 77))
    town.say(50, 1, Ping(78))
    town.run(2 * LATENCY_MS)
    (welcome,) = answers_to(town, 50)
    assert (welcome.genesis, welcome.federation, welcome.nonce) == (GENESIS, FEDERATION, 77)
    assert any(isinstance(m, Pong) and m.nonce == 78 for _, _, m in town.sent)


def test_a_stranger_that_says_hello_too_often_is_not_answered() -> None:
    town = founded(1)
    town.meet(50, 1)
    town.run(0)
    for nonce in range(100):
        town.say(50, 1, Hello(None, None, None, nonce))
    town.run(2 * LATENCY_MS)
    assert len(answers_to(town, 50)) <= 8
    assert "too often" in town.residents[node(1)].rejected[-1].reason


def test_a_welcome_that_answers_nothing_is_refused() -> None:
    town = founded(1)
    host = stranger_at(town)
    welcome = Welcome(FEDERATION, None, signed_record(50), Standing.MEMBER, "", 999_999)
    town.say(50, 1, welcome)
    town.run(LATENCY_MS)
    assert "no hello" in host.rejected[-1].reason


def test_applicants_are_bounded_and_who_is_gone_goes_first() -> None:
    town = founded(1)
    host = town.residents[node(1)]
    for number in range(100, 100 + MAX_APPLICANTS):
        town.meet(number, 1)
        town.say(number, 1, Hello(FEDERATION, signed_record(number), None, 1))
    town.run(LATENCY_MS)
    town.hang_up(frozenset((node(1), node(200))), "gone")
    for number in (900, 901):
        town.meet(number, 1)
        town.say(number, 1, Hello(FEDERATION, signed_record(number), None, 1))
    town.run(LATENCY_MS)
    names = [row.name for row in host.core.applicants()]
    assert len(names) == MAX_APPLICANTS
    assert "node 200" not in names
    assert "node 100" not in names
    assert names[0] == "node 101"
    assert names[-2:] == ["node 900", "node 901"]


def test_who_is_not_admitted_itself_lists_no_applicants() -> None:
    town = founded(1)
    town.settle(9, role=None, ledger={}, bootstrap=(address(1),))
    town.run(100)
    host = stranger_at(town, 9)
    assert host.core.applicants() == ()
    assert "not a member itself" in answers_to(town, 50)[-1].reason


def test_who_is_removed_is_told_and_loses_its_rights() -> None:
    town = founded(3)
    removed = town.residents[node(3)]
    del town.ledger[node(3)]
    for number in (1, 2):
        town.tell(number, AdmissionChanged((node(3),)))
    town.run(2 * LATENCY_MS)
    assert removed.told(StandingChanged)[-1].standing is Standing.APPLICANT
    assert town.residents[node(1)].knows() == {"node 2"}
    assert not town.residents[node(1)].core.is_member(node(3))


def test_an_applicant_asks_again_in_case_its_admission_was_told_in_vain() -> None:
    town = founded(1)
    newcomer = town.settle(9, role=None, ledger={}, bootstrap=(address(1),))
    town.run(500)
    town.residents[node(1)].silent = True
    admit(town, 9)
    town.run(500)
    town.residents[node(1)].silent = False
    town.run(40_000)
    assert newcomer.told(StandingChanged)[-1].standing is Standing.MEMBER


def test_a_searching_core_only_asks() -> None:
    town = founded(1)
    seeker = town.settle(9, role=None, genesis=None, ledger={}, bootstrap=(address(1),))
    town.run(100)
    town.tell(9, Received(node(1), Records((signed_record(1),))))
    assert seeker.rejected[-1].reason == "this node belongs to no federation yet"
    assert seeker.core.own_record is None
    assert seeker.core.federation is None
    assert town.tell(9, AdmissionChanged((node(1),))) == []


def test_who_catches_up_block_after_block_asks_for_records_no_more_often_than_it_may() -> None:
    """Each block admits somebody unknown; the only friend must not find that this one asks too often."""
    town = founded(1)
    newcomer = town.settle(2, bootstrap=(address(1),))
    town.run(200)
    unknown = [node(number) for number in range(30, 40)]
    for one in unknown:
        town.ledger[one] = "observer"
        town.tell(2, AdmissionChanged((one,)))
        town.run(LATENCY_MS)
    host = town.residents[node(1)]
    assert host.rejected == []
    town.sent.clear()
    record = signed_record(39)
    town.tell(1, AdmissionChanged((node(39),)))
    town.meet(39, 1)
    town.run(0)
    town.say(39, 1, Hello(FEDERATION, record, None, 1))
    town.run(4_000)
    asked = [to for sender, to, message in town.sent if isinstance(message, FetchSince)]
    assert node(1) in asked
    assert "node 39" in newcomer.knows()
    assert host.rejected == []
