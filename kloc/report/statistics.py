"""Statistics of a dataset: attributes of its instances, classes and subsets, and what is wrong with its labels.

Attributes and their bins are those of P2 ("What Do I Annotate Next?", section 5): coverage, length and number of
instances, each in five right-closed bins from XS to XL. DETAD's bins differ in the number of instances only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kloc.attributes import BINNINGS, AttributeTable, Bins, attributes_of
from kloc.errors import UsageError
from kloc.records import SIMULATED_WORKERS, SUBSETS, Dataset
from kloc.report.campaign import Campaign
from kloc.report.label_problems import LabelProblem, label_problems, leakage

#: Bins of the number of instances for counting videos, where none is a number too.
_VIDEOS = Bins("videos", "number of instances", (0.0, 1.0, 4.0, 8.0, 16.0), ("none", "XS", "S", "M", "L", "XL"), True)


@dataclass(frozen=True)
class Histogram:
    """Instances (or videos) in each bin of one attribute."""

    attribute: str
    unit: str
    names: tuple[str, ...]
    ranges: tuple[str, ...]
    counts: tuple[int, ...]
    percent: tuple[float, ...]

    @property
    def title(self) -> str:
        """The attribute and its unit, or what of a video is counted."""
        if self.attribute == "videos":
            return f"Videos by {self.unit}"
        return f"{self.attribute.capitalize()} ({self.unit})"

    def tip(self, bin_: int) -> str:
        """One bin in words."""
        what = "videos" if self.attribute == "videos" else "instances"
        return f"{self.names[bin_]}, {self.ranges[bin_]}: {self.counts[bin_]:,} {what}, {self.percent[bin_]:.2f} %"


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
    """One class. Lengths in seconds, coverage as a share; ``None`` where there is no instance, or no duration.

    by_subset: instances in each subset; seconds_by_subset: seconds of action in each.
    """

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
    seconds_by_subset: dict[str, float]


@dataclass(frozen=True)
class SubsetRow:
    """One subset. ``action_hours`` counts time covered by at least one instance once; balance as in `Statistics`."""

    subset: str
    videos: int
    annotated: int
    instances: int
    classes: int
    hours: float
    annotated_hours: float
    action_hours: float
    balance: float | None


@dataclass(frozen=True)
class VideoRow:
    """One annotated video: number of instances, seconds with action, seconds in all (0: not known)."""

    video_id: str
    subset: str
    instances: int
    action_seconds: float
    duration: float


@dataclass(frozen=True)
class Facts:
    """The paper's sentences about its dataset, for this one: percent, ``None`` where nothing is known.

    relatively_small: instances with a coverage of XS or S. hardest: with coverage XS and length XS.
    single_of_xl: of the instances with coverage XL, those that are the only one of their video.
    """

    relatively_small: float | None
    hardest: float | None
    single_of_xl: float | None


@dataclass(frozen=True)
class Statistics:
    """All that ``kloc stats`` tells. ``balance`` is the entropy of the classes' instances, 1 for a uniform one.

    measured: instances behind ``attributes``, ``pairwise`` and ``facts``: those of videos whose duration is known, or
    all where none is (coverage is left out then). untimed: videos without a duration; hours leave them out.
    reading: what the reader of the file had to say. label_problems: what is wrong with labels and times; leakage:
    between the subsets. campaign: where the annotations come from one. origin: as in `kloc.records.Dataset`.
    """

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
    measured: int
    untimed: int
    facts: Facts
    subsets: tuple[SubsetRow, ...]
    per_class: tuple[ClassRow, ...]
    attributes: tuple[Histogram, ...]
    pairwise: tuple[Pairwise, ...]
    videos_by_instances: Histogram
    per_video: tuple[VideoRow, ...]
    label_problems: tuple[LabelProblem, ...]
    leakage: tuple[LabelProblem, ...]
    reading: tuple[str, ...] = ()
    campaign: Campaign | None = None
    origin: str = ""

    @property
    def simulated(self) -> bool:
        """Whether simulated workers annotated the dataset."""
        return self.origin == SIMULATED_WORKERS

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries and lists."""
        return asdict(self)


def compute(
    dataset: Dataset,
    bins: str = "paper",
    *,
    ties: Mapping[str, Mapping[str, str]] | None = None,
    reading: Sequence[str] = (),
    campaign: Campaign | None = None,
) -> Statistics:
    """Statistics of all annotated videos of ``dataset``.

    Which instances count, `kloc.attributes.counting` says (DETAD's binning drops those longer than their video); a
    video of duration 0 is one whose duration is not known. ties: what videos must not share across subsets
    ("same file") -> its key for each video. reading: what its reader had to say. campaign: the one behind it.
    Raises UsageError for unknown ``bins``.
    """
    if bins not in BINNINGS:
        raise UsageError(f"unknown bins {bins!r}; there are: {', '.join(BINNINGS)}")
    table = attributes_of(dataset, "drop" if bins == "detad" else "clip")
    per_video = _per_video(dataset, table)
    per_class = _per_class(dataset, table)
    attributes, pairwise, facts = _attributes(table, BINNINGS[bins])
    counts = np.asarray([row.instances for row in per_video], np.float64)
    subsets = tuple(
        _subset_row(dataset, s, per_video, per_class)
        for s in SUBSETS
        if any(v.subset == s for v in dataset.videos.values())
    )
    with_any = int((counts > 0).sum())
    return Statistics(
        name=dataset.name,
        bins=bins,
        videos=len(dataset.videos),
        annotated=len(per_video),
        instances=len(table),
        classes=len(per_class),
        hours=sum(row.hours for row in subsets),
        action_hours=sum(row.action_hours for row in subsets),
        instances_per_video=len(table) / max(len(per_video), 1),
        instances_per_video_with_any=len(table) / max(with_any, 1),
        videos_without_instance=len(per_video) - with_any,
        mean_length=float(table.length.mean()) if len(table) else None,
        median_length=float(np.median(table.length)) if len(table) else None,
        balance=_balance([row.instances for row in per_class]),
        measured=sum(attributes[0].counts),
        untimed=sum(not dataset.is_timed(v) for v in dataset.videos),
        facts=facts,
        subsets=subsets,
        per_class=per_class,
        attributes=attributes,
        pairwise=pairwise,
        videos_by_instances=_histogram(_VIDEOS, _VIDEOS.index(counts)),
        per_video=per_video,
        label_problems=label_problems(dataset),
        leakage=leakage(dataset.videos.values(), ties or {}),
        reading=tuple(reading),
        campaign=campaign,
        origin=dataset.origin,
    )


def sentences(s: Statistics) -> tuple[str, ...]:
    """What the paper says of its dataset, said of this one, and what the figures leave out."""
    said = []
    if s.facts.relatively_small is not None and s.facts.hardest is not None:
        said.append(
            f"{s.facts.relatively_small:.1f} % of instances are relatively small (coverage XS or S, up to 0.4)."
        )
        said.append(f"{s.facts.hardest:.1f} % have coverage XS and length XS, the hardest kind.")
    if s.facts.single_of_xl is not None:
        said.append(f"{s.facts.single_of_xl:.1f} % of instances with coverage XL are the only one of their video.")
    if s.videos and s.untimed == s.videos:
        said.append("No video's duration is known: coverage and hours of video are left out.")
    elif s.untimed:
        said.append(f"The duration of {s.untimed:,} videos is not known: hours of video leave them out.")
        if s.measured < s.instances and len(s.attributes) == 3:
            said.append(f"Attributes are those of the {s.measured:,} instances in videos of known duration.")
    return tuple(said)


def _histogram(bins: Bins, index: NDArray[np.int64]) -> Histogram:
    counts = np.bincount(index, minlength=len(bins.names))
    shares = tuple(float(c) for c in counts * 100 / max(len(index), 1))
    return Histogram(bins.attribute, bins.unit, bins.names, bins.ranges, tuple(int(c) for c in counts), shares)


def _pairwise(rows: Bins, columns: Bins, index: NDArray[np.int64]) -> Pairwise:
    """``index``: int64 ``(n, 2)``, bins of rows and of columns."""
    table = np.zeros((len(rows.names), len(columns.names)), np.int64)
    np.add.at(table, (index[:, 0], index[:, 1]), 1)
    return Pairwise(
        rows.attribute,
        columns.attribute,
        rows.names,
        columns.names,
        tuple(tuple(int(x) for x in row) for row in table),
        tuple(tuple(float(x) for x in row) for row in table * 100 / max(len(index), 1)),
    )


def _attributes(
    table: AttributeTable, bins: tuple[Bins, Bins, Bins]
) -> tuple[tuple[Histogram, ...], tuple[Pairwise, ...], Facts]:
    """Histograms and matrices over the same instances, so that the matrices' margins are the histograms."""
    index = table.index(bins)
    timed = index[:, 0] >= 0
    if timed.any() or not len(table):
        known, index = [0, 1, 2], index[timed]
    else:
        known = [1, 2]
    histograms = tuple(_histogram(bins[k], index[:, k]) for k in known)
    matrices = tuple(_pairwise(bins[r], bins[c], index[:, [r, c]]) for r, c in combinations(known, 2))
    if not timed.any():
        return histograms, matrices, Facts(None, None, None)
    coverage, length, instances = index.T
    huge = coverage == 4
    facts = Facts(
        float(100 * (coverage <= 1).mean()),
        float(100 * ((coverage == 0) & (length == 0)).mean()),
        float(100 * (instances[huge] == 0).mean()) if huge.any() else None,
    )
    return histograms, matrices, facts


def _per_class(dataset: Dataset, table: AttributeTable) -> tuple[ClassRow, ...]:
    """Classes in the dataset's order; labels it lacks follow by name."""
    names = (*dataset.classes, *sorted(set(table.label) - set(dataset.classes)))
    place = {label: i for i, label in enumerate(names)}
    number = np.asarray([place[label] for label in table.label], np.int64)
    order = np.argsort(number, kind="stable")
    groups = np.split(order, np.searchsorted(number[order], np.arange(1, len(names))))
    subset = np.asarray([SUBSETS.index(dataset.videos[v].subset) for v in table.video], np.int64)
    present = [i for i, s in enumerate(SUBSETS) if any(v.subset == s for v in dataset.videos.values())]
    rows = []
    for label, mine in zip(names, groups, strict=True) if names else ():
        videos = len({table.video[i] for i in mine})
        length, coverage = table.length[mine], table.coverage[mine]
        coverage = coverage[~np.isnan(coverage)]
        inside = {s: subset[mine] == s for s in present}
        rows.append(
            ClassRow(
                label,
                videos,
                len(mine),
                len(mine) / max(videos, 1),
                float(length.sum()),
                float(length.mean()) if len(mine) else None,
                float(np.median(length)) if len(mine) else None,
                float(coverage.mean()) if len(coverage) else None,
                float(np.median(coverage)) if len(coverage) else None,
                {SUBSETS[s]: int(rows_of.sum()) for s, rows_of in inside.items()},
                {SUBSETS[s]: float(length[rows_of].sum()) for s, rows_of in inside.items()},
            )
        )
    return tuple(rows)


def _per_video(dataset: Dataset, table: AttributeTable) -> tuple[VideoRow, ...]:
    """Annotated videos by id; the table's rows come in the same order."""
    ids = sorted(dataset.annotations.keys() & dataset.videos.keys())
    place = {video_id: i for i, video_id in enumerate(ids)}
    edges = np.searchsorted([place[v] for v in table.video], np.arange(len(ids) + 1))
    rows = []
    for video_id, low, high in zip(ids, edges[:-1], edges[1:], strict=True):
        video = dataset.videos[video_id]
        seconds = _covered(zip(table.start[low:high].tolist(), table.end[low:high].tolist(), strict=True))
        duration = video.duration if dataset.is_timed(video_id) else 0.0
        rows.append(VideoRow(video_id, video.subset, int(high - low), seconds, duration))
    return tuple(rows)


def _subset_row(
    dataset: Dataset, subset: str, per_video: Sequence[VideoRow], per_class: Sequence[ClassRow]
) -> SubsetRow:
    videos = [v for v in dataset.videos.values() if v.subset == subset]
    mine = [row for row in per_video if row.subset == subset]
    counts = [row.by_subset[subset] for row in per_class]
    return SubsetRow(
        subset,
        len(videos),
        len(mine),
        sum(row.instances for row in mine),
        sum(count > 0 for count in counts),
        sum(v.duration for v in videos if dataset.is_timed(v.id)) / 3600,
        sum(row.duration for row in mine) / 3600,
        sum(row.action_seconds for row in mine) / 3600,
        _balance(counts),
    )


def _covered(segments: Iterable[tuple[float, float]]) -> float:
    """Seconds covered by at least one of the segments, which come by start."""
    total, reach = 0.0, -np.inf
    for start, end in segments:
        total += max(0.0, end - max(start, reach))
        reach = max(reach, end)
    return float(total)


def _balance(counts: Sequence[int]) -> float | None:
    total = sum(counts)
    if total == 0 or len(counts) < 2:
        return None
    p = np.asarray([c for c in counts if c], np.float64) / total
    return float(-(p * np.log(p)).sum() / np.log(len(counts)))
