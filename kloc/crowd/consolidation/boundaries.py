"""Where the candidates begin and end: weighted medians, and robust means that know each worker's habit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kloc.crowd.consolidation.records import ConsolidationSettings

if TYPE_CHECKING:
    from kloc.crowd.consolidation.candidates import Candidates
    from kloc.crowd.consolidation.marks import Bools, Floats

#: Rounds of refitting workers' habits, and of refitting the means between two of them.
ROUNDS, STEPS = 8, 4
#: No worker is believed to err by less, in units.
LEAST_SCALE = 0.05


def unit(low: Floats, high: Floats) -> Floats:
    """What boundary errors are measured in: 0.5 s + 0.1 x the duration. Long actions begin and end less sharply."""
    return 0.5 + 0.1 * (high - low)


def middle(values: Floats, given: Bools) -> Floats:
    """Row-wise median of the values that are ``given``."""
    return weighted_median(values, given.astype(np.float64))


def weighted_median(values: Floats, weights: Floats) -> Floats:
    """Row-wise weighted median: ``values`` and ``weights`` float64 ``(n, k)`` -> ``(n,)``.

    Where the lower half weighs exactly half, the middle between the two neighbours (as the plain median of an even
    number). Entries of weight 0 do not count, whatever their value. Each row needs a positive weight.
    """
    if not len(values):
        return np.zeros(0)
    order = np.argsort(np.where(weights > 0, values, np.inf), axis=1, kind="stable")
    v, w = np.take_along_axis(values, order, axis=1), np.take_along_axis(weights, order, axis=1)
    below = np.cumsum(w, axis=1)
    half = below[:, -1:] / 2
    slack = 1e-9 * half
    first = np.argmax(below >= half - slack, axis=1)[:, None]
    second = np.argmax(below > half + slack, axis=1)[:, None]
    between = (np.take_along_axis(v, first, axis=1) + np.take_along_axis(v, second, axis=1)) / 2
    return np.asarray(between[:, 0])


def robust(
    c: Candidates, posterior: Floats, n_workers: int, settings: ConsolidationSettings
) -> tuple[Floats, Floats, Floats]:
    """Starts ``(N,)``, ends ``(N,)``, and per worker the scale of their errors in units.

    A worker's boundary is the true one plus a habit (they click early or late at starts, at ends) plus an error with
    Student's t distribution and a scale of their own. Habits and scales are shrunk to those of all workers and learn
    from candidates as far as these are believed. The squared error of a vote is its squared distance from the mean
    plus the mean's own variance: with few votes the mean lies near each of them by construction.
    """
    who = np.maximum(c.who, 0)
    sides = [(side, np.isfinite(side)) for side in (c.low, c.high)]
    medians = c.medians()
    units = unit(*medians)[:, None]
    scale = np.full(n_workers, settings.scale[0])
    habit = np.zeros((2, n_workers))
    means = list(medians)

    def total(values: Floats) -> Floats:
        return np.bincount(who.ravel(), weights=values.ravel(), minlength=n_workers).astype(np.float64)

    for _ in range(ROUNDS):
        squares, counts, means = np.zeros(n_workers), np.zeros(n_workers), []
        for number, (side, given) in enumerate(sides):
            seen = np.where(given, side, 0.0)
            mean, pull = _student_mean(seen - habit[number][who] * units, given, scale[who] * units, settings.tails)
            means.append(mean)
            off = (seen - mean[:, None]) / units
            belief = np.where(given & (given.sum(axis=1) > 1)[:, None], posterior[:, None], 0.0)
            trust = pull * (scale[who] * units) ** 2
            own = total(belief * trust)
            habit[number] = total(belief * trust * off) / (settings.own_weight + own)
            variance = 1 / np.maximum((pull * units**2).sum(axis=1), 1e-12)
            squares += total(belief * (trust * (off - habit[number][who]) ** 2 + variance[:, None]))
            counts += total(belief)
        pooled = (settings.scale[0] ** 2 * settings.scale[1] + squares.sum()) / (settings.scale[1] + counts.sum())
        scale = np.sqrt((settings.own_weight * pooled + squares) / (settings.own_weight + counts))
        scale = np.maximum(scale, LEAST_SCALE)
    low, high = (_between(mean, side, given) for mean, (side, given) in zip(means, sides, strict=True))
    # Starts and ends are judged apart, and not all by the same workers; what begins ends later all the same.
    turned = high <= low
    return np.where(turned, medians[0], low), np.where(turned, medians[1], high), scale


def _student_mean(values: Floats, given: Bools, scale: Floats, tails: float) -> tuple[Floats, Floats]:
    """The mean ``(n,)`` of each row under Student's t, and what each value weighs in it (0 where not given)."""
    precision = np.where(given, 1 / scale**2, 0.0)
    mean = weighted_median(values, precision)
    pull = precision
    for _ in range(STEPS):
        distance = ((values - mean[:, None]) / scale) ** 2
        pull = precision * (tails + 1) / (tails + distance)
        mean = (pull * values).sum(axis=1) / pull.sum(axis=1)
    return mean, pull


def _between(mean: Floats, side: Floats, given: Bools) -> Floats:
    """Not outside what anybody said."""
    least, most = np.where(given, side, np.inf).min(axis=1), np.where(given, side, -np.inf).max(axis=1)
    return np.asarray(np.clip(mean, least, most))
