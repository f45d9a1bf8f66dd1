"""Statistics of real annotation files against what is published of them, and their cost on a large file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.harness import ROOT, Context, Figure, best_of_three, measure
from kloc.pipeline.file_statistics import file_stats
from kloc.report.statistics import Statistics

ANNOTATIONS = ROOT.parent / "shared" / "data" / "annotations"
#: ActivityNet 1.3, training and validation, percent of instances from XS to XL.
COVERAGE, LENGTH = (41.4, 12.7, 9.6, 11.8, 24.5), (52.7, 17.0, 17.2, 9.4, 3.7)
WITHIN = 0.3
#: `kloc stats`, saying at its end how much memory it held at most (Linux).
_RUN = """
import atexit, pathlib, runpy, sys
atexit.register(lambda: sys.stderr.write(pathlib.Path("/proc/self/status").read_text()))
sys.argv[:1] = ["kloc", "stats"]
runpy.run_module("kloc", run_name="__main__")
"""


@measure("statistics", "bins of ActivityNet, THUMOS'14 and Kinetics-600 beside the published ones; a large file's cost")
def statistics(context: Context) -> list[Figure]:
    """Distances of bins in points, sums of the matrices, seconds and memory of `kloc stats` on a file."""
    figures: list[Figure] = []
    if ANNOTATIONS.is_dir():
        figures += _real(context)
    else:
        context.say("  real files left out: they are not here (shared/data beside the checkout)")
    n_videos = 20_000 if context.full else 500
    path = context.scratch / "made.json"
    _make(path, n_videos, context.seed)
    return [*figures, *_sound("made-up", file_stats(path)[0]), *_cost(path, n_videos)]


def _real(context: Context) -> list[Figure]:
    names = {"THUMOS'14": ("thumos14-test.json", None)}
    if context.full:
        names["ActivityNet 1.3"] = ("activitynet-1.3.json", None)
        names["Kinetics-600 validation"] = ("kinetics600-val-segments.txt", "kinetics600-classes.txt")
    figures: list[Figure] = []
    for title, (file, classes) in names.items():
        found, _ = file_stats(ANNOTATIONS / file, classes=ANNOTATIONS / classes if classes else None)
        bins = {h.attribute: [round(x, 2) for x in h.percent] for h in found.attributes}
        context.say(f"  {title}: {found.instances:,} instances, {bins}")
        detail = {
            "videos": found.videos,
            "annotated": found.annotated,
            "classes": found.classes,
            "videos of unknown duration": found.untimed,
            "percent": bins,
            "facts": {k: None if v is None else round(v, 2) for k, v in vars(found.facts).items()},
            "label problems": {p.kind: p.count for p in found.label_problems},
        }
        figures.append(Figure(f"{title}: instances", found.instances, "", detail=detail))
        if title.startswith("ActivityNet"):
            for attribute, published in (("coverage", COVERAGE), ("length", LENGTH)):
                away = float(np.abs(np.subtract(_percent(found, attribute), published)).max())
                told = {"published": list(published)}
                name = f"{title}: largest distance of a bin of {attribute}"
                figures.append(Figure(name, round(away, 3), "points", at_most=WITHIN, detail=told))
        figures += _sound(title, found)
    return figures


def _percent(found: Statistics, attribute: str) -> tuple[float, ...]:
    return next(h.percent for h in found.attributes if h.attribute == attribute)


def _sound(title: str, found: Statistics) -> list[Figure]:
    """Matrices sum to 100, and their margins are the histograms."""
    away = max(abs(float(np.sum(m.percent)) - 100) for m in found.pairwise)
    counts = {h.attribute: h.counts for h in found.attributes}
    wrong = sum(
        tuple(np.sum(m.counts, axis=axis).tolist()) != counts[name]
        for m in found.pairwise
        for axis, name in ((1, m.rows), (0, m.columns))
    )
    return [
        Figure(f"{title}: largest distance of a matrix's sum from 100", away, "points", at_most=1e-6),
        Figure(f"{title}: margins that are not the histogram", wrong, "", at_most=0),
    ]


def _make(path: Path, n_videos: int, seed: int) -> None:
    """A file of ``n_videos`` videos with five instances each on average, of 200 classes."""
    rng = np.random.default_rng(seed)
    database = {}
    for i in range(n_videos):
        duration = round(float(rng.uniform(10, 240)), 2)
        rows = []
        for _ in range(1 + int(rng.poisson(4))):
            start = float(rng.uniform(0, 0.9 * duration))
            end = start + float(rng.exponential(0.2) * duration)
            segment = [round(start, 3), round(min(end, duration), 3)]
            rows.append({"label": f"class {int(rng.integers(200)):03d}", "segment": segment})
        subset = ("training", "validation", "testing")[int(rng.integers(3))]
        database[f"video{i:06d}"] = {"duration": duration, "subset": subset, "annotations": rows}
    path.write_text(json.dumps({"version": "made", "taxonomy": [], "database": database}), encoding="utf-8")


def _cost(path: Path, n_videos: int) -> list[Figure]:
    """The whole command in a process of its own, from the file to the page."""
    arguments = [str(path), "--html", str(path.with_suffix(".html"))]
    peaks = []

    def run() -> None:
        done = subprocess.run(
            [sys.executable, "-c", _RUN, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        )
        peaks.append(int(done.stderr.split("VmHWM:")[1].split()[0]) / 1024)

    time = best_of_three(f"kloc stats --html on {n_videos:,} videos", run, bytes=path.stat().st_size)
    return [time, Figure(f"kloc stats --html on {n_videos:,} videos: memory", round(max(peaks)), "MiB")]
