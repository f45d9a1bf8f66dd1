"""Items whose truth is known: what their candidates are judged by."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kloc.crowd.consolidation.candidates import Candidates
from kloc.crowd.consolidation.marks import Questions
from kloc.crowd.consolidation.presence import Known
from kloc.records import Annotation, Instance, Item

#: A candidate shows a gold instance from this tIoU on.
SAME_TIOU = 0.5


def known_truth(
    questions: Questions,
    c: Candidates,
    n_workers: int,
    gold: Mapping[Item, Annotation],
) -> Known:
    """What ``gold`` says of the candidates; one of them at most shows each gold instance."""
    low, high = c.medians()
    truth, overlooked = np.full(len(c), np.nan), np.zeros(n_workers)
    covered = np.zeros(len(questions.keys))
    first = np.searchsorted(c.question, np.arange(len(covered) + 1))
    for question, (item, label) in enumerate(questions.keys):
        if item not in gold or not gold[item].covers(label):
            continue
        covered[question] = 1.0
        left = sorted(t for t in gold[item].instances if t.label == label)
        for row in range(first[question], first[question + 1]):
            best = max(left, key=lambda t: (_tiou(low[row], high[row], t), -t.start), default=None)
            truth[row] = 0.0
            if best is not None and _tiou(low[row], high[row], best) >= SAME_TIOU:
                truth[row] = 1.0
                left.remove(best)
        asked = questions.asked[question]
        overlooked[asked[asked >= 0]] += len(left)
    return Known(truth, covered, overlooked)


def _tiou(low: float, high: float, other: Instance) -> float:
    shared = max(min(high, other.end) - max(low, other.start), 0.0)
    return shared / (high - low + other.duration - shared)
