"""What formats cannot hold: named aspects of a dataset, what forgetting them leaves, and how that is said.

A format's module lists what it loses as ``LOST``; reading what was written then gives ``forget(dataset, LOST)``, and
`sentences` says which of it matters to one dataset. Times and confidences travel to
the microsecond (six decimals); paths of files and the name of the dataset do not travel.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Literal

from kloc.formats.common import Extra
from kloc.records import Annotation, Dataset, Item, Video

Aspect = Literal[
    "start",
    "end",
    "subset",
    "url",
    "labels",
    "confidence",
    "exhaustive",
    "searched",
    "stretch",
    "empty",
    "unannotated",
    "classes",
    "origin",
]
#: Each aspect in words, in the order in which losses are told.
ASPECTS: dict[Aspect, str] = {
    "unannotated": "videos that nobody has annotated",
    "empty": "videos in which nothing occurs",
    "start": "first frames that are not at 0 s",
    "end": "durations (the last annotated end stands for them)",
    "subset": "subsets",
    "url": "addresses (URL)",
    "labels": "labels of whole videos beyond those of their instances",
    "confidence": "confidences",
    "exhaustive": "for which classes a video was searched",
    "searched": "what does not occur in a video (its rows say what does)",
    "stretch": "which part of a video was searched",
    "classes": "classes without a video, and the order of the classes",
    "origin": "where the annotations come from",
}


def forget(dataset: Dataset, lost: Collection[Aspect]) -> Dataset:
    """What is left of ``dataset`` in a file that cannot hold ``lost``.

    Paths go too, instances are sorted, and every video has the labels of its instances among its own.
    """
    videos: dict[str, Video] = {}
    annotations: dict[str, Annotation] = {}
    for video_id, video in dataset.videos.items():
        annotation = dataset.annotations.get(video_id)
        if annotation is None and "unannotated" in lost:
            continue
        if annotation is not None and not annotation.instances and "empty" in lost:
            continue
        videos[video_id] = left = _video(video, annotation, lost)
        if annotation is not None:
            annotations[video_id] = _annotation(video, left, annotation, lost)
    classes = dataset.classes
    if "classes" in lost:
        used = {label for video in videos.values() for label in video.labels}
        used |= {label for a in annotations.values() for label in a.exhaustive_for or ()}
        classes = tuple(sorted(used))
    origin = "" if "origin" in lost else dataset.origin
    return Dataset(classes, videos, annotations, dataset.name, origin, dataset.open_ended & videos.keys())


def _video(video: Video, annotation: Annotation | None, lost: Collection[Aspect]) -> Video:
    instances = () if annotation is None else annotation.instances
    start = 0.0 if "start" in lost else video.start
    end = max((one.end for one in instances), default=start) if "end" in lost else video.end
    labels = tuple(sorted({one.label for one in instances} | (set() if "labels" in lost else set(video.labels))))
    subset = "training" if "subset" in lost else video.subset
    url = None if "url" in lost else video.url
    return Video(video.id, start, end, None, labels, subset, url)


def _annotation(video: Video, left: Video, annotation: Annotation, lost: Collection[Aspect]) -> Annotation:
    instances = annotation.instances
    if "confidence" in lost:
        instances = tuple(replace(one, confidence=1.0) for one in instances)
    whole = annotation.item == video.item or "stretch" in lost
    item = left.item if whole else Item(left.id, annotation.item.start, annotation.item.end)
    exhaustive = None if "exhaustive" in lost else annotation.exhaustive_for
    return Annotation(item, tuple(sorted(instances)), frozenset() if "searched" in lost else exhaustive)


def sentences(dataset: Dataset, lost: Collection[Aspect], extra: Extra | None = None) -> list[str]:
    """What of this dataset is lost, one sentence for each aspect; none where writing and reading lose nothing."""
    before = forget(dataset, ())
    said: list[str] = []
    for aspect, words in ASPECTS.items():
        if aspect not in lost:
            continue
        after = forget(before, {aspect})
        changed = [v for v in before.videos if _of(before, v) != _of(after, v)]
        if changed:
            some = ", ".join(changed[:3]) + (", ..." if len(changed) > 3 else "")
            said.append(f"not held: {words} ({len(changed):,} videos: {some})")
        elif aspect == "classes" and after.classes != before.classes:
            said.append(f"not held: {words}")
        before = after
    if "origin" in lost and extra is not None and extra.header:
        told = ", ".join(f"{key}: {value}" for key, value in extra.header.items())
        said.append(f"not held: {ASPECTS['origin']} ({told})")
    return said


def _of(dataset: Dataset, video_id: str) -> tuple[Video | None, Annotation | None]:
    return dataset.videos.get(video_id), dataset.annotations.get(video_id)
