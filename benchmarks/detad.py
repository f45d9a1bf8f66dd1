"""DETAD's own program, as its authors published it, to hold the diagnosis against.

``KLOC_DETAD`` names a clone of HumamAlwassel/DETAD outside the repository. Its names for numpy's types are given back
to it, and its jobs, one process for each class, run in this process instead.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from kloc.attributes import AttributeTable
from kloc.files import write_json
from kloc.formats.predictions import PredictionTable

FOLDER = "KLOC_DETAD"
KINDS = ("Double Detection Err", "Wrong Label Err", "Localization Err", "Confusion Err", "Background Err")
#: Its bins, as it passes them for ActivityNet's validation.
_BINS = {
    "coverage": (np.linspace(0, 1.0, 6), ["XS", "S", "M", "L", "XL"]),
    "length": (np.array([0, 30, 60, 120, 180, np.inf]), ["XS", "S", "M", "L", "XL"]),
    "num-instances": (np.array([-1, 1, 4, 8, np.inf]), ["XS", "S", "M", "L"]),
}


class Program(NamedTuple):
    """Its modules."""

    diagnosis: ModuleType
    false_positives: ModuleType
    false_negatives: ModuleType
    sensitivity: ModuleType


def program() -> Program | None:
    """The program, or ``None`` where it is not there."""
    folder = os.environ.get(FOLDER)
    if not folder or not (Path(folder) / "src" / "action_detector_diagnosis.py").is_file():
        return None
    sys.path.append(str(Path(folder) / "src"))  # behind everything else
    for name, kind in {"int": int, "float": float, "infty": np.inf}.items():
        if name not in vars(np):  # numpy has dropped these names
            setattr(np, name, kind)
    diagnosis = importlib.import_module("action_detector_diagnosis")
    vars(diagnosis)["Parallel"] = _Here
    parts = ("false_positive_analysis", "false_negative_analysis", "sensitivity_analysis")
    return Program(diagnosis, *map(importlib.import_module, parts))


class _Here:
    """joblib's ``Parallel``, in this process."""

    def __init__(self, **_: Any) -> None: ...

    def __call__(self, jobs: Iterable[Any]) -> list[Any]:
        return [function(*args, **more) for function, args, more in jobs]


def write_files(folder: Path, truth: AttributeTable, found: PredictionTable) -> tuple[Path, Path]:
    """Truth with its characteristics, and predictions, as the program reads them."""
    database: dict[str, Any] = {}
    columns = (truth.start, truth.end, truth.coverage, truth.length, truth.instances)
    rows = zip(truth.video, truth.label, *(column.tolist() for column in columns), strict=True)
    for video, label, start, end, coverage, length, instances in rows:
        known = {"coverage": coverage, "length": length, "num-instances": instances}
        entry = database.setdefault(video, {"subset": "validation", "annotations": []})
        entry["annotations"].append({"label": label, "segment": [start, end], **known})
    write_json(folder / "detad-truth.json", {"version": "", "taxonomy": [], "database": database})
    results = {
        video: [{"label": d.label, "score": d.score, "segment": [d.start, d.end]} for d in detections]
        for video, detections in found.detections().items()
    }
    write_json(folder / "detad-found.json", {"version": "", "results": results, "external_data": {}})
    return folder / "detad-truth.json", folder / "detad-found.json"


def run(theirs: Program, truth: Path, found: Path, thresholds: tuple[float, ...]) -> dict[str, float]:
    """All figures of its three analyses, by name; the settings are those of its scripts."""

    def evaluated(lowest: float, limit: int | None = None) -> Any:
        made = theirs.diagnosis.ActionDetectorDiagnosis(
            str(truth), str(found), tiou_thresholds=thresholds, limit_factor=limit, subset="validation",
            load_extra_annotations=True, characteristic_names_to_bins=_BINS, normalize_ap=True,
            minimum_normalized_precision_threshold_for_detection=lowest,
        )  # fmt: skip
        made.evaluate()
        return made

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        best, late, whole = evaluated(0.0, 10), evaluated(0.05), evaluated(0.0)
        best.diagnose()
        slices = theirs.false_positives.split_predictions_by_score_ranges(best, 10)[2]
        figures = {"mAP_N": whole.average_mAP, "mAP_N of the best": best.average_mAP}
        figures |= {f"gain {kind}": best.average_mAP_gain[kind] for kind in KINDS}
        figures |= {f"{kind} {g}": slices[g]["avg"][kind] for kind in ("True Positive", *KINDS) for g in range(10)}
        for name in _BINS:
            shares = theirs.false_negatives.fn_distribution_by_characteristic(late, name)["avg"]["unmatched"]
            figures |= {f"missed {name} {b}": share for b, share in shares.items()}
            values = theirs.sensitivity.compute_average_mAP_N_for_characteristic(whole, name)
            figures |= {f"mAP_N {name} {b}": value for b, value in values.items()}
    return {name: float(value) for name, value in figures.items()}
