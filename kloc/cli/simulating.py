"""simulate: would a selection strategy have saved labels?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from kloc.cli.console import Bars, JsonOption, show
from kloc.cli.knowledge import feature_folder
from kloc.errors import UsageError

_SET, _TRIED, _LESSONS = "The annotated set", "What is tried", "How lal learns (see kloc lal bootstrap)"


def simulate(
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="[SOURCE]",
            help="An annotated set: a workspace or ActivityNet JSON; default: the workspace around this folder.",
        ),
    ] = None,
    features: Annotated[
        str,
        typer.Option(
            rich_help_panel=_SET,
            metavar="DIR|simulated",
            help="For a JSON: folder with one ID.npy [T, D] per video, or 'simulated'.",
        ),
    ] = "",
    fps: Annotated[
        float | None, typer.Option(rich_help_panel=_SET, help="Frames per second the features were computed at.")
    ] = None,
    stride: Annotated[
        float | None, typer.Option(rich_help_panel=_SET, help="Frames between one feature and the next.")
    ] = None,
    offset: Annotated[
        float | None, typer.Option(rich_help_panel=_SET, help="Frame at the centre of the first feature.")
    ] = None,
    cap: Annotated[
        int, typer.Option(rich_help_panel=_SET, min=1, help="For a JSON: sliding windows per video at most.")
    ] = 100,
    classes: Annotated[
        int, typer.Option(rich_help_panel=_SET, min=0, help="With simulated features: so many classes only; 0: all.")
    ] = 0,
    videos: Annotated[
        int, typer.Option(rich_help_panel=_SET, min=0, help="With simulated features: so many videos only; 0: all.")
    ] = 0,
    strategy: Annotated[
        list[str] | None,
        typer.Option(
            "--strategy", "-s", rich_help_panel=_TRIED, help="May be given again; default: random us mcle lal."
        ),
    ] = None,
    policy: Annotated[str, typer.Option(rich_help_panel=_TRIED, help="How scores become a batch.")] = "top",
    batch: Annotated[
        list[int] | None,
        typer.Option(rich_help_panel=_TRIED, min=1, help="Videos per round; again for more batch sizes; default: 64."),
    ] = None,
    noise: Annotated[
        list[float] | None,
        typer.Option(rich_help_panel=_TRIED, help="The oracle's loss of tIoU; again for more; default: 0."),
    ] = None,
    seeds: Annotated[
        int, typer.Option(rich_help_panel=_TRIED, min=1, help="How many seeds: an interval needs several.")
    ] = 1,
    seed: Annotated[int, typer.Option(rich_help_panel=_TRIED, min=0, help="The first of them.")] = 0,
    until: Annotated[
        float, typer.Option(rich_help_panel=_TRIED, min=0.11, max=1.0, help="Stop at this labelled share of the pool.")
    ] = 1.0,
    eval_every: Annotated[
        int, typer.Option(rich_help_panel=_TRIED, min=1, help="Measure mAP every so many rounds.")
    ] = 1,
    encoder: Annotated[
        Literal["", "context", "mean"],
        typer.Option(rich_help_panel=_SET, help="How segments are seen; 'mean' is the paper's."),
    ] = "",
    knowledge: Annotated[
        float,
        typer.Option(
            rich_help_panel=_TRIED,
            min=0.05,
            max=0.9,
            help="Share of the classes that lal and mcle learn from beforehand.",
        ),
    ] = 0.25,
    lal_mode: Annotated[
        Literal["independent", "iterative"],
        typer.Option(rich_help_panel=_LESSONS, help="Labelled sets drawn at random, or grown."),
    ] = "independent",
    lal_target: Annotated[
        Literal["detection", "ranking"],
        typer.Option(rich_help_panel=_LESSONS, help="Gain in detection mAP, or in the ranking."),
    ] = "detection",
    lal_splits: Annotated[
        int, typer.Option(rich_help_panel=_LESSONS, help="Random halves of its classes' videos.")
    ] = 20,
    lal_candidates: Annotated[
        int, typer.Option(rich_help_panel=_LESSONS, help="Videos added to each labelled set.")
    ] = 10,
    plan: Annotated[bool, typer.Option("--plan", help="Only say how long it will take.")] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where results go, and whence an earlier run is continued.")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0: one per core.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Try strategies on an annotated set, before you pay for labels."""
    import os

    from kloc.experiments.arm import Pace
    from kloc.experiments.lal_bootstrap import LalSettings
    from kloc.experiments.runner import Experiment
    from kloc.pipeline import simulating
    from kloc.pipeline.telling import Silent

    asked = simulating.Asked(
        tuple(strategy or simulating.STRATEGIES_OF_THE_PAPER), policy, tuple(batch or (64,)), tuple(noise or (0.0,)),
        seeds, seed,
    )  # fmt: skip
    lal = LalSettings(n_splits=lal_splits, candidates=lal_candidates, mode=lal_mode, target=lal_target)
    pace = Pace(until, eval_every)
    simulated = features == "simulated"
    if simulated and (fps or stride or offset):
        raise UsageError("--fps, --stride and --offset describe features in files; simulated ones need none")
    folder = None if simulated or not features else feature_folder(Path(features), fps, stride, offset)
    place = simulating.place_of(source, out)
    opened = simulating.open_set(place.source, folder, simulated=simulated, n_classes=classes, n_videos=videos, cap=cap)
    experiment = Experiment(asked.arms(), pace, lal, knowledge, cost=simulating.cost_of(place))
    reporter = Silent() if as_json else Bars()
    show(
        simulating.simulate(
            opened, experiment, simulating.settings_of(place, encoder), place.out,
            workers=workers or os.cpu_count() or 1, only_plan=plan, reporter=reporter,
        ),
        as_json,
    )  # fmt: skip
