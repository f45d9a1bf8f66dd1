"""Extraction: the right frame for every sample, the same bytes whatever the number of workers, bad videos named."""

from __future__ import annotations

import dataclasses
import math
import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from counted_frames import counted_frames, grey_level
from numpy.typing import NDArray

from kloc.engine import map_videos
from kloc.errors import MismatchError, VideoError
from kloc.features.backbone import Backbone, make_backbone
from kloc.features.bank import FeatureBank
from kloc.features.extract import (
    ExtractTask,
    FeatureWorker,
    estimate_seconds,
    extract_video,
    extraction_settings,
)
from kloc.video.probe import probe
from kloc.video.write import write_video


class MeanColour:
    """A backbone whose feature is the mean colour of what it is shown, and that remembers the sizes it saw."""

    name, dim, input_size, short_side = "mean-colour", 3, 64, 80
    weights_id, weights_source = "none", "none"

    def __init__(self) -> None:
        self.shapes: set[tuple[int, ...]] = set()

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.shapes.add(frames.shape[1:])
        return frames.mean((1, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def embedded() -> Backbone:
    return make_backbone("efficientnet-lite0", device="cpu")


@pytest.mark.parametrize(("video_fps", "fps"), [(25, 5.0), (30, 4.0), (24, 24.0), (10, 25.0), (25, 0.5)])
def test_every_sample_shows_the_frame_nearest_to_its_time(tmp_path: Path, video_fps: int, fps: float) -> None:
    path, count = tmp_path / "counted.mp4", 60
    write_video(path, counted_frames(count), video_fps)
    backbone = MeanColour()
    features, grid = extract_video(path, probe(path), backbone, extraction_settings(backbone, fps=fps))
    assert features.shape == (max(1, math.ceil(count / video_fps * fps - 0.5 - 1e-9)), 3)
    assert grid.count == len(features)
    assert backbone.shapes == {(64, 64, 3)}
    for time, feature in zip(grid.times, features, strict=True):
        position = time * video_fps  # in frames; a frame is shown at its index
        nearest = {min(count - 1, math.floor(position + 0.5 + d)) for d in (-1e-6, 1e-6)}
        assert any(abs(feature.mean() - grey_level(index)) < 10 for index in nearest)


def test_a_long_video_is_sampled_at_a_lower_rate(tmp_path: Path) -> None:
    path = tmp_path / "counted.mp4"
    write_video(path, counted_frames(50), 25)
    backbone = MeanColour()
    features, grid = extract_video(path, probe(path), backbone, extraction_settings(backbone, fps=5.0, max_frames=4))
    assert features.shape == (4, 3)
    assert grid.times.tolist() == pytest.approx([0.25, 0.75, 1.25, 1.75])


def test_features_and_files_are_the_same_whatever_the_number_of_workers(
    tmp_path: Path, textured_videos: list[Path], embedded: Backbone
) -> None:
    settings = extraction_settings(embedded, fps=5.0)
    tasks = [ExtractTask(path.stem, str(path), probe(path), "ab" * 32) for path in textured_videos]
    made: list[tuple[dict[str, Any], dict[str, bytes]]] = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        bank, infos, failures = FeatureBank(folder, settings), {}, []
        map_videos(
            partial(FeatureWorker, folder, settings, None, "cpu"),
            tasks,
            workers=workers,
            on_result=lambda task, info, infos=infos: infos.update({task.video_id: info}),
            on_error=lambda task, reason, failures=failures: failures.append(reason),
        )
        assert failures == []
        for task in tasks:
            found = bank.read(task.video_id, infos[task.video_id])
            direct, grid = extract_video(task.path, task.probe, embedded, settings)
            assert np.array_equal(found.features, direct.astype(np.float16).astype(np.float32))
            assert found.grid == grid
            assert np.abs(direct).max() > 0.5
        files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        made.append((infos, files))
    assert made[0] == made[1]
    info = made[0][0]["clip0"]
    assert (info["video_sha256"], info["n_frames"], info["weights_source"]) == ("ab" * 32, 50, "imagenet")
    assert info["decoder"] in ("decord", "pyav")


def test_a_video_that_breaks_is_named_and_leaves_no_thread(tmp_path: Path, textured_videos: list[Path]) -> None:
    backbone = MeanColour()
    known = probe(textured_videos[0])
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(textured_videos[0].read_bytes()[:300])
    with pytest.raises(VideoError, match=r"broken\.mp4"):
        extract_video(broken, known, backbone, extraction_settings(backbone, fps=5.0))
    assert not [t for t in threading.enumerate() if t.name == "kloc-decode"]


def test_a_backbone_that_breaks_leaves_no_thread(textured_videos: list[Path]) -> None:
    class Breaks(MeanColour):
        def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
            raise ArithmeticError("overflow")

    with pytest.raises(ArithmeticError):
        extract_video(textured_videos[0], probe(textured_videos[0]), Breaks(), extraction_settings(Breaks(), fps=25.0))
    assert not [t for t in threading.enumerate() if t.name == "kloc-decode"]


def test_a_worker_refuses_weights_that_the_settings_do_not_name(tmp_path: Path, embedded: Backbone) -> None:
    settings = dataclasses.replace(extraction_settings(embedded, fps=5.0), weights_id="f" * 16)
    FeatureBank(tmp_path, settings)
    with pytest.raises(MismatchError, match="weights_id"):
        FeatureWorker(tmp_path, settings, None, "cpu")


def test_settings_with_random_weights_rebuild_them(tmp_path: Path) -> None:
    backbone = make_backbone("efficientnet-lite0", device="cpu", random_seed=3)
    settings = extraction_settings(backbone, fps=5.0)
    assert FeatureWorker(tmp_path, settings, None, "cpu").backbone.weights_id == "random-3"


def test_the_estimate_grows_with_the_work_and_leaves_out_what_cannot_be_read(
    tmp_path: Path, textured_videos: list[Path], embedded: Backbone
) -> None:
    settings = extraction_settings(embedded, fps=5.0)
    tasks = [ExtractTask(p.stem, str(p), probe(p)) for p in textured_videos]
    gone = dataclasses.replace(tasks[0], path=str(tmp_path / "gone.mp4"))
    few = estimate_seconds(tasks[:1], embedded, settings, workers=1)
    many = estimate_seconds(tasks * 200, embedded, settings, workers=1)
    assert 0 < few < many < math.inf
    assert 0 < estimate_seconds([gone], embedded, settings, workers=1) < math.inf
    assert estimate_seconds([], embedded, settings, workers=2) == 0
