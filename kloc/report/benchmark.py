"""The paper's table 1 for a dataset of one's own: what full temporal annotation is worth (P2, section 5)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from kloc.errors import FormatError
from kloc.printing import printable

if TYPE_CHECKING:
    from rich.console import Console

#: How the training videos are annotated: as they are, by one 10-second clip each, and by another video's annotation.
FULL, CLIP, SHUFFLED = "full", "10-second clip", "shuffled labels"
REGIMES: tuple[str, ...] = (FULL, CLIP, SHUFFLED)


class PaperRow(NamedTuple):
    """A row of the paper's table 1: mAP in percent at tIoU .1 to .9, and Avg."""

    model: str
    regime: str
    values: tuple[float, ...]
    average: float


#: P2, table 1: trained on Kinetics-Localization or on Kinetics' clips, tested on Kinetics-Localization.
PAPER: tuple[PaperRow, ...] = (
    PaperRow("Stage-Wise", FULL, (72.1, 59.2, 52.8, 48.7, 45.1, 31.0, 26.4, 17.7, 3.9), 21.3),
    PaperRow("Stage-Wise", CLIP, (43.2, 34.7, 22.8, 15.1, 13.7, 11.0, 8.9, 5.7, 2.9), 8.2),
    PaperRow("SSN", FULL, (72.8, 61.3, 54.9, 52.3, 49.6, 32.7, 28.2, 19.5, 5.2), 22.8),
    PaperRow("SSN", CLIP, (59.4, 40.1, 28.3, 20.8, 15.0, 11.8, 9.4, 5.2, 1.2), 8.3),
)
PAPER_NOTE = "the paper's own figures, on another dataset (Kinetics-Localization): compare the shape, not the numbers"


class Gain(NamedTuple):
    """Avg after full annotation less that after clips, in [0, 1], paired by seed; 95 % interval, ``None`` of one."""

    model: str
    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class BenchmarkRow:
    """One model trained in one regime.

    mean: mAP at the table's thresholds, in [0, 1], mean over seeds. average: over .5:.05:.95, some of which are no
    columns, and over seeds.
    low, high: 95 % t-interval of ``average`` over seeds; ``None`` with one seed.
    per_seed: ``average`` of each seed that did not fail, in the order of ``seeds``.
    """

    model: str
    regime: str
    mean: tuple[float, ...]
    average: float
    low: float | None
    high: float | None
    seeds: tuple[int, ...]
    per_seed: tuple[float, ...]


@dataclass(frozen=True)
class BenchmarkTable:
    """What `kloc benchmark` found. Equal data give equal text.

    subset: the one that is tested on. n_training, n_testing: annotated videos; n_classes: with truth in ``subset``.
    gains: of the models that were trained in both regimes. chance, chance_most: Avg in [0, 1] of guesses that know
    the training annotations and look at no video, on average and the best of them.
    simulated: whether any annotation came from simulated workers. problems: what failed, one sentence each.
    """

    name: str
    rows: tuple[BenchmarkRow, ...]
    thresholds: tuple[float, ...]
    seeds: tuple[int, ...]
    subset: str
    n_training: int
    n_testing: int
    n_classes: int
    features: str
    gains: tuple[Gain, ...] = ()
    chance: float | None = None
    chance_most: float | None = None
    simulated: bool = False
    problems: tuple[str, ...] = ()

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models, in the order of the rows."""
        return tuple(dict.fromkeys(row.model for row in self.rows))

    def row(self, model: str, regime: str) -> BenchmarkRow | None:
        """The row of a model and a regime, if it is there."""
        return next((row for row in self.rows if (row.model, row.regime) == (model, regime)), None)

    def sentences(self) -> list[str]:
        """What the table says, in words: what was measured, what the difference is, whether the control holds.

        It does unless the whole interval of the shuffled labels lies above the best guess.
        """
        what = (
            f"mAP (%) on {self.n_testing} {self.subset} videos of {self.n_classes} classes after training on "
            f"{self.n_training}; features {self.features}; mean of {len(self.seeds)} seeds"
        )
        told = [what + (", annotations of simulated workers." if self.simulated else ".")]
        for gain in self.gains:
            span = (
                "" if gain.low is None or gain.high is None else f" ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})"
            )
            told.append(
                f"{gain.model}: full annotation is worth {100 * gain.mean:+.1f} points Avg{span} over clips; in "
                "the paper +13.1."
            )
        if self.chance is not None and self.chance_most is not None:
            most = self.chance_most
            guessed = (
                f"guesses that look at no video reach {100 * self.chance:.1f} on average, {100 * most:.1f} at most"
            )
            for row in (row for row in self.rows if row.regime == SHUFFLED):
                held = "MORE than chance: look for a leak"
                if row.average <= most:
                    held = "no more than chance"
                elif row.low is not None and row.low <= most:
                    held = f"above them, but its interval goes down to {100 * row.low:.1f}: not told from chance"
                told.append(f"{row.model}: the control, shuffled labels, {100 * row.average:.1f}; {guessed}: {held}.")
        if len(self.seeds) > 1:
            told.append(
                "± is the 95 % interval over seeds: what training and drawing clips leave to chance, not other videos."
            )
        return told

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary; figures in [0, 1]."""
        paper = {"note": PAPER_NOTE, "rows": [row._asdict() for row in PAPER]}
        return {"kind": "benchmark", **asdict(self), "paper": paper}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> BenchmarkTable:
        """Inverse of `to_json`; raises FormatError for anything else."""
        try:
            known = {name: _tuples(data[name]) for name in cls.__dataclass_fields__ if name != "rows"}
            rows = tuple(
                BenchmarkRow(**{name: _tuples(row[name]) for name in BenchmarkRow.__dataclass_fields__})
                for row in data["rows"]
            )
            return cls(rows=rows, **{**known, "gains": tuple(Gain(*gain) for gain in known["gains"])})
        except (KeyError, TypeError):
            raise FormatError("this is no benchmark table; run `kloc benchmark` again") from None

    def cells(self) -> tuple[tuple[str, ...], ...]:
        """Rows for a page: model and regime, mAP in percent, Avg, half the width of its interval; last the paper's."""
        ours = [
            (f"{r.model}, {r.regime}", *map(_percent, (*r.mean, r.average)), _reach(r).strip() or "-")
            for r in self.rows
        ]
        paper = [(f"paper: {p.model}, {p.regime}", *(f"{v:.1f}" for v in (*p.values, p.average)), "") for p in PAPER]
        return (*ours, *paper)

    def markdown(self) -> str:
        """The table with the paper's rows below it, and what it says, as GitHub's Markdown."""
        head = ["model", "trained on", *(f"{t:.1f}" for t in self.thresholds), "Avg"]
        lines = [_line(head), _line(["---", "---", *["---:"] * (len(head) - 2)])]
        for row in self.rows:
            cells = [_percent(value) for value in row.mean] + [f"**{_percent(row.average)}**{_reach(row)}"]
            lines.append(_line([_plain(row.model), row.regime, *cells]))
        for paper in PAPER:
            values = [f"*{value:.1f}*" for value in (*paper.values, paper.average)]
            lines.append(_line([f"*the paper's {paper.model}*", f"*{paper.regime}*", *values]))
        told = [*self.sentences(), *self.problems, f"In italics: {PAPER_NOTE}."]
        return "\n".join([*lines, "", *(f"- {_plain(sentence)}" for sentence in told), ""])

    def terminal(self, console: Console) -> None:
        """Print the table; it fits 80 columns."""
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
        table.add_column("", no_wrap=True, overflow="ellipsis", max_width=18)
        for threshold in self.thresholds:
            table.add_column(f"{threshold:.1f}".removeprefix("0"), justify="right", no_wrap=True)
        table.add_column("Avg", justify="left", no_wrap=True)
        for model in self.models:
            table.add_row(Text(printable(model), style="bold"))
            for row in (row for row in self.rows if row.model == model):
                table.add_row(
                    f"  {row.regime}", *map(_percent, row.mean), Text(_percent(row.average), "bold").append(_reach(row))
                )
        for name in dict.fromkeys(paper.model for paper in PAPER):
            table.add_row(Text(f"paper: {name}", style="dim bold"))
            for paper in (paper for paper in PAPER if paper.model == name):
                cells = (f"  {paper.regime}", *(f"{v:.1f}" for v in (*paper.values, paper.average)))
                table.add_row(*(Text(cell, style="dim") for cell in cells))
        console.print(table)
        console.print(Text(PAPER_NOTE, style="dim"))
        for sentence in self.sentences():
            console.print(Text(printable(sentence)))


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _percent(value: float) -> str:
    if math.isnan(value):
        return "-"
    return "100" if value >= 0.9995 else f"{100 * value:.1f}"  # four characters, so that nine columns fit a terminal


def _reach(row: BenchmarkRow) -> str:
    """Half the width of the interval: a t-interval lies evenly around the mean."""
    return "" if row.high is None else f" ±{100 * (row.high - row.average):.1f}"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """A name that cannot leave its cell."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
