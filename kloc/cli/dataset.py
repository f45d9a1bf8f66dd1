"""stats, card, report: what the dataset is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from kloc.cli.console import Bars, JsonOption, WorkspaceOption, console, run_stage, show
from kloc.cli.pool import DATASET as PANEL
from kloc.errors import UsageError

if TYPE_CHECKING:
    from kloc.pipeline.telling import Reporter, Summary
    from kloc.workspace import Workspace


def register(app: typer.Typer) -> None:
    """Put this module's commands onto the command line."""
    for command in (stats, card, report):
        app.command(command.__name__, rich_help_panel=PANEL)(command)


def stats(
    source: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="A file or folder of any format, or a list of segments."),
    ] = None,
    format_name: Annotated[
        str, typer.Option("--format", metavar="NAME", help="Its format; default: what it looks like.")
    ] = "",
    classes: Annotated[Path | None, typer.Option(help="Names for the class numbers of a .txt list.")] = None,
    bins: Annotated[str, typer.Option(help="Bins of the attributes: paper or detad.")] = "paper",
    everything: Annotated[bool, typer.Option("--all", help="Show long tables whole.")] = False,
    plots: Annotated[Path | None, typer.Option(metavar="DIR", help="Write PNG and SVG of each panel.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write one page that opens from disk.")] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Statistics of the workspace or of a file."""
    from kloc.report.terminal import render_terminal

    if source is not None:
        from kloc.pipeline.file_statistics import file_stats

        statistics, summary = file_stats(
            source, format_name=format_name, classes=classes, bins=bins, html=html, plots=plots
        )
    else:
        if format_name or classes:
            raise UsageError("--format and --classes are about a file; name one, e.g. `kloc stats annotations.json`")
        from kloc.pipeline import publication
        from kloc.workspace import Workspace

        statistics, summary = publication.stats(Workspace.open(workspace), bins=bins, html=html, plots=plots)
    if not as_json:
        render_terminal(statistics, console, everything=everything)
    show(summary, as_json)


def card(
    ask: Annotated[bool, typer.Option("--ask", help="Ask what no data can tell; answers are kept.")] = False,
    answers: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Take such answers from a file like datasheet.toml.")
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the dataset card."""
    from kloc.pipeline import carding, datasheet

    if ask and (as_json or not sys.stdin.isatty()):
        raise UsageError("--ask needs a terminal; give --answers FILE.toml, or edit datasheet.toml in the workspace")

    def made(workspace: Workspace, reporter: Reporter) -> Summary:
        given = None if answers is None else datasheet.read(answers)
        if ask:
            datasheet.ask(workspace, _put)
        return carding.card(workspace, answers=given)

    run_stage(workspace, as_json, made)


def _put(question: str, number: int, count: int) -> str:
    """One question in the terminal. Enter leaves it open, Ctrl-D stops asking."""
    if number == 1:
        console.print("What no data can tell. Enter leaves a question open; Ctrl-D stops, what is answered is kept.\n")
    console.print(Text(f"{number}/{count}  {question}", style="bold"))
    try:
        return input("> ")
    except EOFError:
        console.print()
        raise


def report(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Write one HTML page that shows it all."""
    from kloc.pipeline import reporting
    from kloc.workspace import Workspace

    show(reporting.report(Workspace.open(workspace), reporter=Bars()), as_json)
