"""From invented curves, whose answers are known, to the figures and words of a report."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from kloc.experiments.comparing import Comparison, comparable, reached, reference_of
from kloc.experiments.curves import Arm, Curve, Point
from kloc.experiments.reporting import simulation_data, terminal_lines
from kloc.report.simulation import SimulationData

FACTS = {"set": "invented", "videos": "9 pool", "labelled at first": "10"}
#: Height of the plateau's approach: the larger, the better. In the paper's order.
SPEED = {"lal": 8.0, "mcle": 6.0, "us": 5.0, "random": 3.0, "us,mode=binary": 4.0}


def curve(
    strategy: str,
    seed: int = 0,
    batch: int = 10,
    noise: float = 0.0,
    *,
    until: float = 1.0,
    speed: float | None = None,
    minutes: float = 2.0,
    pool: int = 100,
    full: float = 0.25,
) -> Curve:
    """A curve ``1 - exp(-speed x)`` scaled to end at 1; seeds differ a little, strategies of a seed alike.

    It ends with the first whole batch beyond ``until``, as arms do.
    """
    labelled = [pool // 10]
    while labelled[-1] < until * pool - 1e-9:
        labelled.append(min(pool, labelled[-1] + batch))
    speed = (SPEED[strategy] if speed is None else speed) * (1 + 0.02 * seed)
    points = tuple(
        Point(n, n / pool, full * (1 - math.exp(-speed * n / pool)) / (1 - math.exp(-speed)), minutes * n)
        for n in labelled
    )
    return Curve(Arm(seed, strategy, "top", batch, noise), points, full)


def curves(seeds: int = 3, strategies: Sequence[str] = ("random", "us", "mcle", "lal"), **more: Any) -> list[Curve]:
    return [curve(strategy, seed, **more) for seed in range(seeds) for strategy in strategies]


def data(found: Sequence[Curve], **more: Any) -> SimulationData:
    asked: dict[str, Any] = {"simulated": True, "facts": FACTS, "gains": {}, "problems": []}
    return simulation_data(found, **(asked | more))


def by_hand(curve: Curve, end: float = 1.0) -> float:
    """The area of the paper, trapezoid by trapezoid, up to a ratio at which the curve has a point."""
    area = 0.0
    for a, b in itertools.pairwise(curve.points):
        if b.ratio <= end + 1e-9:
            area += (b.ratio - a.ratio) * (a.value + b.value) / 2 / curve.full
    return area


def test_figures_equal_those_taken_by_hand() -> None:
    found = curves(4)
    shown = data(found)
    assert [s.name for s in shown.strategies] == ["lal", "mcle", "us", "random"]
    for row in shown.strategies:
        areas = [by_hand(c) for c in found if c.arm.strategy == row.name]
        assert row.aulc is not None
        assert row.aulc_normalised is not None
        assert row.aulc.mean == pytest.approx(np.mean(areas))
        assert row.aulc_normalised.mean == pytest.approx(np.mean(areas) / 0.9)
        expected = ttest_1samp(areas, 0).confidence_interval(0.95)
        assert (row.aulc.low, row.aulc.high) == pytest.approx((expected.low, expected.high))
        assert row.full.mean == pytest.approx(0.25)
    gap = next(d for d in shown.differences if (d.ours, d.other) == ("lal", "random"))
    pairs = [by_hand(curve("lal", seed)) - by_hand(curve("random", seed)) for seed in range(4)]
    expected = ttest_1samp(pairs, 0).confidence_interval(0.95)
    assert (gap.labels.low, gap.labels.high) == pytest.approx((expected.low, expected.high))
    assert gap.verdict == "better"
    # Equal minutes a video: by minutes everything is as by labels, divided by the width.
    assert gap.minutes.mean == pytest.approx(np.mean(pairs) / 0.9)


def test_relative_saving_is_the_share_of_the_others_labels_that_is_not_needed() -> None:
    # Straight lines: the faster one gets everywhere with half of the labels.
    slow = Curve(Arm(0, "random", "top", 10, 0.0), (Point(10, 0.1, 0.1, 1), Point(100, 1.0, 1.0, 9)), 1.0)
    fast = Curve(
        Arm(0, "lal", "top", 10, 0.0), (Point(10, 0.1, 0.1, 1), Point(55, 0.55, 1.0, 5), Point(100, 1, 1, 9)), 1.0
    )
    shown = data([slow, fast])
    saving = next(s for s in shown.savings if s.ours == "lal")
    assert shown.saving_at == (0.15, 0.2, 0.3, 0.5, 0.7, 0.9)
    expected = [100 * (at - (0.1 + (at - 0.1) / 2)) / at for at in shown.saving_at]
    assert [v.mean for v in saving.values if v is not None] == pytest.approx(expected)
    other = next(s for s in shown.savings if s.ours == "random")
    # At 70 % the fast one has long had all there is: since 55 %. The slow one has it at 100 %.
    assert other.values[4] is not None
    assert other.values[4].mean == pytest.approx(100 * (0.55 - 1.0) / 0.55)


def test_a_level_that_not_all_seeds_reach_is_a_bound_and_one_that_none_reaches_is_said() -> None:
    good, bad = curve("us", 0), curve("us", 1, until=0.3, speed=0.5)
    both = reached([good, bad])
    alone = reached([good]).share
    assert alone is not None
    assert both.share is not None
    assert both.share.mean == pytest.approx((alone.mean + 0.3) / 2)
    assert both.text == f"> {100 * both.share.mean:.0f} % (1 of 2 seeds)"
    assert both.ends is None
    none = reached([bad])
    assert (none.share, none.text, none.until) == (None, "not reached", 0.3)


@pytest.mark.parametrize(
    ("speeds", "answer"),
    [
        ({}, "The paper's order is reproduced."),
        ({"us": 7.0}, "The paper's order is not reproduced."),
        ({"mcle": 2.0}, "The paper's order is not reproduced."),
    ],
)
def test_the_papers_order_is_judged_by_all_pairs(speeds: dict[str, float], answer: str) -> None:
    found = [curve(s, seed, speed=speeds.get(s)) for seed in range(5) for s in ("random", "us", "mcle", "lal")]
    order = data(found).order
    assert order[-1] == answer
    assert ("clearly the other way round: none" in order[2]) == (not speeds)
    if "mcle" in speeds:
        assert "us beats mcle, random beats mcle" in order[2]


def test_one_seed_can_tell_nothing_and_says_so() -> None:
    shown = data(curves(1))
    assert all(s.aulc is not None and s.aulc.low is None for s in shown.strategies)
    assert {d.verdict for d in shown.differences} == {"cannot tell with 1 seed"}
    assert "1 seed cannot tell 6 of 6 pairs apart" in shown.order[-1]
    assert not any(line.low for line in shown.learning.series)
    assert "One seed" in shown.learning.note
    assert any("may be chance" in sentence for sentence in shown.summary)


def test_some_of_the_papers_strategies_are_compared_without_the_others() -> None:
    order = data(curves(4, ("random", "lal"))).order
    assert order[-1] == "The paper's order is reproduced (without mcle, us, which were not run)."
    assert "Too few of these strategies" in data(curves(4, ("random", "us,mode=binary"))).order[-1]


def test_without_random_nothing_is_compared_with_it() -> None:
    shown = data(curves(3, ("lal", "us")))
    assert shown.baseline is None
    assert any("Random choice was not run" in sentence for sentence in shown.summary)
    assert [(d.ours, d.other) for d in shown.differences] == [("lal", "us")]


def test_curves_that_stop_early_are_compared_as_far_as_they_all_go() -> None:
    shown = data(curves(2, until=0.5))
    for row in shown.strategies:
        areas = [by_hand(curve(row.name, seed), 0.5) for seed in range(2)]
        assert row.aulc is not None
        assert row.aulc.mean == pytest.approx(np.mean(areas))
    assert "to 50 % labelled, the part that all compared campaigns have gone" in shown.interval_note
    assert shown.problems == ()


def test_an_unfinished_arm_is_left_out_where_its_strategy_has_others() -> None:
    found = curves(3)
    late = next(i for i, c in enumerate(found) if c.arm.strategy == "lal")
    found[late] = replace(found[late], points=found[late].points[:3], finished=False)
    shown = data(found)
    assert {s.name: s.full.n for s in shown.strategies} == {"lal": 2, "mcle": 3, "us": 3, "random": 3}
    assert "to 100 % labelled" in shown.interval_note
    assert "Left out: 1 campaign that failed or is unfinished." in shown.interval_note
    assert shown.problems == ("1 of 12 campaigns failed or are unfinished: s0-lal-top-b10-n0.000",)
    gap = next(d for d in shown.differences if (d.ours, d.other) == ("lal", "random"))
    assert gap.labels.n == 2


def cut(curve: Curve, n_points: int) -> Curve:
    return replace(curve, points=curve.points[:n_points], finished=False)


@pytest.mark.parametrize("n_points", [0, 1, 3])
def test_a_strategy_that_failed_spoils_no_other(n_points: int) -> None:
    found = [c if c.arm.strategy != "lal" else cut(c, n_points) for c in curves(2)]
    shown = data([c for c in found if c.points], asked=[c.arm for c in found])
    random = next(s for s in shown.strategies if s.name == "random")
    assert random.aulc is not None
    assert random.aulc.mean == pytest.approx(np.mean([by_hand(curve("random", s)) for s in range(2)]))
    assert [s.name for s in shown.strategies] == ["mcle", "us", "random"]
    assert "to 100 % labelled" in shown.interval_note
    assert "Left out: 2 campaigns that failed or are unfinished." in shown.interval_note
    assert "running" not in shown.interval_note
    assert "Not shown, since failed or unfinished: lal; see the known problems." in shown.summary
    assert "(without lal, which failed or is unfinished)" in shown.order[-1]
    assert shown.problems == (
        "2 of 8 campaigns failed or are unfinished: s0-lal-top-b10-n0.000, s1-lal-top-b10-n0.000",
    )


def test_what_failed_and_what_was_never_asked_for_are_told_apart() -> None:
    found = curves(4, ("us", "mcle"))
    asked = [c.arm for c in [*found, *curves(4, ("random",))]]
    shown = data(found, asked=asked)
    assert shown.order[-1].endswith("(without lal, which was not run; without random, which failed or is unfinished).")
    assert any("Random choice failed or is unfinished" in sentence for sentence in shown.summary)


def test_a_batch_without_a_finished_campaign_is_not_what_is_compared() -> None:
    found = [cut(c, 3) for c in curves(2, batch=64, pool=1000)] + curves(2, batch=16, pool=1000)
    assert (data(found).provenance["batch"], data(found).problems) == (
        "16",
        ("8 of 16 campaigns failed or are unfinished: " + ", ".join(
            f"s0-{name}-top-b64-n0.000" for name in ("lal", "mcle", "random", "us")
        ) + " and 4 more",),
    )  # fmt: skip


def test_before_any_campaign_is_finished_they_are_compared_as_far_as_all_got() -> None:
    found = [cut(c, 5) for c in curves(2)]
    found[0] = cut(found[0], 1)  # has no area, and leaves the others theirs
    shown = data(found)
    assert {s.name: s.full.n for s in shown.strategies} == {"lal": 2, "mcle": 2, "us": 2, "random": 1}
    us = next(s for s in shown.strategies if s.name == "us")
    assert us.aulc is not None
    assert us.aulc.mean == pytest.approx(np.mean([by_hand(curve("us", s), 0.5) for s in range(2)]))
    assert "No campaign has got to its end" in shown.interval_note


def test_first_points_alone_have_no_area() -> None:
    shown = data([cut(c, 1) for c in curves(2)])
    assert all(s.aulc is None for s in shown.strategies)
    assert (shown.differences, shown.savings, shown.cost, shown.batches) == ((), (), None, None)
    assert "Nothing has been chosen yet" in shown.interval_note
    json.dumps(shown.to_json(), allow_nan=False)


def test_nothing_learned_at_all_is_no_division_by_zero() -> None:
    shown = data([replace(c, full=0.0) for c in curves(2)])
    assert {s.to_80.text for s in shown.strategies} == {"not reached"}
    json.dumps(shown.to_json(), allow_nan=False)


def test_panels_of_batch_and_noise_appear_where_several_were_run() -> None:
    plain = data(curves(2))
    assert (plain.batches, plain.noises) == (None, None)
    more = curves(2)
    more += curves(2, batch=45, minutes=2.0) + curves(2, batch=30) + curves(2, noise=0.1) + curves(2, noise=0.3)
    shown = data(more)
    assert shown.batches is not None
    assert shown.noises is not None
    assert [line.x for line in shown.batches.series] == [(10.0, 30.0, 45.0)] * 4
    assert [line.x for line in shown.noises.series] == [(0.0, 0.1, 0.3)] * 4
    lal = shown.batches.series[0]
    assert lal.name == "lal"
    assert lal.mean[2] == pytest.approx(np.mean([by_hand(curve("lal", s, 45)) for s in range(2)]))
    assert [line.name for line in shown.batches.published] == ["mcle, paper"]
    # Half a curve cannot be laid beside the area of a whole one.
    half = data(curves(2, until=0.5) + curves(2, until=0.5, batch=20), until=0.5)
    assert half.batches is not None
    assert half.batches.published == ()


def test_batch_sizes_are_compared_with_random_choice_at_the_same_size() -> None:
    # One and the same random curve loses area by the batch alone; what lal is better by hardly changes.
    sizes = (1, 10, 30, 45)
    found = [c for batch in sizes for c in curves(3, ("random", "lal"), batch=batch)]
    found = [c for c in found if (c.arm.seed, c.arm.strategy, c.arm.batch) != (2, "random", 30)]
    shown = data(found)
    assert shown.batches is not None
    lal, random = shown.batches.series
    assert list(random.mean) == sorted(random.mean, reverse=True)
    assert random.mean[0] - random.mean[-1] > 0.03
    (gap,) = shown.batch_gaps
    assert (gap.name, gap.x, len(gap.low)) == ("lal less random", (1.0, 10.0, 30.0, 45.0), 4)
    pairs = [by_hand(curve("lal", s, 30)) - by_hand(curve("random", s, 30)) for s in range(2)]
    assert gap.mean[2] == pytest.approx(np.mean(pairs))
    assert gap.mean[0] == pytest.approx(lal.mean[0] - random.mean[0])
    assert "lies in the measure" in shown.batches.note
    assert shown.noise_gaps == ()


def test_noise_is_measured_against_labels_without_noise_and_the_page_says_so() -> None:
    shown = data(curves(2, noise=0.3) + curves(2, noise=0.1))
    assert "with all labels and no noise" in shown.protocol
    assert "no noise" in shown.headline[-1].note
    assert "no noise" in terminal_lines(shown)["full mAP"]
    assert [gap.name for gap in shown.noise_gaps] == ["lal less random", "mcle less random", "us less random"]


@pytest.mark.parametrize(
    ("policies", "said"),
    [
        (("top", "diverse"), None),
        (("cost-aware", "top"), "cost-aware reads the classes"),
        (("class-quota,k=1", "cost-aware"), "class-quota,k=1 and cost-aware read the classes"),
    ],
)
def test_policies_that_read_classes_beforehand_are_named(policies: tuple[str, ...], said: str | None) -> None:
    found = [replace(c, arm=replace(c.arm, policy=policy)) for policy in policies for c in curves(2, ("us",))]
    protocol = data(found).protocol
    assert ("ActivityNet JSON" in protocol) == (said is not None)
    assert said is None or said in protocol


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({(16, 0.0)}, (16, 0.0)),
        ({(1, 0.0), (64, 0.0), (256, 0.0)}, (64, 0.0)),
        ({(16, 0.0), (64, 0.0), (16, 0.3)}, (16, 0.0)),
        ({(16, 0.2), (64, 0.2), (16, 0.0)}, (16, 0.2)),
        ({(8, 0.0), (8, 0.1)}, (8, 0.0)),
        ({(8, 0.0), (32, 0.0)}, (8, 0.0)),
    ],
)
def test_the_reference_is_what_was_kept_while_the_other_varied(
    settings: set[tuple[int, float]], expected: tuple[int, float]
) -> None:
    found = [curve("us", 0, batch, noise) for batch, noise in sorted(settings)]
    assert reference_of(found) == expected
    assert reference_of(found[::-1]) == expected


@given(st.lists(st.integers(20, 400), min_size=2, max_size=3), st.integers(1, 64), st.sampled_from([0.3, 0.5, 1.0]))
def test_finished_campaigns_are_compared_wherever_their_last_batch_ends(
    pools: list[int], batch: int, until: float
) -> None:
    found = [
        curve(name, seed, batch, pool=pool, until=until) for seed, pool in enumerate(pools) for name in ("us", "random")
    ]
    seen = Comparison.of(found, until=until)
    assert sorted(c.arm for c in seen.all) == sorted(c.arm for c in found)
    assert (seen.finished, seen.left_out, seen.end) == (True, (), pytest.approx(until))
    half = [cut(c, 1) if c.arm.seed == 0 else c for c in found]
    assert comparable(half) == [c for c in found if c.arm.seed != 0]
    assert {c.arm.seed for c in Comparison.of(half, until=until).all} == set(range(1, len(pools)))


def test_pools_as_a_real_set_gave_them_leave_no_finished_campaign_out() -> None:
    found = [curve(n, s, 16, pool=p, until=0.5) for s, p in enumerate((450, 430, 441)) for n in ("us", "random")]
    assert len({float(c.x[-1]) for c in found}) == 3
    shown = data(found, until=0.5)
    assert {s.name: s.full.n for s in shown.strategies} == {"us": 3, "random": 3}
    assert shown.problems == ()
    assert "to 50 % labelled" in shown.interval_note
    assert "Left out" not in shown.interval_note


def test_a_dear_strategy_loses_by_minutes_what_it_wins_by_labels() -> None:
    found = [curve("random", seed) for seed in range(3)]
    for seed in range(3):
        dear = curve("us", seed, speed=4.0)
        # The same first labels, then videos of ten times the work, as long as there are any.
        later = tuple(replace(p, minutes=20 + min(180.0, 20.0 * (p.labelled - 10))) for p in dear.points)
        found.append(replace(dear, points=later))
    gap = next(d for d in data(found).differences if d.ours == "us")
    assert gap.labels.mean > 0 > gap.minutes.mean
    assert gap.verdict == "better"


def test_bands_lie_around_the_mean_of_the_seeds() -> None:
    found = curves(5)
    line = data(found).learning.series[0]
    at_half = [float(np.interp(0.5, c.x, c.y)) for c in found if c.arm.strategy == "lal"]
    assert float(np.interp(0.5, line.x, line.mean)) == pytest.approx(np.mean(at_half))
    assert all(low <= mean <= high for low, mean, high in zip(line.low, line.mean, line.high, strict=True))
    assert Comparison.of(found).seeds == [0, 1, 2, 3, 4]


def test_two_policies_are_two_rows() -> None:
    other = [replace(c, arm=replace(c.arm, policy="diverse")) for c in curves(2, ("us",))]
    names = [s.name for s in data(curves(2) + other).strategies]
    assert names == ["lal · top", "mcle · top", "us · diverse", "us · top", "random · top"]


def test_what_lal_learned_is_told() -> None:
    good = {
        "rank_correlation": 0.2, "rank_correlation_interval": [0.1, 0.3], "rank_correlation_by_share": {"0.1": 0.25},
        "gain_mean": 1e-4, "gain_std": 2e-4, "states": 100,
    }  # fmt: skip
    lessons = data(curves(2), gains={1: good, 0: {"rank_correlation": 0.01, "rank_correlation_interval": []}}).lessons
    assert [(x.seed, x.close_to_random, x.interval) for x in lessons] == [(0, True, None), (1, False, (0.1, 0.3))]
    assert lessons[1].by_share == {"0.1": 0.25}


def test_simulated_features_are_in_the_title_and_real_ones_are_not() -> None:
    assert data(curves(2)).title == "Simulated campaigns on invented, simulated features"
    assert data(curves(2), simulated=False).title == "Simulated campaigns on invented"
    assert "invented from them" not in data(curves(2), simulated=False).protocol


def test_the_json_holds_every_figure_and_equal_curves_in_any_order_give_equal_reports() -> None:
    found = curves(3) + curves(3, batch=30)
    made = data(found).to_json()
    assert made == data(found[::-1]).to_json()
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    assert made["strategies"][0]["aulc"]["n"] == 3
    assert made["published"]["labels_to_80"]["lal"] == 0.35


def test_an_order_that_differs_by_chance_is_not_called_the_other_way_round() -> None:
    found = [curve(s, 0, speed=7.0 if s == "us" else None) for s in ("random", "us", "mcle", "lal")]
    assert data(found).order[-1] == (
        "The paper's order is not reproduced, though no pair is clearly the other way round."
    )


@pytest.mark.parametrize("seeds", [1, 10])
def test_the_terminal_shows_a_line_per_strategy_in_80_columns(seeds: int) -> None:
    lines = terminal_lines(data(curves(seeds, tuple(SPEED))))
    assert list(lines) == [
        "features", "strategy", "lal", "mcle", "us", "us,mode=binary", "random", "full mAP", "seeds", "order",
    ]  # fmt: skip
    width = max(map(len, lines))
    for name in SPEED:
        assert width + 2 + len(lines[name]) <= 80
    assert ("better" in lines["lal"]) == (seeds > 1)
    assert ("cannot tell" in lines["lal"]) == (seeds == 1)
    assert lines["random"].count("0.") == 1


def test_no_curves_are_an_error() -> None:
    with pytest.raises(ValueError, match="no curves"):
        data([])
