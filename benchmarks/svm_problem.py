"""A training problem as attention sees it, and the two ways to solve it; as a program: one of them, with its memory."""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray
from sklearn.svm import LinearSVC

from kloc.localizers.stagewise.platt import fit_platt
from kloc.localizers.stagewise.svm import balanced_weights, fit_svm, fit_svms, many_margins, margins
from kloc.threads import one_thread

N_FOLDS = 3
ROWS_PER_VIDEO = 40


@dataclass(frozen=True)
class Problem:
    """rows: float32 ``(n, D)`` of length 1; positive ``(n,)``; fold of each row's video ``(n,)``."""

    rows: NDArray[np.float32]
    positive: NDArray[np.bool_]
    fold: NDArray[np.int64]


def make_problem(n_rows: int, dim: int, seed: int, file: Path | None = None) -> Problem:
    """Segments of videos: columns correlate, segments of one video are alike, a fifth are actions that overlap."""
    rng = np.random.default_rng(seed)
    rows: NDArray[np.float32] = (
        np.empty((n_rows, dim), np.float32) if file is None else np.memmap(file, np.float32, "w+", shape=(n_rows, dim))
    )
    positive = rng.random(n_rows) < 0.2
    mixing = rng.normal(size=(64, dim)).astype(np.float32) / 8
    direction = rng.normal(size=dim).astype(np.float32) * 0.12
    for low in range(0, n_rows, ROWS_PER_VIDEO):
        part = slice(low, min(low + ROWS_PER_VIDEO, n_rows))
        size = part.stop - low
        video = rng.normal(size=64)
        shared = (0.7 * video + rng.normal(size=(size, 64))).astype(np.float32) @ mixing
        rows[part] = np.maximum(shared + rng.normal(size=(size, dim), scale=0.8) + 0.5, 0)
        rows[part] += positive[part, None] * direction
        rows[part] /= np.linalg.norm(rows[part], axis=1, keepdims=True)
    video = np.arange(n_rows) // ROWS_PER_VIDEO
    return Problem(rows, positive, rng.permutation(video.max() + 1)[video] % N_FOLDS)


def split_rows(problem: Problem, share: float) -> Problem:
    """The first videos: what the round before was trained on."""
    n = int(share * len(problem.rows)) // ROWS_PER_VIDEO * ROWS_PER_VIDEO
    return replace(problem, rows=problem.rows[:n], positive=problem.positive[:n], fold=problem.fold[:n])


def objective(problem: Problem, w: NDArray[np.float64]) -> float:
    """The primal objective of the whole problem, C = 1, in float64."""
    sign = np.where(problem.positive, 1.0, -1.0)
    weight = balanced_weights(problem.positive)
    value = 0.5 * float(w @ w)
    for low in range(0, len(sign), 4096):
        part = slice(low, low + 4096)
        score = problem.rows[part].astype(np.float64) @ w[:-1] + w[-1]
        value += float((weight[part] * np.maximum(0, 1 - sign[part] * score) ** 2).sum())
    return value


class Ours:
    """kloc's trainer, as `kloc.localizers.stagewise.attention` calls it."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self.w = np.zeros(0)
        self.sigmoid = (0.0, 0.0)

    def cold(self) -> None:
        """From nothing."""
        self._fit(None)

    def warm(self, start: NDArray[np.float64]) -> None:
        """From the model of the round before."""
        self._fit(start)

    def _fit(self, start: NDArray[np.float64] | None) -> None:
        rows, positive, fold = self._problem.rows, self._problem.positive, self._problem.fold
        self.w = fit_svm(rows, positive, start=start)
        member = fold[None, :] != np.arange(N_FOLDS)[:, None]
        models = fit_svms(rows, positive, member, tolerance=1e-3, start=np.repeat(self.w[None], N_FOLDS, axis=0))
        held_out = many_margins(rows, models)[fold, np.arange(len(rows))].astype(np.float64)
        self.sigmoid = fit_platt(held_out, positive)


class LinearSvc:
    """scikit-learn's solver of the same problem, and the same sigmoid on the same folds."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self.w = np.zeros(0)

    def fit(self) -> None:
        """Four fits."""
        rows, positive, fold = self._problem.rows, self._problem.positive, self._problem.fold
        self.w = self._one(rows, positive)
        held_out = np.empty(len(rows))
        for k in range(N_FOLDS):
            w = self._one(rows[fold != k], positive[fold != k])
            held_out[fold == k] = margins(rows[fold == k], w)
        fit_platt(held_out, positive)

    @staticmethod
    def _one(rows: NDArray[np.float32], positive: NDArray[np.bool_]) -> NDArray[np.float64]:
        model = LinearSVC(C=1.0, dual=False, tol=1e-4, max_iter=5000, class_weight="balanced").fit(rows, positive)
        return np.append(model.coef_[0], model.intercept_[0]).astype(np.float64)


def main() -> None:
    """``N D SEED memory|file FOLDER``: train once; prints memory above the rows, memory of its own, and a hash."""
    n_rows, dim, seed, kind, folder = sys.argv[1:6]
    file = Path(folder) / "rows.f32" if kind == "file" else None
    problem = make_problem(int(n_rows), int(dim), int(seed), file)
    if file is not None:
        problem = replace(problem, rows=np.memmap(file, np.float32, "r", shape=problem.rows.shape))
    me, peak, over = psutil.Process(), [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            peak[0] = max(peak[0], int(me.memory_full_info().uss))

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    held = int(me.memory_full_info().rss)
    watcher = threading.Thread(target=watch)
    watcher.start()
    ours = Ours(problem)
    began = time.perf_counter()
    with one_thread():
        ours.cold()
    taken = time.perf_counter() - began
    over.set()
    watcher.join()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    # Making the rows takes little beside them: what is above the larger of the two came with training.
    above = max(0, after - max(before, held)) if kind == "memory" else 0
    digest = hashlib.sha256(ours.w.tobytes()).hexdigest()
    print(json.dumps({"above_rows": above, "own": peak[0], "seconds": taken, "weights": digest}))


if __name__ == "__main__":
    main()
