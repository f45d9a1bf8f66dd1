"""Exports opened by other people's tools, each in an environment of its own where one is named."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import ROOT
from benchmarks.openers import OPENERS, look
from kloc.formats.common import Extra, Media
from kloc.formats.registry import named
from kloc.records import Annotation, Dataset, Instance, Video
from kloc.seeds import generator

#: Of a video in an export; no boundary of ours lies on a frame of it but by chance.
FPS = 30000 / 1001
#: Half of what the tool counts in, milliseconds: nobody's boundary may be off by more.
HALF_A_STEP = {
    "datasets": 0.001,
    "via": 0.001,
    "pympi-ling": 0.501,
    "webvtt-py": 0.501,
    "fiftyone": 501 / FPS,
    "datumaro": 501 / FPS,
    "label-studio-sdk": 501 / FPS,
}
_SECONDS = 300


class AbsentError(Exception):
    """The tool is not installed where it was looked for."""


@dataclass(frozen=True)
class Opened:
    """What a tool saw: its version, how many videos and instances, and the largest error of a boundary, ms.

    wrong: videos that it sees with other instances than they have, or that do not exist.
    """

    version: str
    videos: int
    instances: int
    error_ms: float
    wrong: tuple[str, ...]


def make_dataset(n_videos: int, seed: int) -> Dataset:
    """Videos of 10 classes with overlapping instances, times in microseconds, some without, some not annotated."""
    rng = generator(seed, "interchange")
    classes = tuple(f"class {n} & <more>" for n in range(10))
    videos: dict[str, Video] = {}
    annotations: dict[str, Annotation] = {}
    for n in range(n_videos):
        end = round(float(rng.uniform(20, 200)), 6)
        starts = np.round(rng.uniform(0, end - 6, int(rng.integers(0, 12))), 6)
        lengths = np.round(rng.uniform(0.1, 6, len(starts)), 6)
        labels = rng.integers(0, len(classes), len(starts))
        sure = np.round(rng.uniform(0.5, 1, len(starts)), 6)
        found = sorted(
            Instance(float(s), round(float(s + d), 6), classes[c], float(p))
            for s, d, c, p in zip(starts, lengths, labels, sure, strict=True)
        )
        subset = ("training", "training", "validation", "testing")[n % 4]
        names = tuple(sorted({i.label for i in found}))
        video = Video(f"video_{n:04}", 0.0, end, labels=names, subset=subset)  # type: ignore[arg-type]
        videos[video.id] = video
        if n % 10:
            annotations[video.id] = Annotation(video.item, tuple(found))
    return Dataset(classes, videos, annotations, "interchange", "simulated workers")


def export(dataset: Dataset, tool: str, folder: Path) -> Path:
    """Write the dataset in the format that the tool is for."""
    format = named(OPENERS[tool][2])
    path = folder / format.file
    media = {v: Media(f"videos/{v}.mp4", FPS, None, 320, 240) for v in dataset.videos}
    format.module.write(path, dataset, Extra(media=media))
    return path


def variable(tool: str) -> str:
    """The environment variable that names the Python a tool is installed in."""
    return f"KLOC_PYTHON_{tool.upper().replace('-', '_')}"


def open_with(tool: str, path: Path) -> tuple[str, dict[str, Any]]:
    """The tool's version and what it sees in the export. Raises AbsentError, RuntimeError where it fails elsewhere."""
    elsewhere = os.environ.get(variable(tool))
    answer = look(tool, path, FPS) if elsewhere is None else _look_elsewhere(elsewhere, tool, path)
    if "absent" in answer:
        raise AbsentError(f"{answer['absent']} (${variable(tool)} may name a Python that has it)")
    return answer["version"], answer["videos"]


def _look_elsewhere(python: str, tool: str, path: Path) -> dict[str, Any]:
    command = [python, str(ROOT / "benchmarks" / "openers.py"), tool, str(path), repr(FPS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(f"{tool} cannot open {path.name}: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    return dict(json.loads(done.stdout))


def compare(dataset: Dataset, version: str, seen: Mapping[str, Any], tolerance_ms: float) -> Opened:
    """What the tool saw beside the truth; instances pair by class in the order of their times."""
    wrong = [f"video {v} is not there" for v in seen if v not in dataset.videos]
    worst, count = 0.0, 0
    for video_id in dataset.videos:
        known = dataset.annotations.get(video_id)
        true = sorted((i.label, i.start, i.end) for i in (known.instances if known else ()))
        found = sorted((label, start, end) for label, start, end in seen.get(video_id, ()))
        count += len(found)
        if [t[0] for t in true] != [f[0] for f in found]:
            wrong.append(f"video {video_id}: other instances")
            continue
        errors = _errors(true, found, tolerance_ms / 1000)
        worst = max([worst, *errors])
    return Opened(version, len(seen), count, worst * 1000, tuple(wrong))


def _errors(
    true: list[tuple[str, float, float]], found: list[tuple[str, float, float]], tolerance: float
) -> list[float]:
    """The error of each boundary; where two of a class begin within one step the tool may tell them in either order."""
    errors: list[float] = []
    left = list(found)
    for label, start, end in true:
        near = [f for f in left if f[0] == label and abs(f[1] - start) <= 2 * tolerance] or left
        best = min(near, key=lambda f: (f[0] != label, max(abs(f[1] - start), abs(f[2] - end))))
        left.remove(best)
        errors += [abs(best[1] - start), abs(best[2] - end)]
    return errors
