"""publish-hits, ingest, and what a campaign under way needs: crowd pause, resume, expire, extend, gold."""

from __future__ import annotations

from typing import Annotated

import typer

from kloc.cli.console import JsonOption, WorkspaceOption, run_stage
from kloc.cli.pool import PANEL

VideoOption = Annotated[str, typer.Option(metavar="ID", help="Only the task of this video.")]
CapOption = Annotated[str, typer.Option(help="Cap in dollars for the whole campaign, e.g. 120.00.")]
DryOption = Annotated[bool, typer.Option("--dry-run", help="Only say what it would cost.")]


def register(app: typer.Typer, group: typer.Typer) -> None:
    """Put this module's commands onto the command line and into the group ``crowd``."""
    for command in (pause, resume, expire, extend, gold):
        group.command(command.__name__)(command)
    app.command("publish-hits", rich_help_panel=PANEL)(publish_hits)
    app.command("ingest", rich_help_panel=PANEL)(ingest)


def publish_hits(
    dry_run: DryOption = False,
    max_spend: CapOption = "",
    prefill: Annotated[
        float | None,
        typer.Option(metavar="SCORE", help="Show the newest detections of at least this score as proposals."),
    ] = None,
    closed: Annotated[
        bool, typer.Option("--i-know-mturk-is-closed", help="Call an amazonaws.com endpoint all the same.")
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish the selected videos as HITs."""
    from kloc.pipeline import crowd

    run_stage(
        workspace,
        as_json,
        lambda w, r: crowd.publish(
            w, dry_run=dry_run, max_spend=max_spend or None, prefill=prefill, allow_amazon=closed, reporter=r
        ),
    )


def ingest(
    watch: Annotated[bool, typer.Option("--watch", help="Keep looking for answers until all are in.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Collect answers, judge and pay them, and consolidate them."""
    from kloc.pipeline import crowd

    run_stage(workspace, as_json, lambda w, r: crowd.ingest(w, watch=watch, reporter=r))


def pause(video: VideoOption = "", workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Stop offering open tasks; work under way may be handed in."""
    from kloc.pipeline import campaign

    run_stage(workspace, as_json, lambda w, r: campaign.pause(w, video=video or None))


def resume(video: VideoOption = "", workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Offer paused tasks again, for as long as they had left."""
    from kloc.pipeline import campaign

    run_stage(workspace, as_json, lambda w, r: campaign.resume(w, video=video or None))


def expire(
    round_: Annotated[int | None, typer.Option("--round", help="Which round; default: the newest open one.")] = None,
    video: VideoOption = "",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a round short: what is in counts, the rest goes back to the pool."""
    from kloc.pipeline import campaign

    run_stage(workspace, as_json, lambda w, r: campaign.expire(w, round_=round_, video=video or None, reporter=r))


def extend(
    answers: Annotated[int | None, typer.Option(min=1, max=100, help="So many answers per video in all.")] = None,
    days: Annotated[float | None, typer.Option(min=0.01, max=364, help="Offered so many days from now.")] = None,
    video: VideoOption = "",
    max_spend: CapOption = "",
    dry_run: DryOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask for more answers, or offer open tasks for longer."""
    from kloc.pipeline import campaign

    run_stage(
        workspace,
        as_json,
        lambda w, r: campaign.extend(
            w, answers=answers, video=video or None, days=days, max_spend=max_spend or None, dry_run=dry_run
        ),
    )


def gold(
    videos: Annotated[list[str] | None, typer.Argument(metavar="[VIDEO]...", help="Ids; none: only list them.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the mark away.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Mark annotated videos as gold, which trains and judges workers."""
    from kloc.pipeline import campaign

    run_stage(workspace, as_json, lambda w, r: campaign.gold(w, videos or [], remove=remove))
