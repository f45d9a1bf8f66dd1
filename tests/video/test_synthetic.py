"""The generated demo videos: reproducible, exact to the frame, uneven as promised."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from kloc.errors import UsageError
from kloc.video.source import open_video
from kloc.video.synthetic import (
    CLASSES,
    Difficulty,
    VideoPlan,
    as_dataset,
    draw_frames,
    make_demo_videos,
    plan,
    render,
)
from kloc.video.synthetic_actors import ACTORS, LOOKALIKE, PALETTES, PASSERS, Pose, Style, draw_actor, draw_passer
from kloc.video.synthetic_scenes import SCENES, paint

#: Still life: the camera, the light and the sensor hold still and nothing passes, so only actors change pixels.
STILL = Difficulty(seconds=(6, 7), action_seconds=(1, 2), light=0, restless=0, grain=0, passers=0, empty=0, tease=0)


def test_plan_depends_on_the_seed_alone() -> None:
    assert plan(5) == plan(5)
    assert plan(5) != plan(6)


@pytest.mark.parametrize("n", [12, 14, 24, 48, 61])
def test_plan_has_every_class_in_both_subsets(n: int) -> None:
    plans = plan(3, n)
    assert len({p.id for p in plans}) == n
    for subset in ("training", "validation"):
        assert {p.label for p in plans if p.subset == subset} == set(CLASSES)
    if n >= 18:
        assert sum(p.subset == "validation" for p in plans) == n // 3


def test_too_few_videos_or_workers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 12 videos, not 11"):
        plan(0, 11)
    with pytest.raises(UsageError, match="workers"):
        make_demo_videos(tmp_path, n_videos=12, seed=0, workers=0)


def test_instances_lie_inside_their_video_and_apart() -> None:
    counts: list[int] = []
    for seed in range(4):
        for p in plan(seed):
            own = [i for i in p.instances if i.label == p.label]
            counts.append(len(own))
            for label in CLASSES:
                mine = [i for i in p.instances if i.label == label]
                assert all(0 <= i.start < i.end <= p.duration for i in mine)
                assert all(a.end + 1 <= b.start + 1e-9 for a, b in pairwise(mine))
            assert all(abs(t * p.fps - round(t * p.fps)) < 1e-9 for i in p.instances for t in (i.start, i.end))
            for actor in p.actors:
                for a, b in pairwise(actor.spans):
                    assert a.last <= b.first
    assert set(counts) == {0, 1, 2, 3, 4, 5}


def test_classes_are_uneven_and_some_videos_are_empty() -> None:
    plans = plan(1)
    count = Counter(p.label for p in plans)
    assert max(count.values()) >= 2 * min(count.values())
    assert any(not p.instances for p in plans)


def test_truth_is_exhaustive_and_holds_every_video(tmp_path: Path) -> None:
    plans = plan(2, 12)
    dataset = as_dataset(plans, tmp_path)
    assert set(dataset.annotations) == set(dataset.videos) == {p.id for p in plans}
    for p in plans:
        video, annotation = dataset.videos[p.id], dataset.annotations[p.id]
        assert (video.start, video.end, video.labels) == (0.0, p.n_frames / p.fps, (p.label,))
        assert annotation.exhaustive_for is None
        assert annotation.instances == p.instances


def _still(seed: int = 4) -> VideoPlan:
    """A video without foreground that has an action neither at its first nor its last frame."""
    for p in plan(seed, 24, STILL):
        spans = [s for a in p.actors for s in a.spans]
        inside = all(s.first > 0 and s.last < p.n_frames for s in spans)
        if len(p.actors) == 1 and spans and inside and p.label in ("opening an umbrella", "waving a flag"):
            return p
    raise AssertionError("no such video in the plan; choose another seed")


def test_an_action_changes_exactly_the_frames_of_its_truth() -> None:
    video = _still()
    frames = list(draw_frames(video))
    assert len(frames) == video.n_frames
    assert frames[0].shape == (video.height, video.width, 3)
    assert frames[0].dtype == np.uint8
    # Where nothing acts every frame shows the idle actor: equal to every other such frame but for the camera's shake.
    acting = {i for a in video.actors for s in a.spans for i in range(s.first, s.last)}
    idle = next(i for i in range(video.n_frames) if i not in acting)
    different = {i for i, frame in enumerate(frames) if not np.array_equal(frame, frames[idle])}
    assert different == acting


def test_a_file_holds_the_planned_frames(tmp_path: Path) -> None:
    video = _still()
    render(video, tmp_path / "a.mp4")
    with open_video(tmp_path / "a.mp4") as source:
        assert source.n_frames == video.n_frames
        np.testing.assert_allclose(source.timestamps, np.arange(video.n_frames) / video.fps, atol=1e-3)
        shown = source.frames([0, video.n_frames - 1]).astype(np.int64)
    drawn = [frame.astype(np.int64) for frame in draw_frames(video)]
    assert np.abs(shown[0] - drawn[0]).mean() < 6
    assert np.abs(shown[1] - drawn[-1]).mean() < 6


def test_bytes_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    quick = replace(STILL, seconds=(2.0, 3.0), action_seconds=(0.5, 1.0), grain=1.5, light=0.2, passers=6, restless=1.5)
    hashes = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        videos, truth = make_demo_videos(folder, n_videos=12, seed=9, workers=workers, difficulty=quick)
        assert [v.id for v in videos] == list(truth.videos)
        paths = [Path(v.path or "") for v in videos]
        hashes.append([hashlib.sha256(p.read_bytes()).hexdigest() for p in paths])
    assert hashes[0] == hashes[1]
    assert len(set(hashes[0])) == 12


@pytest.mark.parametrize("label", sorted(ACTORS))
def test_acting_looks_different_from_standing_idle(label: str) -> None:
    style = Style(PALETTES[0], 0.4)
    idle, act = (np.asarray(draw_actor(label, Pose(m, 1.0, 1.0), style, 40), np.int64) for m in ("idle", "act"))
    assert idle.shape == act.shape == (104, 104, 4)
    assert (np.abs(idle - act).max(axis=2) > 40).mean() > 0.02


@pytest.mark.parametrize("name", sorted(PASSERS))
def test_passers_are_drawn_and_mirrored(name: str) -> None:
    style = Style(PALETTES[1], 0.4)
    one, other = (np.asarray(draw_passer(name, 0.7, style, 30, mirrored=m)) for m in (False, True))
    assert one[..., 3].any()
    assert np.array_equal(one[:, ::-1], other)


def test_every_class_has_a_lookalike() -> None:
    assert set(LOOKALIKE) == set(CLASSES)
    assert set(LOOKALIKE.values()) <= set(PASSERS)


@pytest.mark.parametrize("name", sorted(SCENES))
def test_scenes_are_painted_larger_than_the_frame(name: str) -> None:
    scene, again = (paint(name, np.random.default_rng(3), 160, 120, 20) for _ in range(2))
    assert scene.picture.size == (200, 140)
    assert 0 < scene.horizon < 140
    assert np.asarray(scene.picture).std() > 10
    assert scene.picture.tobytes() == again.picture.tobytes()
