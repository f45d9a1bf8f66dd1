"""A small annotated set that teaches something in seconds, shared by the tests of this folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kloc.errors import VideoError
from kloc.experiments.curves import Arm
from kloc.experiments.lal_bootstrap import LalSettings
from kloc.experiments.runner import Experiment, Outcome
from kloc.experiments.simulated_features import Appearance, SimulatedFeatures
from kloc.experiments.source import SimulatedSet
from kloc.localizers.stagewise import StageWiseSettings
from kloc.records import Annotation, Dataset, Instance, Video
from kloc.seeds import generator

CLASSES = tuple(f"class {i}" for i in range(8))
SETTINGS = StageWiseSettings(hard_negative_rounds=0, top_k=8)
#: Louder actions than the simulated features kloc measures with: what is tested is the house, not the learning.
LOUD = Appearance(dim=24, noise=1.2, distractors=0.4)
LAL = LalSettings(n_splits=4, shares=(0.1, 0.3), candidates=4)
#: Every strategy with two seeds, and with noise.
EXPERIMENT = Experiment(
    tuple(
        Arm(seed, name, "top", 12, noise)
        for name in ("lal", "mcle", "random", "us")
        for seed, noise in ((0, 0.0), (0, 0.3), (1, 0.0))
    ),
    lal=LAL,
)


def small_dataset(n_videos: int = 96, seed: int = 0, *, empty: bool = True) -> Dataset:
    """Videos of one class each with one or two instances; every 19th (of ``empty``) has none, every third is tested."""
    videos, annotations = {}, {}
    for number in range(n_videos):
        rng = generator(seed, "small set", number)
        label = CLASSES[number % len(CLASSES)]
        duration = float(rng.uniform(30, 90))
        spans = [(0.1, float(rng.uniform(0.3, 0.5))), (0.6, float(rng.uniform(0.7, 0.95)))][: 1 + number % 2]
        if empty and number % 19 == 7:
            spans = []
        subset = "validation" if number % 3 == 2 else "training"
        video = Video(f"v{number:03d}", 0.0, duration, labels=(label,), subset=subset)
        instances = tuple(Instance(a * duration, b * duration, label) for a, b in spans)
        videos[video.id], annotations[video.id] = video, Annotation(video.item, instances)
    return Dataset(CLASSES, videos, annotations, "small")


def small_set(n_videos: int = 96, *, cap: int = 20, empty: bool = True) -> SimulatedSet:
    """The small set with simulated features and ``cap`` proposals a video."""
    dataset = small_dataset(n_videos, empty=empty)
    return SimulatedSet(dataset, SimulatedFeatures(CLASSES, appearance=LOUD), cap)


@dataclass(frozen=True)
class Spoilt:
    """An annotated set some of whose features cannot be used: ``nan`` ids hold NaN, ``lost`` ones cannot be read."""

    whole: SimulatedSet
    nan: frozenset[str] = frozenset()
    lost: frozenset[str] = frozenset()
    read: dict[str, int] = field(default_factory=dict)

    simulated = True
    problems: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.whole.name

    @property
    def dataset(self) -> Dataset:
        return self.whole.dataset

    @property
    def ids(self) -> tuple[str, ...]:
        return self.whole.ids

    @property
    def feature_fingerprint(self) -> str:
        return self.whole.feature_fingerprint

    @property
    def content(self) -> str:
        return f"{self.whole.content} {sorted(self.nan)} {sorted(self.lost)}"

    def features(self, video_id: str):
        self.read[video_id] = self.read.get(video_id, 0) + 1
        if video_id in self.lost:
            raise VideoError(f"{video_id}: its features are gone")
        found = self.whole.features(video_id)
        if video_id in self.nan:
            found.features[:, 0] = np.nan
        return found

    def proposals(self, video_id: str):
        return self.whole.proposals(video_id)


def changed(source: SimulatedSet, annotations: Mapping[str, Annotation]) -> SimulatedSet:
    """The set with other annotations of some videos."""
    known = source.dataset
    dataset = Dataset(known.classes, known.videos, {**known.annotations, **annotations}, known.name)
    return SimulatedSet(dataset, source.generator, source.cap)


def told(outcome: Outcome) -> list[str]:
    """What went wrong, without remarks on a set as small as this."""
    return [p for p in outcome.problems if "fewer than 4 measured rounds" not in p and "close to random" not in p]


def tree(folder: Path) -> dict[str, bytes]:
    """All files below a folder; what locks it is none of an experiment's."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.suffix != ".lock")
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}
