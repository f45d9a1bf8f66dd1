"""What `kloc benchmark` finds: full annotation against 10-second clips against shuffled labels, on three sets.

The demo's workspace (simulated answers on generated videos), joined UCF101 videos (exact truth on real pixels), and
ActivityNet's annotations with simulated features, whose instances are as long as in the paper's videos.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.harness import ROOT, Context, Figure, load_average, measure
from benchmarks.measures.pixels import VIDEOS, make_workspace, plans
from kloc.experiments.benchmark import GUESSING, PRESET, Cell, Exam, Examiner, Found, cells_of, classes_of, gains_of
from kloc.experiments.benchmark import rows_of as rows_of_cells
from kloc.experiments.source import simulated_set
from kloc.pipeline import benchmarking
from kloc.pipeline.telling import Silent
from kloc.report.benchmark import REGIMES, SHUFFLED, BenchmarkTable
from kloc.workspace import Workspace

ANNOTATIONS = ROOT.parent / "shared" / "data" / "annotations" / "activitynet-1.3.json"
#: What a workspace has by default; `open_annotated` sets have no settings.
LOCALIZER = {"stagewise": {"encoder": "context", "nms_tiou": 0.4}}


@measure("benchmark_table", "kloc benchmark: full annotation, 10-second clips and shuffled labels, on three sets")
def benchmark_table(context: Context) -> list[Figure]:
    """Avg of each regime, and by how much the first lies above the second, as they come out.

    The control has a target: the interval of what a model learns from annotations that belong to other videos must not
    lie above the best of 40 guesses that look at no video, on the same test videos. Half of them take the most usual
    times of the training instances, which such a model can learn too, half take random ones; classes are random. On few
    test videos guesses reach a lot, so a fixed bound would mean nothing.
    """
    figures = []
    for name, root in _workspaces(context):
        figures += _of_workspace(name, root)
    if ANNOTATIONS.exists():
        figures += _of_annotations(context)
    else:
        context.say("  left out: ActivityNet's annotations are not here (shared/data beside the checkout)")
    return figures


def _workspaces(context: Context) -> Iterator[tuple[str, Path]]:
    if not context.full:  # the tests run a workspace; making one takes too long here
        return
    folder = context.scratch / "demo"
    subprocess.run([sys.executable, "-m", "kloc", "demo", str(folder)], check=True, stdout=subprocess.DEVNULL)
    yield "demo, simulated answers", folder / "us"
    if not VIDEOS.is_dir():
        context.say("  left out: the real videos are not here (shared/data beside the checkout)")
        return
    made = plans(VIDEOS, {"training": 12, "validation": 6}, context.seed)
    make_workspace(context.scratch / "joined", made, fps=3.0)
    yield "joined UCF101", context.scratch / "joined"


def _of_workspace(name: str, root: Path) -> list[Figure]:
    workspace = Workspace.open(root)
    planned = benchmarking.plan(workspace, reporter=Silent()).data["seconds"]
    began = time.monotonic()
    table, _ = benchmarking.benchmark(workspace, reporter=Silent())
    taken = time.monotonic() - began
    workspace.close()
    plan = Figure(
        f"{name}: time over the plan's", round(taken / planned, 2),
        detail={"planned_s": round(planned, 1), "taken_s": round(taken, 1), "load_1min": load_average()},
    )  # fmt: skip
    return [*_figures(name, table), plan]


def _of_annotations(context: Context) -> list[Figure]:
    """20 of ActivityNet's classes; features are simulated (`kloc.experiments.simulated_features`), cells one by one."""
    n_classes, n_videos, n_seeds = (20, 400, 3) if context.full else (5, 60, 1)
    source = simulated_set(ANNOTATIONS, n_classes, n_videos)
    exam = Exam.of(source)
    examiner = Examiner(exam, LOCALIZER)
    found: dict[Cell, Found] = {}
    cells = cells_of(["stagewise"], range(n_seeds))
    for cell in cells:
        result = examiner.process(cell)
        assert isinstance(result, Found)
        found[cell] = result
    guessed = [found[cell].average for cell in cells if cell.model == GUESSING]
    rows = rows_of_cells(cells, found)
    table = BenchmarkTable(
        source.name, rows, PRESET.thresholds, tuple(range(n_seeds)), exam.subset, len(exam.training),
        len(exam.testing), len(classes_of(exam.truth.annotations.values())), "simulated", gains_of(rows),
        float(np.mean(guessed)), max(guessed),
    )  # fmt: skip
    return _figures("ActivityNet, simulated features", table)


def _figures(name: str, table: BenchmarkTable) -> list[Figure]:
    figures = []
    for model in table.models:
        for regime in REGIMES:
            row = table.row(model, regime)
            if row is None:
                continue
            detail = {
                "interval_95": None if row.low is None or row.high is None else _percent([row.low, row.high]),
                "per_seed": _percent(row.per_seed),
                "tiou": dict(zip(map(str, table.thresholds), _percent(row.mean), strict=True)),
                "videos": {"training": table.n_training, table.subset: table.n_testing},
                "classes": table.n_classes,
            }
            figures.append(Figure(f"{name}: {model}, {regime}, Avg", round(100 * row.average, 2), "%", detail=detail))
            if regime == SHUFFLED and table.chance is not None and table.chance_most is not None:
                above = (row.average if row.low is None else row.low) - table.chance_most
                guesses = {"guesses": _percent([table.chance, table.chance_most])}
                figures.append(
                    Figure(f"{name}: {model}, low end of {regime} above the best guess", round(100 * above, 2),
                           "points", at_most=0.0, detail=guesses)
                )  # fmt: skip
    for gain in table.gains:
        span = None if gain.low is None or gain.high is None else _percent([gain.low, gain.high])
        detail = {"interval_95": span, "paper": 13.1}
        figures.append(
            Figure(f"{name}: {gain.model}, full less clips, Avg", round(100 * gain.mean, 2), "points", detail=detail)
        )
    return figures


def _percent(values: list[float] | tuple[float, ...]) -> list[float]:
    return [round(100 * value, 2) for value in values]
