"""Small worlds of annotated videos with features and without any video file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kloc.formats import activitynet
from kloc.pipeline import imports, pool, proposals, training
from kloc.pipeline.telling import Silent
from kloc.records import Annotation, Dataset, Instance, Item, Subset, Video
from kloc.workspace import Workspace

FPS, STRIDE, OFFSET, DIM = 25.0, 25.0, 12.5, 8
SECONDS = 40


def make_truth(
    names: Sequence[str], n_videos: int, prefix: str, *, subset: Subset = "training", seed: int = 0
) -> Dataset:
    """Videos of 40 s, each with one or two instances of one class."""
    rng = np.random.default_rng([seed, len(names), n_videos])
    videos, annotations = {}, {}
    for number in range(n_videos):
        video_id, label = f"{prefix}{number:03d}", names[number % len(names)]
        starts = [float(rng.integers(2, 12)), float(rng.integers(22, 28))][: 1 + number % 2]
        instances = tuple(Instance(s, s + float(rng.integers(5, 9)), label) for s in starts)
        videos[video_id] = Video(video_id, 0.0, float(SECONDS), labels=(label,), subset=subset)
        annotations[video_id] = Annotation(Item(video_id, 0.0, float(SECONDS)), instances)
    return Dataset(tuple(names), videos, annotations)


def write_features(folder: Path, truth: Dataset, *, name: str = "{}", dim: int = DIM, seed: int = 0) -> Path:
    """One row per second: noise, a direction that all actions share, and one of the class's own."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, video_id in enumerate(sorted(truth.videos)):
        rows = np.random.default_rng([seed, number]).normal(scale=0.4, size=(SECONDS, dim))
        rows[:, -1] += 1.0
        for instance in truth.annotations[video_id].instances:
            inside = slice(int(instance.start), int(instance.end))
            rows[inside, 0] += 1.0
            rows[inside, 1 + truth.classes.index(instance.label) % (dim - 2)] += 0.5
        np.save(folder / f"{name.format(video_id)}.npy", rows.astype(np.float32))
    return folder


def make_workspace(
    root: Path, truth: Dataset, features: Path, *, annotated: Sequence[str] = (), propose: bool = True
) -> Workspace:
    """A workspace with the imported features of all videos and the annotations of some."""
    # In this process: starting others takes longer than all there is to do.
    pool.init(root, **{"general.workers": 1})
    workspace = Workspace.open(root)
    imports.import_features(workspace, features, name="toy", fps=FPS, stride=STRIDE, offset=OFFSET, reporter=Silent())
    known = {v: truth.annotations[v] for v in annotated}
    json = root.parent / f"{root.name}-known.json"
    activitynet.write(json, Dataset(truth.classes, {v: truth.videos[v] for v in known}, known))
    pool.add(workspace, [str(json)], reporter=Silent())
    if propose:
        proposals.propose(workspace, reporter=Silent())
    return workspace


def learn(workspace: Workspace) -> None:
    """Train and predict."""
    training.train(workspace, reporter=Silent())
    training.predict(workspace, reporter=Silent())
