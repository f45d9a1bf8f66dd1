"""Each step of consolidation against a slow reference that follows its definition, and what users are promised."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kloc.crowd.consolidate import ConsolidatedItem, ConsolidationSettings, WorkerAnswer, consolidate
from kloc.crowd.consolidation import marks as marks_module
from kloc.crowd.consolidation.boundaries import robust
from kloc.crowd.consolidation.candidates import Candidates, repaired
from kloc.crowd.consolidation.marks import Marks, Questions, lay_out, members
from kloc.crowd.consolidation.presence import Known, presence
from kloc.crowd.consolidation.repair import held_together, joined
from kloc.records import Annotation, Instance, Item

ITEM = Item("v", 0.0, 60.0)
WORKERS = "uvwxyz"
SETTINGS = ConsolidationSettings()

Pairs = list[tuple[float, float]]


def said(worker: str, *pairs: tuple[float, float], item: Item = ITEM) -> WorkerAnswer:
    segments = tuple(Instance(start, end, "a") for start, end in pairs)
    return WorkerAnswer(item, worker, f"{item.video_id}-{worker}", ("a",), segments)


def outcome(answers: list[WorkerAnswer], item: Item = ITEM) -> ConsolidatedItem:
    return consolidate(answers, ["a"]).items[item]


def kept(answers: list[WorkerAnswer]) -> Pairs:
    return [(i.start, i.end) for i in outcome(answers).instances]


def laid_out(answers: list[WorkerAnswer]) -> tuple[Questions, Marks]:
    ordered = sorted(answers)
    return lay_out(ordered, ["a"], {name: i for i, name in enumerate(sorted({a.worker_id for a in ordered}))})


segment_lists = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 15)).map(lambda p: (float(p[0]), float(p[0] + p[1]))), max_size=4
)
opinions = st.dictionaries(st.sampled_from(WORKERS), segment_lists, min_size=1)
campaigns = st.dictionaries(st.sampled_from("123"), opinions, min_size=1).map(
    lambda videos: [
        said(worker, *pairs, item=Item(video, 0.0, 60.0))
        for video, by_worker in videos.items()
        for worker, pairs in by_worker.items()
    ]
)


# --- repairs ---------------------------------------------------------------------------------------------------------


def slow_says(mark: tuple[float, float], a: tuple[float, float], b: tuple[float, float]) -> str | None:
    """ "through", "stops" or nothing, for one mark about the pause between two of another worker."""

    def half(other: tuple[float, float]) -> bool:
        shared = min(mark[1], other[1]) - max(mark[0], other[0])
        return shared > 0.5 * min(mark[1] - mark[0], other[1] - other[0])

    from_a, to_b = mark[0] < (a[0] + b[0]) / 2, mark[1] > (a[1] + b[1]) / 2
    if from_a and to_b:
        return "through" if mark[0] < a[1] and mark[1] > b[0] else None
    if from_a and not to_b:
        return "stops" if half(a) else None
    return "stops" if to_b and half(b) else None


def slow_pauses(said_by: dict[str, Pairs]) -> dict[tuple[str, tuple[float, float], tuple[float, float]], bool]:
    """For each two neighbouring marks of a worker: whether the pause between them is real."""
    verdicts = {}
    for worker, own in said_by.items():
        for a, b in pairwise(sorted(set(own))):
            votes = 1
            for other, theirs in said_by.items():
                words = {slow_says(mark, a, b) for mark in set(theirs)} - {None}
                if other != worker and len(words) == 1:
                    votes += 1 if words == {"stops"} else -1
            long = b[0] - a[1] >= 0.5 + 0.1 * (b[1] - a[0])
            verdicts[worker, a, b] = votes > 0 or (votes == 0 and long)
    return verdicts


def slow_joined(said_by: dict[str, Pairs]) -> dict[str, Pairs]:
    pauses = slow_pauses(said_by)
    result: dict[str, Pairs] = {}
    for worker, own in said_by.items():
        runs: list[Pairs] = []
        for mark in sorted(set(own)):
            if runs and not pauses[worker, runs[-1][-1], mark]:
                runs[-1].append(mark)
            else:
                runs.append([mark])
        result[worker] = [(min(low for low, _ in run), max(high for _, high in run)) for run in runs]
    return result


def slow_held(said_by: dict[str, Pairs]) -> set[tuple[str, tuple[float, float], str, tuple[float, float]]]:
    links = set()
    for (worker, a, b), real in slow_pauses(said_by).items():
        for other, theirs in said_by.items():
            for mark in theirs:
                if real and other != worker and slow_says(mark, a, b) == "through":
                    links |= {(other, mark, worker, a), (other, mark, worker, b)}
    holders = {link[:2] for link in links}
    links = {link for link in links if link[2:] not in holders}
    good = set()
    for worker, mark in holders:
        parts = {link[2:] for link in links if link[:2] == (worker, mark)}
        if len(parts) > 1:
            low, high = min(p[0] for _, p in parts), max(p[1] for _, p in parts)
            shared, covered = min(high, mark[1]) - max(low, mark[0]), max(high, mark[1]) - min(low, mark[0])
            if shared >= 0.7 * covered:
                good.add((worker, mark))
    return {link for link in links if link[:2] in good}


def by_slot(marks: Marks, names: list[str]) -> dict[str, Pairs]:
    found: dict[str, Pairs] = {name: [] for name in names}
    for slot, low, high in zip(marks.slot, marks.low, marks.high, strict=True):
        found[names[slot]].append((float(low), float(high)))
    return {name: sorted(pairs) for name, pairs in found.items()}


@settings(deadline=None, max_examples=300)
@given(opinions)
def test_splits_and_merges_are_found_as_the_slow_reference_finds_them(said_by: dict[str, Pairs]) -> None:
    names = sorted(said_by)
    _, marks = laid_out([said(worker, *pairs) for worker, pairs in said_by.items()])
    whole = joined(marks, len(names))
    expected = slow_joined(said_by)
    assert by_slot(whole, names) == {name: sorted(pairs) for name, pairs in expected.items()}

    def names_of(index: Any) -> list[tuple[str, tuple[float, float]]]:
        return [(names[whole.slot[i]], (float(whole.low[i]), float(whole.high[i]))) for i in index]

    holder, part = held_together(whole, len(names))
    links = [(*one, *other) for one, other in zip(names_of(holder), names_of(part), strict=True)]
    # Two joined marks of one worker may come out equal; the reference knows them as one.
    if all(len(set(pairs)) == len(pairs) for pairs in expected.values()):
        assert sorted(links) == sorted(slow_held(expected))


def test_one_worker_splits_what_the_others_have_in_one() -> None:
    answers = [said("x", (10, 20)), said("y", (10, 20)), said("z", (10, 14), (14.5, 20))]
    assert kept(answers) == [(10, 20)]
    assert [i.support for i in outcome(answers).instances] == [3]
    assert outcome(answers).rejected == ()


def test_one_worker_merges_what_the_others_have_apart() -> None:
    answers = [said("x", (10, 20), (24, 30)), said("y", (10, 20), (24, 30)), said("z", (10, 30))]
    assert kept(answers) == [(10, 20), (24, 30)]
    assert [i.support for i in outcome(answers).instances] == [3, 3]
    # The plain method leaves a third segment, or pulls a boundary.
    plain = consolidate(answers, ["a"], ConsolidationSettings(method="median")).items[ITEM]
    assert [i.support for i in (*plain.instances, *plain.rejected)] != [3, 3]


def test_a_merge_tells_the_outer_ends_and_nothing_of_what_lies_between() -> None:
    three = ((10, 20), (22, 30), (33, 40))
    found = outcome([said("x", *three), said("y", *three), said("z", (9, 41))])
    assert [(i.support, i.asked) for i in found.instances] == [(3, 3), (2, 3), (3, 3)]
    assert found.instances[0].start_spread > 0 == found.instances[0].end_spread
    assert found.instances[2].end_spread > 0 == found.instances[2].start_spread


def test_who_marks_the_whole_video_has_not_merged_anything() -> None:
    answers = [said("x", (10, 20), (24, 30)), said("y", (10, 20), (24, 30)), said("z", (0, 60))]
    found = outcome(answers)
    assert [(i.start, i.end, i.support) for i in found.instances] == [(10, 20, 2), (24, 30, 2)]
    assert [(i.start, i.end) for i in found.rejected] == [(0, 60)]


def test_in_a_tie_the_length_of_the_pause_decides() -> None:
    assert kept([said("x", (10, 15), (15.5, 20)), said("y", (10, 20))]) == [(10, 20)]
    assert kept([said("x", (10, 14), (18, 22)), said("y", (10, 22))]) == [(10, 14), (18, 22)]


@settings(deadline=None)
@given(campaigns)
def test_portions_change_nothing(answers: list[WorkerAnswer]) -> None:
    whole = consolidate(answers, ["a"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(marks_module, "MOST_PAIRS", 3)
        assert consolidate(answers, ["a"]) == whole


@given(st.lists(st.integers(0, 5)), st.lists(st.integers(0, 5)))
def test_members_are_all_rows_of_the_same_question(question: list[int], of: list[int]) -> None:
    of.sort()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(marks_module, "MOST_PAIRS", 4)
        found = [
            pair
            for i, j in members(np.array(question, dtype=np.int64), np.array(of, dtype=np.int64))
            for pair in zip(i.tolist(), j.tolist(), strict=True)
        ]
    assert found == [(i, j) for i in range(len(question)) for j in range(len(of)) if question[i] == of[j]]


# --- presence --------------------------------------------------------------------------------------------------------


def slow_presence(
    questions: Questions, c: Candidates, low: Any, high: Any, known: Known, iterations: int
) -> tuple[list[float], dict[int, float], dict[int, float]]:
    """One candidate, one worker at a time."""
    n, everyone = len(c), range(len(known.overlooked))
    asked = [[int(w) for w in row if w >= 0] for row in questions.asked]
    telling = [len(who) > 1 or bool(known.questions[q]) for q, who in enumerate(asked)]
    share = [min(max((high[i] - low[i]) / questions.spans[c.question[i]], 0.05), 1.0) for i in range(n)]
    votes = [{int(w): bool(v) for w, v, h in zip(c.who[i], c.vote[i], c.heard[i], strict=True) if h} for i in range(n)]
    whole = [{int(w) for w, on in zip(c.who[i], c.whole[i], strict=True) if on} for i in range(n)]
    rivals: list[list[int]] = [[] for _ in range(n)]
    for i in range(n):
        for j in range(n):
            shared = min(high[i], high[j]) - max(low[i], low[j])
            near = shared > 0.3 * min(high[i] - low[i], high[j] - low[j])
            once = 2 * len(whole[i] & whole[j]) <= len(whole[i] | whole[j])
            if i != j and c.question[i] == c.question[j] and near and once:
                rivals[i].append(j)

    def gold(i: int) -> float | None:
        return None if math.isnan(known.truth[i]) else float(known.truth[i])

    p = [(sum(votes[i].values()) + 1) / (len(asked[c.question[i]]) + 2) for i in range(n)]
    p = [p[i] if gold(i) is None else float(known.truth[i]) for i in range(n)]
    false_guess = 0.25 * sum(map(sum, c.vote.tolist())) / sum(map(len, asked))
    s, f, rate = dict.fromkeys(everyone, 0.75), dict.fromkeys(everyone, false_guess), 0.5
    for _ in range(iterations):
        unseen = [0.0 if known.questions[q] else rate * math.prod(1 - s[w] for w in who) for q, who in enumerate(asked)]
        hits, real, alarms = (dict.fromkeys(everyone, 0.0) for _ in range(3))
        answered = {w: sum(telling[q] for q, who in enumerate(asked) if w in who) for w in everyone}
        for w in everyone:
            real[w] = known.overlooked[w] + sum(unseen[q] for q, who in enumerate(asked) if w in who and telling[q])
            for i in range(n):
                if w in votes[i] and telling[c.question[i]]:
                    hits[w] += p[i] * votes[i][w]
                    real[w] += p[i]
                    alarms[w] += (1 - p[i]) * votes[i][w]
        mean_s = (6 + sum(hits.values())) / (8 + sum(real.values()))
        mean_f = (20 * false_guess + sum(alarms.values())) / (20 + sum(answered.values()))
        s = {w: (4 * mean_s + hits[w]) / (4 + real[w]) for w in everyone}
        f = {w: (4 * mean_f + alarms[w]) / (4 + answered[w]) for w in everyone}
        rate = (1 + sum(p) + sum(unseen)) / (2 + len(asked))
        odds = []
        for i in range(n):
            value = rate * share[i]
            for w, vote in votes[i].items():
                false = min(max(f[w] * share[i], 1e-6), 0.9)
                value *= s[w] / false if vote else (1 - s[w]) / (1 - false)
            odds.append(math.exp(min(max(0.75 * math.log(value), -30), 30)))
        p = [odds[i] / (1 + odds[i] + sum(odds[j] for j in rivals[i])) for i in range(n)]
        p = [p[i] if gold(i) is None else float(known.truth[i]) for i in range(n)]
    return p, s, f


@settings(deadline=None)
@given(campaigns, st.lists(st.sampled_from([math.nan, math.nan, 0.0, 1.0]), min_size=3, max_size=3))
def test_presence_agrees_with_the_slow_reference(answers: list[WorkerAnswer], gold: list[float]) -> None:
    questions, marks = laid_out(answers)
    c = repaired(questions, marks, 0.35)
    low, high = c.medians()
    covered = np.array([not math.isnan(gold[q]) for q in range(len(questions.keys))], dtype=np.float64)
    truth = np.array(gold)[c.question]
    overlooked = np.arange(int(questions.asked.max()) + 1) % 2 * covered.any()
    known = Known(truth, covered, overlooked)
    fast = presence(questions, c, known, ConsolidationSettings(iterations=5))
    posterior, sensitivity, false_alarms = slow_presence(questions, c, low, high, known, 5)
    np.testing.assert_allclose(fast.posterior, posterior, atol=1e-9)
    np.testing.assert_allclose(fast.sensitivity, list(sensitivity.values()), atol=1e-9)
    np.testing.assert_allclose(fast.false_alarms, list(false_alarms.values()), atol=1e-9)


def test_of_two_versions_of_one_occurrence_one_is_kept() -> None:
    # u and v end early, the others late: too different to be one cluster, too near to be two occurrences.
    early, late = [said(w, (10, 13)) for w in "uv"], [said(w, (10.5, 22)) for w in "wxyz"]
    found = outcome(early + late)
    assert [(i.start, i.support) for i in found.instances] == [(10.5, 4)]
    assert [i.support for i in found.rejected] == [2]


def test_what_everybody_marks_twice_at_once_happens_twice_at_once() -> None:
    assert kept([said(w, (10, 20), (16, 40)) for w in "xyz"]) == [(10, 20), (16, 40)]


@pytest.mark.parametrize("absent", range(3))
def test_another_who_agrees_never_lowers_confidence(absent: int) -> None:
    silent = [said(f"n{i}") for i in range(absent)]
    steps = []
    for n in range(1, 7):
        found = outcome([*silent, *(said(f"y{i}", (10, 20), (30, 42)) for i in range(n))])
        steps.append(min(i.confidence for i in (*found.instances, *found.rejected)))
    assert steps == sorted(steps)
    assert steps[0] < steps[1]


@settings(deadline=None)
@given(opinions)
def test_the_same_answer_twice_counts_once(said_by: dict[str, Pairs]) -> None:
    answers = [said(worker, *pairs) for worker, pairs in said_by.items()]
    twice = [WorkerAnswer(a.item, a.worker_id, a.assignment_id + "b", a.classes, a.segments[::-1]) for a in answers]
    once, both = outcome(answers), outcome(twice + answers)
    assert (both.instances, both.rejected) == (once.instances, once.rejected)


def test_one_answer_alone_is_kept_and_in_doubt() -> None:
    for pairs in ([(10, 20)], [(10, 20), (30, 40)], [(0.5, 59)]):
        found = consolidate([said("x", *pairs)], ["a"])
        assert [(i.start, i.end) for i in found.items[ITEM].instances] == pairs
        assert found.items[ITEM].provisional
        # Nobody else answered, so nothing is learned about x.
        assert found.workers["x"].sensitivity == 0.75
        assert found.workers["x"].false_alarm == len(pairs) / 4


@pytest.mark.parametrize("k", [1, 2, 3])
def test_what_hardly_ever_occurs_is_found_all_the_same(k: int) -> None:
    items = [Item(f"{i:03d}", 0, 60) for i in range(200)]
    answers = [
        said(f"w{(i + j) % 9}", *([(10, 20)] if i % 25 == 0 else []), item=item)
        for i, item in enumerate(items)
        for j in range(k)
    ]
    found = consolidate(answers, ["a"]).items
    assert [item for item in items if found[item].instances] == items[::25]


def spam(how: Callable[[np.random.Generator], Pairs], k: int) -> tuple[float, float]:
    """Of a crowd that does nothing else: how many candidates are kept per item, by "em" and by "median"."""
    rng = np.random.default_rng(7)
    items = [Item(f"{i:03d}", 0, 60) for i in range(60)]
    answers = [said(f"w{(i + j) % 20:02d}", *how(rng), item=item) for i, item in enumerate(items) for j in range(k)]
    em, plain = (consolidate(answers, ["a"], ConsolidationSettings(method=m)).items.values() for m in ("em", "median"))
    return sum(len(i.instances) for i in em) / 60, sum(len(i.instances) for i in plain) / 60


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_a_crowd_of_spammers_does_no_worse_than_by_the_median(k: int) -> None:
    def anywhere(rng: np.random.Generator) -> Pairs:
        low, high = sorted(rng.uniform(0, 60, 2))
        return [(float(low), float(high))]

    em, plain = spam(anywhere, k)
    assert em <= plain
    # Two in five mark the whole video, and always the same ones: they agree, but the others do not.
    kinds = iter(range(10**6))
    em, plain = spam(lambda _: [(0.0, 60.0)] if next(kinds) % 5 < 2 else [], k)
    assert em <= plain
    assert spam(lambda _: [], k) == (0, 0)


# --- boundaries ------------------------------------------------------------------------------------------------------


def table_of(values: Any) -> Candidates:
    """Everybody marked everything, from ``values`` to ``values`` + 5, so that the unit is 1."""
    low = np.asarray(values, dtype=np.float64)
    n, k = low.shape
    who = np.tile(np.arange(k), (n, 1))
    return Candidates(np.arange(n), who, np.ones((n, k), bool), np.ones((n, k), bool), low, low + 5)


def test_the_mean_knows_habits_and_trusts_the_steady() -> None:
    rng = np.random.default_rng(3)
    n, habit, spread = 400, np.array([0.0, 0.8, -0.5, 0.0]), np.array([0.1, 0.1, 0.1, 1.0])
    truth = rng.uniform(0, 1000, n)
    values = truth[:, None] + habit + spread * rng.standard_normal((n, 4))
    low, high, scale = robust(table_of(values), np.ones(n), 4, SETTINGS)
    error, plain = (np.abs(found - truth - (found - truth).mean()).mean() for found in (low, np.median(values, axis=1)))
    assert error < 0.5 * plain
    assert scale[3] > 4 * scale[:3].max()
    np.testing.assert_allclose(high - low, 5, atol=0.05)
    assert (values.min(axis=1) <= low).all()
    assert (low <= values.max(axis=1)).all()


@given(st.lists(st.floats(0, 1), min_size=3, max_size=6), st.floats(50, 500))
def test_one_wild_boundary_hardly_moves_the_others(near: list[float], wild: float) -> None:
    low, *_ = robust(table_of([[*near, wild]]), np.ones(1), len(near) + 1, SETTINGS)
    assert abs(low[0] - median(near)) < 1.5


def test_with_few_votes_the_mean_lies_near_them_and_errors_are_not_small_for_that() -> None:
    rng = np.random.default_rng(4)
    values = rng.uniform(0, 1000, 600)[:, None] + 0.5 * rng.standard_normal((600, 2))
    *_, scale = robust(table_of(values), np.ones(600), 2, ConsolidationSettings(tails=1e9))
    # Both sides are equal here. Two votes lie 0.5 / sqrt(2) from their mean, as root mean square.
    np.testing.assert_allclose(scale, 0.5, rtol=0.1)


def test_what_begins_ends_later_and_not_outside_what_was_said() -> None:
    # One worker marked both ends; those whose marks hold several occurrences gave one end each, and disagree.
    low, high = np.array([[10, 11.9, 11.8, np.inf, np.inf]]), np.array([[12, np.inf, np.inf, 10.2, 10.1]])
    vote = np.ones((1, 5), dtype=bool)
    c = Candidates(np.zeros(1, dtype=np.int64), np.arange(5)[None], vote, vote, low, high)
    start, end, _ = robust(c, np.ones(1), 5, SETTINGS)
    assert (start[0], end[0]) == (10, 12)


def test_each_gold_instance_is_shown_by_one_candidate_at_most() -> None:
    # Two people are at it at once, says everybody; gold knows of one.
    answers = [said(w, (10, 20), (13, 23)) for w in "xyz"]
    gold = {ITEM: Annotation(ITEM, (Instance(10, 20, "a"),))}
    found = consolidate(answers, ["a"], gold=gold).items[ITEM]
    assert [(i.start, i.confidence) for i in found.instances] == [(10, 1)]
    assert [(i.start, i.confidence) for i in found.rejected] == [(13, 0)]
