"""What of a truth and of predictions is not judged, or is odd: one sentence each, with how many and which."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from kloc.evaluation.tables import Ignored, TruthTable
from kloc.formats.predictions import PredictionTable
from kloc.records import Dataset

#: Seconds by which a detection may reach beyond its video without a word: rounding.
_BEYOND = 0.01


def not_judged(
    everything: Dataset, dataset: Dataset, truth: TruthTable, table: PredictionTable, ignored: Ignored
) -> list[str]:
    """Sentences about ``table`` judged by ``truth``, the table of ``dataset``, which is a part of ``everything``."""
    return [*_videos(everything, truth, table), *_classes(truth, table), *_rest(dataset, truth, table, ignored)]


def examples(names: Collection[str] | Mapping[str, int], limit: int = 3) -> str:
    """The first few names; of a mapping to counts the largest, with their counts."""
    shown = list(names)
    if isinstance(names, Mapping):
        counts: Mapping[str, int] = names
        shown = [f"{name}: {counts[name]:,}" for name in sorted(counts, key=lambda n: (-counts[n], n))]
    return ", ".join([*shown[:limit], *(["..."] if len(shown) > limit else [])])


def _videos(everything: Dataset, truth: TruthTable, table: PredictionTable) -> list[str]:
    counts = dict(zip(table.videos, np.bincount(table.video, minlength=len(table.videos)).tolist(), strict=True))
    judged = {name: number for number, name in enumerate(truth.videos)}
    why: dict[str, dict[str, int]] = {}
    for video_id, count in counts.items():
        if video_id in judged or not count:
            continue
        reason = "that the truth does not know"
        if video_id in everything.annotations:
            reason = f"of the {everything.videos[video_id].subset} subset"
        elif video_id in everything.videos:
            reason = "that nobody annotated"
        why.setdefault(reason, {})[video_id] = count
    lines = [
        f"{several(sum(videos.values()), 'detection')} in {several(len(videos), 'video')} {reason}, left out "
        f"({examples(list(videos))})"
        for reason, videos in why.items()
    ]
    silent = [name for name in truth.videos if not counts.get(name)]
    if silent:
        missed = int(np.isin(truth.video, [judged[name] for name in silent]).sum())
        lines.append(
            f"{several(len(silent), 'annotated video')} without any detection: {several(missed, 'instance')} missed "
            f"there ({examples(silent)})"
        )
    return lines


def _classes(truth: TruthTable, table: PredictionTable) -> list[str]:
    counts = dict(zip(table.classes, np.bincount(table.label, minlength=len(table.classes)).tolist(), strict=True))
    instances = dict(zip(truth.classes, truth.per_class().tolist(), strict=True))
    said = {
        "of {} that the truth does not have, left out": {c: n for c, n in counts.items() if n and c not in instances},
        "of {} without an instance here, in no average": {
            c: n for c, n in counts.items() if n and instances.get(c) == 0
        },
    }
    lines = [
        f"{several(sum(found.values()), 'detection')} {words.format(several(len(found), 'class', 'classes'))} "
        f"({examples(found)})"
        for words, found in said.items()
        if found
    ]
    silent = {name: n for name, n in instances.items() if n and not counts.get(name)}
    if silent:
        lines.append(
            f"{several(len(silent), 'class', 'classes')} with instances and without any detection, average precision "
            f"0 ({examples(silent)})"
        )
    return lines


def _rest(dataset: Dataset, truth: TruthTable, table: PredictionTable, ignored: Ignored) -> list[str]:
    lines = []
    if ignored.not_asked:
        lines.append(f"{several(ignored.not_asked, 'detection')} of classes nobody was asked about there, left out")
    if ignored.outside:
        lines.append(f"{several(ignored.outside, 'detection')} outside the stretch that was annotated, left out")
    if ignored.ambiguous:
        lines.append(f"{several(ignored.ambiguous, 'detection')} on ambiguous instances, left out")
    if len(truth.ambiguous):
        lines.append(f"{several(len(truth.ambiguous), 'ambiguous instance')} in the truth, which nothing need find")
    twins = sum(len(a.instances) for a in dataset.annotations.values()) - len(truth.label) - len(truth.ambiguous)
    if twins:
        lines.append(
            f"{several(twins, 'instance')} left out: near-duplicates, or of classes nobody was asked about there"
        )
    timed = [dataset.videos[v] if v in dataset.videos and dataset.is_timed(v) else None for v in table.videos]
    spans = [(-np.inf, np.inf) if video is None else (video.start, video.end) for video in timed]
    start, end = np.asarray(spans, np.float64).reshape(-1, 2)[table.video].T
    beyond = (table.start < start - _BEYOND) | (table.end > end + _BEYOND)
    if beyond.any():
        names = [table.videos[v] for v in np.unique(table.video[beyond]).tolist()]
        lines.append(
            f"{several(int(beyond.sum()), 'detection')} beyond the start or end that the truth has of its video, "
            f"judged as they are ({examples(names)})"
        )
    return lines


def several(count: int, one: str, many: str = "") -> str:
    """A number of things, with the right word."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
