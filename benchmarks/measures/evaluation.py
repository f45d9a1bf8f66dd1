"""The evaluator: against mmaction2's on THUMOS'14 and ActivityNet, a million predictions, and suppression.

``python -m benchmarks.measures.evaluation FOLDER file|arrays`` is the process whose time and memory are measured: it
reads truth and a million predictions from their files, or predictions from arrays, and evaluates.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import mmaction2, plain_suppression
from benchmarks.harness import ROOT, Context, Figure, best_of_three, interleaved, load_average, measure
from benchmarks.predictions import generated
from benchmarks.select_pool import peak_bytes
from kloc.evaluation import matching
from kloc.evaluation.detection import THRESHOLDS, mean_average_precision
from kloc.evaluation.recall import AUC_COUNTS, average_recall
from kloc.formats import activitynet
from kloc.formats.predictions import PredictionTable, read_table
from kloc.records import Annotation, Dataset, Instance, Video
from kloc.seeds import generator
from kloc.segments import nms, soft_nms

ANNOTATIONS = ROOT.parent / "shared" / "data" / "annotations"
#: The videos of ActivityNet's validation that could be had when others were measured; drawn here, their list is not.
_AVAILABLE = 4728
_SIGMA, _MIN_SCORE, _TIOU = 0.5, 0.001, 0.5
_TRUTH, _FOUND, _ARRAYS = "truth.json", "predictions.json", "predictions.npz"


@measure("evaluation", "mAP and average recall against mmaction2's, a million predictions, NMS and soft-NMS")
def evaluation(context: Context) -> list[Figure]:
    """All figures; what needs mmaction2 or real annotations is left out, saying so, where they are absent."""
    theirs = mmaction2.evaluator()
    if theirs is None:
        context.say(
            f"  mmaction2 is left out: ${mmaction2.FOLDER} names no folder that holds it (benchmarks/mmaction2.py)"
        )
    figures = []
    for name, truth in truths(context).items():
        found = generated(truth, 100 if context.full else 30, context.seed)
        size = f"{name}, {len(found):,} predictions"
        context.say(f"  {size} on {len(truth.annotations):,} videos")
        figures += _detection(context, size, truth, found, theirs)
        figures += _recall(context, size, truth, found, theirs)
        figures.append(_rules(size, truth, found))
    return [*figures, *_million(context), *_suppression(context)]


def truths(context: Context) -> dict[str, Dataset]:
    """Annotations by name: real ones where they are, made-up ones at the small scale."""
    if not context.full:
        return {"made-up videos": made_truth(60, 10, context.seed)}
    if not ANNOTATIONS.is_dir():
        context.say("  left out: the real annotations are not here (shared/data beside the checkout)")
        return {}
    thumos = activitynet.read(ANNOTATIONS / "thumos14-test.json").dataset.of("testing")
    whole = activitynet.read(ANNOTATIONS / "activitynet-1.3.json").dataset.of("validation")
    ids = sorted(v for v, annotation in whole.annotations.items() if annotation.instances)
    chosen = generator(context.seed, "available videos").permutation(len(ids))[:_AVAILABLE]
    kept = {ids[i]: whole.videos[ids[i]] for i in sorted(chosen.tolist())}
    validation = replace(whole, videos=kept, annotations={v: whole.annotations[v] for v in kept})
    return {"THUMOS'14 test": thumos, "ActivityNet 1.3 validation": validation}


def made_truth(videos: int, classes: int, seed: int) -> Dataset:
    """Made-up truth: 3 minutes each, 1 to 5 instances of one class, as a campaign of several classes gives."""
    rng = generator(seed, "made-up truth", videos)
    names = tuple(f"class {i:03d}" for i in range(classes))
    annotations, known = {}, {}
    for index in range(videos):
        video = known.setdefault(f"video-{index:06d}", Video(f"video-{index:06d}", 0.0, 180.0, subset="validation"))
        start = rng.uniform(0, 150, int(rng.integers(1, 6)))
        label = names[int(rng.integers(classes))]
        ends = (start + rng.uniform(2, 30, len(start))).round(3).tolist()
        rows = sorted(Instance(s, e, label) for s, e in zip(start.round(3).tolist(), ends, strict=True))
        annotations[video.id] = Annotation(video.item, tuple(rows))
    return Dataset(names, known, annotations, f"{videos} made-up videos")


# -- against mmaction2 -------------------------------------------------------------------------------------------------


def _detection(
    context: Context, size: str, truth: Dataset, found: PredictionTable, theirs: mmaction2.Evaluator | None
) -> list[Figure]:
    """mAP in memory and from files."""

    def ours() -> Any:
        return mean_average_precision(truth, found)

    if theirs is None:
        return [best_of_three(f"mAP, {size}", ours)]
    folder = context.scratch
    mmaction2.write_truth(folder / "their-truth.json", truth)
    activitynet.write(folder / _TRUTH, truth)
    write_found(folder / _FOUND, found)
    loaded = theirs.detection.ActivityNetLocalization(str(folder / "their-truth.json"), str(folder / _FOUND))
    read = read_table(folder / _FOUND).table
    got, expected = mean_average_precision(truth, read), loaded.wrapper_compute_average_precision()
    own = [got.classes.index(name) for name in loaded.activity_index]
    apart = np.abs(got.average_precision[:, own] - expected)

    def from_files() -> Any:
        return mean_average_precision(activitynet.read(folder / _TRUTH).dataset, read_table(folder / _FOUND).table)

    def their_files() -> Any:
        names = str(folder / "their-truth.json"), str(folder / _FOUND)
        return theirs.detection.ActivityNetLocalization(*names).evaluate()

    target = 5.0 if context.full else None
    memory = interleaved(context, ours=ours, baseline=loaded.evaluate)
    files = interleaved(context, ours=from_files, baseline=their_files, warm_up=False)
    return [
        memory.figure(f"mAP, {size}: against mmaction2", at_least=target, average=round(got.average, 6)),
        files.figure(f"mAP, {size}, with reading both files: against mmaction2", at_least=target),
        Figure(
            f"mAP, {size}: largest difference from mmaction2's at a tIoU", _short(np.abs(
                got.mean_ap - expected.mean(axis=1)).max()), at_most=1e-9,
            detail={"average precisions that differ by over 1e-9": int((apart > 1e-9).sum()), "of": apart.size,
                    "note": "its tIoU is float32, and it sorts instances of equal tIoU in no stated order"},
        ),
    ]  # fmt: skip


def _recall(
    context: Context, size: str, truth: Dataset, found: PredictionTable, theirs: mmaction2.Evaluator | None
) -> list[Figure]:
    """Average recall at 1 to 100 proposals on average, and its area."""

    def ours() -> Any:
        return average_recall(truth, found, AUC_COUNTS, budget="average")

    if theirs is None:
        return [best_of_three(f"average recall, {size}", ours)]
    given = mmaction2.recall_input(truth, found)
    got, (expected, area) = ours(), mmaction2.recall(theirs, given)
    ratio = interleaved(context, ours=ours, baseline=lambda: mmaction2.recall(theirs, given), warm_up=False)
    hits = np.abs(got.recall - expected) * got.n_truth
    return [
        ratio.figure(
            f"average recall, {size}: against mmaction2", at_least=5.0 if context.full else None,
            auc=round(got.auc, 6), their_auc=round(area, 6),
        ),
        Figure(
            f"average recall, {size}: largest difference from mmaction2's at a tIoU and number",
            _short(np.abs(got.recall - expected).max()), at_most=1e-3,
            detail={"instances apart, at most": round(float(hits.max()), 3), "instances": got.n_truth,
                    "note": "its times and tIoU are float32"},
        ),
    ]  # fmt: skip


def _rules(size: str, truth: Dataset, found: PredictionTable) -> Figure:
    """How far the two official definitions lie apart, and which of their differences it comes from."""
    tious = (0.1, 0.3, 0.5, 0.7)
    official, thumos = (
        mean_average_precision(truth, found, tious, matching=rule) for rule in ("activitynet", "thumos")
    )
    mixed = _mean_ap(truth, found, tious, replace(matching.RULES["thumos"], interpolated=True))
    apart = 100 * (official.mean_ap - thumos.mean_ap)
    detail = {
        "tious": list(tious),
        "mean AP, activitynet": (100 * official.mean_ap).round(3).tolist(),
        "mean AP, thumos": (100 * thumos.mean_ap).round(3).tolist(),
        "of the difference from the matching alone": (100 * (official.mean_ap - mixed)).round(3).tolist(),
    }
    largest = float(np.abs(apart).max())
    return Figure(f"the two definitions, {size}: furthest apart", round(largest, 3), "points of mAP", detail=detail)


def _mean_ap(truth: Dataset, found: PredictionTable, tious: tuple[float, ...], rule: matching.Rule) -> np.ndarray:
    """mAP by a rule that has no name."""
    name = "mixed"
    matching.RULES[name] = rule
    try:
        return mean_average_precision(truth, found, tious, matching=name).mean_ap
    finally:
        del matching.RULES[name]


def _short(value: float) -> float:
    return float(f"{value:.3g}")


# -- a million ---------------------------------------------------------------------------------------------------------


def write_found(path: Path, found: PredictionTable) -> None:
    """Predictions in the official schema, as a model's evaluation script leaves them: every digit, in any order."""
    labels = [json.dumps(name) for name in found.classes]
    rows: list[list[str]] = [[] for _ in found.videos]
    columns = (found.video, found.label, found.start, found.end, found.score)
    for v, c, start, end, score in zip(*(column.tolist() for column in columns), strict=True):
        rows[v].append(f'{{"label": {labels[c]}, "score": {score!r}, "segment": [{start!r}, {end!r}]}}')
    with path.open("w", encoding="utf-8") as stream:
        stream.write('{"version": "1.0", "results": {')
        for index, (name, lines) in enumerate(zip(found.videos, rows, strict=True)):
            stream.write(f"{', ' if index else ''}{json.dumps(name)}: [{', '.join(lines)}]")
        stream.write('}, "external_data": {}}')


def _million(context: Context) -> list[Figure]:
    """Processes of their own read and evaluate."""
    videos = 20_000 if context.full else 400
    truth = made_truth(videos, 200, context.seed)
    found = generated(truth, 50, context.seed)
    folder = context.scratch
    activitynet.write(folder / _TRUTH, truth)
    write_found(folder / _FOUND, found)
    np.savez(folder / _ARRAYS, **{name: getattr(found, name) for name in _COLUMNS})
    figures = []
    for source in ("file", "arrays"):
        load = load_average()
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.measures.evaluation", str(folder), source],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        said = dict(json.loads(done.stdout.splitlines()[-1]))
        what = f"{len(found):,} predictions on {videos:,} videos from {'a file' if source == 'file' else 'arrays'}"
        detail = {**said, "load_1min": load, "file_mb": round((folder / _FOUND).stat().st_size / 1e6, 1)}
        reading = Figure(f"{what}: reading them", said["reading_s"], "s")
        figures += [
            Figure(f"{what}: evaluating", said["evaluating_s"], "s", at_most=10.0, detail=detail),
            *([reading] if source == "file" else []),
            Figure(f"{what}: peak memory of the process", round(said["peak_bytes"] / 1e9, 3), "GB", at_most=2.0),
        ]
    return figures


_COLUMNS = ("video", "label", "start", "end", "score")


def _arrays(path: Path, truth: Dataset) -> PredictionTable:
    with np.load(path) as columns:
        return PredictionTable(tuple(sorted(truth.annotations)), truth.classes, *(columns[name] for name in _COLUMNS))


# -- suppression -------------------------------------------------------------------------------------------------------


def _suppression(context: Context) -> list[Figure]:
    """NMS and soft-NMS of many segments at two densities against a plain loop; both must say the same."""
    count = 20_000 if context.full else 2_000
    figures = []
    for overlapping in (400, 20):
        # Segments last 20 s: so many of them cover any one moment.
        segments, scores = plain_suppression.made(
            count, 20.0 * count / overlapping, generator(context.seed, "segments", overlapping)
        )
        size = f"{count:,} segments, {overlapping} over each moment"
        for name, ours, plain in _sides(segments, scores):
            same = all(np.allclose(a, b, rtol=1e-9, atol=0) for a, b in zip(ours(), plain(), strict=True))
            ratio = interleaved(context, ours=ours, baseline=plain, pairs=5, warm_up=False)
            detail = {"survivors": len(ours()[0]), "same as the loop": same}
            figures.append(
                ratio.figure(
                    f"{name}, {size}: against a plain numpy loop", at_least=1.0 if context.full else None, **detail
                )
            )
            if not same:
                raise AssertionError(f"{name} of {size} differs from the textbook")
    return figures


def _sides(segments: Any, scores: Any) -> list[tuple[str, Callable[[], Any], Callable[[], Any]]]:
    settings: dict[str, float] = {"sigma": _SIGMA, "min_score": _MIN_SCORE}
    return [
        (
            "NMS",
            lambda: (nms(segments, scores, _TIOU),),
            lambda: (plain_suppression.nms(segments, scores, _TIOU),),
        ),
        (
            "soft-NMS",
            lambda: soft_nms(segments, scores, **settings),
            lambda: plain_suppression.soft_nms(segments, scores, **settings),
        ),
    ]


def main() -> None:
    """Read and evaluate; print seconds, the peak of memory and the mAP."""
    folder, source = Path(sys.argv[1]), sys.argv[2]
    truth = activitynet.read(folder / _TRUTH).dataset
    began = time.perf_counter()
    found = read_table(folder / _FOUND).table if source == "file" else _arrays(folder / _ARRAYS, truth)
    read = time.perf_counter()
    evaluating = []
    for _ in range(3):
        again = time.perf_counter()
        result = mean_average_precision(truth, found, THRESHOLDS)
        evaluating.append(round(time.perf_counter() - again, 3))
    print(json.dumps({
        "reading_s": round(read - began, 3), "evaluating_s": min(evaluating), "all_s": evaluating,
        "peak_bytes": peak_bytes(), "average": round(result.average, 6), "predictions": len(found),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
