"""Plots of an evaluation, by name: for files and for the page alike."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from kloc.report.evaluation import PROFILE, BinRow, Evaluation, bin_rows, profile_rows, spans
from kloc.report.plots import COLOURS, INK, STYLE, Drawing, Panel, Series, draw, panel_plot

#: Colours of right detections and of the kinds of mistakes.
_KIND_COLOURS = ("#009e73", "#56b4e9", "#cc79a7", "#0072b2", "#e69f00", "#7f7f7f")
#: Inches: two side by side on a page, one on a telephone.
_WIDTH, _HEIGHT = 5.0, 3.7
#: A group of bars: its title; of each bar the name, the height as a share (NaN: none), how many instances it
#: is of, what pointing at it tells.
Group = tuple[str, Sequence[tuple[str, float, int, str]]]


def drawings(evaluation: Evaluation) -> dict[str, Drawing]:
    """All plots by name. Equal evaluations give equal drawings."""
    settings, diagnosis = evaluation.settings, evaluation.diagnosis
    bins = bin_rows(evaluation)
    normalised = [(name, [_bar(name, r, "mAP_N", r.normalised) for r in rows]) for name, _, rows in bins]
    missed = [(name, [_bar(name, r, "missed", r.missed) for r in rows]) for name, _, rows in bins]
    average = 100 * evaluation.average
    level = (average, f"average {average:.1f}")
    precision = Series("mAP", settings.thresholds, _in_percent(settings.columns(evaluation.result).tolist()))
    recall = evaluation.recall
    reached = Series("average recall", tuple(recall.counts.tolist()), _in_percent(recall.average_recall.tolist()))
    by_tiou = Panel("Precision", "tIoU", "mAP, %", (precision,), level=level, small=True, zero=True)
    by_count = Panel("Recall", "detections per video", "average recall, %", (reached,), small=True, zero=True)
    return {
        "precision": panel_plot(by_tiou),
        "recall": panel_plot(by_count),
        "false-positives": profile_plot(evaluation),
        "impact": impact_plot(evaluation),
        "sensitivity": bars_plot(normalised, "average mAP_N, %", diagnosis.normalised),
        "relative-impact": spans_plot(evaluation),
        "false-negatives": bars_plot(missed, "missed, %", diagnosis.false_negatives.missed),
    }


def _in_percent(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(100 * value for value in values)


def _bar(attribute: str, row: BinRow, what: str, share: float) -> tuple[str, float, int, str]:
    tip = f"{attribute} {row.name} ({row.range}): {what} {_percent(share)}, {row.instances:,} instances"
    return row.name, share, row.instances, tip


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.1f} %"


def profile_plot(evaluation: Evaluation) -> Drawing:
    """Stacked shares of right detections and of each kind of mistake, slice by slice of the ranking."""
    rows = profile_rows(evaluation)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(_WIDTH, _HEIGHT))
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
        axes.set(xlabel="each class's best detections; G: its instances", ylabel="share, %", ylim=(0, 100))
        axes.legend(
            loc="upper left", bbox_to_anchor=(-0.12, -0.17), ncol=3, fontsize=9, borderaxespad=0, columnspacing=1.2
        )
        return draw(figure, "false positives", tips)


def impact_plot(evaluation: Evaluation) -> Drawing:
    """What the average mAP_N gains without each kind of mistake, in points."""
    impacts = evaluation.diagnosis.false_positives.impacts
    bars = [(i.kind, 100 * i.normalised, f"without {i.kind}: mAP_N {100 * i.normalised:+.1f} points") for i in impacts]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(_WIDTH, 2.6))
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


def bars_plot(groups: Sequence[Group], y_label: str, overall: float) -> Drawing:
    """Groups of bars side by side, each with its figure and its instances, and the figure of all across them."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(_WIDTH, _HEIGHT))
        axes = figure.add_subplot()
        ticks: list[tuple[float, str]] = []
        tips: list[tuple[Artist, str]] = []
        at = 0.0
        under = axes.get_xaxis_transform()
        for n, (name, bars) in enumerate(groups):
            if all(math.isnan(share) for _, share, *_ in bars):
                continue
            places = [at + i for i in range(len(bars))]
            shares = [100 * share for _, share, *_ in bars]
            heights = [0.0 if math.isnan(share) else share for share in shares]
            drawn = axes.bar(places, heights, width=0.82, color=COLOURS[n % len(COLOURS)])
            figures = ["–" if math.isnan(share) else f"{share:.0f}" for share in shares]
            axes.bar_label(drawn, figures, padding=2, fontsize=9, color=INK)
            tips += [(bar, tip) for bar, (*_, tip) in zip(drawn, bars, strict=True)]
            ticks += [(place, label) for place, (label, *_) in zip(places, bars, strict=True)]
            for place, (_, _, count, _) in zip(places, bars, strict=True):
                axes.text(place, -0.085, f"{count:,}", rotation=90, ha="center", va="top", fontsize=8, transform=under)
            middle = (places[0] + places[-1]) / 2
            axes.text(middle, 1.03, name, ha="center", fontsize=10, transform=axes.get_xaxis_transform())
            at = places[-1] + 2
        if not math.isnan(overall):
            name = f"all instances: {100 * overall:.1f}"
            axes.axhline(100 * overall, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), label=name)
            axes.legend(loc="upper left", bbox_to_anchor=(0, -0.24), fontsize=10, borderaxespad=0)
        axes.text(-0.02, -0.085, "instances", ha="right", va="top", fontsize=8, transform=axes.transAxes)
        axes.set_xticks([place for place, _ in ticks], [label for _, label in ticks], fontsize=9)
        axes.grid(visible=False, axis="x")
        axes.set(ylabel=y_label, ylim=(0, 108))
        axes.set_yticks(range(0, 101, 20))
        return draw(figure, f"bars {y_label}", tips)


def spans_plot(evaluation: Evaluation) -> Drawing:
    """From the worst to the best bin of each attribute: mAP_N by that of all instances, small bins left out."""
    known = [(n, *row) for n, row in enumerate(spans(evaluation)) if not math.isnan(row[2])]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(_WIDTH, 2.6))
        axes = figure.add_subplot()
        tips: list[tuple[Artist, str]] = []
        for n, (slot, row, worst, best) in enumerate(known):
            line = axes.barh(n, best - worst, left=worst, height=0.3, color=COLOURS[slot % len(COLOURS)])
            tip = f"{row.attribute}: from {worst:.2f} to {best:.2f} times the mAP_N of all instances"
            tips += [(line.patches[0], tip)]
            axes.annotate(f"{worst:.2f}", (worst, n), (-5, 0), textcoords="offset points", ha="right", va="center")
            axes.annotate(f"{best:.2f}", (best, n), (5, 0), textcoords="offset points", va="center")
        axes.axvline(1.0, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set_yticks(range(len(known)), [row.attribute for _, row, *_ in known])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        top = max([1.0, *(best for *_, best in known)])
        axes.set(xlabel="times the mAP_N of all instances", xlim=(-0.14 * top, 1.14 * top))
        return draw(figure, "relative impact", tips)
