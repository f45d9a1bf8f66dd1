"""evaluate: detections against a truth, from files or from the workspace itself."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast, get_args

from kloc.attributes import BINNINGS
from kloc.errors import KlocError, UsageError
from kloc.evaluation.detection import judge
from kloc.evaluation.diagnosis.diagnose import diagnose
from kloc.evaluation.matching import rule
from kloc.evaluation.presets import Preset, preset
from kloc.evaluation.recall import AUC_COUNTS, average_recall
from kloc.evaluation.tables import Duplicates, detection_table, truth_table
from kloc.formats.common import Reading
from kloc.formats.guessing import load
from kloc.formats.predictions import PredictionTable, read_table
from kloc.pipeline.evaluation_lines import examples, not_judged, several
from kloc.pipeline.pictures import write_drawings, write_page
from kloc.pipeline.publication import current_dataset
from kloc.pipeline.training import current_predictions
from kloc.records import SUBSETS, Dataset
from kloc.report.evaluation import Evaluation
from kloc.report.evaluation_page import render_evaluation
from kloc.report.evaluation_plots import drawings
from kloc.workspace import Workspace

#: Thresholds at most.
_MOST = 64
ALL = "all"
#: Where a workspace is evaluated unless it is told otherwise.
_HELD_OUT = ("validation", "testing")


@dataclass(frozen=True)
class Wanted:
    """How to evaluate; ``None`` leaves it to the preset, or to the data.

    preset: by name. thresholds: of tIoU, ascending, for columns and average alike. subset: one of the three, or "all".

    Raises UsageError for what does not exist.
    """

    preset: str | None = None
    thresholds: tuple[float, ...] | None = None
    matching: str | None = None
    duplicates: str | None = None
    subset: str | None = None
    bins: str = "paper"

    def __post_init__(self) -> None:
        choices = {
            "subset": (self.subset, (*SUBSETS, ALL)),
            "duplicates": (self.duplicates, get_args(Duplicates)),
            "bins": (self.bins, tuple(BINNINGS)),
        }
        for name, (value, known) in choices.items():
            if value is not None and value not in known:
                raise UsageError(f"unknown {name} {value!r}; there are: {', '.join(known)}")
        rule(self.matching or "activitynet")
        preset(self.preset or "activitynet")

    def by_default(self) -> frozenset[str]:
        """Of the preset and the subset, those that nobody asked for."""
        chosen = {"preset": self.preset, "subset": self.subset}
        return frozenset(name for name, value in chosen.items() if value is None)

    def settings(self, usual: Preset) -> Preset:
        """The preset with what is wanted otherwise; ``usual`` where none is named."""
        base = preset(self.preset) if self.preset else usual
        levels = self.thresholds
        wanted = replace(
            base,
            thresholds=levels or base.thresholds,
            averaged=levels or base.averaged,
            matching=self.matching or base.matching,
            duplicates=cast(Duplicates, self.duplicates or base.duplicates),
        )
        return wanted if wanted == base else replace(wanted, name=f"{base.name}, changed")


def thresholds_of(text: str) -> tuple[float, ...]:
    """Thresholds from ``0.3,0.5,0.7`` or ``.5:.95:.05`` (first, last, step), or both mixed; ascending, each once.

    Raises UsageError for anything else.
    """
    found: set[float] = set()
    for part in text.split(","):
        try:
            first, last, step = (float(x) for x in (part.split(":") if ":" in part else (part, part, 1.0)))
        except ValueError:
            first, last, step = math.nan, math.nan, math.nan
        if not (first <= last < math.inf and step > 0):
            raise UsageError(f"--tiou {text}: write numbers as 0.3,0.5,0.7 or first:last:step as .5:.95:.05")
        count = min(int((last - first) / step + 1e-6), _MOST) + 1
        found |= {round(first + n * step, 9) for n in range(count)}
    if not 0 < len(found) <= _MOST or not all(0 < value <= 1 for value in found):
        raise UsageError(f"--tiou {text}: give 1 to {_MOST} thresholds above 0 and at most 1")
    return tuple(sorted(found))


def evaluate_files(truth: Path, predictions: Path, wanted: Wanted, *, format_name: str = "") -> Evaluation:
    """Evaluate a file of predictions against annotations; annotated videos without any count as missed.

    format_name: of the annotations; by default what they look like.

    Raises FormatError for what cannot be read, UsageError where nothing can be judged.
    """
    dataset, said = _annotations(truth, format_name)
    table, told = read_table(predictions)
    problems = [f"{truth.name}: {line}" for line in said] + [f"{predictions.name}: {line}" for line in told]
    settings = wanted.settings(preset("activitynet"))
    subset = wanted.subset or _fullest(dataset, table.videos, settings.subset if wanted.preset else None, SUBSETS)
    return _evaluate(dataset, table, settings, subset, wanted, (truth.name, predictions.name), problems)


def _annotations(path: Path, format_name: str) -> Reading:
    """As `load`; predictions in their place are called what they are."""
    try:
        return load(path, format_name)
    except KlocError as error:
        try:
            read_table(path)
        except KlocError:
            raise error from None
        raise UsageError(f"{path}: these are predictions; the annotations come first") from None


def evaluate_workspace(workspace: Workspace, predictions: Path | None, wanted: Wanted) -> Evaluation:
    """Evaluate the newest predictions, or a file of them, against the workspace's own annotations.

    Of its own predictions only videos that were predicted for are judged, as `kloc train` does.
    Raises UsageError where nothing can be judged.
    """
    own = tuple(sorted(workspace.settings.evaluation.thresholds))
    settings = wanted.settings(replace(preset("activitynet"), name="workspace", thresholds=own, averaged=own))
    dataset = current_dataset(workspace)
    first = settings.subset if wanted.preset else None
    if predictions is not None:
        table, told = read_table(predictions)
        subset = wanted.subset or _fullest(dataset, table.videos, first, _HELD_OUT)
        problems = [f"{predictions.name}: {line}" for line in told]
        return _evaluate(dataset, table, settings, subset, wanted, (dataset.name, predictions.name), problems)
    reader = current_predictions(workspace)
    if reader is None:
        raise UsageError("there are no predictions yet; run `kloc predict`, or name a file of predictions")
    subset = wanted.subset or _fullest(dataset, [v for v in dataset.videos if v in reader], first, _HELD_OUT)
    annotations = _of(dataset, subset).annotations
    known = {v: annotations[v] for v in sorted(annotations) if v in reader}
    waiting = sorted(annotations.keys() - known.keys())
    problems = []
    if waiting:
        problems.append(
            f"{several(len(waiting), 'annotated video')} without predictions, not judged; run `kloc predict` "
            f"({examples(waiting)})"
        )
    if any(dataset.videos[v].subset == "training" for v in known):
        problems.append("the model may have learned from the training videos that it is judged on here")
    table = PredictionTable.of(reader.detections(list(known)))
    dataset = replace(dataset, annotations=known)
    return _evaluate(dataset, table, settings, subset, wanted, (dataset.name, "the newest predictions"), problems)


def _fullest(dataset: Dataset, predicted: Iterable[str], first: str | None, among: Sequence[str]) -> str:
    """The subset with the most videos both annotated and predicted for; ``first`` wherever it has any.

    Of equals the held-out one comes first.
    """
    counts = dict.fromkeys(sorted(among, key=lambda s: s not in _HELD_OUT), 0)
    for video_id in predicted:
        if video_id in dataset.annotations and dataset.videos[video_id].subset in counts:
            counts[dataset.videos[video_id].subset] += 1
    return first if first and counts.get(first) else max(counts, key=lambda s: counts[s])


def _with_origin(name: str, dataset: Dataset) -> str:
    """The truth's name with the origin that its file gives; simulated workers are told of by the evaluation."""
    return f"{name} (origin: {dataset.origin})" if dataset.origin and not dataset.simulated else name


def _of(dataset: Dataset, subset: str) -> Dataset:
    return next((dataset.of(s) for s in SUBSETS if s == subset), dataset)


def _evaluate(
    everything: Dataset,
    table: PredictionTable,
    settings: Preset,
    subset: str,
    wanted: Wanted,
    names: tuple[str, str],
    problems: list[str],
) -> Evaluation:
    if table.videos and everything.videos.keys().isdisjoint(table.videos):
        example = " / ".join([table.videos[0], *sorted(everything.videos)[:1]])
        raise UsageError(
            f"none of the {len(table.videos):,} videos in {names[1]} is in {names[0]} (e.g. {example}): is it "
            "the right file?"
        )
    dataset = _of(everything, subset)
    where = f"{names[0]}, {'all subsets' if subset == ALL else f'subset {subset}'}"
    truth = truth_table(dataset, settings.duplicates)
    if not len(truth.label):
        helps = any(a.instances for v, a in everything.annotations.items() if v not in dataset.annotations)
        raise UsageError(
            f"{where}: {several(len(truth.videos), 'annotated video')} and no instance to judge by"
            f"{'; choose with --subset' if helps else ''}"
        )
    if len(table) and not set(table.videos) & set(truth.videos):
        raise UsageError(
            f"{names[1]}: none of its {len(table.videos):,} videos is annotated in {where}; do they belong together?"
        )
    found, ignored = detection_table(truth, table)
    result = judge(
        truth, found, settings.asked, ignored=ignored, matching=settings.matching, duplicates=settings.duplicates
    )
    # ActivityNet's proposal task, with the classes passed over.
    recall = average_recall(
        dataset, table, AUC_COUNTS, settings.averaged, duplicates=settings.duplicates, budget="average"
    )
    return Evaluation(
        _with_origin(names[0], everything),
        names[1],
        subset,
        settings,
        result,
        recall,
        diagnose(dataset, truth, found, settings.averaged, matching=settings.matching, bins=wanted.bins),
        (*problems, *not_judged(everything, dataset, truth, table, result.ignored)),
        everything.simulated,
        wanted.by_default(),
        tuple(s for s in SUBSETS if everything.of(s).annotations),
    )


def write(evaluation: Evaluation, *, plots: Path | None, page: Path | None) -> dict[str, str]:
    """Write the plots (PNG and SVG) into a folder, and the page; equal evaluations give equal bytes.

    Returns where they are. Raises KlocError where they cannot be written.
    """
    facts: dict[str, str] = {}
    drawn = drawings(evaluation) if plots or page else {}
    if page is not None:
        write_page(page, render_evaluation(evaluation, drawn))
        facts["page"] = str(page)
    if plots is not None:
        write_drawings(plots, drawn)
        facts["pictures"] = f"{plots}: {', '.join(drawn)} as PNG and SVG"
    return facts
