"""The validator registry on the ledger: stake, delegation, seats, keys, evidence, constants."""

from __future__ import annotations

import pytest

from consensus.certificates import Ballot, Phase
from consensus.ledger.events import (
    Event,
    MemberChanged,
    ParameterChanged,
    RegistrationEnded,
    ReputationScoreChanged,
    Slashed,
    StakeReleased,
    StakeReserved,
    ValidatorActivated,
    ValidatorApproved,
    ValidatorDeactivated,
    ValidatorRegistered,
    VotingKeyRotated,
)
from consensus.ledger.machine import BlockResult, Ledger
from consensus.ledger.records import Delegation, Role, StakeRecord, Unbonding
from consensus.messages import proposal_bytes
from consensus.operations.groups import OfferKinds
from consensus.operations.transactions import AdmitObserver, ApproveValidator, Transfer
from consensus.operations.validators import (
    ActivateValidator,
    ApproveExpulsion,
    ApproveParameter,
    ApproveRemoval,
    Delegate,
    LeaveValidators,
    RegisterValidator,
    ReportEquivocation,
    RotateVotingKey,
    SignedDigest,
    SignedKind,
    Stake,
    Undelegate,
    Unstake,
    activate_validator,
    register_validator,
    rotate_voting_key,
)
from consensus.parameters import Parameters
from gossip.codec import Digest
from tests.consensus.world import HashSigner, HashVerifier, Town

BOB, CAROL = HashSigner("bob"), HashSigner("carol")
BOBS_KEY, FRESH_KEY = HashSigner("bob's voting key"), HashSigner("a fresh voting key")
LOCK_MS = 10_000
RULES = Parameters(
    observer_grant=500,
    validator_grant=100,
    min_stake=50,
    unbonding_ms=LOCK_MS,
    registration_ms=20_000,
    slash_percent=20,
)


def town(seats: int = 5, rules: Parameters = RULES) -> Town:
    """Founders of equal power; Bob is an observer with 500."""
    made = Town((1,) * seats, rules)
    assert made.code(made.nodes[0], AdmitObserver(BOB.node_id, None)) == "ok"
    return made


def wish(made: Town, stake: int = 60, key: HashSigner = BOBS_KEY) -> RegisterValidator:
    return register_validator(made.genesis.federation_id, BOB.node_id, key, "Bob", stake)


def readiness(made: Town, height: int | None = None) -> ActivateValidator:
    last = made.ledger.height if height is None else height
    return activate_validator(made.genesis.federation_id, BOB.node_id, BOBS_KEY, last)


def approved(made: Town) -> None:
    for node in made.nodes[: len(made.nodes) * 2 // 3 + 1]:
        assert made.code(node, ApproveValidator(BOB.node_id, BOBS_KEY.public)) == "ok"


def seated(seats: int = 5, rules: Parameters = RULES) -> Town:
    """Bob has gone the whole way."""
    made = town(seats, rules)
    assert made.code(BOB, wish(made)) == "ok"
    approved(made)
    assert made.code(BOB, readiness(made)) == "ok"
    return made


def stake_of(made: Town, who: HashSigner = BOB) -> StakeRecord:
    record = made.ledger.stake(who.node_id)
    assert record is not None
    return record


def told(result: BlockResult, *kinds: type[Event]) -> list[Event]:
    return [event for event in result.events if isinstance(event, kinds)]


def evidence(
    made: Town, key: HashSigner, epoch: int = 0, kind: SignedKind = SignedKind.COMMIT
) -> ReportEquivocation:
    """Two contradicting statements by a key."""
    chain, digests = made.genesis.federation_id, (b"\x01" * 32, b"\x02" * 32)
    signed = []
    for digest in digests:
        if kind is SignedKind.PROPOSAL:
            message = proposal_bytes(chain, epoch, 3, 9, Digest(digest))
        else:
            message = Ballot(Phase(kind.value), epoch, 3, 9, digest).signing_bytes(chain)
        signed.append(SignedDigest(digest, key.sign(message)))
    return ReportEquivocation(key.public, kind, epoch, 3, 9, *signed)


# The saga.


def test_register_approve_activate_gives_a_seat_from_the_next_height_on() -> None:
    made = town()
    result = made.block(made.signed(BOB, wish(made)))
    assert made.balance(BOB) == 440
    assert stake_of(made) == StakeRecord("Bob", 60)
    registered = told(result, StakeReserved, ValidatorRegistered)
    assert [type(event) for event in registered] == [StakeReserved, ValidatorRegistered]
    assert made.code(BOB, readiness(made)) == "not_approved"
    approved(made)
    assert told(made.results[-1], ValidatorApproved)
    assert len(made.ledger.validators.validators) == 5
    last = made.block(made.signed(BOB, readiness(made)))
    assert last.outcomes[0].ok
    assert told(last, ValidatorActivated)
    assert last.next_set.epoch == 1
    assert last.next_set.validators[-1].voting_key == BOBS_KEY.public
    assert made.balance(BOB) == 540, "the grant comes with the seat"
    assert made.ledger.registration(BOB.node_id) is None


def test_a_registration_checks_stake_uniqueness_and_the_key() -> None:
    made = town()
    bad_proof = RegisterValidator(BOBS_KEY.public, "Bob", 60, bytes(64))
    assert made.code(CAROL, wish(made)) == "unknown_account"
    assert made.code(made.nodes[0], wish(made)) == "already_validator"
    assert made.code(BOB, wish(made, 49)) == "stake_too_small"
    assert made.code(BOB, wish(made, 501)) == "overdraft"
    assert made.code(BOB, wish(made, key=made.keys[1])) == "voting_key_taken"
    assert made.code(BOB, bad_proof) == "key_proof_invalid"
    strange = register_validator(made.genesis.federation_id, BOB.node_id, BOBS_KEY, "B\u202eb", 60)
    assert made.code(BOB, strange) == "label_invalid"
    assert made.balance(BOB) == 500
    assert made.ledger.voting_key(BOBS_KEY.public) is None
    assert made.code(BOB, wish(made)) == "ok"
    assert made.code(BOB, wish(made)) == "already_registered"


def test_a_withdrawn_registration_gives_everything_back() -> None:
    made = town()
    assert made.code(BOB, wish(made)) == "ok"
    assert made.code(made.nodes[0], ApproveValidator(BOB.node_id, BOBS_KEY.public)) == "ok"
    result = made.block(made.signed(BOB, LeaveValidators()))
    assert [type(event) for event in told(result, StakeReleased, RegistrationEnded)] == [
        StakeReleased,
        RegistrationEnded,
    ]
    assert made.balance(BOB) == 500
    assert made.ledger.stake(BOB.node_id) is None
    assert made.ledger.voting_key(BOBS_KEY.public) is None
    assert made.code(BOB, wish(made)) == "ok", "the key is free again"


def test_a_registration_that_leads_nowhere_ends_by_itself() -> None:
    made = town()
    made.code(BOB, wish(made))
    made.now_ms += 20_000
    result = made.block()
    ended = told(result, RegistrationEnded)
    assert [event.reason for event in ended if isinstance(event, RegistrationEnded)] == ["expired"]
    assert made.balance(BOB) == 500
    assert made.code(BOB, readiness(made)) == "not_registered"


def test_activation_wants_a_recent_block_signed_by_the_registered_key() -> None:
    made = town(rules=Parameters(observer_grant=500, min_stake=50, activation_blocks=2))
    made.code(BOB, wish(made))
    approved(made)
    assert made.code(BOB, readiness(made, 1)) == "not_ready"
    assert made.code(BOB, readiness(made, 10**6)) == "not_ready"
    forged = ActivateValidator(made.ledger.height, bytes(64))
    assert made.code(BOB, forged) == "key_proof_invalid"
    assert made.code(BOB, readiness(made)) == "ok"


def test_approving_another_key_than_the_registered_one_is_refused() -> None:
    made = town()
    made.code(BOB, wish(made))
    other = ApproveValidator(BOB.node_id, FRESH_KEY.public)
    assert made.code(made.nodes[0], other) == "voting_key_mismatch"


def test_an_admitted_observer_is_seated_with_its_stake_from_the_grant() -> None:
    made = Town((1,), RULES)
    founder = made.nodes[0]
    made.code(founder, AdmitObserver(BOB.node_id, None))
    assert made.code(founder, ApproveValidator(BOB.node_id, BOBS_KEY.public)) == "ok"
    assert (made.balance(BOB), stake_of(made).own) == (550, 50)


def test_without_money_for_the_stake_nobody_is_seated() -> None:
    made = Town((1,), Parameters(supply=1000, min_stake=50))
    founder = made.nodes[0]
    made.code(founder, AdmitObserver(BOB.node_id, None))
    assert made.code(founder, ApproveValidator(BOB.node_id, BOBS_KEY.public)) == "overdraft"
    assert made.ledger.validators.epoch == 0


# Leaving.


def test_who_leaves_gets_everything_back_after_the_lock_and_not_before() -> None:
    made = seated()
    made.code(made.nodes[0], Delegate(BOB.node_id, 30))
    before = made.balance(BOB)
    result = made.block(made.signed(BOB, LeaveValidators()))
    assert told(result, ValidatorDeactivated)
    assert len(result.next_set.validators) == 5
    release_ms = made.now_ms + LOCK_MS
    assert {one.release_ms for one in stake_of(made).unbonding} == {release_ms}
    member = made.ledger.member(BOB.node_id)
    assert member is not None
    assert member.role is Role.OBSERVER
    made.now_ms = release_ms - 1001
    made.block()
    assert made.balance(BOB) == before
    made.now_ms = release_ms - 1000
    result = made.block()
    assert made.balance(BOB) == before + 60
    assert made.balance(made.nodes[0]) == 1000
    assert len(told(result, StakeReleased)) == 2
    assert made.ledger.stake(BOB.node_id) is None
    assert made.code(BOB, wish(made)) == "voting_key_taken", "a key that voted is never used again"
    assert made.code(BOB, wish(made, key=FRESH_KEY)) == "ok"


@pytest.mark.parametrize("seats", [1, 2, 3, 4])
def test_a_set_never_shrinks_below_four(seats: int) -> None:
    made = Town((1,) * seats, RULES)
    assert made.code(made.nodes[-1], LeaveValidators()) == "set_too_small"


def test_those_who_leave_in_one_block_stay_below_a_third() -> None:
    made = Town((1,) * 6, RULES)
    leavers = [made.signed(node, LeaveValidators()) for node in made.nodes[:2]]
    codes = [outcome.code.value for outcome in made.block(*leavers).outcomes]
    assert codes == ["ok", "too_fast_growth"]
    assert made.code(made.nodes[1], LeaveValidators()) == "ok"
    assert made.code(made.nodes[2], LeaveValidators()) == "set_too_small"


def test_a_quorum_removes_a_validator_that_does_not_come_back() -> None:
    made = Town((1,) * 5, RULES)
    lost = made.nodes[4]
    for node in made.nodes[:3]:
        assert made.code(node, ApproveRemoval(lost.node_id)) == "ok"
    assert len(made.ledger.validators.validators) == 5
    assert made.code(BOB, ApproveRemoval(lost.node_id)) == "unknown_account"
    result = made.block(made.signed(made.nodes[3], ApproveRemoval(lost.node_id)))
    assert len(result.next_set.validators) == 4
    assert made.code(made.nodes[3], ApproveRemoval(lost.node_id)) == "unknown_validator"


def test_a_quorum_ends_the_membership_of_an_observer() -> None:
    made = town()
    assert made.code(made.nodes[0], ApproveExpulsion(made.nodes[1].node_id)) == "still_validator"
    assert made.code(made.nodes[0], ApproveExpulsion(bytes(32))) == "unknown_member"
    assert made.code(BOB, ApproveExpulsion(BOB.node_id)) == "not_validator"
    held = made.balance(BOB)
    for node in made.nodes[:3]:
        assert made.code(node, ApproveExpulsion(BOB.node_id)) == "ok"
        assert made.code(node, ApproveExpulsion(BOB.node_id)) == "ok", "counted once"
    assert made.ledger.member(BOB.node_id) is not None
    result = made.block(made.signed(made.nodes[3], ApproveExpulsion(BOB.node_id)))
    assert [one.role for one in result.events if isinstance(one, MemberChanged)] == [None]
    assert made.ledger.member(BOB.node_id) is None
    assert made.balance(BOB) == held
    assert made.code(made.nodes[4], ApproveExpulsion(BOB.node_id)) == "unknown_member"
    assert made.code(made.nodes[4], AdmitObserver(BOB.node_id, None)) == "ok", "let in again"
    assert made.code(made.nodes[4], ApproveExpulsion(BOB.node_id)) == "ok", "old words are gone"
    assert made.ledger.member(BOB.node_id) is not None


def test_whoever_is_expelled_is_drawn_for_work_no_more() -> None:
    made = town()
    assert made.code(BOB, OfferKinds(("embed",))) == "ok"
    assert made.ledger.offering(BOB.node_id) == ("embed",)
    for node in made.nodes[:4]:
        assert made.code(node, ApproveExpulsion(BOB.node_id)) == "ok"
    assert made.ledger.offering(BOB.node_id) == ()


def test_whoever_is_expelled_gets_its_stake_back() -> None:
    made = town()
    held = made.balance(BOB)
    assert made.code(BOB, wish(made)) == "ok"
    for node in made.nodes[:4]:
        assert made.code(node, ApproveExpulsion(BOB.node_id)) == "ok"
    assert made.ledger.member(BOB.node_id) is None
    assert made.balance(BOB) == held
    assert made.ledger.stake(BOB.node_id) is None


# Stake and delegation.


def test_stake_grows_and_shrinks_down_to_the_least() -> None:
    made = seated()
    assert made.code(BOB, Stake(40)) == "ok"
    assert stake_of(made).own == 100
    assert made.code(BOB, Unstake(51)) == "stake_too_small"
    assert made.code(BOB, Unstake(101)) == "stake_too_large"
    assert made.code(BOB, Unstake(50)) == "ok"
    assert stake_of(made).own == 50
    assert [one.amount for one in stake_of(made).unbonding] == [50]
    assert made.code(CAROL, Stake(1)) == "unknown_account"
    made.code(BOB, Transfer(CAROL.node_id, 10))
    assert made.code(CAROL, Stake(1)) == "not_registered"
    assert made.code(CAROL, Unstake(1)) == "not_registered"


def test_a_delegation_is_the_delegators_and_is_taken_back_with_the_lock() -> None:
    made = seated()
    patron = made.nodes[0]
    assert made.code(patron, Delegate(BOB.node_id, 300)) == "ok"
    assert made.code(patron, Delegate(BOB.node_id, 100)) == "ok"
    assert stake_of(made).delegations == (Delegation(patron.node_id, 400),)
    assert made.balance(patron) == 600
    assert made.code(CAROL, Delegate(BOB.node_id, 1)) == "unknown_account"
    assert made.code(patron, Delegate(CAROL.node_id, 1)) == "unknown_validator"
    assert made.code(patron, Delegate(BOB.node_id, 601)) == "overdraft"
    assert made.code(patron, Undelegate(BOB.node_id, 401)) == "stake_too_large"
    assert made.code(BOB, Undelegate(BOB.node_id, 1)) == "stake_too_large"
    assert made.code(patron, Undelegate(BOB.node_id, 150)) == "ok"
    assert stake_of(made).bonded == 60 + 250
    assert stake_of(made).unbonding == (Unbonding(patron.node_id, 150, made.now_ms + LOCK_MS),)
    made.now_ms += LOCK_MS
    made.block()
    assert made.balance(patron) == 750


def test_many_small_withdrawals_make_a_bounded_record() -> None:
    made = seated()
    patron = made.nodes[0]
    made.code(patron, Delegate(BOB.node_id, 100))
    for _ in range(9):
        assert made.code(patron, Undelegate(BOB.node_id, 1)) == "ok"
    waiting = stake_of(made).unbonding
    assert len(waiting) == 4
    assert sum(one.amount for one in waiting) == 9
    assert waiting[-1].release_ms == made.now_ms + LOCK_MS, "the last one waits for all"


def test_power_follows_stake_at_its_boundaries_and_is_capped_below_a_third() -> None:
    rules = Parameters(power="stake", stake_per_power=10, power_blocks=4, min_stake=10)
    made = Town((1,) * 4, rules)
    for place, node in enumerate(made.nodes):
        made.code(node, Stake(10 * (place + 1)))
    made.block()
    assert made.ledger.height == 5
    powers = [[one.power for one in result.next_set.validators] for result in made.results]
    assert powers[2] == [1, 1, 1, 1]
    assert powers[3] == powers[4] == [1, 2, 2, 2], "4 of 10 and 3 of 9 would be a third"
    made.code(made.nodes[0], Delegate(made.nodes[1].node_id, 900))
    made.block()
    assert made.ledger.validators.epoch == 1, "only multiples of four count"
    made.block()
    assert made.ledger.height == 8
    assert [one.power for one in made.ledger.validators.validators] == [1, 3, 3, 3]


def test_a_genesis_that_says_so_lets_one_validator_weigh_more_than_a_third() -> None:
    rules = Parameters(
        power="stake", stake_per_power=10, power_blocks=1, min_stake=10, cap_power=False
    )
    made = Town((1,) * 4, rules)
    made.code(made.nodes[0], Stake(500))
    assert [one.power for one in made.ledger.validators.validators] == [50, 1, 1, 1]
    assert made.ledger.validators.faults_tolerated == 0


# Keys.


def test_a_rotated_key_votes_from_the_next_epoch_on_and_the_old_one_never_again() -> None:
    made = Town((1,) * 4, RULES)
    node, old = made.nodes[0], made.keys[0]
    change = rotate_voting_key(made.genesis.federation_id, node.node_id, FRESH_KEY)
    result = made.block(made.signed(node, change))
    assert told(result, VotingKeyRotated)
    assert result.next_set.epoch == 1
    assert result.next_set.validators[0].voting_key == FRESH_KEY.public
    assert made.code(node, change) == "voting_key_taken"
    back = rotate_voting_key(made.genesis.federation_id, node.node_id, old)
    assert made.code(node, back) == "voting_key_taken"
    record = made.ledger.voting_key(old.public)
    assert record is not None
    assert (record.first_epoch, record.last_epoch) == (0, 0)


def test_a_key_is_rotated_by_its_validator_with_proof() -> None:
    made = town()
    node = made.nodes[0]
    chain = made.genesis.federation_id
    assert made.code(BOB, rotate_voting_key(chain, BOB.node_id, FRESH_KEY)) == "not_validator"
    assert made.code(node, RotateVotingKey(FRESH_KEY.public, bytes(64))) == "key_proof_invalid"
    stolen = rotate_voting_key(chain, made.nodes[1].node_id, FRESH_KEY)
    assert made.code(node, stolen) == "key_proof_invalid"


def test_a_founder_alone_can_rotate_its_key() -> None:
    made = Town((1,), RULES)
    change = rotate_voting_key(made.genesis.federation_id, made.nodes[0].node_id, FRESH_KEY)
    assert made.code(made.nodes[0], change) == "ok"
    assert made.ledger.validators.member(FRESH_KEY.public) is not None


# Evidence.


@pytest.mark.parametrize("kind", SignedKind)
def test_evidence_costs_stake_and_seat(kind: SignedKind) -> None:
    made = seated()
    patron = made.nodes[0]
    made.code(patron, Delegate(BOB.node_id, 100))
    made.code(BOB, Stake(40))
    made.code(BOB, Unstake(50))
    treasury = made.ledger.account(made.genesis.treasury)
    assert treasury is not None
    result = made.block(made.signed(made.nodes[2], evidence(made, BOBS_KEY, 1, kind)))
    assert result.outcomes[0].ok
    kinds = [
        type(event) for event in told(result, Slashed, ReputationScoreChanged, ValidatorDeactivated)
    ]
    assert kinds == [Slashed, ReputationScoreChanged, ValidatorDeactivated]
    assert len(result.next_set.validators) == 5
    now = made.ledger.account(made.genesis.treasury)
    assert now is not None
    assert now.balance - treasury.balance == 10 + 20 + 10
    assert {one.owner: 0 for one in stake_of(made).unbonding} == {BOB.node_id: 0, patron.node_id: 0}
    assert stake_of(made).total == 160
    again = evidence(made, BOBS_KEY, 1, SignedKind.PREPARE)
    assert made.code(made.nodes[2], again) == "already_slashed"


def test_what_is_no_evidence_costs_nothing() -> None:
    made = seated()
    sender = made.nodes[0]
    good = evidence(made, BOBS_KEY, 1)
    swapped = ReportEquivocation(
        good.voter, good.kind, good.epoch, good.view, good.height, good.second, good.first
    )
    same = ReportEquivocation(
        good.voter, good.kind, good.epoch, good.view, good.height, good.first, good.first
    )
    elsewhere = ReportEquivocation(
        good.voter, good.kind, good.epoch, good.view, good.height + 1, good.first, good.second
    )
    other_kind = ReportEquivocation(
        good.voter,
        SignedKind.PREPARE,
        good.epoch,
        good.view,
        good.height,
        good.first,
        good.second,
    )
    for bad in (swapped, same, elsewhere, other_kind):
        assert made.code(sender, bad) == "evidence_invalid"
    assert made.code(sender, evidence(made, CAROL)) == "unknown_key"
    assert made.code(sender, evidence(made, BOBS_KEY, 0)) == "unknown_key"
    assert made.code(sender, evidence(made, BOBS_KEY, 9)) == "unknown_key"
    assert made.ledger.validators.epoch == 1
    assert stake_of(made).own == 60


def test_stake_is_at_risk_until_the_lock_ends() -> None:
    made = seated()
    made.code(BOB, LeaveValidators())
    assert made.code(made.nodes[0], evidence(made, BOBS_KEY, 1)) == "ok"
    assert stake_of(made).total == 48
    made.now_ms += LOCK_MS
    made.block()
    assert made.ledger.stake(BOB.node_id) is None
    late = seated()
    late.code(BOB, LeaveValidators())
    late.now_ms += LOCK_MS
    late.block()
    assert late.code(late.nodes[0], evidence(late, BOBS_KEY, 1)) == "evidence_old"


def test_a_set_of_four_keeps_a_condemned_seat_until_it_can_spare_it() -> None:
    made = town(4)
    liar = made.nodes[3]
    assert made.code(made.nodes[0], evidence(made, made.keys[3])) == "ok"
    assert stake_of(made, liar).condemned
    assert len(made.ledger.validators.validators) == 4
    assert made.code(made.nodes[1], Delegate(liar.node_id, 5)) == "condemned"
    made.code(BOB, wish(made))
    approved(made)
    assert made.code(BOB, readiness(made)) == "ok"
    assert liar.node_id not in made.ledger.validators.nodes
    assert len(made.ledger.validators.validators) == 4


# Constants.


def test_a_quorum_changes_a_constant() -> None:
    made = Town((1,) * 4, RULES)
    change = ApproveParameter("min_stake", 77)
    for node in made.nodes[:2]:
        assert made.code(node, change) == "ok"
    assert made.ledger.parameters.min_stake == 50
    assert made.code(made.nodes[2], ApproveParameter("min_stake", 78)) == "ok"
    assert made.ledger.parameters.min_stake == 50, "another value is another wish"
    result = made.block(made.signed(made.nodes[2], change))
    assert told(result, ParameterChanged)
    assert made.ledger.parameters.min_stake == 77
    assert made.genesis.parameters.min_stake == 50


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("supply", 1, "unknown_parameter"),
        ("max_block_txs", 1, "unknown_parameter"),
        ("colour", 1, "unknown_parameter"),
        ("slash_percent", 101, "value_out_of_range"),
        ("min_task_lead_ms", 2**60, "value_out_of_range"),
        ("protocol_version", 1, "value_out_of_range"),
        ("protocol_version", 3, "value_out_of_range"),
        ("protocol_version", 2, "ok"),
    ],
)
def test_what_can_be_changed(name: str, value: int, code: str) -> None:
    made = Town((1,), RULES)
    assert made.code(made.nodes[0], ApproveParameter(name, value)) == code
    assert made.ledger.protocol_version == (2 if code == "ok" else 1)


def test_only_validators_change_constants() -> None:
    made = town()
    assert made.code(BOB, ApproveParameter("min_stake", 1)) == "not_validator"


def test_the_database_brings_back_the_whole_registry() -> None:
    made = seated()
    made.code(made.nodes[0], Delegate(BOB.node_id, 5), ApproveParameter("min_stake", 1))
    made.code(made.nodes[0], ApproveRemoval(made.nodes[1].node_id))
    made.code(made.nodes[0], evidence(made, made.keys[2]))
    again = Ledger.load(made.genesis, made.database, HashVerifier())
    assert again.state_root == made.ledger.state_root
    assert again.stakes() == made.ledger.stakes()
    again.check_invariants()


def test_no_more_people_back_a_validator_than_its_record_may_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("consensus.ledger.stake.MAX_BACKERS", 1)
    made = town()
    node = made.nodes[0].node_id
    assert made.code(BOB, Delegate(node, 5)) == "ok"
    assert made.code(made.nodes[1], Transfer(CAROL.node_id, 50)) == "ok"
    assert made.code(CAROL, Delegate(node, 5)) == "too_many_backers"
    assert made.code(BOB, Delegate(node, 5)) == "ok"


def test_no_more_candidates_wait_than_there_are_seats(monkeypatch: pytest.MonkeyPatch) -> None:
    made = town()
    monkeypatch.setattr("consensus.ledger.registry.MAX_VALIDATORS", 0)
    assert made.code(BOB, wish(made)) == "too_many_validators"
