"""One self-contained HTML page about a dataset and how it came about: opens from disk, asks the network nothing.

:func:`render_report` takes plain data. Every text is escaped; pictures travel as data URIs.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from kloc.report.plots import COLOURS, Curve, for_page, learning_curve
from kloc.report.statistics import Statistics

Cell = str | int | float | None


@dataclass(frozen=True)
class Headline:
    """One large number. ``value`` is already formatted; ``note`` says what it is measured against."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A table; the first column is text, numbers are set flush right. ``None`` shows as a dash."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Thumbnail:
    """A still at ``time`` seconds, as the bytes of a JPEG or PNG file."""

    time: float
    image: bytes


@dataclass(frozen=True)
class Bar:
    """A segment on a timeline, seconds. ``strength`` in [0, 1] (confidence, score) sets how solid it is."""

    start: float
    end: float
    label: str
    strength: float = 1.0
    note: str = ""


@dataclass(frozen=True)
class Track:
    """One row of bars: the truth, one worker's answer, the consolidated annotation, the detections."""

    name: str
    bars: tuple[Bar, ...]
    kind: str = ""


@dataclass(frozen=True)
class Timeline:
    """One video: stills above, tracks below, over ``[start, end)`` seconds."""

    video_id: str
    start: float
    end: float
    tracks: tuple[Track, ...]
    thumbnails: tuple[Thumbnail, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class ReportData:
    """All that the page shows. Sections without data are left out.

    simulated: whether any answer came from simulated workers; the page says so at the top.
    summary: sentences under the title. problems: known problems, one sentence each.
    provenance: what made it, from what, with which settings, in the order shown.
    """

    title: str
    summary: tuple[str, ...] = ()
    simulated: bool = False
    headline: tuple[Headline, ...] = ()
    curves: tuple[Curve, ...] = ()
    curve_metric: str = "mAP@0.5"
    curve_unit: str = "labelled videos"
    curve_note: str = ""
    quality: Table | None = None
    cost: Table | None = None
    per_class: Table | None = None
    benchmark: Table | None = None
    statistics: Statistics | None = None
    timelines: tuple[Timeline, ...] = ()
    problems: tuple[str, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)


def render_report(data: ReportData) -> str:
    """The page as one HTML text. Equal data give equal bytes."""
    labels = sorted({bar.label for line in data.timelines for track in line.tracks for bar in track.bars})
    if data.statistics is not None:
        labels = [row.label for row in data.statistics.per_class] + labels
    palette = {label: COLOURS[i % len(COLOURS)] for i, label in enumerate(dict.fromkeys(labels))}
    curve = ""
    if data.curves:
        drawn = learning_curve(data.curves, x_label=data.curve_unit, y_label=data.curve_metric)
        curve = Markup(for_page(drawn))  # our own drawing; matplotlib escapes the names in it
    return render_page(
        "report.html.j2",
        data=data,
        curve=curve,
        curve_table=_curve_table(data.curves),
        timelines=[_timeline(line, palette) for line in data.timelines],
    )


def render_page(template: str, **values: object) -> str:
    """A page of this folder's templates, all of which stand on ``base.html.j2``; every text is escaped."""
    environment = Environment(
        loader=FileSystemLoader(str(files("kloc.report") / "templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = _figure
    environment.filters["clock"] = _clock
    return environment.get_template(template).render(**values)


def _figure(value: Cell) -> str:
    """A table's cell: thousands divided, two decimals, a dash for nothing."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 100 else f"{value:.2f}"


def _clock(seconds: float) -> str:
    """Seconds as ``m:ss``."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


def _curve_table(curves: Sequence[Curve]) -> Table | None:
    """The figures behind the curve: one row for each amount of labels, one column for each arm."""
    amounts = sorted({p.labelled for curve in curves for p in curve.points})
    if not amounts:
        return None
    found = [{p.labelled: p.value for p in curve.points} for curve in curves]
    rows = tuple((f"{x:g}", *(f"{f[x]:.3f}" if x in f else None for f in found)) for x in amounts)
    return Table(("labelled", *(curve.name for curve in curves)), rows)


@dataclass(frozen=True)
class _PlacedBar:
    left: float
    width: float
    row: int
    colour: str
    opacity: float
    label: str
    tip: str


@dataclass(frozen=True)
class _PlacedTrack:
    name: str
    kind: str
    n_rows: int
    bars: tuple[_PlacedBar, ...]


@dataclass(frozen=True)
class _PlacedTimeline:
    video_id: str
    duration: float
    note: str
    thumbnails: tuple[tuple[float, str], ...]
    tracks: tuple[_PlacedTrack, ...]
    ticks: tuple[tuple[float, str], ...]
    legend: tuple[tuple[str, str], ...]


def _timeline(line: Timeline, palette: Mapping[str, str]) -> _PlacedTimeline:
    span = max(line.end - line.start, 1e-9)
    step = next((s for s in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800) if span / s <= 10), 3600)
    times = [step * i for i in range(math.ceil(line.start / step), math.floor(line.end / step) + 1)]
    labels = sorted({bar.label for track in line.tracks for bar in track.bars})
    return _PlacedTimeline(
        line.video_id,
        line.end - line.start,
        line.note,
        tuple((still.time, _data_uri(still.image)) for still in line.thumbnails),
        tuple(_track(track, line.start, span, palette) for track in line.tracks),
        tuple((100 * (t - line.start) / span, _clock(t)) for t in times),
        tuple((label, palette[label]) for label in labels),
    )


def _track(track: Track, start: float, span: float, palette: Mapping[str, str]) -> _PlacedTrack:
    """Bars in percent of the width; those that overlap go into rows of their own."""
    rows: list[float] = []
    placed: list[_PlacedBar] = []
    for bar in sorted(track.bars, key=lambda b: (b.start, b.end, b.label)):
        row = next((i for i, reach in enumerate(rows) if bar.start >= reach - 1e-9), len(rows))
        rows[row : row + 1] = [bar.end]
        left = min(max(100 * (bar.start - start) / span, 0.0), 100.0)
        right = min(max(100 * (bar.end - start) / span, 0.0), 100.0)
        strength = min(max(bar.strength, 0.0), 1.0)
        tip = f"{track.name}: {bar.label}, {bar.start:.2f}–{bar.end:.2f} s ({bar.end - bar.start:.2f} s)"
        tip += f" · {bar.note}" if bar.note else ""
        opacity = 0.3 + 0.7 * strength
        placed.append(_PlacedBar(left, max(right - left, 0.3), row, palette[bar.label], opacity, bar.label, tip))
    return _PlacedTrack(track.name, track.kind, max(len(rows), 1), tuple(placed))


def _data_uri(image: bytes) -> str:
    kind = "png" if image.startswith(b"\x89PNG") else "webp" if image[8:12] == b"WEBP" else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"
