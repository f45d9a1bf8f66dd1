"""crowd serve, invite, workers, revoke: the endpoint and its people."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from kloc.cli import campaign
from kloc.cli.console import JsonOption, WorkspaceOption, console, run_stage
from kloc.cli.pool import PANEL
from kloc.printing import printable

_crowd = typer.Typer(no_args_is_help=True, help="Run kloc's own MTurk-compatible crowd.")


def register(app: typer.Typer) -> None:
    """Put this module's commands onto the command line."""
    _crowd.command("serve")(serve)
    _crowd.command("invite")(invite)
    _crowd.command("workers")(workers)
    _crowd.command("revoke")(revoke)
    app.add_typer(_crowd, name="crowd", rich_help_panel=PANEL)
    campaign.register(app, _crowd)


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; the default is this machine only.")] = "",
    port: Annotated[int, typer.Option(help="Port; default: the one in crowd.endpoint.", show_default=False)] = 0,
    lan: Annotated[bool, typer.Option("--lan", help="Serve the local network, and show its QR code.")] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Serve tasks to annotators and the MTurk requester API to kloc, until Ctrl-C."""
    from kloc.pipeline import serving
    from kloc.workspace import Workspace

    opened = Workspace.open(workspace)
    with opened.stage("crowd serve"):
        serving.serve(opened, host=host or None, port=port or None, lan=lan, say=typer.echo)


def invite(
    names: Annotated[list[str], typer.Argument(help="Names of annotators.")],
    password: Annotated[bool, typer.Option("--password", help="Make passwords to sign in with, no links.")] = False,
    qr: Annotated[bool, typer.Option("--qr", help="Show a QR code beside each link.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print a personal link for each annotator; a new link replaces the old one."""
    from kloc.pipeline import serving

    summary = run_stage(workspace, as_json, lambda w, r: serving.invite(w, names, password=password))
    codes = {"sign in": summary.data["login"]} if password else summary.facts
    for name, link in codes.items() if qr and not as_json else ():
        typer.echo(f"\n{name}\n{serving.qr_code(link)}")


def workers(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """List the annotators: their access, answers, and when they were last seen."""
    from kloc.pipeline import serving
    from kloc.workspace import Workspace

    found = serving.workers(Workspace.open(workspace))
    if as_json:
        typer.echo(json.dumps([asdict(worker) for worker in found], ensure_ascii=False, indent=1))
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("name", "state", "answers", "approved", "last seen"):
        table.add_column(title, overflow="fold", justify="right" if title in ("answers", "approved") else "left")
    for worker in found:
        state = "no access" if worker.revoked else "blocked" if worker.blocked else "invited"
        seen = "never" if worker.last_seen is None else f"{datetime.fromtimestamp(worker.last_seen):%Y-%m-%d %H:%M}"
        table.add_row(Text(printable(worker.name)), state, f"{worker.answers:,}", f"{worker.approved:,}", seen)
    console.print(table if found else "nobody is invited yet: kloc crowd invite NAME...")


def revoke(
    names: Annotated[list[str], typer.Argument(help="Names of annotators.")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Withdraw access: links and passwords stop working at once, answers stay."""
    from kloc.pipeline import serving

    run_stage(workspace, as_json, lambda w, r: serving.revoke(w, names))
