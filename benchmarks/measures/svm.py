"""The attention trainer against scikit-learn's LinearSVC, with the same three folds behind one sigmoid."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from benchmarks.harness import ROOT, Context, Figure, Ratio, load_average, measure, seconds
from benchmarks.svm_problem import LinearSvc, Ours, make_problem, objective, split_rows
from kloc.threads import one_thread

MIB = 2**20


@measure("svm", "training attention on 200,000 x 2048 rows with calibration, against LinearSVC and the same folds")
def svm(context: Context) -> list[Figure]:
    """Cold and warm (5 % more videos than the round before), the primal objective, and memory above the rows."""
    n_rows, dim, pairs = (200_000, 2048, 5) if context.full else (8_000, 256, 2)
    problem = make_problem(n_rows, dim, context.seed)
    ours, theirs = Ours(problem), LinearSvc(problem)
    cold: list[float] = []
    warm: list[float] = []
    baseline: list[float] = []
    load: list[float] = []
    with one_thread():
        before = Ours(split_rows(problem, 0.95))
        before.cold()
        for index in range(pairs):
            load.append(load_average())
            mine = [lambda: cold.append(seconds(ours.cold)), lambda: warm.append(seconds(lambda: ours.warm(before.w)))]
            if index % 2:
                baseline.append(seconds(theirs.fit))
            for run in mine:
                run()
            if not index % 2:
                baseline.append(seconds(theirs.fit))
            taken = f"cold {cold[-1]:.1f} s, warm {warm[-1]:.1f} s, LinearSVC {baseline[-1]:.1f} s"
            context.say(f"  pair {index + 1}/{pairs}: {taken}")
        ours.warm(before.w)
        value = {"warm": objective(problem, ours.w)}
        ours.cold()
        value |= {"cold": objective(problem, ours.w), "linear_svc": objective(problem, theirs.w)}
    worst = max(abs(value[k] / value["linear_svc"] - 1) for k in ("cold", "warm"))
    signed = {k: value[k] / value["linear_svc"] - 1 for k in ("cold", "warm")}
    sizes = {"rows": n_rows, "dim": dim, "positive": int(problem.positive.sum()), "threads": 1}
    runs = {kind: _in_its_own_process(n_rows, dim, context.seed, kind, context) for kind in ("memory", "file")}
    full = context.full
    return [
        Ratio(cold, baseline, load).figure("cold, times faster", at_least=4.0 if full else None, **sizes),
        Ratio(warm, baseline, load).figure("warm, times faster", at_least=6.0 if full else None, **sizes),
        Figure("primal objective, relative difference", float(f"{worst:.3g}"), at_most=1e-4, detail={"signed": signed}),
        Figure(
            "memory above the rows", round(runs["memory"]["above_rows"] / MIB, 1), "MiB",
            at_most=1e9 / MIB, detail={"rows_mib": round(4 * n_rows * dim / MIB, 1)},
        ),
        Figure(
            "rows streamed from a file: memory of its own", round(runs["file"]["own"] / MIB, 1), "MiB",
            at_most=1e9 / MIB, detail={"seconds": round(runs["file"]["seconds"], 2)},
        ),
        Figure(
            "same bits from memory and from the file", float(runs["memory"]["weights"] == runs["file"]["weights"]),
            at_least=1.0,
        ),
    ]  # fmt: skip


def _in_its_own_process(n_rows: int, dim: int, seed: int, kind: str, context: Context) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.svm_problem", str(n_rows), str(dim), str(seed), kind]
    done = subprocess.run([*command, str(context.scratch)], cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found
