"""Fast geometry judged by slow, obvious references."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kloc import segments as sg
from kloc.records import Grid

seconds = st.floats(0, 60, allow_nan=False).map(lambda x: round(x, 2))
segment = st.tuples(seconds, seconds).map(lambda p: (min(p), max(p)))
some_segments = st.lists(segment, max_size=25)
# Coarse scores, so that ties happen.
coarse = st.integers(0, 20).map(lambda n: n / 20)
scored = st.lists(st.tuples(segment, coarse), min_size=1, max_size=25)


def slow_tiou(a: tuple[float, float], b: tuple[float, float]) -> float:
    shared = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    union = (a[1] - a[0]) + (b[1] - b[0]) - shared
    return shared / union if union > 0 else 0.0


def key(items: list[tuple[tuple[float, float], float]], score: list[float], i: int) -> tuple[float, ...]:
    (start, end), _ = items[i]
    return (-score[i], start, end - start, i)


def slow_nms(items: list[tuple[tuple[float, float], float]], threshold: float) -> list[int]:
    score = [s for _, s in items]
    kept: list[int] = []
    for i in sorted(range(len(items)), key=lambda i: key(items, score, i)):
        if all(slow_tiou(items[i][0], items[j][0]) <= threshold + 1e-9 for j in kept):
            kept.append(i)
    return kept


def slow_soft_nms(
    items: list[tuple[tuple[float, float], float]], method: str, min_score: float
) -> tuple[list[int], list[float]]:
    score = [s for _, s in items]
    rest, taken, values = set(range(len(items))), [], []
    while rest:
        best = min(rest, key=lambda i: key(items, score, i))
        if score[best] < min_score:
            break
        rest.remove(best)
        taken.append(best)
        values.append(score[best])
        for j in rest:
            tiou = slow_tiou(items[best][0], items[j][0])
            if method == "gaussian":
                score[j] *= math.exp(-(tiou**2) / 0.5)
            elif tiou > 0.5 + 1e-9:
                score[j] *= 1 - tiou
    return taken, values


@given(some_segments, some_segments)
def test_tiou_and_coverage_equal_the_definition(
    first: list[tuple[float, float]], second: list[tuple[float, float]]
) -> None:
    a, b = sg.as_segments(first), sg.as_segments(second)
    tiou, inside = sg.pairwise_tiou(a, b), sg.intersection_over_first(a, b)
    assert tiou.shape == inside.shape == (len(first), len(second))
    for i, x in enumerate(first):
        for j, y in enumerate(second):
            assert tiou[i, j] == pytest.approx(slow_tiou(x, y), abs=1e-12)
            shared = max(0.0, min(x[1], y[1]) - max(x[0], y[0]))
            assert inside[i, j] == pytest.approx(shared / (x[1] - x[0]) if x[1] > x[0] else 0.0, abs=1e-12)


def test_two_empty_segments_have_no_overlap() -> None:
    point = np.array([[3.0, 3.0]])
    assert sg.pairwise_tiou(point, point).tolist() == [[0.0]]


def test_as_segments_refuses_other_shapes() -> None:
    with pytest.raises(ValueError, match=r"\(N, 2\)"):
        sg.as_segments([1.0, 2.0, 3.0])


@given(scored, st.sampled_from([0.0, 0.3, 0.5, 0.7]))
def test_nms_equals_the_textbook(items: list[tuple[tuple[float, float], float]], threshold: float) -> None:
    boxes, scores = sg.as_segments([b for b, _ in items]), np.array([s for _, s in items])
    expected = slow_nms(items, threshold)
    assert sg.nms(boxes, scores, threshold).tolist() == expected
    assert sg.nms(boxes, scores, threshold, limit=3).tolist() == expected[:3]


def test_nms_on_many_segments_equals_the_textbook() -> None:
    rng = np.random.default_rng(5)
    start = rng.uniform(0, 300, 700)
    items = [((s, s + w), c) for s, w, c in zip(start, rng.exponential(20, 700), rng.random(700), strict=True)]
    boxes, scores = sg.as_segments([b for b, _ in items]), np.array([s for _, s in items])
    assert sg.nms(boxes, scores, 0.5).tolist() == slow_nms(items, 0.5)


@pytest.mark.parametrize(
    ("first", "second"), [((0.0, 10.0), (0.0, 7.0)), ((0.1, 1.1), (0.1, 0.8)), ((7.3, 17.3), (10.3, 17.3))]
)
def test_exactly_the_threshold_is_not_above_it(first: tuple[float, float], second: tuple[float, float]) -> None:
    boxes = np.array([first, second])
    assert sg.nms(boxes, np.array([0.9, 0.8]), 0.7).tolist() == [0, 1]
    assert not sg.above(sg.pairwise_tiou(boxes[:1], boxes[1:]), 0.7).any()
    assert sg.nms(boxes, np.array([0.9, 0.8]), 0.699).tolist() == [0]


@given(scored, st.sampled_from(["gaussian", "linear"]), st.sampled_from([0.0, 0.001, 0.3]))
def test_soft_nms_equals_the_textbook(
    items: list[tuple[tuple[float, float], float]], method: str, min_score: float
) -> None:
    boxes, scores = sg.as_segments([b for b, _ in items]), np.array([s for _, s in items])
    index, value = sg.soft_nms(boxes, scores, method=method, min_score=min_score)  # type: ignore[arg-type]
    expected_index, expected_value = slow_soft_nms(items, method, min_score)
    assert sorted(index.tolist()) == sorted(expected_index)
    assert value == pytest.approx(expected_value, rel=1e-9, abs=1e-15)
    # The order may differ only where decayed scores are equal up to rounding.
    for i, j, v in zip(index, expected_index, value, strict=True):
        assert i == j or np.isclose(v, np.delete(value, int(np.argmax(index == i))), rtol=1e-9).any()


def test_soft_nms_of_many_segments_equals_the_textbook_and_keeps_the_last() -> None:
    rng = np.random.default_rng(7)
    start = rng.uniform(0, 100, 300)
    items = [((s, s + w), c) for s, w, c in zip(start, rng.exponential(9, 300), rng.random(300), strict=True)]
    boxes, scores = sg.as_segments([b for b, _ in items]), np.array([s for _, s in items])
    index, value = sg.soft_nms(boxes, scores, min_score=0.01)
    expected_index, expected_value = slow_soft_nms(items, "gaussian", 0.01)
    assert index.tolist() == expected_index
    assert value == pytest.approx(expected_value)
    assert len(sg.soft_nms(boxes, scores, min_score=0.0)[0]) == 300
    assert sg.soft_nms(boxes[:1], scores[:1], min_score=0.0)[0].tolist() == [0]


@given(segment, st.floats(0.05, 1), st.integers(0, 2**32), st.sampled_from([*sg.JITTER_MODES, None]))
@settings(max_examples=300)
def test_jitter_has_exactly_the_tiou_asked_for(
    box: tuple[float, float], tiou: float, seed: int, mode: sg.JitterMode | None
) -> None:
    rng = np.random.default_rng(seed)
    modes = sg.JITTER_MODES if mode is None else (mode,)
    start, end = sg.jitter(*box, tiou, 0.0, 61.0, rng, modes)
    assert 0.0 <= start <= end <= 61.0
    if box[1] > box[0]:
        assert slow_tiou(box, (start, end)) == pytest.approx(tiou, abs=1e-6)


def test_jitter_draws_every_mode_that_fits() -> None:
    rng = np.random.default_rng(0)
    roomy = [sg.jitter(40, 50, 0.5, 0, 100, rng) for _ in range(300)]
    longer = sum(e - s > 10.1 for s, e in roomy)
    shorter = sum(e - s < 9.9 for s, e in roomy)
    assert min(longer, shorter, 300 - longer - shorter) > 60
    # Nothing but shrinking fits a segment that fills its video.
    assert all(e - s == pytest.approx(5) for s, e in (sg.jitter(0, 10, 0.5, 0, 10, rng) for _ in range(50)))


@pytest.mark.parametrize(
    ("args", "message"),
    [((0.0, 1.0, 0.0, 0.0, 9.0), "tIoU"), ((0.0, 1.0, 1.5, 0.0, 9.0), "tIoU"), ((0.0, 10.0, 0.5, 0.0, 9.0), "inside")],
)
def test_jitter_refuses_the_impossible(args: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sg.jitter(*args, np.random.default_rng(0))  # type: ignore[arg-type, misc]


@given(
    st.integers(1, 40),
    st.floats(0.05, 3),
    st.floats(-5, 5),
    st.lists(segment, min_size=1, max_size=20),
    st.sampled_from([3, 64]),
    st.integers(0, 999),
)
def test_mean_pooling_equals_the_naive_mean(
    count: int, step: float, origin: float, boxes: list[tuple[float, float]], dim: int, seed: int
) -> None:
    features = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    grid = Grid(origin, step, step, count)
    pooled = sg.mean_pool(features, grid, sg.as_segments(boxes))
    assert pooled.dtype == np.float32
    for row, (start, end) in zip(pooled, boxes, strict=True):
        low, high = grid.index_range(start, end)
        if high <= low:
            low = grid.nearest((start + end) / 2)
            high = low + 1
        assert row == pytest.approx(features[low:high].astype(np.float64).mean(axis=0), abs=1e-5)


def test_mean_pooling_of_a_long_float16_video_does_not_drift() -> None:
    features = np.random.default_rng(1).uniform(50, 60, size=(40_000, 2)).astype(np.float16)
    pooled = sg.mean_pool(features, Grid(0.1, 0.2, 0.2, 40_000), np.array([[7_990.0, 7_991.0]]))
    assert pooled[0] == pytest.approx(features[39_950:39_955].astype(np.float64).mean(axis=0), abs=1e-4)


def test_mean_pooling_refuses_features_of_another_grid() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        sg.mean_pool(np.zeros((3, 2), np.float32), Grid(0, 1, 1, 4), np.array([[0.0, 1.0]]))


def test_clipping_drops_what_is_left_without_length() -> None:
    boxes = np.array([[-1.0, 2.0], [3.0, 3.0], [9.0, 12.0], [11.0, 12.0], [np.nan, 2.0], [4.0, 4.0005]])
    clipped, kept = sg.clip_segments(boxes, 0.0, 10.0)
    assert clipped.tolist() == [[0.0, 2.0], [9.0, 10.0]]
    assert kept.tolist() == [0, 2]
