"""Values of the membership channel, for Hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from gossip.membership.invites import Invite
from gossip.membership.lateness import MOST_MS
from gossip.membership.messages import (
    NAMES_BYTES,
    Challenge,
    FetchDeaths,
    FetchRecords,
    FetchRecordsOf,
    FetchSince,
    Heeded,
    Hello,
    Known,
    Leave,
    MembershipMessage,
    NamesDiffer,
    Ping,
    Pong,
    ProbeFor,
    Proof,
    Records,
    Rumours,
    Spare,
    Standing,
    Welcome,
)
from gossip.membership.records import Capability, PeerRecord, SignedRecord
from gossip.membership.suspicions import Life, Suspicion
from gossip.membership.voices import FetchVoices, Voices

ids = st.binary(min_size=32, max_size=32)
late = st.integers(0, MOST_MS)
signatures = st.binary(min_size=64, max_size=64)
naturals = st.integers(0, 2**63 - 1)
salts = st.integers(0, 2**32 - 1)
multiaddrs = st.from_regex(r"/[!-~]{1,40}", fullmatch=True)
capabilities = st.builds(
    Capability,
    kind=st.sampled_from(("inference", "storage", "compute", "models", "memory")),
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,20}", fullmatch=True),
    model_hash=st.none() | ids,
    price=naturals,
    free_slots=st.integers(0, 1_000_000),
)
records = st.builds(
    PeerRecord,
    node=ids,
    federation=ids,
    seq=naturals,
    name=st.text(min_size=1, max_size=64),
    addresses=st.lists(multiaddrs, max_size=8).map(tuple),
    capabilities=st.lists(capabilities, max_size=4).map(tuple),
    load=st.integers(0, 1000),
    voting_key=ids,
    version=st.from_regex(r"[!-~]{1,32}", fullmatch=True),
    issued_at_ms=naturals,
)
signed_records = st.builds(SignedRecord, records, signatures)
invites = st.builds(
    Invite,
    invite_id=ids,
    issuer=ids,
    federation=ids,
    expires_ms=naturals,
    addresses=st.lists(multiaddrs, min_size=1, max_size=8).map(tuple),
    signature=signatures,
)
messages: st.SearchStrategy[MembershipMessage] = st.one_of(
    st.builds(
        Hello,
        federation=st.none() | ids,
        record=st.none() | signed_records,
        invite=st.none() | invites,
        nonce=naturals,
    ),
    st.builds(
        Welcome,
        federation=ids,
        genesis=st.none() | st.binary(min_size=1, max_size=200),
        record=signed_records,
        standing=st.sampled_from(Standing),
        reason=st.text(max_size=512),
        nonce=naturals,
    ),
    st.builds(Records, st.lists(signed_records, max_size=3).map(tuple)),
    st.builds(FetchRecords, st.lists(st.builds(Known, ids, naturals), max_size=5).map(tuple)),
    st.builds(
        FetchSince,
        st.binary(min_size=NAMES_BYTES, max_size=NAMES_BYTES),
        st.lists(naturals, max_size=5).map(tuple),
    ),
    st.builds(NamesDiffer),
    st.builds(Ping, naturals),
    st.builds(Pong, naturals, naturals, naturals),
    st.builds(Leave, ids, naturals, signatures),
    st.builds(FetchRecordsOf, st.lists(ids, max_size=3).map(tuple)),
    st.builds(Spare, st.booleans()),
    st.builds(ProbeFor, ids, naturals),
    st.builds(Heeded, naturals),
    st.builds(Challenge, ids, naturals),
    st.builds(Proof, ids, ids, naturals, signatures),
    st.builds(
        Rumours,
        st.lists(st.builds(Suspicion, ids, ids, naturals, signatures), max_size=3).map(tuple),
        st.lists(st.builds(Life, ids, naturals, late, signatures), max_size=3).map(tuple),
    ),
    st.builds(FetchDeaths, salts, st.binary(max_size=9)),
    st.builds(FetchVoices, ids, naturals, salts, st.binary(max_size=9)),
    st.builds(Voices, ids, naturals, salts, st.binary(max_size=150), st.binary(max_size=9)),
)
