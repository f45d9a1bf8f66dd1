"""Choosing a batch: what holds for every strategy and policy."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kloc.errors import KlocError, UsageError
from kloc.records import Item
from kloc.selection import Context, Scores, make_policy, make_strategy, select


class Fixed:
    """Scores known beforehand, by video id."""

    name: ClassVar[str] = "fixed"
    heads: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, value: dict[str, float], group: dict[str, int] | None = None) -> None:
        self.value = value
        self.group = group

    def score(self, items, context) -> Scores:
        value = np.array([self.value[item.video_id] for item in items], np.float64)
        if self.group is None:
            return Scores(value)
        return Scores(value, np.array([self.group[item.video_id] for item in items], np.int64))

    def reason(self, index: int, score: float) -> str:
        return f"scored {score:g}"


class Alternating(Fixed):
    """Takes sides in turn, beginning with 1, as long as it is told of picks."""

    def __init__(self, value, group) -> None:
        super().__init__(value, group)
        self.log: list[int] = []

    def next_group(self, open_groups) -> int | None:
        return (len(self.log) + 1) % 2

    def picked(self, index: int) -> None:
        self.log.append(index)


def items_of(values: dict[str, float]) -> list[Item]:
    return [Item(key, 0.0, 1.0) for key in values]


top = make_policy("top")
# Few different values: ties everywhere. NaN and both infinities too.
numbers = st.sampled_from([0.0, 1.0, 1.5, -2.0, math.inf, -math.inf, math.nan])
pools = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), numbers, max_size=25)
seeds = st.integers(0, 5)
batches = st.integers(0, 30)
grouped = st.booleans()


def make(values: dict[str, float], in_groups: bool) -> Fixed:
    return Fixed(values, {key: len(key) for key in values} if in_groups else None)


@pytest.mark.filterwarnings("ignore:.*gave NaN")
@settings(max_examples=150, deadline=None)
@given(values=pools, batch=batches, seed=seeds, in_groups=grouped, data=st.data())
def test_a_batch_is_a_subset_without_duplicates_whatever_the_pools_order(values, batch, seed, in_groups, data):
    items = items_of(values)
    chosen = select(items, make(values, in_groups), top, batch, Context(seed=seed))
    assert len(chosen.picks) == min(batch, len(items))
    assert len(set(chosen.items)) == len(chosen.items)
    assert set(chosen.items) <= set(items)
    assert chosen.n_unscored == sum(math.isnan(v) or v == -math.inf for v in values.values())
    assert chosen.n_nan == sum(map(math.isnan, values.values()))
    shuffled = data.draw(st.permutations(items))
    assert select(shuffled, make(values, in_groups), top, batch, Context(seed=seed)).items == chosen.items


@pytest.mark.filterwarnings("ignore:.*gave NaN")
@settings(max_examples=150, deadline=None)
@given(values=pools, batch=batches, seed=seeds)
def test_top_equals_sorting_everything(values, batch, seed):
    items = items_of(values)
    chosen = select(items, Fixed(values), top, batch, Context(seed=seed))
    clean = {key: -math.inf if math.isnan(value) else value for key, value in values.items()}
    scores = [pick.score for pick in chosen.picks]
    assert scores == sorted(clean.values(), reverse=True)[:batch]
    assert scores == [clean[item.video_id] for item in chosen.items]
    assert [pick.rank for pick in chosen.picks] == [1 + sum(v > s for v in clean.values()) for s in scores]
    # A smaller batch is the beginning of a larger one, and only the order of the scores matters.
    assert select(items, Fixed(values), top, batch // 2, Context(seed=seed)).items == chosen.items[: batch // 2]
    stretched = {key: math.atan(value) * 3 + 7 if math.isfinite(value) else value for key, value in values.items()}
    assert select(items, Fixed(stretched), top, batch, Context(seed=seed)).items == chosen.items


@settings(max_examples=50, deadline=None)
@given(n=st.integers(0, 40), batch=st.integers(1, 9), seed=seeds, name=st.sampled_from(["random", "fixed"]))
def test_rounds_are_disjoint_and_exhaust_the_pool(n, batch, seed, name):
    pool = [Item(f"v{i}", 0.0, 1.0) for i in range(n)]
    strategy = make_strategy("random") if name == "random" else Fixed({item.video_id: 1.0 for item in pool})
    labelled: list[Item] = []
    left = list(pool)
    while left:
        picks = select(left, strategy, top, batch, Context(seed=seed)).items
        assert not set(picks) & set(labelled)
        labelled += picks
        left = [item for item in left if item not in set(picks)]
    assert sorted(labelled) == sorted(pool)
    assert select([], strategy, top, batch, Context(seed=seed)).picks == ()


def test_ties_do_not_follow_the_pools_order_and_change_with_the_seed():
    values = dict.fromkeys([f"v{i:02d}" for i in range(40)], 1.0)
    orders = {select(items_of(values), Fixed(values), top, 10, Context(seed=seed)).items for seed in range(20)}
    assert len(orders) == 20
    assert tuple(items_of(values)[:10]) not in orders


def test_random_is_uniform_and_independent_of_what_else_is_in_the_pool(pool):
    items = pool(30)
    drawn = np.zeros(30)
    for seed in range(600):
        for pick in select(items, make_strategy("random"), top, 10, Context(seed=seed)).picks:
            drawn[items.index(pick.item)] += 1
    # 600 draws of 1/3: standard deviation 11.5; five of them on either side.
    assert np.abs(drawn - 200).max() < 58
    full = make_strategy("random").score(items, Context(seed=1)).value
    part = make_strategy("random").score(items[7:12], Context(seed=1)).value
    assert part.tolist() == full[7:12].tolist()
    assert ((full >= 0) & (full < 1)).all()


def test_groups_take_turns_as_the_strategy_asks():
    values = {"a": 9.0, "b": 8.0, "c": 7.0, "d": 1.0, "e": 0.5, "f": -math.inf}
    sides = {"a": 0, "b": 0, "c": 0, "d": 1, "e": 1, "f": 1}
    strategy = Alternating(values, sides)
    chosen = select(items_of(values), strategy, top, 6, Context())
    # Side 1 runs dry after "e"; "f" has no score and comes last although it is on side 1.
    assert [item.video_id for item in chosen.items] == ["d", "a", "e", "b", "c", "f"]
    assert strategy.log == [3, 0, 4, 1, 2, 5]
    quiet = select(items_of(values), Fixed(values, sides), top, 5, Context())
    assert [item.video_id for item in quiet.items] == ["a", "d", "b", "e", "c"]


def test_nan_never_ranks_and_is_told():
    values = {"a": math.nan, "b": -5.0, "c": math.nan}
    with pytest.warns(RuntimeWarning, match="'fixed' gave NaN to 2 of 3 items"):
        chosen = select(items_of(values), Fixed(values), top, 2, Context())
    assert chosen.picks[0].item.video_id == "b"
    assert chosen.picks[0].reason == "scored -5"
    assert chosen.picks[1].score == -math.inf
    assert "nothing to judge it by" in chosen.picks[1].reason
    assert (chosen.n_unscored, chosen.n_nan) == (2, 2)


def test_items_without_predictions_come_last_and_are_counted(predicted, pool, caplog):
    items = pool(6)
    reader = predicted({"v0001": [0.1, 0.5, 0.9], "v0004": [0.5], "v0002": []})
    chosen = select(items, make_strategy("us"), top, 6, Context(predictions=reader, seed=3))
    assert [item.video_id for item in chosen.items[:2]] == ["v0001", "v0004"]
    assert len(chosen.items) == 6
    assert chosen.n_unscored == 4
    assert chosen.notes == ("4 of 6 items have no prediction to judge by; they are picked last",)
    assert chosen.notes[0] in caplog.text
    assert chosen.picks[0].reason == "spread of its proposals' scores: entropy 1.099 of at most 2.303"
    assert chosen.picks[0].rank == 1


def test_before_the_first_predictions_the_draw_is_random_and_says_so(predicted, pool):
    items = pool(20)
    plain = select(items, make_strategy("random"), top, 5, Context(seed=2))
    for context in (Context(seed=2), Context(seed=2, predictions=predicted({}))):
        cold = select(items, make_strategy("us"), top, 5, context)
        assert cold.items == plain.items
        assert cold.strategy == "random"
        assert cold.notes == ("no predictions yet: chosen at random instead of by 'us'",)
        assert cold.picks[0].reason == "drawn at random (no predictions yet)"
    with pytest.raises(UsageError, match="needs predictions"):
        make_strategy("us").score(items, Context())


def test_wrong_use_and_broken_parts_are_told_in_one_line():
    values = {"a": 1.0, "b": 2.0}
    with pytest.raises(UsageError, match="batch of -1"):
        select(items_of(values), Fixed(values), top, -1, Context())
    with pytest.raises(UsageError, match=r"'b' 0-1 s is in the pool twice"):
        select(items_of(values) * 2, Fixed(values), top, 4, Context())

    class Short(Fixed):
        def score(self, items, context) -> Scores:
            return Scores(np.zeros(1))

    with pytest.raises(KlocError, match="must give one score"):
        select(items_of(values), Short(values), top, 1, Context())

    class Greedy:
        name: ClassVar[str] = "greedy"

        def pick(self, items, scores, batch, strategy, context) -> list[int]:
            return [0, 0]

    with pytest.raises(KlocError, match="'greedy' is broken: it picked 1 different items instead of 2"):
        select(items_of(values), Fixed(values), Greedy(), 2, Context())
