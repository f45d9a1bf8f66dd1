"""An annotated set made ready for experiments: encoded once, on the disk, shared by every process that learns."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kloc.errors import KlocError, UsageError
from kloc.experiments.curves import spelled
from kloc.experiments.oracle import NoisyOracle
from kloc.experiments.source import AnnotatedSet, fingerprint_of
from kloc.files import atomic_folder, atomic_write, fingerprint, sweep, write_json
from kloc.localizers.base import TrainingVideo
from kloc.localizers.stagewise.encoder import encode_video, label_video
from kloc.localizers.stagewise.settings import StageWiseSettings
from kloc.localizers.stagewise.table import ROWS_FILE, EncodedTable
from kloc.proposals.hygiene import NoInstancesError
from kloc.records import Annotation, Instance, Item, Video

FACTS_FILE = "lab.json"
#: Arrays of a table that another annotation of the same videos replaces.
_LABELS = ("best", "matched", "inside", "truth", "truth_offsets", "truth_segments", "truth_labels", "truth_seen")


@dataclass(frozen=True)
class Lab:
    """One annotated set: an encoded table and what is known of each of its videos, in the table's order.

    ``annotations`` are the truth; `annotated_by` gives the table and annotations a noisy oracle makes of it.
    pooled: mean features, float32 ``(V, D)``.
    """

    folder: Path
    table: EncodedTable
    videos: tuple[Video, ...]
    annotations: tuple[Annotation, ...]
    pooled: NDArray[np.float32]
    classes: tuple[str, ...]
    settings: StageWiseSettings
    facts: dict[str, Any]

    @cached_property
    def items(self) -> tuple[Item, ...]:
        """Every video as an item."""
        return tuple(video.item for video in self.videos)

    @property
    def fingerprint(self) -> str:
        """Changes whenever anything experiments read of the set does."""
        return str(self.facts["fingerprint"])

    @classmethod
    def open(cls, folder: Path) -> Lab:
        """The lab in ``folder``; raises KlocError where there is none."""
        try:
            facts = json.loads((folder / FACTS_FILE).read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            raise KlocError(f"{folder}: no prepared set here; run `kloc simulate` again") from None
        videos = tuple(Video(v["id"], v["start"], v["end"], None, tuple(v["labels"]), v["subset"])
                       for v in facts.pop("videos"))  # fmt: skip
        return cls(
            folder,
            EncodedTable.load(folder),
            videos,
            tuple(_annotation(v, said) for v, said in zip(videos, facts.pop("annotations"), strict=True)),
            np.load(folder / "pooled.npy", allow_pickle=False),
            tuple(facts["classes"]),
            StageWiseSettings(**facts["settings"]),
            facts,
        )

    @classmethod
    def prepare(
        cls,
        root: Path,
        source: AnnotatedSet,
        settings: StageWiseSettings,
        advance: Callable[[], None] = lambda: None,
    ) -> Lab:
        """Encode every video of ``source`` below ``root``, or open what an earlier run has made of the same.

        A video whose features cannot be used is left out and told in ``facts["problems"]``.
        Raises UsageError where nothing is left.
        """
        name = lab_fingerprint(source, settings)
        folder = root / f"lab-{name}"
        if (folder / FACTS_FILE).exists():
            return cls.open(folder)
        if root.exists():
            sweep(root)
        with atomic_folder(folder) as fresh:
            _write(fresh, name, source, settings, advance)
        return cls.open(folder)

    def annotated_by(self, noise: float, seed: int) -> tuple[EncodedTable, tuple[Annotation, ...]]:
        """The table and annotations as an oracle with that noise would make them; see `relabel`."""
        if noise == 0:
            return self.table, self.annotations
        path = self.folder / oracle_file(noise, seed)
        try:
            with np.load(path, allow_pickle=False) as saved:
                arrays: dict[str, Any] = {name: saved[name] for name in _LABELS}
        except FileNotFoundError:
            raise KlocError(f"{path}: this oracle has not annotated yet; run `kloc simulate` again") from None
        table = replace(self.table, **arrays)
        instances = [
            Instance(start, end, self.classes[label])
            for (start, end), label in zip(table.truth_segments.tolist(), table.truth_labels.tolist(), strict=True)
        ]
        bounds = table.truth_offsets.tolist()
        return table, tuple(
            replace(annotation, instances=tuple(instances[low:high]))
            for annotation, low, high in zip(self.annotations, bounds[:-1], bounds[1:], strict=True)
        )

    def is_relabelled(self, noise: float, seed: int) -> bool:
        """Whether the oracle with that noise has annotated already; one without noise need not."""
        return noise == 0 or (self.folder / oracle_file(noise, seed)).exists()

    def relabel(
        self, source: AnnotatedSet, noise: float, seed: int, advance: Callable[[], None] = lambda: None
    ) -> None:
        """Let the noisy oracle annotate every video once, for all arms of a seed (`annotated_by` reads it).

        ``advance`` is called after each video.
        """
        if self.is_relabelled(noise, seed):
            return
        path, oracle, parts = self.folder / oracle_file(noise, seed), NoisyOracle(noise, seed), []
        for at in range(len(self.videos)):
            parts.append(self.said_by(oracle, source, at))
            advance()
        table = EncodedTable.join(parts)
        arrays: dict[str, Any] = {name: getattr(table, name) for name in _LABELS}
        with atomic_write(path) as stream:
            np.savez(stream, **arrays)

    def said_by(self, oracle: NoisyOracle, source: AnnotatedSet, at: int) -> EncodedTable:
        """What the oracle makes of the video with index ``at``: its part of the table, without encoded segments."""
        video, mine = self.videos[at], self.table.part(at)
        noisy = oracle.annotate(self.annotations[at], video.start, video.end, self.classes)
        index = {name: i for i, name in enumerate(self.classes)}
        return label_video(source.features(video.id), mine.segments, mine.encoded[:0], noisy, index, self.settings)


def lab_fingerprint(source: AnnotatedSet, settings: StageWiseSettings) -> str:
    """The fingerprint of the lab that `Lab.prepare` makes or opens, known before anything is encoded."""
    return fingerprint([fingerprint_of(source), asdict(settings)])


def oracle_file(noise: float, seed: int) -> str:
    """Where in the lab's folder the answers of a noisy oracle lie."""
    return f"oracle-{spelled(noise, 4)}-{seed}.npz"


def _write(
    folder: Path, name: str, source: AnnotatedSet, settings: StageWiseSettings, advance: Callable[[], None]
) -> None:
    classes = source.dataset.classes
    index = {label: i for i, label in enumerate(classes)}
    problems, kept, pooled = list(source.problems), [], []

    def parts() -> Any:
        for video_id in source.ids:
            advance()
            try:
                features, proposals = source.features(video_id), source.proposals(video_id)
                training = TrainingVideo(features, proposals, source.dataset.annotations[video_id])
                part = encode_video(training, index, settings)
            except KlocError as error:
                problems.append(str(error))
                continue
            kept.append(video_id)
            with np.errstate(invalid="ignore"):
                pooled.append(np.nan_to_num(features.features).mean(axis=0))
            yield part

    if not source.ids:
        raise UsageError(f"{source.name}: no video has annotation, features and proposals; nothing can be tried on it")
    try:
        table = EncodedTable.join(parts(), folder / ROWS_FILE)
    except NoInstancesError:
        first = problems[len(source.problems)]
        raise UsageError(
            f"{source.name}: none of its {len(source.ids)} videos can be used; the first: {first}"
        ) from None
    table.save(folder)
    np.save(folder / "pooled.npy", np.asarray(pooled, np.float32), allow_pickle=False)
    dataset = source.dataset
    facts = {
        "fingerprint": name,
        "name": source.name,
        "simulated": source.simulated,
        "features": source.feature_fingerprint,
        "classes": list(classes),
        "settings": asdict(settings),
        "problems": problems,
        "videos": [
            {"id": v.id, "start": v.start, "end": v.end, "labels": list(v.labels), "subset": v.subset}
            for v in (dataset.videos[video_id] for video_id in kept)
        ],
        "annotations": [_said(dataset.annotations[video_id]) for video_id in kept],
    }
    write_json(folder / FACTS_FILE, facts, indent=None)


def _said(annotation: Annotation) -> dict[str, Any]:
    asked = annotation.exhaustive_for
    return {
        "span": [annotation.item.start, annotation.item.end],
        "asked": None if asked is None else sorted(asked),
        "instances": [[i.start, i.end, i.label] for i in annotation.instances],
    }


def _annotation(video: Video, said: dict[str, Any]) -> Annotation:
    instances = tuple(Instance(start, end, label) for start, end, label in said["instances"])
    asked = said["asked"]
    return Annotation(Item(video.id, *said["span"]), instances, None if asked is None else frozenset(asked))
