"""Which detection takes which instance: two matching rules by name, all thresholds in one go.

Both go through pairs of a detection and an instance from the best to the worst, and a pair holds if both are still
free. They differ in whose turn it is, and in what else the official code of each does (`RULES`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kloc.errors import UsageError
from kloc.evaluation.tables import DetectionTable, TruthTable
from kloc.segments import SLACK

Indices = NDArray[np.int64]
Bits = NDArray[np.uint64]

#: In `matches`: a detection that takes nothing and is wrong, and one that is neither right nor wrong.
WRONG, LEFT_OUT = -1, -2
#: Pairs of detection and instance looked at in one go: bounds the memory.
_PAIRS = 2_000_000


@dataclass(frozen=True, slots=True)
class Rule:
    """A matching rule and the average precision that belongs to it.

    turns: "detections", best score first, each take the free instance of largest tIoU (the later one of equals);
        or "instances", as they stand in the annotation, each take the free detection of largest tIoU (the better
        scored one of equals).
    strict: the tIoU must be above the threshold; else reaching it is enough. Both with a slack of 1e-9.
    ambiguous: a detection that takes nothing and touches an ambiguous instance is neither right nor wrong.
    interpolated: precision at a recall is the best one at that or any higher recall; else the precision as it is.
    """

    turns: Literal["detections", "instances"]
    strict: bool
    ambiguous: bool
    interpolated: bool


RULES: dict[str, Rule] = {
    # The official ActivityNet evaluation.
    "activitynet": Rule("detections", strict=False, ambiguous=False, interpolated=True),
    # The official evaluation kit of THUMOS'14 (version of 30 January 2015).
    "thumos": Rule("instances", strict=True, ambiguous=True, interpolated=False),
}


class Spans(NamedTuple):
    """Segments ``(N,)`` in seconds, each of a group (say, a video and class) within which they may meet.

    group: int64, ascending for those that are looked up.
    """

    group: Indices
    start: NDArray[np.float64]
    end: NDArray[np.float64]


class Matching(NamedTuple):
    """What became of the detections; bit ``t`` of a number stands for the t-th of the ascending thresholds.

    detection, instance: int64 ``(P,)``, pairs that hold at some threshold; held: uint64 ``(P,)``, at which.
    right, left_out: uint64 ``(D,)``, at which thresholds a detection takes an instance, and at which it is neither
    right nor wrong.
    """

    detection: Indices
    instance: Indices
    held: Bits
    right: Bits
    left_out: Bits


def rule(name: str) -> Rule:
    """The matching rule of that name. Raises UsageError that lists all of them."""
    if name not in RULES:
        raise UsageError(f"unknown matching rule {name!r}; known: {', '.join(sorted(RULES))}")
    return RULES[name]


def matches(truth: TruthTable, found: DetectionTable, threshold: float, matching: str = "activitynet") -> Indices:
    """Row of the instance that each detection takes at one threshold, int64 ``(D,)``.

    ``WRONG`` (-1) where it takes none; ``LEFT_OUT`` (-2) where it takes none and counts neither as right nor as
    wrong, which only the rule "thumos" knows. Raises UsageError for an unknown rule.
    """
    result = match(truth, found, np.array([threshold]), rule(matching))
    row = np.where(result.left_out > 0, LEFT_OUT, WRONG).astype(np.int64)
    row[result.detection] = result.instance
    return row


def match(truth: TruthTable, found: DetectionTable, thresholds: NDArray[np.float64], rule: Rule) -> Matching:
    """Match by a rule at all of the ascending ``thresholds``, at most 64."""
    limits = thresholds + SLACK if rule.strict else thresholds - SLACK
    spans = Spans(found.video * len(truth.classes) + found.label, found.start, found.end)
    detection, instance, tiou, level = overlapping(
        spans, Spans(truth.group, truth.start, truth.end), limits, rule.strict
    )
    if rule.turns == "detections":
        order = np.lexsort((-instance, -tiou, detection))
    else:
        order = np.lexsort((detection, -tiou, instance))
    detection, instance = detection[order], instance[order]
    wanted = ~np.uint64(0) >> (64 - level[order]).astype(np.uint64)
    held = _greedy(detection, instance, wanted, len(found.start), len(truth.start))
    some = np.flatnonzero(held)
    detection, instance, held = detection[some], instance[some], held[some]
    right = np.zeros(len(found.start), np.uint64)
    np.bitwise_or.at(right, detection, held)
    left_out = np.zeros_like(right)
    if rule.ambiguous:
        everywhere = ~np.uint64(0) >> np.uint64(64 - len(thresholds))
        left_out = np.where(_touches_ambiguous(truth, found), everywhere & ~right, np.uint64(0))
    return Matching(detection, instance, held, right, left_out)


def _greedy(detection: Indices, instance: Indices, wanted: Bits, n_detections: int, n_instances: int) -> Bits:
    """At which thresholds each pair holds, the pairs in the order of their turns, uint64 ``(P,)``."""
    # One integer per instance and detection holds the state at all thresholds: a pair costs a few bit operations.
    taken = [0] * n_instances
    right = [0] * n_detections
    held = [0] * len(wanted)
    for row, (d, i, bits) in enumerate(zip(detection.tolist(), instance.tolist(), wanted.tolist(), strict=True)):
        gained = bits & ~taken[i] & ~right[d]
        if gained:
            taken[i] |= gained
            right[d] |= gained
            held[row] = gained
    return np.array(held, np.uint64)


def overlapping(
    found: Spans, truth: Spans, limits: NDArray[np.float64], strict: bool = False
) -> tuple[Indices, Indices, NDArray[np.float64], Indices]:
    """Pairs of one group whose tIoU reaches some of the ascending limits, or exceeds it (``strict``).

    Returns, each ``(P,)`` and by row of ``found``, then of ``truth``: the two rows, the tIoU, and how many limits it
    reaches. What is looked at in one go is bounded, not the result.
    """
    low = np.searchsorted(truth.group, found.group, side="left")
    count = np.searchsorted(truth.group, found.group, side="right") - low
    having = np.flatnonzero(count)
    filled = np.cumsum(count[having])
    parts = [(having[:0], having[:0], np.zeros(0), having[:0])]
    begin = 0
    while begin < len(having):
        before = int(filled[begin - 1]) if begin else 0
        stop = max(begin + 1, int(np.searchsorted(filled, before + _PAIRS, side="right")))
        part = having[begin:stop]
        row = np.repeat(part, count[part])
        offset = np.arange(len(row)) - np.repeat(np.cumsum(count[part]) - count[part], count[part])
        other = np.repeat(low[part], count[part]) + offset
        tiou = paired_tiou(found.start[row], found.end[row], truth.start[other], truth.end[other])
        level = np.searchsorted(limits, tiou, side="left" if strict else "right")
        keep = np.flatnonzero(level)
        parts.append((row[keep], other[keep], tiou[keep], level[keep]))
        begin = stop
    rows, others, tious, levels = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return rows, others, tious, levels


def _touches_ambiguous(truth: TruthTable, found: DetectionTable) -> NDArray[np.bool_]:
    """Whether a detection shares time with an ambiguous instance of its video, bool ``(D,)``."""
    touches = np.zeros(len(found.start), np.bool_)
    if not len(truth.ambiguous_video):
        return touches
    low = np.searchsorted(truth.ambiguous_video, found.video, side="left")
    count = np.searchsorted(truth.ambiguous_video, found.video, side="right") - low
    for step in range(int(count.max(initial=0))):
        rows = np.flatnonzero(count > step)
        start, end = truth.ambiguous[low[rows] + step].T
        touches[rows] |= np.minimum(found.end[rows], end) > np.maximum(found.start[rows], start)
    return touches


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
