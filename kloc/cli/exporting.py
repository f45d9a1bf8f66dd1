"""export: the dataset for other people's tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kloc.cli.console import JsonOption, WorkspaceOption, run_stage
from kloc.cli.pool import DATASET as PANEL
from kloc.errors import UsageError


def register(app: typer.Typer) -> None:
    """Put this module's commands onto the command line."""
    for command in (export,):
        app.command(command.__name__, rich_help_panel=PANEL)(command)


def export(
    out: Annotated[Path | None, typer.Option(help="Folder to write to; default: dataset/ in the workspace.")] = None,
    origin: Annotated[
        str, typer.Option(help="Where time 0 lies: 'stream' (as browsers show) or 'first-frame'.")
    ] = "stream",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the dataset as ActivityNet JSON and CSV."""
    from kloc.pipeline import exporting

    if origin not in ("stream", "first-frame"):
        raise UsageError(f"--origin {origin}: it is 'stream' or 'first-frame'")
    run_stage(workspace, as_json, lambda w, r: exporting.export(w, out=out, origin=origin))
