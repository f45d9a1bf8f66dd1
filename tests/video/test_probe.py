from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kloc.errors import FormatError, VideoError
from kloc.video import Probe, open_video, probe, write_video
from kloc.video.probe import is_variable
from kloc.video.source import has_decord

BY_PYAV = {"mpeg4.avi", "stream.ts", "av1.mp4", "trimmed.mp4", "open_gop.mp4"}


def test_a_probe_tells_the_truth(clip: Path, helpers: Any) -> None:
    times, _, last = helpers.truth(clip.name)
    found = probe(clip)
    assert found.n_frames == times.size
    assert found.start == pytest.approx(times[0], abs=6e-4)
    assert found.end == pytest.approx(times[-1] + last, abs=2e-3)
    assert (found.width, found.height, found.rotation) == (160, 96, 0)
    assert found.variable_rate is (clip.name in ("variable.mp4", "reordered.mp4"))
    rate = 1 / last if times.size == 1 else (times.size - 1) / (times[-1] - times[0])
    assert found.fps == pytest.approx(rate, rel=1e-3)
    assert found.warning is None
    assert found.decoder == ("decord" if has_decord() and clip.name not in BY_PYAV else "pyav")
    assert found.pixel_aspect == 1.0


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"),
    [
        ("constant.mp4", "h264", "yuv420p"),
        ("ten_bit.mp4", "h264", "yuv420p10le"),
        ("hevc_ten_bit.mp4", "hevc", "yuv420p10le"),
        ("av1.mp4", "av1", "yuv420p"),
        ("vp9.webm", "vp9", "yuv420p"),
        ("mpeg4.avi", "mpeg4", "yuv420p"),
    ],
)
def test_codec_and_pixel_format(clips: dict[str, Path], name: str, codec: str, pixel_format: str) -> None:
    found = probe(clips[name])
    assert (found.codec, found.pixel_format) == (codec, pixel_format)


def test_a_probe_survives_json(clip: Path) -> None:
    found = probe(clip)
    assert Probe.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert found.duration == found.end - found.start


def test_a_foreign_record_is_refused(clips: dict[str, Path]) -> None:
    value = probe(clips["one_frame.mp4"]).to_json()
    with pytest.raises(FormatError, match="colour"):
        Probe.from_json({**value, "colour": "red"})
    del value["end"]
    with pytest.raises(FormatError, match="end"):
        Probe.from_json(value)


def test_a_phone_video_is_upright(tmp_path: Path, helpers: Any) -> None:
    path = tmp_path / "phone.mp4"
    write_video(path, helpers.corners(), 25, rotation=90)
    found = probe(path)
    assert (found.width, found.height, found.rotation) == (64, 96, 90)


def _numbered(path: Path, helpers: Any, n: int = 300, **options: Any) -> bytes:
    write_video(path, (helpers.draw(i) for i in range(n)), 25, gop=12, **options)
    return path.read_bytes()


@pytest.mark.parametrize("name", ["half.mp4", "half.mkv", "half.avi", "half.webm"])
@pytest.mark.parametrize("part", [0.5, 0.83])
def test_a_truncated_file_is_used_as_far_as_it_goes(tmp_path: Path, helpers: Any, name: str, part: float) -> None:
    path = tmp_path / name
    codec = {"half.avi": "mpeg4", "half.webm": "libvpx-vp9"}.get(name, "libx264")
    data = _numbered(path, helpers, codec=codec)
    path.write_bytes(data[: int(len(data) * part)])
    found = probe(path)
    assert found.warning is not None
    assert "truncated" in found.warning
    assert "\n" not in found.warning
    assert 12.0 * part - 2.5 < found.end <= 12.0 * part + 2.5
    assert found.n_frames == pytest.approx(found.end * 25, abs=4)
    with open_video(path, decoder=found.decoder) as video:
        assert video.n_frames == found.n_frames
        ends = video.frames([0, found.n_frames - 1])
        expected = [0, round(video.timestamps[-1] * 25)]
    assert [helpers.read(f) for f in ends] == expected


def test_an_index_at_the_end_that_is_cut_off_leaves_nothing(tmp_path: Path, helpers: Any) -> None:
    path = tmp_path / "late index.mp4"
    data = _numbered(path, helpers)
    # Without faststart the moov box comes last: dropping it is what an aborted download does.
    path.write_bytes(data[:32] + data[data.index(b"mdat") - 4 :])
    with pytest.raises(VideoError, match=r"late index\.mp4: .*index is missing.*fetch or convert") as caught:
        probe(path)
    assert "\n" not in str(caught.value)


def test_a_header_alone_is_no_video(tmp_path: Path, helpers: Any) -> None:
    path = tmp_path / "header.mp4"
    data = _numbered(path, helpers)
    path.write_bytes(data[: data.index(b"mdat") + 40])
    with pytest.raises(VideoError, match=r"no frame can be decoded.*h264"):
        probe(path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.mp4", b"", r"empty \(0 bytes\)"),
        ("page.mp4", b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>", "web page"),
        ("page2.mp4", b"\xef\xbb\xbf  <HTML lang='en'>sign in</HTML>", "web page"),
        ("noise.mp4", bytes(range(256)) * 40, "no container format"),
        ("text.mkv", b"just some words\n" * 50, "no container format"),
        ("list.mp4", b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n", "no container format"),
        ("script.mp4", b"ffconcat version 1.0\nfile /etc/passwd\n", "no container format"),
    ],
)
def test_what_is_no_video_is_refused_in_one_line(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(VideoError, match=words) as caught:
        probe(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files_folders_and_dead_links(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"nowhere\.mp4: no such file"):
        probe(tmp_path / "nowhere.mp4")
    with pytest.raises(VideoError, match="is a folder"):
        probe(tmp_path)
    link = tmp_path / "dead.mp4"
    link.symlink_to(tmp_path / "gone.mp4")
    with pytest.raises(VideoError, match=r"dead\.mp4: no such file"):
        probe(link)
    odd = tmp_path / "two\nlines.mp4"
    with pytest.raises(VideoError) as caught:
        probe(odd)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="everybody may read here")
def test_a_file_without_permission(tmp_path: Path, helpers: Any) -> None:
    path = tmp_path / "private.mp4"
    _numbered(path, helpers, 5)
    path.chmod(0)
    with pytest.raises(VideoError, match="cannot be read: Permission denied"):
        probe(path)


def test_sound_alone_is_no_video(tmp_path: Path, helpers: Any) -> None:
    path = tmp_path / "song.mp4"
    helpers.write_with_sound(path, 0, 0.0)
    with pytest.raises(VideoError, match=r"song\.mp4: holds only audio"):
        probe(path)


def test_relative_paths_and_names_like_protocols(tmp_path: Path, helpers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _numbered(Path("plain.mp4"), helpers, 5)
    Path("concat:plain.mp4").write_bytes(Path("plain.mp4").read_bytes())
    for name in ("plain.mp4", "concat:plain.mp4"):
        assert probe(name).n_frames == 5


@pytest.mark.parametrize(
    ("times", "variable"),
    [
        ([0.0], False),
        ([0.0, 0.5], False),
        (np.arange(200) / 30, False),
        (np.round(np.arange(200) / 30, 3), False),  # Matroska's milliseconds
        (np.round(np.arange(200) * 1001 / 60000, 3), False),
        (np.delete(np.arange(200) / 30, 77), True),  # one frame dropped
        (np.concatenate([np.arange(100) / 30, 100 / 30 + np.arange(100) / 15]), True),
        (np.concatenate([np.arange(500) / 30, 500 / 30 + np.arange(500) / 28]), True),  # drifts slowly
    ],
)
def test_variable_rate_is_more_than_rounding(times: Any, variable: bool) -> None:
    assert is_variable(np.asarray(times, dtype=np.float64)) is variable


@pytest.mark.realdata
def test_real_videos_probe_and_read(real_videos: Path) -> None:
    paths = sorted(real_videos.rglob("*.*"))
    chosen = [p for p in paths if p.parent.name in ("misc", "activitynet")] + [
        p for p in paths if p.parent.parent.name == "ucf101"
    ][::25]
    assert len(chosen) > 10
    for path in chosen:
        found = probe(path)
        assert found.start == 0.0, path.name
        assert found.warning is None, path.name
        with open_video(path, decoder=found.decoder) as a, open_video(path, decoder="pyav") as b:
            indices = np.linspace(0, found.n_frames - 1, 7).astype(np.int64)
            np.testing.assert_array_equal(a.frames(indices), b.frames(indices), err_msg=path.name)
            assert found.end > a.timestamps[-1]
