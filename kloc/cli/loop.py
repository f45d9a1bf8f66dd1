"""run, demo, detect; and what looks after a workspace: status, doctor, remove, backup, restore."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from kloc.cli.console import Bars, JsonOption, WorkspaceOption, console, run_stage, show
from kloc.cli.learning import detect
from kloc.cli.simulating import simulate
from kloc.errors import KlocError
from kloc.pipeline.telling import Summary

PANEL = "Around it"


def register(app: typer.Typer) -> None:
    """Put this module's commands onto the command line."""
    commands: list[Callable[..., None]] = [status, doctor, remove, backup, restore, run, simulate, demo, detect]
    for command in commands:
        app.command(command.__name__, rich_help_panel=PANEL)(command)


def status(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Where the campaign stands, and what is wrong."""
    from kloc.pipeline import state

    run_stage(workspace, as_json, lambda w, r: state.status(w))


def doctor(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Check this machine and this workspace."""
    from kloc.pipeline import doctoring

    summary = doctoring.doctor(workspace)
    show(summary, as_json)
    if summary.data["failed"]:
        raise KlocError(f"{summary.data['failed']} of the checks failed; the lines marked above say what to do")


def remove(
    video_ids: Annotated[list[str], typer.Argument(metavar="VIDEO...", help="Ids of videos.")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take videos down everywhere (your files stay)."""
    from kloc.pipeline import pool

    run_stage(workspace, as_json, lambda w, r: pool.remove(w, video_ids, reporter=r))


def backup(
    archive: Annotated[Path, typer.Argument(metavar="FILE.tar", help="Archive to write.")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Pack the workspace into one file."""
    from kloc.pipeline import moving

    run_stage(workspace, as_json, lambda w, r: moving.backup(w, archive, reporter=r))


def restore(
    archive: Annotated[Path, typer.Argument(metavar="FILE.tar", help="Archive that `kloc backup` wrote.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Empty or new folder.")],
    videos: Annotated[Path | None, typer.Option(help="Where the video files lie now, if they moved.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Unpack a workspace, here or on another machine."""
    from kloc.pipeline import moving

    show(moving.restore(archive, folder, videos=videos), as_json)


def run(
    rounds: Annotated[int, typer.Option(help="Rounds of selection and annotation in all.")] = 3,
    batch: Annotated[int | None, typer.Option(min=1, help="Videos per round; default: selection.batch.")] = None,
    simulate: Annotated[
        Path | None, typer.Option(metavar="TRUTH.json", help="Let simulated workers answer from this truth.")
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run the whole loop; stop and continue as you like."""
    from kloc.pipeline import loop

    run_stage(
        workspace,
        as_json,
        lambda w, r: loop.run(
            w, rounds=rounds, batch=batch, truth=simulate, listener=None if as_json else narrate, reporter=r
        ),
    )


def demo(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to put it.")] = Path("kloc-demo"),
    videos: Annotated[int, typer.Option(help="How many videos to generate.")] = 48,
    seed: Annotated[int, typer.Option(help="Another seed, another demo.")] = 7,
) -> None:
    """Show the whole loop on generated videos, in a few minutes."""
    from kloc.pipeline import demo as demonstration
    from kloc.report.terminal import render_terminal

    console.print(
        "kloc demo: everything below is real but two things: the videos are generated, the workers simulated."
    )
    bars = Bars()
    began = time.monotonic()
    summary = demonstration.demo(
        folder,
        n_videos=videos,
        seed=seed,
        tell=narrate,
        show_statistics=lambda statistics: render_terminal(statistics, console),
        reporter=bars,
    )
    bars.finish()
    console.rule(f"done in {time.monotonic() - began:.0f} s", style="green")
    show(summary)


def narrate(command: str, summary: Summary) -> None:
    """Show a stage as a person would have run it: the command, then what it said."""
    console.print()
    console.print(Text(f"$ {command}" if command else summary.stage, style="bold"))
    show(replace(summary, hint=""), where="in `kloc status`")
