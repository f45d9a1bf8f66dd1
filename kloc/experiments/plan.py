"""How long an experiment will take: parts of it are run on this machine, beside one another as in the real run."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kloc import seeds
from kloc.engine import map_videos
from kloc.errors import KlocError
from kloc.experiments.arm import Bench, Model
from kloc.experiments.curves import Arm
from kloc.experiments.lab import Lab
from kloc.experiments.lal_bootstrap import BINS, Knowledge, StateTask, StateWorker, basis_of
from kloc.experiments.quiet import quiet
from kloc.experiments.runner import Experiment
from kloc.localizers.stagewise.attention import train_attention
from kloc.selection.lal_model import GainModel

#: Starting a process: importing torch and scikit-learn, opening the prepared set.
_START_S = 2.0


class Part(NamedTuple):
    """A part of an experiment and how many seconds it will take on all workers together."""

    name: str
    seconds: float


@dataclass(frozen=True)
class Plan:
    """What an experiment will cost. parts: in the order they run; calibrated_s: what finding out took."""

    parts: tuple[Part, ...]
    workers: int
    calibrated_s: float

    @property
    def seconds(self) -> float:
        """Wall seconds of the whole run, the prepared set aside, which is there already."""
        return sum(part.seconds for part in self.parts)


class Probe(NamedTuple):
    """A task: time one part of the experiment, at ``size`` labelled videos (or an index of LAL's shares).

    kind: "step" (training warm), "judge" (classifier and mAP warm), "cold" (both from nothing), "select" (by
    ``strategy``), "prior" or "lal".
    """

    kind: str
    size: int
    strategy: str = ""


class ProbeWorker:
    """Times parts of an experiment on the real data; preparations are not timed."""

    def __init__(self, folder: Path, experiment: Experiment) -> None:
        self._lab, self._experiment, self._seed = Lab.open(folder), experiment, experiment.seeds[0]
        self._split = experiment.split(self._lab, self._seed)
        self._knowledge = Knowledge(
            tuple(self._split.knowledge.tolist()), self._split.knowledge_classes, self._split.seed
        )
        self._basis = basis_of(self._lab.table, self._knowledge, experiment.lal)
        self._bench = Bench(
            self._lab, self._split, self._lab.table, self._lab.annotations,
            self._rng("prior").random(len(self._lab.table.owner), np.float32), self._gain,
        )  # fmt: skip
        self._batch = min(arm.batch for arm in experiment.arms)
        self._models: dict[int, Model] = {}
        self._states: StateWorker | None = None

    def _rng(self, *names: str | int) -> np.random.Generator:
        return seeds.generator(self._seed, "plan", *names)

    def _gain(self) -> GainModel:
        """As large as the one that will be learned; what it has learned does not matter for its speed."""
        rng, lal = self._rng("gain"), self._experiment.lal
        group = np.repeat(np.arange(lal.n_splits * len(lal.shares)), lal.candidates)
        state = rng.normal(size=(len(group), self._basis.width))
        return GainModel.fit(
            state, rng.dirichlet(np.ones(BINS), len(group)), rng.normal(size=len(group)), group, basis=self._basis,
            features=self._lab.facts["features"], encoder=self._lab.settings.encoder, classes=(),
        )  # fmt: skip

    def process(self, probe: Probe) -> float:
        """Seconds that the part takes."""
        with quiet():
            return self._timed(probe)

    def _timed(self, probe: Probe) -> float:
        bench, size = self._bench, probe.size
        if probe.kind == "lal":
            return self._lal(size)
        if probe.kind == "prior":
            return _seconds(lambda: train_attention(bench.table, self._lab.settings, videos=self._split.knowledge))
        order = self._rng("order").permutation(self._split.pool)
        labelled = np.sort(order[:size])
        if probe.kind == "cold":
            return _seconds(lambda: bench.value(bench.train(labelled, None, classify=True)))
        before = self._trained(np.sort(order[: max(2, size - self._batch)]))
        if probe.kind == "select":
            arm = Arm(self._seed, probe.strategy, "top", self._batch, 0.0)
            return _seconds(lambda: bench.select(arm, before, labelled, 1))
        model = bench.train(labelled, before, classify=False)
        if probe.kind == "step":
            return _seconds(lambda: bench.train(labelled, before, classify=False))
        attention_only = _seconds(lambda: bench.train(labelled, model, classify=False))
        return max(0.0, _seconds(lambda: bench.value(bench.train(labelled, model, classify=True))) - attention_only)

    def _trained(self, labelled: NDArray[np.int64]) -> Model:
        if len(labelled) not in self._models:
            self._models = {len(labelled): self._bench.train(labelled, None, classify=True)}
        return self._models[len(labelled)]

    def _lal(self, size: int) -> float:
        if self._states is None:
            self._states = StateWorker(self._lab.folder, self._experiment.lal, {self._seed: self._basis})
            self._states.process(StateTask(self._knowledge, 0, 0))  # loads what all experiments of a split share
        states = self._states
        return _seconds(lambda: states.process(StateTask(self._knowledge, 0, size)))


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def plan(experiment: Experiment, lab: Lab, *, workers: int = 1) -> Plan:
    """Time parts of the experiment on this machine, with as many workers side by side, and add them up.

    Raises UsageError for sets too small for the protocol, KlocError where a part fails.
    """
    began = time.perf_counter()
    split = experiment.split(lab, experiment.seeds[0])
    stop = experiment.pace.stop(len(split.initial), len(split.pool))
    sizes = sorted({len(split.initial), (len(split.initial) + stop) // 2, stop})
    strategies = sorted({arm.strategy for arm in experiment.arms})
    probes = [Probe("cold", stop)]
    for size in sizes:  # in the order of sizes, so that a model is trained once for all that starts from it
        probes += [Probe("step", size), Probe("judge", size)]
        probes += [Probe("select", size, name) for name in strategies if size in sizes[:2]]
    if experiment.needs("mcle"):
        probes.append(Probe("prior", 0))
    if experiment.needs("lal"):
        probes += [Probe("lal", size) for size in range(len(experiment.lal.shares))]
    failed: list[str] = []
    # As in the real run every worker is busy all the time: each part is timed once by each of them.
    tasks = [probe for probe in probes for _ in range(workers)]
    times: dict[Probe, list[float]] = {}
    map_videos(
        partial(ProbeWorker, lab.folder, experiment), tasks, workers=workers,
        on_result=lambda probe, seconds: times.setdefault(probe, []).append(seconds),
        on_error=lambda probe, why: failed.append(f"{probe.kind} {probe.strategy}: {why}"),
    )  # fmt: skip
    if failed:
        raise KlocError(f"the plan could not be made: {failed[0]}")
    taken = {probe: float(np.median(found)) for probe, found in times.items()}
    n_seeds = len(experiment.seeds)
    parts = [Part("all labels", _spread([taken[probes[0]] * len(split.pool) / stop] * n_seeds, workers))]
    if experiment.needs("mcle"):
        n_priors = sum(experiment.needs("mcle", seed) for seed in experiment.seeds)
        parts.append(Part("MCLE's prior", _spread([taken[Probe("prior", 0)]] * n_priors, workers)))
    if experiment.needs("lal"):
        states = [taken[Probe("lal", size)] for size in range(len(experiment.lal.shares))]
        n_taught = sum(experiment.needs("lal", seed) for seed in experiment.seeds)
        parts.append(Part("teaching LAL", _spread(states * experiment.lal.n_splits, workers) * n_taught))
    arms = [_arm_seconds(arm, experiment, taken, sizes, len(split.initial), stop) for arm in experiment.arms]
    order = np.argsort([arm.batch for arm in experiment.arms], kind="stable")
    parts.append(Part("arms", _spread([arms[i] for i in order], workers)))
    return Plan(tuple(parts), workers, time.perf_counter() - began)


def _arm_seconds(
    arm: Arm, experiment: Experiment, taken: Mapping[Probe, float], sizes: Sequence[int], initial: int, stop: int
) -> float:
    """The sum over an arm's steps, each part interpolated between the sizes it was timed at."""
    labelled = np.arange(initial, stop + arm.batch, arm.batch)
    labelled = np.minimum(labelled, stop)
    step = np.interp(labelled, sizes, [taken[Probe("step", size)] for size in sizes])
    judge = np.interp(labelled, sizes, [taken[Probe("judge", size)] for size in sizes])
    judged = (np.arange(len(labelled)) % experiment.pace.eval_every == 0) | (labelled == stop)
    chosen = np.interp(labelled, sizes[:2], [taken[Probe("select", size, arm.strategy)] for size in sizes[:2]])
    return float(step.sum() + judge[judged].sum() + chosen[:-1].sum())


def _spread(seconds: Sequence[float], workers: int) -> float:
    """Wall seconds of tasks that are taken in turn by whichever worker is free; starting one counts too."""
    free = [_START_S] * min(workers, max(1, len(seconds))) if workers > 1 else [0.0]
    for each in seconds:
        heapq.heappush(free, heapq.heappop(free) + each)
    return max(free)
