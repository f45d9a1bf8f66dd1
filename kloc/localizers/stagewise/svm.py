"""A linear SVM with squared hinge loss in the primal, by Newton's method with conjugate gradients.

Minimises ``1/2 (|w|^2 + b^2) + C * sum_i c_i * max(0, 1 - y_i (w x_i + b))^2``, what scikit-learn's
``LinearSVC(dual=False)`` minimises, and starts where it is told: re-training after a few new rows is quick.
"""

from __future__ import annotations

import logging
import warnings
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

log = logging.getLogger(__name__)

Vector = NDArray[np.float64]


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
    if solver == "liblinear":
        model = LinearSVC(C=c, dual=False, tol=tolerance, max_iter=max_iterations, class_weight="balanced")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(rows, positive)
        if any(issubclass(w.category, ConvergenceWarning) for w in caught):
            log.warning("the attention SVM stopped after %d iterations without converging", max_iterations)
        return np.append(model.coef_[0], model.intercept_[0]).astype(np.float64)
    return _newton(rows, positive, c * balanced_weights(positive), tolerance, max_iterations, start)


def _newton(
    rows: NDArray[np.float32],
    positive: NDArray[np.bool_],
    cost: Vector,
    tolerance: float,
    max_iterations: int,
    start: Vector | None,
) -> Vector:
    """Products run in float32, everything that adds up in float64."""
    sign = np.where(positive, 1.0, -1.0)
    w = np.zeros(rows.shape[1] + 1) if start is None else start.astype(np.float64)
    score = margins(rows, w)
    # liblinear's rule: relative to the gradient at zero and to how rare the rarer class is. Rows that say nothing
    # have no gradient at zero, and float32 cannot tell gradients apart much below a millionth of all costs.
    rare = max(1, min(int(positive.sum()), int((~positive).sum()))) / len(rows)
    goal = tolerance * rare * float(np.linalg.norm(2 * _back(rows, cost * sign)))
    goal = max(goal, 1e-6 * float(cost.sum()))
    for _ in range(max_iterations):
        miss = np.maximum(1 - sign * score, 0)
        gradient = w - 2 * _back(rows, cost * sign * miss)
        norm = float(np.linalg.norm(gradient))
        if norm <= goal:
            return w
        active = np.flatnonzero(miss > 0)
        step = _solve(rows[active], 2 * cost[active], -gradient, 0.1 * norm)
        change = margins(rows, step)
        value, slope = _objective(w, miss, cost), float(gradient @ step)
        size = 1.0
        while size > 1e-10:
            moved = np.maximum(1 - sign * (score + size * change), 0)
            if _objective(w + size * step, moved, cost) <= value + 1e-4 * size * slope:
                break
            size /= 2
        else:
            return w  # float32 products cannot tell a better point apart: this is the minimum
        w, score = w + size * step, score + size * change
    log.warning("the attention SVM stopped after %d iterations without converging", max_iterations)
    return w


def _objective(w: Vector, miss: Vector, cost: Vector) -> float:
    return float(0.5 * (w @ w) + cost @ (miss * miss))


def margins(rows: NDArray[np.float32], w: Vector) -> Vector:
    """Margins ``(n,)`` of rows under weights-and-intercept ``w``, quickly: to float32's precision."""
    return np.asarray((rows @ w[:-1].astype(np.float32)).astype(np.float64) + w[-1])


def _back(rows: NDArray[np.float32], values: Vector) -> Vector:
    return np.append((values.astype(np.float32) @ rows).astype(np.float64), values.sum())


def _solve(rows: NDArray[np.float32], cost: Vector, target: Vector, tolerance: float) -> Vector:
    """Conjugate gradients for ``(I + X' diag(cost) X) s = target``, until the residual is below ``tolerance``."""
    step = np.zeros_like(target)
    residual, direction = target.copy(), target.copy()
    square = float(residual @ residual)
    for _ in range(500):
        product = direction + _back(rows, cost * margins(rows, direction))
        rate = square / float(direction @ product)
        step += rate * direction
        residual -= rate * product
        before, square = square, float(residual @ residual)
        if square <= tolerance**2:
            break
        direction = residual + (square / before) * direction
    return step
