"""Average recall of proposals against its definition."""

from __future__ import annotations

import json
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kloc.errors import UsageError
from kloc.evaluation.recall import average_recall
from kloc.records import Annotation, Dataset, Instance, Item, Video


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


def test_reads_well():
    truth = world({"v": [(0.0, 10.0), (20.0, 30.0)]})
    made = {"v": Proposed(np.array([[0.0, 10.0], [20.0, 30.0]]), np.array([0.9, 0.1], np.float32))}
    result = average_recall(truth, made, [1, 2])
    assert result.average_recall.tolist() == [0.5, 1.0]
    assert str(result).splitlines()[-1].split() == ["2", "100.00"]
    assert json.loads(json.dumps(result.to_json()))["average_recall"] == [0.5, 1.0]


def test_wrong_use_and_nothing_to_reach():
    with pytest.raises(UsageError, match="at least 1"):
        average_recall(world({}), {}, [0])
    with pytest.raises(UsageError, match=r"\(0, 1\]"):
        average_recall(world({}), {}, [1], [2.0])
    with pytest.warns(RuntimeWarning, match="no instance to reach"):
        result = average_recall(world({}), {}, [1])
    assert result.to_json()["average_recall"] == [None]
