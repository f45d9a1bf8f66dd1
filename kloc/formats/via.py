"""VIA 3 (VGG Video Annotator): one project file (data format 3.1.1), each instance a temporal segment.

``file``: the videos; ``view``: one for each; ``attribute``: ``class`` and ``confidence``, both text: then VIA shows a
row for each class that occurs in the video (and one for each of all classes where they are a drop-down);
``metadata``: per instance ``z = [start, end]`` in seconds, ``xy`` empty, ``av`` the attributes' values. VIA keeps keys
that it does not know: what else is known stands under ``kloc``, in the project and in each file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kloc.errors import FormatError
from kloc.files import write_json
from kloc.formats.common import Extra, Reading, mapping, read_json, rebased
from kloc.formats.interchange import (
    DECIMALS,
    KEY,
    Collector,
    as_object,
    dataset_facts,
    instances_of,
    media_paths,
    video_facts,
)
from kloc.formats.losses import Aspect
from kloc.records import Dataset, Instance

LOST: frozenset[Aspect] = frozenset()

_VERSION = "3.1.1"
_TEXT = 1
_VIDEO = 4
_LOCAL, _BY_URL = 1, 2
_CLASS, _CONFIDENCE = "1", "2"
#: An attribute of a temporal segment: one file, two times, no region.
_SEGMENT = "FILE1_Z2_XY0"


def read(path: Path, *, name: str | None = None) -> Reading:
    """Read a project. The class is the segment's only drop-down or text, or the attribute called ``class``.

    Entries without two times (regions in frames, attributes of files) are counted and left out. Raises FormatError for
    a file that is no VIA 3 project.
    """
    collector = Collector(path, name)
    content = mapping(read_json(path, collector.problems), str(path))
    if not isinstance(content.get("project"), dict) or "metadata" not in content or "view" not in content:
        raise FormatError(f"{path}: no project, view and metadata; is this a VIA 3 project?")
    parts = {k: mapping(content.get(k, {}), f"{path}: {k}") for k in ("attribute", "file", "view", "metadata")}
    collector.facts(content["project"].get(KEY))
    chosen = _attribute(parts["attribute"], "class") or next(iter(parts["attribute"]), _CLASS)
    sure = _attribute(parts["attribute"], "confidence")
    options = _options(parts["attribute"].get(chosen))
    if not isinstance(content["project"].get(KEY), dict):
        collector.classes(options.values())
    views = _views(parts["view"])
    found: dict[str, list[Instance]] = {}
    for key, value in parts["metadata"].items():
        row = as_object(value)
        times, values, file = row.get("z"), row.get("av"), views.get(str(row.get("vid")))
        if file is None or file not in parts["file"]:
            collector.problems.add("entry of a video that is not in the project, left out", key)
        elif not isinstance(times, list) or len(times) != 2 or not isinstance(values, dict):
            collector.problems.add("entry that is no segment in time, left out", key)
        else:
            said = values.get(chosen)
            label = options.get(said, said) if isinstance(said, str) else said
            confidence = values.get(sure) or None if sure else None
            found.setdefault(file, []).extend(collector.instance(key, times[0], times[1], label, confidence))
    for file, value in parts["file"].items():
        entry = as_object(value)
        shown = entry.get("fname")
        stem = Path(shown).stem if isinstance(shown, str) and shown else file
        collector.video(entry.get(KEY), stem, found.get(file, []))
    return collector.reading()


def _attribute(attributes: dict[str, Any], name: str) -> str | None:
    """The id of the attribute called ``name``."""
    return next((k for k, v in attributes.items() if as_object(v).get("aname") == name), None)


def _options(attribute: Any) -> dict[str, str]:
    """The choices of an attribute by their ids; none where it is free text."""
    found = as_object(as_object(attribute).get("options"))
    return {k: v for k, v in found.items() if isinstance(v, str)}


def _views(views: dict[str, Any]) -> dict[str, str]:
    """The file of each view that shows one."""
    found: dict[str, str] = {}
    for key, value in views.items():
        files = as_object(value).get("fid_list")
        if isinstance(files, list) and len(files) == 1:
            found[key] = str(files[0])
    return found


def write(path: Path, dataset: Dataset, extra: Extra) -> list[str]:
    """Write the project; ``pname`` says so where answers are simulated."""
    dataset = rebased(dataset, extra.origin)
    paths, losses = media_paths(dataset, extra)
    files: dict[str, Any] = {}
    views: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    for n, video_id in enumerate(sorted(dataset.videos), start=1):
        files[str(n)] = _file(n, dataset, video_id, paths[video_id])
        views[str(n)] = {"fid_list": [str(n)]}
        for one in instances_of(dataset, video_id):
            values = {_CLASS: one.label}
            if one.confidence != 1:
                values[_CONFIDENCE] = f"{one.confidence:.6f}"
            times = [round(one.start, DECIMALS), round(one.end, DECIMALS)]
            metadata[f"{n}_{len(metadata)}"] = {"vid": str(n), "flg": 0, "z": times, "xy": [], "av": values}
    title = " - ".join([dataset.name, *extra.header.values()])
    content = {
        "project": {
            "pid": "__VIA_PROJECT_ID__",
            "rev": "__VIA_PROJECT_REV_ID__",
            "rev_timestamp": "__VIA_PROJECT_REV_TIMESTAMP__",
            "pname": title,
            "data_format_version": _VERSION,
            "creator": KEY,
            "created": 0,
            "vid_list": list(views),
            KEY: dataset_facts(dataset, extra),
        },
        "config": _CONFIG,
        "attribute": {
            _CLASS: _described("class", "What happens in the segment"),
            _CONFIDENCE: _described("confidence", "From 0 to 1; empty: 1"),
        },
        "file": files,
        "metadata": metadata,
        "view": views,
    }
    write_json(path, content)
    return losses


_CONFIG: dict[str, Any] = {
    "file": {"loc_prefix": {"1": "", "2": "", "3": "", "4": ""}},
    "ui": {
        "file_content_align": "center",
        "file_metadata_editor_visible": True,
        "spatial_metadata_editor_visible": False,
        "temporal_segment_metadata_editor_visible": True,
        "spatial_region_label_attribute_id": "",
        "gtimeline_visible_row_count": "4",
    },
}


def _file(n: int, dataset: Dataset, video_id: str, media: str) -> dict[str, Any]:
    """A video on the disk is chosen by hand in VIA, by its name; one with an address is loaded from there."""
    by_url = media.startswith(("http://", "https://"))
    where = {"loc": _BY_URL, "src": media} if by_url else {"loc": _LOCAL, "src": ""}
    return {"fid": str(n), "fname": Path(media).name, "type": _VIDEO, **where, KEY: video_facts(dataset, video_id)}


def _described(name: str, what: str) -> dict[str, Any]:
    return {
        "aname": name,
        "anchor_id": _SEGMENT,
        "type": _TEXT,
        "desc": what,
        "options": {},
        "default_option_id": "",
    }
