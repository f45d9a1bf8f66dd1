"""card: what the dataset is, how it was made, and what is wrong with it, read off the campaign store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kloc import __version__
from kloc.errors import UsageError
from kloc.files import atomic_write, fingerprint, write_json, write_text
from kloc.formats.interchange import all_classes
from kloc.pipeline import benchmarking, card_campaign, card_checks, datasheet, quality, reporting, spending, versions
from kloc.pipeline.common import stage
from kloc.pipeline.publication import current_dataset
from kloc.pipeline.telling import Summary
from kloc.records import Dataset
from kloc.report.card import Card, Check, ClassFacts, render_card
from kloc.report.card_files import data_files
from kloc.report.card_pictures import draw
from kloc.report.croissant import croissant
from kloc.report.statistics import Statistics, compute
from kloc.store import artefacts, revisions, videos
from kloc.workspace import Workspace


@stage("card")
def card(workspace: Workspace, *, answers: Mapping[str, str] | None = None) -> Summary:
    """Write the dataset with its card into ``dataset/``: README.md, croissant.json, pictures/ and data/ (parquet).

    That is the export for Hugging Face, beside the usual or earlier ones. ``answers``: to questions of the datasheet,
    kept in the workspace.
    Raises :class:`UsageError` while nothing is annotated.
    """
    from kloc.pipeline import exporting  # which writes cards as well

    datasheet.keep(workspace, answers)
    others = () if versions.read(workspace.dataset) else exporting.DEFAULT
    done = exporting.export(workspace, formats=(*others, "huggingface"))
    facts = of_workspace(workspace)
    words = workspace.settings.publication
    missing = [name for name in ("source", "description", "citation") if not getattr(words, name)]
    if words.licence == "unknown":
        missing.insert(0, "licence")
    open_ones = [one for one in facts.datasheet if not one.answer]
    problems = [f"the card lacks what only you know: publication.{', publication.'.join(missing)} in kloc.toml"]
    problems = (problems if missing else []) + done.problems
    if open_ones:
        problems.append(
            f"{len(open_ones)} questions of the datasheet are open: kloc card --ask, or edit {datasheet.FILE}"
        )
    found = sum(bool(check.found) for check in facts.checks)
    told = {
        "card": str(workspace.dataset / "README.md"),
        "beside it": "croissant.json, pictures/, data/ (parquet)",
        "exported as": ", ".join(done.data["formats"]),
        "version": done.facts["version"],
        "known problems": f"{found} of {len(facts.checks)} checks found some",
    }
    return Summary("card", told, problems, "kloc export")


def card_text(source: Workspace | Dataset, folder: Path | None = None) -> str:
    """The card of a workspace, or of a dataset alone (read from a file), as Markdown without pictures.

    ``folder``: where its tables lie (``data/*.parquet``); without any the card names none. Raises
    :class:`UsageError` while nothing is annotated.
    """
    facts = of_dataset(source) if isinstance(source, Dataset) else of_workspace(source)
    return render_card(facts if folder is None else data_files(facts, folder))


def write(folder: Path, facts: Card) -> Card:
    """Write README.md, croissant.json and pictures/ beside the tables in ``folder``; the facts with those tables."""
    facts = data_files(facts, folder)
    pictures = draw(facts)
    for picture in pictures:
        with atomic_write(folder / picture.path) as stream:
            stream.write(picture.png)
    write_text(folder / "README.md", render_card(facts, {picture.path: picture.text for picture in pictures}))
    write_json(folder / "croissant.json", croissant(facts))
    return facts


def of_workspace(workspace: Workspace) -> Card:
    """All that the workspace knows about its dataset. Raises :class:`UsageError` while nothing is annotated."""
    dataset = published(workspace)
    with workspace.store.transaction() as session:
        origin = {row.video_id: row.source for row in revisions.current_rows(session)}
        files = {row.id: row.sha256 for row in videos.rows(session, "ok") if row.sha256}
        dealt = artefacts.get(session, "split", "current")
    origins = Counter(origin[video_id] for video_id in dataset.annotations)
    spent = replace(spending.campaign(workspace, quality.figures(workspace)), chosen=(), missing=())
    groups = [] if dealt is None else dealt.info.get("groups", [])
    together = {v: str(i) for i, group in enumerate(groups) for v in group["videos"]}
    ties = {"same file": files, "what belongs together": together}
    statistics = compute(dataset, ties=ties, campaign=spent if spent.rounds else None)
    words, task = workspace.settings.publication, workspace.settings.task
    benchmark = benchmarking.current(workspace)
    curve = reporting.learning_curve(workspace)
    checks, unchecked = card_checks.of_campaign(workspace)
    if dealt is None or dealt.info.get("above", 1) >= 1:
        unchecked.append("near-duplicates in two splits: kloc split has not looked for them")
    return replace(
        _common(dataset, statistics, origins),
        licence=words.licence,
        language=words.language,
        description=words.description,
        source=words.source,
        citation=words.citation,
        classes=tuple(
            replace(
                one,
                definition=task.definitions.get(one.name, ""),
                starts=task.start_rules.get(one.name, ""),
                ends=task.end_rules.get(one.name, ""),
            )
            for one in _classes(dataset)
        ),
        clock="on the clock that a browser shows: the decoder's time plus the start of the video stream",
        split="" if dealt is None else _dealt(groups),
        curve=() if curve is None else tuple((int(point.labelled), round(point.value, 4)) for point in curve.points),
        campaign=card_campaign.campaign(workspace, simulated=dataset.simulated),
        benchmark=None if benchmark is None else benchmark.to_json(),
        localizer=_localizer(workspace, dataset),
        checks=(*card_checks.of_dataset(dataset, statistics, origins), *checks),
        unchecked=tuple(unchecked),
        datasheet=datasheet.answers(workspace),
        provenance={"made with": f"kloc {__version__}", "seed": str(workspace.settings.general.seed)},
    )


def of_dataset(dataset: Dataset, reading: Sequence[str] = ()) -> Card:
    """What a dataset alone says about itself; ``reading``: what its reader had to say.

    Raises :class:`UsageError` while nothing is annotated.
    """
    if not dataset.annotations:
        raise UsageError("nothing is annotated: there is no dataset to write a card for")
    dataset = replace(dataset, videos={v: dataset.videos[v] for v in dataset.annotations if v in dataset.videos})
    statistics = compute(dataset)
    origins = {"crowd" if dataset.simulated else "import": len(dataset.annotations)}
    return replace(
        _common(dataset, statistics, origins),
        checks=(
            Check("what the reader of its file found", tuple(reading)),
            *card_checks.of_dataset(dataset, statistics, origins),
        ),
        unchecked=("what only a campaign's store shows (agreement, reports, unread and late answers)",),
        datasheet=datasheet.of({}),
        provenance={"made with": f"kloc {__version__}"},
    )


def published(workspace: Workspace) -> Dataset:
    """The annotated videos of the workspace."""
    dataset = current_dataset(workspace)
    if not dataset.annotations:
        raise UsageError("nothing is annotated yet: there is no dataset to write a card for")
    return replace(dataset, videos={v: dataset.videos[v] for v in dataset.annotations})


def _common(dataset: Dataset, statistics: Statistics, origins: Mapping[str, int]) -> Card:
    """What the annotations alone tell."""
    every = set(dataset.classes)
    covered = [a.exhaustive_for for a in dataset.annotations.values()]
    return Card(
        statistics,
        simulated=dataset.simulated,
        classes=_classes(dataset),
        origins=dict(sorted(origins.items())),
        partial=sum(asked is not None and not every <= asked for asked in covered),
    )


def _dealt(groups: Sequence[Mapping[str, Any]]) -> str:
    """How `kloc split` made the splits; ``groups``: videos that it kept together, and why."""
    told = "kloc split dealt the annotated videos out to the splits, class shares as equal as the videos allow."
    if not groups:
        return f"{told} It found no videos that belong together."
    videos, why = sum(len(group["videos"]) for group in groups), {w for group in groups for w in group["because"]}
    return f"{told} {videos:,} videos in {len(groups):,} groups were kept together ({', '.join(sorted(why))})."


def _classes(dataset: Dataset) -> tuple[ClassFacts, ...]:
    labels = [[i.label for i in a.instances] for a in dataset.annotations.values()]
    instances = Counter(label for one in labels for label in one)
    videos = Counter(label for one in labels for label in set(one))
    return tuple(ClassFacts(label, videos[label], instances[label]) for label in all_classes(dataset))


def _localizer(workspace: Workspace, dataset: Dataset) -> dict[str, Any] | None:
    """What the newest model reaches, if it was evaluated on the split as it is now."""
    with workspace.store.transaction() as session:
        evaluations = list(artefacts.of_stage(session, "evaluate").values())
        model = artefacts.get(session, "train", "current")
    last = next((row for row in evaluations if model is not None and row.key == model.fingerprint), None)
    subset = next((s for s in ("testing", "validation") if last is not None and s in last.info), None)
    if last is None or subset is None:
        return None
    inside = sorted(v for v, video in dataset.videos.items() if video.subset == subset)
    if last.info.get("judged_on", {}).get(subset) != fingerprint(inside):
        return None
    values, tious = last.info[subset], workspace.settings.evaluation.thresholds
    return {
        "model": workspace.settings.localizer.model,
        "videos": last.info["videos"],
        "subset": subset,
        "half": round(values["mAP@0.5"], 4),
        "average": round(values["average_mAP"], 4),
        "thresholds": f"mean over tIoU {min(tious):g} to {max(tious):g}",
    }
