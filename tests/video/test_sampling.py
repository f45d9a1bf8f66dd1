from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloc.errors import UsageError
from kloc.video.sampling import nearest_frames, sample_times

starts = st.floats(0, 5000, allow_nan=False)
durations = st.floats(0.01, 5000, allow_nan=False)
rates = st.sampled_from([0.2, 1.0, 2.0, 5.0, 8.0, 25.0, 29.97])


@given(starts, durations, rates)
def test_samples_stand_in_the_middle_of_their_steps(start: float, duration: float, fps: float) -> None:
    end = start + duration
    grid = sample_times(start, end, fps)
    assert grid.count >= 1
    assert np.all((grid.times >= start) & (grid.times < end + 1e-6))
    assert grid.step == grid.window == 1 / fps
    if duration * fps >= 0.5 + 1e-6:
        np.testing.assert_allclose(grid.times, [start + (i + 0.5) / fps for i in range(grid.count)], atol=1e-7)
        # The next middle would lie at or beyond the end.
        assert start + (grid.count + 0.5) / fps >= end - 1e-6


@given(starts, durations, rates, st.integers(1, 300))
def test_max_frames_covers_the_video_evenly(start: float, duration: float, fps: float, max_frames: int) -> None:
    end = start + duration
    free, grid = sample_times(start, end, fps), sample_times(start, end, fps, max_frames)
    if free.count <= max_frames:
        assert grid == free
    else:
        assert grid.count == max_frames
        assert math.isclose(grid.step * grid.count, end - start, rel_tol=1e-9)
        before, after = grid.times[0] - start, end - grid.times[-1]
        assert math.isclose(before, after, rel_tol=1e-6, abs_tol=1e-6)


def test_a_video_shorter_than_a_step_is_seen_in_its_middle() -> None:
    grid = sample_times(2.0, 2.04, 1.0)
    assert grid.count == 1
    assert grid.times.tolist() == [2.02]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((1.0, 1.0, 5.0), "empty range"),
        ((0.0, math.inf, 5.0), "empty range"),
        ((0.0, 1.0, 0.0), "frames per second"),
        ((0.0, 1.0, math.nan), "frames per second"),
        ((0.0, 1.0, 5.0, 0), "max_frames"),
    ],
)
def test_impossible_grids_are_refused(arguments: tuple[float, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        sample_times(*arguments)  # type: ignore[arg-type]


@given(
    st.lists(st.integers(0, 800), min_size=1, max_size=40),
    st.lists(st.integers(-80, 880), max_size=20),
)
def test_nearest_frames_by_looking_at_all(stamps: list[int], eighths: list[int]) -> None:
    timestamps = np.unique(np.asarray(stamps)) / 8  # eighths of a second are exact, so that ties are ties
    times = [t / 8 for t in eighths]
    found = nearest_frames(timestamps, np.asarray(times, dtype=np.float64))
    assert found.dtype == np.int64
    assert found.tolist() == [int(np.argmin(np.abs(timestamps - t))) for t in times]


def test_frames_without_order_are_refused() -> None:
    with pytest.raises(UsageError, match="ascend"):
        nearest_frames(np.array([1.0, 0.0]), np.array([0.5]))
    with pytest.raises(UsageError, match="no frames"):
        nearest_frames(np.array([]), np.array([0.5]))
