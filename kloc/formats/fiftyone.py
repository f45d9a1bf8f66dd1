"""FiftyOne: a ``FiftyOneTemporalDetectionDataset``, a folder with ``labels.json`` and ``data.json``.

``labels.json``: ``{classes, labels: {key: [{label, support: [first, last], confidence, attributes}]}}`` with frames
counted from 1, both inclusive; ``label`` is an index of ``classes``. Where the frame rate is not known there stands
``timestamps: [start, end]`` instead, which FiftyOne turns into frames when it opens the video. FiftyOne keeps frames
either way; the seconds stand beside them as attributes, and hold when kloc reads the file unless the frames were
changed since. ``data.json`` says where each video lies (``Dataset.from_dir(..., data_path="data.json")``: without it
FiftyOne looks for the files themselves in ``data/``). What else is known stands under ``kloc`` in ``labels.json``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kloc.errors import FormatError
from kloc.files import write_json
from kloc.formats.common import Extra, Reading, listing, mapping, read_json, rebased
from kloc.formats.interchange import (
    DECIMALS,
    KEY,
    NOMINAL_FPS,
    Collector,
    Frames,
    all_classes,
    as_object,
    dataset_facts,
    file_names,
    from_frames,
    instances_of,
    media_paths,
    pair,
    positive,
    to_frames,
    video_facts,
)
from kloc.formats.losses import Aspect
from kloc.records import Dataset, Instance, Video

LOST: frozenset[Aspect] = frozenset()

_LABELS, _DATA = "labels.json", "data.json"


def read(path: Path, *, name: str | None = None) -> Reading:
    """Read the folder, or its ``labels.json``.

    Frames of a video whose rate nobody noted are counted at 25 a second, which is said. Raises FormatError for a file
    that is no such dataset.
    """
    file = path / _LABELS if path.is_dir() else path
    collector = Collector(path if path.is_dir() else path.parent, name)
    content = mapping(read_json(file, collector.problems), str(file))
    if "labels" not in content:
        raise FormatError(f"{file}: no 'labels'; is this a FiftyOne temporal detection dataset?")
    classes = listing(content.get("classes") or [], f"{file}: classes")
    known = as_object(content.get(KEY))
    collector.facts(known)
    collector.classes(classes)
    videos = as_object(known.get("videos"))
    for key, rows in mapping(content["labels"], f"{file}: labels").items():
        facts = as_object(videos.get(key))
        found: list[Instance] = []
        if rows is not None and not isinstance(rows, list):
            collector.problems.add("video whose segments are no list, left out", key)
            continue
        for row in rows or []:
            found += _instance(row, classes, facts, key, collector)
        collector.video(facts, key, found, annotated=rows is not None)
    return collector.reading()


def _instance(
    row: Any, classes: Sequence[Any], facts: dict[str, Any], key: str, collector: Collector
) -> list[Instance]:
    fields = as_object(row)
    label, notes = fields.get("label"), as_object(fields.get("attributes"))
    if isinstance(label, int) and not isinstance(label, bool) and 0 <= label < len(classes):
        label = classes[label]
    framed = "support" in fields
    values = fields.get("support" if framed else "timestamps")
    times = pair(*values) if isinstance(values, list) else None
    if times is None:
        collector.problems.add("segment without two times, left out", key)
        return []
    if framed:
        fps, start = positive(facts.get("fps")), pair(facts.get("start"), 0)
        if fps is None or start is None:
            said = f"segment in frames of a video without a rate, taken as {NOMINAL_FPS:g} per second"
            collector.problems.add(said, key)
        frames, zero = Frames(int(times[0]) - 1, int(times[1])), start[0] if start else 0.0
        times = from_frames(frames, fps or NOMINAL_FPS, zero, pair(notes.get("start"), notes.get("end")))
    return collector.instance(key, times[0], times[1], label, fields.get("confidence"))


def write(path: Path, dataset: Dataset, extra: Extra) -> list[str]:
    """Write ``labels.json`` and ``data.json`` into the folder."""
    dataset = rebased(dataset, extra.origin)
    paths, losses = media_paths(dataset, extra)
    keys = file_names(dataset.videos)
    classes = all_classes(dataset)
    index = {label: n for n, label in enumerate(classes)}
    facts: dict[str, Any] = {}
    labels: dict[str, Any] = {}
    unknown = 0
    for video_id, key in keys.items():
        media = extra.media.get(video_id)
        fps = media.fps if media is not None and media.fps else None
        unknown += fps is None
        facts[key] = video_facts(dataset, video_id) | ({} if fps is None else {"fps": fps})
        rows = [_row(i, dataset.videos[video_id], fps, index) for i in instances_of(dataset, video_id)]
        labels[key] = rows if video_id in dataset.annotations else None
    whole = dataset_facts(dataset, extra)
    write_json(path / _LABELS, {KEY: {**whole, "videos": facts}, "classes": classes, "labels": labels})
    # FiftyOne takes the ending off these keys, whatever it is.
    write_json(path / _DATA, {f"{key}.mp4": paths[video_id] for video_id, key in keys.items()})
    if unknown:
        losses.append(
            f"the frame rates of {unknown:,} videos are not known: FiftyOne must open their files (with ffprobe)"
        )
    return losses


def _row(one: Instance, video: Video, fps: float | None, index: dict[str, int]) -> dict[str, Any]:
    times = [round(one.start, DECIMALS), round(one.end, DECIMALS)]
    row: dict[str, Any] = {"label": index[one.label]}
    if fps is None:
        row["timestamps"] = times
    else:
        frames = to_frames(times[0], times[1], fps, video.start)
        row["support"] = [frames.first + 1, frames.stop]
    row["confidence"] = round(one.confidence, DECIMALS)
    row["attributes"] = {"start": times[0], "end": times[1]}
    return row
