"""Several workers' segments to one annotation: cluster, judge presence, take weighted medians.

Always over *all* answers of the campaign, in a canonical order: the same answers give the same result, in whatever
order they came in. Two methods: ``"em"`` learns each worker's reliability (a two-coin model of presence with Beta
priors and boundaries weighted by precision), ``"median"`` is the plain cluster median with a majority of the votes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kloc.crowd.cluster import cluster
from kloc.errors import KlocError
from kloc.records import Annotation, Instance, Item
from kloc.store.crowd import StoredAnswer

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, order=True)
class WorkerAnswer:
    """What one worker said about one item: every occurrence of ``classes`` (an empty tuple: none occurs)."""

    item: Item
    worker_id: str
    assignment_id: str
    classes: tuple[str, ...]
    segments: tuple[Instance, ...]


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


@dataclass(frozen=True, slots=True)
class ConsolidationSettings:
    """``(a, b)`` are Beta priors with mean ``a / (a + b)``.

    sensitivity: a worker marks what is there. false_alarm: a worker joins a candidate that is not there.
    presence: a candidate is real. scale, scale_weight: a worker's boundary error relative to 0.5 s + 0.1 x the
    duration before any of theirs is known, and how many boundaries that guess is worth.
    """

    method: Literal["em", "median"] = "em"
    tiou: float = 0.35
    iterations: int = 8
    keep: float = 0.5
    provisional: tuple[float, float] = (0.2, 0.8)
    sensitivity: tuple[float, float] = (4.0, 1.0)
    false_alarm: tuple[float, float] = (1.0, 6.0)
    presence: tuple[float, float] = (2.0, 2.0)
    scale: float = 0.5
    scale_weight: float = 4.0

    def __post_init__(self) -> None:
        if self.method not in ("em", "median"):
            raise KlocError(f"unknown consolidation method {self.method!r}; known are 'em' and 'median'")


@dataclass(frozen=True, slots=True)
class ConsolidatedInstance:
    """One candidate. ``support`` of the ``asked`` workers marked it; spreads are mean absolute deviations, seconds."""

    start: float
    end: float
    label: str
    confidence: float
    support: int
    asked: int
    start_spread: float
    end_spread: float


@dataclass(frozen=True, slots=True)
class ConsolidatedItem:
    """One item: what is kept, what was turned down, and whether one more answer would help (``provisional``)."""

    item: Item
    classes: tuple[str, ...]
    instances: tuple[ConsolidatedInstance, ...]
    rejected: tuple[ConsolidatedInstance, ...]
    provisional: bool
    assignments: tuple[str, ...]

    @property
    def annotation(self) -> Annotation:
        """As an annotation, exhaustive for the classes that were asked about."""
        found = tuple(sorted(Instance(i.start, i.end, i.label, i.confidence) for i in self.instances))
        return Annotation(self.item, found, frozenset(self.classes))


@dataclass(frozen=True, slots=True)
class Reliability:
    """What the answers say about a worker. ``scale``: boundary error relative to 0.5 s + 0.1 x duration."""

    sensitivity: float
    false_alarm: float
    scale: float
    answers: int


@dataclass(frozen=True, slots=True)
class Consolidated:
    """The outcome for all items, and what was learned about the workers (empty for ``"median"``)."""

    items: Mapping[Item, ConsolidatedItem]
    workers: Mapping[str, Reliability]

    @property
    def annotations(self) -> dict[Item, Annotation]:
        return {item: found.annotation for item, found in self.items.items()}


@dataclass(frozen=True, slots=True)
class _Candidates:
    """All clusters of all items, padded to the largest number of asked workers, ``(n, k)``.

    who: worker index, -1 where padded. vote: whether they marked it. low, high: their boundaries, inf elsewhere.
    """

    keys: list[tuple[Item, str]]
    who: NDArray[np.int64]
    vote: NDArray[np.bool_]
    low: Floats
    high: Floats

    @property
    def asked(self) -> NDArray[np.bool_]:
        return self.who >= 0


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
    ordered = sorted(answers, key=lambda a: (a.item, a.worker_id, a.assignment_id))
    workers = sorted({answer.worker_id for answer in ordered})
    candidates = _candidates(ordered, classes, {name: i for i, name in enumerate(workers)}, settings.tiou)
    if settings.method == "median":
        posterior = candidates.vote.sum(axis=1) / np.maximum(candidates.asked.sum(axis=1), 1)
        equal = np.where(candidates.vote, 1.0, 0.0)
        low, high = weighted_median(candidates.low, equal), weighted_median(candidates.high, equal)
        reliability: dict[str, Reliability] = {}
    else:
        known = _gold_truth(candidates, gold or {}, workers, ordered)
        posterior, low, high, skill = _em(candidates, len(workers), settings, *known)
        counts = dict.fromkeys(workers, 0)
        for answer in ordered:
            counts[answer.worker_id] += 1
        reliability = {
            name: Reliability(
                round(float(skill[0][i]), 9), round(float(skill[1][i]), 9), round(float(skill[2][i]), 9), counts[name]
            )
            for i, name in enumerate(workers)
        }
    return Consolidated(_collect(ordered, candidates, posterior, low, high, settings), reliability)


def _candidates(
    ordered: Sequence[WorkerAnswer], classes: Collection[str], index: Mapping[str, int], tiou: float
) -> _Candidates:
    marked: dict[tuple[Item, str], dict[int, list[Instance]]] = {}
    for answer in ordered:
        strange = {s.label for s in answer.segments} - set(answer.classes) | set(answer.classes) - set(classes)
        if strange:
            raise KlocError(f"assignment {answer.assignment_id}: class {sorted(strange)[0]!r} was not asked about")
        for label in sorted(set(answer.classes)):
            of_label = sorted({s for s in answer.segments if s.label == label and s.end > s.start})
            marked.setdefault((answer.item, label), {}).setdefault(index[answer.worker_id], of_label)
    keys: list[tuple[Item, str]] = []
    rows: list[tuple[list[int], list[bool], list[float], list[float]]] = []
    for key in sorted(marked):
        asked = sorted(marked[key])
        flat = sorted((s.start, s.end, who) for who in asked for s in marked[key][who])
        segments = np.array([(start, end) for start, end, _ in flat]).reshape(-1, 2)
        for group in cluster(segments, [who for *_, who in flat], tiou):
            mine = {flat[i][2]: flat[i] for i in group}
            keys.append(key)
            rows.append(
                (
                    asked,
                    [who in mine for who in asked],
                    [mine[who][0] if who in mine else np.inf for who in asked],
                    [mine[who][1] if who in mine else np.inf for who in asked],
                )
            )
    n, k = len(rows), max((len(row[0]) for row in rows), default=1)
    table = _Candidates(
        keys, np.full((n, k), -1), np.zeros((n, k), dtype=bool), np.full((n, k), np.inf), np.full((n, k), np.inf)
    )
    for i, (asked, vote, low, high) in enumerate(rows):
        m = len(asked)
        table.who[i, :m], table.vote[i, :m], table.low[i, :m], table.high[i, :m] = asked, vote, low, high
    return table


def _gold_truth(
    candidates: _Candidates, gold: Mapping[Item, Annotation], workers: Sequence[str], ordered: Sequence[WorkerAnswer]
) -> tuple[Floats, Floats]:
    """Known presence of each candidate (NaN: unknown), and per worker the gold instances that nobody marked."""
    known = np.full(len(candidates.keys), np.nan)
    matched: set[tuple[Item, Instance]] = set()
    for i, (item, label) in enumerate(candidates.keys):
        truth = gold.get(item)
        if truth is None or not truth.covers(label):
            continue
        votes = candidates.vote[i]
        low, high = float(np.median(candidates.low[i][votes])), float(np.median(candidates.high[i][votes]))
        best = max(
            (t for t in truth.instances if t.label == label),
            key=lambda t: (_tiou(low, high, t), -t.start),
            default=None,
        )
        hit = best is not None and _tiou(low, high, best) >= 0.5 and (item, best) not in matched
        known[i] = float(hit)
        if best is not None and hit:
            matched.add((item, best))
    overlooked = np.zeros(len(workers))
    position = {name: i for i, name in enumerate(workers)}
    for answer in ordered:
        truth = gold.get(answer.item)
        if truth is not None:
            lost = [t for t in truth.instances if t.label in answer.classes and (answer.item, t) not in matched]
            overlooked[position[answer.worker_id]] += len(lost)
    return known, overlooked


def _tiou(low: float, high: float, other: Instance) -> float:
    shared = max(min(high, other.end) - max(low, other.start), 0.0)
    return shared / (high - low + other.duration - shared)


def _em(
    c: _Candidates, n_workers: int, settings: ConsolidationSettings, known: Floats, overlooked: Floats
) -> tuple[Floats, Floats, Floats, tuple[Floats, Floats, Floats]]:
    """Posteriors, starts, ends, and per worker (sensitivity, false alarm rate, boundary scale)."""
    asked, vote = c.asked, c.vote
    rows = np.nonzero(asked)[0]
    who = c.who[asked]
    said = vote[asked].astype(np.float64)
    fixed = ~np.isnan(known)
    posterior = np.where(fixed, known, vote.sum(axis=1) / np.maximum(asked.sum(axis=1), 1))
    scale = np.full(n_workers, settings.scale)
    low, high = _boundaries(c, scale)

    def total(values: Floats) -> Floats:
        return np.bincount(who, weights=values, minlength=n_workers).astype(np.float64)

    (a_s, b_s), (a_f, b_f), (a_p, b_p) = settings.sensitivity, settings.false_alarm, settings.presence
    sensitivity = false_alarm = np.zeros(n_workers)
    for _ in range(settings.iterations):
        p = posterior[rows]
        sensitivity = (a_s + total(p * said)) / (a_s + b_s + total(p) + overlooked)
        false_alarm = (a_f + total((1 - p) * said)) / (a_f + b_f + total(1 - p))
        prior = (a_p + posterior.sum()) / (a_p + b_p + len(posterior))
        s, f = sensitivity[who], false_alarm[who]
        evidence = np.where(said > 0, np.log(s / f), np.log((1 - s) / (1 - f)))
        logit = np.log(prior / (1 - prior)) + np.bincount(rows, weights=evidence, minlength=len(posterior))
        posterior = np.where(fixed, known, 1 / (1 + np.exp(-logit)))
        scale = _scales(c, low, high, posterior, n_workers, settings)
        low, high = _boundaries(c, scale)
    return posterior, low, high, (sensitivity, false_alarm, scale)


def _boundaries(c: _Candidates, scale: Floats) -> tuple[Floats, Floats]:
    weight = np.where(c.vote, 1 / scale[c.who] ** 2, 0.0)
    return weighted_median(c.low, weight), weighted_median(c.high, weight)


def _scales(
    c: _Candidates, low: Floats, high: Floats, posterior: Floats, n_workers: int, settings: ConsolidationSettings
) -> Floats:
    """Each worker's mean boundary error, relative to 0.5 s + 0.1 x the candidate's duration, shrunk to the prior."""
    unit = (0.5 + 0.1 * (high - low))[:, None]
    error = (np.abs(c.low - low[:, None]) + np.abs(c.high - high[:, None])) / unit
    # With few votes the median is one of them, so a plain residual flatters: it grows back by n / (n - 1).
    votes = c.vote.sum(axis=1)
    grown = np.where(votes > 1, votes / np.maximum(votes - 1, 1), 0.0) * posterior
    weight = np.where(votes > 1, posterior, 0.0)
    who = c.who[c.vote]
    errors = np.bincount(who, weights=(np.where(c.vote, error, 0.0) * grown[:, None])[c.vote], minlength=n_workers)
    counts = np.bincount(who, weights=np.broadcast_to(weight[:, None], c.vote.shape)[c.vote], minlength=n_workers)
    result: Floats = (settings.scale_weight * settings.scale + errors) / (settings.scale_weight + 2 * counts)
    return np.maximum(result, 0.02)


def weighted_median(values: Floats, weights: Floats) -> Floats:
    """Row-wise weighted median: ``values`` and ``weights`` float64 ``(n, k)`` -> ``(n,)``.

    Where the lower half weighs exactly half, the middle between the two neighbours (as the plain median of an even
    number). Entries of weight 0 do not count, whatever their value. Each row needs a positive weight.
    """
    if not len(values):
        return np.zeros(0)
    order = np.argsort(np.where(weights > 0, values, np.inf), axis=1, kind="stable")
    v, w = np.take_along_axis(values, order, axis=1), np.take_along_axis(weights, order, axis=1)
    below = np.cumsum(w, axis=1)
    half = below[:, -1:] / 2
    slack = 1e-9 * half
    first = np.argmax(below >= half - slack, axis=1)[:, None]
    second = np.argmax(below > half + slack, axis=1)[:, None]
    middle = (np.take_along_axis(v, first, axis=1) + np.take_along_axis(v, second, axis=1)) / 2
    return np.asarray(middle[:, 0])


def _collect(
    ordered: Sequence[WorkerAnswer],
    c: _Candidates,
    posterior: Floats,
    low: Floats,
    high: Floats,
    settings: ConsolidationSettings,
) -> dict[Item, ConsolidatedItem]:
    votes, asked = c.vote.sum(axis=1), c.asked.sum(axis=1)
    spreads = [
        np.where(c.vote, np.abs(np.where(c.vote, values, 0.0) - middle[:, None]), 0.0).sum(axis=1)
        / np.maximum(votes, 1)
        for values, middle in ((c.low, low), (c.high, high))
    ]
    found: dict[Item, list[ConsolidatedInstance]] = {answer.item: [] for answer in ordered}
    classes: dict[Item, set[str]] = {item: set() for item in found}
    assignments: dict[Item, list[str]] = {item: [] for item in found}
    for answer in ordered:
        classes[answer.item].update(answer.classes)
        assignments[answer.item].append(answer.assignment_id)
    for i, (item, label) in enumerate(c.keys):
        found[item].append(
            ConsolidatedInstance(
                start=float(low[i]),
                end=float(high[i]),
                label=label,
                confidence=round(float(posterior[i]), 9),
                support=int(votes[i]),
                asked=int(asked[i]),
                start_spread=round(float(spreads[0][i]), 9),
                end_spread=round(float(spreads[1][i]), 9),
            )
        )
    items: dict[Item, ConsolidatedItem] = {}
    bottom, top = settings.provisional
    for item, instances in found.items():
        instances.sort(key=lambda x: (x.start, x.end, x.label))
        kept = tuple(x for x in instances if x.confidence > settings.keep)
        items[item] = ConsolidatedItem(
            item=item,
            classes=tuple(sorted(classes[item])),
            instances=kept,
            rejected=tuple(x for x in instances if x.confidence <= settings.keep),
            provisional=any(bottom <= x.confidence <= top for x in instances),
            assignments=tuple(sorted(assignments[item])),
        )
    return items
