"""split and benchmark: what is learned from, what is tested on, and what comes out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kloc.cli.console import Bars, JsonOption, WorkspaceOption, console, run_stage, show
from kloc.cli.pool import DATASET as PANEL
from kloc.cli.pool import subset_of


def register(app: typer.Typer) -> None:
    """Put this module's commands onto the command line."""
    for command in (split, benchmark):
        app.command(command.__name__, rich_help_panel=PANEL)(command)


def split(
    training: Annotated[float, typer.Option(help="Share of the training subset.")] = 0.6,
    validation: Annotated[float, typer.Option(help="Share of the validation subset.")] = 0.2,
    keep: Annotated[str, typer.Option(help="Leave the videos of this subset where they are.")] = "",
    groups: Annotated[Path | None, typer.Option(help="CSV video,group (uploader, scene): never torn apart.")] = None,
    similar: Annotated[
        float, typer.Option(min=0.0, help="Cosine of features above which videos are near-duplicates; 1: off.")
    ] = 0.8,
    check: Annotated[
        bool, typer.Option("--check", help="Only look for leaks between the subsets as they are.")
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Split into training, validation and testing."""
    from kloc.pipeline import splitting

    if check:
        found = run_stage(workspace, as_json, lambda w, r: splitting.check(w, groups=groups, above=similar, reporter=r))
        raise typer.Exit(1 if found.data["n_leaks"] else 0)
    kept = subset_of(keep)
    run_stage(
        workspace,
        as_json,
        lambda w, r: splitting.split(
            w, training=training, validation=validation, keep=kept, groups=groups, above=similar, reporter=r
        ),
    )


def benchmark(
    seeds: Annotated[int, typer.Option(min=1, help="How many; an interval needs at least 2.")] = 3,
    models: Annotated[str, typer.Option(metavar="A,B", help="Localizers to train; default: all there are.")] = "",
    plan: Annotated[bool, typer.Option("--plan", help="Only say how long it will take.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """What full annotation is worth: a table."""
    from kloc.pipeline import benchmarking
    from kloc.pipeline.telling import Silent
    from kloc.workspace import Workspace

    names = [name.strip() for name in models.split(",") if name.strip()]
    reporter = Silent() if as_json else Bars()
    opened = Workspace.open(workspace)
    if plan:
        show(benchmarking.plan(opened, seeds=seeds, models=names, reporter=reporter), as_json)
        return
    table, summary = benchmarking.benchmark(opened, seeds=seeds, models=names, reporter=reporter)
    if not as_json:
        table.terminal(console)
    show(summary, as_json)
