"""The learning-curve forecast: against a slow reference, its coverage, what it says when the data cannot tell."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kloc.errors import UsageError
from kloc.evaluation.forecast import MANY, Forecast, forecast, rounds_missing
from kloc.seeds import generator

Curve = Callable[[float], float]
GAP = 0.05


def slow_shapes() -> list[tuple[float, float, Curve]]:
    """Prior weight, largest n95 in times of what is labelled, and gap of every shape, written out."""
    exponents = [0.2 * 10 ** (i / 23) for i in range(24)]
    shapes: list[tuple[float, float, Curve]] = [(0.5 / 24, 1000, lambda u, c=c: GAP * u**-c) for c in exponents]
    shapes += [(0.05, 10, lambda u, b=b: b * math.exp(-u * math.log(b / GAP))) for b in (0.5, 0.75)]
    shapes += [(0.05, 1000, lambda u, k=k: math.exp(math.log(GAP) * u**k)) for k in (0.7, 1.0, 1.4, 2.0)]
    shapes += [(0.05, 1000, lambda u, k=k: 1.0 - u**k / (u**k + 1.0 / 19.0)) for k in (0.7, 1.0, 1.4, 2.0)]
    return shapes


def slow_forecast(labelled: list[float], value: list[float]) -> tuple[list[float], float]:
    """Quantiles of n95 and the plateau's median: plateau and noise are summed over grids, nothing in closed form."""
    nodes = np.linspace(math.log(min(labelled) / 3), math.log(max(labelled) * 1000), 200)
    levels = (np.arange(400) + 0.5) / 400
    noises = np.geomspace(1e-3, 1.0, 60)
    wanted = 0.03 * max(max(value), 0.01)
    # One observation's worth of scaled inverse chi-square on the variance, per step of log noise.
    prior = noises**-1.0 * np.exp(-0.5 * (wanted / noises) ** 2)
    mass = np.zeros(len(nodes))
    plateau = np.zeros(len(levels))
    for weight, most, gap in slow_shapes():
        for i, node in enumerate(nodes):
            share = [1.0 - gap(n / math.exp(node)) for n in labelled]
            if share[int(np.argmin(labelled))] < 0 or math.exp(node) > most * max(labelled) * (1 + 1e-9):
                continue
            squares = sum((y - levels * s) ** 2 for y, s in zip(value, share, strict=True))
            # Flat in the level at the last round: plateau times the share there.
            density = share[int(np.argmax(labelled))] * prior * noises ** -len(value)
            each = (np.exp(-0.5 * squares[:, None] / noises**2) * density).sum(axis=1)
            mass[i] += weight * each.sum()
            plateau += weight * each
    below = np.cumsum(mass) / mass.sum()
    half = (nodes[1] - nodes[0]) / 2
    edges = np.interp([0.1, 0.5, 0.9], np.concatenate([[0], below]), np.append(nodes - half, nodes[-1] + half))
    return [math.exp(x) for x in edges], float(np.interp(0.5, np.cumsum(plateau) / plateau.sum(), levels))


def power(labelled: np.ndarray, plateau: float, gap: float, c: float) -> np.ndarray:
    return plateau * (1 - gap * (labelled / labelled[0]) ** -c)


CURVES = {
    "steep": ([50, 100, 150, 200, 250, 300, 350], [0.20, 0.335, 0.38, 0.42, 0.43, 0.45, 0.447]),
    "shallow": ([20, 40, 60, 80], [0.10, 0.15, 0.17, 0.21]),
    "level": ([10, 20, 30, 40, 50], [0.41, 0.40, 0.42, 0.41, 0.41]),
    "near one": ([10, 30, 50, 70, 90], [0.70, 0.90, 0.93, 0.97, 0.98]),
    "shuffled": ([300, 50, 200, 100, 100], [0.45, 0.2, 0.42, 0.33, 0.35]),
}


@pytest.mark.parametrize("name", CURVES)
def test_closed_form_equals_the_sum_over_plateaus_and_noises(name: str) -> None:
    labelled, value = CURVES[name]
    found = forecast(labelled, value)
    expected, plateau = slow_forecast([float(n) for n in labelled], value)
    top = MANY * max(labelled)
    for ours, slow in zip((found.low, found.at, found.high), expected, strict=True):
        if math.isinf(ours):
            assert slow > 0.99 * top
        else:
            assert ours == pytest.approx(slow, rel=0.02)
    assert found.plateau == pytest.approx(plateau, abs=0.03)
    assert found.n_points == len(labelled)
    assert found.labelled == max(labelled)


@pytest.mark.parametrize("noise", [0.01, 0.03, 0.1])
@pytest.mark.parametrize(("low", "high"), [(0.3, 0.5), (0.5, 0.8), (0.8, 1.5)])
def test_the_interval_holds_the_truth_of_power_laws(low: float, high: float, noise: float) -> None:
    n_campaigns, inside = 150, 0
    for i in range(n_campaigns):
        rng = generator(0, "coverage", str(low), str(noise), i)
        plateau, gap, c = rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.8), math.exp(rng.uniform(*np.log([low, high])))
        labelled = np.round(rng.integers(10, 200) * (1 + rng.choice([0.5, 1, 2]) * np.arange(rng.integers(5, 13))))
        value = power(labelled, plateau, gap, c) + rng.normal(0, noise * plateau, len(labelled))
        found = forecast(labelled, np.clip(value, 0, 1))
        truth = labelled[0] * (gap / GAP) ** (1 / c)
        inside += min(found.low, MANY * found.labelled) <= truth <= found.high
    assert inside / n_campaigns >= 0.75


def test_clean_curves_are_told_closely_and_noise_widens() -> None:
    labelled = 40.0 * np.arange(1, 11)
    clean = power(labelled, 0.5, 0.6, 1.2)
    truth = 40 * 12 ** (1 / 1.2)
    found = forecast(labelled, clean)
    assert found.low <= truth <= found.high
    assert found.at == pytest.approx(truth, rel=0.2)
    assert found.plateau == pytest.approx(0.5, abs=0.02)
    noisy = [forecast(labelled, clean + generator(0, "noise", i).normal(0, 0.03, 10)) for i in range(21)]
    assert np.median([f.high / f.low for f in noisy]) > 1.5 * found.high / found.low
    # The units of labels do not matter.
    scaled = forecast(7 * labelled, clean)
    assert (scaled.low, scaled.at, scaled.high) == pytest.approx((7 * found.low, 7 * found.at, 7 * found.high))


def test_more_of_a_curve_narrows_the_interval() -> None:
    labelled = 40.0 * np.arange(1, 25)
    value = power(labelled, 0.5, 0.6, 1.0) + generator(0, "long").normal(0, 0.005, 24)
    widths = [math.log(f.high / f.low) for f in (forecast(labelled[:n], value[:n]) for n in (6, 12, 24))]
    assert widths[0] > widths[1] > widths[2]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([0.4, 0.4, 0.4, 0.4, 0.4, 0.4], r"^none: 95 % of plateau 40 % is reached$"),
        ([0.0, 0.0, 0.0, 0.0, 0.0, 0.0], r"^none to over 20 times what is labelled \(80 %\)$"),
        ([0.06, 0.13, 0.17, 0.19, 0.23, 0.25], r"^at least \d+, maybe over 20 times what is labelled \(80 %\)$"),
        ([0.6, 0.1, 0.5, 0.05, 0.4, 0.3], r"^none to over 20 times what is labelled \(80 %\)$"),
        ([0.25, 0.375, 0.41, 0.44, 0.45, 0.46], r"^about [\d,]+ \([\d,]+ to [\d,]+, 80 %\) to 95 % of plateau \d\d %$"),
    ],
)
def test_it_says_what_the_rounds_allow(value: list[float], says: str) -> None:

    assert re.search(says, str(forecast([20, 40, 60, 80, 100, 120], value)))


def test_a_falling_curve_gets_no_far_goal_for_certain() -> None:
    found = forecast([20, 40, 60, 80, 100], [0.5, 0.48, 0.46, 0.44, 0.42])
    assert found.more[1] == 0


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (Forecast(100, 242.4, 190.2, 508.8, 0.456, 6), "about 140 (90 to 410, 80 %) to 95 % of plateau 46 %"),
        (Forecast(100, 80, 60, 99, 0.456, 6), "none: 95 % of plateau 46 % is reached"),
        (Forecast(100, 90, 60, 159.7, 0.456, 6), "perhaps none, up to 60 (80 %), to 95 % of plateau 46 %"),
        (Forecast(100, 100.2, 60, 100.4, 0.5, 6), "about 1 (0 to 1, 80 %) to 95 % of plateau 50 %"),
        (Forecast(100, 300, 190, math.inf, 0.5, 6), "at least 90, maybe over 20 times what is labelled (80 %)"),
        (Forecast(100, 300, 90, math.inf, 0.5, 6), "none to over 20 times what is labelled (80 %)"),
        (Forecast(100, math.inf, math.inf, math.inf, 0.5, 6), "over 20 times what is labelled (80 %)"),
        (
            Forecast(9999, 23456, 18765, 199_980, 0.999, 6),
            "about 13,000 (8,800 to 190,000, 80 %) to 95 % of plateau 100 %",
        ),
    ],
)
def test_words(found: Forecast, says: str) -> None:
    assert str(found) == says


def test_json_has_whole_labels_and_null_for_an_open_end() -> None:
    assert Forecast(100, 242.4, 190.2, math.inf, 0.45678, 6).to_json() == {
        "share_of_plateau": 0.95,
        "level": 0.8,
        "more": 143,
        "more_low": 91,
        "more_high": None,
        "plateau": 0.4568,
        "points": 6,
    }


@settings(max_examples=150)
@given(
    points=st.lists(
        st.tuples(st.integers(1, 10**6), st.floats(0, 1)), min_size=4, max_size=14, unique_by=lambda p: p[0]
    ),
    again=st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1)), max_size=3),
)
def test_no_curve_is_too_odd(points: list[tuple[int, float]], again: list[tuple[int, float]]) -> None:
    points = points + [(points[i][0], value) for i, value in again]
    labelled, value = zip(*points, strict=True)
    found = forecast(labelled, value)
    assert 0 < found.low <= found.at <= found.high
    assert 0 <= found.plateau <= 1
    assert len(str(found)) <= 62
    backwards = forecast(labelled[::-1], value[::-1])
    for ours, theirs in ((found.low, backwards.low), (found.at, backwards.at), (found.high, backwards.high)):
        assert ours == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize(
    ("labelled", "value", "says"),
    [
        ([10, 20, 30], [0.1, 0.2, 0.3], "needs 4 rounds with different numbers of labels, not 3: annotate 1 more"),
        ([10, 10, 10, 10, 10], [0.1, 0.2, 0.3, 0.2, 0.1], "not 1: annotate 3 more"),
        ([], [], "not 0: annotate 4 more"),
        ([10, 20, 30, 40], [0.1, 0.2, math.nan, 0.3], "cannot use mAP nan at 30 labels"),
        ([10, 20, 30, 40], [0.1, 0.2, 42.0, 0.3], "cannot use mAP 42 at 30 labels"),
        ([0, 20, 30, 40], [0.1, 0.2, 0.3, 0.3], "cannot use mAP 0.1 at 0 labels"),
        ([10, 20, 30, math.inf], [0.1, 0.2, 0.3, 0.3], "at inf labels"),
        ([10, 20, 30, 40], [0.1, 0.2, 0.3], "one value per number of labels"),
    ],
)
def test_bad_input_is_named(labelled: list[float], value: list[float], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        forecast(labelled, value)


def test_rounds_missing() -> None:
    assert [rounds_missing(n) for n in ([], [5], [5, 5, 6], [1, 2, 3, 4], [1, 2, 3, 4, 5])] == [4, 3, 2, 0, 0]
