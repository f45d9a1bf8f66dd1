"""Statistics of a dataset: attributes of its instances, classes and subsets, and what is wrong with its labels.

Attributes and their bins are those of P2 ("What Do I Annotate Next?", section 5): coverage, length and number of
instances, each in five right-closed bins from XS to XL. DETAD's bins differ in the number of instances only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from kloc.attributes import BINNINGS, Bins
from kloc.errors import UsageError
from kloc.records import SUBSETS, Annotation, Dataset, Instance, Video

SHORT = 0.5  # seconds; shorter instances are suspicious
_EXAMPLES = 5


@dataclass(frozen=True)
class Histogram:
    """Instances in each bin of one attribute."""

    attribute: str
    unit: str
    names: tuple[str, ...]
    ranges: tuple[str, ...]
    counts: tuple[int, ...]
    percent: tuple[float, ...]


@dataclass(frozen=True)
class Pairwise:
    """Instances in each pair of bins: ``counts[row][column]`` and percent of all instances (sums to 100)."""

    rows: str
    columns: str
    row_names: tuple[str, ...]
    column_names: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    percent: tuple[tuple[float, ...], ...]

    def tip(self, row: int, column: int) -> str:
        """One cell in words."""
        return (
            f"{self.rows} {self.row_names[row]}, {self.columns} {self.column_names[column]}: "
            f"{self.counts[row][column]:,} instances, {self.percent[row][column]:.2f} %"
        )


@dataclass(frozen=True)
class ClassRow:
    """One class. Lengths in seconds, coverage as a share; ``None`` where there is no instance."""

    label: str
    videos: int
    instances: int
    instances_per_video: float
    seconds: float
    mean_length: float | None
    median_length: float | None
    mean_coverage: float | None
    median_coverage: float | None
    by_subset: dict[str, int]


@dataclass(frozen=True)
class SubsetRow:
    """One subset. ``action_hours`` counts time covered by at least one instance once."""

    subset: str
    videos: int
    annotated: int
    instances: int
    hours: float
    annotated_hours: float
    action_hours: float


@dataclass(frozen=True)
class VideoRow:
    """One annotated video: number of instances, seconds with action, seconds in all."""

    video_id: str
    subset: str
    instances: int
    action_seconds: float
    duration: float


@dataclass(frozen=True)
class LabelProblem:
    """One kind of label problem, how often it occurs, and where (first few)."""

    kind: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Statistics:
    """All that ``kloc stats`` tells. ``balance`` is the entropy of the classes' instances, 1 for a uniform one."""

    name: str
    bins: str
    videos: int
    annotated: int
    instances: int
    classes: int
    hours: float
    action_hours: float
    instances_per_video: float
    instances_per_video_with_any: float
    videos_without_instance: int
    mean_length: float | None
    median_length: float | None
    balance: float | None
    subsets: tuple[SubsetRow, ...]
    per_class: tuple[ClassRow, ...]
    attributes: tuple[Histogram, ...]
    pairwise: tuple[Pairwise, ...]
    per_video: tuple[VideoRow, ...]
    problems: tuple[LabelProblem, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries and lists."""
        return asdict(self)


@dataclass(frozen=True)
class _Valid:
    """One instance that counts, with its video and its attributes."""

    video: Video
    instance: Instance
    coverage: float
    n_in_video: int


def compute(dataset: Dataset, bins: Literal["paper", "detad"] = "paper") -> Statistics:
    """Statistics of all annotated videos of ``dataset``.

    Instances that end before they start, lie in a video without duration, or are repeated are counted as
    problems and left out; ends beyond the video are clipped for the attributes (DETAD's binning leaves out
    instances with a coverage above 1). Raises UsageError for unknown ``bins``.
    """
    if bins not in BINNINGS:
        raise UsageError(f"unknown bins {bins!r}; there are: {', '.join(BINNINGS)}")
    problems = _Problems()
    valid: dict[str, list[_Valid]] = {}
    for video_id in sorted(dataset.annotations):
        if video_id not in dataset.videos:
            problems.add("annotation of a video that the dataset lacks", video_id)
            continue
        video = dataset.videos[video_id]
        valid[video_id] = _valid(video, dataset.annotations[video_id], dataset.classes, problems, bins == "detad")
    kept = [v for row in valid.values() for v in row]
    lengths = np.asarray([v.instance.duration for v in kept], np.float64)
    attributes, pairwise = _attributes(kept, BINNINGS[bins])
    by_class: dict[str, list[_Valid]] = {label: [] for label in dataset.classes}
    for one in kept:
        by_class.setdefault(one.instance.label, []).append(one)
    present = [s for s in SUBSETS if any(v.subset == s for v in dataset.videos.values())]
    per_class = tuple(_class_row(label, by_class[label], present) for label in dataset.classes)
    with_any = sum(bool(row) for row in valid.values())
    subsets = tuple(row for row in (_subset_row(dataset, s, valid) for s in SUBSETS) if row.videos)
    return Statistics(
        name=dataset.name,
        bins=bins,
        videos=len(dataset.videos),
        annotated=len(valid),
        instances=len(kept),
        classes=len(dataset.classes),
        hours=sum(row.hours for row in subsets),
        action_hours=sum(row.action_hours for row in subsets),
        instances_per_video=len(kept) / max(len(valid), 1),
        instances_per_video_with_any=len(kept) / max(with_any, 1),
        videos_without_instance=len(valid) - with_any,
        mean_length=float(lengths.mean()) if len(kept) else None,
        median_length=float(np.median(lengths)) if len(kept) else None,
        balance=_balance([row.instances for row in per_class]),
        subsets=subsets,
        per_class=per_class,
        attributes=attributes,
        pairwise=pairwise,
        per_video=tuple(
            VideoRow(
                k, dataset.videos[k].subset, len(row), _covered(v.instance for v in row), dataset.videos[k].duration
            )
            for k, row in valid.items()
        ),
        problems=problems.rows(),
    )


class _Problems:
    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}

    def add(self, kind: str, example: str) -> None:
        self._found.setdefault(kind, []).append(example)

    def rows(self) -> tuple[LabelProblem, ...]:
        return tuple(
            LabelProblem(kind, len(names), tuple(dict.fromkeys(names))[:_EXAMPLES])
            for kind, names in sorted(self._found.items())
        )


def _valid(
    video: Video, annotation: Annotation, classes: Sequence[str], problems: _Problems, drop_overlong: bool
) -> list[_Valid]:
    seen: set[tuple[float, float, str]] = set()
    good: list[tuple[Instance, float]] = []
    reach: dict[str, float] = {}
    for one in sorted(annotation.instances):
        where = f"{video.id} {one.start:.2f}–{one.end:.2f} {one.label}"
        if one.label not in classes:
            problems.add("label that is no class of the dataset", where)
        if not one.end > one.start:
            problems.add("ends before or where it starts (left out)", where)
            continue
        if (one.start, one.end, one.label) in seen:
            problems.add("given twice (counted once)", where)
            continue
        seen.add((one.start, one.end, one.label))
        if one.duration < SHORT:
            problems.add(f"shorter than {SHORT} s", where)
        if one.start < reach.get(one.label, -np.inf):
            problems.add("overlaps another instance of its class", where)
        reach[one.label] = max(one.end, reach.get(one.label, -np.inf))
        if not video.duration > 0:
            problems.add("in a video without duration (left out)", where)
            continue
        inside = Instance(max(one.start, video.start), min(one.end, video.end), one.label, one.confidence)
        if one.start < video.start - 1e-6 or one.end > video.end + 1e-6:
            problems.add("reaches beyond its video", where)
            if inside.end <= inside.start or (drop_overlong and one.duration > video.duration):
                continue
        good.append((inside, inside.duration / video.duration))
    return [_Valid(video, one, coverage, len(good)) for one, coverage in good]


def _attributes(
    kept: Sequence[_Valid], bins: tuple[Bins, Bins, Bins]
) -> tuple[tuple[Histogram, ...], tuple[Pairwise, ...]]:
    values = (
        np.asarray([v.coverage for v in kept], np.float64),
        np.asarray([v.instance.duration for v in kept], np.float64),
        np.asarray([v.n_in_video for v in kept], np.float64),
    )
    index = [b.index(v) for b, v in zip(bins, values, strict=True)]
    total = max(len(kept), 1)
    histograms = []
    for b, i in zip(bins, index, strict=True):
        counts = np.bincount(i, minlength=len(b.names))
        shares = tuple(float(c) for c in counts * 100 / total)
        histograms.append(Histogram(b.attribute, b.unit, b.names, b.ranges, tuple(int(c) for c in counts), shares))
    matrices = []
    for r, c in ((0, 1), (0, 2), (1, 2)):
        table = np.zeros((len(bins[r].names), len(bins[c].names)), np.int64)
        np.add.at(table, (index[r], index[c]), 1)
        matrices.append(
            Pairwise(
                bins[r].attribute,
                bins[c].attribute,
                bins[r].names,
                bins[c].names,
                tuple(tuple(int(x) for x in row) for row in table),
                tuple(tuple(float(x) for x in row) for row in table * 100 / total),
            )
        )
    return tuple(histograms), tuple(matrices)


def _class_row(label: str, mine: Sequence[_Valid], subsets: Sequence[str]) -> ClassRow:
    videos = {v.video.id for v in mine}
    lengths = np.asarray([v.instance.duration for v in mine])
    coverage = np.asarray([v.coverage for v in mine])
    count: Counter[str] = Counter(v.video.subset for v in mine)
    return ClassRow(
        label,
        len(videos),
        len(mine),
        len(mine) / max(len(videos), 1),
        float(lengths.sum()),
        float(lengths.mean()) if mine else None,
        float(np.median(lengths)) if mine else None,
        float(coverage.mean()) if mine else None,
        float(np.median(coverage)) if mine else None,
        {subset: count[subset] for subset in subsets},
    )


def _subset_row(dataset: Dataset, subset: str, valid: dict[str, list[_Valid]]) -> SubsetRow:
    videos = [v for v in dataset.videos.values() if v.subset == subset]
    annotated = [v for v in videos if v.id in valid]
    return SubsetRow(
        subset,
        len(videos),
        len(annotated),
        sum(len(valid[v.id]) for v in annotated),
        sum(max(v.duration, 0.0) for v in videos) / 3600,
        sum(max(v.duration, 0.0) for v in annotated) / 3600,
        sum(_covered(x.instance for x in valid[v.id]) for v in annotated) / 3600,
    )


def _covered(instances: Iterable[Instance]) -> float:
    """Seconds covered by at least one instance."""
    total, reach = 0.0, -np.inf
    for one in sorted(instances):
        total += max(0.0, one.end - max(one.start, reach))
        reach = max(reach, one.end)
    return float(total)


def _balance(counts: Sequence[int]) -> float | None:
    total = sum(counts)
    if total == 0 or len(counts) < 2:
        return None
    p = np.asarray([c for c in counts if c], np.float64) / total
    return float(-(p * np.log(p)).sum() / np.log(len(counts)))
