"""review: the requester looks at the answers and overrules."""

from __future__ import annotations

from typing import Annotated

import typer

from kloc.cli.console import WorkspaceOption
from kloc.cli.pool import PANEL


def register(app: typer.Typer) -> None:
    """Put this module's command onto the command line."""
    app.command("review", rich_help_panel=PANEL)(review)


def review(
    port: Annotated[int, typer.Option(help="Port; default: a free one.", show_default=False)] = 0,
    round_: Annotated[int | None, typer.Option("--round", help="Only what this round published.")] = None,
    video: Annotated[str | None, typer.Option(help="Only this video, published or not.")] = None,
    browse: Annotated[bool, typer.Option("--open/--no-open", help="Open the browser.")] = True,
    workspace: WorkspaceOption = None,
) -> None:
    """See all answers on one timeline, and overrule them."""
    from kloc.pipeline.reviewing import Desk
    from kloc.review import server
    from kloc.workspace import Workspace

    desk = Desk(Workspace.open(workspace), round_=round_, video=video)
    server.serve(desk, port=port, browse=browse, say=typer.echo)
