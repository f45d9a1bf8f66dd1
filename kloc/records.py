"""The nouns of kloc: small frozen dataclasses. Time is seconds, float64, half-open ``[start, end)``.

Seconds are decoder timestamps plus the start of the video stream: what a browser shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Subset = Literal["training", "validation", "testing"]
SUBSETS: tuple[Subset, ...] = ("training", "validation", "testing")

#: The origin of a dataset that no person annotated.
SIMULATED_WORKERS = "simulated workers"

#: ``None`` where an annotation is exhaustive for every class of the dataset.
Exhaustive = frozenset[str] | None


@dataclass(frozen=True, slots=True, order=True)
class Item:
    """The unit that is scored, published, paid, labelled and simulated: a video, or a stretch of one."""

    video_id: str
    start: float
    end: float

    @property
    def duration(self) -> float:
        return self.end - self.start


@dataclass(frozen=True, slots=True, order=True)
class Instance:
    """One occurrence of a class in a video."""

    start: float
    end: float
    label: str
    #: Posterior that the instance is real (1 for imported truth, the consolidation's posterior for answers).
    confidence: float = 1.0

    @property
    def duration(self) -> float:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Annotation:
    """All instances of ``exhaustive_for`` in ``item``; an empty tuple says that none occurs.

    A class outside ``exhaustive_for`` is unknown there, never absent: neither training nor evaluation
    takes it as a negative.
    """

    item: Item
    instances: tuple[Instance, ...]
    exhaustive_for: Exhaustive = None

    def covers(self, label: str) -> bool:
        """Whether absence of ``label`` here means that it does not occur."""
        return self.exhaustive_for is None or label in self.exhaustive_for


@dataclass(frozen=True, slots=True)
class Video:
    """One video of the pool. ``start``/``end`` bound its frames: ``[first frame, last frame + its duration)``."""

    id: str
    start: float
    end: float
    path: str | None = None
    #: Video-level labels, possibly none.
    labels: tuple[str, ...] = ()
    subset: Subset = "training"
    url: str | None = None

    @property
    def duration(self) -> float:
        return self.end - self.start

    @property
    def item(self) -> Item:
        """The whole video as an item."""
        return Item(self.id, self.start, self.end)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Videos with their annotations. Videos without one are the pool."""

    classes: tuple[str, ...]
    videos: Mapping[str, Video]
    annotations: Mapping[str, Annotation]
    name: str = "dataset"
    #: Where the annotations come from, where that must be said wherever they are shown: `SIMULATED_WORKERS`, or any
    #: other text that a file gives.
    origin: str = ""
    #: Videos whose duration nobody knows: their end stands where the last instance ends. No part of equality.
    open_ended: frozenset[str] = field(default=frozenset(), compare=False)

    @property
    def simulated(self) -> bool:
        """Whether simulated workers annotated it."""
        return self.origin == SIMULATED_WORKERS

    def is_timed(self, video_id: str) -> bool:
        """Whether the duration of this video is known."""
        return video_id not in self.open_ended and self.videos[video_id].duration > 0

    def of(self, subset: Subset) -> Dataset:
        """The part of the dataset whose videos belong to ``subset``."""
        videos = {k: v for k, v in self.videos.items() if v.subset == subset}
        annotations = {k: a for k, a in self.annotations.items() if k in videos}
        return Dataset(self.classes, videos, annotations, self.name, self.origin, self.open_ended & videos.keys())


@dataclass(frozen=True, slots=True)
class Detection:
    """One scored segment of one class."""

    start: float
    end: float
    label: str
    score: float


@dataclass(frozen=True, slots=True)
class Level:
    """Class distributions at one level of a model (one pyramid level, or the top-k proposals).

    ``scores`` is float32 ``(T, C)`` or ``(T, C + 1)``; ``background`` is the column of the background class,
    ``None`` where there is none.
    """

    name: str
    scores: NDArray[np.float32]
    background: int | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """All that selection and evaluation need to know of one video.

    segments: float64 ``(N, 2)``, seconds, of *all* proposals.
    actionness: float32 ``(N,)`` in [0, 1], of all proposals.
    levels: class distributions; ``activation`` says how their scores came about, nobody has to guess.
    detections: what is emitted, best first.
    """

    video_id: str
    segments: NDArray[np.float64]
    actionness: NDArray[np.float32]
    levels: tuple[Level, ...]
    activation: Literal["softmax", "sigmoid"]
    classes: tuple[str, ...]
    detections: tuple[Detection, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Grid:
    """The one place where indices become seconds: sample ``i`` stands for ``start + i * step``.

    ``start`` is the time of sample 0 in seconds (its centre), ``step`` the seconds between samples, ``window``
    the seconds of video one sample has seen, ``count`` the number of samples.
    """

    start: float
    step: float
    window: float
    count: int

    @property
    def times(self) -> NDArray[np.float64]:
        """Centres of all samples, float64 ``(count,)``, seconds."""
        return self.start + self.step * np.arange(self.count, dtype=np.float64)

    def index_range(self, start: float, end: float) -> tuple[int, int]:
        """Half-open index range of the samples whose centre lies in ``[start, end)``; may be empty."""
        low = int(np.ceil((start - self.start) / self.step - 1e-9))
        high = int(np.ceil((end - self.start) / self.step - 1e-9))
        return min(max(low, 0), self.count), min(max(high, 0), self.count)

    def nearest(self, time: float) -> int:
        """Index of the sample whose centre is nearest to ``time``, clipped to the grid."""
        return int(min(max(np.floor((time - self.start) / self.step + 0.5), 0), self.count - 1))
