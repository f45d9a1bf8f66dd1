"""Policies against slow references, and what holds for all of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selection_helpers import Known, annotated, ids, plain, pooled_of, with_levels

from kloc.errors import UsageError
from kloc.records import Item
from kloc.seeds import generator
from kloc.selection import Budget, Context, CostModel, make_policy, policy_from, select
from kloc.selection.policies.diverse import Gradients, Sphere, drawn_by_distance, farthest_first
from kloc.selection.probabilities import class_distribution

POLICIES = [
    "top",
    "diverse",
    "diverse,method=k-means++",
    "diverse,method=badge,prefilter=none",
    "class-quota",
    "cost-aware",
]


def unit(x):
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def blobs(seed: int, n: int, dim: int = 6):
    """Points around four directions, of length 1."""
    rng = np.random.default_rng(seed)
    return unit(rng.normal(size=(4, dim))[rng.integers(4, size=n)] * 2 + rng.normal(size=(n, dim)) * 0.4)


def steps(walk, count: int, refuse=()) -> list[int]:
    """The first points of a walk that are taken, all of them but the refused."""
    picks, index = [], next(walk)
    while True:
        taken = index not in refuse
        picks += [index] if taken else []
        if len(picks) == count:
            return picks
        index = walk.send(taken)


# -- what holds for all ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """30 videos with features, levels and labels for some; a context that every policy can work with."""
    rng = np.random.default_rng(3)
    items = [Item(f"v{i:02d}", 0.0, float(rng.integers(10, 200))) for i in range(30)]
    features = dict(zip(ids(items), blobs(1, 30).tolist(), strict=True))
    levels = {v: rng.dirichlet([0.4, 0.4, 0.4], 5) for v in ids(items)}
    context = Context(
        predictions=with_levels(tmp_path_factory.mktemp("p") / "p", ("a", "b"), levels, background=0),
        classes=("a", "b"),
        annotations=annotated(x=["a"], v05=["b", "b"]),
        labels={v: ("a",) if i % 3 else ("a", "b") for i, v in enumerate(ids(items)) if i % 2},
        pooled=pooled_of(features | {"x": [1.0] + [0.0] * 5}),
        seed=4,
    )
    return items, context


@settings(max_examples=60)
@given(
    name=st.sampled_from(POLICIES),
    batch=st.integers(0, 40),
    epsilon=st.sampled_from([0.0, 0.3, 1.0]),
    hidden=st.integers(0, 30),
    data=st.data(),
)
def test_a_batch_is_full_different_and_does_not_follow_the_pools_order(everything, name, batch, epsilon, hidden, data):
    items, context = everything
    value = {v: -math.inf if i < hidden else float(i % 7) for i, v in enumerate(ids(items))}

    def run(pool):
        strategy = Known(value)
        return strategy, select(pool, strategy, policy_from(name), batch, context, epsilon=epsilon)

    strategy, chosen = run(items)
    assert len(chosen.items) == len(set(chosen.items)) == min(batch, len(items))
    # The strategy was told of every pick, in order.
    assert [items[i] for i in strategy.log] == list(chosen.items)
    # What has no score is taken only when nothing else is left (a random draw takes anything).
    n_drawn = round(epsilon * min(batch, 30))
    scores = [pick.score for pick in chosen.picks[: len(chosen.picks) - n_drawn]]
    n_scored = sum(map(math.isfinite, scores))
    assert n_scored == min(len(scores), 30 - hidden)
    assert all(map(math.isfinite, scores[:n_scored]))
    assert run(data.draw(st.permutations(items)))[1].items == chosen.items


@pytest.mark.parametrize("name", POLICIES)
def test_nothing_scored_and_nothing_there(everything, name):
    items, context = everything
    blank = Known(dict.fromkeys(ids(items), -math.inf))
    chosen = select(items, blank, policy_from(name), 4, context)
    assert len(chosen.items) == 4
    assert "no item has a score: the order is random" in chosen.notes
    assert select([], blank, policy_from(name), 4, context).picks == ()


@pytest.mark.parametrize("name", POLICIES)
def test_one_video(everything, name):
    items, context = everything
    assert select(items[:1], plain(items), policy_from(name), 3, context).items == (items[0],)


# -- diverse -----------------------------------------------------------------------------------------------------------


def slow_farthest(x: np.ndarray, centres: np.ndarray | None, count: int) -> list[int]:
    x = x.astype(np.float64)
    near = [min((((p - c) ** 2).sum() for c in centres), default=0) if centres is not None else math.inf for p in x]
    picks: list[int] = []
    for _ in range(count):
        best = max((i for i in range(len(x)) if i not in picks), key=lambda i: (near[i], -i))
        picks.append(best)
        near = [min(d, ((p - x[best]) ** 2).sum()) for d, p in zip(near, x, strict=True)]
    return picks


@pytest.mark.parametrize("with_centres", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_k_center_equals_the_slow_one(seed, with_centres):
    x, centres = blobs(seed, 60), blobs(seed + 50, 7) if with_centres else None
    space = Sphere(x)
    near = None if centres is None else space.to_nearest(centres)
    assert steps(farthest_first(space, near), 20) == slow_farthest(x, centres, 20)


def test_k_center_covers_what_it_should():
    x = blobs(0, 300)
    picks = steps(farthest_first(Sphere(x)), 12)
    radius = ((x[:, None] - x[picks]) ** 2).sum(2).min(1).max()
    # The greedy radius is at most twice the best one; the next farthest point is within it of all twelve.
    pairs = ((x[picks][:, None] - x[picks]) ** 2).sum(2)[np.triu_indices(12, 1)]
    assert radius <= pairs.min() + 1e-6


def test_a_refused_point_is_no_centre():
    x = blobs(2, 40)
    full = steps(farthest_first(Sphere(x)), 5)
    refused = full[2]
    left = [i for i in range(40) if i != refused]
    kept = steps(farthest_first(Sphere(x)), 5, refuse=[refused])
    assert kept == [left[i] for i in slow_farthest(x[left], None, 5)]


@given(st.integers(0, 10_000), st.integers(2, 9), st.integers(2, 5))
def test_gradient_distances_equal_outer_products(seed, n, k):
    rng = np.random.default_rng(seed)
    p, x = rng.dirichlet(np.ones(k), n), unit(rng.normal(size=(n, 4)))
    embedding = np.einsum("ik,id->ikd", p - np.eye(k)[p.argmax(1)], x.astype(np.float64)).reshape(n, -1)
    space = Gradients(p, x)
    for index in range(n):
        np.testing.assert_allclose(space.to(index), ((embedding - embedding[index]) ** 2).sum(1), atol=1e-5)
    np.testing.assert_allclose(space.norms, (embedding**2).sum(1), atol=1e-5)


def test_badge_equals_the_slow_one():
    rng = np.random.default_rng(5)
    p, x = rng.dirichlet([0.5] * 4, 80), blobs(5, 80)
    embedding = np.einsum("ik,id->ikd", p - np.eye(4)[p.argmax(1)], x.astype(np.float64)).reshape(80, -1)
    draws = generator(1, "badge")
    picks = [int((embedding**2).sum(1).argmax())]
    while len(picks) < 15:
        near = ((embedding[:, None] - embedding[picks]) ** 2).sum(2).min(1)
        near[picks] = 0
        picks.append(int(np.searchsorted(np.cumsum(near), draws.random() * near.sum(), side="right")))
    space = Gradients(p, x)
    assert steps(drawn_by_distance(space, generator(1, "badge"), None, int(space.norms.argmax())), 15) == picks


def test_draws_follow_the_squared_distance():
    # From 0 the others lie at squared distances 2 and 4 (and a copy at 0): drawn as 1 : 2, the copy never.
    x = np.array([[1, 0], [1, 0], [0, 1], [-1, 0]], np.float32)
    drawn = [steps(drawn_by_distance(Sphere(x), generator(s, "t")), 2)[1] for s in range(900)]
    assert drawn.count(1) == 0
    assert abs(drawn.count(3) - 600) < 71  # five standard deviations
    assert steps(drawn_by_distance(Sphere(x), generator(0, "t")), 4)[-1] == 1


@pytest.mark.parametrize("method", ["k-center", "k-means++"])
def test_diverse_starts_where_nothing_is_annotated(method):
    items = [Item(v, 0.0, 1.0) for v in ("near", "same", "far")]
    features = {"near": [1.0, 0.1], "same": [2.0, 0.0], "far": [0.0, 3.0], "known": [1.0, 0.0]}
    context = Context(pooled=pooled_of(features), annotations=annotated(known=["a"]))
    value = Known({"near": 3.0, "same": 2.0, "far": 1.0})
    policy = make_policy("diverse", method=method, prefilter=0)
    assert [ids(select(items, value, policy, 1, context).items)] == [["far"]] or method == "k-means++"
    assert ids(select(items, value, policy, 3, context).items)[-1] == "same"
    # Without annotations k-center begins with the best score.
    cold = select(items, value, make_policy("diverse", prefilter=0), 2, Context(pooled=pooled_of(features)))
    assert ids(cold.items) == ["near", "far"]


def test_the_prefilter_keeps_the_best_scored():
    x = blobs(3, 40)
    items = [Item(f"v{i:02d}", 0.0, 1.0) for i in range(40)]
    context = Context(pooled=pooled_of(dict(zip(ids(items), x.tolist(), strict=True))))
    chosen = select(items, plain(items), make_policy("diverse", prefilter=2), 5, context)
    assert set(ids(chosen.items)) <= {f"v{i}" for i in range(30, 40)}
    assert ids(chosen.items) != ids(items[:-6:-1])
    everything = select(items, plain(items), make_policy("diverse", prefilter=0), 5, context)
    assert not set(ids(everything.items)) <= {f"v{i}" for i in range(30, 40)}


def test_nan_features_count_as_none():
    items = [Item(f"v{i}", 0.0, 1.0) for i in range(6)]
    rows = {v: [1.0, float(i)] for i, v in enumerate(ids(items))} | {"v5": [math.nan, 1.0], "v4": [0.0, 0.0]}
    rows["v3"] = [math.inf, 0.0]
    chosen = select(items, plain(items), make_policy("diverse"), 6, Context(pooled=pooled_of(rows)))
    assert ids(chosen.items)[3:] == ["v5", "v4", "v3"]
    assert chosen.notes == ("2 of 6 candidates have NaN features; they come after the others",)


def test_what_diverse_needs():
    items = [Item("a", 0.0, 1.0), Item("b", 0.0, 1.0)]
    with pytest.raises(UsageError, match="policy 'diverse' needs features of the videos, and there are none"):
        select(items, plain(items), make_policy("diverse"), 1, Context())
    with pytest.raises(UsageError, match="of 2 videos none has usable ones"):
        select(items, plain(items), make_policy("diverse"), 1, Context(pooled=pooled_of({"c": [1.0]})))


def test_badge_needs_predictions_once_there_are_any(predicted):
    items = [Item("a", 0.0, 1.0), Item("b", 0.0, 1.0)]
    context = Context(pooled=pooled_of({"a": [1.0], "b": [1.0]}), predictions=predicted({"other": [0.5]}))
    with pytest.raises(UsageError, match="needs predictions of the candidates; run `kloc predict`"):
        select(items, plain(items), make_policy("diverse", method="badge"), 1, context)


def test_badge_starts_cold_as_k_means(predicted):
    items = [Item(f"v{i:02d}", 0.0, 1.0) for i in range(20)]
    features = dict(zip(ids(items), blobs(6, 20).tolist(), strict=True))
    for context in (
        Context(pooled=pooled_of(features)),
        Context(pooled=pooled_of(features), predictions=predicted({})),
    ):
        cold, plus = (
            select(items, plain(items), make_policy("diverse", method=method), 5, context)
            for method in ("badge", "k-means++")
        )
        assert cold.items == plus.items
        assert cold.notes == ("no predictions yet: 'diverse,method=badge' draws by distance alone, as k-means++ does",)


def test_badge_without_classes_takes_the_actionness(predicted):
    items = [Item(v, 0.0, 1.0) for v in ("sure", "unsure", "unknown")]
    reader = predicted({"sure": [0.01, 0.01], "unsure": [0.4, 0.6]})
    context = Context(predictions=reader, pooled=pooled_of({v: [1.0, 0.0] for v in ids(items)}))
    chosen = select(items, plain(items), make_policy("diverse", method="badge"), 3, context)
    assert ids(chosen.items) == ["unsure", "sure", "unknown"]


# -- class distributions -----------------------------------------------------------------------------------------------


def test_the_mean_class_distribution(tmp_path):
    levels = {"v": [[0.2, 0.5, 0.3], [0.4, 0.1, 0.5]], "w": np.zeros((0, 3)), "z": [[0.0, 0.0, 0.0]]}
    reader = with_levels(tmp_path / "p", ("a", "b"), levels, background=0)
    items = [Item(v, 0.0, 1.0) for v in ("w", "v", "z", "gone")]
    found = class_distribution(items, Context(predictions=reader))
    assert found.classes == ("a", "b")
    np.testing.assert_allclose(found.p[1], [0.3, 0.4, 0.3], atol=1e-3)
    assert np.isnan(found.p[[0, 2, 3]]).all()


# -- class-quota -------------------------------------------------------------------------------------------------------


def quota(values, labels, batch, **context):
    items = [Item(v, 0.0, 1.0) for v in values]
    return select(items, Known(values), make_policy("class-quota"), batch, Context(labels=labels, **context))


def test_the_rarest_class_comes_first():
    values = {"a1": 9.0, "a2": 8.0, "a3": 7.0, "b1": 2.0, "b2": 1.0}
    labels = {v: (v[0],) for v in values}
    chosen = quota(values, labels, 5, annotations=annotated(x=["a"], y=["a", "a"]))
    # "a" has two annotated videos already: two of "b" first, then the classes are even and "b" is exhausted.
    assert ids(chosen.items) == ["b1", "b2", "a1", "a2", "a3"]


def test_a_video_of_two_classes_counts_for_both():
    values = {"both": 9.0, "a": 8.0, "b": 7.0, "c": 1.0}
    labels = {"both": ("a", "b"), "a": ("a",), "b": ("b",), "c": ("c",)}
    for seed in range(5):
        chosen = ids(quota(values, labels, 4, seed=seed).items)
        assert set(chosen[:2]) == {"both", "c"}
        assert set(chosen[2:]) == {"a", "b"}


def test_equally_rare_classes_do_not_come_by_the_alphabet():
    values = dict.fromkeys("abcdef", 1.0)
    firsts = {quota(values, {v: (v,) for v in values}, 1, seed=seed).items for seed in range(30)}
    assert len(firsts) > 3


def test_predicted_classes_stand_in_for_labels(tmp_path):
    values = {"u": 9.0, "v": 8.0, "w": 7.0, "none": 10.0}
    levels = {"u": [[0.5, 0.3, 0.2]], "v": [[0.6, 0.3, 0.1]], "w": [[0.0, 0.1, 0.2]]}
    reader = with_levels(tmp_path / "p", ("a", "b"), levels, background=0)
    chosen = quota(values, {}, 4, annotations=annotated(x=["a"]), predictions=reader)
    # w is "b" although background tops u and v; "none" has no prediction and comes last, best score or not.
    assert ids(chosen.items) == ["w", "u", "v", "none"]
    assert chosen.notes == ("1 of 4 videos have no label and no predicted class; they come after the others",)


def test_one_class_and_no_class():
    chosen = quota({"u": 1.0, "v": 2.0}, {"u": ("a",), "v": ("a",)}, 2)
    assert chosen.notes == ("all videos of known class are 'a': class-quota has nothing to even out",)
    assert ids(chosen.items) == ["v", "u"]
    with pytest.raises(UsageError, match="policy 'class-quota' needs a class per video"):
        quota({"u": 1.0, "v": 2.0}, {}, 1)


# -- cost-aware --------------------------------------------------------------------------------------------------------


def test_score_per_minute():
    items = [Item("long", 0.0, 600.0), Item("short", 0.0, 60.0), Item("worst", 0.0, 1.0), Item("none", 0.0, 1.0)]
    value = Known({"long": 5.0, "short": 2.0, "worst": 1.0, "none": -math.inf})
    chosen = select(items, value, make_policy("cost-aware"), 4, Context(cost=CostModel(0.0, 1.0, 0.0)))
    # (5 - 1) / 10 minutes against (2 - 1) / 1 minute.
    assert ids(chosen.items) == ["short", "long", "worst", "none"]
    assert chosen.picks[0].rank == 2
    assert any("minutes per video: 0.00 + 1.00" in note for note in chosen.notes)
    default = select(items, value, make_policy("cost-aware"), 1, Context())
    assert any("kloc's default" in note for note in default.notes)


@given(
    st.lists(st.sampled_from([0.0, 1.0, 2.0, math.inf, -math.inf]), min_size=1, max_size=25),
    st.lists(st.integers(1, 4), min_size=25, max_size=25),
)
def test_equal_rates_go_by_fewer_minutes(values, minutes):
    items = [Item(f"v{i:02d}", 0.0, 60.0 * m) for i, m in zip(range(len(values)), minutes, strict=False)]
    strategy = Known(dict(zip(ids(items), values, strict=True)))
    context = Context(cost=CostModel(0.0, 1.0, 0.0))
    chosen = select(items, strategy, make_policy("cost-aware"), len(items), context)
    low = min(filter(math.isfinite, values), default=0.0)

    def keys(index: int):
        value, length = values[index], minutes[index]
        return (value, 0) if math.isinf(value) else ((value - low) / length, -length)

    found = [keys(int(v[1:])) for v in ids(chosen.items)]
    assert found == sorted(map(keys, range(len(values))), reverse=True)


def test_equal_scores_and_minutes_are_drawn():
    items = [Item(f"v{i}", 0.0, 60.0) for i in range(9)]
    strategy = Known(dict.fromkeys(ids(items), 1.0))
    policy = make_policy("cost-aware")
    assert len({select(items, strategy, policy, 4, Context(seed=seed)).items for seed in range(9)}) > 5


def test_policies_that_ignore_groups_say_so(everything):
    items, context = everything
    sides = Known(dict.fromkeys(ids(items), 1.0), {v: i % 2 for i, v in enumerate(ids(items))})
    for name in POLICIES:
        told = any(
            "does not follow the groups" in note for note in select(items, sides, policy_from(name), 4, context).notes
        )
        assert told == (name not in ("top", "cost-aware"))


def test_a_budget_walks_on_past_what_does_not_fit(everything):
    items, context = everything
    price = np.array([item.duration for item in items])
    for name in POLICIES:
        chosen = select(items, plain(items), policy_from(name), None, context, budget=Budget(300.0, price, "minutes"))
        left = 300.0 - sum(item.duration for item in chosen.items)
        assert left >= 0
        assert chosen.spent == pytest.approx(300.0 - left)
        assert all(item.duration > left for item in items if item not in chosen.items)
