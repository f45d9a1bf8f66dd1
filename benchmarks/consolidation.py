"""Simulated crowds to consolidate, plain baselines to beat, and how results are scored.

Slow on purpose: what kloc's consolidation is compared with should be easy to believe.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.special import expit

from kloc.crowd import simulate
from kloc.experiments import simulated_answers
from kloc.records import Annotation, Instance
from kloc.seeds import generator

CLASSES = simulated_answers.CLASSES
#: Seconds per frame of the methods that vote frame by frame.
FRAME_S = 0.1
#: Average-link clusters grow while the mean tIoU is at least this.
LINK_TIOU = 0.35
#: Dawid-Skene is fitted on every so many-th frame.
FITTED = 5
#: Workers asked per video; a measure looks at the first k of them.
MOST_ANSWERS = 7

#: One worker's segments.
Marks = tuple[Instance, ...]
#: By video, what each worker asked about it marked; a worker without marks said that nothing occurs.
Answers = Mapping[str, Mapping[str, Marks]]
#: By video, what a method says; an instance's confidence is the method's.
Found = Mapping[str, Sequence[Instance]]


# -- crowds ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """One crowd and its videos. ``generator``: "independent" or "correlated". ``mood``: "as drawn", "all spam"
    (nobody is honest) or "nothing occurs" (everybody says so).

    Answers are nested: those of fewer workers per video are among those of more.
    """

    generator: str
    seed: int
    n_videos: int
    n_workers: int
    mood: str = "as drawn"

    @cached_property
    def truth(self) -> dict[str, Annotation]:
        """By video id."""
        return {a.item.video_id: a for a in simulated_answers.truth(self.seed, self.n_videos)}

    def raw(self, k: int) -> dict[str, dict[str, dict[str, Any]]]:
        """The JSON of ``k`` workers' answers, by video and worker; there are :data:`MOST_ANSWERS`."""
        return {name: dict(list(given.items())[:k]) for name, given in self._asked.items()}

    def answers(self, k: int) -> Answers:
        """As :meth:`raw`, the segments only."""
        return {
            name: {worker: _marks(answer) for worker, answer in given.items()} for name, given in self.raw(k).items()
        }

    @cached_property
    def _asked(self) -> dict[str, dict[str, dict[str, Any]]]:
        ask: Callable[..., dict[str, Any]]
        if self.generator == "independent":
            people: Sequence[Any] = simulate.crowd(self.seed, self.n_workers)
            ask, spam = simulate.simulated_answer, [replace(p, spammer=True) for p in people]
        else:
            people = simulated_answers.crowd(self.seed, self.n_workers)
            kinds = ("whole", "nothing", "anything", "first")
            ask = simulated_answers.simulated_answer
            spam = [replace(p, spam=kinds[i % len(kinds)]) for i, p in enumerate(people)]
        people = spam if self.mood == "all spam" else people
        silent: dict[str, Any] = {"segments": [], "none": True} if self.mood == "nothing occurs" else {}
        answers = {}
        for name, true in self.truth.items():
            turn = generator(self.seed, "who is asked", name).permutation(len(people))[:MOST_ANSWERS]
            answers[name] = {
                people[i].name: ask(people[i], self.seed, name, true.item.duration, true.instances, CLASSES) | silent
                for i in turn.tolist()
            }
        return answers


def _marks(answer: Mapping[str, Any]) -> Marks:
    return tuple(Instance(s["start"], s["end"], s["label"]) for s in answer["segments"])


# -- baselines ---------------------------------------------------------------------------------------------------------


def majority_per_frame(world: World, answers: Answers) -> Found:
    """Frames that more than half of those asked have inside a segment of a class; runs of them are instances."""
    found = {}
    for name, given in answers.items():
        duration = world.truth[name].item.duration
        found[name] = [
            instance
            for label in CLASSES
            for instance in runs(frames(given, label, duration).mean(axis=0), label, duration)
        ]
    return found


def frames(given: Mapping[str, Marks], label: str, duration: float) -> NDArray[np.float64]:
    """Votes float64 ``(workers, frames)``: 1 where the middle of a frame lies inside a segment of the class."""
    times = (np.arange(math.ceil(duration / FRAME_S)) + 0.5) * FRAME_S
    votes = np.zeros((len(given), len(times)))
    for row, marks in zip(votes, given.values(), strict=True):
        for mark in marks:
            if mark.label == label:
                row[(times >= mark.start) & (times < mark.end)] = 1
    return votes


def runs(share: NDArray[np.float64], label: str, duration: float) -> list[Instance]:
    """Runs of frames above one half; the mean over the run is the instance's confidence."""
    inside = np.concatenate([[0], (share > 0.5).astype(int), [0]])
    edges = np.flatnonzero(np.diff(inside)).reshape(-1, 2)
    return [
        Instance(low * FRAME_S, min(high * FRAME_S, duration), label, float(share[low:high].mean()))
        for low, high in edges.tolist()
    ]


def dawid_skene_per_frame(world: World, answers: Answers) -> Found:
    """crowd-kit's Dawid-Skene: every frame of every class that somebody marked in the video is a task.

    Every :data:`FITTED`-th frame is fitted, for time; the parameters then judge all.
    """
    from crowdkit.aggregation import DawidSkene

    found: dict[str, list[Instance]] = {name: [] for name in answers}
    workers = sorted({worker for given in answers.values() for worker in given})
    places, tables, first = [], [], 0
    for name, given in answers.items():
        who = np.array([workers.index(worker) for worker in given])
        for label in sorted({mark.label for marks in given.values() for mark in marks}):
            votes = frames(given, label, world.truth[name].item.duration).astype(np.int8)
            some = votes[:, ::FITTED]
            task = np.arange(first, first := first + some.shape[1])
            columns = (np.tile(task, len(who)), np.repeat(who, len(task)), some.ravel())
            tables.append(pd.DataFrame(dict(zip(("task", "worker", "label"), columns, strict=True))))
            places.append((name, label, who, votes))
    if not tables:
        return found
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # how crowd-kit calls pandas
        model = DawidSkene(n_iter=100).fit(pd.concat(tables, ignore_index=True))
    # errors[worker, said, true]; what a worker never said is as good as impossible.
    whole = pd.MultiIndex.from_product([range(len(workers)), (0, 1)])
    errors = model.errors_.reindex(index=whole, columns=[0, 1], fill_value=1e-10).to_numpy().reshape(-1, 2, 2)
    prior = model.priors_.reindex([0, 1], fill_value=1e-10).to_numpy()
    for name, label, who, votes in places:
        log = np.log(prior) + np.log(errors[who[:, None], votes]).sum(axis=0)
        found[name] += runs(expit(log[:, 1] - log[:, 0]), label, world.truth[name].item.duration)
    return found


def cluster_mean(world: World, answers: Answers) -> Found:
    """Clusters that more than half of those asked have part in, between the means of their boundaries."""
    return clustered(answers, lambda values: float(np.mean(values)))


def cluster_median(world: World, answers: Answers) -> Found:
    """Clusters that more than half of those asked have part in, between the medians of their boundaries."""
    return clustered(answers, lambda values: float(np.median(values)))


def clustered(answers: Answers, middle: Callable[[list[float]], float], above: float = 0.5) -> Found:
    """Clusters that more than a share of those asked have part in; that share is the confidence."""
    found: dict[str, list[Instance]] = {}
    for name, given in answers.items():
        found[name] = []
        for label in CLASSES:
            for cluster in clusters([(w, m) for w, marks in given.items() for m in marks if m.label == label]):
                share = len({worker for worker, _ in cluster}) / len(given)
                if share > above:
                    start, end = (middle([getattr(m, side) for _, m in cluster]) for side in ("start", "end"))
                    found[name].append(Instance(start, end, label, share))
    return found


def clusters(marks: Sequence[tuple[str, Instance]]) -> list[list[tuple[str, Instance]]]:
    """Average-link clusters of (worker, segment): the two nearest join while their mean tIoU allows it."""
    groups = [[mark] for mark in sorted(marks, key=lambda pair: (pair[1], pair[0]))]
    while len(groups) > 1:
        nearness, a, b = max(
            (float(np.mean([tiou(x, y) for _, x in groups[i] for _, y in groups[j]])), -i, -j)
            for i in range(len(groups))
            for j in range(i + 1, len(groups))
        )
        if nearness < LINK_TIOU:
            break
        groups[-a] += groups.pop(-b)
    return groups


def tiou(a: Instance, b: Instance) -> float:
    """Shared over covered seconds."""
    shared = _shared(a, b)
    return shared / (a.duration + b.duration - shared)


# -- scoring -----------------------------------------------------------------------------------------------------------


def matched(found: Sequence[Instance], true: Sequence[Instance], threshold: float) -> list[tuple[int, int]]:
    """The most pairs (found, true) of one class with tIoU of at least ``threshold``, one to one; then the nearest."""
    if not found or not true:
        return []
    near = np.array([[tiou(f, t) if f.label == t.label else 0.0 for t in true] for f in found])
    value = np.where(near >= threshold, 1.0 + near / 1000, 0.0)
    rows, columns = linear_sum_assignment(value, maximize=True)
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if value[i, j] > 0]


def f1(found: Found, world: World, threshold: float) -> float:
    """2 matched / (found + true), over all videos together; 1 where there is nothing to find and nothing is found."""
    pairs = total = 0
    for name, instances in found.items():
        true = world.truth[name].instances
        pairs += len(matched(instances, true, threshold))
        total += len(instances) + len(true)
    return 2 * pairs / total if total else 1.0


def f1_of_single_workers(world: World, answers: Answers, threshold: float) -> float:
    """Of all answers as they came, each for itself."""
    pairs = total = 0
    for name, given in answers.items():
        true = world.truth[name].instances
        for marks in given.values():
            pairs += len(matched(marks, true, threshold))
            total += len(marks) + len(true)
    return 2 * pairs / total if total else 1.0


def touched(given: Mapping[str, Marks], true: Sequence[Instance]) -> set[int]:
    """Which true instances some worker merged with another or split: index by index, judged by overlap.

    Merged: one segment of their class holds more than half of two or more. Split: two or more segments of one worker
    lie more than half inside one.
    """
    hit: set[int] = set()
    for marks in given.values():
        for label in {mark.label for mark in marks}:
            own = [m for m in marks if m.label == label]
            mine = [(j, t) for j, t in enumerate(true) if t.label == label]
            for mark in own:
                inside = {j for j, t in mine if _shared(mark, t) > 0.5 * t.duration}
                hit |= inside if len(inside) > 1 else set()
            hit |= {j for j, t in mine if sum(_shared(m, t) > 0.5 * m.duration for m in own) > 1}
    return hit


def f1_where_touched(found: Found, world: World, answers: Answers, threshold: float = 0.5) -> float:
    """F1 over the true instances that somebody merged or split, and over what was found nearest to them."""
    pairs = total = 0
    for name, instances in found.items():
        true = world.truth[name].instances
        hit = touched(answers[name], true)
        near = [max(range(len(true)), key=lambda j: _nearness(f, true[j]), default=-1) for f in instances]
        mine = [f for f, j in zip(instances, near, strict=True) if j in hit and _shared(f, true[j]) > 0]
        pairs += len(matched(mine, [true[j] for j in sorted(hit)], threshold))
        total += len(mine) + len(hit)
    return 2 * pairs / total if total else 1.0


def _nearness(a: Instance, b: Instance) -> tuple[bool, float]:
    return a.label == b.label, _shared(a, b)


def _shared(a: Instance, b: Instance) -> float:
    return max(min(a.end, b.end) - max(a.start, b.start), 0.0)


def boundary_errors(found: Found, world: World) -> list[float]:
    """Seconds between found and true boundaries, two per pair matched at tIoU 0.5."""
    errors = []
    for name, instances in found.items():
        true = world.truth[name].instances
        for i, j in matched(instances, true, 0.5):
            errors += [abs(instances[i].start - true[j].start), abs(instances[i].end - true[j].end)]
    return errors


@dataclass(frozen=True)
class Calibration:
    """ECE over ten equal bins, and per bin that holds any: [mean confidence, share that is true, how many]."""

    ece: float
    table: list[list[float]]


def calibration(said: Sequence[tuple[float, bool]]) -> Calibration:
    """How far (confidence, true) pairs are from their word."""
    confidence = np.array([p for p, _ in said])
    right = np.array([float(r) for _, r in said])
    bins = np.minimum((confidence * 10).astype(int), 9)
    table = [
        [round(float(x), 4) for x in (confidence[bins == b].mean(), right[bins == b].mean())] + [int((bins == b).sum())]
        for b in range(10)
        if (bins == b).any()
    ]
    ece = sum(abs(said - true) * n for said, true, n in table) / max(len(said), 1)
    return Calibration(round(ece, 4), table)


def said_and_true(candidates: Found, world: World) -> list[tuple[float, bool]]:
    """Each candidate's confidence, and whether there is a true instance of its class with tIoU of at least 0.5."""
    return [
        (c.confidence, any(t.label == c.label and tiou(c, t) >= 0.5 for t in world.truth[name].instances))
        for name, instances in candidates.items()
        for c in instances
    ]
