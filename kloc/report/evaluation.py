"""An evaluation as it is shown: what the terminal and the page both stand on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kloc.evaluation.detection import DetectionResult
from kloc.evaluation.diagnosis.diagnose import Diagnosis
from kloc.evaluation.diagnosis.false_positives import KINDS, SLICES
from kloc.evaluation.diagnosis.sensitivity import Sensitivity
from kloc.evaluation.presets import PRESETS, Preset
from kloc.evaluation.recall import RecallResult


@dataclass(frozen=True)
class Evaluation:
    """Figures of one set of detections against one truth.

    truth, predictions: what they are called. subset: "training", "validation", "testing" or "all".
    result: at ``settings.asked``. diagnosis: over ``settings.averaged``. problems: what was wrong with the files and
    what of them is not judged, as sentences. simulated: whether the truth comes from simulated workers.
    by_default: of the preset and the subset, those that nobody asked for. subsets: all that are annotated.
    """

    truth: str
    predictions: str
    subset: str
    settings: Preset
    result: DetectionResult
    recall: RecallResult
    diagnosis: Diagnosis
    problems: tuple[str, ...] = ()
    simulated: bool = False
    by_default: frozenset[str] = frozenset()
    subsets: tuple[str, ...] = ()

    @property
    def average(self) -> float:
        """Mean AP averaged over the thresholds it is averaged over."""
        return self.settings.average(self.result)

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain dictionaries and lists."""
        return {
            "truth": self.truth,
            "predictions": self.predictions,
            "subset": self.subset,
            "simulated": self.simulated,
            "preset": self.settings.name,
            "averaged_over": list(self.settings.averaged),
            "average_mAP": plain(self.average),
            "detection": self.result.to_json(),
            "recall": self.recall.to_json(),
            "diagnosis": self.diagnosis.to_json(),
        }


@dataclass(frozen=True)
class ClassRow:
    """One class with truth. precision: AP at each column of the preset; average: over those it is averaged over."""

    name: str
    instances: int
    detections: int
    precision: tuple[float, ...]
    average: float


@dataclass(frozen=True)
class BinRow:
    """One bin of an attribute; shares of 1, NaN where the bin is empty."""

    name: str
    range: str
    instances: int
    mean_ap: float
    normalised: float
    missed: float


def class_rows(evaluation: Evaluation) -> list[ClassRow]:
    """Classes with truth, best average first, then by name."""
    result, settings = evaluation.result, evaluation.settings
    columns = _columns(result, settings.thresholds)
    averaged = _columns(result, settings.averaged).mean(axis=0)
    rows = [
        ClassRow(
            result.classes[c],
            int(result.n_truth[c]),
            int(result.n_detections[c]),
            tuple(columns[:, c].tolist()),
            float(averaged[c]),
        )
        for c in np.flatnonzero(result.n_truth)
    ]
    return sorted(rows, key=lambda row: (-row.average, row.name))


def _columns(result: DetectionResult, thresholds: tuple[float, ...]) -> NDArray[np.float64]:
    return result.average_precision[np.searchsorted(result.thresholds, thresholds)]


def bin_rows(evaluation: Evaluation) -> list[tuple[str, str, list[BinRow]]]:
    """Of each attribute its name, its unit and the rows of its bins."""
    diagnosis = evaluation.diagnosis
    return [
        (
            row.attribute,
            row.unit,
            [
                BinRow(b.name, b.range, b.instances, b.mean_ap, b.normalised, missed)
                for b, missed in zip(row.bins, shares, strict=True)
            ],
        )
        for row, shares in zip(diagnosis.sensitivity, diagnosis.false_negatives.by_bin, strict=True)
    ]


#: Bins of fewer instances are shown, and are neither worst nor best.
FEWEST = 10


def spans(evaluation: Evaluation) -> list[tuple[Sensitivity, float, float]]:
    """Of each attribute its figures, and the mAP_N of its worst and of its best bin by that of all instances.

    Bins of fewer than `FEWEST` instances do not count; NaN where none does.
    """
    overall = evaluation.diagnosis.normalised
    rows = []
    for row in evaluation.diagnosis.sensitivity:
        values = [b.normalised / overall for b in row.bins if b.instances >= FEWEST and overall > 0]
        rows.append((row, min(values, default=np.nan), max(values, default=np.nan)))
    return rows


def title(attribute: str, unit: str = "") -> str:
    """What people call an attribute."""
    name = "Number of instances" if attribute == "instances" else attribute.capitalize()
    return f"{name} ({unit})" if unit else name


def profile_rows(evaluation: Evaluation) -> list[tuple[str, int, tuple[float, ...]]]:
    """Slice, detections in it, shares of right detections and of each kind of mistake; slices without any left out."""
    found = evaluation.diagnosis.false_positives
    return [(f"{g + 1}G", found.sizes[g], (found.right[g], *found.kinds[g])) for g in range(SLICES) if found.sizes[g]]


#: Columns of the profile's shares.
PROFILE = ("right", *KINDS)


def plain(value: float) -> float | None:
    """NaN as ``None``."""
    return None if np.isnan(value) else float(value)


def facts(evaluation: Evaluation) -> dict[str, str]:
    """What was judged and how, in the order shown."""
    result, settings = evaluation.result, evaluation.settings
    with_truth = int((result.n_truth > 0).sum())
    preset, subset = settings.name, evaluation.subset
    if "preset" in evaluation.by_default:
        preset += f" (default; {', '.join(name for name in PRESETS if name != settings.name)} with --preset)"
    if "subset" in evaluation.by_default and len(evaluation.subsets) > 1:
        subset += f" (of {', '.join(evaluation.subsets[:-1])} and {evaluation.subsets[-1]}; --subset)"
    return {
        "truth": evaluation.truth,
        "subset": subset,
        "instances": f"{int(result.n_truth.sum()):,} of {with_truth:,} classes in {result.n_videos:,} annotated videos",
        "detections": f"{int(result.n_detections.sum()):,} judged, of {evaluation.predictions}",
        "preset": preset,
        "matching": RULES_TOLD[settings.matching],
        "duplicates": f"{settings.duplicates} (near-duplicate instances of the truth)",
    }


#: Matching rules and their average precision in a line.
RULES_TOLD = {
    "activitynet": "activitynet: each detection, best score first, takes the free instance that it overlaps most; "
    "precision is interpolated",
    "thumos": "thumos: each instance in turn takes the free detection that overlaps it most, whatever its score; "
    "precision is not interpolated",
}


#: Numbers of detections per video whose recall is told.
_TOLD = (1, 5, 10, 50, 100)


def recall_pairs(recall: RecallResult) -> list[tuple[int, float]]:
    """Detections per video and the average recall with them, for the numbers that are told."""
    pairs = zip(recall.counts.tolist(), recall.average_recall.tolist(), strict=True)
    return [(count, value) for count, value in pairs if count in _TOLD]
