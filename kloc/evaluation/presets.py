"""The settings that benchmarks publish their figures by, under the names people know."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kloc.errors import UsageError
from kloc.evaluation.detection import THRESHOLDS, THUMOS_THRESHOLDS, DetectionResult
from kloc.evaluation.tables import Duplicates
from kloc.records import Subset


@dataclass(frozen=True, slots=True)
class Preset:
    """How a benchmark evaluates.

    thresholds: the tIoUs of its columns, ascending. averaged: those that its average goes over.
    matching, duplicates: as in `mean_average_precision`. subset: what it is evaluated on.
    """

    name: str
    thresholds: tuple[float, ...]
    averaged: tuple[float, ...]
    matching: str
    duplicates: Duplicates
    subset: Subset

    @property
    def asked(self) -> tuple[float, ...]:
        """All thresholds that columns and average need, ascending."""
        return tuple(sorted({*self.thresholds, *self.averaged}))

    def columns(self, result: DetectionResult) -> NDArray[np.float64]:
        """Mean AP at ``thresholds``, float64 ``(K,)``, of a result at ``asked``."""
        return result.mean_ap[np.searchsorted(result.thresholds, self.thresholds)]

    def average(self, result: DetectionResult) -> float:
        """Mean over ``averaged`` of a result at ``asked``."""
        return float(result.mean_ap[np.searchsorted(result.thresholds, self.averaged)].mean())


_TENTHS = tuple(np.linspace(0.1, 0.9, 9).round(1).tolist())
PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("activitynet", THRESHOLDS, THRESHOLDS, "activitynet", "keep", "validation"),
        # The official rule; most papers evaluate THUMOS'14 by ActivityNet's (`matching="activitynet"`).
        Preset("thumos", THUMOS_THRESHOLDS, THUMOS_THRESHOLDS, "thumos", "keep", "testing"),
        # P2, table 1: columns at .1 to .9, "Avg" over .5:.05:.95.
        Preset("kinetics-localization", _TENTHS, THRESHOLDS, "activitynet", "keep", "validation"),
    )
}


def preset(name: str) -> Preset:
    """The preset of that name. Raises UsageError that lists all of them."""
    if name not in PRESETS:
        raise UsageError(f"unknown preset {name!r}; known: {', '.join(PRESETS)}")
    return PRESETS[name]
