"""How many more labels bring a campaign's mAP close to where it levels off, read off the rounds so far.

A Bayesian average over families of saturating learning curves. Every curve is ``y = a * (1 - gap(n / n95))`` with
``gap(1) = 0.05``: ``a`` is the plateau and ``n95`` the number of labels that reaches 95 % of it, which is what is
asked for. Half of the prior weight lies on power laws ``a - b * n**-c``, half on curves that saturate faster:
exponentials from a start above 0, stretched exponentials, Hill curves. A power law alone puts every plateau too far
away where the truth is an exponential, and an exponential alone puts it too near.

``n95`` and the shape live on a grid; the plateau (linear, between 0 and 1) and the noise's size are integrated in
closed form. The prior of ``n95`` is flat in its logarithm, from a third of the first round's labels to a thousand
times the last one's; the level at the last round is flat. How often the interval holds the truth on simulated curves:
``benchmarks/measures/forecast.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr

from kloc.errors import UsageError

Array = NDArray[np.float64]

#: The share of the plateau that is to be reached.
SHARE = 0.95
#: The probability that the interval is meant to hold.
LEVEL = 0.8
#: Different numbers of labels that a forecast needs: one more than a curve's level, height and pace.
ROUNDS = 4
#: A number of labels above so many times what is labelled is not told: the interval is open.
MANY = 20.0

_EXPONENTS = np.geomspace(0.2, 2.0, 24)  # c of the power laws
_STARTS = (0.5, 0.75)  # the exponentials' gap without labels: what is missing to the plateau then
_STRETCHES = (0.7, 1.0, 1.4, 2.0)
_HILLS = (0.7, 1.0, 1.4, 2.0)
_WARM = slice(len(_EXPONENTS), len(_EXPONENTS) + len(_STARTS))
#: A start above 0 with almost nothing learned since looks like a plateau: no level curve would ever be one.
_WARM_UNTIL = 10.0
_N_OTHERS = len(_STARTS) + len(_STRETCHES) + len(_HILLS)
_WEIGHTS = np.concatenate([
    np.full(len(_EXPONENTS), 0.5 / len(_EXPONENTS)),
    np.full(_N_OTHERS, 0.5 / _N_OTHERS),
])  # fmt: skip
_NODES = 200
_BELOW, _ABOVE = 3.0, 1000.0
#: Before any residual is seen the noise is worth this many of them, each this share of the best mAP. Without it a
#: curve that happens to pass through all points would be believed without any doubt.
_NOISE_COUNT, _NOISE = 1.0, 0.03


@dataclass(frozen=True, slots=True)
class Forecast:
    """Labels in all, not only further ones, that reach 95 % of the plateau: median and 80 % interval.

    labelled: the labels so far. at, low, high: numbers of labels, low <= at <= high; ``inf`` stands for more than
    ``MANY`` times ``labelled``, which so few rounds cannot tell apart. plateau: median of the value in [0, 1] that
    the curve tends to. n_points: what the forecast rests on.
    """

    labelled: float
    at: float
    low: float
    high: float
    plateau: float
    n_points: int

    @property
    def more(self) -> tuple[float, float, float]:
        """Further labels: median, low and high end; 0 where they are reached."""
        return _further(self.at, self.labelled), _further(self.low, self.labelled), _further(self.high, self.labelled)

    @property
    def open(self) -> bool:
        """Whether the interval has no upper end that can be told."""
        return math.isinf(self.high)

    def __str__(self) -> str:
        """Short enough for 80 columns beside a name: ``about 140 (90 to 410, 80 %) to 95 % of plateau 46 %``."""
        about, low, high = self.more
        sure = f"{100 * LEVEL:.0f} %"
        goal = f"{100 * SHARE:.0f} % of plateau {100 * self.plateau:.0f} %"
        if math.isinf(low):
            return f"over {MANY:g} times what is labelled ({sure})"
        if math.isinf(high):
            least = f"at least {_rounded(low)}, maybe" if low else "none to"
            return f"{least} over {MANY:g} times what is labelled ({sure})"
        if not high:
            return f"none: {goal} is reached"
        if not about:
            return f"perhaps none, up to {_rounded(high)} ({sure}), to {goal}"
        return f"about {_rounded(about)} ({_rounded(low)} to {_rounded(high)}, {sure}) to {goal}"

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary of further labels; an open end is ``None``."""
        about, low, high = (None if math.isinf(x) else math.ceil(x) for x in self.more)
        return {
            "share_of_plateau": SHARE,
            "level": LEVEL,
            "more": about,
            "more_low": low,
            "more_high": high,
            "plateau": round(self.plateau, 4),
            "points": self.n_points,
        }


def rounds_missing(labelled: ArrayLike) -> int:
    """How many more rounds a forecast needs; repetitions with equally many labels ``(n,)`` count once."""
    return max(0, ROUNDS - len(np.unique(np.asarray(labelled, np.float64))))


def forecast(labelled: ArrayLike, value: ArrayLike) -> Forecast:
    """Forecast from what the rounds so far reached, in any order; repetitions are welcome.

    labelled: numbers of labels ``(n,)``, at least 1. value: mAP in [0, 1] after training on so many, ``(n,)``.

    Flat, falling and noisy curves are answered with what they allow to say, down to an open interval.

    Raises:
        UsageError: fewer than ``ROUNDS`` different numbers of labels, or numbers outside their range.
    """
    n, y = _checked(labelled, value)
    log_n95 = np.linspace(math.log(n.min() / _BELOW), math.log(n.max() * _ABOVE), _NODES)
    n95 = np.exp(log_n95)
    share = 1.0 - _gaps(n / n95[:, None])  # (shapes, nodes, n): of the plateau
    first, last = share[..., int(n.argmin())], share[..., int(n.argmax())]
    squares, products = (share * share).sum(axis=-1), share @ y
    # A mean average precision is never below 0, nor is the curve that it follows.
    usable = (first >= 0.0) & (last > 0.0) & (squares > 0.0)
    usable[_WARM] &= n95 <= _WARM_UNTIL * n.max()
    squares = np.where(usable, squares, 1.0)
    plateau = products / squares
    residual = np.maximum((y * y).sum() - products * plateau, 0.0)
    # Given the shape, the plateau is Student-t around its least-squares fit, cut to [0, 1].
    freedom = _NOISE_COUNT + len(n) - 1
    total = _NOISE_COUNT * (_NOISE * max(float(y.max()), 0.01)) ** 2 + residual
    spread = np.sqrt(total / freedom / squares)
    inside = stdtr(freedom, (1.0 - plateau) / spread) - stdtr(freedom, -plateau / spread)
    usable &= inside > 0.0
    # `last` makes the level at the last round flat, not the plateau: else large plateaus far away would be favoured.
    log_weight = (
        np.log(_WEIGHTS)[:, None]
        + np.log(np.where(usable, inside * last, 1.0))
        - 0.5 * np.log(squares)
        - 0.5 * freedom * np.log(total)
    )
    log_weight[~usable] = -np.inf
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    low, at, high = _quantiles(log_n95, weight.sum(axis=0), ((1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2))
    most = MANY * float(n.max())
    low, at, high = (math.inf if x > most else x for x in (low, at, high))
    return Forecast(float(n.max()), at, low, high, _weighted_median(np.clip(plateau, 0.0, 1.0), weight), len(n))


def _checked(labelled: ArrayLike, value: ArrayLike) -> tuple[Array, Array]:
    n, y = np.asarray(labelled, np.float64), np.asarray(value, np.float64)
    if n.ndim != 1 or n.shape != y.shape:
        raise UsageError(f"a forecast needs one value per number of labels, not shapes {n.shape} and {y.shape}")
    missing = rounds_missing(n)
    if missing:
        raise UsageError(
            f"a forecast needs {ROUNDS} rounds with different numbers of labels, not {ROUNDS - missing}: "
            f"annotate {missing} more"
        )
    for labels, reached in zip(n.tolist(), y.tolist(), strict=True):
        if not (1.0 <= labels < math.inf and 0.0 <= reached <= 1.0):  # NaN fails too
            raise UsageError(f"a forecast cannot use mAP {reached:g} at {labels:g} labels: give [0, 1] and 1 or more")
    return n, y


def _gaps(u: Array) -> Array:
    """What each shape leaves of the plateau at ``u`` times the labels wanted: ``(..)`` to ``(shapes, ..)``."""
    gap = 1.0 - SHARE
    curves = [gap * u**-c for c in _EXPONENTS.tolist()]
    curves += [gap * (start / gap) ** (1.0 - u) for start in _STARTS]
    curves += [gap ** (u**k) for k in _STRETCHES]
    curves += [1.0 / (1.0 + SHARE / gap * u**k) for k in _HILLS]
    return np.stack(curves)


def _quantiles(log_x: Array, mass: Array, levels: tuple[float, ...]) -> list[float]:
    """Quantiles of a distribution whose mass lies evenly around equally spaced nodes."""
    half = 0.5 * (log_x[1] - log_x[0])
    edges = np.append(log_x - half, log_x[-1] + half)
    below = np.concatenate([[0.0], np.cumsum(mass)])
    return [float(x) for x in np.exp(np.interp(levels, below, edges))]


def _weighted_median(values: Array, weight: Array) -> float:
    order = np.argsort(values, axis=None, kind="stable")
    below = np.cumsum(weight.ravel()[order])
    return float(values.ravel()[order][np.searchsorted(below, 0.5 * below[-1])])


def _further(total: float, labelled: float) -> float:
    return max(0.0, total - labelled)


def _rounded(labels: float) -> str:
    """Two digits are all that a forecast knows."""
    if labels < 1:
        return "0" if labels <= 0 else "1"
    scale = 10 ** max(0, math.floor(math.log10(labels)) - 1)
    return f"{round(labels / scale) * scale:,}"
