"""card: what the dataset is, how it was made, and what is wrong with it, read off the campaign store."""

from __future__ import annotations

from typing import Any

from kloc import __version__
from kloc.crowd import money
from kloc.errors import UsageError
from kloc.files import write_text
from kloc.pipeline.common import stage
from kloc.pipeline.exporting import INSTANCES
from kloc.pipeline.publication import current_dataset
from kloc.pipeline.reporting import answers_agreement, is_simulated
from kloc.pipeline.telling import Summary
from kloc.records import SUBSETS, Dataset
from kloc.report.card import Card, render_card
from kloc.report.statistics import Statistics, compute
from kloc.store import artefacts, crowd, revisions, rounds
from kloc.workspace import Workspace

_COLUMNS = {
    "video": "string",
    "subset": "string",
    "label": "string",
    "start": "float64",
    "end": "float64",
    "confidence": "float64",
}


@stage("card")
def card(workspace: Workspace) -> Summary:
    """Write ``dataset/README.md``. Raises :class:`UsageError` while nothing is annotated."""
    text = card_text(workspace)
    path = workspace.dataset / "README.md"
    write_text(path, text)
    words = workspace.settings.publication
    missing = [name for name in ("source", "description", "citation") if not getattr(words, name)]
    if words.licence == "unknown":
        missing.insert(0, "licence")
    problems = [f"the card lacks what only you know: publication.{', publication.'.join(missing)} in kloc.toml"]
    return Summary("card", {"card": str(path)}, problems if missing else [], "kloc export")


def card_text(source: Workspace | Dataset, *, simulated: bool = False) -> str:
    """The card of a workspace, or of a dataset alone (read from a file), as Markdown.

    ``simulated``: of a dataset alone, that its answers were simulated. Raises :class:`UsageError` while nothing is
    annotated.
    """
    if isinstance(source, Dataset):
        return _bare(source, simulated)
    workspace, dataset = source, current_dataset(source)
    if not dataset.annotations:
        raise UsageError("nothing is annotated yet: there is no dataset to write a card for")
    published = {v: dataset.videos[v] for v in dataset.annotations}
    statistics = compute(Dataset(dataset.classes, published, dataset.annotations, dataset.name))
    words = workspace.settings.publication
    subsets = [s for s in SUBSETS if any(dataset.videos[v].subset == s for v in dataset.annotations)]
    metrics, measured_on = _metrics(workspace)
    return render_card(
        Card(
            name=dataset.name,
            classes={row.label: row.instances for row in statistics.per_class},
            licence=words.licence,
            simulated=is_simulated(workspace),
            description=(words.description,) if words.description else (),
            source=words.source,
            time_origin="what a browser shows: the decoder's time plus the start of the video stream",
            statistics=_figures(statistics),
            splits={s: _subset(dataset, s) for s in subsets},
            collection=_collection(workspace),
            metrics=metrics,
            benchmark_split=measured_on,
            problems=_problems(workspace, statistics),
            citation=words.citation,
            data_files={s: INSTANCES.format(s) for s in subsets},
            features=_COLUMNS,
            provenance={"made with": f"kloc {__version__}", "seed": workspace.settings.general.seed},
        )
    )


def _bare(dataset: Dataset, simulated: bool) -> str:
    if not dataset.annotations:
        raise UsageError("nothing is annotated: there is no dataset to write a card for")
    statistics = compute(dataset)
    subsets = [s for s in SUBSETS if any(dataset.videos[v].subset == s for v in dataset.annotations)]
    return render_card(
        Card(
            name=dataset.name,
            classes={row.label: row.instances for row in statistics.per_class},
            licence="unknown",
            simulated=simulated,
            statistics=_figures(statistics),
            splits={s: _subset(dataset, s) for s in subsets},
            problems=[f"{p.count} x {p.kind}" for p in statistics.problems],
            provenance={"made with": f"kloc {__version__}"},
        )
    )


def _figures(statistics: Statistics) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "videos": statistics.annotated,
        "instances": statistics.instances,
        "hours of video": round(statistics.hours, 2),
        "hours of action": round(statistics.action_hours, 2),
        "instances per video": round(statistics.instances_per_video, 2),
        "instances per video that has any": round(statistics.instances_per_video_with_any, 2),
    }
    if statistics.median_length is not None:
        figures["median length of an instance, s"] = round(statistics.median_length, 2)
    return figures


def _subset(dataset: Dataset, subset: str) -> dict[str, Any]:
    inside = [v for v in dataset.annotations if dataset.videos[v].subset == subset]
    return {
        "videos": len(inside),
        "instances": sum(len(dataset.annotations[v].instances) for v in inside),
        "hours": round(sum(dataset.videos[v].duration for v in inside) / 3600, 2),
    }


def _collection(workspace: Workspace) -> dict[str, Any]:
    task = workspace.settings.task
    with workspace.store.transaction() as session:
        every = rounds.all_rounds(session)
        chosen = rounds.selections(session)
        answers = crowd.answers(session)
        rows = revisions.current_rows(session)
        ledger = money.balance(session)
    if not answers:
        return {"annotations": f"{sum(row.source == 'import' for row in rows)} videos were imported with theirs"}
    agreed = answers_agreement(workspace)
    collection: dict[str, Any] = {
        "rounds": [
            f"round {row.index}: {sum(s.round == row.index for s in chosen)} videos chosen by {row.strategy}"
            for row in every
        ],
        "annotations": {
            "from workers": sum(row.source == "crowd" for row in rows),
            "imported": sum(row.source == "import" for row in rows),
        },
        "workers": len({a.worker_id for a in answers}),
        "answers": len(answers),
        "answers per video": task.assignments,
        "consolidation": f"{workspace.settings.crowd.consolidation}",
        "instructions": task.instructions,
        "guideline versions": sorted({a.guideline for a in answers}),
        "pay": f"${task.reward} per answer, {money.dollars(ledger.committed)} in all",
        "what absence means": "a class that workers were not asked about in a video is unknown there "
        "(exhaustive_for in annotations.json)",
    }
    if agreed is not None and agreed.pairwise_f1 is not None:
        collection["agreement"] = {"F1 of two workers at tIoU 0.5": round(agreed.pairwise_f1, 3)}
        if agreed.alpha is not None:
            collection["agreement"]["Krippendorff's alpha over time"] = round(agreed.alpha, 3)
    return collection


def _metrics(workspace: Workspace) -> tuple[dict[str, Any], str]:
    with workspace.store.transaction() as session:
        evaluations = list(artefacts.of_stage(session, "evaluate").values())
        model = artefacts.get(session, "train", "current")
        current = model.fingerprint if model is not None else ""
    if not evaluations:
        return {}, "validation"
    last = next((row for row in evaluations if row.key == current), None)
    if last is None:
        return {}, "validation"
    subset = "testing" if "testing" in last.info else "validation"
    values = last.info[subset]
    name = workspace.settings.localizer.model
    return {
        f"{name}, mAP at tIoU 0.5": round(values["mAP@0.5"], 4),
        f"{name}, average mAP": round(values["average_mAP"], 4),
    }, subset


def _problems(workspace: Workspace, statistics: Statistics) -> list[str]:
    problems = [f"{p.count} x {p.kind}" for p in statistics.problems]
    with workspace.store.transaction() as session:
        unreadable = len(crowd.problems(session))
    if unreadable:
        problems.append(f"{unreadable} answers could not be read and were left out")
    return problems
