"""How things are timed: interleaved pairs against a baseline, the best of three for absolutes, the load beside both.

A measure is a function of a :class:`Context` that returns :class:`Figure` objects, registered by name::

    @measure("nms", "1-D NMS of 20,000 segments against a plain loop")
    def nms(context: Context) -> list[Figure]:
        ratio = interleaved(context, ours=fast, baseline=slow)
        return [ratio.figure("faster than the loop", at_least=5.0)]
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Scale = Literal["small", "full"]
ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "pandas", "decord", "av", "SQLAlchemy")


@dataclass(frozen=True)
class Context:
    """What a measure may use: its scale, its seed, a folder for its files, a way to say how far it is."""

    scale: Scale
    seed: int
    scratch: Path
    say: Callable[[str], None] = print

    @property
    def full(self) -> bool:
        return self.scale == "full"


@dataclass(frozen=True)
class Figure:
    """One number with its unit and, where there is one, its target."""

    name: str
    value: float
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None
    #: Whatever a reader needs to judge the number: the pairs behind a median, sizes, settings.
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the target is met; ``None`` where there is none."""
        if self.at_least is None and self.at_most is None:
            return None
        enough = self.at_least is None or self.value >= self.at_least
        return enough and (self.at_most is None or self.value <= self.at_most)

    def to_json(self) -> dict[str, Any]:
        values = {k: v for k, v in asdict(self).items() if v not in (None, {}, "")}
        return values if self.met is None else {**values, "met": self.met}

    def __str__(self) -> str:
        target = f" (target >= {self.at_least:g})" if self.at_least is not None else ""
        target += f" (target <= {self.at_most:g})" if self.at_most is not None else ""
        verdict = {None: "", True: "  met", False: "  NOT MET"}[self.met]
        return f"{self.name}: {self.value:.4g} {self.unit}".rstrip() + target + verdict


MeasureFunction = Callable[[Context], list[Figure]]
_REGISTRY: dict[str, tuple[str, MeasureFunction]] = {}


def measure(name: str, what: str) -> Callable[[MeasureFunction], MeasureFunction]:
    """Register a measure under ``name``; ``what`` is the line that ``--list`` shows."""

    def remember(function: MeasureFunction) -> MeasureFunction:
        if name in _REGISTRY:
            raise ValueError(f"two measures are named {name!r}")
        _REGISTRY[name] = (what, function)
        return function

    return remember


def registered() -> dict[str, tuple[str, MeasureFunction]]:
    """All measures by name."""
    return dict(sorted(_REGISTRY.items()))


# -- timing -----------------------------------------------------------------------------------------------


def seconds(function: Callable[[], Any]) -> float:
    """Wall seconds of one call."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


@dataclass(frozen=True)
class Ratio:
    """Interleaved pairs of seconds: how many times faster ours is, with the range over the pairs."""

    ours: list[float]
    baseline: list[float]
    load: list[float]

    @property
    def ratios(self) -> list[float]:
        return [b / o for o, b in zip(self.ours, self.baseline, strict=True)]

    @property
    def median(self) -> float:
        return statistics.median(self.ratios)

    def figure(self, name: str, *, at_least: float | None = None, **detail: Any) -> Figure:
        """The median as a figure; the pairs, the range and the load in its detail."""
        spread = {
            "range": [round(min(self.ratios), 4), round(max(self.ratios), 4)],
            "ours_s": [round(x, 4) for x in self.ours],
            "baseline_s": [round(x, 4) for x in self.baseline],
            "load_1min": self.load,
        }
        return Figure(name, round(self.median, 4), "x", at_least=at_least, detail=spread | detail)


def interleaved(
    context: Context, *, ours: Callable[[], Any], baseline: Callable[[], Any], pairs: int = 5, warm_up: bool = True
) -> Ratio:
    """Time both sides in turn, ``pairs`` times, the order swapped every time: load that comes and goes hits both."""
    if warm_up:
        ours()
        baseline()
    mine: list[float] = []
    theirs: list[float] = []
    load: list[float] = []
    for index in range(pairs):
        load.append(load_average())
        if index % 2 == 0:
            mine.append(seconds(ours))
            theirs.append(seconds(baseline))
        else:
            theirs.append(seconds(baseline))
            mine.append(seconds(ours))
        context.say(f"  pair {index + 1}/{pairs}: {mine[-1]:.3f} s against {theirs[-1]:.3f} s")
    return Ratio(mine, theirs, load)


def best_of_three(name: str, function: Callable[[], Any], *, at_most: float | None = None, **detail: Any) -> Figure:
    """An absolute time: the best of three calls, with all three and the load in the detail."""
    load = load_average()
    times = [seconds(function) for _ in range(3)]
    spread = {"all_s": [round(x, 4) for x in times], "load_1min": load}
    return Figure(name, round(min(times), 4), "s", at_most=at_most, detail=spread | detail)


# -- where it was measured --------------------------------------------------------------------------------


def load_average() -> float:
    """The system's load over the last minute (0 where it does not say)."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else 0.0


def machine() -> dict[str, Any]:
    """Processor, cores, load and versions: what a number means nothing without."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "load_average": [round(x, 2) for x in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
    }


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def commit() -> str:
    """The commit that was measured, with ``+changes`` where tracked files differ from it."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    head = git("rev-parse", "--short=12", "HEAD")
    if not head:
        return "unknown"
    return head + (
        "+changes" if git("status", "--porcelain", "--untracked-files=no", "--", "kloc", "benchmarks") else ""
    )
