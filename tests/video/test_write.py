from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from kloc.errors import UsageError
from kloc.video import open_video, probe, write_video
from kloc.video.proxy import is_faststart_mp4


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libvpx-vp9"])
def test_same_input_same_bytes(tmp_path: Path, helpers: Any, codec: str) -> None:
    suffix = "webm" if codec == "libvpx-vp9" else "mp4"
    paths = [tmp_path / "one" / f"a.{suffix}", tmp_path / "another" / f"b.{suffix}"]
    for path in paths:
        write_video(path, (helpers.draw(i) for i in range(12)), 25, codec=codec)
    first, second = (p.read_bytes() for p in paths)
    assert first == second
    assert b"Lavf6" not in first  # no version of the library that wrote it


def test_the_index_comes_first_and_key_frames_often(tmp_path: Path, helpers: Any) -> None:
    path = tmp_path / "clip.mp4"
    write_video(path, (helpers.draw(i) for i in range(40)), 25, gop=8)
    assert is_faststart_mp4(path)
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
    assert [i for i, p in enumerate(packets) if p.is_keyframe] == [0, 8, 16, 24, 32]
    assert all(p.pts == p.dts for p in packets)
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_failure_leaves_the_old_file(tmp_path: Path, helpers: Any) -> None:
    path = tmp_path / "clip.mp4"
    write_video(path, (helpers.draw(i) for i in range(5)), 25)
    before = path.read_bytes()

    def breaks() -> Iterator[NDArray[np.uint8]]:
        yield helpers.draw(0)
        raise RuntimeError("the source ended early")

    with pytest.raises(RuntimeError, match="ended early"):
        write_video(path, breaks(), 25)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("b_frames", [0, 3])
def test_every_frame_keeps_its_time_and_the_last_its_duration(tmp_path: Path, helpers: Any, b_frames: int) -> None:
    path = tmp_path / "clip.mp4"
    times = 3.5 + helpers.variable_times(30)
    write_video(path, (helpers.draw(i) for i in range(30)), 10, pts=times, b_frames=b_frames)
    with open_video(path) as video:
        np.testing.assert_allclose(video.timestamps, times, atol=1e-5)
        assert [helpers.read(f) for f in video.frames(range(30))] == list(range(30))
    if b_frames == 0:  # an mp4 with reordered frames does not say how long its last one is shown
        assert probe(path).end == pytest.approx(times[-1] + 0.1, abs=1e-4)


def test_pictures_survive(tmp_path: Path, helpers: Any) -> None:
    path = tmp_path / "clip.mp4"
    write_video(path, helpers.corners(), 25, crf=10)
    original = next(iter(helpers.corners()))
    with open_video(path) as video:
        assert np.abs(video.frames([1])[0].astype(int) - original).mean() < 4


@pytest.mark.parametrize(
    ("frames", "options", "words"),
    [
        ([], {}, "no frames"),
        ([np.zeros((8, 8), np.uint8)], {}, r"\(H, W, 3\)"),
        ([np.zeros((8, 8, 3), np.float32)], {}, "float32"),
        ([np.zeros((9, 8, 3), np.uint8)], {}, "even height"),
        ([np.zeros((16, 16, 3), np.uint8), np.zeros((16, 18, 3), np.uint8)], {}, "frame 1"),
        ([np.zeros((16, 16, 3), np.uint8)] * 3, {"pts": [0.0, 1.0]}, "more frames than the 2 times"),
        ([np.zeros((16, 16, 3), np.uint8)] * 3, {"pts": [0.0, 1.0, 2.0, 3.0]}, "3 frames for 4 times"),
        ([np.zeros((16, 16, 3), np.uint8)] * 3, {"pts": [0.0, 2.0, 1.0]}, "ascend"),
        ([np.zeros((16, 16, 3), np.uint8)], {"fps": 0}, "0 frames per second"),
        ([np.zeros((16, 16, 3), np.uint8)], {"codec": "no-such-codec"}, "no-such-codec"),
    ],
)
def test_what_cannot_be_written_is_named(tmp_path: Path, frames: Any, options: dict[str, Any], words: str) -> None:
    fps = options.pop("fps", 25)
    with pytest.raises(UsageError, match=words):
        write_video(tmp_path / "clip.mp4", frames, fps, **options)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_suffix_is_named(tmp_path: Path, helpers: Any) -> None:
    with pytest.raises(UsageError, match=r"clip\.xyz"):
        write_video(tmp_path / "clip.xyz", [helpers.draw(0)], 25)


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="this system tells no scheduling class")
def test_no_codec_raises_the_priority_of_this_process(tmp_path: Path) -> None:
    before = os.sched_getscheduler(0)
    frames = [np.full((64, 64, 3), 40 * i, np.uint8) for i in range(4)]
    for codec in ("libx264", "libx265", "libsvtav1", "mpeg4", "libvpx-vp9"):
        write_video(tmp_path / f"{codec}.mkv", frames, 25, codec=codec)
        assert os.sched_getscheduler(0) == before, codec
