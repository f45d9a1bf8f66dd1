"""The diagnosis of detections: its figures beside those of DETAD's own program, and what the whole command costs."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks import detad
from benchmarks.harness import ROOT, Context, Figure, best_of_three, measure, seconds
from benchmarks.measures.evaluation import made_truth, truths, write_found
from benchmarks.predictions import generated
from kloc.evaluation.detection import THRESHOLDS
from kloc.evaluation.diagnosis.characteristics import characteristics
from kloc.evaluation.diagnosis.diagnose import Diagnosis, diagnose
from kloc.evaluation.tables import detection_table, truth_table
from kloc.formats import activitynet
from kloc.formats.common import Extra
from kloc.formats.predictions import PredictionTable
from kloc.records import Dataset
from kloc.seeds import generator

#: `kloc evaluate`, saying at its end how much memory it held at most (Linux).
_RUN = """
import atexit, pathlib, runpy, sys
atexit.register(lambda: sys.stderr.write(pathlib.Path("/proc/self/status").read_text()))
sys.argv[:1] = ["kloc", "evaluate"]
runpy.run_module("kloc", run_name="__main__")
"""


@measure("diagnosis", "the diagnosis of detections beside DETAD's own program; the cost of kloc evaluate")
def diagnosis(context: Context) -> list[Figure]:
    """Differences from DETAD, and seconds and memory of the whole command; what is absent is left out, saying so."""
    figures = []
    theirs = detad.program()
    if theirs is None:
        context.say(f"  DETAD is left out: ${detad.FOLDER} names no clone of it (benchmarks/detad.py)")
    else:
        figures += _beside(context, theirs)
    for name, truth in truths(context).items():
        figures += _cost(context, name, truth, generated(truth, 100 if context.full else 30, context.seed))
    return figures


def _beside(context: Context, theirs: detad.Program) -> list[Figure]:
    """Every figure of both on the same truth and detections; their program takes seconds for each thousand."""
    truth = made_truth(60 if context.full else 30, 12, context.seed)
    found = _mislabelled(generated(truth, 60 if context.full else 20, context.seed), context.seed)
    table = truth_table(truth)
    paths = detad.write_files(context.scratch, characteristics(truth, table), found)
    got: list[Diagnosis] = []
    expected: list[dict[str, float]] = []

    def ours() -> None:
        got.append(diagnose(truth, table, detection_table(table, found)[0], THRESHOLDS, bins="detad"))

    took = seconds(ours), seconds(lambda: expected.append(detad.run(theirs, *paths, THRESHOLDS)))
    own = _named(got[0])
    if own.keys() != expected[0].keys():
        raise AssertionError(f"DETAD tells other figures: {sorted(own.keys() ^ expected[0].keys())}")
    apart = {name: abs(own[name] - value) for name, value in expected[0].items()}
    detail = {
        "figures": len(apart),
        "instances": len(table.label),
        "detections": len(found),
        "mAP_N": round(own["mAP_N"], 6),
        "ours_s": round(took[0], 3),
        "theirs_s": round(took[1], 3),
    }
    largest = float(f"{max(apart.values()):.3g}")
    return [Figure("largest difference of a figure from DETAD's program", largest, at_most=1e-9, detail=detail)]


def _mislabelled(found: PredictionTable, seed: int) -> PredictionTable:
    """One in seven detections gets any class: right places with wrong labels."""
    rng = generator(seed, "wrong labels")
    other = rng.integers(0, len(found.classes), len(found))
    return replace(found, label=np.where(rng.random(len(found)) < 1 / 7, other, found.label))


def _named(found: Diagnosis) -> dict[str, float]:
    """Our figures by the names of `detad.run`, for the bins that hold an instance."""
    profile = found.false_positives
    figures = {"mAP_N": found.normalised, "mAP_N of the best": profile.normalised}
    for n, kind in enumerate(detad.KINDS):
        figures[f"gain {kind}"] = profile.impacts[n].normalised
        figures |= {f"{kind} {g}": profile.kinds[g][n] for g in range(10)}
    figures |= {f"True Positive {g}": share for g, share in enumerate(profile.right)}
    names = ("coverage", "length", "num-instances")
    for name, row, missed in zip(names, found.sensitivity, found.false_negatives.by_bin, strict=True):
        for figure, share in zip(row.bins, missed, strict=True):
            if figure.instances:
                figures |= {f"missed {name} {figure.name}": share, f"mAP_N {name} {figure.name}": figure.normalised}
    return figures


def _cost(context: Context, name: str, truth: Dataset, found: PredictionTable) -> list[Figure]:
    """The whole command in a process of its own, from the files to the page and the pictures."""
    folder = context.scratch
    activitynet.write(folder / "truth.json", truth, Extra())
    write_found(folder / "found.json", found)
    out = ["--html", str(folder / "page.html"), "--plots", str(folder / "plots")]
    peaks = []

    def run() -> None:
        command = [sys.executable, "-c", _RUN, str(folder / "truth.json"), str(folder / "found.json"), *out]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        peaks.append(int(done.stderr.split("VmHWM:")[1].split()[0]) / 1024)

    what = f"kloc evaluate --html --plots, {name}, {len(found):,} predictions"
    time = best_of_three(
        what, run, at_most=60.0 if context.full else None, videos=len(truth.annotations), bytes=_size(folder)
    )
    return [time, Figure(f"{what}: memory", round(max(peaks)), "MiB")]


def _size(folder: Path) -> int:
    return sum((folder / name).stat().st_size for name in ("truth.json", "found.json"))
