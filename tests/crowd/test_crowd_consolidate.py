from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from statistics import median
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kloc.crowd.agreement import agreement, match
from kloc.crowd.consolidate import ConsolidationSettings, WorkerAnswer, consolidate
from kloc.crowd.consolidation.boundaries import weighted_median
from kloc.crowd.consolidation.cluster import cluster
from kloc.crowd.consolidation.marks import Marks
from kloc.crowd.simulate import SimulatedWorker, default_crew, simulated_answer
from kloc.errors import KlocError, UsageError
from kloc.records import Annotation, Instance, Item
from kloc.seeds import generator

ITEM = Item("v", 0.0, 60.0)
METHODS = ("em", "median")


def said(worker: str, *pairs: tuple[float, float], item: Item = ITEM, label: str = "a") -> WorkerAnswer:
    segments = tuple(Instance(start, end, label) for start, end in pairs)
    return WorkerAnswer(item, worker, f"{item.video_id}-{worker}", ("a",), segments)


def times(answers: list[WorkerAnswer], method: Any, **changes: Any) -> list[tuple[float, float]]:
    found = consolidate(answers, ["a"], ConsolidationSettings(method=method, **changes))
    return [(i.start, i.end) for i in found.items[ITEM].instances]


# --- clustering ------------------------------------------------------------------------------------------------------


def slow_cluster(segments: list[tuple[int, int]], workers: list[int], threshold: Fraction) -> list[tuple[int, ...]]:
    """Average link in exact arithmetic, straight from its definition."""

    def tiou(a: int, b: int) -> Fraction:
        (s, e), (t, f) = segments[a], segments[b]
        shared = max(min(e, f) - max(s, t), 0)
        return Fraction(shared, (e - s) + (f - t) - shared)

    groups = [(i,) for i in range(len(segments))]
    while True:
        best: tuple[Fraction, tuple[int, ...], tuple[int, ...]] | None = None
        for one, two in combinations(sorted(groups), 2):
            if {workers[i] for i in one} & {workers[i] for i in two}:
                continue
            average = sum((tiou(i, j) for i in one for j in two), Fraction(0)) / (len(one) * len(two))
            if average >= threshold and (best is None or average > best[0]):
                best = (average, one, two)
        if best is None:
            return sorted(groups)
        _, one, two = best
        groups = [g for g in groups if g not in (one, two)] + [tuple(sorted(one + two))]


drawn = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 30), st.integers(1, 15), st.integers(0, 4)), max_size=14)


@settings(deadline=None)
@given(drawn, st.sampled_from([Fraction(7, 20), Fraction(1, 10), Fraction(3, 4)]))
def test_clustering_agrees_with_the_slow_reference(found: list[tuple[int, int, int, int]], threshold: Fraction) -> None:
    flat = sorted((question, start, start + length, worker) for question, start, length, worker in found)
    marks = as_marks(flat)
    roots = cluster(marks, float(threshold))
    fast = sorted(tuple(np.flatnonzero(roots == root).tolist()) for root in np.unique(roots))
    slow = []
    for question in (0, 1):
        mine = [i for i, row in enumerate(flat) if row[0] == question]
        groups = slow_cluster([flat[i][1:3] for i in mine], [flat[i][3] for i in mine], threshold)
        slow += [tuple(mine[i] for i in group) for group in groups]
    assert fast == sorted(slow)
    for group in fast:
        assert len({flat[i][3] for i in group}) == len(group)


def as_marks(rows: list[tuple[int, Any, Any, int]]) -> Marks:
    """From (question, low, high, slot)."""
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    return Marks(table[:, 0].astype(int), table[:, 3].astype(int), table[:, 1], table[:, 2]).sorted()


@settings(deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.floats(-50, 50), st.sampled_from([0.0, 0.25, 1.0, 3.0])), min_size=3, max_size=3).filter(
            lambda row: any(weight > 0 for _, weight in row)
        ),
        min_size=1,
        max_size=5,
    )
)
def test_weighted_median_agrees_with_repetition(rows: list[list[tuple[float, float]]]) -> None:
    values, weights = np.array(rows)[:, :, 0], np.array(rows)[:, :, 1]
    slow = [median(v for v, w in row for _ in range(int(4 * w))) for row in rows]
    np.testing.assert_allclose(weighted_median(values, weights), slow, atol=1e-12)


# --- consolidation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_three_identical_answers_give_the_same_segments(method: Any) -> None:
    answers = [said(worker, (3.25, 8.5), (20.125, 31.0)) for worker in "xyz"]
    assert times(answers, method) == [(3.25, 8.5), (20.125, 31.0)]


@pytest.mark.parametrize("method", METHODS)
def test_nobody_sees_anything(method: Any) -> None:
    found = consolidate([said(worker) for worker in "xyz"], ["a"], ConsolidationSettings(method=method))
    assert found.annotations == {ITEM: Annotation(ITEM, (), frozenset({"a"}))}
    assert not found.items[ITEM].provisional
    assert found.items[ITEM].assignments == ("v-x", "v-y", "v-z")
    assert consolidate([], ["a"], ConsolidationSettings(method=method)).items == {}


@pytest.mark.parametrize("method", METHODS)
def test_two_of_three_agree_and_one_invents(method: Any) -> None:
    answers = [said("x", (10, 20)), said("y", (11, 21)), said("z", (40, 50))]
    assert times(answers, method) == [pytest.approx((10.5, 20.5))]
    found = consolidate(answers, ["a"], ConsolidationSettings(method=method)).items[ITEM]
    assert [(i.start, i.end, i.support, i.asked) for i in found.rejected] == [(40, 50, 1, 3)]
    assert [(i.start_spread, i.end_spread) for i in found.instances] == [(0.5, 0.5)]


def test_median_needs_more_than_half() -> None:
    assert times([said("x", (10, 20)), said("y")], "median") == []
    assert times([said("x", (10, 20)), said("y", (10, 20)), said("z"), said("q")], "median") == []
    assert times([said("x", (10, 20))], "median") == [(10, 20)]


def test_a_plain_median_ignores_one_wild_boundary() -> None:
    answers = [said("x", (10, 20)), said("y", (11, 21)), said("z", (12, 29))]
    assert times(answers, "median") == [(11, 21)]


def test_a_worker_marks_two_and_is_never_merged_with_themself() -> None:
    answers = [said("x", (10, 20), (11, 21)), said("y", (10, 20)), said("z", (10.5, 20.5))]
    found = consolidate(answers, ["a"], ConsolidationSettings(method="median")).items[ITEM]
    assert [i.support for i in (*found.instances, *found.rejected)] == [3, 1]


def test_classes_do_not_mix_and_only_who_was_asked_votes() -> None:
    both = ("a", "b")
    answers = [
        WorkerAnswer(ITEM, "x", "1", both, (Instance(1, 5, "a"), Instance(1, 5, "b"))),
        WorkerAnswer(ITEM, "y", "2", ("a",), (Instance(1, 5, "a"),)),
        WorkerAnswer(ITEM, "z", "3", ("a",), ()),
    ]
    found = consolidate(answers, both, ConsolidationSettings(method="median")).items[ITEM]
    assert [(i.label, i.support, i.asked) for i in found.instances] == [("a", 2, 3), ("b", 1, 1)]
    assert found.classes == both
    assert found.annotation.exhaustive_for == {"a", "b"}
    for bad in (said("x", (1, 2), label="c"), WorkerAnswer(ITEM, "x", "1", ("a", "c"), ())):
        with pytest.raises(KlocError, match="class 'c' was not asked about"):
            consolidate([bad], ["a"])
    with pytest.raises(KlocError, match="unknown consolidation method"):
        ConsolidationSettings(method="mean")  # type: ignore[arg-type]


def test_of_two_answers_of_one_worker_the_first_by_id_counts() -> None:
    first = WorkerAnswer(ITEM, "x", "1", ("a",), (Instance(1, 5, "a"),))
    second = WorkerAnswer(ITEM, "x", "2", ("a",), (Instance(30, 50, "a"),))
    for answers in ([first, second], [second, first]):
        found = consolidate(answers, ["a"], ConsolidationSettings(method="median")).items[ITEM]
        assert [(i.start, i.asked) for i in found.instances] == [(1, 1)]
        assert found.assignments == ("1", "2")


def campaign(seed: int, videos: int, k: int, crew: list[SimulatedWorker]) -> tuple[list[WorkerAnswer], dict[Item, Any]]:
    answers, truth = [], {}
    for index in range(videos):
        rng = generator(seed, "video", index)
        item, cursor, instances = Item(f"v{index:03d}", 0.0, float(rng.uniform(30, 120))), 0.0, []
        for _ in range(int(rng.poisson(2.2))):
            start = cursor + 0.5 + float(rng.exponential(8))
            cursor = start + float(rng.lognormal(2, 0.8))
            if cursor < item.end:
                instances.append(Instance(start, cursor, "a"))
        truth[item] = tuple(instances)
        for who in rng.permutation(len(crew))[:k]:
            data = simulated_answer(crew[who], seed, item.video_id, item.duration, instances, ["a"])
            segments = tuple(Instance(s["start"], s["end"], "a") for s in data["segments"])
            answers.append(WorkerAnswer(item, crew[who].name, f"{item.video_id}-{who:02d}", ("a",), segments))
    return answers, truth


def crowd_of(n: int, seed: int) -> list[SimulatedWorker]:
    crew = []
    for index in range(n):
        rng = generator(seed, "skill", index)
        crew.append(
            SimulatedWorker(
                f"w{index:02d}",
                miss=float(rng.beta(2, 8)),
                false_alarms=float(rng.gamma(2, 0.15)),
                spread=float(np.exp(rng.normal(np.log(0.6), 0.5))),
                spammer=index % 10 == 9,
            )
        )
    return crew


def score(found: Any, truth: dict[Item, Any], threshold: float) -> float:
    pairs = [match(found.get(item, ()), truth[item], threshold) for item in truth]
    return 2 * sum(len(p.tious) for p in pairs) / sum(p.n_first + p.n_second for p in pairs)


def test_em_beats_the_median_and_that_a_single_worker() -> None:
    crew = crowd_of(30, 1)
    answers, truth = campaign(1, 120, 5, crew)
    single = score({a.item: a.segments for a in answers}, truth, 0.5)
    by = {
        method: {
            item: annotation.instances
            for item, annotation in consolidate(
                answers, ["a"], ConsolidationSettings(method=method)
            ).annotations.items()
        }
        for method in ("em", "median")
    }
    assert score(by["em"], truth, 0.5) > score(by["median"], truth, 0.5) + 0.05 > single + 0.15
    assert score(by["em"], truth, 0.75) > score(by["median"], truth, 0.75) + 0.02
    assert score(by["em"], truth, 0.5) > 0.95
    workers = consolidate(answers, ["a"]).workers
    honest = [r for name, r in workers.items() if not crew[int(name[1:])].spammer]
    spam = [r for name, r in workers.items() if crew[int(name[1:])].spammer]
    assert max(r.sensitivity for r in spam) < min(r.sensitivity for r in honest)
    assert sum(r.answers for r in workers.values()) == 600


def test_order_of_answers_does_not_matter_and_nothing_is_random() -> None:
    answers, _ = campaign(2, 20, 4, crowd_of(8, 2))
    shuffled = [answers[i] for i in np.random.default_rng(0).permutation(len(answers))]
    for method in METHODS:
        settings_ = ConsolidationSettings(method=method)
        first = consolidate(answers, ["a"], settings_)
        assert consolidate(shuffled, ["a"], settings_) == first
        assert list(consolidate(shuffled, ["a"], settings_).items) == sorted(first.items)


def test_gold_tells_careless_workers_from_careful_ones() -> None:
    # x and y agree on inventions; gold says that there is nothing, so elsewhere z is believed.
    golds = [Item(f"gold{i}", 0.0, 60.0) for i in range(8)]
    answers = [said(w, (5, 15), item=g) for g in golds for w in "xy"] + [said("z", item=g) for g in golds]
    answers += [said("x", (10, 20)), said("y", (10, 20)), said("z", (40, 50))]
    truth = {g: Annotation(g, ()) for g in golds}
    assert times(answers, "em")[:1] == [(10, 20)]
    judged = consolidate(answers, ["a"], gold=truth)
    assert all(i.confidence == 0 for g in golds for i in judged.items[g].rejected)
    assert judged.workers["x"].false_alarm > 3 * judged.workers["z"].false_alarm
    plain = consolidate(answers, ["a"])
    before = {i.start: i.confidence for i in (*plain.items[ITEM].instances, *plain.items[ITEM].rejected)}
    after = {i.start: i.confidence for i in (*judged.items[ITEM].instances, *judged.items[ITEM].rejected)}
    assert after[10] < before[10]
    assert after[40] > before[40]
    missed = consolidate(answers, ["a"], gold={g: Annotation(g, (Instance(40, 50, "a"),)) for g in golds})
    assert missed.workers["z"].sensitivity < judged.workers["z"].sensitivity


def test_doubtful_items_are_provisional() -> None:
    split = [said("x", (10, 20)), said("y")]
    assert consolidate(split, ["a"]).items[ITEM].provisional
    sure = [said(w, (10, 20)) for w in "vwxyz"]
    assert not consolidate(sure, ["a"]).items[ITEM].provisional


segment_lists = st.lists(st.tuples(st.floats(0, 50), st.floats(0.1, 10)).map(lambda p: (p[0], p[0] + p[1])), max_size=4)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("vwxyz"), segment_lists, min_size=1), st.sampled_from(METHODS))
def test_whatever_is_said_the_outcome_is_sane(opinions: dict[str, Any], method: Any) -> None:
    answers = [said(worker, *pairs) for worker, pairs in opinions.items()]
    found = consolidate(answers, ["a"], ConsolidationSettings(method=method)).items[ITEM]
    low = min((s.start for a in answers for s in a.segments), default=0)
    high = max((s.end for a in answers for s in a.segments), default=0)
    for i in (*found.instances, *found.rejected):
        assert low <= i.start < i.end <= high
        assert 0 < i.confidence <= 1
        assert 1 <= i.support <= i.asked == len(opinions)
    if method == "median":
        supports = [i.support for i in (*found.instances, *found.rejected)]
        assert sum(supports) == sum(len(set(p)) for p in opinions.values())


# --- simulated workers -----------------------------------------------------------------------------------------------


def test_an_answer_depends_on_seed_item_and_worker_alone() -> None:
    truth, crew = [Instance(5, 15, "a"), Instance(30, 42, "b")], default_crew(5, 6)
    first = [simulated_answer(w, 5, "item", 60.0, truth, ["a"]) for w in crew]
    assert first == [simulated_answer(w, 5, "item", 60.0, truth, ["a"]) for w in default_crew(5, 6)]
    assert first != [simulated_answer(w, 6, "item", 60.0, truth, ["a"]) for w in crew]
    assert len({str(a["segments"]) for a in first}) > 3
    assert [w.spammer for w in crew] == [False] * 5 + [True]
    assert default_crew(5, 3) == crew[:3]


@given(st.integers(0, 10**6), st.floats(0.5, 200))
def test_simulated_answers_are_legal_and_know_only_what_was_asked(seed: int, duration: float) -> None:
    worker = SimulatedWorker("w", 0.2, 0.8, 0.5, 1.0, 0.3, 0.3, 0.3, 0.2, spammer=seed % 5 == 0)
    truth = [Instance(0, duration, "a"), Instance(duration * 0.4, duration * 0.9, "b"), Instance(1, 2, "secret")]
    answer = simulated_answer(worker, seed, "item", duration, truth, ["a", "b"])
    assert answer["none"] == (not answer["segments"])
    assert answer["seconds_spent"] >= 0
    for s in answer["segments"]:
        assert 0 <= s["start"] < s["end"] <= duration + 0.001
        assert s["label"] in ("a", "b")


def test_bad_habits_are_refused() -> None:
    with pytest.raises(UsageError, match=r"miss 1\.5 is not a probability"):
        SimulatedWorker("w", miss=1.5)
    with pytest.raises(UsageError, match="not below 0"):
        SimulatedWorker("w", spread=-1)


# --- agreement -------------------------------------------------------------------------------------------------------


def test_agreement_by_hand() -> None:
    answers = [said("x", (10, 20), (40, 50)), said("y", (10, 20)), said("z", (11, 21))]
    found = agreement(answers)
    # x-y: 1 match of 2 + 1; x-z the same; y-z: 1 match of 1 + 1.
    assert found.pairs == 3
    assert found.pairwise_f1 == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert found.matched_tiou == pytest.approx((1 + 9 / 11 + 9 / 11) / 3)
    assert found.start_spread == pytest.approx(2 / 3)
    assert found.end_spread == pytest.approx(2 / 3)
    # x agrees as much with either; y and z, mirrors of one another, weigh x by 4/9 and each other by their own square.
    x, y, z = (found.workers[name] for name in "xyz")
    assert (x, y) == pytest.approx((2 / 3, z))
    assert y == pytest.approx((4 / 9 * 2 / 3 + z * z * 1) / (4 / 9 + z * z))
    assert 0.85 < y < 1
    assert "3 pairs of answers: F1@.5 0.778" in str(found)


def test_one_bad_worker_of_three_does_not_cost_the_others_their_agreement() -> None:
    found = agreement([said("x", (10, 20)), said("y", (10, 20)), said("bad", (40, 50))])
    assert found.workers == pytest.approx({"bad": 0.0, "x": 1.0, "y": 1.0})
    # Where nobody agrees with anybody nothing is known about anyone.
    assert agreement([said("x", (10, 20)), said("y", (30, 40))]).workers == {}


def slow_alpha(answers: list[WorkerAnswer], step: float) -> float:
    """Krippendorff's alpha from its coincidence matrix, over small equal units of time."""
    table = np.zeros((2, 2))
    for t in np.arange(0, 60, step) + step / 2:
        ratings = [int(any(s.start <= t < s.end for s in a.segments)) for a in answers]
        for i, one in enumerate(ratings):
            for j, two in enumerate(ratings):
                if i != j:
                    table[one, two] += 1 / (len(ratings) - 1)
    totals = table.sum(axis=0)
    n = totals.sum()
    return float(1 - table[0, 1] * n / (totals[0] * totals[1]))


def test_alpha_agrees_with_the_coincidence_matrix() -> None:
    answers = [said("x", (10, 20), (40, 50)), said("y", (10, 20)), said("z", (12, 23))]
    assert agreement(answers).alpha == pytest.approx(slow_alpha(answers, 0.25), abs=1e-9)
    assert agreement([said("x", (1, 9)), said("y", (1, 9))]).alpha == pytest.approx(1)


def test_agreement_of_nothing_is_nothing() -> None:
    nothing = agreement([said("x", (1, 2))])
    assert (nothing.pairs, nothing.pairwise_f1, nothing.start_spread, nothing.alpha) == (0, None, None, None)
    assert nothing.workers == {}
    assert "F1@.5 -" in str(nothing)
    both_none = agreement([said("x"), said("y")])
    assert (both_none.pairwise_f1, both_none.matched_tiou, both_none.alpha) == (1.0, None, None)
    assert both_none.workers == {"x": 1.0, "y": 1.0}


def test_match_prefers_number_then_overlap() -> None:
    one = [Instance(0, 10, "a"), Instance(4, 14, "a")]
    two = [Instance(2, 12, "a"), Instance(5, 15, "a"), Instance(0, 10, "b")]
    found = match(one, two)
    assert found.tious == pytest.approx((8 / 12, 9 / 11))
    assert found.f1 == pytest.approx(4 / 5)
    assert match([], []).f1 == 1.0
    assert match(one, []).f1 == 0.0
