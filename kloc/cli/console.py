"""How kloc talks in a terminal: bars, one-screen summaries, one-line errors."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from kloc.pipeline.telling import Reporter, Silent, Summary, shortened
from kloc.printing import printable

if TYPE_CHECKING:
    from kloc.workspace import Workspace

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

WorkspaceOption = Annotated[
    Path | None,
    typer.Option("--workspace", "-w", metavar="DIR", help="The workspace; default: the one around this folder."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]


class Bars:
    """A reporter that draws one bar per stage on stderr, and only where a person looks on."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._task: Any = None

    def start(self, what: str, total: int) -> None:
        self.finish()
        if total and errors.is_terminal:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=errors,
                transient=True,
            )
            self._progress.start()
            self._task = self._progress.add_task(what, total=total)

    def advance(self, count: int = 1) -> None:
        if self._progress is not None:
            self._progress.advance(self._task, count)

    def finish(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def say(self, line: str) -> None:
        errors.print(Text(printable(line)))


def run_stage(workspace: Path | None, as_json: bool, work: Callable[[Workspace, Reporter], Summary]) -> Summary:
    """Open the workspace, do the work, print its summary."""
    from kloc.workspace import Workspace  # late: --help should not wait for a database library

    reporter: Reporter = Silent() if as_json else Bars()
    summary = work(Workspace.open(workspace), reporter)
    reporter.finish()
    show(summary, as_json, "with --json, or in `kloc status`")
    return summary


def show(summary: Summary, as_json: bool = False, where: str = "with --json") -> None:
    """Print a summary for a person, or as JSON for a program; ``where``: where a person finds all problems."""
    if as_json:
        sys.stdout.write(json.dumps(summary.to_json(), ensure_ascii=False, indent=1, default=str) + "\n")
        return
    if summary.facts:
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in summary.facts.items():
            table.add_row(Text(printable(name)), Text(printable(_shown(value))))
        console.print(table)
    for line in shortened(summary.problems, where):
        console.print(Text.assemble(("! ", "bold yellow"), printable(line)))
    if summary.hint:
        console.print(Text.assemble(("next: ", "bold green"), printable(summary.hint)))


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.3f}".rstrip("0").rstrip(".")
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)
