"""Platt scaling: margins become probabilities, ``p = 1 / (1 + exp(A f + B))``."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

log = logging.getLogger(__name__)

#: What stands in where no sigmoid can be fitted.
FALLBACK = (-1.0, 0.0)


def platt_probability(margins: NDArray[np.float64], a: float, b: float) -> NDArray[np.float64]:
    """Probabilities ``(N,)`` of margins ``(N,)``; falls with ``A f + B`` and never overflows."""
    return np.asarray(expit(-(a * margins + b)), dtype=np.float64)


def fit_platt(margins: NDArray[np.float64], positive: NDArray[np.bool_]) -> tuple[float, float]:
    """A and B by Newton's method with backtracking on the cross-entropy with Platt's targets.

    Targets are ``(N+ + 1) / (N+ + 2)`` and ``1 / (N- + 2)``. Margins are standardised first, so that neither a
    shift nor a scale of them changes the probabilities. Where A would not be negative, or nothing can be
    fitted, the result is (-1, 0) with a warning.
    """
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    spread = float(margins.std()) if len(margins) else 0.0
    if not n_positive or not n_negative or not np.isfinite(spread) or spread < 1e-12:
        log.warning("no Platt scaling: %d positive, %d negative margins that differ by %.1e", n_positive, n_negative,
                    spread)  # fmt: skip
        return FALLBACK
    centre = float(margins.mean())
    design = np.stack([(margins - centre) / spread, np.ones(len(margins))], axis=1)
    target = np.where(positive, (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2))
    slope, offset = _logistic(design, target)
    a = -slope / spread
    b = -offset - a * centre
    if not (np.isfinite(a) and np.isfinite(b)) or a >= 0:
        log.warning("no Platt scaling: margins do not rise with the truth (A = %.3g); taking A = -1, B = 0", a)
        return FALLBACK
    return a, b


def _logistic(design: NDArray[np.float64], target: NDArray[np.float64]) -> tuple[float, float]:
    """Slope and offset of the log odds that minimise the mean cross-entropy."""

    def loss(values: NDArray[np.float64]) -> float:
        z = design @ values
        return float(np.mean(np.maximum(z, 0) - target * z + np.log1p(np.exp(-np.abs(z)))))

    mean = float(target.mean())
    values = np.array([0.0, np.log(mean / (1 - mean))])
    current = loss(values)
    for _ in range(100):
        p = expit(design @ values)
        gradient = design.T @ (p - target) / len(target)
        if np.abs(gradient).max() < 1e-10:
            break
        hessian = (design.T * (p * (1 - p))) @ design / len(target) + 1e-12 * np.eye(2)
        step = np.linalg.solve(hessian, -gradient)
        size = 1.0
        while size > 1e-10 and loss(values + size * step) > current + 1e-4 * size * float(gradient @ step):
            size /= 2
        if size <= 1e-10:
            break
        values = values + size * step
        current = loss(values)
    return float(values[0]), float(values[1])
