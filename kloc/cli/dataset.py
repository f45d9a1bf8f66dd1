"""stats, card, report: what the dataset is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kloc.cli.console import Bars, JsonOption, WorkspaceOption, console, run_stage, show
from kloc.cli.pool import DATASET as PANEL


def register(app: typer.Typer) -> None:
    """Put this module's commands onto the command line."""
    for command in (stats, card, report):
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


def card(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Write the dataset card."""
    from kloc.pipeline import carding

    run_stage(workspace, as_json, lambda w, r: carding.card(w))


def report(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Write one HTML page that shows it all."""
    from kloc.pipeline import reporting
    from kloc.workspace import Workspace

    show(reporting.report(Workspace.open(workspace), reporter=Bars()), as_json)
