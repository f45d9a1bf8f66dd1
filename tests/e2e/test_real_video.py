"""The same commands on real video: joined UCF101 clips with exact boundaries, and two ActivityNet videos."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.joined import Cut, clip_frames, joined_video
from kloc.config import template
from kloc.files import write_text
from kloc.formats import activitynet
from kloc.pipeline import exporting, features, loop, pool, proposals, training
from kloc.pipeline.reporting import crowd_annotations, f1_against
from kloc.pipeline.telling import Silent
from kloc.records import Annotation, Dataset, Video
from kloc.seeds import generator
from kloc.workspace import Workspace

pytestmark = pytest.mark.realdata
ACTIONS = ("Archery", "HorseRace", "Surfing")
BACKGROUND = ("BasketballDunk", "PlayingPiano", "PlayingViolin")


def make_joined(folder: Path, clips: Path, per_group: int = 2) -> Dataset:
    """Untrimmed videos of 4 clips each; the groups (scenes) of training and validation are disjoint."""
    videos: dict[str, Video] = {}
    truth: dict[str, Annotation] = {}
    for group in range(1, 6):
        subset: Any = "training" if group <= 3 else "validation"
        for index in range(per_group * len(ACTIONS)):
            rng = generator(1, "join", group, index)
            label = ACTIONS[index % len(ACTIONS)]
            there = sorted((clips / label).glob(f"*_g{group:02d}_*"))
            around = sorted(p for name in BACKGROUND for p in (clips / name).glob(f"*_g{group:02d}_*"))
            if not there or len(around) < 3:  # a class without a clip of this group
                continue
            order = [*(around[i] for i in rng.permutation(len(around))[:3]), there[int(rng.integers(len(there)))]]
            order = [order[i] for i in rng.permutation(4)]
            name = f"joined_g{group}_{index}"
            cuts = [Cut(clip_frames(p), p.parent.name if p.parent.name in ACTIONS else None) for p in order]
            videos[name], truth[name] = joined_video(cuts, folder / f"{name}.mp4", subset)
    return Dataset(ACTIONS, videos, truth, "joined UCF101")


@pytest.fixture(scope="module")
def joined(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Dataset]:
    folder = tmp_path_factory.mktemp("joined")
    (folder / "videos").mkdir()
    dataset = make_joined(folder / "videos", real_data / "videos" / "ucf101")
    activitynet.write(folder / "truth.json", dataset)
    activitynet.write(folder / "validation.json", dataset.of("validation"))
    rows = [f"{v.id},{';'.join(v.labels)},{v.subset}" for v in dataset.videos.values()]
    write_text(folder / "labels.csv", "\n".join(["video,label,subset", *rows]) + "\n")
    return folder, dataset


def test_the_loop_on_joined_real_clips(joined: tuple[Path, Dataset], tmp_path: Path) -> None:
    folder, dataset = joined
    assert len(dataset.videos) >= 20
    root = tmp_path / "workspace"
    pool.init(root)
    write_text(root / "kloc.toml", template(**{"features.fps": 2.0, "selection.batch": 6, "general.seed": 1}))
    workspace = Workspace.open(root)
    sources = [str(folder / name) for name in ("videos", "labels.csv", "validation.json")]
    pool.add(workspace, sources, reporter=Silent())
    summary = loop.run(workspace, rounds=2, truth=folder / "truth.json", reporter=Silent())
    assert summary.facts["rounds"] == 2
    learned = training.predict(workspace, reporter=Silent()).data["metrics"]["validation"]
    # Twelve labelled videos of scenes that validation never shows: far above chance, on real footage.
    assert learned["mAP@0.5"] > 0.3
    assert f1_against(crowd_annotations(workspace), dataset.annotations, 0.5) > 0.7
    exporting.export(workspace, out=tmp_path / "out", origin="stream")
    exported = json.loads((tmp_path / "out" / "annotations.json").read_text())["database"]
    assert set(exported) <= set(dataset.videos)
    workspace.close()


def test_two_activitynet_videos_with_their_own_annotation(real_data: Path, tmp_path: Path) -> None:
    everything = json.loads((real_data / "annotations" / "activitynet-1.3.json").read_text())["database"]
    videos = sorted((real_data / "videos" / "activitynet").glob("*.mp4"))
    mine = {p.stem.removeprefix("v_"): everything[p.stem.removeprefix("v_")] for p in videos}
    for entry in mine.values():
        entry["subset"] = "training"
    write_text(tmp_path / "truth.json", json.dumps({"version": "1.3", "database": mine}))
    pool.init(tmp_path / "w")
    workspace = Workspace.open(tmp_path / "w")
    sources = [str(real_data / "videos" / "activitynet"), str(tmp_path / "truth.json")]
    summary = pool.add(workspace, sources, reporter=Silent())
    assert summary.facts["annotated"] == 2
    features.extract(workspace, reporter=Silent())
    proposals.propose(workspace, reporter=Silent())
    training.train(workspace, reporter=Silent())
    assert training.predict(workspace, reporter=Silent()).facts["videos"] == 2
    workspace.close()
