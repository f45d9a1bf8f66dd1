from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from kloc.errors import UsageError, VideoError
from kloc.video import thumbnail, thumbnail_strip, write_video


def decode(data: bytes) -> NDArray[np.uint8]:
    assert data[:3] == b"\xff\xd8\xff"
    assert data[-2:] == b"\xff\xd9"
    with av.open(io.BytesIO(data), format="jpeg_pipe") as container:
        frame = next(container.decode(video=0))
    return np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)


def test_a_thumbnail_shows_the_nearest_frame(clip: Path, helpers: Any) -> None:
    times, numbers, _ = helpers.truth(clip.name)
    for k in (0, times.size // 2, times.size - 1):
        picture = decode(thumbnail(clip, float(times[k]) + 0.004, 80))
        assert picture.shape == (48, 80, 3)
        assert helpers.read(picture) == numbers[k]


def test_times_outside_give_the_ends(clips: dict[str, Path], helpers: Any) -> None:
    assert helpers.read(decode(thumbnail(clips["late.mp4"], 0.0, 80))) == 0
    assert helpers.read(decode(thumbnail(clips["late.mp4"], 99.0, 80))) == 59


def test_a_strip_keeps_its_order(clips: dict[str, Path], helpers: Any) -> None:
    strip = decode(thumbnail_strip(clips["constant.mp4"], [1.0, 0.0, 1.0, 2.2], 80))
    assert strip.shape == (48, 4 * 80 + 3 * 4, 3)
    assert [helpers.read(strip[:, i * 84 : i * 84 + 80]) for i in range(4)] == [25, 0, 25, 55]
    assert strip[:, 81:83].min() > 200


def test_pictures_are_upright_and_reproducible(tmp_path: Path, helpers: Any) -> None:
    path = tmp_path / "phone.mp4"
    write_video(path, helpers.corners(), 25, rotation=270)
    data = thumbnail(path, 0.0, 40)
    assert data == thumbnail(path, 0.0, 40)
    picture = decode(data)
    assert picture.shape == (60, 40, 3)
    assert helpers.corner_names(picture) == ["green", "white", "red", "blue"]


@pytest.mark.parametrize(("time", "width"), [(float("nan"), 80), (float("inf"), 80), (0.0, 0)])
def test_impossible_thumbnails_are_refused(clips: dict[str, Path], time: float, width: int) -> None:
    with pytest.raises(UsageError, match="thumbnail"):
        thumbnail(clips["constant.mp4"], time, width)


def test_no_times_no_strip(clips: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="time"):
        thumbnail_strip(clips["constant.mp4"], [], 80)


def test_a_missing_video_is_named(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="no such file"):
        thumbnail(tmp_path / "gone.mp4", 0.0, 80)
