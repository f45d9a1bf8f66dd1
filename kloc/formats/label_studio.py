"""Label Studio: a folder with ``tasks.json``, to be imported, and ``config.xml``, the project's labelling setup.

A task is a video; an instance is a ``timelinelabels`` region of its annotation with one range of frames, counted from
1, both inclusive: frame ``n`` is the time from ``(n - 1) / fps`` to ``n / fps`` on the player's clock. The setup takes
the rate from each task, so a video whose own is not known may have any: it is 25. The seconds stand beside the frames
in the region's ``meta``, and hold when kloc reads the file unless somebody moved the region since. What else is known
stands in the task's ``meta``. A task without annotation is a video to be annotated.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from kloc.errors import FormatError
from kloc.files import write_json, write_text
from kloc.formats.common import Extra, Reading, listing, mapping, number, read_json, rebased
from kloc.formats.interchange import (
    DECIMALS,
    KEY,
    NOMINAL_FPS,
    Collector,
    Frames,
    all_classes,
    as_object,
    check_labels,
    dataset_facts,
    from_frames,
    header_of,
    instances_of,
    media_paths,
    pair,
    positive,
    to_frames,
    video_facts,
)
from kloc.formats.losses import Aspect
from kloc.records import Dataset, Instance

LOST: frozenset[Aspect] = frozenset()

_TASKS, _CONFIG = "tasks.json", "config.xml"
_REGION, _VIDEO = "class", "video"


def read(path: Path, *, name: str | None = None) -> Reading:
    """Read the folder or a JSON file of tasks, also one that Label Studio exported ("JSON", not "JSON-MIN").

    Of several annotations of a task the one marked as ground truth is taken, else the last that was not cancelled;
    others are counted. Without ``fps`` in the task's data frames are counted at 25 a second, which is said. Raises
    FormatError for a file that holds no tasks.
    """
    file = path / _TASKS if path.is_dir() else path
    collector = Collector(path, name)
    tasks = listing(read_json(file, collector.problems), f"{file} (a list of tasks)")
    for n, task in enumerate(tasks):
        if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
            if n == 0:
                raise FormatError(f"{file}: the first entry is no task with data; export the project as JSON")
            collector.problems.add("entry that is no task, left out", f"entry {n}")
            continue
        _task(task, f"task {n}", collector)
    return collector.reading()


def _task(task: dict[str, Any], where: str, collector: Collector) -> None:
    data = task["data"]
    facts = as_object(as_object(task.get("meta")).get(KEY))
    video = as_object(facts.get("video"))
    collector.facts(facts)
    media, said = data.get(_VIDEO), data.get("video_id")
    stem = Path(media).stem if isinstance(media, str) and media else where
    video_id = said if isinstance(said, str) and said else stem
    regions = _chosen(task, video_id, collector)
    timed = [r for r in regions or [] if as_object(r).get("type") == "timelinelabels"]
    fps = positive(data.get("fps"))
    if fps is None and timed:
        collector.problems.add(f"task without a frame rate, taken as {NOMINAL_FPS:g} frames per second", video_id)
    if len(timed) != len(regions or []):
        collector.problems.add("region that is no segment in time, left out", video_id)
    found = [one for region in timed for one in _region(region, fps or NOMINAL_FPS, video_id, collector)]
    collector.video(video, video_id, found, annotated=regions is not None)


def _chosen(task: dict[str, Any], video_id: str, collector: Collector) -> list[Any] | None:
    """The regions of the annotation that counts; None where there is none."""
    rows = task.get("annotations")
    found = [a for a in rows if isinstance(a, dict) and not a.get("was_cancelled")] if isinstance(rows, list) else []
    if not found:
        return None
    if len(found) > 1:
        collector.problems.add("task with several annotations, one of them taken", video_id)
    chosen = next((a for a in found if a.get("ground_truth")), found[-1])
    regions = chosen.get("result")
    if not isinstance(regions, list):
        collector.problems.add("annotation without a list of regions, left out", video_id)
        return None
    return regions


def _region(region: dict[str, Any], fps: float, video_id: str, collector: Collector) -> list[Instance]:
    """The instances of a region: one for each range and label (Label Studio makes one range for each region)."""
    found: list[Instance] = []
    meta = as_object(region.get("meta"))
    try:
        value = mapping(region.get("value"), "value")
        labels = listing(value.get("timelinelabels"), "timelinelabels")
        ranges = [mapping(r, "range") for r in listing(value.get("ranges"), "ranges")]
        exact = pair(*meta["seconds"]) if len(ranges) == 1 and isinstance(meta.get("seconds"), list) else None
        for one in ranges:
            frames = Frames(int(number(one.get("start"), "start")) - 1, int(number(one.get("end"), "end")))
            start, end = from_frames(frames, fps, exact=exact)
            for label in labels:
                found += collector.instance(video_id, start, end, label, meta.get("confidence"))
    except FormatError as error:
        collector.problems.add("segment that cannot be read, left out", f"{video_id}: {error}")
    return found


def write(path: Path, dataset: Dataset, extra: Extra) -> list[str]:
    """Write ``tasks.json`` and ``config.xml``. Raises FormatError for a class whose name XML cannot hold."""
    check_labels(dataset, "Label Studio")
    dataset = rebased(dataset, extra.origin)
    paths, losses = media_paths(dataset, extra)
    whole = dataset_facts(dataset, extra)
    classes = whole.pop("classes")
    tasks: list[dict[str, Any]] = []
    for n, video_id in enumerate(sorted(dataset.videos)):
        media = extra.media.get(video_id)
        fps = media.fps if media is not None and media.fps else NOMINAL_FPS
        facts = {**whole, **({"classes": classes} if n == 0 else {}), "video": video_facts(dataset, video_id)}
        data = {_VIDEO: paths[video_id], "video_id": video_id, "subset": dataset.videos[video_id].subset, "fps": fps}
        task: dict[str, Any] = {"id": n + 1, "data": data | header_of(dataset, extra), "meta": {KEY: facts}}
        if video_id in dataset.annotations:
            regions = [_written(i, fps, f"{n}-{k}") for k, i in enumerate(instances_of(dataset, video_id))]
            task["annotations"] = [{"id": n + 1, "result": regions}]
        tasks.append(task)
    write_json(path / _TASKS, tasks)
    write_text(path / _CONFIG, _setup(all_classes(dataset)))
    return losses


def _written(one: Instance, fps: float, region_id: str) -> dict[str, Any]:
    times = [round(one.start, DECIMALS), round(one.end, DECIMALS)]
    frames = to_frames(times[0], times[1], fps)
    meta: dict[str, Any] = {"seconds": times}
    if one.confidence != 1:
        meta["confidence"] = round(one.confidence, DECIMALS)
    return {
        "id": region_id,
        "type": "timelinelabels",
        "from_name": _REGION,
        "to_name": _VIDEO,
        "origin": "manual",
        "meta": meta,
        "value": {"ranges": [{"start": frames.first + 1, "end": frames.stop}], "timelinelabels": [one.label]},
    }


def _setup(classes: list[str]) -> str:
    """The labelling setup: the video with the task's frame rate, and a timeline with all classes."""
    view = Element("View")
    labels = SubElement(view, "TimelineLabels", name=_REGION, toName=_VIDEO)
    for label in classes:
        SubElement(labels, "Label", value=label)
    SubElement(view, "Video", name=_VIDEO, value=f"${_VIDEO}", frameRate="$fps", timelineHeight="120")
    indent(view)
    return tostring(view, encoding="unicode") + "\n"
