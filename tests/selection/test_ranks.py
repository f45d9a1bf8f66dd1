"""Ranks under every strategy, and strategies that fail."""

from __future__ import annotations

import numpy as np
from selection_helpers import ids, pooled_of

from kloc.records import Item
from kloc.selection import Context, make_policy, make_strategy, rankable, ranks_under, select
from kloc.selection.ranks import MAX_CLUSTERED, ranks_of


def test_ranks_are_those_of_a_selection(predicted):
    rng = np.random.default_rng(0)
    items = [Item(f"v{i}", 0.0, 1.0) for i in range(20)]
    reader = predicted({v: rng.random(rng.integers(1, 9)) for v in ids(items[:15])})
    context = Context(predictions=reader, seed=3)
    assert rankable(context, 20) == ("random", "us", "us-binary")
    assert rankable(Context(), 20) == ("random",)
    ranks = ranks_under(items, context, rankable(context, 20))
    for name, found in ranks.items():
        chosen = select(items, make_strategy(name), make_policy("top"), 20, context)
        assert {pick.item: pick.rank for pick in chosen.picks} == dict(zip(items, found.tolist(), strict=True))
    assert ranks["us"][15:].tolist() == [16] * 5  # without predictions: all behind the others
    assert context.heard == []


def test_typiclust_ranks_wherever_there_are_features():
    items = [Item(f"v{i}", 0.0, 1.0) for i in range(12)]
    features = dict(zip(ids(items), np.random.default_rng(1).normal(size=(12, 3)).tolist(), strict=True))
    context = Context(pooled=pooled_of(features), batch=3)
    assert rankable(context, 12) == ("random", "typiclust")
    assert rankable(context, MAX_CLUSTERED + 1) == ("random",)
    ranks = ranks_under(items, context, rankable(context, 12))
    chosen = select(items, make_strategy("typiclust"), make_policy("top"), 3, context)
    assert [ranks["typiclust"][items.index(pick.item)] for pick in chosen.picks] == [p.rank for p in chosen.picks]


def test_ranks_count_what_is_better():
    assert ranks_of(np.array([3.0, 5.0, 3.0, np.nan, -np.inf, np.inf])).tolist() == [3, 2, 3, 5, 5, 1]


def test_a_strategy_that_fails_is_left_out_and_told():
    context = Context()
    ranks = ranks_under([Item("a", 0.0, 1.0)], context, ["us", "nobody", "random"])
    assert list(ranks) == ["random"]
    assert context.heard[0].startswith("no ranks under 'us': this strategy needs predictions")
    assert context.heard[1].startswith("no ranks under 'nobody': unknown strategy")
