"""Attributes of instances and their bins: coverage, length and number of instances, each from XS to XL.

The bins are those of P2 ("What Do I Annotate Next?", section 5), all right-closed. DETAD's differ in the number of
instances only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kloc.records import Dataset, Instance, Video


@dataclass(frozen=True)
class Bins:
    """Right-closed bins ``(edge[i-1], edge[i]]``; the first is open below, the last above."""

    attribute: str
    unit: str
    edges: tuple[float, ...]
    names: tuple[str, ...]
    whole: bool = False  # values are whole numbers

    def index(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """Bin of each value, int64 ``(n,)``, -1 for NaN. Values are rounded to 9 decimals: 0.6000000000001 is 0.6."""
        found = np.searchsorted(np.asarray(self.edges), np.round(values, 9), side="left")
        return np.where(np.isnan(values), -1, found).astype(np.int64)

    @property
    def ranges(self) -> tuple[str, ...]:
        """What each bin holds, for people: ``0.2-0.4``, ``> 180``; of whole numbers ``2-4``."""
        first = f"≤ {self.edges[0]:g}" if self.edges[0] > 0 else "0"
        spans = ((a + self.whole, b) for a, b in zip(self.edges, self.edges[1:], strict=False))
        return (first, *(f"{a:g}" if a == b else f"{a:g}–{b:g}" for a, b in spans), f"> {self.edges[-1]:g}")


_FIVE = ("XS", "S", "M", "L", "XL")
_COVERAGE = Bins("coverage", "share of the video", (0.2, 0.4, 0.6, 0.8), _FIVE)
_LENGTH = Bins("length", "seconds", (30.0, 60.0, 120.0, 180.0), _FIVE)
#: Name of a binning -> its bins of coverage, length and number of instances.
BINNINGS: dict[str, tuple[Bins, Bins, Bins]] = {
    "paper": (_COVERAGE, _LENGTH, Bins("instances", "per video", (1.0, 4.0, 8.0, 16.0), _FIVE, True)),
    "detad": (_COVERAGE, _LENGTH, Bins("instances", "per video", (1.0, 4.0, 8.0), ("XS", "S", "M", "L"), True)),
}


@dataclass(frozen=True)
class AttributeTable:
    """The instances of a dataset that count, one row each: by video id, then by start.

    start, end: seconds, cut to the video. coverage: length by the video's duration, NaN where that is not known.
    length: seconds. instances: how many instances the row's video holds. All float64 ``(n,)``.
    """

    video: tuple[str, ...]
    label: tuple[str, ...]
    start: NDArray[np.float64]
    end: NDArray[np.float64]
    coverage: NDArray[np.float64]
    length: NDArray[np.float64]
    instances: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.video)

    def index(self, bins: tuple[Bins, Bins, Bins]) -> NDArray[np.int64]:
        """Bins of coverage, length and number of instances of each row, int64 ``(n, 3)``; -1 where not known."""
        values = (self.coverage, self.length, self.instances)
        return np.stack([b.index(v) for b, v in zip(bins, values, strict=True)], axis=1)


def attributes_of(dataset: Dataset, overlong: Literal["clip", "drop"] = "clip") -> AttributeTable:
    """Attributes of all instances of the annotated videos that the dataset holds; see `counting` for which count."""
    rows: list[tuple[str, str, float, float, float, float]] = []
    for video_id in sorted(dataset.annotations.keys() & dataset.videos.keys()):
        video, timed = dataset.videos[video_id], dataset.is_timed(video_id)
        known = counting(video if timed else None, dataset.annotations[video_id].instances, overlong)
        duration = video.duration if timed else np.nan
        rows += [(video_id, i.label, i.start, i.end, i.duration / duration, float(len(known))) for i in known]
    figures = np.asarray([row[2:] for row in rows], np.float64).reshape(-1, 4)
    start, end, coverage, instances = figures.T
    names = (tuple(row[0] for row in rows), tuple(row[1] for row in rows))
    return AttributeTable(*names, start, end, coverage, end - start, instances)


def counting(video: Video | None, instances: Iterable[Instance], overlong: Literal["clip", "drop"]) -> list[Instance]:
    """The instances of one video that count, by start, cut to the video (``None`` where its duration is not known).

    Left out: what does not end after it starts, what lies outside the video, what is given twice. ``overlong``: an
    instance longer than its video is cut, or dropped as DETAD does.
    """
    kept: dict[tuple[float, float, str], Instance] = {}
    for one in sorted(instances):
        low, high = one.start, one.end
        if video is not None:
            low, high = max(low, video.start), min(high, video.end)
            if overlong == "drop" and one.duration > video.duration:
                continue
        if high > low:
            kept.setdefault((one.start, one.end, one.label), Instance(low, high, one.label, one.confidence))
    return list(kept.values())
