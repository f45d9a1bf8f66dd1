"""Uncertainty sampling against numpy's own histogram, one video at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kloc.errors import UsageError
from kloc.records import Item
from kloc.selection import Context, make_strategy
from kloc.selection.us import UncertaintySampling, bin_counts, histogram_entropy
from kloc.shards import Block

half = st.floats(0, 1, width=16)
# Bin edges and their neighbours are where a fast histogram goes wrong.
edgy = st.sampled_from(
    [float(v) for k in range(11) for v in (k / 10, np.nextafter(k / 10, 0), np.nextafter(k / 10, 1))]
)
videos = st.lists(st.lists(half, max_size=15), max_size=12)
quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def entropy(p) -> float:
    return -sum(x * math.log(x) for x in p if x > 0)


def slow_histogram(x, bins: int) -> float:
    if not len(x):
        return -math.inf
    return entropy(np.histogram(np.asarray(x, np.float64), bins=bins, range=(0, 1))[0] / len(x))


def slow_binary(x, k: int) -> float:
    top = sorted(x, reverse=True)[:k]
    return sum(entropy([p, 1 - p]) for p in top) / len(top) if top else -math.inf


def scores_of(strategies: list[UncertaintySampling], predicted, xs) -> list[np.ndarray]:
    context = Context(predictions=predicted({f"v{i}": x for i, x in enumerate(xs)}))
    items = [Item(f"v{i}", 0.0, 1.0) for i in range(len(xs))]
    return [strategy.score(items, context).value for strategy in strategies]


@quick
@given(xs=videos, bins=st.integers(2, 12), k=st.integers(1, 6))
def test_equals_the_slow_references_within_the_bounds(predicted, xs, bins, k):
    rounded = [np.asarray(x, np.float16).astype(np.float64) for x in xs]
    strategies = [UncertaintySampling(bins=bins), UncertaintySampling(mode="binary", k=k)]
    slow_ones = (lambda x: slow_histogram(x, bins), lambda x: slow_binary(x, k))
    for strategy, slow, values in zip(strategies, slow_ones, scores_of(strategies, predicted, xs), strict=True):
        np.testing.assert_allclose(values, [slow(x) for x in rounded], atol=1e-12)
        known = values[np.isfinite(values)]
        assert ((known >= 0) & (known <= strategy.bound)).all()
        assert not np.signbit(known).any()


@settings(max_examples=200, deadline=None)
@given(x=st.lists(st.one_of(edgy, st.floats(0, 1)), min_size=1, max_size=30), bins=st.integers(1, 40))
def test_bins_are_numpys_to_the_last_bit(x, bins):
    values = np.clip(np.array(x), 0, 1)
    counts = bin_counts(values, np.zeros(len(values), np.int64), 1, bins)[0]
    edges = np.linspace(0, 1, bins + 1)
    expected = [np.sum((values >= edges[b]) & ((values < edges[b + 1]) | (b == bins - 1))) for b in range(bins)]
    assert counts.tolist() == expected
    assert counts.tolist() == np.histogram(values, bins=bins, range=(0, 1))[0].tolist()


def test_known_values(predicted):
    xs = [[0.5], [0.05, 0.15], np.arange(0.05, 1, 0.1), [], [1.0, 1.0]]
    spread, binary = scores_of([UncertaintySampling(), UncertaintySampling(mode="binary", k=1)], predicted, xs)
    np.testing.assert_allclose(spread, [0.0, math.log(2), math.log(10), -math.inf, 0.0], atol=1e-12)
    np.testing.assert_allclose(binary[[0, 3, 4]], [math.log(2), -math.inf, 0.0], atol=1e-12)


@quick
@given(xs=videos, data=st.data())
def test_the_order_of_proposals_and_of_bins_does_not_change_a_bit(predicted, xs, data):
    both = xs + [data.draw(st.permutations(x)) for x in xs]
    for values in scores_of([UncertaintySampling(), UncertaintySampling(mode="binary", k=3)], predicted, both):
        assert values[: len(xs)].tobytes() == values[len(xs) :].tobytes()
    counts = np.array([data.draw(st.permutations([0, 0, 1, 3, 7, 7])) for _ in range(4)])
    assert len(set(histogram_entropy(counts).tolist())) == 1


def test_one_broken_score_makes_its_video_nan_and_no_other(predicted):
    strategies = [UncertaintySampling(), UncertaintySampling(mode="binary")]
    for values in scores_of(strategies, predicted, [[0.1, 0.9], [math.nan, 0.5], [0.3]]):
        assert np.isnan(values).tolist() == [False, True, False]


def test_items_are_found_by_the_protocols_id(predicted):
    reader = predicted({"v@0": [0.1, 0.9], "v@30": [0.5]})
    items = [Item("v", 30.0, 60.0), Item("v", 0.0, 30.0), Item("v", 60.0, 90.0)]
    context = Context(predictions=reader, prediction_id=lambda item: f"{item.video_id}@{item.start:g}")
    values = make_strategy("us").score(items, context).value
    np.testing.assert_allclose(values, [0.0, math.log(2), -math.inf])


@pytest.mark.parametrize("params", [{"bins": 1}, {"bins": 1001}, {"bins": 65_537}, {"mode": "trinary"}, {"k": 0}])
def test_wrong_parameters(params):
    with pytest.raises(UsageError, match="strategy 'us'"):
        make_strategy("us", **params)


class InMemory:
    """Predictions of a simulation: arrays of any float type, in one block."""

    def __init__(self, xs, dtype) -> None:
        self.lengths = [len(x) for x in xs]
        self.values = np.array([value for x in xs for value in x], dtype)

    def __len__(self) -> int:
        return len(self.lengths)

    def blocks(self, identifiers, heads, block_rows=0):
        offsets = np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int64)
        yield Block(np.arange(len(self.lengths)), {"actionness": self.values}, {"actionness": offsets})


odd = st.one_of(st.floats(-0.5, 1.5, width=16), st.sampled_from([-0.0, math.inf, -math.inf, math.nan]))


@quick
@given(xs=st.lists(st.lists(odd, max_size=12), min_size=1, max_size=6), k=st.integers(1, 6), same=st.booleans())
def test_every_float_type_gives_the_same(xs, k, same):
    if same:
        xs = [xs[0]] * 3
    items = [Item(str(i), 0.0, 1.0) for i in range(len(xs))]
    for strategy in (UncertaintySampling(), UncertaintySampling(mode="binary", k=k)):
        found = [
            strategy.score(items, Context(predictions=InMemory(xs, dtype))).value for dtype in ("<f2", "<f4", "<f8")
        ]
        clipped = [np.clip(x, 0, 1) for x in xs]
        slow = [slow_histogram(x, 10) if strategy.mode == "histogram" else slow_binary(list(x), k) for x in clipped]
        slow = [math.nan if np.isnan(x).any() else value for x, value in zip(clipped, slow, strict=True)]
        for values in found:
            np.testing.assert_allclose(values, slow, atol=1e-12)
