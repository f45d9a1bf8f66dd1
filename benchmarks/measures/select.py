"""How choosing a batch grows with the pool, in time and in memory."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np

from benchmarks.harness import ROOT, Context, Figure, load_average, measure, seconds
from benchmarks.select_pool import video_id
from kloc.localizers.predictions import PredictionWriter
from kloc.records import Prediction

PROPOSALS = 20
MIB = 2**20


@measure("select", "choosing 64 of 10^3 to 10^6 videos with 20 proposals each: time and memory against the pool's size")
def select(context: Context) -> list[Figure]:
    """Linear in time (slope near 1 in log-log), flat in memory but for a few numbers per item."""
    sizes = [10**3, 10**4, 10**5, 10**6] if context.full else [10**3, 10**4]
    folder = context.scratch / "predictions"
    writing = seconds(lambda: _write(folder, sizes[-1], context.seed))
    context.say(f"  {sizes[-1]:,} predictions written in {writing:.1f} s")
    figures = [Figure("writing one prediction", round(1e6 * writing / sizes[-1], 1), "us")]
    for strategy, order in (("us", "stored"), ("us", "shuffled"), ("random", "stored")):
        runs = [_run(folder, size, order, strategy) for size in sizes]
        for size, run in zip(sizes, runs, strict=True):
            rise = run["peak_above_items"] / MIB
            context.say(f"  {strategy} {order} {size:>9,}: {run['seconds']:.3f} s, +{rise:.1f} MiB")
        name = f"{strategy}, pool {'in the order of the predictions' if order == 'stored' else 'shuffled'}"
        detail: dict[str, Any] = {
            "sizes": sizes,
            "seconds": [round(run["seconds"], 4) for run in runs],
            "mib_above_items": [round(run["peak_above_items"] / MIB, 1) for run in runs],
            "load_1min": load_average(),
        }
        # Below 10,000 videos fixed costs rule.
        big = [i for i, size in enumerate(sizes) if size >= 10**4] if context.full else range(len(sizes))
        slope = np.polyfit(np.log([sizes[i] for i in big]), np.log([runs[i]["seconds"] for i in big]), 1)[0]
        figures += [
            Figure(
                f"{name}: growth of time",
                round(float(slope), 3),
                "log-log slope",
                at_most=1.15 if context.full else None,
                detail=detail,
            ),
            Figure(f"{name}: time, largest pool", round(runs[-1]["seconds"], 3), "s"),
            Figure(
                f"{name}: memory above the items, largest pool",
                round(runs[-1]["peak_above_items"] / MIB, 1),
                "MiB",
                at_most=128.0,
            ),
        ]
    return figures


def _write(folder: Any, size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    with PredictionWriter(folder, ("a",), "softmax") as writer:
        for low in range(0, size, 10_000):
            actionness = rng.beta(0.5, 1.5, (min(10_000, size - low), PROPOSALS)).astype(np.float32)
            start = np.sort(rng.uniform(0, 50, actionness.shape), axis=1)
            segments = np.stack([start, start + 5.0], axis=2)
            for j in range(len(actionness)):
                writer.write(Prediction(video_id(low + j), segments[j], actionness[j], (), "softmax", ("a",)))


def _run(folder: Any, size: int, order: str, strategy: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.select_pool", str(folder), str(size), order, strategy],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result
