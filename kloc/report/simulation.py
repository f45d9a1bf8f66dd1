"""What simulated campaigns showed: one self-contained page, from plain data.

Nothing is computed here; `kloc.experiments.reporting` does that. Figures over seeds come with a 95 % interval, and
with a single seed without one, which the page says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from markupsafe import Markup

from kloc.report.html import Cell, Headline, Table, render_page
from kloc.report.plots import Panel, Series, for_page, panel_plot

#: P2 (the paper "What Do I Annotate Next?"), section 4: share of the labels for 80 % of the final mAP.
PUBLISHED_TO_80: Mapping[str, float] = {"lal": 0.35, "mcle": 0.38, "us": 0.42, "random": 0.65}
#: The same, figure 3: AULC by batch size, as far as the text gives figures.
PUBLISHED_AULC: Mapping[str, Mapping[int, float]] = {"mcle": {1: 0.75, 64: 0.65}}


@dataclass(frozen=True)
class Interval:
    """A mean over ``n`` seeds with its 95 % interval (Student's t); ``None`` ends with a single seed."""

    mean: float
    low: float | None
    high: float | None
    n: int

    def ends(self, digits: int = 3, *, sign: bool = False) -> str | None:
        """The interval as text."""
        if self.low is None or self.high is None:
            return None
        plus = "+" if sign else ""
        return f"{self.low:{plus}.{digits}f} to {self.high:{plus}.{digits}f}".replace("-", "−")


@dataclass(frozen=True)
class Reached:
    """Which share of the labels a level of the full mAP took, over ``of`` seeds.

    share: with ``n`` below ``of`` a lower bound of the mean: a seed that never got there counts with its last ratio;
    ``None`` where no seed got there. until: the last ratio looked at (mean over seeds).
    """

    level: float
    share: Interval | None
    n: int
    of: int
    until: float

    @property
    def text(self) -> str:
        """For people: ``34.1 %``, ``> 61 % (8 of 10 seeds)`` or ``not reached``."""
        if self.share is None:
            return "not reached"
        if self.n < self.of:
            return f"> {100 * self.share.mean:.0f} % ({self.n} of {self.of} seeds)"
        return f"{100 * self.share.mean:.1f} %"

    @property
    def ends(self) -> str | None:
        """Its 95 % interval in percent, where every seed got there."""
        if self.share is None or self.n < self.of or self.share.low is None or self.share.high is None:
            return None
        # With few seeds the interval's formula goes where no share can be.
        return f"{100 * max(self.share.low, 0.0):.1f} to {100 * min(self.share.high, 1.0):.1f} %"


@dataclass(frozen=True)
class Strategy:
    """One strategy at the reference batch and noise.

    kind: the strategy's name without parameters. aulc as in the paper, aulc_normalised divided by the width,
    aulc_minutes normalised, against working minutes; ``None`` where there is no width yet. full: mAP with all labels.
    """

    name: str
    kind: str
    to_80: Reached
    aulc: Interval | None
    aulc_normalised: Interval | None
    aulc_minutes: Interval | None
    full: Interval

    @property
    def published_to_80(self) -> float | None:
        """The paper's share of the labels; ``None`` for strategies and variants that it does not have."""
        return PUBLISHED_TO_80.get(self.name.split(" · ")[0])


@dataclass(frozen=True)
class Difference:
    """AULC of ``ours`` less ``other``'s over the seeds that both have; the same against minutes, normalised."""

    ours: str
    other: str
    labels: Interval
    bootstrap: tuple[float, float] | None
    verdict: str
    minutes: Interval
    minutes_verdict: str


@dataclass(frozen=True)
class Saving:
    """Relative Saving of ``ours`` over ``other``, percent, per labelled ratio; ``None`` where no seed can tell.

    An interval whose ``n`` is below ``of`` is over those seeds in which ours got there at all.
    """

    ours: str
    other: str
    of: int
    values: tuple[Interval | None, ...]


@dataclass(frozen=True)
class Lesson:
    """What LAL's regressor of one seed had learned: Spearman's rank correlation with the true gain, held out."""

    seed: int
    correlation: float | None
    interval: tuple[float, float] | None
    by_share: Mapping[str, float]
    gain_mean: float | None
    gain_std: float | None
    states: int | None
    close_to_random: bool


@dataclass(frozen=True)
class SimulationData:
    """All that the page shows. Sections without data are left out.

    simulated: whether the features are invented. protocol: a paragraph. order: whether the paper's order came out,
    in sentences. interval_note: over which labelled ratios areas were taken. saving_at: the ratios of ``savings``.
    batches, noises: only where several values were run; their gaps are AULC less random choice's at the same value.
    """

    title: str
    simulated: bool
    summary: tuple[str, ...]
    headline: tuple[Headline, ...]
    protocol: str
    interval_note: str
    learning: Panel
    cost: Panel | None
    batches: Panel | None
    noises: Panel | None
    strategies: tuple[Strategy, ...]
    differences: tuple[Difference, ...]
    order: tuple[str, ...]
    savings: tuple[Saving, ...]
    saving_at: tuple[float, ...]
    batch_gaps: tuple[Series, ...] = ()
    noise_gaps: tuple[Series, ...] = ()
    lessons: tuple[Lesson, ...] = ()
    problems: tuple[str, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The same as JSON-able values: every figure of the page unrounded."""
        published = {"labels_to_80": dict(PUBLISHED_TO_80)}
        return {str(key): _plain(value) for key, value in asdict(self).items()} | {"published": published}

    @property
    def baseline(self) -> str | None:
        """What random choice is called among the strategies; ``None`` where it was not run."""
        return next((s.name for s in self.strategies if s.kind == "random"), None)

    @property
    def n_seeds(self) -> int:
        """The most seeds that any strategy has."""
        return max((s.full.n for s in self.strategies), default=0)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def render_simulation(data: SimulationData) -> str:
    """The page as one HTML text. Equal data give equal bytes."""
    others = tuple(s for s in data.savings if s.other != data.baseline)
    panels = (("batch", data.batches, data.batch_gaps), ("noise", data.noises, data.noise_gaps))
    return render_page(
        "simulation.html.j2",
        data=data,
        learning=_drawn(data.learning),
        cost=_drawn(data.cost),
        small=[(key, panel, _drawn(panel), _points(panel, gaps)) for key, panel, gaps in panels if panel is not None],
        learning_table=_points(data.learning),
        cost_table=_points(data.cost),
        results=_results(data),
        differences=_differences(data),
        savings=_savings(data, [s for s in data.savings if s.other == data.baseline]),
        other_savings=_savings(data, others),
        lessons=_lessons(data.lessons),
    )  # fmt: skip


def _drawn(panel: Panel | None) -> Markup:
    # our own drawing; matplotlib escapes the names in it
    return Markup("") if panel is None else Markup(for_page(panel_plot(panel)))


def _results(data: SimulationData) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for s in data.strategies:
        published = s.published_to_80
        rows.append((
            s.name, s.to_80.text, s.to_80.ends, f"{100 * published:.0f} %" if published else None,
            *((f"{s.aulc.mean:.3f}", s.aulc.ends()) if s.aulc else (None, None)),
            f"{s.aulc_normalised.mean:.3f}" if s.aulc_normalised else None,
            f"{s.aulc_minutes.mean:.3f}" if s.aulc_minutes else None,
            f"{100 * s.full.mean:.1f} %", s.full.n,
        ))  # fmt: skip
    columns = (
        "strategy", "labels to 80 %", "95 % interval", "paper", "AULC", "95 % interval", "normalised", "by minutes",
        "full mAP", "seeds",
    )  # fmt: skip
    return Table(columns, tuple(rows), data.interval_note)


def _differences(data: SimulationData) -> Table | None:
    rows: list[tuple[Cell, ...]] = [
        (
            d.ours, _signed(d.labels.mean), d.labels.ends(sign=True), d.verdict,
            _signed(d.minutes.mean), d.minutes.ends(sign=True), d.minutes_verdict,
        )
        for d in data.differences
        if d.other == data.baseline
    ]  # fmt: skip
    columns = (
        "strategy", "by labels", "95 % interval", "verdict",
        "by minutes", "95 % interval", "verdict",
    )  # fmt: skip
    note = (
        "Of AULC by labels, and of the normalised one by minutes. Differences are taken within each seed, which shares "
        "its classes, first labels and test videos between the strategies. Intervals are of one comparison each: of "
        "twenty, one is expected to err."
    )
    return Table(columns, tuple(rows), note) if rows else None


def _signed(value: float) -> str:
    return f"{round(value, 3) + 0.0:+.3f}".replace("-", "−")  # + 0.0: no minus before a zero


def _savings(data: SimulationData, savings: Sequence[Saving]) -> Table | None:
    if not savings or not data.saving_at:
        return None
    rows: list[tuple[Cell, ...]] = []
    for s in savings:
        cells = [
            None if v is None else f"{v.mean:+.0f} %".replace("-", "−") + (f" ({v.n}/{s.of})" if v.n < s.of else "")
            for v in s.values
        ]
        rows.append((f"{s.ours} instead of {s.other}", *cells))
    return Table(("", *(f"at {100 * at:.0f} %" for at in data.saving_at)), tuple(rows))


def _lessons(lessons: Sequence[Lesson]) -> Table | None:
    shares = sorted({share for lesson in lessons for share in lesson.by_share}, key=float)
    rows: list[tuple[Cell, ...]] = []
    for x in lessons:
        spread = f" ± {1e4 * x.gain_std:.2g}" if x.gain_std is not None else ""
        rows.append((
            f"seed {x.seed}",
            None if x.correlation is None else _signed(x.correlation),
            None if x.interval is None else Interval(0.0, *x.interval, 1).ends(sign=True),
            _worth(x),
            *(_signed(x.by_share[s]) if s in x.by_share else None for s in shares),
            None if x.gain_mean is None else f"{1e4 * x.gain_mean:.2g}".replace("-", "−") + spread,
        ))  # fmt: skip
    columns = (
        "regressor", "rank correlation", "95 % interval", "order", *(f"{100 * float(s):g} %" for s in shares),
        "gain × 10⁴",
    )  # fmt: skip
    note = (
        "Under percentages: the rank correlation at that labelled share. Gain of one video: mean ± its deviation. The "
        "intervals are too narrow: they take every labelled set for an experiment of its own, and the held-out videos "
        "of one split were learned from in others. Better than a draw is said of these videos; of the pool's it is "
        "a hope."
    )
    return Table(columns, tuple(rows), note) if rows else None


def _worth(lesson: Lesson) -> str | None:
    if lesson.correlation is None:
        return None
    if lesson.close_to_random:
        return "close to random"
    told = lesson.interval is not None and lesson.interval[0] > 0
    return "better than a draw" if told else "cannot tell"


def _points(panel: Panel | None, gaps: Sequence[Series] = ()) -> Table | None:
    """The figures behind a panel: at most a dozen places of x, one column per line and per gap between two lines."""
    if panel is None or not panel.series:
        return None
    places = sorted({x for line in panel.series for x in line.x})
    if len(places) > 12:
        # Lines have points of their own; a table of all would be of gaps.
        low, high = places[0], places[-1]
        places = [low + (high - low) * i / 11 for i in range(12)]
    rows = tuple(
        (f"{100 * x:.3g} %" if "x" in panel.percent else f"{x:,.4g}" if x < 1000 else f"{x:,.0f}",
         *(_at(line.x, line.mean, x, percent="y" in panel.percent) for line in panel.series),
         *(_gap(line, x) for line in gaps))
        for x in places
    )  # fmt: skip
    return Table((panel.x_label, *(line.name for line in (*panel.series, *gaps))), rows)


def _gap(line: Series, at: float) -> str | None:
    """A difference with its interval, where it was measured."""
    if at not in line.x:
        return None
    i = line.x.index(at)
    ends = Interval(line.mean[i], line.low[i], line.high[i], 2).ends(sign=True) if line.low else None
    return _signed(line.mean[i]) + (f" ({ends})" if ends else "")


def _at(x: Sequence[float], y: Sequence[float], at: float, *, percent: bool) -> str | None:
    """A line's height by straight lines between its points, as text; ``None`` beyond its ends."""
    if not x[0] - 1e-9 <= at <= x[-1] + 1e-9:
        return None
    value = float(np.interp(at, x, y))
    return f"{100 * value:.1f} %" if percent else f"{value:.3f}"
