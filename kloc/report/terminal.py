"""Statistics in a terminal: tables and bars that read well in 80 columns."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from kloc.report.statistics import Histogram, Pairwise, Statistics

_BAR = 28
_SHADES = ("", "on grey19", "on grey27", "on grey35", "on grey42")


def render_terminal(statistics: Statistics, console: Console) -> None:
    """Print the statistics; classes beyond the 30 largest are summed up in one line."""
    s = statistics
    console.print(Text(s.name, style="bold"))
    facts = [
        ("videos", f"{s.videos:,} ({s.hours:.2f} h), {s.annotated:,} annotated"),
        ("instances", f"{s.instances:,} of {s.classes:,} classes ({s.action_hours:.2f} h of action)"),
        ("per video", f"{s.instances_per_video:.2f} ({s.instances_per_video_with_any:.2f} where any occurs)"),
        ("without any", f"{s.videos_without_instance:,} annotated videos"),
    ]
    if s.mean_length is not None and s.median_length is not None:
        facts.append(("length", f"mean {s.mean_length:.1f} s, median {s.median_length:.1f} s"))
    if s.balance is not None:
        facts.append(("balance", f"{s.balance:.2f} (entropy of the classes, 1 is uniform)"))
    for name, fact in facts:
        console.print(Text(f"{name:<12}", style="dim").append(fact, style="default"))
    _subsets(s, console)
    _classes(s, console)
    for histogram in s.attributes:
        _histogram(histogram, console)
    for matrix in s.pairwise:
        _pairwise(matrix, console)
    _problems(s, console)


def _table(title: str, console: Console) -> Table:
    # Printed by itself: a table would break its title at its own width.
    console.print(Text("\n" + title, style="bold"))
    return Table(box=None, pad_edge=False, header_style="dim")


def _subsets(s: Statistics, console: Console) -> None:
    table = _table("Subsets", console)
    for name in ("subset", "videos", "annotated", "instances", "hours", "action h"):
        table.add_column(name, justify="left" if name == "subset" else "right")
    for row in s.subsets:
        figures = (
            f"{row.videos:,}",
            f"{row.annotated:,}",
            f"{row.instances:,}",
            f"{row.hours:.2f}",
            f"{row.action_hours:.2f}",
        )
        table.add_row(row.subset, *figures)
    console.print(table)


def _classes(s: Statistics, console: Console, limit: int = 30) -> None:
    table = _table("Classes", console)
    table.add_column("class", max_width=24, overflow="ellipsis", no_wrap=True)
    for name in ("videos", "inst.", "/video", "med. s", "cov."):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    rows = sorted(s.per_class, key=lambda r: (-r.instances, r.label))
    most = max((r.instances for r in rows), default=0)
    for row in rows[:limit]:
        table.add_row(
            escape(row.label),
            f"{row.videos:,}",
            f"{row.instances:,}",
            f"{row.instances_per_video:.1f}" if row.videos else "-",
            "-" if row.median_length is None else f"{row.median_length:.1f}",
            "-" if row.mean_coverage is None else f"{row.mean_coverage:.2f}",
            _bar(row.instances, most, 12),
        )
    console.print(table)
    if len(rows) > limit:
        rest = rows[limit:]
        console.print(f"... and {len(rest):,} more classes with {sum(r.instances for r in rest):,} instances")


def _bar(value: float, most: float, width: int) -> Text:
    cells = 0.0 if most <= 0 else value / most * width
    blocks = "█" * int(cells) + ("▌" if cells - int(cells) >= 0.5 else "")
    return Text(blocks or ("▏" if value else ""), style="cyan")


def _histogram(histogram: Histogram, console: Console) -> None:
    table = _table(f"{histogram.attribute.capitalize()} ({histogram.unit})", console)
    table.show_header = False
    for justify in ("left", "left", "right", "right", "left"):
        table.add_column(justify=justify, no_wrap=True)
    most = max(histogram.counts, default=0)
    for name, span, count, share in zip(
        histogram.names, histogram.ranges, histogram.counts, histogram.percent, strict=True
    ):
        table.add_row(name, f"[dim]{span}[/dim]", f"{count:,}", f"{share:.1f} %", _bar(count, most, _BAR))
    console.print(table)


def _pairwise(matrix: Pairwise, console: Console) -> None:
    table = _table(f"{matrix.rows.capitalize()} (rows) by {matrix.columns}, % of all instances", console)
    table.add_column("")
    for name in matrix.column_names:
        table.add_column(name, justify="right", min_width=6)
    most = max((x for row in matrix.percent for x in row), default=0.0)
    for name, row in zip(matrix.row_names, matrix.percent, strict=True):
        cells = []
        for x in row:
            shade = _SHADES[0 if most <= 0 or x == 0 else min(4, 1 + int(3.99 * x / most))]
            cells.append(Text(f"{x:.1f}" if x else "·", style=shade or "dim"))
        table.add_row(name, *cells)
    console.print(table)


def _problems(s: Statistics, console: Console) -> None:
    if not s.problems:
        console.print("\nNo label problems found.")
        return
    console.print("\n[bold]Label problems[/bold]")
    for row in s.problems:
        console.print(f"[yellow]{row.count:,}[/yellow] x {escape(row.kind)}")
        console.print(Text("    e.g. " + "; ".join(row.examples[:2]), style="dim"), overflow="ellipsis", no_wrap=True)
