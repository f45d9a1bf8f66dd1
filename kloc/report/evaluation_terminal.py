"""An evaluation in a terminal of 80 columns."""

from __future__ import annotations

import math

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kloc.printing import printable
from kloc.report.evaluation import (
    FEWEST,
    BinRow,
    ClassRow,
    Evaluation,
    bin_rows,
    class_rows,
    facts,
    profile_rows,
    recall_pairs,
    spans,
    title,
)

#: Thresholds side by side.
_ACROSS = 10
#: Classes shown at either end.
_CLASSES = 6
_BAR = 16
_PROFILE_HEADS = ("right", "double", "wrong label", "localiz.", "confusion", "backgr.")


def render_terminal(evaluation: Evaluation, console: Console) -> None:
    """Print the figures, in percent; classes between the best and the worst are left to the page and to ``--json``."""
    console.print(Text(printable(f"{evaluation.predictions} against {evaluation.truth}"), style="bold"))
    if evaluation.simulated:
        console.print(Text("Simulated answers: no person annotated this truth", style="yellow"))
    told = Table.grid(padding=(0, 2, 0, 0))
    for name, fact in facts(evaluation).items():
        told.add_row(Text(name, style="dim"), Text(printable(fact)))
    console.print(told)
    _precision(evaluation, console)
    _recall(evaluation, console)
    _classes(class_rows(evaluation), evaluation, console)
    for attribute, unit, rows in bin_rows(evaluation):
        _bins(title(attribute, unit), rows, console)
    _sensitivity(evaluation, console)
    _profile(evaluation, console)
    for line in evaluation.problems:
        console.print(Text.assemble(("! ", "bold yellow"), printable(line)))


def _table(heading: str, console: Console, *columns: str) -> Table:
    # Printed by itself: a table would break its title at its own width.
    console.print(Text("\n" + heading, style="bold"))
    table = Table(box=None, pad_edge=False, header_style="dim")
    for n, name in enumerate(columns):
        table.add_column(name, justify="left" if n == 0 else "right", no_wrap=True)
    return table


def percent(value: float) -> str:
    """One decimal, a dash for nothing."""
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def _precision(evaluation: Evaluation, console: Console) -> None:
    settings = evaluation.settings
    console.print(Text("\nMean average precision by tIoU, %", style="bold"))
    values = settings.columns(evaluation.result).tolist()
    for low in range(0, len(values), _ACROSS):
        part = slice(low, low + _ACROSS)
        console.print(Text("tIoU " + "".join(f"{t:7.4g}" for t in settings.thresholds[part]), style="dim"))
        console.print("mAP  " + "".join(f"{percent(v):>7}" for v in values[part]))
    average = (percent(evaluation.average), "bold")
    console.print(Text.assemble(("average ", "bold"), average, f"  over tIoU {_span(settings.averaged)}"))


def _span(over: tuple[float, ...]) -> str:
    return f"{over[0]:g} to {over[-1]:g}, {len(over)} thresholds" if len(over) > 1 else f"{over[0]:g}"


def _recall(evaluation: Evaluation, console: Console) -> None:
    recall = evaluation.recall
    pairs = recall_pairs(recall)
    console.print(Text("\nAverage recall by the average number of detections per video, %", style="bold"))
    console.print(Text("N    " + "".join(f"{n:7d}" for n, _ in pairs) + "    AUC", style="dim"))
    console.print("AR@N " + "".join(f"{percent(v):>7}" for _, v in pairs) + f"{percent(recall.auc):>7}")
    console.print(f"Recall is averaged over tIoU {_span(evaluation.settings.averaged)}.", style="dim")


def _classes(rows: list[ClassRow], evaluation: Evaluation, console: Console) -> None:
    thresholds = evaluation.settings.thresholds
    shown = sorted({0, len(thresholds) // 2, len(thresholds) - 1})
    heads = [f"@{thresholds[n]:g}" for n in shown]
    heading = f"Classes, AP in % ({len(rows):,} with truth)"
    table = _table(heading, console, "class", "inst.", "det.", *heads, "average", "")
    table.columns[0].max_width, table.columns[0].overflow = 24, "ellipsis"
    table.columns[-1].justify = "left"
    few = len(rows) <= 2 * _CLASSES + 1
    for row in rows if few else rows[:_CLASSES]:
        _class(table, row, shown)
    if not few:
        table.add_row(f"[dim]... {len(rows) - 2 * _CLASSES:,} more[/dim]")
        for row in rows[-_CLASSES:]:
            _class(table, row, shown)
    console.print(table)


def _class(table: Table, row: ClassRow, shown: list[int]) -> None:
    counts = (f"{row.instances:,}", f"{row.detections:,}")
    figures = [percent(row.precision[n]) for n in shown]
    table.add_row(Text(printable(row.name)), *counts, *figures, percent(row.average), _bar(row.average, 8))


def _bar(share: float, width: int = _BAR) -> Text:
    """A bar, padded to ``width``: columns of bars are equally wide in all tables."""
    cells = 0.0 if math.isnan(share) else min(max(share, 0.0), 1.0) * width
    return Text(("█" * int(cells) + ("▌" if cells - int(cells) >= 0.5 else "")).ljust(width), style="cyan")


def _bins(name: str, rows: list[BinRow], console: Console) -> None:
    if not any(row.instances for row in rows):
        console.print(Text("\n" + name, style="bold").append("  not known of any instance", style="default"))
        return
    table = _table(name, console, "bin", "range", "instances", "mAP %", "mAP_N %", "", "missed %")
    table.columns[1].justify = table.columns[5].justify = "left"
    table.columns[1].min_width = 7
    for row in rows:
        figures = (f"{row.instances:,}", percent(row.mean_ap), percent(row.normalised))
        table.add_row(row.name, f"[dim]{row.range}[/dim]", *figures, _bar(row.normalised), percent(row.missed))
    console.print(table)


def _sensitivity(evaluation: Evaluation, console: Console) -> None:
    diagnosis = evaluation.diagnosis
    heading = "Sensitivity: mAP_N of the worst and the best bin, by that of all instances"
    table = _table(heading, console, "", "worst", "best")
    for row, worst, best in spans(evaluation):
        note = f"  [dim]{row.unknown:,} instances not known[/dim]" if row.unknown else ""
        table.add_row(title(row.attribute) + note, _times(worst), _times(best))
    console.print(table)
    console.print(f"Bins of fewer than {FEWEST} instances do not count.", style="dim")
    console.print(
        f"mAP_N {percent(diagnosis.normalised)} %, N = {diagnosis.mean_per_class:.4g} instances per class; "
        f"missed {percent(diagnosis.false_negatives.missed)} % of all"
    )


def _times(value: float) -> str:
    return "-" if math.isnan(value) else f"x {value:.2f}"


def _profile(evaluation: Evaluation, console: Console) -> None:
    found = evaluation.diagnosis.false_positives
    heading = "False positives: shares of each class's best detections, %"
    table = _table(heading, console, "", "detections", *_PROFILE_HEADS)
    for name, size, shares in profile_rows(evaluation):
        table.add_row(name, f"{size:,}", *map(percent, shares))
    total = [i.share for i in found.impacts]
    table.add_row(
        "all", f"{sum(found.sizes):,}", percent(1 - sum(total)) if sum(found.sizes) else "-", *map(percent, total)
    )
    table.add_row("gain mAP_N", "", "", *(_gain(i.normalised) for i in found.impacts), style="bold")
    table.add_row("gain mAP", "", "", *(_gain(i.mean_ap) for i in found.impacts))
    console.print(table)
    console.print(
        "G: as many detections of each class as it has instances. Gain: what the average\n"
        "of these detections would rise by, in points, without that kind of mistake.",
        style="dim",
    )
    console.print()


def _gain(value: float) -> str:
    return "-" if math.isnan(value) else f"+{100 * value:.1f}"
