"""The whole diagnosis of a set of detections."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kloc.attributes import BINNINGS
from kloc.errors import UsageError
from kloc.evaluation.diagnosis.characteristics import characteristics
from kloc.evaluation.diagnosis.false_negatives import FalseNegatives, false_negatives
from kloc.evaluation.diagnosis.false_positives import FalsePositives, false_positives
from kloc.evaluation.diagnosis.matched import matched, means
from kloc.evaluation.diagnosis.sensitivity import Sensitivity, sensitivity
from kloc.evaluation.matching import rule
from kloc.evaluation.tables import DetectionTable, TruthTable
from kloc.records import Dataset


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is wrong and where, averaged over ``thresholds`` of tIoU.

    bins: name of the binning. mean_per_class: the N of normalised precision. mean_ap, normalised: mAP and mAP_N of
    all detections; NaN without truth.
    """

    bins: str
    thresholds: tuple[float, ...]
    mean_per_class: float
    mean_ap: float
    normalised: float
    false_positives: FalsePositives
    false_negatives: FalseNegatives
    sensitivity: tuple[Sensitivity, ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary; NaN becomes ``None``."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


def diagnose(
    dataset: Dataset,
    truth: TruthTable,
    found: DetectionTable,
    thresholds: ArrayLike,
    *,
    matching: str = "activitynet",
    bins: str = "paper",
) -> Diagnosis:
    """Diagnose detections. ``truth`` is the table of ``dataset``, which knows how long the videos are.

    Raises UsageError for an unknown matching rule or binning.
    """
    if bins not in BINNINGS:
        raise UsageError(f"unknown bins {bins!r}; there are: {', '.join(BINNINGS)}")
    levels = np.unique(np.asarray(thresholds, np.float64))
    evidence = matched(truth, found, levels, rule(matching))
    index = characteristics(dataset, truth).index(BINNINGS[bins])
    return Diagnosis(
        bins,
        tuple(levels.tolist()),
        evidence.mean_per_class,
        *means(evidence, evidence.right, evidence.wrong, found.label, truth.per_class()),
        false_positives(evidence),
        false_negatives(evidence, index, BINNINGS[bins]),
        sensitivity(evidence, index, BINNINGS[bins]),
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and np.isnan(value) else value
