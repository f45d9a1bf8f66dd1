"""Which instances are missed: by coverage, length, number of instances, and by each two of them.

An instance is found where the detection that took it stands at a rank whose normalised precision is above 5 %, and
missed otherwise (DETAD, section 4.3). Shares are averaged over the thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from kloc.attributes import Bins
from kloc.evaluation.diagnosis.matched import Array, Flags, Matched, right_precision

#: A detection whose normalised precision is not above this comes too late in the ranking to find anything.
LOWEST_PRECISION = 0.05


@dataclass(frozen=True, slots=True)
class MissedPair:
    """Share of the instances missed by the bins of two attributes: ``missed[row][column]``, NaN where there is none."""

    rows: str
    columns: str
    row_names: tuple[str, ...]
    column_names: tuple[str, ...]
    instances: tuple[tuple[int, ...], ...]
    missed: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class FalseNegatives:
    """Share of the instances missed: in all, by bin of each attribute, by each two attributes; NaN without any."""

    missed: float
    by_bin: tuple[tuple[float, ...], ...]
    pairs: tuple[MissedPair, ...]


def found_instances(matched: Matched) -> Flags:
    """Which instances are found, bool ``(K, G)``."""
    n_truth = matched.truth.per_class()
    found = np.zeros((len(matched.thresholds), len(matched.truth.start)), np.bool_)
    for level, (right, wrong) in enumerate(zip(matched.right, matched.wrong, strict=True)):
        rows, precision = right_precision(right, wrong, matched.found.label, n_truth, matched.mean_per_class)
        found[level, matched.instance[level, rows[precision > LOWEST_PRECISION]]] = True
    return found


def false_negatives(matched: Matched, index: NDArray[np.int64], bins: tuple[Bins, ...]) -> FalseNegatives:
    """Shares missed. ``index`` int64 ``(G, A)``: the bin of each instance by attribute, -1 where it is not known."""
    missed = 1.0 - found_instances(matched).mean(axis=0)
    by_bin = [_means(missed, column, len(b.names)) for column, b in zip(index.T, bins, strict=True)]
    pairs = []
    for r, c in combinations(range(len(bins)), 2):
        width = len(bins[c].names)
        shape = (len(bins[r].names), width)
        cell = np.where((index[:, r] >= 0) & (index[:, c] >= 0), index[:, r] * width + index[:, c], -1)
        share = _means(missed, cell, shape[0] * width).reshape(shape)
        count = np.bincount(cell[cell >= 0], minlength=shape[0] * width).reshape(shape)
        pairs.append(
            MissedPair(
                bins[r].attribute,
                bins[c].attribute,
                bins[r].names,
                bins[c].names,
                tuple(map(tuple, count.tolist())),
                tuple(map(tuple, share.tolist())),
            )
        )
    overall = float(missed.mean()) if len(missed) else float("nan")
    return FalseNegatives(overall, tuple(tuple(share.tolist()) for share in by_bin), tuple(pairs))


def _means(values: Array, bin_of: NDArray[np.int64], n_bins: int) -> Array:
    """Mean of the values in each bin, float64 ``(n_bins,)``; NaN where there is none."""
    known = bin_of >= 0
    count = np.bincount(bin_of[known], minlength=n_bins)
    total = np.bincount(bin_of[known], values[known], minlength=n_bins)
    return np.asarray(np.divide(total, count, out=np.full(n_bins, np.nan), where=count > 0))
