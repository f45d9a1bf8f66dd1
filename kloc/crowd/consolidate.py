"""Several workers' segments to one annotation: repair and cluster, judge presence, find the boundaries.

Always over *all* answers of the campaign, in a canonical order: the same answers give the same result, in whatever
order they came in. Two methods: ``"em"`` undoes splits and merges, learns each worker's reliability and judges by it;
``"median"`` is the plain cluster median with a majority of the votes. Workers are learned from the answers alone; the
few constants were chosen on development seeds of :mod:`kloc.crowd.simulate`. How each step works, and why, stands in
:mod:`kloc.crowd.consolidation`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from kloc.crowd.consolidation.boundaries import robust
from kloc.crowd.consolidation.candidates import Candidates, plain, repaired
from kloc.crowd.consolidation.gold import known_truth
from kloc.crowd.consolidation.marks import Floats, Questions, lay_out
from kloc.crowd.consolidation.presence import presence
from kloc.crowd.consolidation.records import (
    Consolidated,
    ConsolidatedInstance,
    ConsolidatedItem,
    ConsolidationSettings,
    Reliability,
    WorkerAnswer,
)
from kloc.records import Annotation, Instance, Item
from kloc.store.crowd import StoredAnswer

__all__ = [
    "Consolidated",
    "ConsolidatedInstance",
    "ConsolidatedItem",
    "ConsolidationSettings",
    "Reliability",
    "WorkerAnswer",
    "consolidate",
    "from_stored",
]

#: What is learned and believed is rounded to so many decimals.
DECIMALS = 9


def from_stored(stored: Iterable[StoredAnswer]) -> list[WorkerAnswer]:
    """The store's answers (:func:`kloc.store.crowd.answers`) as consolidation wants them."""
    return [
        WorkerAnswer(
            item=answer.item,
            worker_id=answer.worker_id,
            assignment_id=answer.assignment_id,
            classes=answer.classes,
            segments=tuple(Instance(s["start"], s["end"], s["label"]) for s in answer.answer["segments"]),
        )
        for answer in stored
    ]


def consolidate(
    answers: Sequence[WorkerAnswer],
    classes: Collection[str],
    settings: ConsolidationSettings | None = None,
    *,
    gold: Mapping[Item, Annotation] | None = None,
) -> Consolidated:
    """Consolidate all answers of a campaign jointly.

    ``gold`` items have a known truth: it is what their candidates are judged by, so that workers' reliability
    learns from it; what is returned for them is still the workers' opinion of the boundaries. Of several answers of
    one worker about one class of one item the one with the lowest assignment id counts.
    Raises :class:`KlocError` for a label outside ``classes`` or outside what the worker was asked.
    """
    settings = settings or ConsolidationSettings()
    ordered = sorted(answers, key=_place)
    workers = sorted({answer.worker_id for answer in ordered})
    questions, marks = lay_out(ordered, classes, {name: i for i, name in enumerate(workers)})
    if settings.method == "median":
        c = plain(questions, marks, settings.tiou)
        return Consolidated(_collect(ordered, questions, c, c.shares(), *c.medians(), settings), {})
    c = repaired(questions, marks, settings.tiou)
    known = known_truth(questions, c, len(workers), gold or {})
    found = presence(questions, c, known, settings)
    posterior = found.posterior
    if not found.credible:
        # What was learned is reported, but nothing is repaired or judged by it.
        c = plain(questions, marks, settings.tiou)
        truth = known_truth(questions, c, len(workers), gold or {}).truth
        posterior = np.where(np.isnan(truth), c.shares(), truth)
    low, high, scales = robust(c, posterior, len(workers), settings)
    counts = dict.fromkeys(workers, 0)
    for answer in ordered:
        counts[answer.worker_id] += 1
    learned = np.round([found.sensitivity, found.false_alarms, scales], DECIMALS)
    reliability = {
        name: Reliability(sensitivity, false_alarm, scale, counts[name])
        for name, (sensitivity, false_alarm, scale) in zip(workers, learned.T.tolist(), strict=True)
    }
    return Consolidated(_collect(ordered, questions, c, posterior, low, high, settings), reliability)


def _place(answer: WorkerAnswer) -> tuple[str, float, float, str, str]:
    """Where an answer comes in the canonical order. Plain values: they compare much faster than items."""
    item = answer.item
    return item.video_id, item.start, item.end, answer.worker_id, answer.assignment_id


def _collect(
    ordered: Sequence[WorkerAnswer],
    questions: Questions,
    c: Candidates,
    posterior: Floats,
    low: Floats,
    high: Floats,
    settings: ConsolidationSettings,
) -> dict[Item, ConsolidatedItem]:
    found: dict[Item, list[ConsolidatedInstance]] = {answer.item: [] for answer in ordered}
    classes: dict[Item, set[str]] = {item: set() for item in found}
    assignments: dict[Item, list[str]] = {item: [] for item in found}
    for answer in ordered:
        classes[answer.item].update(answer.classes)
        assignments[answer.item].append(answer.assignment_id)
    columns = (
        low,
        high,
        np.round(posterior, DECIMALS),
        c.vote.sum(axis=1),
        (c.who >= 0).sum(axis=1),
        np.round(_spread(c.low, low), DECIMALS),
        np.round(_spread(c.high, high), DECIMALS),
    )
    rows = zip(c.question.tolist(), *(column.tolist() for column in columns), strict=True)
    for question, start, end, confidence, support, asked, start_spread, end_spread in rows:
        item, label = questions.keys[question]
        found[item].append(
            ConsolidatedInstance(start, end, label, confidence, support, asked, start_spread, end_spread)
        )
    items: dict[Item, ConsolidatedItem] = {}
    bottom, top = settings.provisional
    for item, instances in found.items():
        instances.sort(key=lambda x: (x.start, x.end, x.label))
        items[item] = ConsolidatedItem(
            item=item,
            classes=tuple(sorted(classes[item])),
            instances=tuple(x for x in instances if x.confidence > settings.keep),
            rejected=tuple(x for x in instances if x.confidence <= settings.keep),
            provisional=any(bottom <= x.confidence <= top for x in instances),
            assignments=tuple(sorted(assignments[item])),
        )
    return items


def _spread(values: Floats, mean: Floats) -> Floats:
    """Mean absolute deviation of the boundaries that were given, ``(n,)``."""
    given = np.isfinite(values)
    off = np.where(given, np.abs(np.where(given, values, 0.0) - mean[:, None]), 0.0)
    return np.asarray(off.sum(axis=1) / np.maximum(given.sum(axis=1), 1))
