"""Run the arms of an experiment on local processes, continuing whatever an earlier run has left.

``OUT/experiment.json`` says what was asked, ``OUT/lab-*/`` is the prepared set, ``OUT/seed-N/`` what the arms of a seed
share (mAP with all labels, MCLE's prior, LAL's regressor), ``OUT/arms/*.jsonl`` the journals.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kloc.engine import map_videos
from kloc.errors import KlocError, UsageError
from kloc.experiments.arm import Bench, Pace, read_lines, run_arm
from kloc.experiments.curves import Arm, Curve, Point
from kloc.experiments.folder import held
from kloc.experiments.lab import Lab
from kloc.experiments.lal_bootstrap import Knowledge, LalSettings, bootstrap
from kloc.experiments.protocol import Split, make_split
from kloc.experiments.quiet import quiet
from kloc.experiments.source import AnnotatedSet
from kloc.files import atomic_folder, atomic_write, sweep, write_json
from kloc.localizers.stagewise.attention import train_attention
from kloc.localizers.stagewise.platt import platt_probability
from kloc.localizers.stagewise.svm import margins
from kloc.selection.cost import DEFAULT, CostModel
from kloc.selection.lal_model import GainModel
from kloc.selection.spec import parse

EXPERIMENT_FILE = "experiment.json"
#: What people know some of what must stay the same by.
_ASKED_AS = {"lab": "set or encoder", "cost": "cost model"}
#: A curve of fewer rounds is told to be coarse.
FEW_ROUNDS = 4


@dataclass(frozen=True)
class Experiment:
    """What is tried. Arms may be added later; the rest of what it says must stay as it was.

    cost: what annotating a video takes, for learning curves over minutes and for policies that look at it.
    """

    arms: tuple[Arm, ...]
    pace: Pace = field(default_factory=Pace)
    lal: LalSettings = field(default_factory=LalSettings)
    knowledge_share: float = 0.25
    initial_share: float = 0.1
    cost: CostModel = DEFAULT

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the arms, ascending."""
        return tuple(sorted({arm.seed for arm in self.arms}))

    def split(self, lab: Lab, seed: int) -> Split:
        """Who is who with one seed."""
        return make_split(lab, seed, knowledge_share=self.knowledge_share, initial_share=self.initial_share)

    def needs(self, strategy: str, seed: int | None = None) -> bool:
        """Whether any arm (of a seed) uses a strategy, whatever its parameters."""
        return any(parse(a.strategy).name == strategy for a in self.arms if seed in (None, a.seed))

    def fixed(self, lab: str) -> dict[str, Any]:
        """All that must be the same for results to stand side by side in one folder; ``lab`` is its fingerprint."""
        facts = {
            "lab": lab,
            "pace": asdict(self.pace),
            "knowledge_share": self.knowledge_share,
            "initial_share": self.initial_share,
            "lal": asdict(self.lal),
            "cost": {"a": self.cost.a, "b": self.cost.b, "c": self.cost.c},
        }
        return dict(json.loads(json.dumps(facts)))


@dataclass
class Outcome:
    """What a folder has to show: curves of whole and half arms, and what went wrong, one sentence each.

    arms: all that were ever asked for in this folder, ascending; those without a curve failed or have not begun.
    """

    curves: list[Curve]
    gains: dict[int, GainModel]
    problems: list[str]
    arms: tuple[Arm, ...] = ()


def refuse_other(out: Path, experiment: Experiment, lab: str) -> dict[str, Any]:
    """What ``out`` says it holds; ``lab`` is the fingerprint of the set, known before it is encoded.

    Raises UsageError where the folder holds an experiment that differs in more than its arms.
    """
    known, wanted = _known(out), experiment.fixed(lab)
    other = sorted(key for key in wanted if known and known.get(key) != wanted[key])
    if other:
        raise UsageError(
            f"{out} holds an experiment with another {_ASKED_AS.get(other[0], other[0])}; results of the two cannot "
            "stand side by side: take another --out, or delete that folder"
        )
    return known


def open_folder(out: Path, experiment: Experiment, lab: Lab) -> None:
    """Write down what is tried in ``out``, beside what was tried there before; raises as `refuse_other`."""
    known, wanted = refuse_other(out, experiment, lab.fingerprint), experiment.fixed(lab.fingerprint)
    arms = [asdict(arm) for arm in asked_for(out, experiment)]
    facts = {**known, **wanted, "arms": arms}
    if known != facts:
        write_json(out / EXPERIMENT_FILE, facts)


def asked_for(out: Path, experiment: Experiment) -> tuple[Arm, ...]:
    """The arms of an experiment and all that earlier runs in ``out`` were asked for, ascending."""
    try:
        earlier = {Arm(**arm) for arm in _known(out).get("arms", [])}
    except TypeError:
        raise _damaged(out) from None
    return tuple(sorted({*experiment.arms, *earlier}))


def _known(out: Path) -> dict[str, Any]:
    """What ``out`` says it holds; nothing where it is new."""
    try:
        known = json.loads((out / EXPERIMENT_FILE).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise _damaged(out) from None
    if not isinstance(known, dict):
        raise _damaged(out)
    return known


def _damaged(out: Path) -> KlocError:
    return KlocError(f"{out / EXPERIMENT_FILE}: damaged; nobody knows what {out} holds: delete that folder")


@dataclass(frozen=True)
class Shared:
    """A task: what the arms of a seed share. kind: "full" (mAP with all labels) or "prior" (MCLE's)."""

    kind: str
    seed: int


class ArmWorker:
    """Runs arms, and what they share, in one process; see `kloc.engine`."""

    def __init__(self, folder: Path, out: Path, experiment: Experiment) -> None:
        self._lab, self._out, self._experiment = Lab.open(folder), out, experiment
        self._bench: tuple[tuple[int, float], Bench] | None = None

    def process(self, task: Shared | Arm) -> None:
        """Everything is written to the folder of the experiment."""
        if isinstance(task, Arm):
            with quiet():
                run_arm(self.bench(task.seed, task.noise), task, self._experiment.pace, arm_file(self._out, task))
        elif task.kind == "full":
            write_json(full_file(self._out, task.seed), {"value": round(self._full(task.seed), 9)})
        else:
            with atomic_write(prior_file(self._out, task.seed)) as stream:
                np.save(stream, self._prior(task.seed), allow_pickle=False)

    def bench(self, seed: int, noise: float) -> Bench:
        """What arms of that seed and noise stand on; the last one is kept."""
        if self._bench is None or self._bench[0] != (seed, noise):
            table, annotations = self._lab.annotated_by(noise, seed)
            prior, gain = prior_file(self._out, seed), gain_folder(self._out, seed)
            self._bench = (
                (seed, noise),
                Bench(
                    self._lab,
                    self._experiment.split(self._lab, seed),
                    table,
                    annotations,
                    np.load(prior, allow_pickle=False) if prior.exists() else None,
                    partial(GainModel.load, gain) if gain.exists() else None,
                    self._experiment.cost,
                ),
            )
        return self._bench[1]

    def _full(self, seed: int) -> float:
        bench = self.bench(seed, 0.0)
        return bench.value(bench.train(bench.split.pool, None, classify=True))

    def _prior(self, seed: int) -> NDArray[np.float16]:
        lab, split = self._lab, self._experiment.split(self._lab, seed)
        prior = train_attention(lab.table, lab.settings, seed, videos=split.knowledge)
        margin = margins(lab.table.encoded, np.append(prior.weights, prior.intercept))
        return platt_probability(margin, prior.platt_a, prior.platt_b).astype(np.float16)


def arm_file(out: Path, arm: Arm) -> Path:
    """The journal of an arm."""
    return out / "arms" / f"{arm.name}.jsonl"


def full_file(out: Path, seed: int) -> Path:
    """Where the mAP with all labels lies."""
    return out / f"seed-{seed}" / "full.json"


def prior_file(out: Path, seed: int) -> Path:
    """Where MCLE's prior lies: actionness of every proposal of the lab."""
    return out / f"seed-{seed}" / "prior.npy"


def gain_folder(out: Path, seed: int) -> Path:
    """Where LAL's regressor lies."""
    return out / f"seed-{seed}" / "gain"


def run(
    experiment: Experiment,
    source: AnnotatedSet,
    lab: Lab,
    out: Path,
    *,
    workers: int = 1,
    stage: Callable[[str, int], Callable[[], None]] = lambda what, total: lambda: None,
) -> Outcome:
    """Run every arm to its end; what fails costs its own arm and is told.

    ``stage(what, total)`` is told what begins and gives back what is called after each finished part.

    Raises UsageError for a folder with another experiment, or sets too small for the protocol, KlocError where another
    run is at work in the folder.
    """
    with held(out):
        return _run(experiment, source, lab, out, workers, stage)


def _run(
    experiment: Experiment,
    source: AnnotatedSet,
    lab: Lab,
    out: Path,
    workers: int,
    stage: Callable[[str, int], Callable[[], None]],
) -> Outcome:
    if any(arm.batch < 1 for arm in experiment.arms):
        raise UsageError("a batch holds at least 1 video")
    # A set too small for the protocol is told before hours are spent, and before its arms count as asked for.
    splits = {seed: experiment.split(lab, seed) for seed in experiment.seeds}
    open_folder(out, experiment, lab)
    sweep(out)
    problems = list(lab.facts["problems"])
    problems += _coarse(experiment, splits)
    oracles = sorted({(arm.noise, arm.seed) for arm in experiment.arms if not lab.is_relabelled(arm.noise, arm.seed)})
    if oracles:
        tick = stage("noisy labels", len(oracles) * len(lab.videos))
        for noise, seed in oracles:
            lab.relabel(source, noise, seed, tick)
    worker = partial(ArmWorker, lab.folder, out, experiment)
    shared = [Shared("full", seed) for seed in experiment.seeds if not full_file(out, seed).exists()]
    shared += [
        Shared("prior", seed)
        for seed in experiment.seeds
        if experiment.needs("mcle", seed) and not prior_file(out, seed).exists()
    ]
    _map(worker, shared, workers, stage("all labels", len(shared)), problems)
    _teach(experiment, lab, out, workers, stage, problems)
    # Small batches take longest: they go first, so that no worker is left alone with one at the end.
    arms = sorted((arm for arm in set(experiment.arms) if not _finished(out, arm)), key=lambda a: (a.batch, a))
    _map(worker, arms, workers, stage("arms", len(arms)), problems)
    return collect(experiment, out, problems)


def _coarse(experiment: Experiment, splits: Mapping[int, Split]) -> list[str]:
    """What is to be said of batches that leave a curve few points."""
    told, every = [], experiment.pace.eval_every
    rest = min(len(split.pool) - len(split.initial) for split in splits.values())
    span = min(experiment.pace.until * len(split.pool) - len(split.initial) for split in splits.values())
    for batch in sorted({arm.batch for arm in experiment.arms}):
        if batch > rest:
            told.append(f"batch {batch}: only {rest} videos are left after the first labels, one batch takes them all")
        elif batch * every * FEW_ROUNDS > span:
            told.append(
                f"batch {batch}: fewer than {FEW_ROUNDS} measured rounds until the end; what lies between them is "
                "guessed by a straight line"
            )
    return told


def _teach(
    experiment: Experiment,
    lab: Lab,
    out: Path,
    workers: int,
    stage: Callable[[str, int], Callable[[], None]],
    problems: list[str],
) -> None:
    """LAL's regressors of all seeds that need one, each from its own Knowledge-Source; without it LAL's arms fail."""
    wanted = [seed for seed in experiment.seeds if experiment.needs("lal", seed)]
    seeds = [seed for seed in wanted if not gain_folder(out, seed).exists()]
    if seeds:
        tick = stage("teaching LAL", len(seeds) * experiment.lal.n_splits * len(experiment.lal.shares))
    for seed in seeds:  # one after the other: what is learned is kept, and a poor source costs its own seed
        split = experiment.split(lab, seed)
        source = Knowledge(tuple(split.knowledge.tolist()), split.knowledge_classes, split.seed)
        try:
            (gain,) = bootstrap(lab, [source], experiment.lal, workers=workers, progress=lambda *_: tick())
        except KlocError as error:
            problems.append(f"seed {seed}: LAL could not be taught: {error}")
            continue
        with atomic_folder(gain_folder(out, seed)) as folder:
            gain.save(folder)
    for seed in wanted:  # told again by a run that only continues
        folder = gain_folder(out, seed)
        if folder.exists() and (gain := GainModel.load(folder)).close_to_random:
            problems.append(
                f"seed {seed}: LAL's rank correlation on held-out splits is {gain.rank_correlation:.3f}: its order is "
                "close to random"
            )


def _map(
    worker: Callable[[], ArmWorker],
    tasks: Sequence[Shared | Arm],
    workers: int,
    tick: Callable[[], None],
    problems: list[str],
) -> None:
    failed: dict[Shared | Arm, str] = {}
    map_videos(
        worker, tasks, workers=workers, on_result=lambda *_: None, on_error=failed.__setitem__,
        progress=lambda *_: tick(),
    )  # fmt: skip
    for task in tasks:  # not in the order in which they happened to fail
        if task in failed:
            name = task.name if isinstance(task, Arm) else f"seed {task.seed}, {task.kind}"
            problems.append(f"{name}: {failed[task]}")


def _finished(out: Path, arm: Arm) -> bool:
    try:
        lines = read_lines(arm_file(out, arm))
    except KlocError:
        return False  # the arm will say so itself
    return bool(lines) and not lines[-1]["picked"]


def collect(experiment: Experiment, out: Path, problems: Sequence[str] = ()) -> Outcome:
    """What there is so far of these arms and of all that earlier runs in ``out`` were asked for.

    An arm without the mAP of all labels or without a judged step shows nothing.
    """
    curves, told = [], list(problems)
    arms = asked_for(out, experiment)
    for arm in arms:
        if not full_file(out, arm.seed).exists():
            continue
        try:
            lines = read_lines(arm_file(out, arm))
        except KlocError as error:
            told += [] if any(str(error) in known for known in told) else [str(error)]
            continue
        full = float(json.loads(full_file(out, arm.seed).read_text("utf-8"))["value"])
        points = tuple(
            Point(line["labelled"], line["ratio"], line["value"], line["minutes"])
            for line in lines
            if line["value"] is not None
        )
        if points:
            curves.append(Curve(arm, points, full, finished=not lines[-1]["picked"]))
    seeds = sorted({arm.seed for arm in arms})
    gains = {seed: GainModel.load(gain_folder(out, seed)) for seed in seeds if gain_folder(out, seed).exists()}
    return Outcome(curves, gains, told, arms)
