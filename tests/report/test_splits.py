"""Splits: everybody placed once, classes in equal shares, groups whole."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kloc.errors import UsageError
from kloc.report.splits import leaks, split


def _labels(n: int) -> dict[str, list[str]]:
    return {f"v{i:03d}": [("common", "often", "rare")[min(2, i % 10 // 4)]] for i in range(n)}


def test_classes_come_in_equal_shares() -> None:
    labels = _labels(200)
    made = split(labels, np.random.default_rng(1), shares=(0.6, 0.2, 0.2))
    assert set(made) == set(labels)
    for label in ("common", "often", "rare"):
        mine = Counter(made[v] for v in labels if label in labels[v])
        total = sum(mine.values())
        for subset, share in (("training", 0.6), ("validation", 0.2), ("testing", 0.2)):
            assert abs(mine[subset] - share * total) <= 1


def test_the_same_seed_gives_the_same_split_in_any_order() -> None:
    labels = _labels(60)
    turned = dict(reversed(labels.items()))
    one, same, other = (split(x, np.random.default_rng(s)) for x, s in ((labels, 1), (turned, 1), (labels, 2)))
    assert one == same
    assert one != other


@given(
    st.lists(st.tuples(st.sets(st.sampled_from("abcd"), max_size=2), st.integers(0, 6) | st.none()), max_size=40),
    st.integers(0, 5),
)
@settings(max_examples=80, deadline=None)
def test_every_video_is_placed_once_and_groups_stay_whole(rows: list[tuple[set[str], int | None]], seed: int) -> None:
    labels = {f"v{i}": sorted(x) for i, (x, _) in enumerate(rows)}
    groups = {f"v{i}": f"g{g}" for i, (_, g) in enumerate(rows) if g is not None}
    made = split(labels, np.random.default_rng(seed), shares=(0.5, 0.5, 0), groups=groups)
    assert set(made) == set(labels)
    assert "testing" not in made.values()
    assert leaks(made, groups) == []


def test_a_video_named_as_a_group_is_not_drawn_into_it() -> None:
    labels = {f"v{i}": ["x"] for i in range(20)}
    made = split(labels, np.random.default_rng(0), shares=(0.5, 0.5, 0), groups={"v1": "v0"})
    assert Counter(made.values())["training"] == 10


def test_leaks_are_told_in_sentences() -> None:
    found = leaks({"a": "training", "b": "testing", "c": "testing"}, {"a": "g", "b": "g", "c": "h"})
    assert found == ["group 'g' lies in 2 subsets (testing: b; training: a)"]


@pytest.mark.parametrize("shares", [(0.5, 0.2, 0.2), (1.2, -0.1, -0.1), (0.5, 0.5)])
def test_impossible_shares_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="must sum to 1"):
        split({"a": []}, np.random.default_rng(0), shares=shares)
