from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consensus.ledger.events import AccountChanged
from consensus.ledger.records import Account
from consensus.ledger.state import Draft, State
from consensus.ledger.tables import ACCOUNTS

NAMES = st.sampled_from([bytes([one]) * 32 for one in range(4)])
BALANCES = st.none() | st.integers(0, 3)
STEPS = st.lists(
    st.one_of(st.tuples(NAMES, BALANCES), st.just("keep"), st.just("drop")), max_size=30
)


def _account(balance: int | None) -> Account | None:
    return None if balance is None else Account(balance, 0)


@given(st.dictionaries(NAMES, st.integers(0, 3)), STEPS)
def test_a_draft_reads_as_two_copies_would(
    before: dict[bytes, int], steps: list[tuple[bytes, int | None] | str]
) -> None:
    state = State()
    for name, balance in before.items():
        state.put(ACCOUNTS.key(name), Account(balance, 0))
    draft = Draft(state)
    kept: dict[bytes, int | None] = dict(before)
    tried = dict(kept)
    changed: dict[bytes, int | None] = {}
    trying: dict[bytes, int | None] = {}
    told: list[AccountChanged] = []
    telling: list[AccountChanged] = []
    for step in (*steps, "keep"):
        if step == "keep":
            draft.keep()
            kept = dict(tried)
            changed |= trying
            told += telling
        elif step == "drop":
            draft.drop()
            tried = dict(kept)
        if isinstance(step, str):
            trying, telling = {}, []
            assert draft.changes == {ACCOUNTS.key(k): _account(v) for k, v in changed.items()}
            assert draft.events == told
        else:
            name, wanted = step
            draft.put(ACCOUNTS, name, _account(wanted))
            event = AccountChanged(name, Account(0, len(told)))
            draft.emit(event)
            tried[name] = trying[name] = wanted
            telling.append(event)
        there = {one: held for one, held in tried.items() if held is not None}
        for one in before.keys() | tried.keys():
            assert draft.get(ACCOUNTS, one) == _account(tried.get(one))
        assert draft.items(ACCOUNTS) == [(one, _account(there[one])) for one in sorted(there)]
        rich = draft.those(ACCOUNTS, lambda account: account.balance > 1)
        assert rich == [(one, _account(there[one])) for one in sorted(there) if there[one] > 1]
