"""COCO-like JSON of videos: ``{info, videos, categories, annotations}``, where annotations are segments in seconds.

A video has ``id`` (a number), ``name`` and what kloc says of it (``subset``, ``duration``, ...); an annotation
``video_id``, ``category_id`` and ``segment: [start, end]``. Other people's files write ``file_name`` or ``video_name``
for the name, ``split`` for the subset, and ``start``/``end``, ``timestamp`` or (with ``fps``) 0-based
``start_frame``/``end_frame`` for the segment; all are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kloc.errors import FormatError
from kloc.files import write_json
from kloc.formats.common import (
    Extra,
    Problems,
    Reading,
    listing,
    mapping,
    number,
    read_json,
    rebased,
    segment,
    subset_or,
    text,
)
from kloc.formats.drafts import Draft, assemble, draft_of, facts, row
from kloc.formats.losses import Aspect
from kloc.records import Dataset, Instance

LOST: frozenset[Aspect] = frozenset()


def read(path: Path, *, name: str | None = None) -> Reading:
    """Read a file. Raises FormatError: broken JSON or UTF-8, no ``videos`` or ``annotations``; bad rows are counted."""
    problems = Problems()
    content = mapping(read_json(path, problems), str(path))
    missing = [key for key in ("videos", "annotations") if key not in content]
    if missing:
        raise FormatError(f"{path}: no {missing[0]!r}; is this a COCO-like file of videos?")
    classes: dict[Any, str] = {}
    for i, entry in enumerate(listing(content.get("categories", []), f"{path}: categories")):
        where = f"{path.name}: category {i}"
        with problems.counting("category that cannot be read, left out"):
            classes[_key(mapping(entry, where).get("id"), where)] = text(entry.get("name"), f"{where}, name")
    names: dict[Any, str] = {}
    rates: dict[Any, Any] = {}
    drafts: dict[str, Draft] = {}
    for i, entry in enumerate(listing(content["videos"], f"{path}: videos")):
        where = f"{path.name}: video {i}"
        with problems.counting("video that cannot be read, left out"):
            key, video_id, draft = _video(mapping(entry, where), where, problems)
            if key in names or video_id in drafts:
                problems.add("video given twice, the first one holds", video_id)
                continue
            names[key], drafts[video_id], rates[key] = video_id, draft, entry.get("fps")
    for i, entry in enumerate(listing(content["annotations"], f"{path}: annotations")):
        where = f"{path.name}: annotation {i}"
        with problems.counting("annotation that cannot be read, left out"):
            fields = mapping(entry, where)
            key, label = _key(fields.get("video_id"), where), _key(fields.get("category_id"), where)
            if key not in names or label not in classes:
                what = "video" if key not in names else "category"
                raise FormatError(f"{where}: {what} {fields.get(f'{what}_id')!r} is not in the file")
            start, end = _segment(fields, rates[key], where)
            confidence = number(fields.get("confidence", 1.0), f"{where}, confidence")
            drafts[names[key]].found.append(Instance(start, end, classes[label], confidence))
            drafts[names[key]].annotated = True
    info = content.get("info")
    origin = info.get("origin") if isinstance(info, dict) else None
    told = origin if isinstance(origin, str) else ""
    found = assemble(drafts, classes.values(), name or path.stem, problems, origin=told)
    return Reading(found.dataset, found.problems)


def _key(value: Any, where: str) -> int | str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise FormatError(f"{where}: {value!r} is no id")
    return value


def _video(entry: Mapping[str, Any], where: str, problems: Problems) -> tuple[int | str, str, Draft]:
    """The key by which annotations name the video, its id, and what is said of it."""
    key = _key(entry.get("id"), where)
    given = next((entry[k] for k in ("name", "video_name") if entry.get(k)), None)
    if given is None and entry.get("file_name"):
        given = Path(text(entry["file_name"], f"{where}, file_name")).stem
    video_id = text(str(key) if given is None else given, f"{where}, name")
    subset = subset_or(
        entry.get("subset") or entry.get("split") or "training", "training", f"{where}, subset", problems
    )
    draft = draft_of(entry, subset, where, problems)
    draft.annotated = bool(entry.get("annotated", subset != "testing"))
    return key, video_id, draft


def _segment(fields: Mapping[str, Any], fps: Any, where: str) -> tuple[float, float]:
    for key in ("segment", "timestamp"):
        if fields.get(key) is not None:
            return segment(fields[key], f"{where}, {key}")
    if "start_frame" in fields and fps:
        rate = number(fps, f"{where}, fps of its video")
        first, last = (number(fields.get(key), f"{where}, {key}") for key in ("start_frame", "end_frame"))
        if rate > 0:
            return first / rate, (last + 1) / rate
    return segment([fields.get("start"), fields.get("end")], f"{where}, segment")


def write(path: Path, dataset: Dataset, extra: Extra) -> list[str]:
    """Write a file; nothing is lost."""
    dataset = rebased(dataset, extra.origin)
    numbers = {label: i for i, label in enumerate(dataset.classes, start=1)}
    videos: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for i, video_id in enumerate(sorted(dataset.videos), start=1):
        annotation, media = dataset.annotations.get(video_id), extra.media.get(video_id)
        said = facts(dataset, video_id)
        said.setdefault("annotated", True)
        size = {} if media is None else {"width": media.width, "height": media.height, "fps": media.fps}
        more = {key: value for key, value in size.items() if value}
        videos.append({"id": i, "name": video_id, **said, **more})
        for one in sorted(annotation.instances) if annotation is not None else ():
            about = {"id": len(annotations) + 1, "video_id": i, "category_id": numbers[one.label]}
            annotations.append({**about, **row(one)})
    info = {"description": dataset.name, "version": extra.version, "time_origin": extra.origin, **extra.header}
    categories = [{"id": number, "name": label} for label, number in numbers.items()]
    write_json(path, {"info": info, "videos": videos, "categories": categories, "annotations": annotations})
    return []
