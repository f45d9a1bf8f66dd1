from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from kloc.errors import UsageError, VideoError
from kloc.video import make_proxy, open_video, probe, write_video
from kloc.video import proxy as proxy_module
from kloc.video.proxy import is_faststart_mp4, shown_frames
from kloc.video.timeline import read_timeline

#: Clips that a browser can seek in as they are.
FRIENDLY = {"constant.mp4", "a name with späces & 名前.mp4", "link.mp4", "one_frame.mp4"}


def test_proxy_time_plus_offset_is_video_time(clip: Path, tmp_path: Path, helpers: Any) -> None:
    times, numbers, last = helpers.truth(clip.name)
    out = tmp_path / "proxies" / "p.mp4"
    made = make_proxy(clip, out, probe(clip))
    assert made.path == out
    assert made.reused is (clip.name in FRIENDLY)
    assert made.offset == pytest.approx(times[0], abs=6e-4)
    assert made.duration == pytest.approx(times[-1] + last - times[0], abs=made.frame_period)
    found = probe(out)
    assert found.start == 0.0
    assert not found.variable_rate
    assert (found.codec, found.pixel_format, found.rotation) == ("h264", "yuv420p", 0)
    assert found.end == pytest.approx(made.duration, abs=1e-3)
    assert is_faststart_mp4(out)
    with open_video(out) as video:
        np.testing.assert_allclose(np.diff(video.timestamps), made.frame_period, atol=1e-4)
        for t, frame in zip(video.timestamps, video.frames(range(video.n_frames)), strict=True):
            # The number on screen is one that the original shows within one proxy frame of that moment.
            moment = t + made.offset
            low = np.searchsorted(times, moment - made.frame_period, side="right") - 1
            high = np.searchsorted(times, moment + made.frame_period, side="right") - 1
            allowed = numbers[max(low, 0) : max(high, 0) + 1]
            assert helpers.read(frame) in allowed, f"at {moment:.3f} s"


def test_a_constant_rate_keeps_every_frame_once(clips: dict[str, Path], tmp_path: Path, helpers: Any) -> None:
    for name in ("one_gop.mp4", "late.mp4", "ntsc.mkv", "mpeg4.avi", "sound_first.mp4"):
        out = tmp_path / "p.mp4"
        assert not make_proxy(clips[name], out, probe(clips[name])).reused
        with open_video(out) as video:
            assert [helpers.read(f) for f in video.frames(range(video.n_frames))] == list(range(60)), name


def test_oblong_pixels_become_square(tmp_path: Path, helpers: Any) -> None:
    source = tmp_path / "anamorphic.mp4"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 96, 160, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)
        for i in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(helpers.draw(i), format="rgb24")))
        container.mux(stream.encode(None))
    assert probe(source).pixel_aspect == 2.0
    made = make_proxy(source, tmp_path / "p.mp4", probe(source))
    assert not made.reused
    found = probe(made.path)
    assert (found.width, found.height, found.pixel_aspect) == (320, 96, 1.0)


def test_times_that_span_days_are_refused(tmp_path: Path, helpers: Any) -> None:
    source = tmp_path / "years.mkv"
    write_video(source, (helpers.draw(i) for i in range(3)), 25, pts=[0.0, 0.04, 5e6])
    with pytest.raises(VideoError, match="1389 hours"):
        make_proxy(source, tmp_path / "p.mp4", probe(source))
    assert list(tmp_path.iterdir()) == [source]


def test_key_frames_are_near(clips: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "p.mp4"
    make_proxy(clips["one_gop.mp4"], out, probe(clips["one_gop.mp4"]), gop=10)
    timeline = read_timeline(out)
    assert np.searchsorted(timeline.pts, timeline.keys).tolist() == [0, 10, 20, 30, 40, 50]


def test_reuse_links_and_copies(clips: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "original.mp4"
    source.write_bytes(clips["constant.mp4"].read_bytes())
    link = tmp_path / "link.mp4"
    link.symlink_to(source)
    out = tmp_path / "out" / "p.mp4"
    for _ in range(2):  # the second time over the first link
        made = make_proxy(link, out, probe(link))
        assert made.reused
        assert made.offset == 0.0
        assert out.samefile(source)
        assert not out.is_symlink()
        assert list(out.parent.iterdir()) == [out]
    assert made.frame_period == pytest.approx(0.04)

    def refuse(*_: Any) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    copy = tmp_path / "out" / "copy.mp4"
    assert make_proxy(source, copy, probe(source)).reused
    assert not copy.samefile(source)
    assert copy.read_bytes() == source.read_bytes()


def test_large_and_turned_originals_become_small_and_upright(tmp_path: Path, helpers: Any) -> None:
    large = tmp_path / "large.mp4"
    write_video(large, (helpers.draw(i, 720, 1280) for i in range(3)), 25)
    made = make_proxy(large, tmp_path / "p.mp4", probe(large))
    assert not made.reused
    found = probe(made.path)
    assert (found.width, found.height) == (640, 360)
    phone = tmp_path / "phone.mp4"
    write_video(phone, helpers.corners(), 25, rotation=90)
    made = make_proxy(phone, tmp_path / "q.mp4", probe(phone))
    assert not made.reused
    found = probe(made.path)
    assert (found.width, found.height, found.rotation) == (64, 96, 0)
    with open_video(made.path) as video:
        assert helpers.corner_names(video.frames([0])[0]) == ["blue", "red", "white", "green"]


def test_same_original_same_proxy_bytes(clips: dict[str, Path], tmp_path: Path) -> None:
    source = clips["variable.mp4"]
    first = make_proxy(source, tmp_path / "a.mp4", probe(source)).path.read_bytes()
    assert make_proxy(source, tmp_path / "b.mp4", probe(source)).path.read_bytes() == first


def test_an_original_is_never_replaced(clips: dict[str, Path], tmp_path: Path) -> None:
    source = tmp_path / "original.mp4"
    source.write_bytes(clips["one_gop.mp4"].read_bytes())
    with pytest.raises(UsageError, match="replace its own original"):
        make_proxy(source, source, probe(source))


def test_a_lost_original_leaves_no_proxy(clips: dict[str, Path], tmp_path: Path) -> None:
    found = probe(clips["one_gop.mp4"])
    with pytest.raises(VideoError, match="no such file"):
        make_proxy(tmp_path / "gone.mp4", tmp_path / "p.mp4", found)
    assert list(tmp_path.iterdir()) == []


def test_mp4_with_its_index_behind_is_not_faststart(clips: dict[str, Path], tmp_path: Path) -> None:
    data = clips["constant.mp4"].read_bytes()
    at = data.index(b"moov") - 4
    size = int.from_bytes(data[at : at + 4], "big")
    path = tmp_path / "slow.mp4"
    path.write_bytes(data[:at] + data[at + size :] + data[at : at + size])
    assert not is_faststart_mp4(path)
    assert is_faststart_mp4(clips["constant.mp4"])
    assert not is_faststart_mp4(clips["ntsc.mkv"])


def test_frames_on_screen_by_looking_at_all() -> None:
    rng = np.random.default_rng(0)
    times = np.unique(np.round(rng.uniform(1, 9, 50), 2))
    moments = rng.uniform(0, 10, 200)
    moments = moments[np.min(np.abs(moments[:, None] - times), axis=1) > 0.003]
    expected = [max((i for i, t in enumerate(times) if t <= m), default=0) for m in moments]
    assert shown_frames(times, moments).tolist() == expected
    # A proxy frame a rounding error early still shows the frame that is due.
    assert shown_frames(times, times - 0.001).tolist() == list(range(times.size))


def test_chunks_do_not_change_the_proxy(
    clips: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = clips["variable.mp4"]
    whole = make_proxy(source, tmp_path / "a.mp4", probe(source)).path.read_bytes()
    monkeypatch.setattr(proxy_module, "_CHUNK", 3)
    assert make_proxy(source, tmp_path / "b.mp4", probe(source)).path.read_bytes() == whole
