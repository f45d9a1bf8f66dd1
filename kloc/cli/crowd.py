"""crowd serve, crowd invite, publish-hits, ingest: what people do."""

from __future__ import annotations

from typing import Annotated

import typer

from kloc.cli.console import JsonOption, WorkspaceOption, run_stage
from kloc.cli.pool import PANEL

_crowd = typer.Typer(no_args_is_help=True, help="Run kloc's own MTurk-compatible crowd.")


def register(app: typer.Typer) -> None:
    """Put this module's commands onto the command line."""
    _crowd.command("serve")(serve)
    _crowd.command("invite")(invite)
    app.add_typer(_crowd, name="crowd", rich_help_panel=PANEL)
    app.command("publish-hits", rich_help_panel=PANEL)(publish_hits)
    app.command("ingest", rich_help_panel=PANEL)(ingest)


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; the default is this machine only.")] = "",
    port: Annotated[int, typer.Option(help="Port; default: the one in crowd.endpoint.")] = 0,
    workspace: WorkspaceOption = None,
) -> None:
    """Serve tasks to annotators and the MTurk requester API to kloc, until Ctrl-C."""
    from kloc.pipeline import serving
    from kloc.workspace import Workspace

    opened = Workspace.open(workspace)
    with opened.stage("crowd serve"):
        serving.serve(opened, host=host or None, port=port or None, say=typer.echo)


def invite(
    names: Annotated[list[str], typer.Argument(help="Names of annotators.")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print a personal link for each annotator; a new link replaces the old one."""
    from kloc.pipeline import serving

    run_stage(workspace, as_json, lambda w, r: serving.invite(w, names))


def publish_hits(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would cost.")] = False,
    max_spend: Annotated[str, typer.Option(help="Cap in dollars for the whole campaign, e.g. 120.00.")] = "",
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
        lambda w, r: crowd.publish(w, dry_run=dry_run, max_spend=max_spend or None, allow_amazon=closed, reporter=r),
    )


def ingest(
    watch: Annotated[bool, typer.Option("--watch", help="Keep looking for answers until all are in.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Collect answers and consolidate them."""
    from kloc.pipeline import crowd

    run_stage(workspace, as_json, lambda w, r: crowd.ingest(w, watch=watch, reporter=r))
