"""How long an experiment will take: parts of it are run on this machine, beside one another as in the real run."""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
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
from kloc.experiments.lal_bootstrap import BINS, FOLDS, Knowledge, StateRows, StateTask, StateWorker, basis_of, grown
from kloc.experiments.oracle import NoisyOracle
from kloc.experiments.quiet import quiet
from kloc.experiments.runner import Experiment
from kloc.experiments.source import AnnotatedSet
from kloc.localizers.stagewise.attention import train_attention
from kloc.proposals.hygiene import NoInstancesError
from kloc.selection.lal_model import GainModel

#: Starting a process: importing torch and scikit-learn, opening the prepared set.
_START_S = 2.0
#: So many videos are relabelled to see how long all take.
_RELABELLED = 40


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
    ``strategy`` and ``policy``), "prior", "lal" (one lesson), "grow" (finding the labelled set of a lesson), "fit"
    (LAL's regressor). batch: of the round, where the part depends on it.
    """

    kind: str
    size: int = 0
    batch: int = 0
    strategy: str = ""
    policy: str = ""


#: Parts that the real run does in one process while the others wait.
_ALONE = ("fit", "grow")


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
            self._rng("prior").random(len(self._lab.table.owner), np.float32), lambda: self._gain, experiment.cost,
        )  # fmt: skip
        # What is labelled first stands first: a part of the pool that holds instances if the real one does.
        rest = np.setdiff1d(self._split.pool, self._split.initial)
        self._order = np.concatenate([self._rng(what).permutation(v) for what, v in (
            ("initial", self._split.initial), ("rest", rest),
        )])  # fmt: skip
        self._models: dict[int, Model | None] = {}

    def _rng(self, *names: str | int) -> np.random.Generator:
        return seeds.generator(self._seed, "plan", *names)

    @cached_property
    def _gain(self) -> GainModel:
        return self._fit()

    def _fit(self) -> GainModel:
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
            return _seconds(lambda: self._lesson(size))
        if probe.kind == "grow":
            return self._grow(size)
        if probe.kind == "fit":
            return _seconds(self._fit)
        if probe.kind == "prior":
            return _seconds(lambda: train_attention(bench.table, self._lab.settings, videos=self._split.knowledge))
        labelled = np.sort(self._order[:size])
        if probe.kind == "cold":
            return _seconds(lambda: bench.value(bench.train(labelled, None, classify=True)))
        if probe.kind == "select":
            return self._select(probe, labelled)
        if probe.kind == "step":
            before = self._before(size, probe.batch)
            return _seconds(lambda: bench.train(labelled, before, classify=False))
        # The classifier begins from the last step that was judged.
        judged = self._before(size, probe.batch * self._experiment.pace.eval_every)
        model = bench.train(labelled, judged, classify=False)
        return _seconds(lambda: bench.value(bench.classify(model, labelled)))

    def _select(self, probe: Probe, labelled: NDArray[np.int64]) -> float:
        model = self._before(probe.size, probe.batch)
        if model is None:
            model = self._bench.train(labelled, None, classify=True)
        if self._experiment.pace.eval_every > 1:  # what reads classes then trains a classifier of its own
            model = replace(model, classified=False)
        if self._experiment.needs("lal"):
            _ = self._gain  # the real run finds it learned
        arm = Arm(self._seed, probe.strategy, probe.policy, probe.batch, 0.0)
        return _seconds(lambda: self._bench.select(arm, model, labelled, 1))

    def _before(self, size: int, batch: int) -> Model | None:
        """The model of the step before; ``None`` where nothing could be learned from so few videos."""
        known = max(size // 2, size - batch)
        if known not in self._models:
            try:
                found = self._bench.train(np.sort(self._order[:known]), None, classify=True)
            except NoInstancesError:
                found = None
            self._models = {known: found}
        return self._models[known]

    # -- LAL ------------------------------------------------------------------------------------------------------

    @cached_property
    def _states(self) -> StateWorker:
        states = StateWorker(self._lab.folder, self._experiment.lal, {self._seed: self._basis})
        states.process(StateTask(self._knowledge, 0, 0))  # loads what all experiments of a split share
        return states

    def _lesson(self, size: int) -> StateRows | None:
        return self._states.process(StateTask(self._knowledge, 0, size))

    def _grow(self, size: int) -> float:
        rows = self._lesson(size - 1)
        found = {} if rows is None else {(self._seed, 0, size - 1): rows}
        lal, gain = self._experiment.lal, self._gain
        return _seconds(lambda: grown(self._lab, self._knowledge, 0, size, lal, gain, found))


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def plan(experiment: Experiment, source: AnnotatedSet, lab: Lab, *, workers: int = 1) -> Plan:
    """Time parts of the experiment on this machine, with as many workers side by side, and add them up.

    Raises UsageError for sets too small for the protocol, KlocError where a part fails.
    """
    began = time.perf_counter()
    split = experiment.split(lab, experiment.seeds[0])
    stop = experiment.pace.stop(len(split.initial), len(split.pool))
    sizes = sorted({len(split.initial), (len(split.initial) + stop) // 2, stop})
    batches = _batches(experiment, stop - len(split.initial))
    probes = _probes(experiment, sizes, batches)
    worker = partial(ProbeWorker, lab.folder, experiment)
    # As in the real run every worker is busy all the time: each part is timed once by each of them.
    taken = _map(worker, [p for p in probes if p.kind not in _ALONE for _ in range(workers)], workers)
    taken |= _map(worker, [p for p in probes if p.kind in _ALONE], 1)
    n_seeds = len(experiment.seeds)
    parts = []
    if oracles := {(arm.noise, arm.seed) for arm in experiment.arms if arm.noise}:
        parts.append(Part("noisy labels", len(oracles) * _relabelling(source, lab, max(oracles)[0])))
    whole = taken[Probe("cold", stop)] * len(split.pool) / stop
    parts.append(Part("all labels", _spread([whole] * n_seeds, workers)))
    if experiment.needs("mcle"):
        n_priors = sum(experiment.needs("mcle", seed) for seed in experiment.seeds)
        parts.append(Part("MCLE's prior", _spread([taken[Probe("prior")]] * n_priors, workers)))
    if experiment.needs("lal"):
        n_taught = sum(experiment.needs("lal", seed) for seed in experiment.seeds)
        parts.append(Part("teaching LAL", _teaching(experiment, taken, workers) * n_taught))
    arms = [_arm_seconds(arm, experiment, taken, sizes, batches) for arm in experiment.arms]
    order = np.argsort([arm.batch for arm in experiment.arms], kind="stable")
    parts.append(Part("arms", _spread([arms[i] for i in order], workers)))
    return Plan(tuple(parts), workers, time.perf_counter() - began)


def _batches(experiment: Experiment, rest: int) -> tuple[int, ...]:
    """The batch sizes at which parts are timed: a model that has seen less of what is new has more to learn.

    rest: what there is to choose; a larger batch is as large as that.
    """
    sizes = [min(arm.batch, max(1, rest)) for arm in experiment.arms]
    low, high = min(sizes), max(sizes)
    return (low, high) if high >= 2 * low else (low,)


def _probes(experiment: Experiment, sizes: Sequence[int], batches: Sequence[int]) -> list[Probe]:
    choosing = sorted({(arm.strategy, arm.policy) for arm in experiment.arms})
    probes = [Probe("cold", sizes[-1])]
    for size in sizes:  # in the order of sizes, so that a model is trained once for all that starts from it
        for batch in batches:
            probes.append(Probe("step", size, batch))
            probes += [Probe("select", size, batch, *names) for names in choosing if size in sizes[:2]]
            probes.append(Probe("judge", size, batch))
    if experiment.needs("mcle"):
        probes.append(Probe("prior"))
    if experiment.needs("lal"):
        n_shares = len(experiment.lal.shares)
        probes += [Probe("lal", size) for size in range(n_shares)] + [Probe("fit")]
        if experiment.lal.mode == "iterative":
            probes += [Probe("grow", size) for size in range(1, n_shares)]
    return probes


def _map(worker: Callable[[], ProbeWorker], probes: Sequence[Probe], workers: int) -> dict[Probe, float]:
    """The median of the times that each part took."""
    times: dict[Probe, list[float]] = {}
    failed: list[str] = []
    map_videos(
        worker, probes, workers=workers,
        on_result=lambda probe, seconds: times.setdefault(probe, []).append(seconds),
        on_error=lambda probe, why: failed.append(" ".join(filter(None, [probe.kind, probe.strategy])) + f": {why}"),
    )  # fmt: skip
    if failed:
        raise KlocError(f"the plan could not be made: {failed[0]}")
    return {probe: float(np.median(found)) for probe, found in times.items()}


def _relabelling(source: AnnotatedSet, lab: Lab, noise: float) -> float:
    """Seconds in which an oracle annotates every video; nothing else runs beside it."""
    oracle, n_videos = NoisyOracle(noise, 0), len(lab.videos)
    some = np.unique(np.linspace(0, n_videos - 1, min(n_videos, _RELABELLED)).astype(np.int64)).tolist()
    taken = _seconds(lambda: [lab.said_by(oracle, source, at) for at in some])
    return taken * n_videos / len(some)


def _teaching(experiment: Experiment, taken: Mapping[Probe, float], workers: int) -> float:
    """Wall seconds of one seed's lessons, and of what is learned from them, which one process does alone."""
    lal = experiment.lal
    lessons = [taken[Probe("lal", size)] for size in range(len(lal.shares))]
    # The regressor is fitted to all lessons, and to those outside of each fold; it takes the square of their number.
    fits = 1.0 + FOLDS * (1.0 - 1.0 / FOLDS) ** 2
    if lal.mode == "independent":
        return _spread(lessons * lal.n_splits, workers) + fits * taken[Probe("fit")]
    alone = 0.0
    for size in range(1, len(lessons)):  # before every size but the first: what was learned, and what it would label
        fits += (size / len(lessons)) ** 2
        alone += lal.n_splits * taken[Probe("grow", size)]
    return sum(_spread([lesson] * lal.n_splits, workers) for lesson in lessons) + fits * taken[Probe("fit")] + alone


def _arm_seconds(
    arm: Arm, experiment: Experiment, taken: Mapping[Probe, float], sizes: Sequence[int], batches: Sequence[int]
) -> float:
    """The sum over an arm's steps, each part interpolated between the sizes and batches it was timed at."""
    initial, stop = sizes[0], sizes[-1]
    labelled = np.minimum(np.arange(initial, stop + arm.batch, arm.batch), stop)
    # Between two batches by the logarithm: 1 to 2 is as far as 128 to 256.
    share = 0.0
    if len(batches) > 1:
        share = min(1.0, max(0.0, math.log(arm.batch / batches[0]) / math.log(batches[-1] / batches[0])))

    def seconds(kind: str, timed: Sequence[int], *names: str) -> NDArray[np.float64]:
        rows = [
            np.interp(labelled, timed, [taken[Probe(kind, size, batch, *names)] for size in timed]) for batch in batches
        ]
        return (1 - share) * rows[0] + share * rows[-1]

    judged = (np.arange(len(labelled)) % experiment.pace.eval_every == 0) | (labelled == stop)
    chosen = seconds("select", sizes[:2], arm.strategy, arm.policy)
    return float(seconds("step", sizes).sum() + seconds("judge", sizes)[judged].sum() + chosen[:-1].sum())


def _spread(seconds: Sequence[float], workers: int) -> float:
    """Wall seconds of tasks that are taken in turn by whichever worker is free; starting one counts too."""
    free = [_START_S] * min(workers, max(1, len(seconds))) if workers > 1 else [0.0]
    for each in seconds:
        heapq.heappush(free, heapq.heappop(free) + each)
    return max(free)
