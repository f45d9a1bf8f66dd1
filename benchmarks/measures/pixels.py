"""Simulated campaigns on real pixels: joined UCF101 clips through the real commands, the embedded backbone's features.

The videos are made here, so that their boundaries are exact; nothing else is special: they are added, extracted and
proposed as anybody's are, and the experiment is the one that `kloc simulate` runs on an annotated workspace.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import ROOT, Context, Figure, load_average, measure
from benchmarks.joined import FPS, Cut, clip_frames, joined_video
from benchmarks.measures.simulation import FEW_LESSONS, STRATEGIES, arms
from benchmarks.simulations import curve_figures, full_figure, of, played
from kloc.experiments.arm import Pace
from kloc.experiments.curves import Curve, aligned, common_end, estimate
from kloc.experiments.lal_bootstrap import LalSettings
from kloc.experiments.runner import Experiment
from kloc.formats import activitynet
from kloc.pipeline import features, pool, proposals
from kloc.pipeline.annotated import open_annotated
from kloc.pipeline.telling import Silent
from kloc.records import Annotation, Dataset, Subset, Video
from kloc.seeds import generator
from kloc.workspace import Workspace

VIDEOS = ROOT.parent / "shared" / "data" / "videos"
ACTIONS = ("Archery", "BasketballDunk", "HorseRace", "PlayingPiano", "Surfing")
#: Kept for background only; near enough to PlayingPiano to be mistaken for it.
BACKGROUND = "PlayingViolin"
#: UCF101's groups are scenes: those of the pool and of Testing are different ones.
GROUPS: Mapping[Subset, tuple[int, ...]] = {"training": (1, 2, 3), "validation": (4, 5)}
#: More background: file, and until which second none of the actions (nor what it was annotated with) is seen.
ELSEWHERE: Mapping[Subset, tuple[tuple[str, float], ...]] = {
    "training": (
        ("misc/R6llTwEh07w.mp4", np.inf),
        ("misc/WUzgd7C1pWA.mp4", np.inf),
        ("misc/TrumanShow_wave_f_nm_np1_fr_med_26.avi", np.inf),
        ("activitynet/v_GGSY1Qvo990.mp4", 5.8),
    ),
    "validation": (
        ("misc/SOX5yA1l24A.mp4", np.inf),
        ("misc/flipping_a_pancake.mkv", np.inf),
        ("misc/RATRACE_wave_f_nm_np1_fr_goo_37.avi", np.inf),
        ("misc/SchoolRulesHowTheyHelpUs_wave_f_nm_np1_ba_med_0.avi", np.inf),
    ),
}
#: Shortest and longest cut of a clip, in seconds; a shorter clip is taken whole.
ACTION_S, BACKGROUND_S = (2.5, 8.0), (2.0, 6.0)


@dataclass(frozen=True)
class Take:
    """A piece of a clip. until: the second of the clip where it must end; place: where in the clip, in [0, 1)."""

    path: Path
    label: str | None
    seconds: float
    place: float
    until: float = np.inf


@dataclass(frozen=True)
class Plan:
    """One video to make: its pieces in order."""

    name: str
    subset: Subset
    takes: tuple[Take, ...]


def plans(videos: Path, per_class: Mapping[Subset, int], seed: int) -> list[Plan]:
    """What to join: 1 or 2 pieces of one action and 2 or 3 of background, in random order.

    per_class: videos of each action and subset. Scenes of training and validation are different ones.
    """
    made = []
    for subset, groups in GROUPS.items():
        around = [(path, np.inf) for path in _clips(videos, BACKGROUND, groups)]
        around += [(videos / name, until) for name, until in ELSEWHERE[subset]]
        for label in ACTIONS:
            there = [(path, np.inf) for path in _clips(videos, label, groups)]
            for index in range(per_class[subset]):
                rng = generator(seed, "joined", subset, label, index)
                takes = [
                    _take(sources, own, span, rng)
                    for sources, own, span, n in (
                        (there, label, ACTION_S, int(rng.integers(1, 3))),
                        (around, None, BACKGROUND_S, int(rng.integers(2, 4))),
                    )
                    for _ in range(n)
                ]
                order = rng.permutation(len(takes)).tolist()
                made.append(Plan(f"{label}_{subset}_{index:02d}", subset, tuple(takes[i] for i in order)))
    return made


def _clips(videos: Path, label: str, groups: Sequence[int]) -> list[Path]:
    return sorted(path for g in groups for path in (videos / "ucf101" / label).glob(f"*_g{g:02d}_*"))


def _take(
    sources: Sequence[tuple[Path, float]], label: str | None, span: tuple[float, float], rng: np.random.Generator
) -> Take:
    path, until = sources[int(rng.integers(len(sources)))]
    return Take(path, label, float(rng.uniform(*span)), float(rng.random()), until)


class Clips:
    """The frames of clips, each decoded once."""

    def __init__(self) -> None:
        self._known: dict[Path, NDArray[np.uint8]] = {}

    def cut(self, take: Take) -> Cut:
        """The frames of a piece."""
        if take.path not in self._known:
            self._known[take.path] = clip_frames(take.path)
        frames = self._known[take.path]
        if take.until < np.inf:
            frames = frames[: int(take.until * FPS)]
        n = min(len(frames), round(take.seconds * FPS))
        first = int(take.place * (len(frames) - n + 1))
        return Cut(frames[first : first + n], take.label)


def make_workspace(root: Path, made: Sequence[Plan], fps: float) -> Dataset:
    """Join the videos and bring them, with their truth, features and proposals, into a workspace at ``root``."""
    folder, clips = root.parent / f"{root.name}-videos", Clips()
    folder.mkdir(parents=True)
    videos: dict[str, Video] = {}
    truth: dict[str, Annotation] = {}
    for plan in made:
        cuts = [clips.cut(take) for take in plan.takes]
        videos[plan.name], truth[plan.name] = joined_video(cuts, folder / f"{plan.name}.mp4", plan.subset)
    dataset = Dataset(ACTIONS, videos, truth, "joined UCF101")
    activitynet.write(folder / "truth.json", dataset)
    pool.init(root, **{"general.name": dataset.name, "general.workers": 2, "features.fps": fps})
    workspace = Workspace.open(root)
    try:
        for summary in (
            pool.add(workspace, [str(folder), str(folder / "truth.json")], reporter=Silent()),
            features.extract(workspace, reporter=Silent()),
            proposals.propose(workspace, reporter=Silent()),
        ):
            if summary.problems:
                raise AssertionError(f"{summary.stage}: {summary.problems[0]}")
    finally:
        workspace.close()
    return dataset


@measure("pixels", "US, MCLE and LAL against random on real pixels: joined UCF101 clips, the embedded backbone")
def pixels(context: Context) -> list[Figure]:
    """The same figures as of simulated features; so few videos of five classes show whether it works, and little more.

    Figures only, no targets. A seed draws which two of the five classes are the Knowledge-Source and who is labelled
    first; the videos stay the same. So the intervals are of those draws: they say nothing of other videos.
    """
    if not VIDEOS.is_dir():
        context.say("  left out: the real videos are not here (shared/data beside the checkout)")
        return []
    full = context.full
    seeds, batch = (8, 4) if full else (2, 2)
    began = time.monotonic()
    made = plans(VIDEOS, {"training": 26, "validation": 9} if full else {"training": 4, "validation": 1}, context.seed)
    root = context.scratch / "workspace"
    dataset = make_workspace(root, made, fps=3.0 if full else 2.0)
    prepared = time.monotonic() - began
    instances = [i for annotation in dataset.annotations.values() for i in annotation.instances]
    seconds = [video.duration for video in dataset.videos.values()]
    context.say(f"  {len(made)} videos, {sum(seconds) / 60:.0f} minutes, {len(instances)} instances, {prepared:.0f} s")
    experiment = Experiment(
        arms(STRATEGIES, seeds, batch, first_seed=context.seed),
        Pace(1.0 if full else 0.6, 1),
        LalSettings() if full else FEW_LESSONS,
        knowledge_share=2 / len(ACTIONS),
    )
    outcome = played(context, open_annotated(root), experiment)
    taken = time.monotonic() - began
    chosen = [s for s in STRATEGIES if of(outcome.curves, s)]
    n_training = sum(plan.subset == "training" for plan in made) // len(ACTIONS)
    sizes = {
        "classes": {"knowledge": 2, "selection": 3},
        "knowledge": 2 * len(made) // len(ACTIONS),
        "pool": 3 * n_training,
        "testing": 3 * (len(made) // len(ACTIONS) - n_training),
        "instances": len(instances),
        "seconds_per_video": round(sum(seconds) / len(seconds), 1),
        "seconds_of_instances": round(sum(i.end - i.start for i in instances) / sum(seconds), 3),
        "prepared_s": round(prepared, 1),
        "taken_s": round(taken, 1),
        "load_1min": load_average(),
        "problems": outcome.problems,
    }
    figures = [
        Figure("joined videos", float(len(made)), detail=sizes),
        full_figure(outcome.curves, bounded=False),
        _learning(outcome.curves, chosen),
        *curve_figures(outcome.curves, chosen),
    ]
    correlations = {seed: gain.rank_correlation for seed, gain in outcome.gains.items()}
    learned = [value for value in correlations.values() if value is not None]
    if learned:
        found = estimate(learned)
        detail = {"interval_95": [found.low, found.high] if found.n > 1 else None, "per_seed": correlations}
        figures.append(
            Figure("LAL: rank correlation with the gain, held-out splits", round(found.mean, 4), detail=detail)
        )
    return figures


def _learning(curves: Sequence[Curve], strategies: Sequence[str]) -> Figure:
    """What share of the full mAP the first labels reach; beside it the mean curves."""
    low, high = max(float(c.x[0]) for c in curves), common_end(curves)
    grid = np.round(np.arange(low, high + 1e-9, 0.1), 4)
    means = {strategy: 100 * aligned(of(curves, strategy), grid).mean for strategy in strategies}
    detail = {
        strategy: {f"{ratio:.2f}": round(float(value), 1) for ratio, value in zip(grid, mean, strict=True)}
        for strategy, mean in means.items()
    }
    first = float(means[strategies[0]][0])
    return Figure("mAP with the first labels, of the full mAP", round(first, 1), "%", detail=detail)
