"""How often the forecast's 80 % interval holds the truth, on simulated campaigns whose plateau is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Context, Figure, best_of_three, measure
from kloc.evaluation.forecast import MANY, SHARE, forecast
from kloc.seeds import generator

Array = NDArray[np.float64]
Shape = tuple[Callable[[Array], Array], float]

#: Standard deviation of the mAP that is measured, as a share of the plateau.
NOISE = (0.01, 0.02, 0.05, 0.10)
GAP = 1.0 - SHARE


class Outcome(NamedTuple):
    """One simulated campaign: where the truth lay, whether the interval was open, the median's log10 error.

    far: the truth lies where the forecast says no more than "over 20 times what is labelled".
    """

    below: bool
    above: bool
    open: bool
    far: bool
    error: float


# -- learning curves: the share of the plateau after so many times the first round's labels, and where it is 95 % ------


def power(rng: np.random.Generator, low: float, high: float) -> Shape:
    c, gap = math.exp(rng.uniform(math.log(low), math.log(high))), rng.uniform(0.2, 0.8)
    return (lambda n: 1.0 - gap * n**-c), (gap / GAP) ** (1.0 / c)


def exponential(rng: np.random.Generator) -> Shape:
    scale = math.exp(rng.uniform(0.0, math.log(12.0)))
    return (lambda n: 1.0 - np.exp(-n / scale)), scale * math.log(1.0 / GAP)


def warm_exponential(rng: np.random.Generator) -> Shape:
    """Not from 0: what was learned elsewhere helps before the first label."""
    scale, gap = math.exp(rng.uniform(0.0, math.log(12.0))), rng.uniform(0.4, 0.9)
    return (lambda n: 1.0 - gap * np.exp(-n / scale)), scale * math.log(gap / GAP)


def hill(rng: np.random.Generator) -> Shape:
    half, k = math.exp(rng.uniform(math.log(0.3), math.log(8.0))), rng.uniform(0.8, 1.6)
    return (lambda n: n**k / (half**k + n**k)), half * (SHARE / GAP) ** (1.0 / k)


def logistic(rng: np.random.Generator) -> Shape:
    """Slow at first: none of the forecast's families is like it."""
    half = math.exp(rng.uniform(math.log(1.5), math.log(6.0)))
    width = half / 3.0
    return (lambda n: 1.0 / (1.0 + np.exp(-(n - half) / width))), half + width * math.log(SHARE / GAP)


def two_stages(rng: np.random.Generator) -> Shape:
    """Easy classes first, hard ones five to ten times later: the first rounds show the easy ones' plateau."""
    fast, late, part = rng.uniform(0.7, 2.0), rng.uniform(5.0, 10.0), rng.uniform(0.5, 0.8)

    def curve(n: Array) -> Array:
        return 1.0 - part * np.exp(-n / fast) - (1.0 - part) * np.exp(-n / (fast * late))

    grid = np.geomspace(0.1, 1000.0, 20_000)
    return curve, float(np.interp(SHARE, curve(grid), grid))


#: The power laws carry the target; the others tell what a wrong idea of the curve costs.
FAMILIES: dict[str, tuple[Callable[[np.random.Generator], Shape], float | None]] = {
    "power laws, c 0.3 to 1.5": (lambda rng: power(rng, 0.3, 1.5), 0.75),
    "power laws, c 0.3 to 0.5": (lambda rng: power(rng, 0.3, 0.5), 0.75),
    "power laws, c 0.5 to 0.8": (lambda rng: power(rng, 0.5, 0.8), 0.75),
    "power laws, c 0.8 to 1.5": (lambda rng: power(rng, 0.8, 1.5), 0.75),
    "exponentials": (exponential, None),
    "exponentials from above 0": (warm_exponential, None),
    "Hill curves": (hill, None),
    "logistic curves": (logistic, None),
    "two stages": (two_stages, None),
}


@measure("forecast", "coverage of the learning-curve forecast's 80 % interval on simulated campaigns")
def coverage(context: Context) -> list[Figure]:
    """Campaigns of 5 to 12 rounds with 1 to 10 % noise; an open interval covers whatever lies above its low end."""
    campaigns = 1000 if context.full else 12
    figures = []
    for name, (family, target) in FAMILIES.items():
        by_noise = {
            noise: [_simulate(family, noise, generator(context.seed, name, str(noise), i)) for i in range(campaigns)]
            for noise in NOISE
        }
        everything = [outcome for outcomes in by_noise.values() for outcome in outcomes]
        closed = [outcome for outcome in everything if not outcome.open]
        detail = {
            "by_noise": {f"{noise:g}": round(_covered(outcomes), 3) for noise, outcomes in by_noise.items()},
            "truth_below": round(float(np.mean([o.below for o in everything])), 3),
            "truth_above": round(float(np.mean([o.above for o in everything])), 3),
            "open": round(1.0 - len(closed) / len(everything), 3),
            "truth_far": round(float(np.mean([o.far for o in everything])), 3),
            "campaigns_with_closed_intervals": len(closed),
            "coverage_of_closed_intervals": round(_covered(closed), 3) if closed else None,
            "median_of_log10_error": round(float(np.median([o.error for o in everything])), 3),
            "campaigns": len(everything),
        }
        figures.append(Figure(f"{name}: coverage", round(_covered(everything), 3), at_least=target, detail=detail))
        context.say(f"  {name}: {detail}")
    rounds = 50.0 * np.arange(1, 13)
    values = 0.5 * (1.0 - 0.6 * (rounds / 50.0) ** -0.8)
    figures.append(best_of_three("one forecast of 12 rounds", lambda: forecast(rounds, values), at_most=0.05))
    return figures


def _simulate(family: Callable[[np.random.Generator], Shape], noise: float, rng: np.random.Generator) -> Outcome:
    curve, wanted = family(rng)
    plateau, first = rng.uniform(0.2, 0.8), int(rng.integers(10, 200))
    labelled = np.round(first * (1.0 + rng.choice([0.5, 1.0, 2.0]) * np.arange(rng.integers(5, 13))))
    measured = plateau * (curve(labelled / first) + rng.normal(0.0, noise, len(labelled)))
    found, truth = forecast(labelled, np.clip(measured, 0.0, 1.0)), wanted * first
    # An end that is not told stands for "more than so many": a truth up there is neither below nor off.
    most = MANY * found.labelled
    error = math.log10(min(found.at, most) / min(truth, most))
    return Outcome(truth < min(found.low, most), truth > found.high, found.open, truth > most, error)


def _covered(outcomes: list[Outcome]) -> float:
    return float(np.mean([not (outcome.below or outcome.above) for outcome in outcomes]))
