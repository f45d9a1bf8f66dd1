"""Budgets, random shares, and the words for input that is not as expected."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from selection_helpers import Known, ids, plain

from kloc.errors import UsageError
from kloc.records import Item
from kloc.selection import Budget, Context, make_policy, make_strategy, select

TOP = make_policy("top")


def pool(n: int) -> list[Item]:
    return [Item(f"v{i:02d}", 0.0, 60.0) for i in range(n)]


def minutes(limit: float, *prices: float) -> Budget:
    return Budget(limit, np.array(prices, np.float64), "minutes")


def slow_greedy(order: list[int], prices: list[float], limit: float) -> list[int]:
    taken = []
    for index in order:
        if sum(prices[i] for i in taken) + prices[index] <= limit + 1e-9:
            taken.append(index)
    return taken


@given(st.lists(st.integers(1, 20), min_size=1, max_size=30), st.integers(20, 90), st.none() | st.integers(1, 8))
def test_a_budget_buys_what_greedy_buys(prices, limit, batch):
    items = pool(len(prices))
    chosen = select(items, plain(items), TOP, batch, Context(), budget=minutes(limit, *prices))
    order = list(range(len(items)))[::-1]
    expected = slow_greedy(order, prices, limit)[:batch]
    assert [items.index(item) for item in chosen.items] == expected
    assert chosen.spent == sum(prices[i] for i in expected)
    assert f"used {chosen.spent:.1f} minutes of {limit:.1f} minutes" in chosen.notes[-1]


def test_money_is_told_as_money():
    items = pool(5)
    budget = Budget(0.70, np.full(5, 0.3), "dollars")
    chosen = select(items, plain(items), TOP, None, Context(), budget=budget)
    assert ids(chosen.items) == ["v04", "v03"]
    assert chosen.notes == ("used $0.60 of $0.70; $0.10 stay",)


def test_a_budget_too_small_names_the_cheapest():
    items = pool(3)
    with pytest.raises(UsageError, match=r"2\.0 minutes is too small for any video: the cheapest, 'v01', takes 3\.0"):
        select(items, plain(items), TOP, None, Context(), budget=minutes(2, 5, 3, 4))
    for limit in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(UsageError, match="buys nothing"):
            minutes(limit, 1)
    with pytest.raises(UsageError, match="every video must cost some"):
        minutes(1, 0)
    with pytest.raises(UsageError, match="2 prices does not fit a pool of 3"):
        select(items, plain(items), TOP, None, Context(), budget=minutes(9, 1, 1))
    with pytest.raises(UsageError, match="a batch, or a budget"):
        select(items, plain(items), TOP, None, Context())


# -- random share ------------------------------------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(1, 30), st.floats(0, 1), st.integers(0, 3))
def test_a_share_of_the_batch_is_drawn_at_random(n, batch, epsilon, seed):
    items = pool(n)
    chosen = select(items, plain(items), TOP, batch, Context(seed=seed), epsilon=epsilon)
    n_drawn = round(epsilon * min(n, batch))
    drawn = [pick for pick in chosen.picks if "drawn at random from the rest" in pick.reason]
    assert len(chosen.items) == len(set(chosen.items)) == min(n, batch)
    assert chosen.picks[len(chosen.picks) - n_drawn :] == tuple(drawn)
    kept = len(chosen.picks) - n_drawn
    assert ids(chosen.items[:kept]) == ids(items[::-1][:kept])


def test_the_random_share_is_uniform_over_the_rest():
    items = pool(12)
    drawn = np.zeros(12)
    for seed in range(500):
        for item in select(items, plain(items), TOP, 4, Context(seed=seed), epsilon=0.5).items[2:]:
            drawn[items.index(item)] += 1
    assert drawn[10:].tolist() == [0, 0]
    assert np.abs(drawn[:10] - 100).max() < 45  # five standard deviations of 500 draws of 1/5


def test_a_share_of_a_budget():
    items = pool(20)
    chosen = select(items, plain(items), TOP, None, Context(), budget=minutes(10, *[1] * 20), epsilon=0.3)
    assert ids(chosen.items[:7]) == ids(items[::-1][:7])
    assert len(chosen.items) == 10
    assert all("drawn at random" in pick.reason for pick in chosen.picks[7:])
    for bad in (-0.1, 1.1, math.nan):
        with pytest.raises(UsageError, match="epsilon"):
            select(items, plain(items), TOP, 2, Context(), epsilon=bad)


def share_of(limit: float, prices: list[float], epsilon: float, batch: int | None = None):
    """A choice by budget, and whose turn each pick was: p for the policy, r for the draw."""
    items = pool(len(prices))
    chosen = select(items, plain(items), TOP, batch, Context(), budget=minutes(limit, *prices), epsilon=epsilon)
    return chosen, "".join("r" if "drawn at random" in pick.reason else "p" for pick in chosen.picks)


@pytest.mark.parametrize(
    ("limit", "prices", "batch", "epsilon", "turns"),
    [
        (0.6, [0.6] * 4, 4, 0.1, "p"),  # the policy's 0.54 would buy nothing
        (100, [25] * 4, None, 0.1, "pppp"),  # the draw's share is rounded to no item
        (0.6, [0.6] * 1000, None, 0.01, "p"),  # the only pick is not left to chance
        (100, [25] * 20, None, 0.1, "pppr"),
        (10, [1] * 20, 9, 0.3, "pppppprrr"),
        (10, [1] * 20, None, 1.0, "r" * 10),
        (3, [2, 2, 2], None, 0.9, "p"),
    ],
)
def test_a_share_leaves_nothing_unspent(limit, prices, batch, epsilon, turns):
    chosen, found = share_of(limit, prices, epsilon, batch)
    assert found == turns
    taken = [i for i, pick in enumerate(chosen.picks) if found[i] == "p"]
    assert [chosen.picks[i].rank for i in taken] == list(range(1, len(taken) + 1))


@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=30),
    st.integers(20, 90),
    st.none() | st.integers(1, 8),
    st.floats(0, 1),
)
def test_nothing_that_fits_is_left_whatever_the_share(prices, limit, batch, epsilon):
    chosen, _ = share_of(limit, prices, epsilon, batch)
    taken = [int(v[1:]) for v in ids(chosen.items)]
    assert len(set(taken)) == len(taken)
    left = limit - sum(prices[i] for i in taken)
    assert chosen.spent == limit - left <= limit
    if batch is None or len(taken) < batch:
        assert all(price > left for i, price in enumerate(prices) if i not in taken)


def test_the_policy_goes_on_with_what_its_share_did_not_pay_for():
    # Of 90 minutes v03 takes 80; v02 (11) does not fit, v01 (5) does. Of all 100 v02 fits and goes before v00 (9).
    chosen, turns = share_of(100, [9.0, 5.0, 11.0, 80.0], 0.1)
    assert ids(chosen.items) == ["v03", "v01", "v02"]
    assert turns == "ppp"


def test_the_strategy_is_told_of_every_pick_once():
    items = pool(20)
    strategy = plain(items)
    budget = minutes(10, *[1.5] * 20)
    chosen = select(items, strategy, TOP, None, Context(), budget=budget, epsilon=0.2)
    assert [items[i] for i in strategy.log] == list(chosen.items)
    assert len(chosen.items) == 6


@pytest.mark.parametrize(
    ("limit", "prices", "expected"),
    [
        (50, [100.0] * 60 + [1.0] * 40, 40),  # only the cheap ones fit
        (50, [100.0] * 600 + [1.0] * 400, 50),
        (9, [2.0] * 20, 4),
        (9, [2.0] * 3, 3),
        (1, [5.0] * 3, 1),
    ],
)
def test_how_many_a_budget_will_buy(limit, prices, expected):
    assert minutes(limit, *prices).expected_count(len(prices)) == expected
    assert minutes(limit, *prices[::-1]).expected_count(len(prices)) == expected


def one_pass(prices: np.ndarray, limit: float) -> list[float]:
    taken: list[float] = []
    for price in prices.tolist():
        if price <= limit:
            taken.append(price)
            limit -= price
    return taken


def test_how_many_a_budget_will_buy_at_prices_of_all_kinds():
    rng = np.random.default_rng(0)
    prices = np.exp(rng.normal(0, 1.5, 3000)).tolist()
    bought = [len(one_pass(rng.permutation(prices), 200.0)) for _ in range(30)]
    assert min(bought) <= minutes(200, *prices).expected_count(3000) <= max(bought)


# -- words for the unexpected ------------------------------------------------------------------------------------------


def test_a_batch_larger_than_the_pool_is_the_pool_and_says_so():
    items = pool(3)
    chosen = select(items, plain(items), TOP, 5, Context())
    assert len(chosen.items) == 3
    assert chosen.notes == ("the pool holds only 3 items, fewer than the 5 asked for: all are chosen",)


def test_a_pool_without_action_is_drawn_at_random_and_says_so(predicted):
    items = pool(12)
    reader = predicted({v: [0.0, 0.0, 0.0] for v in ids(items)})
    batches = set()
    for seed in range(6):
        chosen = select(items, make_strategy("us"), TOP, 4, Context(predictions=reader, seed=seed))
        assert chosen.notes == ("all 12 scored items have the same score (0): their order is random",)
        batches.add(chosen.items)
    assert len(batches) == 6


def test_a_video_without_proposals_is_chosen_last(predicted):
    items = pool(3)
    reader = predicted({"v00": [0.2, 0.7], "v01": [], "v02": [0.4]})
    for name in ("us", "us-binary"):
        chosen = select(items, make_strategy(name), TOP, 3, Context(predictions=reader))
        assert chosen.items[-1] == items[1]
        assert "1 of 3 items have no prediction to judge by; they are picked last" in chosen.notes


def test_notes_are_those_of_this_selection():
    context = Context()
    context.note("from before")
    items = pool(2)
    assert select(items, Known({"v00": 1.0, "v01": 2.0}), TOP, 1, context).notes == ()
    assert context.heard == ["from before"]
