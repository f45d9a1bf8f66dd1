from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_CEILING, Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select

from kloc.crowd import money
from kloc.errors import CrowdError, UsageError
from kloc.store.database import Store
from kloc.store.tables import LedgerRow


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('money') / 'store.sqlite'}")
    store.migrate()
    yield store
    store.close()


def empty(store: Store) -> None:
    with store.transaction() as session:
        session.execute(delete(LedgerRow))


def test_mturk_fees_as_they_were() -> None:
    fees = money.MTURK_FEES
    # $0.10 and 3 assignments: 20 % each; 10 assignments: 40 % each; a 2-cent reward: at least a cent.
    assert fees.hit_cost(100, 3) == 360
    assert fees.hit_cost(100, 9) == 1080
    assert fees.hit_cost(100, 10) == 1400
    assert fees.hit_cost(20, 1) == 30
    assert money.NO_FEES.hit_cost(100, 10) == 1000
    with pytest.raises(UsageError, match="no part of it may be negative"):
        money.FeeTable(rate_permille=-1)


@given(st.integers(0, 10**6), st.integers(1, 50), st.integers(0, 500), st.integers(0, 500), st.integers(0, 50))
def test_fees_round_up_to_the_mill(reward: int, n: int, rate: int, bulk: int, least: int) -> None:
    fees = money.FeeTable(rate, bulk, 10, least)
    share = Decimal(rate + (bulk if n >= 10 else 0)) / 1000
    exact = (reward * share).to_integral_value(ROUND_CEILING)
    assert fees.fee(reward, n) == max(int(exact), least)
    assert fees.hit_cost(reward, n) == n * (reward + fees.fee(reward, n))


@given(st.integers(0, 10**9))
def test_amounts_survive_writing_and_reading(mills: int) -> None:
    assert money.parse_dollars(money.dollars(mills)) == mills
    if mills % 10 == 0:
        assert money.parse_dollars(money.wire_amount(mills)) == mills


@pytest.mark.parametrize("text", ["", "ten", "-1", "0.0001", "NaN", "Infinity", "1e20", "1,5"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="the cap"):
        money.parse_dollars(text, "the cap")


def test_amounts_are_shown_plainly() -> None:
    assert [money.dollars(m) for m in (0, 5, 10, 1230, -1005)] == ["$0.00", "$0.005", "$0.01", "$1.23", "-$1.005"]
    assert str(money.Balance(1000, 300, 200)) == "$0.30 spent, $0.50 reserved"
    with pytest.raises(UsageError, match="whole cents"):
        money.wire_amount(5)


# One step of a campaign's life: (what, HIT, amount or assignment).
steps = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), st.sampled_from("abc"), st.integers(0, 500)),
        st.tuples(st.just("commit"), st.sampled_from("abc"), st.integers(0, 5)),
        st.tuples(st.just("release"), st.sampled_from("abc"), st.just(0)),
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None)
@given(steps, st.integers(0, 900) | st.none())
def test_the_ledger_agrees_with_a_plain_model_and_never_passes_the_cap(
    store: Store, life: list[tuple[str, str, int]], cap: int | None
) -> None:
    empty(store)
    exposure = dict.fromkeys("abc", 0)
    due: dict[tuple[str, int], int] = {}
    for what, token, number in life:
        spent = sum(v for (t, _), v in due.items() if t == token)
        before = sum(exposure.values())
        try:
            with store.transaction() as session:
                if what == "reserve":
                    money.reserve_many(session, {token: number}, cap_mills=cap, at=1.0)
                    more = number - exposure[token]
                    assert number >= spent
                    assert cap is None or more <= 0 or before + more <= cap
                    exposure[token] = number
                elif what == "commit":
                    new = money.commit(session, token, f"{token}{number}", 70, at=1.0)
                    assert new == ((token, number) not in due)
                    due[token, number] = 70
                    assert spent + (70 if new else 0) <= exposure[token]
                else:
                    assert money.release_rest(session, token, at=1.0) == exposure[token] - spent
                    exposure[token] = spent
        except CrowdError:
            if what == "reserve":
                over = cap is not None and number > exposure[token] and before + number - exposure[token] > cap
                assert over or number < spent
            else:
                assert what == "commit"
                assert spent + 70 > exposure[token]
        with store.transaction() as session:
            total = money.balance(session)
            assert (total.exposure, total.committed) == (sum(exposure.values()), sum(due.values()))
            each = money.balances(session, "abc")
            assert {t: b.exposure for t, b in each.items()} == exposure
        assert cap is None or total.exposure <= max(cap, before)


def test_reserving_again_writes_nothing_and_the_ledger_only_grows(store: Store) -> None:
    empty(store)
    seen: list[str] = []
    for target in (300, 300, 500, 200, 200, 400):
        with store.transaction() as session:
            money.reserve_many(session, {"t": target}, cap_mills=None, at=1.0)
            rows = sorted(session.scalars(select(LedgerRow.entry)))
        assert set(seen) <= set(rows)
        seen = rows
    assert seen == ["released:t:0", "reserved:t:0", "reserved:t:1", "reserved:t:2"]


def test_a_batch_over_the_cap_reserves_nothing_at_all(store: Store) -> None:
    empty(store)
    with (
        pytest.raises(CrowdError, match=r"bring the campaign to \$0\.60, over the cap of \$0\.50"),
        store.transaction() as s,
    ):
        money.reserve_many(s, {"a": 300, "b": 300}, cap_mills=500, at=1.0)
    with store.transaction() as session:
        assert money.balance(session) == money.Balance()


def test_more_due_than_reserved_is_refused_in_words(store: Store) -> None:
    empty(store)
    with store.transaction() as session:
        money.reserve_many(session, {"t": 100}, cap_mills=None, at=1.0)
        money.commit(session, "t", "one", 100, at=1.0)
    with (
        pytest.raises(CrowdError, match=r"assignment two: \$0\.10 are due but HIT t has only \$0\.00 left"),
        store.transaction() as s,
    ):
        money.commit(s, "t", "two", 100, at=1.0)
    with pytest.raises(CrowdError, match="already due"), store.transaction() as s:
        money.reserve_many(s, {"t": 50}, cap_mills=None, at=1.0)
