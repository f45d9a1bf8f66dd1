"""Statistics in a terminal: tables and bars that read well in 80 columns."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kloc.printing import printable
from kloc.report.campaign import Campaign, price
from kloc.report.label_problems import LabelProblem
from kloc.report.statistics import Histogram, Pairwise, Statistics, sentences

_BAR = 28
_SHADES = ("", "on grey19", "on grey27", "on grey35", "on grey42")
#: Rows of a long table that are shown unless all are asked for.
_ROWS = 15


def render_terminal(statistics: Statistics, console: Console, *, everything: bool = False) -> None:
    """Print the statistics; long tables are cut, and say how to see all, unless ``everything`` is asked for."""
    s = statistics
    limit = None if everything else _ROWS
    console.print(Text(printable(s.name), style="bold"))
    if s.simulated:
        console.print(Text("Simulated answers: no person annotated these videos", style="yellow"))
    for name, fact in _facts(s):
        console.print(Text(f"{name:<12}", style="dim").append(fact, style="default"))
    console.print()
    for sentence in sentences(s):
        console.print(Text(printable(sentence)))
    _subsets(s, console)
    _classes(s, console, limit)
    for histogram in (*s.attributes, s.videos_by_instances):
        _histogram(histogram, console)
    for matrix in s.pairwise:
        _pairwise(matrix, console)
    if s.campaign is not None:
        _campaign(s.campaign, console, limit)
    _problems("Label problems", s.label_problems, "No label problems found.", console)
    if len(s.subsets) > 1:
        _problems("Leakage between subsets", s.leakage, "No leakage between subsets found.", console)


def _facts(s: Statistics) -> list[tuple[str, str]]:
    hours = "durations not known" if s.videos and s.untimed == s.videos else f"{s.hours:.2f} h"
    facts = [
        *([("origin", printable(s.origin))] if s.origin and not s.simulated else []),
        ("videos", f"{s.videos:,} ({hours}), {s.annotated:,} annotated"),
        ("instances", f"{s.instances:,} of {s.classes:,} classes ({s.action_hours:.2f} h of action)"),
        ("per video", f"{s.instances_per_video:.2f} ({s.instances_per_video_with_any:.2f} where any occurs)"),
        ("without any", f"{s.videos_without_instance:,} annotated videos"),
    ]
    if s.mean_length is not None and s.median_length is not None:
        facts.append(("length", f"mean {s.mean_length:.1f} s, median {s.median_length:.1f} s"))
    if s.balance is not None:
        facts.append(("balance", f"{s.balance:.2f} (entropy of the classes, 1 is uniform)"))
    return facts


def _table(title: str, console: Console, columns: Sequence[str] = ()) -> Table:
    """A table under its title; the first column is text, the others are figures."""
    # Printed by itself: a table would break its title at its own width.
    console.print(Text("\n" + title, style="bold"))
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for i, name in enumerate(columns):
        table.add_column(name, justify="right" if i else "left", no_wrap=True, overflow="ellipsis")
    return table


def _cut(what: str, rows: int, limit: int | None, console: Console, more: str = "") -> None:
    """Say what a table leaves out."""
    if limit is not None and rows > limit:
        console.print(Text(f"... and {rows - limit:,} more {what}{more}; --all shows them", style="dim"))


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _subsets(s: Statistics, console: Console) -> None:
    columns = ("subset", "videos", "annotated", "instances", "classes", "hours", "action h", "balance")
    table = _table("Subsets", console, columns)
    for row in s.subsets:
        counts = (f"{n:,}" for n in (row.videos, row.annotated, row.instances, row.classes))
        figures = (_number(x, 2) for x in (row.hours or None, row.action_hours, row.balance))
        table.add_row(row.subset, *counts, *figures)
    console.print(table)


def _classes(s: Statistics, console: Console, limit: int | None) -> None:
    table = _table("Classes", console, ("class", "videos", "inst.", "/video", "med. s", "cov.", "hours"))
    table.columns[0].max_width = 24
    table.add_column("", no_wrap=True)
    rows = sorted(s.per_class, key=lambda r: (-r.instances, r.label))
    most = max((r.instances for r in rows), default=0)
    for row in rows[:limit]:
        table.add_row(
            Text(printable(row.label)),
            f"{row.videos:,}",
            f"{row.instances:,}",
            _number(row.instances_per_video if row.videos else None, 1),
            _number(row.median_length, 1),
            _number(row.mean_coverage, 2),
            _number(row.seconds / 3600, 2),
            _bar(row.instances, most, 12),
        )
    console.print(table)
    rest = rows[limit:] if limit is not None else []
    _cut("classes", len(rows), limit, console, f" with {sum(r.instances for r in rest):,} instances")


def _bar(value: float, most: float, width: int) -> Text:
    cells = 0.0 if most <= 0 else value / most * width
    blocks = "█" * int(cells) + ("▌" if cells - int(cells) >= 0.5 else "")
    return Text(blocks or ("▏" if value else ""), style="cyan")


def _histogram(histogram: Histogram, console: Console) -> None:
    table = _table(histogram.title, console)
    table.show_header = False
    for justify in ("left", "left", "right", "right", "left"):
        table.add_column(justify=justify, no_wrap=True)
    most = max(histogram.counts, default=0)
    for name, span, count, share in zip(
        histogram.names, histogram.ranges, histogram.counts, histogram.percent, strict=True
    ):
        table.add_row(name, Text(span, style="dim"), f"{count:,}", f"{share:.1f} %", _bar(count, most, _BAR))
    console.print(table)


def _pairwise(matrix: Pairwise, console: Console) -> None:
    table = _table(f"{matrix.rows.capitalize()} (rows) by {matrix.columns}, % of instances", console)
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


def _campaign(campaign: Campaign, console: Console, limit: int | None) -> None:
    simulated = " (simulated workers)" if campaign.simulated else ""
    if campaign.rounds:
        columns = ("round", "strategy", "videos", "minutes", "answers", "paid", "per video")
        table = _table(f"Rounds{simulated}", console, columns)
        table.columns[1].justify = "left"
        for row in campaign.rounds:
            figures = (f"{row.videos:,}", f"{row.minutes:,.1f}", f"{row.answers:,}", price(row.dollars))
            table.add_row(str(row.round), printable(row.strategy), *figures, price(row.dollars / max(row.videos, 1)))
        console.print(table)
        columns = ("video", "round", "strategy", "rank", "answers", "work, min", "paid")
        table = _table(f"What each video cost{simulated}", console, columns)
        table.columns[0].max_width, table.columns[2].justify = 30, "left"
        chosen = sorted(campaign.chosen, key=lambda c: (-c.dollars, c.round, c.rank, c.video_id))
        for one in chosen[:limit]:
            figures = (f"{one.rank:,}", f"{one.answers:,}", _number(one.minutes, 1), price(one.dollars))
            table.add_row(Text(printable(one.video_id)), str(one.round), printable(one.strategy), *figures)
        console.print(table)
        _cut("videos", len(chosen), limit, console)
    if campaign.missing:
        console.print(Text("\nMissing media", style="bold"))
        for line in campaign.missing[:limit]:
            console.print(Text(printable(line)))
        _cut("videos", len(campaign.missing), limit, console)


def _problems(title: str, problems: Sequence[LabelProblem], none: str, console: Console) -> None:
    if not problems:
        console.print("\n" + none)
        return
    console.print(Text("\n" + title, style="bold"))
    for row in problems:
        console.print(Text.assemble((f"{row.count:,}", "yellow"), " x ", row.kind))
        examples = Text("    e.g. " + printable("; ".join(row.examples[:2])), style="dim")
        console.print(examples, overflow="ellipsis", no_wrap=True)
