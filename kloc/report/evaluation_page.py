"""One self-contained HTML page about an evaluation: opens from disk, asks the network nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from kloc import __version__
from kloc.report.evaluation import (
    FEWEST,
    PROFILE,
    BinRow,
    Evaluation,
    bin_rows,
    class_rows,
    facts,
    profile_rows,
    recall_pairs,
    title,
)
from kloc.report.html import Cell, Headline, Table, render_page
from kloc.report.plots import Drawing, for_page


@dataclass(frozen=True)
class _Page:
    """What the shared base of all pages asks for."""

    title: str
    summary: tuple[str, ...]
    simulated: bool
    headline: tuple[Headline, ...]
    problems: tuple[str, ...]
    provenance: dict[str, str]


def render_evaluation(evaluation: Evaluation, drawn: Mapping[str, Drawing]) -> str:
    """The page as one HTML text, with the ``drawings`` of the same evaluation. Equal evaluations give equal bytes."""
    told = facts(evaluation)
    known = [row for row in bin_rows(evaluation) if any(r.instances for r in row[2])]
    page = _Page(
        f"{evaluation.predictions} against {evaluation.truth}",
        (f"Instances: {told['instances']}. Detections: {told['detections']}.",),
        evaluation.simulated,
        _headline(evaluation),
        evaluation.problems,
        {"made with": f"kloc {__version__}", **told},
    )
    return render_page(
        "evaluation.html.j2",
        data=page,
        plots={name: Markup(for_page(svg)) for name, svg in drawn.items()},  # our own drawings
        rule=told["matching"],
        precision=_precision(evaluation),
        recall=Table(
            ("detections per video", "average recall, %"),
            tuple((n, _percent(v)) for n, v in recall_pairs(evaluation.recall)),
        ),
        classes=_classes(evaluation),
        profile=_profile(evaluation),
        impact=_impact(evaluation),
        bins=[(title(name, unit), _bins(rows)) for name, unit, rows in known],
        unknown=[(title(row.attribute), row.unknown) for row in evaluation.diagnosis.sensitivity if row.unknown],
        pairs=[p for p in evaluation.diagnosis.false_negatives.pairs if any(map(any, p.instances))],
        diagnosis=evaluation.diagnosis,
        fewest=FEWEST,
    )


def _percent(share: float) -> float | None:
    return None if math.isnan(share) else round(100 * share, 2)


def _headline(evaluation: Evaluation) -> tuple[Headline, ...]:
    over, recall = evaluation.settings.averaged, evaluation.recall
    number, best = recall_pairs(recall)[-1]
    span = f"over tIoU {over[0]:g} to {over[-1]:g}" if len(over) > 1 else f"at tIoU {over[0]:g}"
    missed = evaluation.diagnosis.false_negatives.missed
    return (
        Headline("Average mAP", _told(evaluation.average), span),
        Headline("Average mAP_N", _told(evaluation.diagnosis.normalised), "as if all classes were equally frequent"),
        Headline(f"Average recall at {number}", _told(best), f"{span}; area under the curve {_told(recall.auc)}"),
        Headline("Instances missed", _told(missed), "on average over the same tIoU"),
    )


def _told(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.1f} %"


def _precision(evaluation: Evaluation) -> Table:
    settings = evaluation.settings
    rows: list[tuple[Cell, ...]] = [
        (f"{t:g}", _percent(v)) for t, v in zip(settings.thresholds, settings.columns(evaluation.result), strict=True)
    ]
    return Table(("tIoU", "mAP, %"), tuple(rows))


def _classes(evaluation: Evaluation) -> Table:
    heads = tuple(f"{t:g}" for t in evaluation.settings.thresholds)
    rows = [
        (row.name, _percent(row.average), row.instances, row.detections, *map(_percent, row.precision))
        for row in class_rows(evaluation)
    ]
    return Table(("class", "average", "instances", "detections", *heads), tuple(rows))


def _profile(evaluation: Evaluation) -> Table:
    rows = [(name, size, *map(_percent, shares)) for name, size, shares in profile_rows(evaluation)]
    return Table(("slice", "detections", *PROFILE), tuple(rows))


def _impact(evaluation: Evaluation) -> Table:
    rows = [
        (i.kind, _percent(i.share), _percent(i.normalised), _percent(i.mean_ap))
        for i in evaluation.diagnosis.false_positives.impacts
    ]
    return Table(("without", "share, %", "gain in mAP_N, points", "gain in mAP, points"), tuple(rows))


def _bins(rows: list[BinRow]) -> Table:
    return Table(
        ("bin", "count", "mAP", "mAP_N", "missed"),
        tuple((f"{r.name} ({r.range})", r.instances, *map(_short, (r.mean_ap, r.normalised, r.missed))) for r in rows),
    )


def _short(share: float) -> str | None:
    return None if math.isnan(share) else f"{100 * share:.1f}"
