"""What annotating takes: learning it back from simulated working times."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from selection_helpers import annotated

from kloc.errors import FormatError, UsageError
from kloc.records import Annotation, Instance, Item
from kloc.selection import Context, CostModel
from kloc.selection.cost import DEFAULT, MIN_RECORDINGS, SHORTEST_MIN, Recording, expected_instances, minutes_of


def worked(model: CostModel, n: int, seed: int = 0, noise: float = 0.0) -> list[Recording]:
    rng = np.random.default_rng(seed)
    duration, count = rng.uniform(0.2, 5.0, n), rng.integers(0, 8, n)
    minutes = model.minutes(duration * 60, count.astype(np.float64)) * np.exp(rng.normal(0, noise, n))
    return [Recording(*row) for row in zip(minutes.tolist(), duration.tolist(), count.tolist(), strict=True)]


numbers = st.floats(0.1, 3.0)


@given(numbers, numbers, numbers, st.integers(0, 50))
def test_the_model_behind_the_times_is_found_again(a, b, c, seed):
    found = CostModel.fit(worked(CostModel(a, b, c), 60, seed))
    np.testing.assert_allclose([found.a, found.b, found.c], [a, b, c], atol=1e-3)
    assert found.recordings == 60


def test_coffee_breaks_and_noise_do_little_harm():
    true = CostModel(0.4, 1.3, 0.3)
    times = worked(true, 400, noise=0.3)
    overnight = [row._replace(minutes=row.minutes + 600) if i % 20 == 0 else row for i, row in enumerate(times)]
    probe = np.array([30.0, 120.0, 280.0]), np.array([1.0, 3.0, 6.0])
    estimate = CostModel.fit(overnight).minutes(*probe)
    np.testing.assert_allclose(estimate, true.minutes(*probe), rtol=0.25)


def test_no_part_is_ever_negative():
    # Longer videos that took less time: least squares alone would give a negative b.
    times = [Recording(5.0 - 0.3 * i, float(i), 0) for i in range(12)]
    found = CostModel.fit(times)
    assert found.b == 0.0
    assert found.a > 1.0


def test_videos_of_one_length_leave_the_default_its_proportions():
    found = CostModel.fit([Recording(3.0, 1.0, 0)] * 20)
    assert found.a + found.b == pytest.approx(3.0, rel=1e-3)
    assert found.b / found.a == pytest.approx(DEFAULT.b / DEFAULT.a, rel=0.05)


def test_too_few_times_and_useless_ones():
    good = worked(DEFAULT, MIN_RECORDINGS - 1)
    useless = [Recording(math.nan, 1.0, 0), Recording(0.0, 1.0, 0), Recording(1.0, math.inf, 1)]
    with pytest.raises(UsageError, match="9 recorded working times are too few to learn from; 10 do"):
        CostModel.fit(good + useless)
    for bad in ((-1.0, 0.0, 0.0), (math.nan, 1.0, 1.0), (0.0, 0.0, 0.0)):
        with pytest.raises(UsageError, match="cost model"):
            CostModel(*bad)


def test_saved_and_loaded(tmp_path):
    model = CostModel(0.1, 0.2, 0.3, 44)
    model.save(tmp_path / "cost.json")
    assert CostModel.load(tmp_path / "cost.json") == model
    assert str(model) == "0.10 + 0.20 per minute of video + 0.30 per instance, minutes (learned from 44 working times)"
    for content in ("{}", "oops", '{"a": -1, "b": 0, "c": 0, "recordings": 1}'):
        (tmp_path / "cost.json").write_text(content)
        with pytest.raises(FormatError, match=r"no cost model .*; correct selection.cost_model in kloc.toml") as told:
            CostModel.load(tmp_path / "cost.json")
        assert "delete" not in str(told.value)
    with pytest.raises(FormatError, match=r"gone.json: no such file; correct selection.cost_model in kloc.toml or emp"):
        CostModel.load(tmp_path / "gone.json")


def test_expected_instances_by_label():
    known = annotated(p=["a"] * 9, q=["a"] * 9, r=["b"], s=[])
    labels = {"s": ("b",), "new": ("a",), "two": ("a", "b"), "other": ("c",)}
    items = [Item(v, 0.0, 1.0) for v in ("new", "two", "other", "plain")]
    found = expected_instances(items, known, labels)
    overall = 19 / 4  # of the four pairs (p, a), (q, a), (r, b), (s, b)
    a, b = (18 + 5 * overall) / 7, (1 + 5 * overall) / 7
    np.testing.assert_allclose(found, [a, a + b, overall, 19 / 4])
    assert expected_instances(items, {}, labels).tolist() == [1.0, 2.0, 1.0, 1.0]


def test_a_class_nobody_asked_about_is_not_absent():
    x = Instance(1.0, 2.0, "x")
    known = {v: Annotation(Item(v, 0.0, 9.0), (x,), frozenset({"x"})) for v in ("p", "q")}
    labels = {"p": ("x", "y"), "q": ("x", "y"), "new": ("y",)}
    items = [Item("new", 0.0, 9.0)]
    assert expected_instances(items, known, labels).tolist() == [1.0]  # the mean of the pairs anybody asked about
    asked = known | {"r": Annotation(Item("r", 0.0, 9.0), (), frozenset({"y"}))}
    labels["r"] = ("y",)
    overall = 2 / 3
    np.testing.assert_allclose(expected_instances(items, asked, labels), [5 * overall / 6])


def test_minutes_of_items():
    items = [Item("v", 10.0, 130.0), Item("w", 0.0, 0.0)]
    np.testing.assert_allclose(minutes_of(items, Context(cost=CostModel(0.0, 2.0, 0.0))), [4.0, SHORTEST_MIN])
    np.testing.assert_allclose(minutes_of(items, Context()), [0.5 + 2.0 + 0.5, 0.5 + 0.5])
