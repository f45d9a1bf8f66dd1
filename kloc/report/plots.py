"""Plots as SVG text: light background, colours that colour-blind readers can tell apart, equal bytes for equal data."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from kloc.report.statistics import Pairwise

#: Okabe and Ito's colours, the ones that stand out on white and on near black, best first.
COLOURS: tuple[str, ...] = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8c6bb1", "#7f7f7f")
INK, FAINT, PAPER = "#22272e", "#b9c0c8", "#ffffff"
_LIGHT = "#fffffe"  # text on dark cells: white that `for_page` leaves alone
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
#: What all drawings look like.
STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
    "legend.frameon": False,
}


class Drawing(str):
    """The SVG text of a plot, with the figure it was made from."""

    __slots__ = ("figure",)
    figure: Figure


@dataclass(frozen=True)
class CurvePoint:
    """One round: how much was labelled, what the localizer then reached, perhaps with an interval over seeds."""

    labelled: float
    value: float
    low: float | None = None
    high: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Curve:
    """The learning curve of one arm (a selection strategy, random choice, all labels at once)."""

    name: str
    points: tuple[CurvePoint, ...]


@dataclass(frozen=True)
class Series:
    """A line of a panel. low and high are a band, as long as ``mean``, or empty; ``slot`` picks colour and marker."""

    name: str
    x: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    slot: int = 0


@dataclass(frozen=True)
class Panel:
    """Lines in one pair of axes.

    published: what others report for the same, drawn hollow and dashed, in the colours of their slots.
    level: a height to reach, with its name. percent: which axes ("x", "y", "xy") hold shares, shown as percent.
    ticks: the only places of x that are named; log: spread x by its logarithm. small: one of several side by side.
    zero: y begins at 0.
    """

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    published: tuple[Series, ...] = ()
    level: tuple[float, str] | None = None
    percent: str = ""
    ticks: tuple[float, ...] = ()
    log: bool = False
    small: bool = False
    zero: bool = False
    note: str = ""


def panel_plot(panel: Panel) -> Drawing:
    """SVG of a panel; lines of many points are drawn without markers."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.0, 3.7) if panel.small else (7.2, 4.2))
        axes = figure.add_subplot()
        if panel.level is not None:
            axes.axhline(panel.level[0], color=INK, linewidth=0.9, linestyle=(0, (1, 2)), label=panel.level[1])
        for line in panel.series:
            colour, marker = COLOURS[line.slot % len(COLOURS)], _MARKERS[line.slot % len(_MARKERS)]
            if line.low and line.high:
                axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.16, linewidth=0)
            few = marker if len(line.x) <= 24 else None
            axes.plot(line.x, line.mean, color=colour, marker=few, markersize=5, linewidth=2, label=line.name)
        for i, line in enumerate(panel.published):
            colour, marker = COLOURS[line.slot % len(COLOURS)], _MARKERS[line.slot % len(_MARKERS)]
            axes.plot(
                line.x, line.mean, color=colour, marker=marker, markersize=8, markerfacecolor="none",
                markeredgewidth=1.6, linewidth=1, linestyle=(0, (4, 3)), label="_" if i else "published, by colour",
            )  # fmt: skip
        axes.set(xlabel=panel.x_label, ylabel=panel.y_label, ylim=_heights(panel))
        if panel.log:
            axes.set_xscale("log", base=2)
        if panel.ticks:
            axes.set_xticks(panel.ticks)
            axes.minorticks_off()
        if "x" in panel.percent:
            axes.xaxis.set_major_formatter(FuncFormatter(_percent))
        elif not panel.series or panel.ticks or panel.series[0].x[-1] >= 10:
            axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.6g}"))
        if "y" in panel.percent:
            axes.yaxis.set_major_formatter(FuncFormatter(_percent))
        if panel.series:
            columns = 2 if panel.small else 4
            axes.legend(loc="upper left", bbox_to_anchor=(0, -0.16), ncol=columns, fontsize=10, borderaxespad=0)
        return draw(figure, f"panel {panel.title}")


def _heights(panel: Panel) -> tuple[float, float] | None:
    """What to show of y: all lines whole, bands as far as they leave the lines at least half of the height."""
    lines = [*panel.series, *panel.published]
    means = [y for line in lines for y in line.mean] + ([panel.level[0]] if panel.level else [])
    if not means:
        return None
    low, high = min(means), max(means)
    room = max(high - low, 0.02) / 2
    low = max(low - room, min([low, *(y for line in lines for y in line.low)]))
    high = min(high + room, max([high, *(y for line in lines for y in line.high)]))
    margin = 0.05 * max(high - low, 0.02)
    return 0.0 if panel.zero else low - margin, high + margin


def _percent(x: float, _: int = 0) -> str:
    return f"{100 * x:.4g} %"


def learning_curve(
    curves: Sequence[Curve], *, x_label: str = "labelled videos", y_label: str = "mAP@0.5", title: str = ""
) -> Drawing:
    """SVG of the learning curves of several arms; an arm of a single point is drawn as a level to reach."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.0))
        axes = figure.add_subplot()
        for i, curve in enumerate(curves):
            colour, marker = COLOURS[i % len(COLOURS)], _MARKERS[i % len(_MARKERS)]
            x = [p.labelled for p in curve.points]
            y = [p.value for p in curve.points]
            if len(x) == 1:
                axes.axhline(y[0], color=colour, linewidth=1.2, linestyle=(0, (5, 3)), label=curve.name)
                axes.plot(x, y, color=colour, marker=marker, markersize=7, linestyle="none")
                continue
            axes.plot(x, y, color=colour, marker=marker, markersize=5.5, linewidth=2, label=curve.name)
            band = [(p.labelled, p.low, p.high) for p in curve.points if p.low is not None and p.high is not None]
            if band:
                at, low, high = np.asarray(band, np.float64).T
                axes.fill_between(at, low, high, color=colour, alpha=0.16, linewidth=0)
        axes.set(xlabel=x_label, ylabel=y_label, title=title, ylim=(0, None))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        if curves:
            axes.legend(loc="upper left", bbox_to_anchor=(0, -0.15), ncol=2, fontsize=10, borderaxespad=0)
        return draw(figure, "learning-curve" + title)


def bars(values: Mapping[str, float], *, x_label: str = "", title: str = "", percent: bool = False) -> Drawing:
    """SVG of horizontal bars, in the order given, each with its figure."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 0.9 + 0.32 * max(len(values), 1)))
        axes = figure.add_subplot()
        names = list(values)
        drawn = axes.barh(range(len(names)), [values[n] for n in names], color=COLOURS[0], height=0.68)
        labels = [f"{100 * v:.1f} %" if percent else f"{v:,.4g}" for v in values.values()]
        axes.bar_label(drawn, labels, padding=4, fontsize=10, color=INK)
        tips = [(bar, f"{name}: {label}") for bar, name, label in zip(drawn, names, labels, strict=True)]
        # parse_math off: a class name may hold a dollar sign
        axes.set_yticks(range(len(names)), names, parse_math=False)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.12)
        axes.set(xlabel=x_label, title=title)
        if percent:
            axes.xaxis.set_major_formatter(FuncFormatter(_percent))
        return draw(figure, "bars" + title, tips)


def ranked(values: Sequence[float], *, x_label: str, y_label: str, title: str = "") -> Drawing:
    """SVG of many figures from the largest to the smallest, too many to name."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.6))
        axes = figure.add_subplot()
        axes.bar(range(1, len(values) + 1), values, width=1.0, color=COLOURS[0], edgecolor=PAPER, linewidth=0.3)
        axes.grid(visible=False, axis="x")
        axes.set(xlabel=x_label, ylabel=y_label, title=title, xlim=(0.5, len(values) + 0.5), ylim=(0, None))
        return draw(figure, f"ranked {y_label}")


def heatmap(matrix: Pairwise, *, title: str = "") -> Drawing:
    """SVG of one pairwise matrix, in percent of all instances."""
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(4.4, 3.8))
        axes = figure.add_subplot()
        top = max((x for row in matrix.percent for x in row), default=0.0)
        axes.set(xlim=(-0.5, len(matrix.column_names) - 0.5), ylim=(len(matrix.row_names) - 0.5, -0.5), aspect="equal")
        tips = []
        for r, row in enumerate(matrix.percent):
            for c, x in enumerate(row):
                colour = mpl.colormaps["Blues"](x / max(top, 1e-9))
                cell = axes.add_patch(Rectangle((c - 0.5, r - 0.5), 1, 1, facecolor=colour, edgecolor=PAPER))
                tips.append((cell, matrix.tip(r, c)))
                axes.text(c, r, f"{x:.1f}", ha="center", va="center", color=_LIGHT if x > 0.6 * top else INK)
        axes.set_xticks(range(len(matrix.column_names)), matrix.column_names)
        axes.set_yticks(range(len(matrix.row_names)), matrix.row_names)
        axes.set(xlabel=matrix.columns, ylabel=matrix.rows, title=title)
        return draw(figure, f"heat-{matrix.rows}-{matrix.columns}", tips)


def draw(figure: Figure, salt: str, tips: Sequence[tuple[Artist, str]] = ()) -> Drawing:
    """The figure as an ``<svg>`` element: no date, no version, ids that depend on the content alone.

    tips: artists, each with what pointing at it tells (a ``<title>``, as browsers show it).
    """
    for i, (artist, _) in enumerate(tips):
        artist.set_gid(f"tip-{i}")
    for text in figure.findobj(mpl.text.Text):
        text.set_parse_math(False)  # names are text, never formulas
    FigureCanvasSVG(figure)
    stream = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": f"kloc {salt}"}):
        figure.savefig(stream, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    found = re.search(r"<svg.*</svg>", stream.getvalue(), re.DOTALL)
    assert found is not None, "matplotlib wrote no svg element"
    bare = re.sub(r"<metadata>.*?</metadata>", "", found.group(0), flags=re.DOTALL)
    told = re.sub(r'<g id="tip-(\d+)">', lambda m: f'<g class="tip"><title>{escape(tips[int(m[1])][1])}</title>', bare)
    drawing = Drawing(re.sub(r"\s*\n", "\n", told) + "\n")
    drawing.figure = figure
    return drawing


def to_png(drawing: Drawing, dpi: int = 160) -> bytes:
    """The same drawing as the bytes of a PNG file; equal drawings give equal bytes."""
    stream = io.BytesIO()
    FigureCanvasAgg(drawing.figure)
    drawing.figure.savefig(stream, format="png", dpi=dpi, bbox_inches="tight", metadata={"Software": None})
    return stream.getvalue()


def for_page(svg: str) -> str:
    """The same drawing with the page's colours, so that it follows light and dark, and with the page's own tips."""
    told = re.sub(r'<g class="tip"><title>(.*?)</title>', r'<g data-tip="\1">', svg, flags=re.DOTALL)
    replaced = re.sub(r"(?i)#22272e", "var(--ink)", told)
    replaced = re.sub(r"(?i)#b9c0c8", "var(--line)", replaced)
    return re.sub(r"(?i)fill: ?#ffffff", "fill: none", replaced)
