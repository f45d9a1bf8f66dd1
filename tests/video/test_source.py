from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kloc.errors import UsageError, VideoError
from kloc.video import open_video, probe, write_video
from kloc.video.source import has_decord

needs_decord = pytest.mark.skipif(not has_decord(), reason="decord is not installed here")

#: Clips decord reads; the others must go to PyAV by themselves.
BY_PYAV = {"mpeg4.avi", "stream.ts", "av1.mp4", "trimmed.mp4", "open_gop.mp4"}


def test_frames_and_times_are_those_that_were_written(clip: Path, helpers: Any) -> None:
    times, numbers, _ = helpers.truth(clip.name)
    for decoder in ("auto", "pyav"):
        with open_video(clip, decoder=decoder) as video:
            assert video.n_frames == times.size
            # Matroska rounds to milliseconds.
            np.testing.assert_allclose(video.timestamps, times, atol=6e-4)
            assert [helpers.read(f) for f in video.frames(range(video.n_frames))] == numbers.tolist()


def test_any_order_of_indices_gives_the_same_frames(clip: Path, helpers: Any) -> None:
    rng = np.random.default_rng(3)
    for decoder in ("auto", "pyav"):
        with open_video(clip, decoder=decoder) as video:
            whole = video.frames(range(video.n_frames))
        for order in (rng.integers(0, whole.shape[0], 25), np.arange(0, whole.shape[0], 13)[::-1]):
            with open_video(clip, decoder=decoder) as video:
                np.testing.assert_array_equal(video.frames(order), whole[order])
                one_by_one = [video.frames([int(i)])[0] for i in order[:8]]
                np.testing.assert_array_equal(np.stack(one_by_one), whole[order[:8]])


@needs_decord
def test_auto_takes_decord_only_where_it_is_right(clip: Path) -> None:
    with open_video(clip) as video:
        assert video.decoder == ("pyav" if clip.name in BY_PYAV else "decord")


@needs_decord
def test_both_readers_give_the_same_pictures(clip: Path) -> None:
    if clip.name in BY_PYAV:
        with pytest.raises(VideoError, match="decord cannot read it") as caught:
            open_video(clip, decoder="decord")
        assert "\n" not in str(caught.value)
        return
    with open_video(clip, decoder="decord") as a, open_video(clip, decoder="pyav") as b:
        np.testing.assert_array_equal(a.timestamps, b.timestamps)
        x, y = a.frames(range(a.n_frames)), b.frames(range(b.n_frames))
    if "ten_bit" in clip.name:  # two versions of the scaler round 10 bits to 8 differently
        assert np.abs(x.astype(int) - y).max() <= 3
    else:
        np.testing.assert_array_equal(x, y)


@needs_decord
@pytest.mark.parametrize("size", [(112, 112), (48, 32), (24, 40), (100, 60), (320, 192)])
def test_sizes_agree_between_readers(clips: dict[str, Path], helpers: Any, size: tuple[int, int]) -> None:
    shapes = []
    for decoder in ("decord", "pyav"):
        with open_video(clips["b_frames.mp4"], size=size, decoder=decoder) as video:
            frames = video.frames([0, 17, 59])
        assert frames.shape == (3, size[1], size[0], 3)
        assert [helpers.read(f) for f in frames] == [0, 17, 59]
        shapes.append(frames.astype(int))
    assert np.abs(shapes[0] - shapes[1]).mean() < 2


@pytest.mark.parametrize("decoder", ["auto", "pyav"])
def test_short_side_keeps_the_aspect(clips: dict[str, Path], tmp_path: Path, helpers: Any, decoder: Any) -> None:
    with open_video(clips["constant.mp4"], short_side=48, decoder=decoder) as video:
        assert video.frames([5]).shape == (1, 48, 80, 3)
    upright = tmp_path / "phone.mp4"
    write_video(upright, helpers.corners(), 25, rotation=90)
    with open_video(upright, short_side=48, decoder=decoder) as video:
        assert video.frames([0]).shape == (1, 72, 48, 3)


@pytest.mark.parametrize("decoder", ["auto", "pyav"])
@pytest.mark.parametrize(
    ("rotation", "names"),
    [
        (0, ["red", "green", "blue", "white"]),
        (90, ["blue", "red", "white", "green"]),
        (180, ["white", "blue", "green", "red"]),
        (270, ["green", "white", "red", "blue"]),
    ],
)
def test_rotation_is_applied(tmp_path: Path, helpers: Any, rotation: int, names: list[str], decoder: Any) -> None:
    path = tmp_path / "phone.mp4"
    write_video(path, helpers.corners(), 25, rotation=rotation)
    with open_video(path, decoder=decoder) as video:
        frame = video.frames([2])[0]
    assert frame.shape == ((96, 64, 3) if rotation % 180 else (64, 96, 3))
    assert helpers.corner_names(frame) == names


def test_no_indices_give_no_frames(clip: Path) -> None:
    for decoder in ("auto", "pyav"):
        with open_video(clip, size=(20, 10), decoder=decoder) as video:
            assert video.frames([]).shape == (0, 10, 20, 3)


@pytest.mark.parametrize("decoder", ["auto", "pyav"])
@pytest.mark.parametrize("index", [-1, 60])
def test_an_index_outside_is_refused(clips: dict[str, Path], decoder: Any, index: int) -> None:
    with open_video(clips["constant.mp4"], decoder=decoder) as video, pytest.raises(UsageError, match="60 frames"):
        video.frames([0, index])


def test_wrong_arguments_are_named(clips: dict[str, Path]) -> None:
    path = clips["constant.mp4"]
    with pytest.raises(UsageError, match="not both"):
        open_video(path, size=(8, 8), short_side=8)
    with pytest.raises(UsageError, match="opencv"):
        open_video(path, decoder="opencv")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="0x8"):
        open_video(path, size=(0, 8))


def test_works_with_decord_blocked(clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch, helpers: Any) -> None:
    monkeypatch.setitem(sys.modules, "decord", None)
    with open_video(clips["constant.mp4"]) as video:
        assert video.decoder == "pyav"
        assert helpers.read(video.frames([33])[0]) == 33
    assert probe(clips["constant.mp4"]).decoder == "pyav"
    with pytest.raises(VideoError, match="decord is not installed"):
        open_video(clips["constant.mp4"], decoder="decord")


def test_damage_in_the_middle_costs_only_its_own_frames(tmp_path: Path, helpers: Any) -> None:
    path = tmp_path / "scratched.mp4"
    write_video(path, (helpers.draw(i) for i in range(200)), 25, gop=20)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    path.write_bytes(data)
    found = probe(path)
    assert found.n_frames == 200
    readings = []
    for decoder in ("auto", "pyav"):
        with open_video(path, decoder=decoder) as video:
            frames = video.frames(range(200))
            readings.append([helpers.read(f) for f in frames])
            # After the damage the same reader goes on.
            assert helpers.read(video.frames([199])[0]) == 199
    wrong = [i for i, number in enumerate(readings[0]) if number != i]
    assert readings[0] == readings[1]
    assert len(wrong) <= 40
    assert not wrong or max(wrong) - min(wrong) < 40


def _numbers(arguments: tuple[str, list[int]]) -> list[float]:
    path, indices = arguments
    with open_video(path) as video:
        return [float(f.mean()) for f in video.frames(indices)]


def test_readers_work_in_spawned_workers(clips: dict[str, Path]) -> None:
    paths = [str(clips["constant.mp4"]), str(clips["av1.mp4"])]
    expected = [_numbers((p, [3, 40])) for p in paths]  # readers were open in this process before
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(probe, paths) == [probe(p) for p in paths]
    assert [_numbers((p, [3, 40])) for p in paths] == expected


def test_a_replaced_file_is_read_anew(tmp_path: Path, helpers: Any) -> None:
    path = tmp_path / "clip.mp4"
    write_video(path, (helpers.draw(i) for i in range(10)), 25)
    assert probe(path).n_frames == 10
    write_video(path, (helpers.draw(i) for i in range(20)), 25)
    assert probe(path).n_frames == 20
