"""Multi-scale sliding windows: bounded, inside the video, at the lengths promised."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kloc.errors import FormatError, UsageError
from kloc.features.bank import VideoFeatures
from kloc.proposals import generator_names, load_generator, make_generator
from kloc.proposals.sliding import MultiscaleSliding, SlidingSettings, windows
from kloc.records import Grid


def video(start: float, end: float) -> VideoFeatures:
    count = max(1, round((end - start) / 0.2))
    return VideoFeatures("v", np.zeros((count, 2), np.float32), Grid(start + 0.1, 0.2, 0.2, count), start, end)


@given(
    st.floats(0, 100),
    st.floats(0.1, 5000),
    st.sampled_from([1, 2]),
    st.integers(1, 300),
    st.sampled_from([(0.25, 0.5), (0.1, 0.3)]),
)
def test_windows_are_bounded_and_inside(
    start: float, duration: float, scales: int, cap: int, strides: tuple[float, float]
) -> None:
    settings = SlidingSettings(2.0, scales, *strides, cap)
    boxes = windows(start, start + duration, settings)
    assert 1 <= len(boxes) <= cap
    assert boxes[0].tolist() == [start, start + duration]
    assert (boxes[:, 0] >= start).all()
    assert (boxes[:, 1] <= start + duration).all()
    assert len(np.unique(boxes.round(7), axis=0)) == len(boxes)
    lengths = boxes[1:, 1] - boxes[1:, 0]
    assert (lengths >= 2 - 1e-6).all()
    assert (np.diff(boxes[:, 1] - boxes[:, 0]) <= 1e-6).all()


@pytest.mark.parametrize(
    ("duration", "scales", "fractions"),
    [
        (1.0, 1, {1.0}),
        (16.0, 1, {1.0, 0.75, 0.5, 0.25, 0.125}),
        (16.0, 2, {1.0, 0.75, 0.5, 0.375, 0.25, 0.1875, 0.125}),
    ],
)
def test_lengths_and_strides_are_those_promised(duration: float, scales: int, fractions: set[float]) -> None:
    boxes = windows(0, duration, SlidingSettings(scales_per_octave=scales))
    share = ((boxes[:, 1] - boxes[:, 0]) / duration).round(6)
    assert set(share.tolist()) == fractions
    for fraction in fractions - {1.0}:
        starts = boxes[share == fraction, 0]
        assert starts[0] == 0
        assert starts[-1] == pytest.approx(duration * (1 - fraction))
        assert np.diff(starts).max() <= 0.25 * fraction * duration + 1e-6


def test_a_long_video_gives_up_its_shortest_windows_first() -> None:
    boxes = windows(0, 3600, SlidingSettings())
    lengths = np.unique((boxes[:, 1] - boxes[:, 0]).round(3))
    assert 100 < len(boxes) <= 200
    assert lengths[0] > 2 * 20
    for length in lengths[:-1]:
        starts = boxes[np.isclose(boxes[:, 1] - boxes[:, 0], length, atol=1e-3), 0]
        assert np.diff(starts).max() <= 0.5 * length + 1e-6


def test_windows_move_with_the_video() -> None:
    here = MultiscaleSliding().propose(video(0, 47.3))
    there = MultiscaleSliding().propose(video(12.5, 59.8))
    assert there.segments == pytest.approx(here.segments + 12.5)
    assert here.confidence.dtype == np.float32
    assert len(here) == len(here.segments)


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    generator = make_generator("sliding", cap=50, scales_per_octave=2)
    generator.save(tmp_path)
    again = load_generator(tmp_path)
    assert again.fingerprint == generator.fingerprint != MultiscaleSliding().fingerprint
    assert again.propose(video(0, 60)).segments.tolist() == generator.propose(video(0, 60)).segments.tolist()


def test_wrong_names_are_told() -> None:
    assert {"sliding", "daps"} <= set(generator_names())
    with pytest.raises(UsageError, match="unknown proposal generator 'slide'; did you mean 'sliding'"):
        make_generator("slide")
    with pytest.raises(UsageError, match="did you mean 'min_length'"):
        make_generator("sliding", minlength=3)
    with pytest.raises(UsageError, match="scales_per_octave"):
        make_generator("sliding", scales_per_octave=5)


@pytest.mark.parametrize("content", [None, "{", "[]", '{"name": "sliding", "settings": {"depth": 3}}'])
def test_a_folder_without_a_model_is_told(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "proposals.json").write_text(content)
    with pytest.raises(FormatError, match=r"proposals\.json"):
        load_generator(tmp_path)
