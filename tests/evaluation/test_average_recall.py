"""Average recall of proposals against its definition."""

from __future__ import annotations

import json
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kloc.errors import UsageError
from kloc.evaluation.recall import AUC_COUNTS, average_recall
from kloc.formats.predictions import PredictionTable
from kloc.records import Annotation, Dataset, Detection, Instance, Item, Video


class Proposed(NamedTuple):
    segments: np.ndarray
    confidence: np.ndarray


def world(instances: dict[str, list[tuple[float, float]]]) -> Dataset:
    return Dataset(
        ("a",),
        {v: Video(v, 0.0, 100.0) for v in instances},
        {v: Annotation(Item(v, 0.0, 100.0), tuple(Instance(*t, "a") for t in rows)) for v, rows in instances.items()},
    )


def slow_recall(instances, proposals, count: int, threshold: float) -> float:
    hit = total = 0
    for video, rows in instances.items():
        ranked = sorted(proposals.get(video, []), key=lambda p: (-p[2], p[0], p[1] - p[0]))[:count]
        for start, end in rows:
            total += 1
            for p_start, p_end, _ in ranked:
                shared = max(0.0, min(end, p_end) - max(start, p_start))
                if shared / ((end - start) + (p_end - p_start) - shared) >= threshold - 1e-9:
                    hit += 1
                    break
    return hit / total


spans = st.tuples(st.integers(0, 12), st.integers(1, 8)).map(lambda t: (float(t[0]), float(t[0] + t[1])))
proposal = st.tuples(spans, st.sampled_from([0.1, 0.5, 0.9])).map(lambda t: (*t[0], t[1]))
videos = st.sampled_from(["v1", "v2", "v3"])


@settings(max_examples=100, deadline=None)
@given(
    instances=st.dictionaries(videos, st.lists(spans, min_size=1, max_size=5), min_size=1),
    proposals=st.dictionaries(videos, st.lists(proposal, max_size=8)),
)
def test_equals_the_slow_reference(instances, proposals):
    made = {
        v: Proposed(np.array([p[:2] for p in rows]).reshape(-1, 2), np.array([p[2] for p in rows], np.float32))
        for v, rows in proposals.items()
    }
    counts, thresholds = [5, 1, 100], [0.5, 0.95, 0.1]
    result = average_recall(world(instances), made, counts, thresholds)
    for m, count in enumerate(counts):
        for k, threshold in enumerate(thresholds):
            assert result.recall[m, k] == pytest.approx(slow_recall(instances, proposals, count, threshold))


def official(instances, proposals, thresholds):
    """ActivityNet's average recall at 1 to 100 proposals on average, and its AUC, step by step."""
    videos = [v for v in instances if instances[v]]
    total = sum(len(proposals.get(v, [])) for v in videos)
    ratio = 100.0 * float(len(videos)) / total
    overlaps = []
    for v in videos:
        ranked = sorted(proposals.get(v, []), key=lambda p: (-p[2], p[0], p[1] - p[0]))
        ranked = ranked[: min(int(len(ranked) * ratio), len(ranked))]
        table = np.zeros((len(instances[v]), len(ranked)))
        for i, (start, end) in enumerate(instances[v]):
            for j, (p_start, p_end, _) in enumerate(ranked):
                shared = max(0.0, min(end, p_end) - max(start, p_start))
                table[i, j] = shared / ((end - start) + (p_end - p_start) - shared)
        overlaps.append(table)
    retrieved = sum(table.shape[1] for table in overlaps)
    shares = np.arange(1, 101) / 100.0 * (100.0 * float(len(videos)) / retrieved)
    recall = np.zeros((100, len(thresholds)))
    for k, threshold in enumerate(thresholds):
        for j, share in enumerate(shares):
            hit = 0
            for table in overlaps:
                shown = min(int(table.shape[1] * share), table.shape[1])
                hit += sum(any(row[:shown] >= threshold - 1e-9) for row in table)
            recall[j, k] = hit / sum(len(table) for table in overlaps)
    per_video = shares * (float(retrieved) / len(videos))
    return recall, np.trapezoid(recall.mean(axis=1), per_video) / per_video[-1]


@settings(max_examples=40, deadline=None)
@given(
    instances=st.dictionaries(videos, st.lists(spans, max_size=3), min_size=1),
    proposals=st.dictionaries(videos, st.lists(proposal, max_size=300), min_size=1),
    repeat=st.sampled_from([1, 7, 60]),
)
def test_on_average_equals_activitynets_definition(instances, proposals, repeat):
    proposals = {v: rows * repeat for v, rows in proposals.items()}
    assume(sum(len(proposals.get(v, [])) for v, rows in instances.items() if rows))
    expected, auc = official(instances, proposals, [0.5, 0.7, 0.95])
    table = PredictionTable.of({v: [Detection(s, e, "x", c) for s, e, c in rows] for v, rows in proposals.items()})
    result = average_recall(world(instances), table, AUC_COUNTS, [0.5, 0.7, 0.95], budget="average")
    np.testing.assert_allclose(result.recall, expected, atol=1e-12)
    assert result.auc == pytest.approx(auc, abs=1e-12)


def test_a_table_and_a_mapping_are_judged_alike():
    rng = np.random.default_rng(3)
    instances = {f"v{i}": [(10.0 * k, 10.0 * k + 7) for k in range(i)] for i in range(4)}
    starts = rng.uniform(0, 40, (5, 30))
    made = {f"v{i}": Proposed(np.stack([s, s + 7], 1), rng.random(30)) for i, s in enumerate(starts)}  # v4: unknown
    found = {
        v: [Detection(s, e, "abc"[n % 3], c) for n, ((s, e), c) in enumerate(zip(*p, strict=True))]
        for v, p in made.items()
    }
    for budget in ("each", "average"):
        left = average_recall(world(instances), made, AUC_COUNTS, budget=budget)
        right = average_recall(world(instances), PredictionTable.of(found), AUC_COUNTS, budget=budget)
        assert left.to_json() == right.to_json()
        assert 0 < left.auc < 1
    assert len(str(left).splitlines()) == 8  # not a hundred lines
    assert average_recall(world(instances), {}, [1, 2], budget="average").recall.sum() == 0


def test_reads_well():
    truth = world({"v": [(0.0, 10.0), (20.0, 30.0)]})
    made = {"v": Proposed(np.array([[0.0, 10.0], [20.0, 30.0]]), np.array([0.9, 0.1], np.float32))}
    result = average_recall(truth, made, [1, 2])
    assert result.average_recall.tolist() == [0.5, 1.0]
    assert str(result).splitlines()[-2].split() == ["2", "100.00"]
    assert str(result).splitlines()[-1] == "area under it, 1 to 2: 37.50"
    assert json.loads(json.dumps(result.to_json()))["average_recall"] == [0.5, 1.0]


def test_wrong_use_and_nothing_to_reach():
    with pytest.raises(UsageError, match="at least 1"):
        average_recall(world({}), {}, [0])
    with pytest.raises(UsageError, match=r"\(0, 1\]"):
        average_recall(world({}), {}, [1], [2.0])
    with pytest.raises(UsageError, match="'each' or 'average'"):
        average_recall(world({}), {}, [1], budget="all")
    with pytest.warns(RuntimeWarning, match="no instance to reach"):
        result = average_recall(world({}), {}, [1])
    assert result.to_json()["average_recall"] == [None]
