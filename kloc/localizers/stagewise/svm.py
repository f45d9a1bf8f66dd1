"""A linear SVM with squared hinge loss in the primal, by Newton's method with conjugate gradients.

Minimises ``1/2 (|w|^2 + b^2) + C * sum_i c_i * max(0, 1 - y_i (w x_i + b))^2``, what scikit-learn's
``LinearSVC(dual=False)`` minimises, and starts where it is told: re-training after a few new rows is quick.

Several problems that share their rows (the folds of a calibration, one more video each) are solved side by side:
the time goes into reading the rows, and they are read once for all of them. Rows are only ever touched in chunks,
so they may be a `numpy.memmap` of a file larger than the memory.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

log = logging.getLogger(__name__)

Vector = NDArray[np.float64]
#: Bytes of rows that are multiplied back and forth while they stay in the processor's cache.
_CHUNK_BYTES = 2 << 20


def balanced_weights(positive: NDArray[np.bool_]) -> Vector:
    """``n / (2 n_class)`` for each row: both classes weigh the same."""
    n, n_positive = len(positive), int(positive.sum())
    return np.asarray(np.where(positive, n / (2 * max(1, n_positive)), n / (2 * max(1, n - n_positive))))


def fit_svm(
    rows: NDArray[np.float32],
    positive: NDArray[np.bool_],
    *,
    c: float = 1.0,
    tolerance: float = 1e-4,
    max_iterations: int = 5000,
    solver: Literal["newton", "liblinear"] = "newton",
    start: Vector | None = None,
) -> Vector:
    """Weights and, last, the intercept: float64 ``(E + 1,)``.

    rows: float32 ``(n, E)``; both classes must occur. ``start`` is such a vector to begin from.
    """
    fitted: NDArray[np.float64] = fit_svms(
        rows, positive, np.ones((1, len(rows)), np.bool_), c=c, tolerance=tolerance, max_iterations=max_iterations,
        solver=solver, start=None if start is None else start[None],
    )  # fmt: skip
    return np.asarray(fitted[0])


def fit_svms(
    rows: NDArray[np.float32],
    positive: NDArray[np.bool_],
    member: NDArray[np.bool_],
    *,
    c: float = 1.0,
    tolerance: float = 1e-4,
    max_iterations: int = 5000,
    solver: Literal["newton", "liblinear"] = "newton",
    start: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """K problems on the same rows: weights and, last, the intercept of each, float64 ``(K, E + 1)``.

    rows: float32 ``(n, E)``, in memory or a memmap. positive: ``(n,)``. member: ``(K, n)``, which rows belong to
    which problem; in each both classes must occur, and they weigh the same. start: ``(K, E + 1)`` to begin from.
    """
    cost = np.zeros(member.shape, np.float32)
    for own, values in zip(member, cost, strict=True):
        values[own] = c * balanced_weights(positive[own])
    if solver == "liblinear":
        return np.stack([_liblinear(rows[own], positive[own], c, tolerance, max_iterations) for own in member])
    w = np.zeros((len(member), rows.shape[1] + 1)) if start is None else start.astype(np.float64)
    return _newton(rows, np.where(positive, 1.0, -1.0).astype(np.float32), cost, tolerance, max_iterations, w)


def _liblinear(
    rows: NDArray[np.float32], positive: NDArray[np.bool_], c: float, tolerance: float, max_iterations: int
) -> Vector:
    model = LinearSVC(C=c, dual=False, tol=tolerance, max_iter=max_iterations, class_weight="balanced")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(rows, positive)
    if any(issubclass(w.category, ConvergenceWarning) for w in caught):
        log.warning("the attention SVM stopped after %d iterations without converging", max_iterations)
    return np.append(model.coef_[0], model.intercept_[0]).astype(np.float64)


def _newton(
    rows: NDArray[np.float32],
    sign: NDArray[np.float32],
    cost: NDArray[np.float32],
    tolerance: float,
    max_iterations: int,
    w: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Products run in float32, everything that adds up in float64. A problem that has converged drops out."""
    w = w.copy()
    score = many_margins(rows, w)
    # liblinear's rule: relative to the gradient at zero and to how rare the rarer class is. Rows that say nothing
    # have no gradient at zero, and float32 cannot tell gradients apart much below a millionth of all costs.
    n_rows = (cost > 0).sum(axis=1)
    n_positive = ((cost > 0) & (sign > 0)).sum(axis=1)
    rare = np.maximum(1, np.minimum(n_positive, n_rows - n_positive)) / np.maximum(1, n_rows)
    goal = tolerance * rare * np.linalg.norm(2 * _back(rows, cost * sign), axis=1)
    goal = np.maximum(goal, 1e-6 * cost.sum(axis=1, dtype=np.float64))
    live = np.arange(len(w))
    for _ in range(max_iterations):
        miss = np.maximum(1 - sign * score[live], 0)
        gradient = w[live] - 2 * _back(rows, cost[live] * sign * miss)
        norm = np.linalg.norm(gradient, axis=1)
        going = norm > goal[live]
        live, miss, gradient, norm = live[going], miss[going], gradient[going], norm[going]
        if not len(live):
            return w
        curvature = np.where(miss > 0, 2 * cost[live], np.float32(0))
        step, change = _solve(rows, curvature, -gradient, 0.1 * norm)
        stuck = np.zeros(len(live), np.bool_)
        for at, k in enumerate(live.tolist()):
            size = _line_search(w[k], score[k], step[at], change[at], sign, cost[k], miss[at], gradient[at])
            # No better point in float32's eyes: this is the minimum.
            stuck[at] = size == 0
            w[k] += size * step[at]
            score[k] += np.float32(size) * change[at]
        live = live[~stuck]
        if not len(live):
            return w
    log.warning("the attention SVM stopped after %d iterations without converging", max_iterations)
    return w


def _line_search(
    w: Vector,
    score: NDArray[np.float32],
    step: Vector,
    change: NDArray[np.float32],
    sign: NDArray[np.float32],
    cost: NDArray[np.float32],
    miss: NDArray[np.float32],
    gradient: Vector,
) -> float:
    """The first of 1, 1/2, 1/4 ... that lowers the objective enough; 0 where none does."""
    value, slope = _objective(w, miss, cost), float(gradient @ step)
    size = 1.0
    while size > 1e-10:
        moved = np.maximum(1 - sign * (score + np.float32(size) * change), 0)
        if _objective(w + size * step, moved, cost) <= value + 1e-4 * size * slope:
            return size
        size /= 2
    return 0.0


def _objective(w: Vector, miss: NDArray[np.float32], cost: NDArray[np.float32]) -> float:
    return float(0.5 * (w @ w) + np.einsum("i,i,i->", cost, miss, miss, dtype=np.float64))


def margins(rows: NDArray[np.float32], w: Vector) -> Vector:
    """Margins ``(n,)`` of rows under weights-and-intercept ``w``, quickly: to float32's precision."""
    return np.asarray(many_margins(rows, w[None])[0], np.float64)


def many_margins(rows: NDArray[np.float32], w: NDArray[np.float64]) -> NDArray[np.float32]:
    """Margins float32 ``(K, n)`` of rows under each ``w[k]`` of ``(K, E + 1)``."""
    weights, intercept = w[:, :-1].astype(np.float32), w[:, -1].astype(np.float32)
    result = np.empty((len(w), len(rows)), np.float32)
    for low, chunk in _chunks(rows):
        for k in range(len(w)):
            result[k, low : low + len(chunk)] = chunk @ weights[k] + intercept[k]
    return result


def _chunks(rows: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    size = max(64, _CHUNK_BYTES // (4 * max(1, rows.shape[1])))
    for low in range(0, len(rows), size):
        yield low, rows[low : low + size]


def _back(rows: NDArray[np.float32], values: NDArray[np.float32]) -> NDArray[np.float64]:
    """``values @ [rows, 1]``, float64 ``(K, E + 1)``."""
    result = np.zeros((len(values), rows.shape[1] + 1))
    for low, chunk in _chunks(rows):
        for k in range(len(values)):
            result[k, :-1] += values[k, low : low + len(chunk)] @ chunk
    result[:, -1] = values.sum(axis=1, dtype=np.float64)
    return result


def _curved(
    rows: NDArray[np.float32], curvature: NDArray[np.float32], direction: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """``(I + X' diag(curvature) X) d`` and ``X d`` of each problem, reading the rows once."""
    weights, intercept = direction[:, :-1].astype(np.float32), direction[:, -1].astype(np.float32)
    product = direction.copy()
    forward = np.empty(curvature.shape, np.float32)
    for low, chunk in _chunks(rows):
        part = slice(low, low + len(chunk))
        for k in range(len(direction)):
            ahead = chunk @ weights[k] + intercept[k]
            forward[k, part] = ahead
            ahead *= curvature[k, part]
            product[k, :-1] += ahead @ chunk
    product[:, -1] += np.einsum("kn,kn->k", curvature, forward, dtype=np.float64)
    return product, forward


def _solve(
    rows: NDArray[np.float32], curvature: NDArray[np.float32], target: NDArray[np.float64], tolerance: Vector
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Conjugate gradients for ``(I + X' diag(curvature) X) s = target``, each problem until its residual is small.

    Returns ``s`` ``(K, E + 1)`` and what it does to every margin, ``X s`` ``(K, n)``, which costs nothing here.
    """
    step, change = np.zeros_like(target), np.zeros(curvature.shape, np.float32)
    residual, direction = target.copy(), target.copy()
    square = np.einsum("ke,ke->k", residual, residual)
    live = np.arange(len(target))
    for _ in range(500):
        product, forward = _curved(rows, curvature[live], direction[live])
        rate = square[live] / np.einsum("ke,ke->k", direction[live], product)
        step[live] += rate[:, None] * direction[live]
        change[live] += rate[:, None].astype(np.float32) * forward
        residual[live] -= rate[:, None] * product
        before = square[live]
        square[live] = np.einsum("ke,ke->k", residual[live], residual[live])
        direction[live] = residual[live] + (square[live] / before)[:, None] * direction[live]
        live = live[square[live] > tolerance[live] ** 2]
        if not len(live):
            break
    return step, change
