"""extract, propose, train, predict, select, detect: what the machine does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from kloc.cli.console import JsonOption, WorkspaceOption, run_stage
from kloc.cli.pool import PANEL
from kloc.errors import UsageError


def register(app: typer.Typer) -> None:
    """Put this module's commands onto the command line."""
    for command in (extract, propose, train, predict, select):
        app.command(command.__name__, rich_help_panel=PANEL)(command)


def extract(
    shard: Annotated[str, typer.Option(help="i/n: only part i (from 0) of n, for batch arrays.")] = "",
    runner: Annotated[Literal["local", "ray"], typer.Option(help="Processes here, or a Ray cluster.")] = "local",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compute features of every video."""
    from kloc.engine import parse_shard
    from kloc.pipeline import features

    part = parse_shard(shard) if shard else None
    run_stage(workspace, as_json, lambda w, r: features.extract(w, shard=part, runner=runner, reporter=r))


def propose(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Propose segments that may hold an action."""
    from kloc.pipeline import proposals

    run_stage(workspace, as_json, lambda w, r: proposals.propose(w, reporter=r))


def train(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Train the localizer on what is annotated."""
    from kloc.pipeline import training

    run_stage(workspace, as_json, lambda w, r: training.train(w, reporter=r))


def predict(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Detect actions in every video; mAP where truth is known."""
    from kloc.pipeline import training

    run_stage(workspace, as_json, lambda w, r: training.predict(w, reporter=r))


def select(
    batch: Annotated[
        int | None, typer.Option(min=1, help="How many videos; default: selection.batch, or what a budget pays for.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Budget: minutes of people's time, all workers.")] = None,
    money: Annotated[str, typer.Option(help="Budget: dollars, rewards and fees of all workers, e.g. 25.00.")] = "",
    strategy: Annotated[
        str, typer.Option(help='NAME or "NAME,key=value", e.g. us,mode=binary; default: selection.strategy.')
    ] = "",
    policy: Annotated[str, typer.Option(help='Likewise, e.g. "diverse,method=badge"; default: selection.policy.')] = "",
    epsilon: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share drawn at random; default: selection.epsilon.")
    ] = None,
    explain: Annotated[
        str, typer.Option("--explain", metavar="VIDEO", help="Choose nothing; say how a video stands and why.")
    ] = "",
    undo: Annotated[
        bool, typer.Option("--undo", help="Take back the last round, if nothing of it is published.")
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Decide what to annotate next."""
    from kloc.pipeline import explaining, selecting

    if undo and explain:
        raise UsageError("--undo and --explain are two commands; give one of them")
    if undo:
        run_stage(workspace, as_json, lambda w, r: selecting.undo(w))
    elif explain:
        run_stage(workspace, as_json, lambda w, r: explaining.explain(w, explain, strategy=strategy))
    else:
        run_stage(
            workspace,
            as_json,
            lambda w, r: selecting.select(
                w,
                batch=batch,
                strategy=strategy,
                policy=policy,
                minutes=minutes,
                money=money,
                epsilon=epsilon,
                reporter=r,
            ),
        )


def detect(
    video: Annotated[Path, typer.Argument(help="A video file; it need not be in the workspace.")],
    top: Annotated[int, typer.Option(help="How many detections to print.")] = 10,
    out: Annotated[Path | None, typer.Option(help="Also write them as ActivityNet-style JSON.")] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Detect actions in one raw video file."""
    from kloc.pipeline import detecting

    run_stage(workspace, as_json, lambda w, r: detecting.detect(w, video, top=top, out=out, reporter=r))
