"""Learning curves of simulated campaigns and what is read off them (P2, section 4; AL-STAL, eq. 11)."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from kloc import seeds

Array = NDArray[np.float64]
#: Draws of a bootstrap interval.
_DRAWS = 10_000


@dataclass(frozen=True, slots=True, order=True)
class Arm:
    """One simulated campaign. strategy and policy as `kloc.selection.spec` writes them; noise of the oracle."""

    seed: int
    strategy: str
    policy: str
    batch: int
    noise: float

    @property
    def name(self) -> str:
        """For files and messages."""
        text = f"s{self.seed}-{self.strategy}-{self.policy}-b{self.batch}-n{spelled(self.noise, 3)}"
        return re.sub(r"[^A-Za-z0-9.+=-]+", "_", text)


def spelled(number: float, digits: int) -> str:
    """A number with so many decimals, or with all that it has: no two share a name."""
    text = f"{number:.{digits}f}"
    return text if float(text) == number else repr(float(number))


@dataclass(frozen=True, slots=True)
class Point:
    """After training on ``labelled`` videos, a ``ratio`` of the pool: average mAP on Testing ``value`` in [0, 1].

    minutes: estimated working time that all labels so far took.
    """

    labelled: int
    ratio: float
    value: float
    minutes: float


@dataclass(frozen=True, slots=True)
class Curve:
    """The points of one arm, fewest labels first; ``full`` is the same seed's mAP with all labels and no noise.

    finished: whether the arm has got to its end. How far that is no ratio can tell: the last batch may go beyond what
    was asked for, by another part of every pool.
    """

    arm: Arm
    points: tuple[Point, ...]
    full: float
    finished: bool = True

    @property
    def x(self) -> Array:
        """Labelled ratios."""
        return np.array([p.ratio for p in self.points])

    @property
    def y(self) -> Array:
        """Shares of ``full``; 0 where all labels find nothing either."""
        values = np.array([p.value for p in self.points])
        return values / self.full if self.full > 0 else np.zeros_like(values)

    @property
    def minutes(self) -> Array:
        """Working minutes so far."""
        return np.array([p.minutes for p in self.points])


def area(x: Array, y: Array, low: float, high: float) -> float:
    """Area under straight lines through ``(x, y)`` (``x`` ascending) between two places, flat beyond the ends."""
    inside = x[(x > low) & (x < high)]
    at = np.concatenate([[low], inside, [high]])
    return float(np.trapezoid(np.interp(at, x, y), at))


def common_end(curves: Sequence[Curve]) -> float:
    """How far every curve goes: areas are compared up to there."""
    return min(float(curve.x[-1]) for curve in curves)


def aulc(curve: Curve, until: float | None = None, *, normalised: bool = False) -> float:
    """Area under the learning curve from its first ratio on, as in the paper; ``normalised`` divides by the width.

    until: the last ratio that counts; by default the curve's own.

    Raises:
        ValueError: the curve ends before ``until``.
    """
    x, end = curve.x, float(curve.x[-1]) if until is None else until
    if end > x[-1] + 1e-9:
        raise ValueError(f"{curve.arm.name} ends at {x[-1]:.3f}, before {end:.3f}")
    width = end - float(x[0])
    if width <= 0:  # pools of two seeds differ a little in size: one may begin where another curve ends
        return float(curve.y[0]) if normalised else 0.0
    value = area(x, curve.y, float(x[0]), end)
    return value / width if normalised else value


def aulc_minutes(curve: Curve, pool_minutes: float, until: float | None = None) -> float:
    """Normalised area against the share of the whole pool's working minutes, up to the share ``until``."""
    x = curve.minutes / pool_minutes
    end = float(x[-1]) if until is None else min(until, float(x[-1]))
    width = end - float(x[0])
    return area(x, curve.y, float(x[0]), end) / width if width > 0 else float(curve.y[0])


def first_reached(x: Array, y: Array, level: float) -> float | None:
    """Where ``y`` first reaches a level, by straight lines on its running maximum; ``None`` if it never does."""
    best = np.maximum.accumulate(y)
    if best[-1] < level:
        return None
    at = int(np.argmax(best >= level))
    if at == 0 or best[at] == best[at - 1]:
        return float(x[at])
    share = (level - best[at - 1]) / (best[at] - best[at - 1])
    return float(x[at - 1] + share * (x[at] - x[at - 1]))


def ratio_to(curve: Curve, level: float = 0.8) -> float | None:
    """Labelled ratio at which a share of the full mAP is first reached; ``None`` if never (or not yet)."""
    return first_reached(curve.x, curve.y, level)


def relative_saving(ours: Curve, baseline: Curve, at: float) -> float | None:
    """Percent of the baseline's labels that ``ours`` saves for what the baseline reaches at the ratio ``at``.

    AL-STAL, eq. 11: ``(N_B - N_A) / N_B * 100``; negative where ours needs more, ``None`` where it never gets there,
    or the baseline has no point there. Both are counted where they first reach that value: were ``N_B`` taken at the
    end of a plateau, two curves that wobble would each save labels against the other, and one against itself.
    """
    x = baseline.x
    if not x[0] - 1e-9 <= at <= x[-1] + 1e-9:
        return None
    best = np.maximum.accumulate(baseline.y)
    level = min(float(np.interp(at, x, best)), float(best[-1]))
    taken, needed = first_reached(x, baseline.y, level), first_reached(ours.x, ours.y, level)
    # Before the first point nobody knows: both start from the same labels.
    return None if taken is None or needed is None else 100.0 * (taken - needed) / taken


class Band(NamedTuple):
    """Curves on a common grid: mean, standard deviation and a 95 % interval of the mean, each ``(n,)``."""

    x: Array
    mean: Array
    std: Array
    low: Array
    high: Array


def aligned(curves: Sequence[Curve], grid: Array, *, of_minutes: float | None = None) -> Band:
    """Mean over seeds on a grid of ratios (or, with ``of_minutes`` the whole pool's, of shares of the minutes).

    With one curve the interval is the curve itself.
    """
    rows = np.stack([
        np.interp(grid, curve.x if of_minutes is None else curve.minutes / of_minutes, curve.y) for curve in curves
    ])  # fmt: skip
    mean = rows.mean(axis=0)
    if len(rows) < 2:
        return Band(grid, mean, np.zeros_like(mean), mean, mean)
    std = rows.std(axis=0, ddof=1)
    reach = student.ppf(0.975, len(rows) - 1) * std / math.sqrt(len(rows))
    return Band(grid, mean, std, mean - reach, mean + reach)


class Estimate(NamedTuple):
    """A mean over ``n`` seeds with a 95 % t-interval and a bootstrap one; NaN intervals with a single seed."""

    mean: float
    low: float
    high: float
    boot_low: float
    boot_high: float
    n: int

    @property
    def verdict(self) -> str:
        """What the t-interval allows to say of a difference."""
        if self.low > 0:
            return "better"
        if self.high < 0:
            return "worse"
        return f"cannot tell with {self.n} seed{'s' if self.n != 1 else ''}"


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and intervals of values over seeds.

    Raises:
        ValueError: no values.
    """
    x = np.asarray(values, np.float64)
    if not len(x):
        raise ValueError("nothing to estimate from")
    mean = float(x.mean())
    if len(x) < 2:
        return Estimate(mean, math.nan, math.nan, math.nan, math.nan, len(x))
    reach = float(student.ppf(0.975, len(x) - 1) * x.std(ddof=1) / math.sqrt(len(x)))
    draws = seeds.generator(0, "bootstrap", len(x)).integers(len(x), size=(_DRAWS, len(x)))
    low, high = np.quantile(x[draws].mean(axis=1), [0.025, 0.975]).tolist()
    return Estimate(mean, mean - reach, mean + reach, low, high, len(x))


def paired_difference(ours: Sequence[Curve], baseline: Sequence[Curve], until: float | None = None) -> Estimate:
    """Mean difference of AULC over the seeds that both have, ours less the baseline's.

    Raises:
        ValueError: no seed in common, or a seed twice on one side.
    """
    first, second = _by_seed(ours), _by_seed(baseline)
    shared = sorted(set(first) & set(second))
    if not shared:
        raise ValueError("the two have no seed in common")
    end = common_end([*ours, *baseline]) if until is None else until
    return estimate([aulc(first[s], end) - aulc(second[s], end) for s in shared])


def _by_seed(curves: Sequence[Curve]) -> dict[int, Curve]:
    found = {curve.arm.seed: curve for curve in curves}
    if len(found) != len(curves):
        raise ValueError("a seed occurs twice; compare arms of one batch size and one noise")
    return found
