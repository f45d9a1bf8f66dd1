"""The command line: parse, call one pipeline function, print. No logic lives here."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Any

import typer
from typer.core import TyperGroup

from kloc.cli import benchmarking, crowd, dataset, evaluating, exporting, knowledge, learning, loop, pool, reviewing
from kloc.cli.console import errors
from kloc.errors import KlocError
from kloc.printing import printable
from kloc.registry import blamed

#: The order of --help: the table of contents of a campaign. Commands not named here follow.
_ORDER = [
    "init",
    "add",
    "import",
    "extract",
    "propose",
    "train",
    "predict",
    "lal",
    "prior",
    "select",
    "crowd",
    "publish-hits",
    "ingest",
    "review",
    "stats",
    "split",
    "evaluate",
    "benchmark",
    "card",
    "export",
    "diff",
    "report",
    "status",
    "doctor",
    "remove",
    "backup",
    "restore",
    "run",
    "simulate",
    "demo",
    "detect",
]


class _InOrder(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=lambda n: _ORDER.index(n) if n in _ORDER else len(_ORDER))

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            errors.print("kloc: interrupted; nothing is lost, run the same command to continue")
            raise typer.Exit(130) from None


app = typer.Typer(
    name="kloc",
    cls=_InOrder,
    help="Decide what to annotate next, get it annotated, publish the dataset.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from kloc import __version__

        typer.echo(f"kloc {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    if debug:
        os.environ["KLOC_DEBUG"] = "1"


for module in (pool, learning, knowledge, crowd, reviewing, dataset, evaluating, benchmarking, exporting, loop):
    module.register(app)


def _terminated(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt  # so that SIGTERM lets go of locks and children as Ctrl-C does


def main() -> None:
    """Entry point. Exit codes: 0 done, 1 work that failed, 2 wrong use, 130 interrupted."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        app()
    except KlocError as error:
        if os.environ.get("KLOC_DEBUG"):
            raise
        errors.print(f"[bold red]kloc:[/] {_escape(str(error))}", soft_wrap=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output went away (kloc ... | head)
        sys.exit(0)
    except Exception as error:
        line = blamed(error) or (_plain(error) if isinstance(error, OSError) else None)
        if line is None or os.environ.get("KLOC_DEBUG"):
            raise
        errors.print(f"[bold red]kloc:[/] {_escape(line)}", soft_wrap=True)
        sys.exit(1)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(printable(" ".join(text.split())))


def _plain(error: OSError) -> str:
    import errno

    where = f"{error.filename}: " if error.filename else ""
    advice = {
        errno.ENOSPC: "the disk is full; free some space and run the same command again",
        errno.EACCES: "no permission; make it readable and writable and run the same command again",
        errno.EROFS: "the file system is read-only; make it writable and run the same command again",
    }
    return where + advice.get(error.errno or 0, error.strerror or str(error))
