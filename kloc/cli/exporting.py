"""export, diff: the dataset for other people's tools, in versions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kloc.cli.console import JsonOption, WorkspaceOption, run_stage, show
from kloc.cli.pool import DATASET as PANEL
from kloc.errors import KlocError, UsageError


def register(app: typer.Typer) -> None:
    """Put this module's commands onto the command line."""
    for command in (export, diff):
        app.command(command.__name__, rich_help_panel=PANEL)(command)


def export(
    format: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[,NAME]",
            help="activitynet, csv, hacs, coco, thumos, kinetics, charades, huggingface, fiftyone, cvat, label-studio, "
            "elan, via, webvtt, or a plug-in's; default: those that are there, else activitynet and csv.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write to; default: dataset/ in the workspace.")] = None,
    source: Annotated[
        Path | None, typer.Option(help="Export this file or folder, of any format, instead of the workspace.")
    ] = None,
    source_format: Annotated[str, typer.Option(help="Format of the source; default: what it looks like.")] = "",
    origin: Annotated[
        str | None,
        typer.Option(
            help="Where time 0 lies: 'stream' (as browsers show; the default, but an export that is there keeps its "
            "own) or 'first-frame'."
        ),
    ] = None,
    answers: Annotated[
        bool, typer.Option("--answers", help="Also what each worker said (answers.jsonl), ids hashed.")
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the dataset in other tools' formats."""
    from kloc.pipeline import exporting

    formats = [name.strip() for text in format or () for name in text.split(",") if name.strip()]
    if source is not None:
        if answers:
            raise UsageError("--answers: a file has no workers; leave --source away to export the workspace")
        show(
            exporting.export_file(source, out=out, origin=origin, formats=formats, source_format=source_format), as_json
        )
        return
    run_stage(
        workspace,
        as_json,
        lambda w, r: exporting.export(w, out=out, origin=origin, formats=formats, answers=answers),
    )


def diff(
    before: Annotated[Path, typer.Argument(metavar="A", help="A file, an export or a workspace.")],
    after: Annotated[Path | None, typer.Argument(metavar="[B]", help="Another; default: the workspace.")] = None,
    format: Annotated[str, typer.Option(help="Format of both; default: what they look like.")] = "",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """What changed between two versions.

    Exit codes as `diff` has them: 0 the same, 1 they differ, 2 one cannot be read.
    """
    from kloc.pipeline import differing

    try:
        found, summary = differing.diff(before, after, workspace, format)
    except KlocError as error:
        raise UsageError(str(error)) from error  # 1 says that they differ
    show(summary, as_json)
    raise typer.Exit(0 if found.same else 1)
