"""What kind of mistake each false positive is, and what every kind costs.

Kinds, by the instance of the video (of any class) that a false positive overlaps most, at tIoU ``u`` and threshold
``t`` (DETAD, section 4.1 and table 1):

==================  =============  ==========================
kind                its class is   and
==================  =============  ==========================
double detection    the same       ``u >= t``
wrong label         another        ``u >= t``
localization        the same       ``0.1 <= u < t``
confusion           another        ``0.1 <= u < t``
background          any            ``u < 0.1``, or no instance
==================  =============  ==========================

Looked at are the best ``10 n`` detections of each class, ``n`` its number of instances, in ten slices of ``n``.

Where this deviates from DETAD's program: of two instances overlapped equally, the one of the detection's class
counts (there: the one that stands first in the file); thresholds have the evaluation's slack of 1e-9; beside the gain
in mAP_N stands the gain in ordinary mAP; the order of equal scores is the evaluation's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kloc.evaluation.diagnosis.matched import Array, Matched, means
from kloc.evaluation.matching import paired_tiou
from kloc.segments import SLACK

KINDS = ("double detection", "wrong label", "localization", "confusion", "background")
RIGHT, LEFT_OUT = -1, -2
#: Below this tIoU a detection has nothing to do with an instance.
BACKGROUND = 0.1
#: Slices of the ranking: the first holds as many detections of each class as it has instances, and so on.
SLICES = 10
_PAIRS = 2_000_000


@dataclass(frozen=True, slots=True)
class Impact:
    """What removing one kind of false positive gains, within the ranking looked at, averaged over thresholds.

    share: of the detections looked at. mean_ap, normalised: gain in mAP and in mAP_N, as shares of 1.
    """

    kind: str
    share: float
    mean_ap: float
    normalised: float


@dataclass(frozen=True, slots=True)
class FalsePositives:
    """The profile: of each slice the share of right detections and of each kind, over all thresholds.

    sizes: detections in each slice. right: share by slice. kinds: share by slice and kind, in the order of `KINDS`;
    what is neither right nor wrong does not count. mean_ap, normalised: mAP and mAP_N of the detections looked at.
    unranked: detections of classes without truth, which are in no slice.
    """

    sizes: tuple[int, ...]
    right: tuple[float, ...]
    kinds: tuple[tuple[float, ...], ...]
    mean_ap: float
    normalised: float
    impacts: tuple[Impact, ...]
    unranked: int


def nearest(matched: Matched) -> tuple[Array, NDArray[np.bool_]]:
    """The largest tIoU of each detection with any instance of its video, and whether one of its class has it.

    Returns:
        float64 ``(D,)``, 0 where nothing is overlapped, and bool ``(D,)``.
    """
    truth, found = matched.truth, matched.found
    low = np.searchsorted(truth.video, found.video, side="left")
    count = np.searchsorted(truth.video, found.video, side="right") - low
    having = np.flatnonzero(count)
    filled = np.cumsum(count[having])
    top, same = np.zeros(len(found.start)), np.zeros(len(found.start), np.bool_)
    begin = 0
    while begin < len(having):  # pairs in chunks: bounds the memory
        before = int(filled[begin - 1]) if begin else 0
        stop = max(begin + 1, int(np.searchsorted(filled, before + _PAIRS, side="right")))
        part = having[begin:stop]
        first = np.cumsum(count[part]) - count[part]
        detection = np.repeat(part, count[part])
        instance = np.arange(len(detection)) + np.repeat(low[part] - first, count[part])
        tiou = paired_tiou(found.start[detection], found.end[detection], truth.start[instance], truth.end[instance])
        own = np.where(truth.label[instance] == found.label[detection], tiou, -1.0)
        top[part] = np.maximum.reduceat(tiou, first)
        same[part] = np.maximum.reduceat(own, first) >= top[part] - SLACK
        begin = stop
    return top, same


def kinds(matched: Matched) -> NDArray[np.int8]:
    """The kind of each detection at each threshold, int8 ``(K, D)``: index into `KINDS`, `RIGHT` or `LEFT_OUT`."""
    top, same = nearest(matched)
    limits = matched.thresholds[:, None] + (SLACK if matched.rule.strict else -SLACK)
    reaches = (top > limits) if matched.rule.strict else (top >= limits)
    kind = np.where(reaches, np.where(same, 0, 1), np.where(same, 2, 3))
    kind = np.where(top >= BACKGROUND - SLACK, kind, 4)
    kind = np.where(matched.right, RIGHT, np.where(matched.wrong, kind, LEFT_OUT))
    return kind.astype(np.int8)


def false_positives(matched: Matched) -> FalsePositives:
    """The profile of the best ``10 n`` detections of each class, and what removing each kind gains."""
    label = matched.found.label
    n_truth = matched.truth.per_class()
    rank = np.arange(len(label)) - np.searchsorted(label, label)
    mine = n_truth[label]
    place = np.divide(rank, mine, out=np.full(len(label), np.inf), where=mine > 0)
    looked_at = np.flatnonzero(place < SLICES)
    label, place = label[looked_at], place[looked_at].astype(np.int64)
    kind = kinds(matched)[:, looked_at]
    sizes = np.bincount(place, minlength=SLICES)
    hits = [(kind == k).sum(axis=0) for k in range(RIGHT, len(KINDS))]
    count = np.stack([np.bincount(place, h, minlength=SLICES) for h in hits], axis=1)
    share = count / np.maximum(count.sum(axis=1, keepdims=True), 1)
    total = count.sum(axis=0) / max(count.sum(), 1)

    right, wrong = kind == RIGHT, kind >= 0
    before = means(matched, right, wrong, label, n_truth)
    impacts = []
    for index, name in enumerate(KINDS):
        after = means(matched, right, wrong & (kind != index), label, n_truth)
        gains = (after.mean_ap - before.mean_ap, after.normalised - before.normalised)
        impacts.append(Impact(name, float(total[index + 1]), *gains))
    return FalsePositives(
        tuple(sizes.tolist()),
        tuple(share[:, 0].tolist()),
        tuple(tuple(row) for row in share[:, 1:].tolist()),
        *before,
        tuple(impacts),
        int((mine == 0).sum()),
    )
