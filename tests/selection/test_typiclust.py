"""TypiClust: typical videos, one cluster after the other."""

from __future__ import annotations

import math

import numpy as np
import pytest
from selection_helpers import annotated, ids, pooled_of

from kloc.errors import UsageError
from kloc.records import Item
from kloc.selection import Budget, Context, make_policy, make_strategy, select

TOP = make_policy("top")


def world(*sizes: int, seed: int = 0, spread: float = 0.05):
    """Items in tight clusters of the given sizes around orthogonal directions, and their features."""
    rng = np.random.default_rng(seed)
    items, features = [], {}
    for cluster, size in enumerate(sizes):
        for i in range(size):
            item = Item(f"c{cluster}-{i:02d}", 0.0, 10.0)
            items.append(item)
            features[item.video_id] = np.eye(len(sizes) + 2)[cluster] + rng.normal(0, spread, len(sizes) + 2)
    return items, features


def test_every_cluster_gives_one_the_largest_first():
    items, features = world(12, 30, 20, 5)
    chosen = select(items, make_strategy("typiclust"), TOP, 4, Context(pooled=pooled_of(features)))
    assert [v[:2] for v in ids(chosen.items)] == ["c1", "c2", "c0", "c3"]
    assert "typical of 30 videos that look alike" in chosen.picks[0].reason
    assert chosen.strategy == "typiclust"  # no predictions, and still no random draw


def test_annotated_clusters_wait():
    items, features = world(30, 20)
    known = annotated(**{items[0].video_id: ["a"]})
    context = Context(pooled=pooled_of(features), annotations=known)
    chosen = select(items[1:], make_strategy("typiclust", max_clusters=2), TOP, 1, context)
    assert ids(chosen.items)[0].startswith("c1")
    both = select(items[1:], make_strategy("typiclust", max_clusters=2), TOP, 3, context)
    assert [v[:2] for v in ids(both.items)] == ["c1", "c0", "c1"]


def test_a_cluster_that_nobody_can_pay_for_costs_the_others_no_turn():
    items, features = world(30, 12, 12, 12)
    price = np.array([50.0 if item.video_id.startswith("c0") else 1.0 for item in items])
    budget = Budget(9.0, price, "minutes")
    strategy = make_strategy("typiclust", max_clusters=4)
    chosen = select(items, strategy, TOP, None, Context(pooled=pooled_of(features)), budget=budget)
    clusters = [v[:2] for v in ids(chosen.items)]
    assert sorted(clusters[:3]) == sorted(clusters[3:6]) == sorted(clusters[6:]) == ["c1", "c2", "c3"]


def test_typicality_equals_the_slow_one():
    items, features = world(25, 25, spread=0.2)
    strategy = make_strategy("typiclust", neighbours=4, max_clusters=2)
    found = strategy.score(items, Context(pooled=pooled_of(features), batch=5))
    x = np.array([features[v] / np.linalg.norm(features[v]) for v in ids(items)])
    for i in range(len(items)):
        others = [np.linalg.norm(x[i] - x[j]) for j in range(len(items)) if j != i and found.group[j] == found.group[i]]
        assert found.value[i] == pytest.approx(1 / np.mean(sorted(others)[:4]), rel=1e-3)


def test_neither_the_pools_order_nor_many_clusters_matter():
    items, features = world(20, 20, 20, 20, spread=0.5)
    context = Context(pooled=pooled_of(features), seed=2)
    for batch in (6, 70):
        chosen = select(items, make_strategy("typiclust"), TOP, batch, context)
        again = select(items[::-1], make_strategy("typiclust"), TOP, batch, context)
        assert again.items == chosen.items
        assert len(chosen.items) == batch


def test_copies_loners_and_videos_without_features():
    items = [Item(v, 0.0, 1.0) for v in ("a", "b", "c", "lone", "nan", "none")]
    features = {key: [1.0, 0.0] for key in "abc"} | {"lone": [0.0, 1.0], "nan": [math.nan, 0.0]}
    strategy = make_strategy("typiclust", max_clusters=2)
    chosen = select(items, strategy, TOP, 6, Context(pooled=pooled_of(features)))
    assert set(ids(chosen.items)[4:]) == {"nan", "none"}
    assert ids(chosen.items)[1] == "lone"
    assert all(math.isfinite(pick.score) for pick in chosen.picks[:4])
    assert "1 of 6 videos have NaN features; they are picked last" in chosen.notes
    assert "2 of 6 items have nothing that 'typiclust' can judge by; they are picked last" in chosen.notes


def test_what_it_needs():
    items = [Item("a", 0.0, 1.0)]
    with pytest.raises(UsageError, match="strategy 'typiclust' needs features of the videos, and there are none"):
        select(items, make_strategy("typiclust"), TOP, 1, Context())
    with pytest.raises(UsageError, match="at least 1, not 0 and 500"):
        make_strategy("typiclust", neighbours=0)
    assert select([], make_strategy("typiclust"), TOP, 1, Context(pooled=pooled_of({"a": [1.0]}))).picks == ()
