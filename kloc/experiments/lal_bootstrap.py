"""Teach LAL what helps: Monte-Carlo experiments on a Knowledge-Source (P2, section 3.3; Konyushkova et al., 2017).

Again and again a part of the Knowledge-Source is labelled, a model trained, and one more video added: how much
better does attention find actions in held-out videos? A regressor learns to foretell that gain from the model's
state and the video's scores *before* it was added.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kloc import seeds
from kloc.engine import map_videos
from kloc.errors import KlocError, UsageError
from kloc.experiments.judging import AgnosticJudge
from kloc.experiments.lab import Lab
from kloc.experiments.quiet import quiet
from kloc.localizers.stagewise.attention import Attention, draw_sample, train_attention
from kloc.localizers.stagewise.settings import StageWiseSettings
from kloc.localizers.stagewise.svm import fit_svms, many_margins
from kloc.localizers.stagewise.table import EncodedTable, gather
from kloc.selection.lal import shares_of
from kloc.selection.lal_model import RANK_CORRELATION, GainModel, StateBasis, spearman
from kloc.threads import one_thread

Indices = NDArray[np.int64]
#: Of a histogram of actionness, as US's.
BINS = 10
#: Parts of the splits that are held out in turn when the regressor is judged.
FOLDS = 4


@dataclass(frozen=True)
class LalSettings:
    """How the experiments are made; defaults are kloc's reading of the paper (see docs).

    n_splits: random halves of the Knowledge-Source into a pool and held-out videos. shares: of that pool labelled,
    smallest first. candidates: videos added, one at a time, to each labelled set. mode: labelled sets drawn at
    random, or grown by what was learned on smaller ones. target: gain in class-agnostic detection mAP (the paper's),
    or in the smoother average precision of the attention scores of all proposals.
    """

    n_splits: int = 20
    shares: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4, 0.6)
    candidates: int = 10
    mode: Literal["independent", "iterative"] = "independent"
    target: Literal["detection", "ranking"] = "detection"
    state: Literal["pca", "full"] = "pca"

    def __post_init__(self) -> None:
        if self.n_splits < FOLDS or self.candidates < 2 or not self.shares:
            raise UsageError(f"LAL needs at least {FOLDS} splits, 2 candidates and one share to learn from")
        if list(self.shares) != sorted(set(self.shares)) or not 0 < self.shares[0] <= self.shares[-1] < 1:
            raise UsageError("LAL: shares must rise and lie between 0 and 1")


@dataclass(frozen=True)
class Knowledge:
    """A Knowledge-Source: videos (indices of a lab's table), their classes, and the seed of its experiments."""

    videos: tuple[int, ...]
    classes: tuple[str, ...]
    seed: int


@dataclass(frozen=True)
class StateTask:
    """One experiment: ``labelled`` (drawn at random where ``None``) is what the model has seen."""

    knowledge: Knowledge
    split: int
    size: int
    labelled: tuple[int, ...] | None = None


class StateRows(NamedTuple):
    """What one experiment found. state ``(S,)``; histograms ``(m, BINS)``; gains ``(m,)``; labelled: the set used."""

    state: NDArray[np.float64]
    histograms: NDArray[np.float64]
    gains: NDArray[np.float64]
    labelled: tuple[int, ...]


class StateWorker:
    """Makes experiments in one process; see `kloc.engine`."""

    def __init__(self, folder: Path, lal: LalSettings, basis: Mapping[int, StateBasis]) -> None:
        self._lab, self._lal, self._basis = Lab.open(folder), lal, basis
        # Gains of single videos are tiny: solve more exactly than for use.
        self._settings = replace(self._lab.settings, tolerance=1e-5)
        self._held_out: tuple[Any, AgnosticJudge, NDArray[np.float32]] | None = None

    def process(self, task: StateTask) -> StateRows | None:
        """Train on the labelled set, add each candidate in turn; ``None`` where the set teaches nothing."""
        with quiet():
            return self._tried(task)

    def _tried(self, task: StateTask) -> StateRows | None:
        knowledge, lal, table = task.knowledge, self._lal, self._lab.table
        pool, held_out = split_knowledge(knowledge, task.split)
        rng = seeds.generator(knowledge.seed, "lal", task.split, task.size)
        labelled = task.labelled or _draw(table, pool, labelled_size(pool, lal.shares[task.size]), rng)
        candidates = self.candidates_of(task, pool, labelled)
        if not labelled or not len(candidates):
            return None
        judge, rows = self._judge(knowledge, task.split, held_out)
        if not len(judge.truth.label):
            return None  # nothing to find in the held-out videos: no gain can be measured by them
        known = np.array(labelled, np.int64)
        attention = train_attention(table, self._settings, knowledge.seed, videos=known)
        weights = _with_each(table, self._settings, knowledge.seed, known, candidates, attention)
        value = judge.average_precision if lal.target == "detection" else judge.ranking_precision
        quality = np.array([value(scores) for scores in many_margins(rows, weights)])
        state = self._basis[knowledge.seed].vector(attention.weights, attention.intercept, len(known), len(pool))
        return StateRows(state, _histograms(table, attention, candidates), quality[1:] - quality[0], labelled)

    def candidates_of(self, task: StateTask, pool: Indices, labelled: tuple[int, ...]) -> Indices:
        """The videos that are added, one at a time; ascending."""
        rng = seeds.generator(task.knowledge.seed, "lal candidates", task.split, task.size)
        return np.sort(rng.permutation(np.setdiff1d(pool, labelled))[: self._lal.candidates])

    def _judge(self, knowledge: Knowledge, split: int, held_out: Indices) -> tuple[AgnosticJudge, NDArray[np.float32]]:
        key = (knowledge.seed, split)
        if self._held_out is None or self._held_out[0] != key:
            rows = gather(self._lab.table, ("encoded", self._lab.table.rows(held_out)))
            self._held_out = (key, AgnosticJudge.of(self._lab, held_out), rows)
        return self._held_out[1], self._held_out[2]


def split_knowledge(knowledge: Knowledge, split: int) -> tuple[Indices, Indices]:
    """One random half of the Knowledge-Source to label from, the other to judge by; both ascending."""
    videos = np.array(knowledge.videos, np.int64)
    order = seeds.generator(knowledge.seed, "lal split", split).permutation(len(videos))
    half = len(videos) // 2
    return np.sort(videos[order[:half]]), np.sort(videos[order[half:]])


def labelled_size(pool: Indices, share: float) -> int:
    """How many videos of a pool are labelled at a share of it: at least two, and one stays to be added."""
    return max(2, min(round(share * len(pool)), len(pool) - 1))


def _draw(table: EncodedTable, pool: Indices, size: int, rng: np.random.Generator) -> tuple[int, ...]:
    """A random labelled set that holds an instance; empty where the pool has none."""
    n_instances = np.diff(table.truth_offsets)[pool]
    for _ in range(20):
        chosen = rng.permutation(len(pool))[:size]
        if n_instances[chosen].any():
            return tuple(np.sort(pool[chosen]).tolist())
    return ()


def _with_each(
    table: EncodedTable,
    settings: StageWiseSettings,
    seed: int,
    known: Indices,
    candidates: Indices,
    attention: Attention,
) -> NDArray[np.float64]:
    """Weights and intercepts ``(1 + m, E + 1)`` of models trained without and with each candidate, side by side.

    All learn from one draw of negatives, so that nothing but the candidate makes a difference.
    """
    start = np.append(attention.weights, attention.intercept)
    turns = settings.hard_negative_rounds
    videos = np.concatenate([known, candidates])
    sample = draw_sample(table, videos, settings, seed, turns, start if turns else None)
    owner = sample.owner(table)
    is_known = np.isin(owner, known)
    member = is_known[None, :] | (owner[None, :] == np.append(-1, candidates)[:, None])
    return fit_svms(
        sample.rows(table), sample.positive, member, c=settings.c, tolerance=settings.tolerance,
        max_iterations=settings.max_iterations, solver=settings.solver,
        start=np.repeat(start[None], len(member), axis=0),
    )  # fmt: skip


def _histograms(table: EncodedTable, attention: Attention, videos: Indices) -> NDArray[np.float64]:
    rows = table.rows(videos)
    actionness = attention.actionness(table.encoded[rows]).astype(np.float16)  # as strategies read it
    owner = np.repeat(np.arange(len(videos)), np.diff(table.offsets)[videos])
    return shares_of(actionness, owner, len(videos), BINS)[0]


# -- all experiments ------------------------------------------------------------------------------------------


def bootstrap(
    lab: Lab,
    sources: Sequence[Knowledge],
    lal: LalSettings,
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[GainModel]:
    """A gain model for each Knowledge-Source of a lab. Equal inputs give equal models on any number of workers.

    Raises UsageError where a Knowledge-Source is too small, KlocError where experiments fail.
    """
    with one_thread(), quiet():  # also what is summed in this process: the same bits on any number of cores
        return _bootstrap(lab, sources, lal, workers, progress)


def _bootstrap(
    lab: Lab,
    sources: Sequence[Knowledge],
    lal: LalSettings,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> list[GainModel]:
    for source in sources:
        if len(source.videos) < 8:
            raise UsageError(
                f"a Knowledge-Source of {len(source.videos)} videos is too small to learn from; give at least 8"
            )
    basis = {source.seed: basis_of(lab.table, source, lal) for source in sources}
    worker = partial(StateWorker, lab.folder, lal, basis)
    found: dict[tuple[int, int, int], StateRows] = {}
    if lal.mode == "independent":
        rounds = [[(split, size) for split in range(lal.n_splits) for size in range(len(lal.shares))]]
    else:
        rounds = [[(split, size) for split in range(lal.n_splits)] for size in range(len(lal.shares))]
    for number, wanted in enumerate(rounds):
        tasks = []
        for source in sources:
            taught = bool(number) and any(key[0] == source.seed for key in found)
            gain = _regressor(lab, source, lal, basis[source.seed], found, range(lal.n_splits)) if taught else None
            tasks += [
                StateTask(source, split, size, grown(lab, source, split, size, lal, gain, found))
                for split, size in wanted
            ]
        found |= _run(worker, tasks, workers, progress)
    return [_fitted(lab, source, lal, basis[source.seed], found) for source in sources]


def _run(
    worker: Callable[[], StateWorker],
    tasks: list[StateTask],
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> dict[tuple[int, int, int], StateRows]:
    found: dict[tuple[int, int, int], StateRows] = {}
    failed: list[str] = []

    def keep(task: StateTask, rows: StateRows | None) -> None:
        if rows is not None:
            found[task.knowledge.seed, task.split, task.size] = rows

    map_videos(worker, tasks, workers=workers, on_result=keep, on_error=lambda _, why: failed.append(why),
               progress=progress)  # fmt: skip
    if failed:
        raise KlocError(f"{len(failed)} of {len(tasks)} experiments for LAL failed; the first: {failed[0]}")
    return found


def basis_of(table: EncodedTable, source: Knowledge, lal: LalSettings) -> StateBasis:
    """How the weights of attention are described: frozen principal directions of the Knowledge-Source's segments."""
    width = table.encoded.shape[1]
    if lal.state == "full":
        return StateBasis(width)
    rows = table.rows(np.array(source.videos, np.int64))
    some = np.sort(seeds.generator(source.seed, "lal basis").permutation(rows)[:20_000])
    return StateBasis.fit(table.encoded[some].astype(np.float64))


def grown(
    lab: Lab,
    source: Knowledge,
    split: int,
    size: int,
    lal: LalSettings,
    gain: GainModel | None,
    found: Mapping[tuple[int, int, int], StateRows],
) -> tuple[int, ...] | None:
    """The labelled set of the size before, grown by what was learned on all sets up to that size (``gain``)."""
    before = found.get((source.seed, split, size - 1))
    if gain is None or before is None:
        return None
    pool, _ = split_knowledge(source, split)
    rest = np.setdiff1d(pool, before.labelled)
    known = np.array(before.labelled, np.int64)
    attention = train_attention(lab.table, replace(lab.settings, tolerance=1e-5), source.seed, videos=known)
    value = gain.predict(before.state, _histograms(lab.table, attention, rest))
    wanted = labelled_size(pool, lal.shares[size]) - len(known)
    best = rest[np.lexsort((seeds.generator(source.seed, "lal ties", split).permutation(len(rest)), -value))]
    return tuple(sorted([*before.labelled, *best[: max(0, wanted)].tolist()]))


def _regressor(
    lab: Lab,
    source: Knowledge,
    lal: LalSettings,
    basis: StateBasis,
    found: Mapping[tuple[int, int, int], StateRows],
    splits: Sequence[int] | range,
    facts: Mapping[str, Any] | None = None,
) -> GainModel:
    keys = sorted(k for k in found if k[0] == source.seed and k[1] in set(splits))
    rows = [found[k] for k in keys]
    if not rows:
        raise UsageError("LAL: no labelled set of this Knowledge-Source holds an instance; give one that does")
    group = np.repeat(np.arange(len(rows)), [len(r.gains) for r in rows])
    return GainModel.fit(
        np.stack([r.state for r in rows])[group],
        np.concatenate([r.histograms for r in rows]),
        np.concatenate([r.gains for r in rows]),
        group,
        basis=basis, features=lab.facts["features"], encoder=lab.settings.encoder, classes=source.classes,
        facts=facts or {},
    )  # fmt: skip


def _fitted(
    lab: Lab,
    source: Knowledge,
    lal: LalSettings,
    basis: StateBasis,
    found: Mapping[tuple[int, int, int], StateRows],
) -> GainModel:
    """The regressor of all splits, with what regressors without a split foretold of it."""
    mine = {k: rows for k, rows in found.items() if k[0] == source.seed}
    correlations: dict[int, list[float]] = {size: [] for size in range(len(lal.shares))}
    for fold in range(FOLDS):
        inside = [split for split in range(lal.n_splits) if split % FOLDS != fold]
        gain = _regressor(lab, source, lal, basis, mine, inside)
        for (_, split, size), rows in sorted(mine.items()):
            if split % FOLDS == fold:
                correlations[size].append(spearman(gain.predict(rows.state, rows.histograms), rows.gains))
    by_share = {
        f"{lal.shares[size]:g}": round(float(np.mean(values)), 4) for size, values in correlations.items() if values
    }
    # A pool is labelled to a tenth before LAL is asked for the first time.
    deployed = [v for size, values in correlations.items() for v in values if lal.shares[size] >= 0.1]
    every = deployed or [v for values in correlations.values() for v in values]
    gains = np.concatenate([rows.gains for _, rows in sorted(mine.items())])  # not in the order they came in
    facts = {
        RANK_CORRELATION: round(float(np.mean(every)), 4),
        "rank_correlation_interval": _interval(every),
        "rank_correlation_by_share": by_share,
        "states": len(mine),
        "rows": len(gains),
        "gain_mean": float(f"{gains.mean():.3g}"),
        "gain_std": float(f"{gains.std():.3g}"),
        "mode": lal.mode,
        "target": lal.target,
        "videos": len(source.videos),
    }
    return _regressor(lab, source, lal, basis, mine, range(lal.n_splits), facts)


def _interval(values: Sequence[float]) -> list[float]:
    """Mean -+ 1.96 standard errors."""
    mean = float(np.mean(values))
    error = float(np.std(values, ddof=1)) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return [round(mean - 1.96 * error, 4), round(mean + 1.96 * error, 4)] if error == error else []
