"""What LAL could learn at best: how well do single-video gains repeat, and what do they go with?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Context, Figure, measure
from benchmarks.simulations import SETTINGS, activitynet, invented
from kloc.experiments.curves import estimate
from kloc.experiments.judging import AgnosticJudge
from kloc.experiments.lab import Lab
from kloc.experiments.lal_bootstrap import (
    BINS,
    Knowledge,
    LalSettings,
    StateTask,
    StateWorker,
    basis_of,
    split_knowledge,
)
from kloc.experiments.protocol import make_split
from kloc.localizers.stagewise.table import gather
from kloc.selection.lal_model import spearman
from kloc.selection.us import histogram_entropy
from kloc.threads import one_thread

REPEATED = "the gain on other held-out videos"


class HalfWorker(StateWorker):
    """Judges by every second held-out video only."""

    half = 0

    def _judge(
        self, knowledge: Knowledge, split: int, held_out: NDArray[np.int64]
    ) -> tuple[AgnosticJudge, NDArray[np.float32]]:
        part = held_out[self.half :: 2]
        rows = gather(self._lab.table, ("encoded", self._lab.table.rows(part)))
        return AgnosticJudge.of(self._lab, part), rows


@measure(
    "lessons", "single-video gains on a Knowledge-Source: do they repeat on other held-out videos, what foretells them"
)
def lessons(context: Context) -> list[Figure]:
    """Rank correlations within one state: of gains on two halves of the held-out videos, and with plain quantities.

    From the first, r, follows what a perfect regressor would reach against the mean of both halves, the ceiling
    sqrt(2 r / (1 + r)) (Spearman and Brown); the others say which simple rule would have done as well. Intervals are
    over seeds: states of one seed share their videos.
    """
    source = activitynet(20, 600) if context.full else invented()
    if source is None:
        context.say("  left out: the annotations of ActivityNet are not here (shared/data beside the checkout)")
        return []
    lab = Lab.prepare(context.scratch, source, SETTINGS)
    figures = []
    for target in ("detection", "ranking"):
        lal = LalSettings(target=target, candidates=20 if context.full else 4)  # type: ignore[arg-type]
        found: dict[str, dict[int, list[float]]] = {}
        for seed in range(context.seed, context.seed + (4 if context.full else 1)):
            split = make_split(lab, seed)
            knowledge = Knowledge(tuple(split.knowledge.tolist()), split.knowledge_classes, seed)
            worker = HalfWorker(lab.folder, lal, {seed: basis_of(lab.table, knowledge, lal)})
            for number in range(10 if context.full else 2):
                for size in (1, 2, 3):
                    with one_thread():
                        for name, value in _one(lab, worker, knowledge, number, size).items():
                            found.setdefault(name, {}).setdefault(seed, []).append(value)
        for name, by_seed in found.items():
            mean = estimate([float(np.mean(values)) for values in by_seed.values()])
            detail: dict[str, Any] = {"seeds": mean.n, "states": sum(map(len, by_seed.values()))}
            if mean.n > 1:
                detail["interval_95_over_seeds"] = [round(mean.low, 4), round(mean.high, 4)]
            figures.append(Figure(f"{target}: gain and {name}", round(mean.mean, 4), "rank correlation", detail=detail))
            if name == REPEATED:
                top = max(0.0, mean.mean)
                ceiling = round((2 * top / (1 + top)) ** 0.5, 4)
                figures.append(Figure(f"{target}: ceiling of a perfect regressor", ceiling, "rank correlation"))
    return figures


def _one(lab: Lab, worker: HalfWorker, knowledge: Knowledge, number: int, size: int) -> dict[str, float]:
    halves = []
    for half in (0, 1):
        worker.half = half
        rows = worker.process(StateTask(knowledge, number, size))
        if rows is None:
            return {}
        halves.append(rows)
    gain = (halves[0].gains + halves[1].gains) / 2
    pool, _ = split_knowledge(knowledge, number)
    videos = worker.candidates_of(StateTask(knowledge, number, size), pool, halves[0].labelled)
    shares = halves[0].histograms
    matching = [int((lab.table.best[lab.table.rows(np.array([v]))] > 0.7).sum()) for v in videos.tolist()]
    return {
        REPEATED: spearman(halves[0].gains, halves[1].gains),
        "mean score of the video": spearman(gain, shares @ (np.arange(BINS) + 0.5)),
        "entropy of its scores (us)": spearman(gain, histogram_entropy(np.rint(1000 * shares).astype(np.int64))),
        "its number of instances (truth)": spearman(gain, np.diff(lab.table.truth_offsets)[videos]),
        "its number of matching proposals (truth)": spearman(gain, np.array(matching)),
        "its length": spearman(gain, np.array([lab.videos[v].duration for v in videos.tolist()])),
    }
