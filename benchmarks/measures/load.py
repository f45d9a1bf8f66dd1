"""200 simulated workers at once: how long pages and submits take, and whether an answer is ever lost."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.campaigns import Endpoint, answer_in, free_port, hire, kloc, make_workspace, read_books
from benchmarks.harness import Context, Figure, load_average, measure
from benchmarks.load_generator import RANGE_BYTES, REQUESTS, STEPS, Plan
from kloc.pipeline import selecting
from kloc.pipeline.telling import Silent
from kloc.video.write import write_video
from kloc.workspace import Workspace

LIMIT_MS = 300.0
KINDS = ("page", "home", "accept", "task", "frame", "range", "draft", "submit")


@contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Processes that are started inside stay on one core."""
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def write_proxy(path: Path, seconds: int, seed: int) -> Path:
    """A video as `kloc publish-hits` makes it for workers: 360 pixels tall, a key frame every half second."""
    rng = np.random.default_rng(seed)
    texture = rng.integers(0, 256, (360, 1280, 3), np.uint8)
    frames = (
        np.ascontiguousarray(texture[:, 4 * (index % 160) : 4 * (index % 160) + 640]) for index in range(15 * seconds)
    )
    write_video(path, frames, 15, crf=38)
    return path


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Milliseconds under which half, 95 % and 99 % stay, and how many there are."""
    p50, p95, p99 = (round(1000 * float(x), 1) for x in np.percentile(seconds, [50, 95, 99]))
    return {"p50": p50, "p95": p95, "p99": p99, "count": len(seconds)}


def one_run(folder: Path, plan: Plan) -> dict[str, Any]:
    """What the load generator measured, with the machine's load before and after."""
    file = folder / f"plan-{plan.seed}.json"
    file.write_text(json.dumps(asdict(plan)))
    load = [load_average()]
    command = [sys.executable, "-m", "benchmarks.load_generator", str(file)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    run: dict[str, Any] = json.loads(done.stdout)
    requests = sum(len(times) for kind, times in run["seconds"].items() if kind != "page")
    run["summary"] = {
        **{kind: percentiles(run["seconds"][kind]) for kind in KINDS if run["seconds"].get(kind)},
        "requests_per_s": round(requests / run["measured_s"], 1),
        "generator's own lag": percentiles(run["lag"]),
        "load_1min": [*load, load_average()],
    }
    return run


def offered(plan: Plan) -> float:
    """Requests per second that the workers would make at an endpoint that takes no time."""
    return len(plan.tokens) * REQUESTS / (len(STEPS) * statistics.mean(plan.think))


@measure("load", "many workers at once in their loop of page, ranges, drafts and submit, the generator on one core")
def load(context: Context) -> list[Figure]:
    """200 workers for 2 minutes, three times, at full scale; 20 workers, ten times as hurried, for 15 s at small."""
    workers, hits, seconds, repeats = (200, 600, 120.0, 3) if context.full else (20, 60, 15.0, 1)
    think = (5.0, 10.0) if context.full else (0.5, 1.0)
    cores = sorted(os.sched_getaffinity(0))
    mine, others = (cores[0], cores[-1]) if len(cores) > 1 else (None, None)
    video = write_proxy(context.scratch / "proxy.mp4", 60 if context.full else 10, context.seed)
    port = free_port()
    root = context.scratch / "workspace"
    make_workspace(root, video, hits, f"http://127.0.0.1:{port}", **{"selection.batch": hits})
    workspace = Workspace.open(root)
    selecting.select(workspace, batch=None, reporter=Silent())
    tokens = list(hire(root, workers).values())
    endpoint = Endpoint(root, port)
    with pinned(others):
        endpoint.start()
    try:
        _, said = kloc(root, "publish-hits").communicate()
        runs = []
        for number in range(repeats):
            plan = Plan(endpoint.url, tokens, seconds, think, context.seed + number, mine)
            runs.append(one_run(context.scratch, plan))
            context.say(f"  run {number + 1}/{repeats}: {runs[-1]['summary']}")
    finally:
        endpoint.end(signal.SIGTERM)
    handed_in = read_books(workspace).handed_in
    workspace.close()
    acknowledged = {a: text for run in runs for a, text in run["acknowledged"].items()}
    lost = [a for a, text in acknowledged.items() if a not in handed_in or answer_in(handed_in[a]) != text]
    errors = [error for run in runs for error in run["errors"]]
    best = min(runs, key=lambda run: max(run["summary"]["page"]["p95"], run["summary"]["submit"]["p95"]))["summary"]
    detail = {
        "best": best,
        "all": [run["summary"] for run in runs],
        "offered_requests_per_s": round(offered(plan), 1),
        "cores": {"generator": mine, "endpoint": others},
        "think_s": think,
        "range_bytes": RANGE_BYTES,
        "video_bytes": video.stat().st_size,
    }
    return [
        Figure(
            "page (home, accept, shell and frame in a row), 95th percentile",
            best["page"]["p95"],
            "ms",
            at_most=LIMIT_MS,
            detail=detail,
        ),
        Figure("submit, 95th percentile", best["submit"]["p95"], "ms", at_most=LIMIT_MS),
        Figure("offered", round(offered(plan), 1), "requests/s"),
        Figure(
            "errors", len(errors), at_most=0, detail={"errors": errors[:10], "publish": said[-200:]} if errors else {}
        ),
        Figure("acknowledged answers", len(acknowledged), at_least=1),
        Figure("acknowledged answers lost or changed", len(lost), at_most=0),
        Figure("answers stored that nobody was told of", len(handed_in.keys() - acknowledged.keys()), at_most=0),
    ]
