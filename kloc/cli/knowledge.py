"""lal bootstrap, prior knowledge, prior web: what is learned from outside of the pool."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kloc.cli.console import JsonOption, WorkspaceOption, run_stage
from kloc.cli.pool import PANEL
from kloc.errors import UsageError

if TYPE_CHECKING:
    from kloc.pipeline.annotated import FeatureFolder

_lal = typer.Typer(no_args_is_help=True, help="Learn on other classes which videos help (strategy lal).")
_prior = typer.Typer(no_args_is_help=True, help="Make the prior that strategy mcle contradicts.")

Source = Annotated[
    Path, typer.Argument(metavar="SOURCE", help="An annotated set of other classes: a workspace or ActivityNet JSON.")
]
Features = Annotated[
    Path | None, typer.Option(metavar="DIR", help="For a JSON: folder with one ID.npy [T, D] per video.")
]
Fps = Annotated[float | None, typer.Option(help="Frames per second the features were computed at.")]
Stride = Annotated[float | None, typer.Option(help="Frames between one feature and the next.")]
Offset = Annotated[
    float | None, typer.Option(help="Frame at the centre of the first feature; default: half the stride.")
]
Name = Annotated[
    str | None, typer.Option(help="What the features are called; must be the workspace's own. Default: believed.")
]
Cap = Annotated[int, typer.Option(min=1, help="For a JSON: sliding windows per video at most.")]


def register(app: typer.Typer) -> None:
    """Put this module's commands onto the command line."""
    _lal.command("bootstrap")(bootstrap)
    _prior.command("knowledge")(knowledge)
    _prior.command("web")(web)
    app.add_typer(_lal, name="lal", rich_help_panel=PANEL)
    app.add_typer(_prior, name="prior", rich_help_panel=PANEL)


def bootstrap(
    source: Source,
    features: Features = None,
    fps: Fps = None,
    stride: Stride = None,
    offset: Offset = None,
    name: Name = None,
    cap: Cap = 200,
    mode: Annotated[
        Literal["independent", "iterative"],
        typer.Option(help="Labelled sets drawn at random, or grown by what was learned on smaller ones."),
    ] = "independent",
    target: Annotated[
        Literal["detection", "ranking"],
        typer.Option(help="Gain in class-agnostic detection mAP (the paper's), or in the ranking of proposals."),
    ] = "detection",
    splits: Annotated[int, typer.Option(help="Random halves of the set to experiment on.")] = 20,
    candidates: Annotated[int, typer.Option(help="Videos added, one at a time, to each labelled set.")] = 10,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Learn which videos help, by experiments on an annotated set."""
    from kloc.experiments.lal_bootstrap import LalSettings
    from kloc.pipeline import knowledge as stages

    folder = feature_folder(features, fps, stride, offset, name)
    lal = LalSettings(n_splits=splits, candidates=candidates, mode=mode, target=target)
    run_stage(
        workspace,
        as_json,
        lambda w, r: stages.bootstrap(w, source, features=folder, cap=cap, lal=lal, reporter=r),
    )


def knowledge(
    source: Source,
    features: Features = None,
    fps: Fps = None,
    stride: Stride = None,
    offset: Offset = None,
    name: Name = None,
    cap: Cap = 200,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """From an annotated set of other classes."""
    from kloc.pipeline import knowledge as stages

    folder = feature_folder(features, fps, stride, offset, name)
    run_stage(
        workspace,
        as_json,
        lambda w, r: stages.prior_of_knowledge(w, source, features=folder, cap=cap, reporter=r),
    )


def web(
    lists: Annotated[Path, typer.Argument(metavar="LISTS.csv", help="Columns class, rank, video: search results.")],
    top: Annotated[int, typer.Option(help="Results up to this rank show the class.")] = 10,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """From ranked lists of a web search for the classes' names."""
    from kloc.pipeline import knowledge as stages

    run_stage(workspace, as_json, lambda w, r: stages.prior_of_web(w, lists, top=top, reporter=r))


def feature_folder(
    features: Path | None, fps: float | None, stride: float | None, offset: float | None, name: str | None = None
) -> FeatureFolder | None:
    """The folder that options describe. Raises UsageError where some of them are missing."""
    from kloc.pipeline.annotated import FeatureFolder

    if features is None:
        if (fps, stride, offset, name) != (None, None, None, None):
            raise UsageError(
                "--fps, --stride, --offset and --name describe features; say where they are with --features DIR"
            )
        return None
    if fps is None or stride is None:
        raise UsageError("--features needs --fps and --stride: frames per second, and frames between two features")
    return FeatureFolder(features, fps, stride, offset, name)
