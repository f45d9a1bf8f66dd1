"""Simulated crowds to consolidate, plain baselines to beat, and how results are scored.

Slow on purpose: what kloc's consolidation is compared with should be easy to believe.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from kloc.crowd import simulate
from kloc.experiments import simulated_answers
from kloc.records import Annotation, Instance
from kloc.seeds import generator

CLASSES = simulated_answers.CLASSES
#: Seconds per frame of the methods that vote frame by frame.
FRAME_S = 0.1
#: Average-link clusters grow while the mean tIoU is at least this.
LINK_TIOU = 0.35

#: One worker's segments.
Marks = tuple[Instance, ...]
#: By video, what each worker asked about it marked; a worker without marks said that nothing occurs.
Answers = Mapping[str, Mapping[str, Marks]]
#: By video, what a method says; an instance's confidence is the method's.
Found = Mapping[str, Sequence[Instance]]


# -- crowds ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """One crowd and its videos. ``generator``: "independent" or "correlated"."""

    generator: str
    seed: int
    n_videos: int
    n_workers: int

    @cached_property
    def truth(self) -> dict[str, Annotation]:
        return {a.item.video_id: a for a in simulated_answers.truth(self.seed, self.n_videos)}

    @cached_property
    def _crowd(self) -> Sequence[Any]:
        make = simulate.crowd if self.generator == "independent" else simulated_answers.crowd
        return make(self.seed, self.n_workers)

    def raw(self, k: int) -> dict[str, dict[str, dict[str, Any]]]:
        """The JSON of ``k`` workers' answers per video. Those of a smaller ``k`` are among those of a larger."""
        ask: Callable[..., dict[str, Any]]
        ask = simulate.simulated_answer if self.generator == "independent" else simulated_answers.simulated_answer
        answers = {}
        for name, annotation in self.truth.items():
            turn = generator(self.seed, "who is asked", name).permutation(len(self._crowd))[:k]
            answers[name] = {
                worker.name: ask(worker, self.seed, name, annotation.item.duration, annotation.instances, CLASSES)
                for worker in (self._crowd[i] for i in turn)
            }
        return answers

    def answers(self, k: int) -> Answers:
        """As :meth:`raw`, the segments only."""
        return {
            name: {worker: _marks(answer) for worker, answer in given.items()} for name, given in self.raw(k).items()
        }


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


def cluster_mean(world: World, answers: Answers) -> Found:
    """Clusters that more than half of those asked have part in, between the means of their boundaries."""
    return _clustered(answers, lambda values: float(np.mean(values)))


def cluster_median(world: World, answers: Answers) -> Found:
    """Clusters that more than half of those asked have part in, between the medians of their boundaries."""
    return _clustered(answers, lambda values: float(np.median(values)))


def _clustered(answers: Answers, middle: Callable[[list[float]], float]) -> Found:
    found: dict[str, list[Instance]] = {}
    for name, given in answers.items():
        found[name] = []
        for label in CLASSES:
            for cluster in clusters([(w, m) for w, marks in given.items() for m in marks if m.label == label]):
                share = len({worker for worker, _ in cluster}) / len(given)
                if share > 0.5:
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
    shared = max(min(a.end, b.end) - max(a.start, b.start), 0.0)
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
