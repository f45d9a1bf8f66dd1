"""CVAT: one "CVAT for video 1.1" XML file for each video, to be uploaded to the task that has this video.

CVAT knows no segments in time: an instance is a track whose box covers the whole picture from its first frame to its
last (``outside="1"`` at the frame after). Frames count from 0, so a boundary is off by up to half a frame in CVAT; the
seconds stand beside it as attributes of the track, and hold when kloc reads the file, unless somebody moved the track
since. What else is known of the video stands in ``meta/kloc``, which CVAT passes over (and does not export again).
"""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from kloc.errors import FormatError
from kloc.formats.common import Extra, Media, Reading, rebased
from kloc.formats.interchange import (
    DECIMALS,
    KEY,
    NOMINAL_FPS,
    Collector,
    Frames,
    as_object,
    check_labels,
    dataset_facts,
    file_names,
    files_of,
    frame_rates,
    from_frames,
    header_of,
    instances_of,
    media_paths,
    one_line,
    pair,
    parse_facts,
    positive,
    read_xml,
    to_frames,
    video_facts,
    write_folder,
)
from kloc.formats.losses import Aspect
from kloc.records import Dataset, Instance

LOST: frozenset[Aspect] = frozenset()

#: The picture's size where it is not known: a box of it covers a corner at least.
_SIZE = (16, 16)
_SHAPES = ("box", "ellipse", "polygon", "polyline", "points", "cuboid", "skeleton", "mask")
_ATTRIBUTES = ("start", "end", "confidence")


def read(path: Path, *, name: str | None = None) -> Reading:
    """Read one XML file of a video task or a folder of them, also those that CVAT exported.

    Each stretch of a track in which it is not ``outside`` is one instance. CVAT does not say how many frames a second
    has: without ``meta/kloc`` they are counted at 25, which is said. Raises FormatError for a file that is none of
    CVAT's for video.
    """
    collector = Collector(path, name)
    for file in files_of(path, ".xml", collector):
        _read_file(file, collector)
    return collector.reading()


def _read_file(file: Path, collector: Collector) -> None:
    document = read_xml(file, "annotations")
    if document.find("meta") is None or (document.find("track") is None and document.find("image") is not None):
        raise FormatError(f"{file}: has no meta or no tracks; export the task as 'CVAT for video 1.1'")
    known = as_object(parse_facts(document.findtext(f"meta/{KEY}")))
    video = as_object(known.get("video"))
    collector.facts(known)
    if not known:
        collector.classes(label.text for label in document.iterfind("meta//label/name"))
    task = next(document.iterfind("meta//task"), None)
    size = None if task is None else task.findtext("size")
    fps, start = positive(known.get("fps")), pair(video.get("start"), 0)
    if fps is None or start is None:
        collector.problems.add(f"video without a frame rate, taken as {NOMINAL_FPS:g} frames per second", file.stem)
    fps, zero = fps or NOMINAL_FPS, start[0] if start else 0.0
    last = int(size) if size is not None and size.isascii() and size.isdigit() and len(size) < 10 else None
    found: list[Instance] = []
    for track in document.iterfind("track"):
        found += _stretches(track, fps, zero, last, file.stem, collector)
    media = document.findtext("meta/source") or (None if task is None else task.findtext("source"))
    collector.video(video, Path(media).stem if media else file.stem, found)


def _stretches(
    track: Element, fps: float, zero: float, last: int | None, video_id: str, collector: Collector
) -> list[Instance]:
    """The stretches of a track in which its shape is inside: from a key frame to the next one that is outside."""
    keys: list[tuple[int, bool, dict[str, str]]] = []
    for shape in (s for s in track if s.tag in _SHAPES):
        at = shape.get("frame", "")
        if not (at.isascii() and at.isdigit() and len(at) < 10):
            collector.problems.add("frame that is no whole number, left out", f"{video_id}: {at[:20]!r}")
            continue
        notes = {a.get("name", ""): a.text or "" for a in shape.iterfind("attribute")}
        keys.append((int(at), shape.get("outside") == "1", notes))
    keys.sort(key=lambda key: key[0])
    found: list[Instance] = []
    first: tuple[int, dict[str, str]] | None = None
    for frame, outside, notes in keys:
        if first is None and not outside:
            first = frame, notes
        elif first is not None and outside:
            found += _instance(track, Frames(first[0], frame), first[1], fps, zero, video_id, collector)
            first = None
    if first is not None:
        stop = max(keys[-1][0] + 1, last or 0)
        found += _instance(track, Frames(first[0], stop), first[1], fps, zero, video_id, collector)
    return found


def _instance(
    track: Element, frames: Frames, notes: dict[str, str], fps: float, zero: float, video_id: str, collector: Collector
) -> list[Instance]:
    start, end = from_frames(frames, fps, zero, pair(notes.get("start"), notes.get("end")))
    return collector.instance(video_id, start, end, track.get("label"), notes.get("confidence") or None)


def write(path: Path, dataset: Dataset, extra: Extra) -> list[str]:
    """Write the folder. Raises FormatError for a class whose name XML cannot hold."""
    check_labels(dataset, "CVAT")
    dataset = rebased(dataset, extra.origin)
    rates, losses = frame_rates(dataset, extra)
    paths, unknown = media_paths(dataset, extra)
    header = header_of(dataset, extra)
    files: dict[str, bytes] = {}
    for n, (video_id, file) in enumerate(file_names(dataset.videos).items()):
        facts = one_line({**header, "fps": rates[video_id], "video": video_facts(dataset, video_id)})
        media = extra.media.get(video_id, Media())
        root = _document(dataset, video_id, rates[video_id], media, n)
        meta = root.find("meta")
        assert meta is not None
        SubElement(meta, "source").text = paths[video_id]
        SubElement(meta, KEY).text = facts
        indent(root)
        files[file] = tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"
    write_folder(path, files, ".xml", dataset_facts(dataset, extra))
    return losses + unknown


def _document(dataset: Dataset, video_id: str, fps: float, media: Media, n: int) -> Element:
    video = dataset.videos[video_id]
    size = media.frames or max(to_frames(video.start, video.end, fps, video.start).stop, 1)
    width, height = (media.width, media.height) if media.width and media.height else _SIZE
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    task = SubElement(SubElement(root, "meta"), "task")
    facts = {"id": str(n), "name": video_id if video_id.isprintable() else str(n), "size": str(size)}
    facts |= {"mode": "interpolation", "overlap": "0", "start_frame": "0", "stop_frame": str(size - 1)}
    for key, value in facts.items():
        SubElement(task, key).text = value
    labels = SubElement(task, "labels")
    for label in sorted({i.label for i in instances_of(dataset, video_id)}):
        entry = SubElement(labels, "label")
        SubElement(entry, "name").text = label
        attributes = SubElement(entry, "attributes")
        for attribute in _ATTRIBUTES:
            described = SubElement(attributes, "attribute")
            parts = {"name": attribute, "mutable": "False", "input_type": "text", "default_value": "", "values": ""}
            for key, value in parts.items():
                SubElement(described, key).text = value
    original = SubElement(task, "original_size")
    SubElement(original, "width").text, SubElement(original, "height").text = str(width), str(height)
    for nth, one in enumerate(instances_of(dataset, video_id)):
        track = SubElement(root, "track", id=str(nth), label=one.label, source="manual")
        first, stop = to_frames(one.start, one.end, fps, video.start)
        for frame, outside in ((first, "0"), (stop, "1")):
            if outside == "1" and frame >= size:
                continue  # it stays to the last frame
            box = SubElement(track, "box", frame=str(frame), keyframe="1", outside=outside, occluded="0")
            box.attrib |= {"xtl": "0.00", "ytl": "0.00", "xbr": f"{width:.2f}", "ybr": f"{height:.2f}", "z_order": "0"}
            for attribute, known in zip(_ATTRIBUTES, (one.start, one.end, one.confidence), strict=True):
                SubElement(box, "attribute", name=attribute).text = repr(round(known, DECIMALS))
    return root
