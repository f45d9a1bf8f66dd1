"""Annotated videos with features from outside of a workspace's own loop: to learn from, or to try things on.

Two kinds: another kloc workspace, and an ActivityNet JSON beside a folder of features. Both are
`kloc.experiments.source.AnnotatedSet`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from kloc.errors import FormatError, KlocError, UsageError
from kloc.experiments.source import AnnotatedSet
from kloc.features.bank import VideoFeatures
from kloc.features.imports import guess_width, import_settings, load_array, read_features
from kloc.features.settings import FeatureSettings
from kloc.files import fingerprint
from kloc.formats import activitynet
from kloc.formats.common import Problems
from kloc.pipeline.data import Inputs, open_inputs
from kloc.proposals import Proposals
from kloc.proposals.sliding import SlidingSettings, windows
from kloc.records import Dataset
from kloc.store import revisions
from kloc.workspace import SETTINGS_FILE, Workspace


@dataclass(frozen=True)
class FeatureFolder:
    """A folder of ``ID.npy`` of shape ``(T, D)``, made elsewhere, as `kloc import features` takes it.

    fps: frames per second they were computed at. stride: frames between one and the next. offset: frame at the centre
    of the first; ``None``: half the stride. name: what they are called, e.g. "i3d"; ``None``: nobody said.
    """

    folder: Path
    fps: float
    stride: float
    offset: float | None = None
    name: str | None = None


@dataclass(frozen=True)
class WorkspaceSet:
    """The annotated usable videos of a kloc workspace, with its features and proposals."""

    inputs: Inputs
    dataset: Dataset
    problems: list[str]

    simulated = False

    @property
    def name(self) -> str:
        return self.dataset.name

    @cached_property
    def ids(self) -> tuple[str, ...]:
        return tuple(sorted(self.dataset.annotations))

    @property
    def feature_settings(self) -> FeatureSettings:
        """What the features were made with."""
        return self.inputs.bank.settings

    @property
    def feature_fingerprint(self) -> str:
        return self.inputs.feature_fingerprint

    @cached_property
    def content(self) -> str:
        """Changes whenever any feature or proposal does."""
        return fingerprint({v: self.inputs.fingerprint(v) for v in self.ids})

    def features(self, video_id: str) -> VideoFeatures:
        return self.inputs.features(video_id)

    def proposals(self, video_id: str) -> Proposals:
        return self.inputs.proposals(video_id)


@dataclass(frozen=True)
class FolderSet:
    """The annotated videos of an ActivityNet JSON that have a feature file, with sliding-window proposals.

    Features stay where they are and are read when asked for. spans: start and end of each video, seconds.
    content: changes whenever any feature does.
    """

    dataset: Dataset
    files: Mapping[str, Path]
    spans: Mapping[str, tuple[float, float]]
    feature_settings: FeatureSettings
    cap: int
    content: str
    problems: list[str]

    simulated = False

    @property
    def name(self) -> str:
        return self.dataset.name

    @cached_property
    def ids(self) -> tuple[str, ...]:
        return tuple(sorted(self.dataset.annotations))

    @property
    def feature_fingerprint(self) -> str:
        return self.feature_settings.fingerprint

    def features(self, video_id: str) -> VideoFeatures:
        start, end = self.spans[video_id]
        return read_features(self.files[video_id], video_id, self.feature_settings, start=start, end=end)[0]

    def proposals(self, video_id: str) -> Proposals:
        segments = windows(*self.spans[video_id], SlidingSettings(cap=self.cap))
        return Proposals(video_id, segments, np.ones(len(segments), np.float32))


def open_annotated(source: Path, features: FeatureFolder | None = None, *, cap: int = 200) -> AnnotatedSet:
    """Open an annotated set.

    What cannot be used (a video without features, a feature file with NaN...) is left out and told in ``problems``.

    Args:
        source: a kloc workspace, or an ActivityNet JSON.
        features: of the JSON's videos; a workspace has its own.
        cap: sliding windows per video at most, for a JSON.

    Raises:
        UsageError: there is no such set, or nothing in it can be used.
        FormatError: the JSON or all feature files cannot be read.
    """
    if not source.exists():
        raise UsageError(f"{source}: no such file or folder; give a kloc workspace or an ActivityNet JSON")
    if source.is_dir():
        if not (source / SETTINGS_FILE).exists():
            raise UsageError(
                f"{source}: no kloc workspace (it has no {SETTINGS_FILE}); give one, or an ActivityNet JSON"
            )
        if features is not None:
            raise UsageError(f"{source}: a workspace has its own features; leave out --features")
        return _of_workspace(source)
    if features is None:
        raise UsageError(f"{source}: say where the features of its videos are: --features DIR --fps FPS --stride N")
    if cap < 1:
        raise UsageError(f"a cap of {cap} proposals per video is too low; give at least 1")
    return _of_folder(source, features, cap)


def _of_workspace(root: Path) -> WorkspaceSet:
    workspace = Workspace.open(root)
    try:
        inputs = open_inputs(workspace)
        with workspace.store.transaction() as session:
            known = revisions.current(session)
    except KlocError as error:
        raise UsageError(f"{root}: {error}") from None
    finally:
        workspace.close()
    there = {v: a for v, a in known.items() if v in inputs.videos}
    problems = []
    if len(there) < len(known):
        missing = sorted(set(known) - set(there))
        problems.append(f"{root.name}: {_some(missing)} of its annotated videos have no features or no proposals")
    dataset = Dataset(inputs.classes, {v: inputs.videos[v] for v in there}, there, workspace.settings.general.name)
    _require_instances(root, dataset)
    return WorkspaceSet(inputs, dataset, problems)


def _of_folder(source: Path, features: FeatureFolder, cap: int) -> FolderSet:
    dataset, said, open_ended = activitynet.read_with_ends(source, taken="the end of its features is taken")
    problems = [f"{source.name}: {line}" for line in said]
    _require_instances(source, dataset)
    found = _files(features.folder, dataset, problems)
    shapes = {}
    counted = Problems()
    for video_id in sorted(found):
        try:
            rows, columns = load_array(found[video_id], mapped=True).shape
            shapes[video_id] = (int(rows), int(columns))
        except KlocError as error:
            problems.append(str(error))
    if not shapes:
        raise FormatError(
            f"{features.folder}: none of its {len(found)} files holds features; the first: {problems[-1]}"
        )
    width = guess_width(list(shapes.values()), str(features.folder))
    settings = import_settings(
        width, fps=features.fps, stride=features.stride, offset=features.offset, name=features.name or "imported"
    )
    videos, known, digests = {}, {}, {}
    for video_id in shapes:
        video = dataset.videos[video_id]
        # Without a duration the reader takes the last annotated end, which would cut the video there.
        end = None if video_id in open_ended else video.end
        try:
            # Read once to the end: who learns from the set later need not be afraid of NaN.
            read, warning = read_features(found[video_id], video_id, settings, start=video.start, end=end)
        except KlocError as error:
            problems.append(str(error))
            continue
        if warning:
            counted.add("features and video differ in length; check fps and stride", video_id)
        annotation = dataset.annotations[video_id]
        if end is None:
            video = replace(video, end=max(read.end, video.end))
            annotation = replace(annotation, item=video.item)
        videos[video_id], known[video_id] = video, annotation
        digests[video_id] = hashlib.blake2b(read.features.data, digest_size=16).hexdigest()
    missing = sorted(v for v in dataset.annotations if v not in found)
    if missing:
        problems.append(f"{source.name}: {_some(missing)} annotated videos have no ID.npy in {features.folder}")
    problems += [f"{source.name}: {line}" for line in counted.sentences()]
    usable = Dataset(dataset.classes, videos, known, dataset.name)
    _require_instances(source, usable, " with usable features")
    spans = {v: (video.start, video.end) for v, video in videos.items()}
    return FolderSet(usable, found, spans, settings, cap, fingerprint([cap, digests]), problems)


def _files(folder: Path, dataset: Dataset, problems: list[str]) -> dict[str, Path]:
    """The feature file of each annotated video that has one."""
    paths = sorted(folder.rglob("*.npy")) if folder.is_dir() else []
    if not paths:
        raise UsageError(f"{folder}: no .npy files here; give a folder with one ID.npy of shape (T, D) per video")
    found: dict[str, Path] = {}
    strangers = []
    # A video's very name first; beyond it only "v_" may differ: "ID.flow.npy" holds something else.
    for path in sorted(paths, key=lambda path: path.stem not in dataset.videos):
        names = (path.stem, f"v_{path.stem}", path.stem.removeprefix("v_"))
        video_id = next((name for name in names if name in dataset.videos), None)
        if video_id is None:
            strangers.append(path.name)
        elif video_id in dataset.annotations and found.setdefault(video_id, path) != path:
            problems.append(f"{video_id}: two files hold its features, {found[video_id]} is taken and not {path}")
    if strangers:
        problems.append(f"{folder}: {_some(strangers)} files belong to no video of {dataset.name}")
    if not found:
        raise UsageError(
            f"{folder}: none of its {len(paths)} files is named like an annotated video ({_example(dataset)}.npy); "
            "name them ID.npy or v_ID.npy"
        )
    return found


def _example(dataset: Dataset) -> str:
    return min(dataset.annotations)


def _require_instances(source: Path, dataset: Dataset, what: str = "") -> None:
    if not any(annotation.instances for annotation in dataset.annotations.values()):
        raise UsageError(
            f"{source}: no video{what} has an annotated instance; give an annotated set, there is nothing to learn from"
        )


def _some(names: Sequence[str], limit: int = 3) -> str:
    return f"{len(names)} ({', '.join(names[:limit])}{', ...' if len(names) > limit else ''})"


def classes_of(source: AnnotatedSet) -> tuple[str, ...]:
    """The classes that have an instance in an annotated set, by name."""
    known = source.dataset.annotations
    return tuple(sorted({instance.label for v in source.ids for instance in known[v].instances}))
