"""Plots of an evaluation, by name: for files and for the page alike."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kloc.report.evaluation import PROFILE, Evaluation, bin_rows, profile_rows, title
from kloc.report.plots import COLOURS, INK, STYLE, Drawing, Panel, Series, draw, panel_plot

#: Colours of right detections and of the kinds of mistakes.
_KIND_COLOURS = ("#009e73", "#56b4e9", "#cc79a7", "#0072b2", "#e69f00", "#7f7f7f")
#: A group of bars: its title; of each bar the name, the height in percent (NaN: none), what pointing at it tells.
Group = tuple[str, Sequence[tuple[str, float, str]]]


def drawings(evaluation: Evaluation) -> dict[str, Drawing]:
    """All plots by name. Equal evaluations give equal drawings."""
    settings, diagnosis = evaluation.settings, evaluation.diagnosis
    bins = bin_rows(evaluation)
    normalised = [
        (name, [(r.name, 100 * r.normalised, f"{name}, {r.name} ({r.range}): mAP_N {_percent(r.normalised)}, "
                 f"{r.instances:,} instances") for r in rows])
        for name, rows in bins
    ]  # fmt: skip
    missed = [
        (name, [(r.name, 100 * r.missed, f"{name}, {r.name} ({r.range}): {_percent(r.missed)} of "
                 f"{r.instances:,} instances missed") for r in rows])
        for name, rows in bins
    ]  # fmt: skip
    average = 100 * evaluation.average
    level = (average, f"average {average:.1f}")
    precision = Series("mAP", settings.thresholds, _in_percent(settings.columns(evaluation.result).tolist()))
    recall = evaluation.recall
    reached = Series("average recall", tuple(recall.counts.tolist()), _in_percent(recall.average_recall.tolist()))
    return {
        "precision": panel_plot(Panel("Precision", "tIoU", "mAP, %", (precision,), level=level, small=True)),
        "recall": panel_plot(Panel("Recall", "detections per video", "average recall, %", (reached,), small=True)),
        "false-positives": profile_plot(evaluation),
        "impact": impact_plot(evaluation),
        "sensitivity": bars_plot(normalised, "average mAP_N, %", (100 * diagnosis.normalised, "all instances")),
        "relative-impact": spans_plot(evaluation),
        "false-negatives": bars_plot(missed, "missed, %", (100 * diagnosis.false_negatives.missed, "all instances")),
    }


def _in_percent(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(100 * value for value in values)


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.1f} %"


def profile_plot(evaluation: Evaluation) -> Drawing:
    """Stacked shares of right detections and of each kind of mistake, slice by slice of the ranking."""
    rows = profile_rows(evaluation)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.2))
        axes = figure.add_subplot()
        tips: list[tuple[Artist, str]] = []
        below = [0.0] * len(rows)
        for n, (name, colour) in enumerate(zip(PROFILE, _KIND_COLOURS, strict=True)):
            heights = [100 * shares[n] for _, _, shares in rows]
            drawn = axes.bar(range(len(rows)), heights, bottom=below, width=0.8, color=colour, label=name)
            tips += [(bar, f"{row[0]}, {name}: {_percent(row[2][n])} of {row[1]:,} detections")
                     for bar, row in zip(drawn, rows, strict=True)]  # fmt: skip
            below = [b + h for b, h in zip(below, heights, strict=True)]
        axes.set_xticks(range(len(rows)), [name for name, _, _ in rows])
        axes.grid(visible=False, axis="x")
        axes.set(xlabel="each class's best detections, by its number of instances G", ylabel="share, %", ylim=(0, 100))
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.16), ncol=3, fontsize=10, borderaxespad=0)
        return draw(figure, "false positives", tips)


def impact_plot(evaluation: Evaluation) -> Drawing:
    """What the average mAP_N gains without each kind of mistake, in points."""
    impacts = evaluation.diagnosis.false_positives.impacts
    bars = [(i.kind, 100 * i.normalised, f"without {i.kind}: mAP_N {100 * i.normalised:+.1f} points") for i in impacts]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 2.6))
        axes = figure.add_subplot()
        names, values, tips = zip(*bars, strict=True)
        drawn = axes.barh(range(len(bars)), [0.0 if math.isnan(v) else v for v in values], height=0.68)
        for bar, colour in zip(drawn, _KIND_COLOURS[1:], strict=True):
            bar.set_facecolor(colour)
        axes.bar_label(drawn, [f"{v:+.1f}" for v in values], padding=4, fontsize=10, color=INK)
        axes.set_yticks(range(len(bars)), names)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.12)
        axes.set(xlabel="gain in average mAP_N, points")
        return draw(figure, "impact", list(zip(drawn, tips, strict=True)))


def bars_plot(groups: Sequence[Group], y_label: str, level: tuple[float, str]) -> Drawing:
    """Groups of bars side by side, each with its figure, and a level across all of them."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.4))
        axes = figure.add_subplot()
        ticks: list[tuple[float, str]] = []
        tips: list[tuple[Artist, str]] = []
        at = 0.0
        for n, (name, bars) in enumerate(groups):
            places = [at + i for i in range(len(bars))]
            heights = [0.0 if math.isnan(height) else height for _, height, _ in bars]
            drawn = axes.bar(places, heights, width=0.82, color=COLOURS[n % len(COLOURS)])
            axes.bar_label(
                drawn, ["–" if math.isnan(h) else f"{h:.0f}" for _, h, _ in bars], padding=2, fontsize=10, color=INK
            )
            tips += [(bar, tip) for bar, (_, _, tip) in zip(drawn, bars, strict=True)]
            ticks += [(place, label) for place, (label, _, _) in zip(places, bars, strict=True)]
            axes.text(
                (places[0] + places[-1]) / 2, 1.03, name, ha="center", fontsize=10, transform=axes.get_xaxis_transform()
            )
            at = places[-1] + 2
        _level(axes, *level)
        axes.set_xticks([place for place, _ in ticks], [label for _, label in ticks])
        axes.grid(visible=False, axis="x")
        axes.set(ylabel=y_label, ylim=(0, 108))
        axes.set_yticks(range(0, 101, 20))
        return draw(figure, f"bars {y_label}", tips)


def _level(axes: Axes, height: float, name: str) -> None:
    if not math.isnan(height):
        axes.axhline(height, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), label=f"{name}: {height:.1f}")
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.1), fontsize=10, borderaxespad=0)


def spans_plot(evaluation: Evaluation) -> Drawing:
    """From the worst to the best bin of each attribute: mAP_N by that of all instances."""
    rows = [row for row in evaluation.diagnosis.sensitivity if not math.isnan(row.highest)]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 0.9 + 0.45 * max(len(rows), 1)))
        axes = figure.add_subplot()
        tips: list[tuple[Artist, str]] = []
        for n, row in enumerate(rows):
            line = axes.barh(n, row.highest - row.lowest, left=row.lowest, height=0.3, color=COLOURS[n % len(COLOURS)])
            tip = f"{title(row.attribute)}: from {row.lowest:.2f} to {row.highest:.2f} times the mAP_N of all instances"
            tips += [(line.patches[0], tip)]
            axes.annotate(
                f"{row.lowest:.2f}", (row.lowest, n), (-5, 0), textcoords="offset points", ha="right", va="center"
            )
            axes.annotate(f"{row.highest:.2f}", (row.highest, n), (5, 0), textcoords="offset points", va="center")
        axes.axvline(1.0, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set_yticks(range(len(rows)), [title(row.attribute) for row in rows])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.14)
        axes.set(xlabel="mAP_N of the worst and best bin, by that of all instances")
        return draw(figure, "relative impact", tips)
