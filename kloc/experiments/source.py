"""What an experiment is run on: annotated videos with features and proposals, wherever they come from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from kloc import seeds
from kloc.experiments.simulated_features import SimulatedFeatures
from kloc.files import fingerprint
from kloc.formats import activitynet
from kloc.proposals import make_generator
from kloc.records import Dataset

if TYPE_CHECKING:
    from kloc.features.bank import VideoFeatures
    from kloc.proposals import ProposalGenerator, Proposals


class AnnotatedSet(Protocol):
    """Annotated videos with features. Equal ids give equal features and proposals every time.

    dataset: annotations are the truth; ids: the videos that have annotation, features and proposals, sorted.
    content: changes whenever any feature or proposal does. simulated: whether the features are invented.
    problems: what was left out, in plain sentences.
    """

    @property
    def name(self) -> str: ...
    @property
    def dataset(self) -> Dataset: ...
    @property
    def ids(self) -> tuple[str, ...]: ...
    @property
    def feature_fingerprint(self) -> str: ...
    @property
    def content(self) -> str: ...
    @property
    def simulated(self) -> bool: ...
    @property
    def problems(self) -> list[str]: ...

    def features(self, video_id: str) -> VideoFeatures:
        """Features of one video."""
        ...

    def proposals(self, video_id: str) -> Proposals:
        """Proposals of one video."""
        ...


@dataclass(frozen=True)
class SimulatedSet:
    """Real annotations with simulated features and sliding-window proposals, at most ``cap`` a video.

    left_out: what of the annotations was left out already, in plain sentences.
    """

    dataset: Dataset
    generator: SimulatedFeatures
    cap: int = 100
    left_out: tuple[str, ...] = ()

    simulated = True

    @property
    def name(self) -> str:
        return self.dataset.name

    @cached_property
    def ids(self) -> tuple[str, ...]:
        videos, known = self.dataset.videos, self.dataset.annotations
        return tuple(sorted(v for v in known if videos[v].duration > 0))

    @property
    def feature_fingerprint(self) -> str:
        return self.generator.fingerprint

    @property
    def content(self) -> str:
        return f"{self.generator.fingerprint} {self.cap}"

    @property
    def problems(self) -> list[str]:
        short = len(self.dataset.annotations) - len(self.ids)
        return [*self.left_out, *([f"{short} videos without a duration are left out"] if short else [])]

    @cached_property
    def _proposer(self) -> ProposalGenerator:
        return make_generator("sliding", cap=self.cap)

    def features(self, video_id: str) -> VideoFeatures:
        return self.generator.features(self.dataset.videos[video_id], self.dataset.annotations[video_id])

    def proposals(self, video_id: str) -> Proposals:
        return self._proposer.propose(self.features(video_id))


def simulated_set(path: Path, n_classes: int = 0, n_videos: int = 0, cap: int = 100) -> SimulatedSet:
    """Simulated features of an ActivityNet JSON, or of a random part of it; see `part_of`.

    Raises FormatError for a file that is none.
    """
    dataset, _ = activitynet.read(path)
    # What a class looks like must not depend on which part of the set is used.
    bare = sum(not annotation.instances for annotation in dataset.annotations.values())
    told = f"{bare} videos without instances are left out: they are of no class, and some classes were asked for"
    left_out = (told,) if bare and _is_part(dataset, n_classes) else ()
    return SimulatedSet(part_of(dataset, n_classes, n_videos), SimulatedFeatures(dataset.classes), cap, left_out)


def part_of(dataset: Dataset, n_classes: int = 0, n_videos: int = 0) -> Dataset:
    """Some classes, and of the videos that show nothing else some, drawn at random, always the same; 0: all.

    Videos without instances show no class: they are kept where all classes are.
    """
    names = sorted(dataset.classes)
    some = _is_part(dataset, n_classes)
    if some:
        order = seeds.generator(0, "part: classes").permutation(len(names))[:n_classes]
        names = sorted(names[i] for i in order.tolist())
    wanted = set(names)
    known = dataset.annotations
    ids = [v for v in sorted(known) if {i.label for i in known[v].instances} <= wanted]
    if some:
        ids = [v for v in ids if known[v].instances]
    if n_videos and n_videos < len(ids):
        order = seeds.generator(0, "part: videos").permutation(len(ids))[:n_videos]
        ids = sorted(ids[i] for i in order.tolist())
    return Dataset(tuple(names), {v: dataset.videos[v] for v in ids}, {v: known[v] for v in ids}, dataset.name)


def _is_part(dataset: Dataset, n_classes: int) -> bool:
    return 0 < n_classes < len(dataset.classes)


def fingerprint_of(source: AnnotatedSet) -> str:
    """Changes whenever what an experiment reads of the set may change."""
    truth = {
        v: [
            a.item.start,
            a.item.end,
            [[i.start, i.end, i.label] for i in a.instances],
            None if a.exhaustive_for is None else sorted(a.exhaustive_for),
        ]
        for v in source.ids
        for a in [source.dataset.annotations[v]]
    }
    about = {
        v: [video.subset, video.start, video.end, video.labels]
        for v in source.ids
        for video in [source.dataset.videos[v]]
    }
    return fingerprint([source.name, source.feature_fingerprint, source.content, source.dataset.classes, truth, about])
