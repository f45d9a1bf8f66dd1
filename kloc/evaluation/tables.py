"""Truth and detections as plain arrays, with all that must not be judged left out and counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kloc.errors import FormatError, UsageError
from kloc.formats.predictions import PredictionTable
from kloc.records import Annotation, Dataset, Detection, Instance

#: "keep": as the official ActivityNet evaluation; "drop": instances of one class that start and end within 1 ms of
#: another one are slips of the annotation tool (as ActionFormer and OpenTAD).
Duplicates = Literal["keep", "drop"]
DUPLICATE_TOLERANCE = 1e-3
#: The class (in any case) whose instances are no truth: THUMOS'14 marks by it what may or may not be an action.
AMBIGUOUS = "ambiguous"


@dataclass(frozen=True, slots=True)
class TruthTable:
    """All judged instances, by video, then class, then in the order of the annotation.

    videos: ids of all annotated videos, sorted; ``video`` int64 ``(G,)`` indexes them.
    label: int64 ``(G,)``, index into ``classes``. start, end: float64 ``(G,)``, seconds.
    asked: bool ``(K, C)``: the different sets of classes annotations are exhaustive for; ``asked_of`` int64 ``(V,)``
        says which one holds for a video.
    span: float64 ``(V, 2)``: the stretch of each video that is annotated, infinite where it is all of it.
    ambiguous: float64 ``(A, 2)``: instances of a class called "Ambiguous", which is none of ``classes``, by video;
        ``ambiguous_video`` int64 ``(A,)``.
    """

    classes: tuple[str, ...]
    videos: tuple[str, ...]
    video: NDArray[np.int64]
    label: NDArray[np.int64]
    start: NDArray[np.float64]
    end: NDArray[np.float64]
    asked: NDArray[np.bool_]
    asked_of: NDArray[np.int64]
    span: NDArray[np.float64]
    ambiguous_video: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    ambiguous: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 2)))

    @property
    def group(self) -> NDArray[np.int64]:
        """One number per (video, class), ascending, int64 ``(G,)``."""
        return self.video * len(self.classes) + self.label

    def per_class(self) -> NDArray[np.int64]:
        """Instances of each class, int64 ``(C,)``."""
        return np.bincount(self.label, minlength=len(self.classes))


@dataclass(frozen=True, slots=True)
class Ignored:
    """Detections that are neither right nor wrong, by why.

    unknown_class: of a class the truth does not have; ``classes``: their names, sorted.
    unannotated_video: in a video nobody annotated; ``videos``: their ids, sorted.
    not_asked: of a class nobody was asked about in that video. outside: centred outside the annotated stretch.
    ambiguous: left out by the rule "thumos" at some threshold.
    """

    unknown_class: int = 0
    unannotated_video: int = 0
    not_asked: int = 0
    outside: int = 0
    ambiguous: int = 0
    classes: tuple[str, ...] = field(default=(), compare=False)
    videos: tuple[str, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        parts = {
            f"of unknown classes{_some(self.classes)}": self.unknown_class,
            f"in videos without annotation{_some(self.videos)}": self.unannotated_video,
            "of classes nobody was asked about there": self.not_asked,
            "outside the annotated stretch": self.outside,
            "on ambiguous instances": self.ambiguous,
        }
        return ", ".join(f"{count:,} {why}" for why, count in parts.items() if count) or "none"

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary."""
        return {
            "unknown_class": self.unknown_class,
            "unannotated_video": self.unannotated_video,
            "not_asked": self.not_asked,
            "outside": self.outside,
            "ambiguous": self.ambiguous,
            "classes": list(self.classes),
            "videos": list(self.videos),
        }


def _some(names: tuple[str, ...], limit: int = 3) -> str:
    if not names:
        return ""
    shown = ", ".join(name if len(name) <= 30 else name[:27] + "..." for name in names[:limit])
    return f" ({shown}{', ...' if len(names) > limit else ''})"


@dataclass(frozen=True, slots=True)
class DetectionTable:
    """All judged detections ``(D,)`` by class, best first; ties by video id, start, end."""

    video: NDArray[np.int64]
    label: NDArray[np.int64]
    start: NDArray[np.float64]
    end: NDArray[np.float64]
    score: NDArray[np.float64]


def truth_table(truth: Dataset, duplicates: Duplicates = "keep") -> TruthTable:
    """Collect the instances that count: of classes their video's annotation is exhaustive for.

    Raises:
        FormatError: an instance of a class that the dataset does not have.
        UsageError: an unknown ``duplicates``.
    """
    if duplicates not in ("keep", "drop"):
        raise UsageError(f"duplicates must be 'keep' or 'drop', not {duplicates!r}")
    classes = tuple(name for name in truth.classes if name.lower() != AMBIGUOUS)
    names = {name: index for index, name in enumerate(classes)}
    videos = tuple(sorted(truth.annotations))
    sets: dict[frozenset[str] | None, int] = {}
    asked_of = np.zeros(len(videos), np.int64)
    span = np.tile([-np.inf, np.inf], (len(videos), 1))
    rows: list[tuple[int, int, float, float]] = []
    ambiguous: list[tuple[int, float, float]] = []
    for number, video_id in enumerate(videos):
        annotation = truth.annotations[video_id]
        asked_of[number] = sets.setdefault(annotation.exhaustive_for, len(sets))
        span[number] = _span(truth, video_id, annotation)
        kept: list[Instance] = []
        for instance in annotation.instances:
            if instance.label.lower() == AMBIGUOUS:
                ambiguous.append((number, instance.start, instance.end))
                continue
            if instance.label not in names:
                raise FormatError(
                    f"video {video_id!r} is annotated with {instance.label!r}, which is no class of dataset "
                    f"{truth.name!r}; add the class or correct the annotation"
                )
            if annotation.covers(instance.label) and not (duplicates == "drop" and _is_twin(instance, kept)):
                kept.append(instance)
        rows += sorted(((number, names[i.label], i.start, i.end) for i in kept), key=lambda row: row[1])
    asked = np.ones((len(sets), len(classes)), np.bool_)
    for exhaustive, index in sets.items():
        if exhaustive is not None:
            asked[index] = [name in exhaustive for name in classes]
    columns = np.array(rows, np.float64).reshape(-1, 4)
    unclear = np.array(ambiguous, np.float64).reshape(-1, 3)
    return TruthTable(
        classes,
        videos,
        columns[:, 0].astype(np.int64),
        columns[:, 1].astype(np.int64),
        columns[:, 2].copy(),
        columns[:, 3].copy(),
        asked,
        asked_of,
        span,
        unclear[:, 0].astype(np.int64),
        unclear[:, 1:].copy(),
    )


def _span(truth: Dataset, video_id: str, annotation: Annotation) -> tuple[float, float]:
    video = truth.videos.get(video_id)
    item = annotation.item
    if video is None or (item.start <= video.start and item.end >= video.end):
        return -np.inf, np.inf
    return item.start, item.end


def _is_twin(instance: Instance, others: Sequence[Instance]) -> bool:
    return any(
        other.label == instance.label
        and abs(other.start - instance.start) <= DUPLICATE_TOLERANCE
        and abs(other.end - instance.end) <= DUPLICATE_TOLERANCE
        for other in others
    )


def detection_table(
    truth: TruthTable, detections: Mapping[str, Sequence[Detection]] | PredictionTable
) -> tuple[DetectionTable, Ignored]:
    """Filter and order the detections.

    Raises:
        FormatError: a detection whose times or score are not finite.
    """
    found = detections if isinstance(detections, PredictionTable) else PredictionTable.of(detections)
    bad = np.flatnonzero(~(np.isfinite(found.start) & np.isfinite(found.end) & np.isfinite(found.score)))
    for row in bad[:1].tolist():
        raise FormatError(
            f"a detection in video {found.videos[found.video[row]]!r} is not finite: "
            f"start {found.start[row]}, end {found.end[row]}, score {found.score[row]}"
        )
    video = _numbers(found.videos, truth.videos)[found.video]
    label = _numbers(found.classes, truth.classes)[found.label]
    table, ignored = judged_table(truth, video, label, found.start, found.end, found.score)
    return table, replace(
        ignored,
        videos=_used(found.videos, found.video[video < 0]),
        classes=_used(found.classes, found.label[(video >= 0) & (label < 0)]),
    )


def _numbers(names: Sequence[str], known: Sequence[str]) -> NDArray[np.int64]:
    """Where each name stands among the known ones, int64 ``(N,)``; -1 where it does not."""
    place = {name: index for index, name in enumerate(known)}
    return np.fromiter((place.get(name, -1) for name in names), np.int64, len(names))


def _used(names: Sequence[str], rows: NDArray[np.int64]) -> tuple[str, ...]:
    return tuple(sorted(names[index] for index in np.unique(rows).tolist()))


def judged_table(
    truth: TruthTable,
    video: NDArray[np.int64],
    label: NDArray[np.int64],
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    score: NDArray[np.float64],
) -> tuple[DetectionTable, Ignored]:
    """Filter and order detections that are arrays ``(D,)`` already; -1 is an unknown class or unannotated video."""
    there = video >= 0
    known = there & (label >= 0)
    centre, span = (start + end) / 2, truth.span[video] if len(truth.span) else np.zeros((len(video), 2))
    inside = known & (centre >= span[:, 0]) & (centre < span[:, 1])
    judged = inside.copy()
    judged[inside] = truth.asked[truth.asked_of[video[inside]], label[inside]]
    ignored = Ignored(
        unknown_class=int(there.sum()) - int(known.sum()),
        unannotated_video=len(there) - int(there.sum()),
        not_asked=int(inside.sum()) - int(judged.sum()),
        outside=int(known.sum()) - int(inside.sum()),
    )
    rows = np.flatnonzero(judged)
    rows = rows[_ranked(video[rows], label[rows], start[rows], end[rows], score[rows])]
    return DetectionTable(video[rows], label[rows], start[rows], end[rows], score[rows]), ignored


def _ranked(
    video: NDArray[np.int64],
    label: NDArray[np.int64],
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    score: NDArray[np.float64],
) -> NDArray[np.int64]:
    """The order by class, best first, ties by video, start, end; videos are numbered in the order of their ids."""
    order = np.argsort(-score)
    # A small integer type makes this a radix sort: with it a million take a sixth of what sorting by all keys takes.
    short = label.astype(np.min_scalar_type(int(label.max(initial=0))))
    order = order[np.argsort(short[order], kind="stable")]
    same = (label[order][1:] == label[order][:-1]) & (score[order][1:] == score[order][:-1])
    tied = np.flatnonzero(np.append(same, False) | np.append(False, same)) if same.any() else order[:0]
    among = order[tied]
    order[tied] = among[np.lexsort((end[among], start[among], video[among], -score[among], label[among]))]
    return order
