"""Invites survive copying, and tell how they were damaged."""

from __future__ import annotations

import textwrap

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.codec import Digest
from gossip.membership.invites import (
    Invite,
    InviteError,
    InviteFault,
    invite_fault,
    is_invite,
    issue_invite,
    parse_invite,
)
from tests.gossip.membership.strategies import invites
from tests.gossip.membership.town import (
    FEDERATION,
    START_MS,
    VERIFIER,
    address,
    invite_from,
    node,
    signer,
)

TEXT = str(invite_from(1))


def fault_of(text: str) -> InviteFault:
    with pytest.raises(InviteError) as caught:
        parse_invite(text)
    return caught.value.fault


@given(invites)
def test_every_invite_survives_its_string(invite: Invite) -> None:
    assert parse_invite(str(invite)) == invite


@given(st.integers(0, len(TEXT) - 1), st.integers(1, 40))
def test_an_invite_with_a_piece_missing_is_refused(start: int, length: int) -> None:
    with pytest.raises(InviteError):
        parse_invite(TEXT[:start] + TEXT[start + length :])


@pytest.mark.parametrize("length", range(len(TEXT)))
def test_a_cut_invite_is_called_cut(length: int) -> None:
    fault = fault_of(TEXT[:length])
    assert fault is (InviteFault.NOT_AN_INVITE if length < len("bizra1-") else InviteFault.CUT)


@given(
    st.integers(0, len(TEXT) - 1),
    st.characters(exclude_categories=("Cs", "Zs", "Zl", "Zp", "Cc")),
)
def test_an_invite_with_another_letter_is_refused(at: int, letter: str) -> None:
    if letter != TEXT[at]:
        with pytest.raises(InviteError):
            parse_invite(TEXT[:at] + letter + TEXT[at + 1 :])


@given(st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=1, max_size=20))
def test_letters_too_many_are_refused(tail: str) -> None:
    with pytest.raises(InviteError):
        parse_invite(TEXT + tail)


def test_each_damage_has_its_name() -> None:
    swapped = TEXT[:60] + ("a" if TEXT[60] != "a" else "b") + TEXT[61:]
    assert fault_of(swapped) is InviteFault.WRONG_CHECKSUM
    assert fault_of(TEXT + "aaaaaaaa") is InviteFault.TOO_LONG
    assert fault_of("/ip4/10.0.0.1/tcp/7430") is InviteFault.NOT_AN_INVITE
    assert fault_of("bizra1-") is InviteFault.CUT
    assert fault_of(TEXT[:60] + "!" + TEXT[61:]) is InviteFault.WRONG_CHECKSUM
    assert fault_of("") is InviteFault.NOT_AN_INVITE
    assert fault_of("bizra1-" + "a" * 100_000) is InviteFault.NOT_AN_INVITE


def test_line_breaks_blanks_and_capitals_do_no_harm() -> None:
    wrapped = "  " + "\r\n\t".join(textwrap.wrap(TEXT, 37)) + "\n"
    assert parse_invite(wrapped) == parse_invite(TEXT)
    assert parse_invite(TEXT.upper()) == parse_invite(TEXT)
    assert fault_of(TEXT[:90] + TEXT[90:].upper()) is InviteFault.WRONG_CHECKSUM


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (TEXT, True),
        (TEXT[:20], True),
        (" " + TEXT.upper(), True),
        ("bizra1-nonsense", True),
        ("/ip4/10.0.0.1/tcp/7430", False),
        ("", False),
    ],
)
def test_an_invite_is_told_from_an_address(text: str, meant: bool) -> None:
    assert is_invite(text) is meant


def test_an_invite_is_good_until_it_expires_in_its_federation() -> None:
    invite = invite_from(1, expires_ms=START_MS)
    before = START_MS - 1
    assert invite_fault(invite, verifier=VERIFIER, now_ms=before) is None
    assert invite_fault(invite, verifier=VERIFIER, now_ms=before, federation=FEDERATION) is None
    assert (
        invite_fault(invite, verifier=VERIFIER, now_ms=START_MS, federation=FEDERATION)
        is InviteFault.EXPIRED
    )
    assert (
        invite_fault(invite, verifier=VERIFIER, now_ms=before, federation=Digest(bytes(32)))
        is InviteFault.OTHER_FEDERATION
    )


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": node(2)},
        {"federation": bytes(32)},
        {"expires_ms": 2**62},
        {"invite_id": bytes(32)},
        {"addresses": (address(2),)},
    ],
)
def test_nothing_in_an_invite_can_be_altered(change: dict[str, object]) -> None:
    forged = msgspec.structs.replace(invite_from(1), **change)
    assert invite_fault(forged, verifier=VERIFIER, now_ms=0) is InviteFault.FORGED


@pytest.mark.parametrize("addresses", [(), (address(1),) * 9, ("nowhere",)])
def test_no_invite_leads_nowhere(addresses: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"addresses|length|regex|Expected"):
        issue_invite(
            signer(1),
            federation=FEDERATION,
            invite_id=bytes(32),
            expires_ms=1,
            addresses=addresses,
        )
