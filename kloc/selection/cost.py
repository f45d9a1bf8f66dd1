"""What it takes to annotate a video: minutes = a + b x minutes of video + c x expected instances.

The three numbers are learned from recorded working times; before there are any, `DEFAULT` stands in.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from kloc.errors import FormatError, UsageError
from kloc.files import write_json
from kloc.records import Annotation, Item

if TYPE_CHECKING:
    from kloc.selection.base import Context

#: Fewer recorded working times than this say more about two workers than about the task.
MIN_RECORDINGS = 10
#: A working time counts at most this many times as much as is usual for its video: people go for coffee.
CAP = 3.0
#: Nobody opens, watches and sends a task in less, minutes.
SHORTEST_MIN = 0.05
#: So many videos' worth of the overall mean stand behind the expected instances of every label.
PRIOR_VIDEOS = 5.0


class Recording(NamedTuple):
    """One recorded piece of work: minutes it took, minutes of video, instances that were marked."""

    minutes: float
    duration_minutes: float
    instances: int


@dataclass(frozen=True, slots=True)
class CostModel:
    """Minutes that one worker spends on one video.

    a: minutes per task; b: minutes per minute of video; c: minutes per instance. None is negative.
    recordings: how many working times it was learned from, 0 for one that was not learned.
    """

    a: float
    b: float
    c: float
    recordings: int = 0

    def __post_init__(self) -> None:
        numbers = (self.a, self.b, self.c)
        if not all(math.isfinite(number) and number >= 0 for number in numbers) or not any(numbers):
            raise UsageError(f"cost model {numbers}: a, b and c must be numbers not below 0, not all 0")

    def minutes(self, duration_s: NDArray[np.float64], instances: NDArray[np.float64]) -> NDArray[np.float64]:
        """Estimated minutes, float64 ``(n,)``, of videos with so many seconds and so many expected instances."""
        return np.maximum(self.a + self.b * duration_s / 60.0 + self.c * instances, SHORTEST_MIN)

    @classmethod
    def fit(cls, recordings: Sequence[Recording]) -> Self:
        """Non-negative least squares of the relative errors, working times capped (see `CAP`).

        Raises:
            UsageError: fewer than `MIN_RECORDINGS` usable working times (finite, above 0).
        """
        table = np.array([row for row in recordings if all(map(math.isfinite, row))], np.float64).reshape(-1, 3)
        table = table[(table[:, 0] > 0) & (table[:, 1] >= 0) & (table[:, 2] >= 0)]
        if len(table) < MIN_RECORDINGS:
            raise UsageError(f"{len(table)} recorded working times are too few to learn from; {MIN_RECORDINGS} do")
        terms = np.column_stack([np.ones(len(table)), table[:, 1], table[:, 2]])
        # A breath of the default's proportions decides what the recordings leave open (videos all equally long).
        tie = 1e-6 * math.sqrt(len(table))
        usual = DEFAULT.minutes(table[:, 1] * 60.0, table[:, 2])
        prior = np.median(table[:, 0] / usual) * np.array([DEFAULT.a, DEFAULT.b, DEFAULT.c])
        # What is usual is first taken from the default, then from what was learned: a few steps settle it.
        for _ in range(10):
            pace = table[:, 0] / usual
            typical = float(np.median(pace))
            target = np.concatenate([np.minimum(pace, CAP * typical), tie * prior])
            solution, _ = nnls(np.vstack([terms / usual[:, None], tie * np.eye(3)]), target)
            usual = np.maximum(terms @ solution, SHORTEST_MIN)
        a, b, c = solution.tolist()
        return cls(a, b, c, len(table))

    def save(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        write_json(path, {"a": self.a, "b": self.b, "c": self.c, "recordings": self.recordings})

    @classmethod
    def load(cls, path: Path) -> Self:
        """The model saved at ``path``.

        Raises:
            FormatError: the file is missing, damaged or holds impossible numbers.
        """
        try:
            data = json.loads(path.read_text("utf-8"))
            return cls(float(data["a"]), float(data["b"]), float(data["c"]), int(data["recordings"]))
        except FileNotFoundError:
            raise FormatError(f"{path}: no such file; correct selection.cost_model in kloc.toml or empty it") from None
        except (OSError, ValueError, KeyError, TypeError, UsageError) as error:
            # Nothing makes it anew where it is named, and it may be another workspace's.
            raise FormatError(
                f"{path}: no cost model ({error}); correct selection.cost_model in kloc.toml or empty it"
            ) from None

    def __str__(self) -> str:
        source = f"learned from {self.recordings} working times" if self.recordings else "kloc's default"
        return f"{self.a:.2f} + {self.b:.2f} per minute of video + {self.c:.2f} per instance, minutes ({source})"


#: Before any recording: half a minute to open and read a task, the video watched once, and half a minute per instance
#: for its two borders. A guess of ours; only ratios between videos matter to a policy.
DEFAULT = CostModel(0.5, 1.0, 0.5)


def expected_instances(
    items: Sequence[Item], annotations: Mapping[str, Annotation], labels: Mapping[str, tuple[str, ...]]
) -> NDArray[np.float64]:
    """How many instances each item will probably hold, float64 ``(n,)``.

    For a video with video-level labels the sum over them of the mean number of that label's instances in the
    annotated videos that have it and were asked about it, each shrunk to the mean of all labels by `PRIOR_VIDEOS`; for
    a video without labels the mean number of instances per annotated video; 1 (per label) before any annotation.
    """
    counts: dict[str, list[int]] = {}
    for video_id, annotation in annotations.items():
        found = [instance.label for instance in annotation.instances]
        for label in {*found, *labels.get(video_id, ())}:
            if label in found or annotation.covers(label):  # nobody asked: not seen is not absent
                counts.setdefault(label, []).append(found.count(label))
    n_pairs = sum(map(len, counts.values()))
    overall = sum(map(sum, counts.values())) / n_pairs if n_pairs else 1.0
    per_label = {k: (sum(v) + PRIOR_VIDEOS * overall) / (len(v) + PRIOR_VIDEOS) for k, v in counts.items()}
    unlabelled = sum(len(a.instances) for a in annotations.values()) / len(annotations) if annotations else 1.0

    def expected(item: Item) -> float:
        own = labels.get(item.video_id)
        return sum(per_label.get(label, overall) for label in own) if own else unlabelled

    return np.fromiter(map(expected, items), np.float64, len(items))


def minutes_of(items: Sequence[Item], context: Context) -> NDArray[np.float64]:
    """Minutes that one worker will probably spend on each item, float64 ``(n,)``; see ``context.cost``."""
    seconds = np.fromiter((item.end - item.start for item in items), np.float64, len(items))
    instances = expected_instances(items, context.annotations, context.labels)
    return (context.cost or DEFAULT).minutes(seconds, instances)
