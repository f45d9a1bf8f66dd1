"""What the measures of simulated campaigns share: the sets they run on, running, and figures of the curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import ROOT, Context, Figure
from kloc.experiments.curves import Curve, aulc, common_end, estimate, paired_difference, ratio_to
from kloc.experiments.lab import Lab
from kloc.experiments.runner import Experiment, Outcome, run
from kloc.experiments.simulated_features import SimulatedFeatures
from kloc.experiments.source import AnnotatedSet, SimulatedSet, simulated_set
from kloc.localizers.stagewise import StageWiseSettings
from kloc.records import Annotation, Dataset, Instance, Video
from kloc.seeds import generator

ANNOTATIONS = ROOT.parent / "shared" / "data" / "annotations" / "activitynet-1.3.json"
#: As `kloc simulate` learns by default.
SETTINGS = StageWiseSettings(encoder="context", hard_negative_rounds=0)


def activitynet(n_classes: int = 0, n_videos: int = 0, cap: int = 100) -> AnnotatedSet | None:
    """Simulated features of ActivityNet's real annotations, or of a part of them; ``None`` where they are absent."""
    if not ANNOTATIONS.exists():
        return None
    return simulated_set(ANNOTATIONS, n_classes, n_videos, cap)


def invented(n_classes: int = 8, n_videos: int = 160, seed: int = 0) -> SimulatedSet:
    """Invented annotations with simulated features, for small runs that need no file."""
    classes = tuple(f"class {i:02d}" for i in range(n_classes))
    videos, annotations = {}, {}
    for number in range(n_videos):
        rng = generator(seed, "invented", number)
        name, label = f"v{number:04d}", classes[number % n_classes]
        duration = float(rng.uniform(30, 120))
        start = float(rng.uniform(0, 0.5 * duration))
        end = start + float(rng.uniform(0.2, 0.5)) * duration
        video = Video(name, 0.0, duration, labels=(label,), subset="validation" if number % 3 == 2 else "training")
        videos[name], annotations[name] = video, Annotation(video.item, (Instance(start, end, label),))
    return SimulatedSet(Dataset(classes, videos, annotations, "invented"), SimulatedFeatures(classes), 40)


def played(context: Context, source: AnnotatedSet, experiment: Experiment, out: Path | None = None) -> Outcome:
    """Run an experiment on two workers, telling what begins."""
    out = out or context.scratch / "simulation"
    lab = Lab.prepare(out, source, SETTINGS)

    def stage(what: str, total: int) -> Any:
        context.say(f"  {what}: {total}")
        return lambda: None

    outcome = run(experiment, source, lab, out, workers=2, stage=stage)
    for problem in outcome.problems[:5]:
        context.say(f"  ! {problem}")
    return outcome


def finished(outcome: Outcome, experiment: Experiment) -> tuple[list[Curve], Figure]:
    """The curves of arms that got to their end, and how many did not: one that failed must not shorten all others'."""
    ends = [c for c in outcome.curves if c.x[-1] >= experiment.pace.until - 1e-9]
    missing = len(experiment.arms) - len(ends)
    return ends, Figure("arms that did not get to their end", float(missing), at_most=0.0)


def of(curves: Sequence[Curve], strategy: str, batch: int | None = None, noise: float | None = None) -> list[Curve]:
    """The curves of one strategy (and batch, and noise), one per seed."""
    return [
        c
        for c in curves
        if c.arm.strategy == strategy and c.arm.batch in (batch or c.arm.batch,) and noise in (None, c.arm.noise)
    ]


def curve_figures(curves: Sequence[Curve], strategies: Sequence[str]) -> list[Figure]:
    """AULC and ratio to 80 % of each strategy, and its difference to random with a 95 % interval."""
    end = common_end(curves)
    figures = []
    for strategy in (s for s in strategies if of(curves, s)):
        mine = of(curves, strategy)
        areas = estimate([aulc(c, end) for c in mine])
        reached = [ratio_to(c) for c in mine]
        # A seed that never gets there counts with where it ended: the mean is then a lower bound, and says so.
        shown = [100 * (end if r is None else r) for r in reached]
        detail: dict[str, Any] = {
            "until_ratio": round(end, 4),
            "interval": [areas.low, areas.high] if areas.n > 1 else None,
            "seeds": areas.n,
            "normalised": round(estimate([aulc(c, end, normalised=True) for c in mine]).mean, 4),
        }
        figures.append(Figure(f"{strategy}: AULC", round(areas.mean, 4), detail=detail))
        note = {"per_seed": [None if r is None else round(100 * r, 1) for r in reached]}
        unit = "% or more" if None in reached else "%"
        mean = round(sum(shown) / len(shown), 1)
        figures.append(Figure(f"{strategy}: labels to 80 % of the full mAP", mean, unit, detail=note))
    for strategy in strategies:
        if strategy == "random" or not of(curves, "random") or not of(curves, strategy):
            continue
        gap = paired_difference(of(curves, strategy), of(curves, "random"), end)
        detail = {
            "interval_95": [gap.low, gap.high] if gap.n > 1 else None,
            "bootstrap_95": [gap.boot_low, gap.boot_high] if gap.n > 1 else None,
            "seeds": gap.n,
            "verdict": gap.verdict if gap.n > 1 else "one seed says nothing",
        }
        figures.append(Figure(f"{strategy} - random: AULC", round(gap.mean, 5), detail=detail))
    return figures


def full_figure(curves: Sequence[Curve], *, bounded: bool) -> Figure:
    """mAP with all labels, in percent: the issue wants 15 to 35 of simulated features."""
    values = {c.arm.seed: round(100 * c.full, 2) for c in curves}
    mean = sum(values.values()) / len(values)
    bounds: dict[str, float] = {"at_least": 15.0, "at_most": 35.0} if bounded else {}
    return Figure("average mAP with all labels", round(mean, 2), "%", **bounds, detail={"per_seed": values})
