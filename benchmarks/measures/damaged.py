"""What damaged files do to the commands that read other people's files: real processes, known faults, all counted."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.damaged import (
    ANNOTATION_FAULTS,
    HOPELESS,
    PREDICTION_FAULTS,
    Fault,
    annotations,
    as_bytes,
    damaged,
    predictions,
    torn,
)
from benchmarks.harness import Context, Figure, measure

#: A counted problem as it is told: "3 x reversed segment, dropped (video 1, ...)".
_COUNTED = re.compile(r"([\d,]+) x (.+)", re.DOTALL)
_PATIENCE_S = 300.0
_ALL = ("--subset", "all", "--json")


@dataclass
class Harvest:
    """What came of it; all lists should stay empty."""

    commands: Counter[str] = field(default_factory=Counter)
    tracebacks: list[str] = field(default_factory=list)
    unclear: list[str] = field(default_factory=list)
    uncounted: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Told:
    """One command's end: its exit code, its JSON (or nothing), the lines of its error output."""

    code: int
    data: dict[str, Any]
    errors: list[str]

    def counted(self, *words: str) -> int:
        """Cases told of problems that have one of these words in them."""
        found = [_COUNTED.search(line) for line in self.data.get("problems", [])]
        told = [(int(m[1].replace(",", "")), m[2]) for m in found if m is not None]
        told += [(row["count"], row["kind"]) for row in self.data.get("label_problems", [])]
        return sum(count for count, what in told if any(word in what for word in words))


def _run(harvest: Harvest, what: str, folder: Path, arguments: Sequence[str], name: str) -> Told:
    """A command as a user runs it. Looks for tracebacks, and for one line that names the file where it gives up."""
    done = subprocess.run(
        [sys.executable, "-m", "kloc", *arguments],
        cwd=folder,
        capture_output=True,
        timeout=_PATIENCE_S,
        check=False,
        text=True,
        errors="replace",
    )
    harvest.commands[arguments[0]] += 1
    errors = [line for line in done.stderr.splitlines() if line.strip()]
    label = f"{arguments[0]}, {what}"
    if "Traceback" in done.stderr or done.returncode not in (0, 1, 2):
        harvest.tracebacks.append(f"{label}: exit {done.returncode}: {errors[-1:]}")
    told: dict[str, Any] = {}
    if done.stdout.strip().startswith("{"):
        told = json.loads(done.stdout)
    if not told and (done.returncode == 0 or len(errors) != 1 or name not in errors[0]):
        harvest.unclear.append(f"{label}: exit {done.returncode}: {errors}")
    return Told(done.returncode, told, errors)


def _told_of_all(harvest: Harvest, what: str, told: Told, faults: Sequence[Fault], counts: dict[str, int]) -> None:
    """Every fault that was put in is told of."""
    for fault in [fault for fault in faults if fault.said]:
        put_in = sum(counts[other.name] for other in faults if other.said == fault.said)
        if told.counted(*fault.said) < put_in:
            harvest.uncounted.append(f"{what}: {fault.said} told {told.counted(*fault.said)} times of {put_in}")


def _kept_the_rest(
    harvest: Harvest, what: str, kept: int | None, n_rows: int, faults: Sequence[Fault], counts: dict[str, int]
) -> None:
    """Every row that is right is used."""
    right = n_rows - sum(counts[fault.name] for fault in faults if fault.lost)
    if kept != right:
        harvest.lost.append(f"{what}: {kept} rows used of {right} that are right")


@measure("damaged", "what damaged annotation and prediction files do to the commands that read them")
def run(context: Context) -> list[Figure]:
    """Faults row by row, whole files torn, hopeless files, and a large one."""
    rng = np.random.default_rng(context.seed)
    folder = context.scratch
    harvest = Harvest()
    each = 5 if context.full else 2
    n_videos, n_rows = 60 if context.full else 20, 8
    truth = annotations(rng, n_videos, n_rows)
    found = predictions(rng, truth)
    (folder / "truth.json").write_bytes(as_bytes(truth))
    (folder / "found.json").write_bytes(as_bytes(found))
    instances = n_videos * n_rows

    context.say("rows")
    one_by_one = [(fault,) for fault in ANNOTATION_FAULTS] if context.full else []
    for faults in (ANNOTATION_FAULTS, *one_by_one):
        what = "all faults" if len(faults) > 1 else faults[0].name
        content, counts = damaged(truth, tuple(faults), each, rng)
        (folder / "bad.json").write_bytes(as_bytes(content))
        told = _run(harvest, what, folder, ["stats", "bad.json", "--json"], "bad.json")
        _told_of_all(harvest, f"stats, {what}", told, faults, counts)
        _kept_the_rest(harvest, f"stats, {what}", told.data.get("instances"), instances, faults, counts)
        told = _run(harvest, what, folder, ["evaluate", "bad.json", "found.json", *_ALL], "bad.json")
        _told_of_all(harvest, f"evaluate, {what}", told, faults, counts)
    one_by_one = [(fault,) for fault in PREDICTION_FAULTS] if context.full else []
    for faults in (PREDICTION_FAULTS, *one_by_one):
        what = "all faults of predictions" if len(faults) > 1 else f"predictions: {faults[0].name}"
        content, counts = damaged(found, tuple(faults), each, rng)
        (folder / "bad.json").write_bytes(as_bytes(content))
        told = _run(harvest, what, folder, ["evaluate", "truth.json", "bad.json", *_ALL], "bad.json")
        judged = sum(row["detections"] for row in _classes(told.data))
        _kept_the_rest(harvest, f"evaluate, {what}", judged, instances, faults, counts)
        lost = sum(counts[fault.name] for fault in faults if fault.lost)
        if len(found["results"]) and told.data and _left_out(told) < lost:
            harvest.uncounted.append(f"evaluate, {what}: {_left_out(told)} told, {lost} put in")

    context.say("whole files")
    broken = list(HOPELESS.items())
    for _ in range(2 if context.full else 1):
        broken += torn(as_bytes(truth), rng)
    for what, data in broken if context.full else broken[::9]:
        (folder / "bad.json").write_bytes(data)
        for arguments in (
            ["stats", "bad.json", "--json"],
            ["evaluate", "bad.json", "found.json", *_ALL],
            ["evaluate", "truth.json", "bad.json", *_ALL],
            ["export", "--source", "bad.json", "--format", "csv", "--out", "exported", "--json"],
            ["diff", "truth.json", "bad.json", "--json"],
        ):
            _run(harvest, what, folder, arguments, "bad.json")

    large = _large(context, harvest, rng)
    detail = {"commands": dict(harvest.commands), "faults of a row": len(ANNOTATION_FAULTS) + len(PREDICTION_FAULTS)}
    return [
        Figure("commands run on damaged files", float(harvest.commands.total()), "", detail=detail),
        Figure("tracebacks", float(len(harvest.tracebacks)), "", at_most=0, detail={"which": harvest.tracebacks}),
        Figure(
            "ends that are not one line naming the file",
            float(len(harvest.unclear)),
            "",
            at_most=0,
            detail={"which": harvest.unclear},
        ),
        Figure("faults not counted", float(len(harvest.uncounted)), "", at_most=0, detail={"which": harvest.uncounted}),
        Figure("right rows not used", float(len(harvest.lost)), "", at_most=0, detail={"which": harvest.lost}),
        *large,
    ]


def _classes(data: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of the classes in what ``kloc evaluate --json`` prints."""
    return list(data.get("detection", data).get("classes", {}).values())


def _left_out(told: Told) -> int:
    """Detections that ``kloc evaluate`` says it left out."""
    numbers = [
        re.match(r"(?:\S+: )?([\d,]+) ", line) for line in told.data["problems"] if "annotated video" not in line
    ]
    return sum(int(m[1].replace(",", "")) for m in numbers if m is not None)


def _large(context: Context, harvest: Harvest, rng: np.random.Generator) -> list[Figure]:
    """A file of 100 MB with every fault in it: told like a small one, in bounded time and memory."""
    context.say("a large file")
    megabytes = 100 if context.full else 4
    n_videos = int(megabytes * 1e6 / 1_150)
    content, counts = damaged(annotations(rng, n_videos, 16), ANNOTATION_FAULTS, 100, rng)
    path = context.scratch / "large.json"
    path.write_bytes(as_bytes(content))
    began = time.perf_counter()
    told = _run(harvest, "a large file", context.scratch, ["stats", "large.json", "--json"], "large.json")
    took = time.perf_counter() - began
    _told_of_all(harvest, "a large file", told, ANNOTATION_FAULTS, counts)
    used = told.data.get("instances")
    _kept_the_rest(harvest, "a large file", used, n_videos * 16, ANNOTATION_FAULTS, counts)
    size = {"MB": round(path.stat().st_size / 1e6, 1), "instances": n_videos * 16}
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    return [
        Figure("kloc stats of a large file with faults", round(took, 1), "s", detail=size),
        Figure("its peak memory", round(peak, 2), "GiB", detail=size),
    ]
