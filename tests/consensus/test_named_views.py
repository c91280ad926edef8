"""NEW-VIEW by names: what a large set sends in the place of what fits in no frame, and what liars can do with it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.blocks import make_block
from consensus.certificates import Ballot, Certificate, Endorsement, Phase
from consensus.engine import Received
from consensus.messages import (
    MAX_FETCHED_CHANGES,
    FetchBody,
    FetchViewChanges,
    NewView,
    NewViewNames,
    PreparedProof,
    ViewChange,
    ViewChangeNames,
    view_change_bytes,
)
from consensus.pbft.opening import Opening
from consensus.pbft.proofs import Proofs
from consensus.pbft.shared_views import shared
from consensus.pbft.vote_log import VIEW_KEY, ViewRecord, read_view, view_write
from consensus.quorum import MAX_VALIDATORS
from gossip.codec import DecodeError, Digest, digest, encode
from gossip.effects import Broadcast, Cause, Effect, Rejected, Send
from gossip.identity import Signature
from gossip.transport import MEMBER_LIMITS
from simulations.worlds.signatures import KeyedHash
from tests.consensus.story import Story

LATE = 5
"""The replica that every story is about. It leads neither view 0 nor view 1."""


def parted(*more: str) -> Story:
    """Seven validators whose leader is silent; the late one hears nothing that is sent to several."""
    story = Story()
    for command in ("collect 4", "nodes" + 7 * " 1", "deliver", "mute 0", *more, "submit 2"):
        story.play(command)
    return story


def receive(story: Story, source: int, message: object) -> list[Effect]:
    """Hand the late one a message of somebody."""
    engine = story.actors[LATE].engine
    assert engine is not None
    peer = story.actors[source].node_id
    effects = engine.handle(story.now_ms, Received(peer, message))  # type: ignore[arg-type]
    engine.check_invariants()
    return effects


def causes(effects: list[Effect]) -> list[Cause]:
    return [one.cause for one in effects if isinstance(one, Rejected)]


def asked(effects: list[Effect]) -> list[FetchViewChanges]:
    return [
        one.message
        for one in effects
        if isinstance(one, Send) and isinstance(one.message, FetchViewChanges)
    ]


def entered(story: Story) -> list[bool]:
    return [
        actor.engine.replica.entered and actor.engine.replica.view == 1
        for actor in story.actors
        if actor.engine is not None
    ]


def test_who_has_all_requests_enters_by_their_names_alone() -> None:
    story = parted()
    story.play("wait 1300")
    assert entered(story) == [True] * 7
    assert story.posted["newviewnames"] > 0
    assert story.posted["newview"] == story.posted["fetchviewchanges"] == 0


def test_who_lacks_requests_fetches_them_from_whoever_names_them() -> None:
    story = parted(f"deaf {LATE} viewchangenames")
    story.play("wait 1300")
    assert entered(story) == [True] * 7
    assert story.posted["fetchviewchanges"] >= 1
    assert story.posted["newview"] == 0


def opened(seats: int = 7) -> tuple[Story, NewView]:
    """All but the late one are in view 1; the NEW-VIEW that it lacks."""
    kinds = (
        "viewchangenames",
        "viewchange",
        "newviewnames",
        "newview",
        "proposal",
        "collectedvotes",
        "status",
    )
    story = parted(f"mute {LATE}", *(f"deaf {LATE} {kind}" for kind in kinds))
    for _ in range(30):
        story.play("wait 50")
        leader = story.actors[1].engine
        assert leader is not None
        new_view = leader.replica.promise.entered
        if new_view is not None:
            return story, new_view
    raise AssertionError("no view was entered")


def test_names_are_asked_for_a_few_at_a_time_and_make_the_view() -> None:
    story, new_view = opened()
    effects = receive(story, 1, new_view.names())
    (wanted,) = asked(effects)
    assert set(wanted.names) <= set(new_view.names().changes)
    for change in new_view.view_changes:
        assert not [one for one in causes(receive(story, 1, change)) if not one.is_usual]
    engine = story.actors[LATE].engine
    assert engine is not None
    assert (engine.replica.view, engine.replica.entered) == (1, True)


def test_names_of_nothing_cost_a_question_and_no_signature() -> None:
    story, new_view = opened()
    false = msgspec.structs.replace(
        new_view.names(), changes=tuple(digest(b"lie", b"%d" % at) for at in range(5))
    )
    checks = 0
    sound = KeyedHash.verify

    def counted(self: KeyedHash, public: bytes, message: bytes, signature: bytes) -> bool:
        nonlocal checks
        checks += 1
        return sound(self, public, message, signature)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KeyedHash, "verify", counted)
        effects = [effect for _ in range(20) for effect in receive(story, 3, false)]
    assert checks == 0
    assert len(asked(effects)) == 1
    assert causes(effects) == [Cause.KNOWN] * 19
    for message in (new_view.names(), *new_view.view_changes):
        receive(story, 1, message)
    engine = story.actors[LATE].engine
    assert engine is not None
    assert engine.replica.entered, "another peer's names were not in the way"


def test_true_names_under_a_false_signature_open_nothing() -> None:
    story, new_view = opened()
    false = msgspec.structs.replace(new_view.names(), signature=Signature(bytes(64)))
    effects = receive(story, 3, false)
    for change in new_view.view_changes:
        effects += receive(story, 3, change)
    assert Cause.SIGNATURE in causes(effects)
    engine = story.actors[LATE].engine
    assert engine is not None
    assert not engine.replica.entered or engine.replica.view == 0


def test_a_request_that_is_named_and_not_signed_is_not_kept() -> None:
    story, new_view = opened()
    first = new_view.view_changes[0]
    broken = msgspec.structs.replace(first, signature=Signature(bytes(64)))
    names = msgspec.structs.replace(new_view.names(), changes=(broken.name,))
    receive(story, 3, names)
    assert Cause.SIGNATURE in causes(receive(story, 3, broken))


@pytest.mark.parametrize("twice", ["name", "voter"])
def test_a_view_names_no_request_and_no_voter_twice(twice: str) -> None:
    story, new_view = opened()
    change = next(one for one in new_view.view_changes if one.voter != new_view.voter)
    signers = (story.keys.signer(b"voting", at) for at in range(7))
    signer = next(one for one in signers if one.public == change.voter)
    leader = story.actors[1].engine
    assert leader is not None
    commit = leader.replica.tip.certificate
    assert commit is not None, "there is something to show or to leave out"
    signed = view_change_bytes(story.genesis.federation_id, 0, 1, commit, None)
    other = ViewChange(0, 1, commit, None, signer.public, signer.sign(signed))
    assert other != change
    again = change if twice == "name" else other
    names = NewViewNames(0, 1, (change.name, again.name), change.voter, new_view.signature)
    effects = receive(story, 3, names)
    effects += receive(story, 3, change) + receive(story, 3, again)
    assert Cause.UNSOUND in causes(effects)


def test_only_validators_are_handed_requests() -> None:
    story, new_view = opened()
    engine = story.actors[1].engine
    assert engine is not None
    question = FetchViewChanges(new_view.names().changes[:MAX_FETCHED_CHANGES])
    stranger = type(story.actors[0].node_id)(bytes(32))
    assert causes(engine.handle(story.now_ms, Received(stranger, question))) == [Cause.NOT_ENTITLED]
    answers = engine.handle(story.now_ms, Received(story.actors[LATE].node_id, question))
    assert [one.message for one in answers if isinstance(one, Send)] == list(new_view.view_changes)


def largest_change(voter: int) -> ViewChange:
    """What a validator of the largest set may have to show: two certificates signed by all."""
    name = Digest(bytes(32))
    keys = [digest(b"key", b"%d" % at) for at in range(MAX_VALIDATORS)]
    votes = tuple(Endorsement(key, Signature(key + key)) for key in sorted(keys))
    top = 2**53
    block = make_block(
        chain=name,
        height=top,
        epoch=top,
        prev_hash=name,
        proposer=name,
        timestamp_ms=top,
        transactions=(),
    )
    committed, prepared = (
        Certificate(Ballot(phase, top, top, top, name), votes) for phase in reversed(Phase)
    )
    proof = PreparedProof(block.header, prepared)
    return ViewChange(top, top, committed, proof, keys[voter], Signature(bytes(64)))


def test_in_the_largest_set_no_message_of_a_view_change_is_larger_than_a_frame() -> None:
    change = largest_change(0)
    assert len(encode(change)) < MEMBER_LIMITS.max_frame_bytes // 32
    quorum = 2 * MAX_VALIDATORS // 3 + 1
    assert quorum * len(encode(change)) > MEMBER_LIMITS.max_frame_bytes, (
        "else all this is for nothing"
    )
    names = NewViewNames(
        2**53,
        2**53,
        tuple(digest(b"name", b"%d" % at) for at in range(MAX_VALIDATORS)),
        change.voter,
        change.signature,
    )
    assert len(encode(names)) < 20_000


@given(st.integers(1, 60), st.data())
def test_an_opening_asks_for_what_it_lacks_until_it_is_whole(
    size: int, data: st.DataObject
) -> None:
    changes = [
        ViewChange(0, 1, None, None, digest(b"voter", b"%d" % at), Signature(bytes(64)))
        for at in range(size)
    ]
    here = data.draw(st.sets(st.integers(0, size - 1)))
    names = NewViewNames(0, 1, tuple(one.name for one in changes), bytes(32), Signature(bytes(64)))
    opening = Opening(names)
    assert opening.take((changes[at].name, changes[at]) for at in sorted(here))
    by_name = {one.name: one for one in changes}
    questions = 0
    while opening.whole() is None:
        wanted = opening.ask()
        assert 0 < len(wanted) <= MAX_FETCHED_CHANGES
        assert opening.ask() == (), "nothing is asked for twice before it is late"
        assert opening.ask(again=True) == wanted
        for name in wanted:
            assert opening.take(((Digest(name), by_name[Digest(name)]),))
        questions += 1
    whole = opening.whole()
    assert whole is not None
    assert whole.view_changes == tuple(changes)
    assert questions == -(-(size - len(here)) // MAX_FETCHED_CHANGES)


def after_a_block(*more: str) -> Story:
    """A block is decided everywhere, and then the leader falls silent."""
    story = Story()
    for command in ("collect 4", "nodes" + 7 * " 1", "submit 2", "wait 200", *more):
        story.play(command)
    story.posted.clear()
    return story


def test_requests_for_a_view_name_what_all_have() -> None:
    story = after_a_block("mute 0", "submit 2")
    story.play("wait 1300")
    assert entered(story) == [True] * 7
    assert story.posted["viewchangenames"] > 0
    assert story.posted["viewchange"] == story.posted["fetchviewchanges"] == 0


def test_who_lacks_what_a_request_names_fetches_it_whole_and_learns_of_the_block() -> None:
    story = after_a_block(f"mute {LATE}")
    story.play("submit 2")
    story.hand_over(lambda one: one.target != LATE)
    other = story.actors[3].engine
    assert other is not None
    assert other.height == 2
    commit = other.replica.tip.certificate
    signer = story.keys.signer(b"voting", 3)
    signed = view_change_bytes(story.genesis.federation_id, 0, 1, commit, None)
    change = ViewChange(0, 1, commit, None, signer.public, signer.sign(signed))
    assert asked(receive(story, 3, change.names())) == [FetchViewChanges((change.name,))]
    wanted = [
        one.message.digest
        for one in receive(story, 3, change)
        if isinstance(one, Broadcast) and isinstance(one.message, FetchBody)
    ]
    assert wanted == [other.replica.tip.digest]
    engine = story.actors[LATE].engine
    assert engine is not None
    assert engine.replica.seen_of(signer.public)[1] == change
    again = ViewChangeNames(0, 2, change.names().committed, None, signer.public, change.signature)
    assert asked(receive(story, 3, again)) == [], "it is here now"


def test_a_request_that_names_nothing_known_costs_a_question_and_is_not_kept() -> None:
    story = after_a_block()
    voter = story.keys.signer(b"voting", 3).public
    lies = [
        ViewChangeNames(0, view, digest(b"lie", b"%d" % view), None, voter, Signature(bytes(64)))
        for view in range(1, 21)
    ]
    effects = [effect for lie in lies for effect in receive(story, 3, lie)]
    assert [one.names for one in asked(effects)] == [(lie.name,) for lie in lies]
    engine = story.actors[LATE].engine
    assert engine is not None
    assert engine.replica.seen_of(voter) == ((), None)


def test_a_request_made_whole_is_believed_for_its_signature_alone() -> None:
    story = after_a_block()
    leader = story.actors[0].engine
    assert leader is not None
    commit = leader.replica.tip.certificate
    assert commit is not None
    voter = story.keys.signer(b"voting", 3).public
    lie = ViewChange(0, 1, commit, None, voter, Signature(bytes(64)))
    effects = receive(story, 3, lie.names())
    assert asked(effects) == [], "what it names is here"
    assert causes(effects) == [Cause.SIGNATURE]


@given(st.booleans(), st.booleans(), st.sets(st.sampled_from(["committed", "prepared"])))
def test_what_is_named_is_found_or_it_is_not(
    shows_commit: bool,
    shows_prepared: bool,
    here: set[str],
) -> None:
    whole = largest_change(0)
    change = msgspec.structs.replace(
        whole,
        committed=whole.committed if shows_commit else None,
        prepared=whole.prepared if shows_prepared else None,
    )
    proofs = Proofs()
    for field in sorted(here):
        proof = getattr(change, field)
        if proof is not None:
            proofs.keep(proof)
    lacks = (shows_commit and "committed" not in here) or (
        shows_prepared and "prepared" not in here
    )
    assert proofs.whole(change.names()) == (None if lacks else change)
    assert change.names().name == change.name
    swapped = msgspec.structs.replace(
        change.names(), committed=change.names().prepared, prepared=change.names().committed
    )
    if shows_commit or shows_prepared:
        assert proofs.whole(swapped) is None


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_a_new_view_is_read_back_as_it_was_written(shows: list[tuple[int, int]]) -> None:
    whole = largest_change(0)
    assert whole.committed is not None
    assert whole.prepared is not None
    commits = [
        msgspec.structs.replace(whole.committed, endorsements=whole.committed.endorsements[:size])
        for size in range(3)
    ]
    prepares = [msgspec.structs.replace(whole.prepared, certificate=commit) for commit in commits]
    changes = tuple(
        ViewChange(
            1,
            2,
            None if committed > 2 else commits[committed],
            None if prepared > 2 else prepares[prepared],
            digest(b"voter", b"%d" % at),
            Signature(bytes(64)),
        )
        for at, (committed, prepared) in enumerate(shows)
    )
    view = NewView(1, 2, changes, bytes(32), Signature(bytes(64)))
    record = ViewRecord(1, 2, view, None)
    key, raw = view_write(record)
    assert key == VIEW_KEY
    assert raw is not None
    assert read_view(raw) == record
    assert shared(view).whole() == view


def test_what_is_shared_is_written_once() -> None:
    changes = tuple(
        msgspec.structs.replace(largest_change(at), epoch=1, view=2) for at in range(334)
    )
    view = NewView(1, 2, changes, bytes(32), Signature(bytes(64)))
    _, raw = view_write(ViewRecord(1, 2, view, None))
    assert raw is not None
    assert len(raw) < 4 * len(encode(changes[0]))


def test_a_stored_view_that_names_what_it_lacks_is_damaged() -> None:
    change = msgspec.structs.replace(largest_change(0), epoch=1, view=2)
    broken = msgspec.structs.replace(
        shared(NewView(1, 2, (change,), bytes(32), Signature(bytes(64)))), committed=()
    )
    with pytest.raises(DecodeError):
        broken.whole()
