"""evaluate: how good detections are, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kloc.cli.console import JsonOption, WorkspaceOption, console, show
from kloc.cli.pool import DATASET as PANEL
from kloc.errors import UsageError


def register(app: typer.Typer) -> None:
    """Put this module's commands onto the command line."""
    app.command("evaluate", rich_help_panel=PANEL)(evaluate)


def evaluate(
    truth: Annotated[
        Path | None, typer.Argument(metavar="[TRUTH]", help="Annotations; default: the workspace's own.")
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Argument(metavar="[PREDICTIONS]", help="ActivityNet-style JSON; a single file is this one."),
    ] = None,
    format_name: Annotated[
        str,
        typer.Option(
            "--format", metavar="NAME", help="The format of the annotations; default: by what they look like."
        ),
    ] = "",
    preset: Annotated[
        str | None, typer.Option(help="activitynet, thumos or kinetics-localization: how a benchmark evaluates.")
    ] = None,
    tiou: Annotated[str | None, typer.Option(help="Thresholds: 0.3,0.5,0.7 or first:last:step as .5:.95:.05.")] = None,
    matching: Annotated[
        str | None, typer.Option(help="activitynet: best detection first; thumos: instance by instance.")
    ] = None,
    duplicates: Annotated[
        str | None, typer.Option(help="keep near-duplicate instances of the truth, or drop them.")
    ] = None,
    subset: Annotated[
        str | None, typer.Option(help="training, validation, testing or all; default: the one predicted for.")
    ] = None,
    bins: Annotated[str, typer.Option(help="Bins of attributes: paper or detad.")] = "paper",
    plots: Annotated[Path | None, typer.Option(metavar="DIR", help="Write plots there, as PNG and SVG.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write one self-contained page.")] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge predictions and diagnose their errors."""
    from kloc.pipeline import evaluating
    from kloc.pipeline.telling import Summary
    from kloc.report.evaluation_terminal import render_terminal
    from kloc.workspace import Workspace

    wanted = evaluating.Wanted(
        preset=preset,
        thresholds=None if tiou is None else evaluating.thresholds_of(tiou),
        matching=matching,
        duplicates=duplicates,
        subset=subset,
        bins=bins,
    )
    if truth is not None and predictions is not None:
        evaluation = evaluating.evaluate_files(truth, predictions, wanted, format_name=format_name)
    else:
        if format_name:
            raise UsageError("--format is about a file of annotations; name it before the predictions")
        evaluation = evaluating.evaluate_workspace(Workspace.open(workspace), truth, wanted)
    facts = evaluating.write(evaluation, plots=plots, page=html)
    if as_json:
        show(Summary("evaluate", facts, list(evaluation.problems), data=evaluation.to_json()), as_json)
    else:
        render_terminal(evaluation, console)
        show(Summary("evaluate", facts))
