"""Learning curves: slow references, the numbers of the papers, and what single seeds cannot say."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st

from kloc.experiments.curves import (
    Arm,
    Curve,
    Point,
    aligned,
    area,
    aulc,
    aulc_minutes,
    common_end,
    estimate,
    first_reached,
    paired_difference,
    ratio_to,
    relative_saving,
)

ARM = Arm(0, "us", "top", 64, 0.0)


def curve(points, *, full: float = 1.0, seed: int = 0, strategy: str = "us", minutes_per_label: float = 2.0) -> Curve:
    """A curve through ``(ratio, value)``, of a pool of 1000 videos."""
    made = [Point(round(1000 * x), x, y * full, minutes_per_label * 1000 * x) for x, y in points]
    return Curve(Arm(seed, strategy, "top", 64, 0.0), tuple(made), full)


# Multiples of 1/64 add and subtract without rounding: a reference in fractions is exact.
shares = st.integers(1, 64).map(lambda n: n / 64)
heights = st.integers(0, 64).map(lambda n: n / 64)


@st.composite
def lines(draw, min_size: int = 2):
    x = sorted(draw(st.sets(shares, min_size=min_size, max_size=12)))
    return [(a, draw(heights)) for a in x]


@st.composite
def lines_and_places(draw):
    points = draw(lines())
    low, high = sorted([draw(shares), draw(shares)])
    return points, low, high


def slow_value(points, x) -> Fraction:
    points = [(Fraction(a), Fraction(b)) for a, b in points]
    x = Fraction(x)
    if x <= points[0][0]:
        return points[0][1]
    for (a, p), (b, q) in itertools.pairwise(points):
        if x <= b:
            return p + (q - p) * (x - a) / (b - a)
    return points[-1][1]


def slow_area(points, low, high) -> Fraction:
    places = sorted({Fraction(low), Fraction(high)} | {Fraction(a) for a, _ in points if low < a < high})
    total = Fraction(0)
    for a, b in itertools.pairwise(places):
        total += (b - a) * (slow_value(points, a) + slow_value(points, b)) / 2
    return total


def slow_first(points, level) -> Fraction | None:
    level, best = Fraction(level), Fraction(points[0][1])
    if best >= level:
        return Fraction(points[0][0])
    for (a, _), (b, q) in itertools.pairwise(points):
        a, b, q = Fraction(a), Fraction(b), Fraction(q)
        if q >= level:
            return a + (b - a) * (level - best) / (q - best)
        best = max(best, q)
    return None


@given(lines_and_places())
def test_area_equals_a_slow_exact_one(drawn) -> None:
    points, low, high = drawn
    x, y = np.array(points).T
    assert area(x, y, low, high) == pytest.approx(float(slow_area(points, low, high)), abs=1e-12)


@given(lines(min_size=1), heights)
def test_the_first_place_equals_a_slow_exact_one(points, level) -> None:
    x, y = np.array(points).T
    found, expected = first_reached(x, y, level), slow_first(points, level)
    if expected is None:
        assert found is None
    else:
        assert found == pytest.approx(float(expected), abs=1e-12)
    assert ratio_to(curve(points), level) == found


@given(lines(), shares)
def test_no_curve_saves_anything_against_itself(points, at) -> None:
    mine = curve(points)
    saved = relative_saving(mine, mine, at)
    if points[0][0] <= at <= points[-1][0]:
        assert saved == 0
    else:
        assert saved is None


@given(lines(), lines(), shares)
def test_relative_saving_equals_a_slow_one(ours, theirs, at) -> None:
    assume(theirs[0][0] <= at <= theirs[-1][0])
    best, highest = [], 0.0
    for x, y in theirs:
        highest = max(highest, y)
        best.append((x, highest))
    level = slow_value(best, at)
    assume(level.denominator < 10_000)
    n_b, n_a = slow_first(theirs, level), slow_first(ours, level)
    found = relative_saving(curve(ours), curve(theirs), at)
    near_top = abs(level - max(Fraction(y) for _, y in ours)) < Fraction(1, 10**9)
    assume(not near_top or level == Fraction(float(level)))  # where rounding decides whether it is reached
    if n_a is None:
        assert found is None
    else:
        assert found == pytest.approx(float(100 * (n_b - n_a) / n_b), abs=1e-6)


def test_areas_of_the_paper() -> None:
    assert aulc(curve([(0.1, 1), (1, 1)])) == pytest.approx(0.9)
    assert aulc(curve([(0.1, 1), (1, 1)]), normalised=True) == pytest.approx(1.0)
    shape = curve([(0.1, 0.45), (0.36, 0.8), (1, 1)], full=0.3)
    assert 0.73 <= aulc(shape) <= 0.745
    assert aulc(shape, normalised=True) == pytest.approx(0.82, abs=0.005)
    assert ratio_to(shape) == pytest.approx(0.36)


@pytest.mark.parametrize(
    ("points", "level", "expected"),
    [
        ([(0.1, 0.4), (0.5, 0.8)], 0.6, 0.3),
        ([(0.1, 0.9), (0.5, 1.0)], 0.8, 0.1),
        ([(0.1, 0.4), (0.2, 0.7), (0.3, 0.5), (0.5, 0.9)], 0.8, 0.4),  # on the running maximum: from .7 at .3
        ([(0.1, 0.4), (0.5, 0.79)], 0.8, None),
        ([(0.1, 0.8)], 0.8, 0.1),
    ],
)
def test_ratio_to_a_share_of_the_full_map(points, level, expected) -> None:
    assert ratio_to(curve(points, full=0.25), level) == (None if expected is None else pytest.approx(expected))


def test_savings_above_and_below_zero_and_unknown() -> None:
    slow = curve([(0.1, 0.2), (0.9, 1.0)])
    quick = curve([(0.1, 0.2), (0.5, 1.0)])
    assert relative_saving(quick, slow, 0.9) == pytest.approx(100 * (0.9 - 0.5) / 0.9)
    assert relative_saving(slow, quick, 0.5) == pytest.approx(100 * (0.5 - 0.9) / 0.5)  # needs more
    assert relative_saving(curve([(0.1, 0.2), (0.9, 0.5)]), slow, 0.9) is None
    assert relative_saving(quick, slow, 0.95) is None
    assert relative_saving(quick, slow, 0.05) is None


def test_relative_saving_of_the_published_table() -> None:
    x = (0.05, 0.1, 0.15, 0.2, 0.25)
    random = curve(zip(x, (26.21, 31.93, 33.45, 33.79, 33.85), strict=True))
    for values, expected in [
        ((26.21, 34.77, 36.19, 36.45, 36.59), (0, 16.6, 38.5, 52.9, 62.2)),
        ((26.21, 34.81, 36.41, 36.75, 36.88), (0, 16.7, 38.6, 53.0, 62.2)),
    ]:
        ours = curve(zip(x, values, strict=True))
        assert [relative_saving(ours, random, at) for at in x] == pytest.approx(expected, abs=0.06)


def test_a_plateau_of_the_baseline_is_no_saving_of_either_side() -> None:
    # Both wobble; were labels counted at the end of a plateau, each would save against the other.
    one = curve([(0.1, 0.2), (0.3, 0.6), (0.6, 0.5), (1.0, 1.0)])
    other = curve([(0.1, 0.2), (0.3, 0.6), (0.6, 0.55), (1.0, 1.0)])
    assert relative_saving(one, other, 0.6) == 0
    assert relative_saving(other, one, 0.6) == 0


def test_curves_that_end_early() -> None:
    short, whole = curve([(0.1, 0.5), (0.4, 0.8)]), curve([(0.1, 0.5), (0.4, 0.8), (1, 1)])
    assert common_end([short, whole]) == 0.4
    assert aulc(short) == pytest.approx(aulc(whole, 0.4))
    assert aulc(short) == pytest.approx(0.3 * 0.65)
    with pytest.raises(ValueError, match=r"ends at 0\.400"):
        aulc(short, 0.5)
    alone = curve([(0.1, 0.5)])
    assert aulc(alone) == 0
    assert aulc(alone, normalised=True) == 0.5
    # Pools of two seeds differ in size, so one curve may begin where the other ends.
    assert aulc(curve([(0.102, 0.5), (1, 1)]), 0.1) == 0
    assert aulc(curve([(0.102, 0.5), (1, 1)]), 0.1, normalised=True) == 0.5


def test_area_against_minutes() -> None:
    shape = curve([(0.1, 0.4), (0.5, 0.8), (1, 1)], minutes_per_label=3.0)
    assert aulc_minutes(shape, 3000.0) == pytest.approx(aulc(shape, normalised=True))
    assert aulc_minutes(shape, 3000.0, until=0.5) == pytest.approx(0.6)
    assert aulc_minutes(shape, 3000.0, until=2.0) == pytest.approx(aulc_minutes(shape, 3000.0))
    assert aulc_minutes(curve([(0.1, 0.4)]), 3000.0) == pytest.approx(0.4)


def test_nothing_found_with_all_labels_gives_zeros() -> None:
    nothing = Curve(ARM, (Point(1, 0.1, 0.0, 1.0), Point(10, 1.0, 0.0, 10.0)), 0.0)
    assert nothing.y.tolist() == [0, 0]
    assert aulc(nothing) == 0
    assert ratio_to(nothing) is None


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=12))
def test_the_interval_is_students(values) -> None:
    assume(np.std(values) > 1e-6)
    found = estimate(values)
    low, high = scipy.stats.t.interval(0.95, len(values) - 1, np.mean(values), scipy.stats.sem(values))
    assert found[:3] == pytest.approx((np.mean(values), low, high), rel=1e-9, abs=1e-9)
    assert min(values) - 1e-9 <= found.boot_low <= found.mean + 1e-9
    assert found.mean - 1e-9 <= found.boot_high <= max(values) + 1e-9
    assert found.n == len(values)
    assert estimate(values) == found


def test_the_bootstrap_is_about_as_wide_as_a_normal_interval() -> None:
    values = np.random.default_rng(3).normal(size=200)
    found = estimate(values)
    assert found.boot_high - found.boot_low == pytest.approx(2 * 1.96 * values.std() / math.sqrt(200), rel=0.05)


def test_a_single_value_has_no_interval_and_none_is_an_error() -> None:
    alone = estimate([0.5])
    assert alone.mean == 0.5
    assert all(map(math.isnan, alone[1:5]))
    assert alone.verdict == "cannot tell with 1 seed"
    with pytest.raises(ValueError, match="nothing to estimate"):
        estimate([])


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([0.1, 0.11, 0.12], "better"),
        ([-0.1, -0.11, -0.12], "worse"),
        ([-0.1, 0.2, 0.0], "cannot tell with 3 seeds"),
        ([0.0, 0.0], "cannot tell with 2 seeds"),
    ],
)
def test_verdicts(values, verdict) -> None:
    assert estimate(values).verdict == verdict


def test_differences_are_paired_by_seed() -> None:
    levels = {0: 0.2, 1: 0.8, 2: 0.5, 3: 0.4}
    ours = [curve([(0.1, y + 0.01), (1, y + 0.01)], seed=s) for s, y in levels.items() if s != 3]
    theirs = [curve([(0.1, y), (1, y)], seed=s, strategy="random") for s, y in reversed(levels.items())]
    gap = paired_difference(ours, theirs)
    assert gap.n == 3
    assert gap[:3] == pytest.approx((0.009, 0.009, 0.009))  # the same in every seed, whatever the level
    assert gap.verdict == "better"
    assert paired_difference(theirs, ours).mean == pytest.approx(-0.009)


def test_differences_go_as_far_as_the_shortest_curve() -> None:
    ours = [curve([(0.1, 0.5), (0.5, 0.5)], seed=0)]
    theirs = [curve([(0.1, 0.4), (0.5, 0.4), (1, 1)], seed=0, strategy="random")]
    assert paired_difference(ours, theirs).mean == pytest.approx(0.04)
    assert paired_difference(ours, theirs, 0.3).mean == pytest.approx(0.02)


def test_what_cannot_be_paired_is_an_error() -> None:
    one, two = curve([(0.1, 1), (1, 1)], seed=1), curve([(0.1, 1), (1, 1)], seed=2)
    with pytest.raises(ValueError, match="no seed in common"):
        paired_difference([one], [two])
    with pytest.raises(ValueError, match="occurs twice"):
        paired_difference([one, one], [one])


def test_bands() -> None:
    grid = np.array([0.1, 0.55, 1.0])
    curves = [curve([(0.1, 0.2), (1, 1)], seed=0), curve([(0.1, 0.4), (0.55, 0.8), (1, 1)], seed=1)]
    band = aligned(curves, grid)
    assert band.mean == pytest.approx([0.3, 0.7, 1.0])
    assert band.std == pytest.approx([math.sqrt(0.02), math.sqrt(0.02), 0])
    each = [estimate(values) for values in ([0.2, 0.4], [0.6, 0.8], [1.0, 1.0])]
    assert band.low == pytest.approx([e.low for e in each])
    assert band.high == pytest.approx([e.high for e in each])
    alone = aligned(curves[:1], grid)
    assert alone.low == pytest.approx(alone.mean)
    assert alone.high == pytest.approx([0.2, 0.6, 1.0])
    by_minutes = aligned(curves[:1], grid, of_minutes=4000.0)  # the whole pool of these takes 2000
    assert by_minutes.mean == pytest.approx([0.2 + 0.8 * (0.2 - 0.1) / 0.9, 1.0, 1.0])


def test_names_of_arms_are_files_and_differ() -> None:
    arms = [
        Arm(0, "us", "top", 1, 0.0), Arm(0, "us,mode=binary", "top", 1, 0.0), Arm(0, "us", "diverse", 1, 0.0),
        Arm(1, "us", "top", 1, 0.0), Arm(0, "us", "top", 11, 0.0), Arm(0, "us", "top", 1, 0.1),
    ]  # fmt: skip
    names = [arm.name for arm in arms]
    assert len(set(names)) == len(names)
    assert not set("".join(names)) & set("/\\ ,:")
