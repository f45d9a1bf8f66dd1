"""The process that ``select`` measures: ``python -m benchmarks.select_pool PREDICTIONS N {stored|shuffled} STRATEGY``.

Makes a pool of N items, chooses 64 of them and prints one line of JSON: seconds (best of three) and how far the
resident memory rose above what it was once the items existed.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import time
from pathlib import Path

import psutil

from kloc.localizers.predictions import PredictionReader
from kloc.records import Item
from kloc.selection import Context, make_policy, make_strategy, select

BATCH = 64


def video_id(index: int) -> str:
    """The id of a made-up video; sorted as numbered."""
    return f"video-{index:07d}"


def peak_bytes() -> int:
    """The highest resident memory since `forget_peak`, or since the start where the system cannot forget it."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def forget_peak() -> None:
    """Let Linux count the peak from now on."""
    refs = Path("/proc/self/clear_refs")
    if refs.exists():
        refs.write_text("5")


def main() -> None:
    folder, size, order, name = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    items = [Item(video_id(index), 0.0, 60.0) for index in range(size)]
    if order == "shuffled":
        random.Random(0).shuffle(items)
    context = Context(predictions=PredictionReader(folder))
    strategy, policy = make_strategy(name), make_policy("top")
    select(items[:100], strategy, policy, BATCH, context)  # imports and first pages

    baseline = psutil.Process().memory_info().rss
    forget_peak()
    times = []
    for _ in range(3):
        began = time.perf_counter()
        chosen = select(items, strategy, policy, BATCH, context)
        times.append(time.perf_counter() - began)
    rise = max(0, peak_bytes() - baseline)
    print(
        json.dumps({"seconds": min(times), "peak_above_items": rise, "baseline": baseline, "picked": len(chosen.picks)})
    )


if __name__ == "__main__":
    main()
