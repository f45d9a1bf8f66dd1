"""How much the average mAP depends on coverage, length and number of instances.

For each bin the truth is its instances alone. A detection that takes an instance of another bin at any of the
thresholds belongs there and is dropped at all of them, neither right nor wrong; all other false positives stay.
Normalised precision makes bins of different sizes comparable (DETAD, section 4.2, and its program). The mean goes over
the classes that have an instance in the bin, then over the thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kloc.attributes import Bins
from kloc.evaluation.diagnosis.matched import Matched, means


@dataclass(frozen=True, slots=True)
class BinFigures:
    """One bin: its instances, their mAP and mAP_N (NaN without any), averaged over thresholds."""

    name: str
    range: str
    instances: int
    mean_ap: float
    normalised: float


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """One attribute. lowest, highest: its worst and best bin's mAP_N by the one over all instances; NaN where 0.

    unknown: instances whose value is not known, in no bin.
    """

    attribute: str
    unit: str
    bins: tuple[BinFigures, ...]
    lowest: float
    highest: float
    unknown: int


def sensitivity(matched: Matched, index: NDArray[np.int64], bins: tuple[Bins, ...]) -> tuple[Sensitivity, ...]:
    """One row per attribute. ``index`` int64 ``(G, A)``: the bin of each instance, -1 where it is not known."""
    label = matched.found.label
    overall = means(matched, matched.right, matched.wrong, label, matched.truth.per_class()).normalised
    rows = []
    for column, attribute in zip(index.T, bins, strict=True):
        figures = tuple(
            _bin(matched, column == b, name, span)
            for b, (name, span) in enumerate(zip(attribute.names, attribute.ranges, strict=True))
        )
        values = [f.normalised / overall for f in figures if f.instances and overall > 0]
        low, high = (min(values), max(values)) if values else (float("nan"), float("nan"))
        unknown = int((column < 0).sum())
        rows.append(Sensitivity(attribute.attribute, attribute.unit, figures, low, high, unknown))
    return tuple(rows)


def _bin(matched: Matched, inside: NDArray[np.bool_], name: str, span: str) -> BinFigures:
    """Figures of the instances ``inside``, bool ``(G,)``."""
    n_truth = np.bincount(matched.truth.label[inside], minlength=len(matched.truth.classes))
    # One more place, for the rows that took nothing: they took nothing elsewhere either.
    elsewhere = np.append(~inside, False)[np.maximum(matched.instance, -1)]
    stay = ~elsewhere.any(axis=0)
    figures = means(matched, matched.right & stay, matched.wrong & stay, matched.found.label, n_truth)
    return BinFigures(name, span, int(inside.sum()), *figures)
