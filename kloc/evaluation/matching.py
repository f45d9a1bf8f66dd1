"""Which detections are right: matching rules by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kloc.evaluation.tables import DetectionTable, TruthTable
from kloc.segments import SLACK

#: Pairs of detection and instance looked at in one go: bounds the memory.
_PAIRS = 2_000_000


class Pairs(NamedTuple):
    """Detections and instances of one video and class that overlap enough for some threshold.

    By detection (in the table's order), then largest tIoU first, then the instance that comes later (as the
    official code does). ``level`` int64: how many of the ascending thresholds the tIoU reaches.
    """

    detection: NDArray[np.int64]
    instance: NDArray[np.int64]
    tiou: NDArray[np.float64]
    level: NDArray[np.int64]


def overlapping(truth: TruthTable, detections: DetectionTable, thresholds: NDArray[np.float64]) -> Iterator[Pairs]:
    """All pairs that matter, in chunks of bounded size. ``thresholds`` ascending; reached with a slack of 1e-9."""
    groups = truth.group
    wanted = detections.video * len(truth.classes) + detections.label
    low = np.searchsorted(groups, wanted, side="left")
    count = np.searchsorted(groups, wanted, side="right") - low
    having = np.flatnonzero(count)
    filled = np.cumsum(count[having])
    begin = 0
    while begin < len(having):
        before = int(filled[begin - 1]) if begin else 0
        stop = max(begin + 1, int(np.searchsorted(filled, before + _PAIRS, side="right")))
        part = having[begin:stop]
        detection = np.repeat(part, count[part])
        offset = np.arange(len(detection)) - np.repeat(np.cumsum(count[part]) - count[part], count[part])
        instance = np.repeat(low[part], count[part]) + offset
        tiou = paired_tiou(
            detections.start[detection], detections.end[detection], truth.start[instance], truth.end[instance]
        )
        level = np.searchsorted(thresholds - SLACK, tiou, side="right")
        keep = np.flatnonzero(level)
        keep = keep[np.lexsort((-instance[keep], -tiou[keep], detection[keep]))]
        yield Pairs(detection[keep], instance[keep], tiou[keep], level[keep].astype(np.int64))
        begin = stop


def paired_tiou(
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    other_start: NDArray[np.float64],
    other_end: NDArray[np.float64],
) -> NDArray[np.float64]:
    """tIoU of the i-th with the i-th segment, float64 ``(N,)``; 0 where the union is empty."""
    shared = np.maximum(np.minimum(end, other_end) - np.maximum(start, other_start), 0.0)
    union = (end - start) + (other_end - other_start) - shared
    tiou: NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return tiou


def match_activitynet(
    truth: TruthTable, detections: DetectionTable, thresholds: NDArray[np.float64]
) -> NDArray[np.uint64]:
    """ActivityNet's rule: from the best score down, each detection takes the free instance it overlaps most.

    Returns:
        uint64 ``(D,)``: bit ``t`` says whether the detection is right at the t-th threshold.
    """
    # One integer per instance and detection holds the state at all thresholds: a pair costs a few bit operations.
    taken = [0] * len(truth.start)
    right = [0] * len(detections.start)
    for pairs in overlapping(truth, detections, thresholds):
        rows = zip(pairs.detection.tolist(), pairs.instance.tolist(), pairs.level.tolist(), strict=True)
        for detection, instance, level in rows:
            gained = ((1 << level) - 1) & ~taken[instance] & ~right[detection]
            taken[instance] |= gained
            right[detection] |= gained
    return np.array(right, np.uint64)


Matcher = Callable[[TruthTable, DetectionTable, NDArray[np.float64]], NDArray[np.uint64]]
#: Matching rules by name.
MATCHERS: dict[str, Matcher] = {"activitynet": match_activitynet}
