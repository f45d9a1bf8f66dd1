"""ActivityNet JSON, the field's common tongue: annotations and predictions.

``{version, taxonomy, database: {id: {subset, duration, url, annotations: [{label, segment: [s, e]}]}}}`` and
``{version, results: {id: [{label, score, segment}]}, external_data}``. kloc adds a few keys that other
readers pass over: ``time_origin`` (top level), and of a video ``start`` (where its first frame is not at 0),
``labels`` (video-level labels beyond those of the instances) and ``exhaustive_for``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kloc.errors import FormatError, UsageError
from kloc.files import write_json
from kloc.formats.common import (
    Origin,
    Problems,
    Reading,
    clean_instances,
    listing,
    mapping,
    number,
    read_json,
    subset_of,
    text,
)
from kloc.records import Annotation, Dataset, Detection, Exhaustive, Instance, Video

_DECIMALS = 6


class EndsReading(NamedTuple):
    """As `Reading`, and the ids of videos whose end is not known: it stands where the last instance ends."""

    dataset: Dataset
    problems: list[str]
    open_ended: frozenset[str]


class PredictionReading(NamedTuple):
    """Detections of each video, best first, and what was wrong with the file."""

    detections: dict[str, tuple[Detection, ...]]
    problems: list[str]


def read(path: Path, *, name: str | None = None) -> Reading:
    """Read annotations (also THUMOS'14 and Kinetics files in this schema).

    Numbers may be strings. Ends beyond the duration are clipped, zero-length and reversed segments dropped,
    repeated ones taken once; each is counted in ``problems``. An annotation without ``segment`` is a video-level
    label. A video without a duration takes its last annotated end, or 0 where there is none. An empty list says
    that nothing occurs, except in the testing subset, where it says that the annotation is withheld.

    Raises FormatError naming the file and the position or video: broken JSON or UTF-8, NaN, wrong types,
    unknown subsets.
    """
    found = read_with_ends(path, name=name)
    return Reading(found.dataset, found.problems)


def read_with_ends(
    path: Path, *, name: str | None = None, taken: str = "the last annotated end is taken; probe the video"
) -> EndsReading:
    """As `read`, for who can find out where a video without a duration ends; ``taken`` says what is done about it."""
    problems = Problems()
    content = mapping(read_json(path, problems), str(path))
    if "database" not in content:
        hint = " (a predictions file: it has results)" if "results" in content else ""
        raise FormatError(f"{path}: no 'database'; is this an ActivityNet annotation file?{hint}")
    videos: dict[str, Video] = {}
    annotations: dict[str, Annotation] = {}
    open_ended: set[str] = set()
    for video_id, entry in mapping(content["database"], f"{path}: database").items():
        where = f"{path}: video {video_id!r}"
        video, annotation, has_end = _read_video(video_id, mapping(entry, where), where, taken, problems)
        videos[video_id] = video
        if not has_end:
            open_ended.add(video_id)
        if annotation is not None:
            annotations[video_id] = annotation
    classes = _classes(content.get("taxonomy"), videos, annotations, str(path), problems)
    dataset = Dataset(classes, videos, annotations, name or path.stem)
    return EndsReading(dataset, problems.sentences(), frozenset(open_ended))


def _read_video(
    video_id: str, entry: dict[str, Any], where: str, taken: str, problems: Problems
) -> tuple[Video, Annotation | None, bool]:
    """The video, its annotation, and whether the file says how long it is."""
    subset = subset_of(entry.get("subset", "training"), f"{where}, subset")
    start = number(entry.get("start", 0.0), f"{where}, start")
    rows = listing(entry.get("annotations", []), f"{where}, annotations")
    labels: list[str] = [text(x, f"{where}, labels") for x in listing(entry.get("labels", []), f"{where}, labels")]
    found: list[Instance] = []
    for i, row in enumerate(rows):
        here = f"{where}, annotation {i}"
        fields = mapping(row, here)
        label = text(fields.get("label"), f"{here}, label")
        labels.append(label)
        if fields.get("segment") is None:
            continue
        segment = listing(fields["segment"], f"{here}, segment")
        if len(segment) != 2:
            raise FormatError(f"{here}: a segment has a start and an end, this one has {len(segment)} numbers")
        confidence = number(fields.get("confidence", 1.0), f"{here}, confidence")
        first, last = (number(s, f"{here}, segment") for s in segment)
        found.append(Instance(first, last, label, confidence))
    duration = None if entry.get("duration") is None else number(entry["duration"], f"{where}, duration")
    if duration is not None and duration <= 0:
        problems.add("duration of 0 or less, taken as unknown", video_id)
        duration = None
    if duration is None:
        problems.add(f"video without a duration ({taken})", video_id)
    end = None if duration is None else start + duration
    instances = clean_instances(found, start, end, video_id, problems)
    if end is None:
        end = max((x.end for x in instances), default=start)
    url = entry.get("url")
    video = Video(
        video_id,
        start,
        end,
        labels=tuple(sorted(set(labels))),
        subset=subset,
        url=None if not url else text(url, f"{where}, url"),
    )
    exhaustive: Exhaustive = None
    if "exhaustive_for" in entry and entry["exhaustive_for"] != "all":
        names = listing(entry["exhaustive_for"], f"{where}, exhaustive_for")
        exhaustive = frozenset(text(x, f"{where}, exhaustive_for") for x in names)
    says_none = "annotations" in entry and not rows and subset != "testing"
    if found or says_none or "exhaustive_for" in entry:
        return video, Annotation(video.item, instances, exhaustive), duration is not None
    return video, None, duration is not None


def _classes(
    taxonomy: Any, videos: Mapping[str, Video], annotations: Mapping[str, Annotation], where: str, problems: Problems
) -> tuple[str, ...]:
    """The taxonomy's leaves in its order; labels it lacks (or all, without one) follow by name."""
    nodes = [mapping(n, f"{where}: taxonomy") for n in listing(taxonomy or [], f"{where}: taxonomy")]
    parents = {node.get("parentName") for node in nodes}
    leaves = [n["nodeName"] for n in nodes if isinstance(n.get("nodeName"), str) and n["nodeName"] not in parents]
    leaves = list(dict.fromkeys(leaf for leaf in leaves if leaf != "Root"))
    used = {label for video in videos.values() for label in video.labels}
    used |= {x for a in annotations.values() for x in a.exhaustive_for or ()}
    extra = sorted(used - set(leaves))
    if leaves:
        for label in extra:
            problems.add("label that the taxonomy lacks, added to the classes", label)
    return (*leaves, *extra)


def write(
    path: Path,
    dataset: Dataset,
    *,
    origin: Origin = "stream",
    version: str = "1.0",
    include_unannotated: bool = False,
    resolutions: Mapping[str, str] | None = None,
    header: Mapping[str, str] | None = None,
) -> None:
    """Write annotations in the official schema; equal datasets give equal bytes.

    origin: ``stream`` keeps kloc's seconds (what a browser shows); ``first-frame`` makes every video start at 0,
        for tools that rebase. The file says which under ``time_origin``.
    include_unannotated: also write videos without annotation; their labels come without a ``segment``, which
        the official evaluation code does not read.
    resolutions: ``"320x240"`` by video id.
    header: more to say about the whole file, e.g. where its annotations come from.

    Raises UsageError for an unknown origin.
    """
    if origin not in ("stream", "first-frame"):
        raise UsageError(f"unknown time origin {origin!r}; use stream or first-frame")
    database: dict[str, Any] = {}
    for video_id in sorted(dataset.videos):
        annotation = dataset.annotations.get(video_id)
        if annotation is None and not include_unannotated:
            continue
        resolution = (resolutions or {}).get(video_id)
        database[video_id] = _entry(dataset, dataset.videos[video_id], annotation, origin, resolution)
    taxonomy: list[dict[str, Any]] = [{"nodeId": 0, "nodeName": "Root", "parentId": None, "parentName": None}]
    taxonomy += [
        {"nodeId": i, "nodeName": label, "parentId": 0, "parentName": "Root"}
        for i, label in enumerate(dataset.classes, start=1)
    ]
    facts = {"version": version, "time_origin": origin, **(header or {})}
    write_json(path, {**facts, "taxonomy": taxonomy, "database": database})


def _entry(
    dataset: Dataset, video: Video, annotation: Annotation | None, origin: Origin, resolution: str | None
) -> dict[str, Any]:
    shift = video.start if origin == "first-frame" else 0.0
    entry: dict[str, Any] = {"subset": video.subset, "duration": round(video.duration, _DECIMALS)}
    if video.start - shift:
        entry["start"] = round(video.start, _DECIMALS)
    if resolution is not None:
        entry["resolution"] = resolution
    if video.url is not None:
        entry["url"] = video.url
    if annotation is None:
        if video.labels:
            entry["annotations"] = [{"label": label} for label in video.labels]
        return entry
    rows: list[dict[str, Any]] = []
    for one in sorted(annotation.instances):
        segment = [round(one.start - shift, _DECIMALS), round(one.end - shift, _DECIMALS)]
        row: dict[str, Any] = {"label": one.label, "segment": segment}
        if one.confidence != 1.0:
            row["confidence"] = round(one.confidence, _DECIMALS)
        rows.append(row)
    silent = [label for label in video.labels if label not in {one.label for one in annotation.instances}]
    if silent:
        entry["labels"] = silent
    if annotation.exhaustive_for is not None:
        entry["exhaustive_for"] = sorted(annotation.exhaustive_for)
    elif not rows and video.subset == "testing":
        entry["exhaustive_for"] = "all"  # else an empty list would read as withheld
    entry["annotations"] = rows
    return entry


def read_predictions(path: Path) -> PredictionReading:
    """Read detections, best first. Raises FormatError naming the file and the position or video."""
    problems = Problems()
    content = mapping(read_json(path, problems), str(path))
    if "results" not in content:
        raise FormatError(f"{path}: no 'results'; is this an ActivityNet predictions file?")
    found: dict[str, tuple[Detection, ...]] = {}
    for video_id, rows in mapping(content["results"], f"{path}: results").items():
        where = f"{path}: video {video_id!r}"
        detections: list[Detection] = []
        for i, row in enumerate(listing(rows, where)):
            here = f"{where}, detection {i}"
            fields = mapping(row, here)
            segment = listing(fields.get("segment"), f"{here}, segment")
            if len(segment) != 2:
                raise FormatError(f"{here}: a segment has a start and an end, this one has {len(segment)} numbers")
            start, end = (number(s, f"{here}, segment") for s in segment)
            if end <= start:
                problems.add("zero-length or reversed detection, dropped", video_id)
                continue
            label = text(fields.get("label"), f"{here}, label")
            detections.append(Detection(start, end, label, number(fields.get("score"), f"{here}, score")))
        found[video_id] = tuple(sorted(detections, key=lambda d: -d.score))
    return PredictionReading(found, problems.sentences())


def write_predictions(
    path: Path,
    detections: Mapping[str, Sequence[Detection]],
    *,
    version: str = "1.0",
    external_data: Mapping[str, Any] | None = None,
) -> None:
    """Write detections in the official schema, best first; equal input gives equal bytes."""
    results = {
        video_id: [
            {
                "label": d.label,
                "score": round(float(d.score), 8),
                "segment": [round(float(d.start), _DECIMALS), round(float(d.end), _DECIMALS)],
            }
            for d in sorted(detections[video_id], key=lambda d: (-d.score, d.start, d.end, d.label))
        ]
        for video_id in sorted(detections)
    }
    write_json(path, {"version": version, "results": results, "external_data": dict(external_data or {})})
