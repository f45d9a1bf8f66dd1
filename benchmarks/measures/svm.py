"""The attention trainer against scikit-learn: 200,000 x 2048 rows, the model and a calibration on three folds by video.

``python -m benchmarks.measures.svm FOLDER memory|file`` is the process whose memory is measured: it trains on rows
that it has read first, or that stay in their file.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import psutil
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

from benchmarks.harness import ROOT, Context, Figure, Ratio, load_average, measure
from benchmarks.select_pool import forget_peak, peak_bytes
from kloc.localizers.stagewise.platt import fit_platt, platt_probability
from kloc.localizers.stagewise.svm import Vector, balanced_weights, fit_svm, fit_svms, many_margins
from kloc.seeds import generator
from kloc.threads import one_thread

FOLDS, PER_VIDEO = 3, 100
C, TOLERANCE, ITERATIONS = 1.0, 1e-4, 5000
#: Two numbers are read off the folds' margins: kloc fits them less exactly than the model.
ROUGHER = 10.0
#: What the rows are mixed from: every column is a mixture of so many hidden ones.
_HIDDEN = 64
_ROWS_FILE, _FACTS_FILE = "rows.npy", "facts.npz"


class Problem(NamedTuple):
    """rows: float32 ``(n, E)``, each of length 1; positive and fold (by video): ``(n,)``; video of each row."""

    rows: NDArray[np.float32]
    positive: NDArray[np.bool_]
    video: NDArray[np.int64]
    fold: NDArray[np.int64]


class Trained(NamedTuple):
    """The model ``(E + 1,)``, those of the folds ``(3, E + 1)``, and Platt's A and B."""

    w: Vector
    folds: NDArray[np.float64]
    platt: tuple[float, float]

    @property
    def digest(self) -> str:
        """Of every bit of it."""
        return hashlib.sha256(self.w.tobytes() + self.folds.tobytes() + np.array(self.platt).tobytes()).hexdigest()


def make_problem(n: int, dim: int, seed: int) -> Problem:
    """Rows like segment features: not negative, correlated, alike within a video; a fifth positive, classes overlap.

    About half of the numbers are 0, more than where features are means over time: LinearSVC passes over them, kloc
    does not.
    """
    rng = generator(seed, "svm")
    n_videos = -(-n // PER_VIDEO)
    video = np.arange(n) // PER_VIDEO
    hidden = 0.7 * rng.standard_normal((n, _HIDDEN), np.float32)
    hidden += 0.7 * rng.standard_normal((n_videos, _HIDDEN), np.float32)[video]
    # An action shows in a few hidden columns, and not in them alone.
    says = hidden[:, :8].sum(axis=1) / np.sqrt(8) + 0.7 * rng.standard_normal(n, np.float32)
    positive = says > np.quantile(says, 0.8)
    mixing = rng.standard_normal((_HIDDEN, dim), np.float32) / np.sqrt(_HIDDEN)
    level = 0.3 * rng.standard_normal(dim, np.float32)
    rows = np.empty((n, dim), np.float32)
    for low in range(0, n, 10_000):
        part = hidden[low : low + 10_000] @ mixing + level
        part += 0.5 * rng.standard_normal(part.shape, np.float32)
        np.maximum(part, 0, out=part)
        rows[low : low + 10_000] = part / np.linalg.norm(part, axis=1, keepdims=True)
    return Problem(rows, positive, video, (rng.permutation(n_videos) % FOLDS)[video])


# -- both sides --------------------------------------------------------------------------------------------------------


def ours(problem: Problem, start: Vector | None = None, rougher: float = ROUGHER) -> Trained:
    """As `kloc.localizers.stagewise.attention.train_attention` fits and calibrates; the folds begin from the model."""
    rows, positive, _, fold = problem
    with one_thread():
        w = fit_svm(rows, positive, c=C, tolerance=TOLERANCE, max_iterations=ITERATIONS, start=start)
        member = fold[None] != np.arange(FOLDS)[:, None]
        models = fit_svms(
            rows, positive, member, c=C, tolerance=rougher * TOLERANCE, max_iterations=ITERATIONS,
            start=np.repeat(w[None], FOLDS, axis=0),
        )  # fmt: skip
        held_out = many_margins(rows, models)[fold, np.arange(len(fold))].astype(np.float64)
        return Trained(w, models, fit_platt(held_out, positive))


def theirs(problem: Problem) -> Trained:
    """scikit-learn's: four models, each from nothing, and the same sigmoid."""
    rows, positive, _, fold = problem
    with one_thread():
        w = _linear_svc(rows, positive)
        models, held_out = [], np.empty(len(rows))
        for k in range(FOLDS):
            inside = fold != k
            models.append(_linear_svc(rows[inside], positive[inside]))
            held_out[~inside] = rows[~inside] @ models[-1][:-1].astype(np.float32) + models[-1][-1]
        return Trained(w, np.stack(models), fit_platt(held_out, positive))


def _linear_svc(rows: NDArray[np.float32], positive: NDArray[np.bool_]) -> Vector:
    model = LinearSVC(C=C, dual=False, tol=TOLERANCE, max_iter=ITERATIONS, class_weight="balanced")
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model.fit(rows, positive)
    return np.append(model.coef_[0], model.intercept_[0]).astype(np.float64)


def objective(problem: Problem, w: Vector, inside: NDArray[np.bool_] | None = None) -> float:
    """What both minimise, in float64, over all rows or some."""
    inside = np.ones(len(problem.rows), np.bool_) if inside is None else inside
    margin = np.empty(len(problem.rows))
    for low in range(0, len(margin), 10_000):
        margin[low : low + 10_000] = problem.rows[low : low + 10_000].astype(np.float64) @ w[:-1] + w[-1]
    positive = problem.positive[inside]
    miss = np.maximum(0, 1 - np.where(positive, 1, -1) * margin[inside])
    return float(0.5 * w @ w + C * (balanced_weights(positive) * miss**2).sum())


# -- the measure -------------------------------------------------------------------------------------------------------


@measure(
    "svm", "the attention trainer with its calibration against scikit-learn's LinearSVC, cold, warm, and from disk"
)
def svm(context: Context) -> list[Figure]:
    """Cold, warm and baseline in turn on the same rows, one thread each; memory in processes of their own."""
    full = context.full
    n, dim, pairs = (200_000, 2048, 5) if full else (6_000, 256, 1)
    return measured(context, n, dim, pairs, bounded=full)


def measured(context: Context, n: int, dim: int, pairs: int, *, bounded: bool) -> list[Figure]:
    """All figures of a problem of that size."""
    problem = make_problem(n, dim, context.seed)
    before = _round_before(problem, context.seed)
    times: dict[str, list[float]] = {"cold": [], "warm": [], "theirs": [], "exact": []}
    made: dict[str, Trained] = {}
    load = []
    for pair in range(pairs):
        load.append(load_average())
        order = ["cold", "warm", "theirs"] if pair % 2 == 0 else ["theirs", "warm", "cold"]
        if pair == 0:
            order.append("exact")
        for side in order:
            began = time.perf_counter()
            if side == "theirs":
                made[side] = theirs(problem)
            else:
                made[side] = ours(problem, before if side == "warm" else None, 1.0 if side == "exact" else ROUGHER)
            times[side].append(time.perf_counter() - began)
        context.say(f"  pair {pair + 1}/{pairs}: " + ", ".join(f"{side} {times[side][-1]:.2f} s" for side in order))
    size = {"rows": n, "columns": dim, "positive": round(float(problem.positive.mean()), 4)}
    size["zeros"] = round(1 - np.count_nonzero(problem.rows[:10_000]) / problem.rows[:10_000].size, 3)
    figures = [
        Ratio(times[side], times["theirs"][: len(times[side])], load).figure(
            what, at_least=target if bounded else None, **size
        )
        for side, what, target in (
            ("cold", "from nothing, against LinearSVC", 4.0),
            ("warm", "from the model of 95 % of the videos, against LinearSVC", 6.0),
            ("exact", "from nothing, the folds as exact as the model (one pair), against LinearSVC", None),
        )
    ]
    return [*figures, *_sameness(problem, made, before), *_memory(context, problem, made["cold"], bounded)]


def _round_before(problem: Problem, seed: int) -> Vector:
    """The model of 95 % of the videos: where a campaign's next round starts from."""
    names = np.unique(problem.video)
    known = generator(seed, "svm, the round before").permutation(len(names))[: round(0.95 * len(names))]
    member = np.isin(problem.video, names[known])[None]
    with one_thread():
        fitted = fit_svms(problem.rows, problem.positive, member, c=C, tolerance=TOLERANCE, max_iterations=ITERATIONS)
    return np.asarray(fitted[0])


def _sameness(problem: Problem, made: dict[str, Trained], before: Vector) -> list[Figure]:
    """How far apart the objectives are; what the rougher folds do to the probabilities stands beside."""
    reference = made["theirs"]
    best = objective(problem, reference.w)
    signed = {side: objective(problem, made[side].w) / best - 1 for side in ("cold", "warm")}
    folds = {}
    for k in range(FOLDS):
        inside = problem.fold != k
        best_fold = objective(problem, reference.folds[k], inside)
        folds[f"fold {k}"] = objective(problem, made["cold"].folds[k], inside) / best_fold - 1
    every = many_margins(problem.rows, np.stack([reference.w, made["cold"].w])).astype(np.float64)
    p = [platt_probability(m, *side.platt) for m, side in zip(every, (reference, made["cold"]), strict=True)]
    detail: dict[str, Any] = {
        "ours_over_linear_svc_less_1": signed,
        "folds, at ten times the tolerance": folds,
        "start, before training on all": objective(problem, before) / best - 1,
        "objective": best,
        "platt": {side: list(made[side].platt) for side in ("theirs", "cold", "warm")},
        "accuracy": round(float(((every[0] > 0) == problem.positive).mean()), 4),
    }
    worst = max(map(abs, signed.values()))
    return [
        Figure("objective against LinearSVC's, relative", float(f"{worst:.3g}"), at_most=1e-4, detail=detail),
        Figure("probabilities against LinearSVC's, largest difference", round(float(np.abs(p[0] - p[1]).max()), 6)),
    ]


def _memory(context: Context, problem: Problem, known: Trained, bounded: bool) -> list[Figure]:
    """Train in fresh processes on rows in memory and in a file; both must give the bits this process has found."""
    np.save(context.scratch / _ROWS_FILE, problem.rows)
    np.savez(context.scratch / _FACTS_FILE, positive=problem.positive, video=problem.video, fold=problem.fold)
    memory, file = _child(context.scratch, "memory"), _child(context.scratch, "file")
    for said in (memory, file):
        said["same bits"] = said.pop("digest") == known.digest
    return [
        Figure(
            "peak memory above the data",
            round(memory["peak_bytes"] / 1e9, 3),
            "GB",
            at_most=1.0 if bounded else None,
            detail=memory | {"data_bytes": problem.rows.nbytes},
        ),
        Figure("rows in a file: peak of private memory", round(file["private_bytes"] / 1e9, 3), "GB", detail=file),
        Figure("rows in a file: time", round(file["seconds"] / memory["seconds"], 3), "x of rows in memory"),
        Figure("same bits from both", float(memory["same bits"] and file["same bits"]), at_least=1.0),
    ]


def _child(folder: Path, where: Literal["memory", "file"]) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.measures.svm", str(folder), where]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


class PrivateWatch:
    """The largest memory of this process that belongs to no file, in bytes, above what it was at the start."""

    def __init__(self, every_s: float = 0.02) -> None:
        self.peak = 0
        self._every, self._over, self._process = every_s, threading.Event(), psutil.Process()
        self._base = self._held()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PrivateWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _held(self) -> int:
        info = self._process.memory_info()
        return int(info.rss - getattr(info, "shared", 0))

    def _watch(self) -> None:
        while not self._over.is_set():
            self.peak = max(self.peak, self._held() - self._base)
            self._over.wait(self._every)


def main() -> None:
    """Train once on the rows of a folder; print seconds, memory above what was held before, and a digest."""
    folder, where = Path(sys.argv[1]), sys.argv[2]
    rows = np.load(folder / _ROWS_FILE, mmap_mode="r" if where == "file" else None)
    with np.load(folder / _FACTS_FILE) as facts:
        problem = Problem(rows, facts["positive"], facts["video"], facts["fold"])
    few = slice(20 * PER_VIDEO)
    small = Problem(np.array(rows[few]), problem.positive[few], problem.video[few], problem.fold[few])
    ours(small)  # imports and first pages
    base = psutil.Process().memory_info().rss
    forget_peak()
    began = time.perf_counter()
    with PrivateWatch() as private:
        trained = ours(problem)
    seconds = time.perf_counter() - began
    print(json.dumps({
        "seconds": round(seconds, 3), "peak_bytes": max(0, peak_bytes() - base), "private_bytes": private.peak,
        "base_bytes": base, "digest": trained.digest,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
