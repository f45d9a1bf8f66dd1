"""stats, split, card, export: what is published."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kloc.cli.console import Bars, JsonOption, WorkspaceOption, console, run_stage, show
from kloc.cli.pool import subset_of
from kloc.errors import UsageError

PANEL = "The dataset"


def register(app: typer.Typer) -> None:
    """Put this module's commands onto the command line."""
    for command in (stats, split, card, export, report):
        app.command(command.__name__, rich_help_panel=PANEL)(command)


def stats(
    source: Annotated[Path | None, typer.Argument(metavar="[JSON]", help="An ActivityNet-style file instead.")] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Statistics of the workspace or of a JSON."""
    from kloc.pipeline import publication
    from kloc.report.terminal import render_terminal
    from kloc.workspace import Workspace

    if source is not None:
        statistics, summary = publication.file_stats(source)
    else:
        statistics, summary = publication.stats(Workspace.open(workspace))
    if not as_json:
        render_terminal(statistics, console)
    show(summary, as_json)


def split(
    training: Annotated[float, typer.Option(help="Share of the training subset.")] = 0.6,
    validation: Annotated[float, typer.Option(help="Share of the validation subset.")] = 0.2,
    keep: Annotated[str, typer.Option(help="Leave the videos of this subset where they are.")] = "",
    groups: Annotated[Path | None, typer.Option(help="CSV video,group: a group is never split.")] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Split into training, validation and testing."""
    from kloc.pipeline import publication

    if training <= 0 or validation < 0 or training + validation > 1 + 1e-9:
        raise UsageError("--training and --validation are shares; together at most 1, the rest is testing")
    run_stage(
        workspace,
        as_json,
        lambda w, r: publication.split(
            w, training=training, validation=validation, keep=subset_of(keep), groups=groups
        ),
    )


def card(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Write the dataset card."""
    from kloc.pipeline import carding

    run_stage(workspace, as_json, lambda w, r: carding.card(w))


def export(
    out: Annotated[Path | None, typer.Option(help="Folder to write to; default: dataset/ in the workspace.")] = None,
    origin: Annotated[
        str, typer.Option(help="Where time 0 lies: 'stream' (as browsers show) or 'first-frame'.")
    ] = "stream",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the dataset as ActivityNet JSON and CSV."""
    from kloc.pipeline import publication

    if origin not in ("stream", "first-frame"):
        raise UsageError(f"--origin {origin}: it is 'stream' or 'first-frame'")
    run_stage(workspace, as_json, lambda w, r: publication.export(w, out=out, origin=origin))


def report(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Write one HTML page that shows it all."""
    from kloc.pipeline import reporting
    from kloc.workspace import Workspace

    show(reporting.report(Workspace.open(workspace), reporter=Bars()), as_json)
