"""report: everything a campaign produced, on one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kloc import __version__
from kloc.crowd import money
from kloc.crowd.agreement import Agreement, agreement, match
from kloc.crowd.consolidate import from_stored
from kloc.errors import KlocError
from kloc.files import write_text
from kloc.pipeline import benchmarking, spending
from kloc.pipeline.common import SIMULATED, stage
from kloc.pipeline.publication import current_dataset
from kloc.pipeline.telling import Reporter, Summary
from kloc.pipeline.training import current_predictions
from kloc.records import Annotation, Dataset, Instance
from kloc.report.benchmark import PAPER_NOTE
from kloc.report.campaign import price
from kloc.report.html import Bar, Headline, ReportData, Table, Thumbnail, Timeline, Track, render_report
from kloc.report.plots import Curve, CurvePoint
from kloc.report.statistics import compute
from kloc.store import artefacts, crowd, meta, revisions, rounds
from kloc.video.thumbnails import thumbnail
from kloc.workspace import Workspace

#: Videos shown on the page, stills above each, detections below.
_SHOWN, _STILLS, _DETECTIONS = 6, 8, 5
_STILL_WIDTH = 120


@stage("report")
def report(
    workspace: Workspace,
    *,
    arms: Sequence[Workspace] = (),
    truth: Dataset | None = None,
    reporter: Reporter,
) -> Summary:
    """Write ``reports/report.html``: one self-contained page.

    ``arms``: further workspaces whose learning curves stand beside this one's. ``truth``: where it is known (the
    demo, a simulation), labels are judged by it.
    """
    dataset = current_dataset(workspace)
    curves = [curve for w in (workspace, *arms) if (curve := learning_curve(w)) is not None]
    agreed = answers_agreement(workspace)
    crowd_made = crowd_annotations(workspace)
    data = ReportData(
        title=dataset.name,
        summary=_sentences(dataset, arms),
        simulated=is_simulated(workspace),
        headline=_headline(workspace, curves, agreed),
        curves=tuple(curves),
        curve_note=_curve_note(curves),
        quality=_quality(workspace, crowd_made, truth, agreed),
        cost=_cost(workspace),
        per_class=_per_class(workspace, dataset),
        benchmark=_benchmark(workspace),
        statistics=compute(dataset),
        timelines=tuple(_timelines(workspace, dataset, crowd_made, truth)),
        provenance=_provenance(workspace),
    )
    path = workspace.reports / "report.html"
    write_text(path, render_report(data))
    size = f"{path.stat().st_size / 1e6:.1f} MB, opens from the disk"
    return Summary("report", {"report": str(path), "size": size})


# -- what the page and the card are made of -----------------------------------------------------------------------


def is_simulated(workspace: Workspace) -> bool:
    """Whether any answer came from a simulated worker: whatever is written then says so."""
    with workspace.store.transaction() as session:
        return meta.get(session, SIMULATED) is not None


def learning_curve(workspace: Workspace) -> Curve | None:
    """mAP@0.5 after each round; ``None`` where nothing was evaluated."""
    with workspace.store.transaction() as session:
        rows = artefacts.of_stage(session, "evaluate").values()
        strategies = [row.strategy for row in rounds.all_rounds(session)]
    points: dict[int, CurvePoint] = {}
    for row in rows:
        subset = "testing" if "testing" in row.info else "validation"
        if subset in row.info:
            value = row.info[subset]["mAP@0.5"]
            points[row.info["videos"]] = CurvePoint(row.info["videos"], value, note=f"round {row.info['round']}")
    if not points:
        return None
    name = {"us": "uncertainty (us)", "random": "random"}.get(strategies[-1], strategies[-1]) if strategies else "model"
    return Curve(name, tuple(points[count] for count in sorted(points)))


def answers_agreement(workspace: Workspace) -> Agreement | None:
    """How far workers agree with one another; ``None`` before the first answer."""
    with workspace.store.transaction() as session:
        answers = from_stored(crowd.answers(session, purpose="task"))
    return agreement(answers) if answers else None


def crowd_annotations(workspace: Workspace) -> dict[str, Annotation]:
    """The annotations that came from answers, by video."""
    with workspace.store.transaction() as session:
        return {
            row.video_id: revisions.to_annotation(row)
            for row in revisions.current_rows(session)
            if row.source == "crowd"
        }


def _sentences(dataset: Dataset, arms: Sequence[Workspace]) -> tuple[str, ...]:
    count = sum(len(a.instances) for a in dataset.annotations.values())
    first = (
        f"{len(dataset.annotations)} of {len(dataset.videos)} videos are annotated: {count} instances of "
        f"{len(dataset.classes)} classes."
    )
    if not arms:
        return (first,)
    return (first, "Every arm started from the same random round, with the same budget per round and the same seed.")


def _headline(workspace: Workspace, curves: Sequence[Curve], agreed: Agreement | None) -> tuple[Headline, ...]:
    with workspace.store.transaction() as session:
        ledger = money.balance(session)
        n_rounds = len(rounds.all_rounds(session))
    annotated = len(crowd_annotations(workspace))
    cards = [Headline("annotated in the campaign", f"{annotated} videos", f"{n_rounds} rounds")]
    if curves:
        last = curves[0].points[-1]
        cards.append(Headline("mAP at tIoU 0.5", f"{100 * last.value:.1f} %", f"after {int(last.labelled)} videos"))
    if agreed is not None and agreed.pairwise_f1 is not None:
        cards.append(Headline("two workers agree", f"F1 {agreed.pairwise_f1:.2f}", "pairs of answers, at tIoU 0.5"))
    if ledger.reserved:
        each = ledger.committed / max(1, annotated)
        cards.append(Headline("spent", money.dollars(ledger.committed), f"{money.dollars(round(each))} per video"))
    return tuple(cards)


def _curve_note(curves: Sequence[Curve]) -> str:
    if not curves:
        return ""
    if len(curves) == 1:
        return "One run; no interval can be given from a single seed."
    ends = ", ".join(f"{c.name} {100 * c.points[-1].value:.1f} %" for c in curves)
    return (
        f"At the end: {ends}. One seed each: a difference of a few points is within the noise of so few videos; "
        "conclusions need several seeds."
    )


def f1_against(found: Mapping[str, Annotation], truth: Mapping[str, Annotation], threshold: float) -> float:
    """F1 of instances against the truth over all videos, of the classes each annotation was asked about."""
    matched = made = there = 0
    for video_id, annotation in found.items():
        asked = [i for i in truth[video_id].instances if annotation.covers(i.label)]
        result = match(annotation.instances, asked, threshold)
        matched += len(result.tious)
        made += len(annotation.instances)
        there += len(asked)
    return 2 * matched / (made + there) if made + there else 1.0


def _quality(
    workspace: Workspace, made: Mapping[str, Annotation], truth: Dataset | None, agreed: Agreement | None
) -> Table | None:
    if not made:
        return None
    rows: list[tuple[Any, ...]] = []
    if truth is not None:
        known = {v: a for v, a in made.items() if v in truth.annotations}
        with workspace.store.transaction() as session:
            answers = from_stored(crowd.answers(session))
        singles = []
        for worker in sorted({a.worker_id for a in answers}):
            theirs = {
                a.item.video_id: Annotation(a.item, a.segments, frozenset(a.classes))
                for a in answers
                if a.worker_id == worker and a.item.video_id in truth.annotations
            }
            singles.append((f1_against(theirs, truth.annotations, 0.5), f1_against(theirs, truth.annotations, 0.75)))
        half, tight = (f1_against(known, truth.annotations, t) for t in (0.5, 0.75))
        rows.append(("consolidated, against the truth", half, tight))
        if singles:
            mean = np.mean(singles, axis=0)
            rows.append(("a single worker, against the truth (mean)", float(mean[0]), float(mean[1])))
            worst = min(singles)
            rows.append(("the worst worker, against the truth", worst[0], worst[1]))
    if agreed is not None and agreed.pairwise_f1 is not None:
        rows.append(("two workers, against each other", agreed.pairwise_f1, None))
    note = "F1 of instances of the classes that were asked about."
    if agreed is not None and agreed.alpha is not None:
        note += f" Krippendorff's alpha over time: {agreed.alpha:.2f}."
    return Table(("labels", "F1 at tIoU 0.5", "F1 at tIoU 0.75"), tuple(rows), note)


def _cost(workspace: Workspace) -> Table | None:
    rows = tuple(
        (f"round {r.round}", r.strategy, r.videos, round(r.minutes, 1), r.answers, price(r.dollars))
        for r in spending.campaign(workspace).rounds
    )
    return Table(("round", "strategy", "videos", "minutes of video", "answers", "paid"), rows) if rows else None


def _per_class(workspace: Workspace, dataset: Dataset) -> Table | None:
    with workspace.store.transaction() as session:
        evaluations = list(artefacts.of_stage(session, "evaluate").values())
    if not evaluations:
        return None
    last = max(evaluations, key=lambda row: (row.info["round"], row.info["videos"]))
    subset = "testing" if "testing" in last.info else "validation"
    if subset not in last.info:
        return None
    precision = last.info[subset]["per_class"]
    training = [
        i.label for v, a in dataset.annotations.items() if dataset.videos[v].subset == "training" for i in a.instances
    ]
    rows = tuple(
        (name, training.count(name), 100 * precision[name]) for name in sorted(precision, key=lambda n: -precision[n])
    )
    note = f"Average precision of the newest model on the {subset} videos; the training instances it learned from."
    return Table(("class", "training instances", "AP at tIoU 0.5, %"), rows, note)


def _benchmark(workspace: Workspace) -> Table | None:
    measured = benchmarking.current(workspace)
    if measured is None:
        return None
    columns = ("model, trained on", *(f"tIoU {t:g}" for t in measured.thresholds), "Avg", "95 %")
    note = " ".join(
        [*measured.sentences(), *(f"{problem}." for problem in measured.problems), f"In the last rows: {PAPER_NOTE}."]
    )
    return Table(columns, measured.cells(), note)


# -- timelines -------------------------------------------------------------------------------------------------


def _timelines(
    workspace: Workspace, dataset: Dataset, made: Mapping[str, Annotation], truth: Dataset | None
) -> list[Timeline]:
    with workspace.store.transaction() as session:
        answers = from_stored(crowd.answers(session))
        names = {w: f"worker {i + 1}" for i, w in enumerate(sorted({a.worker_id for a in answers}))}
    predictions = current_predictions(workspace)
    # Videos with something to see come first; the order is the ids', so that the page is the same every time.
    shown = sorted(made, key=lambda v: (not made[v].instances, v))[:_SHOWN]
    result = []
    for video_id in shown:
        video = dataset.videos.get(video_id)
        if video is None:
            continue
        tracks = []
        if truth is not None and video_id in truth.annotations:
            tracks.append(Track("truth", _bars(truth.annotations[video_id].instances), "truth"))
        for answer in (a for a in answers if a.item.video_id == video_id):
            tracks.append(Track(names[answer.worker_id], _bars(answer.segments), "answer"))
        tracks.append(Track("consolidated", _bars(made[video_id].instances, "confidence"), "consolidated"))
        if predictions is not None and video_id in predictions:
            best = predictions.get(video_id).detections[:_DETECTIONS]
            bars = tuple(Bar(d.start, d.end, d.label, min(1.0, d.score), f"score {d.score:.3f}") for d in best)
            tracks.append(Track("detections", bars, "detections"))
        stills = _stills(video.path, video.start, video.end)
        result.append(Timeline(video_id, video.start, video.end, tuple(tracks), stills))
    return result


def _bars(instances: Sequence[Instance], word: str = "") -> tuple[Bar, ...]:
    return tuple(
        Bar(i.start, i.end, i.label, i.confidence, f"{word} {i.confidence:.2f}" if word else "") for i in instances
    )


def _stills(path: str | None, start: float, end: float) -> tuple[Thumbnail, ...]:
    if path is None or not Path(path).exists():
        return ()
    step = (end - start) / _STILLS
    stills = []
    for index in range(_STILLS):
        time = start + (index + 0.5) * step
        try:
            stills.append(Thumbnail(time, thumbnail(path, time, _STILL_WIDTH)))
        except KlocError:
            continue  # a picture is decoration: a damaged stretch of a video has none
    return tuple(stills)


def _provenance(workspace: Workspace) -> dict[str, str]:
    with workspace.store.transaction() as session:
        model = artefacts.get(session, "train", "current")
        bank = meta.get(session, "feature_bank")
    settings = workspace.settings
    facts = {"made with": f"kloc {__version__}", "seed": str(settings.general.seed)}
    if bank:
        facts["features"] = bank
    if model is not None:
        facts["localizer"] = f"{settings.localizer.model} {model.fingerprint}"
    facts["proposals"] = settings.proposals.method
    facts["selection"] = f"{settings.selection.strategy}, policy {settings.selection.policy}"
    facts["consolidation"] = f"{settings.crowd.consolidation}, {settings.task.assignments} answers per video"
    return facts
