"""ActivityNet JSON, the field's common tongue, for annotations (for predictions: `kloc.formats.predictions`).

``{version, taxonomy, database: {id: {subset, duration, url, annotations: [{label, segment: [s, e]}]}}}``. kloc adds a
few keys that other readers pass over: ``time_origin`` and ``origin`` (top level), and of a video ``start`` (where its
first frame is not at 0), ``labels`` (video-level labels beyond those of the instances), ``exhaustive_for``, and
``annotated`` (true or false where an empty list leaves it open, or the stretch that was searched where that is not
the whole video).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kloc.errors import FormatError
from kloc.files import write_json
from kloc.formats.common import (
    Extra,
    Media,
    Problems,
    Reading,
    listing,
    mapping,
    number,
    read_json,
    rebased,
    segment,
    subset_named,
    subset_or,
    text,
)
from kloc.formats.drafts import TAKEN, Draft, EndsReading, assemble, draft_of, facts, row
from kloc.formats.losses import Aspect
from kloc.records import Dataset, Instance, Subset

#: Nothing is lost: what the official schema lacks stands under keys that other readers pass over.
LOST: frozenset[Aspect] = frozenset()
_NOTHING_MORE = Extra()


def read(path: Path, *, name: str | None = None) -> Reading:
    """Read annotations (also THUMOS'14 and Kinetics files in this schema, and mmaction2's without ``database``).

    Numbers may be strings. Ends beyond the duration are clipped, zero-length and reversed segments dropped,
    repeated ones taken once; a row or a video that cannot be read is left out; each is counted in ``problems``. An
    annotation without ``segment`` is a video-level label. A video without a duration takes its last annotated end, or
    0 where there is none. An empty list says that nothing occurs, except in the testing subset, where it says that the
    annotation is withheld.

    Raises FormatError naming the file: broken JSON or UTF-8, no ``database``.
    """
    found = read_with_ends(path, name=name)
    return Reading(found.dataset, found.problems)


def read_with_ends(path: Path, *, name: str | None = None, taken: str = TAKEN, clean: bool = True) -> EndsReading:
    """As `read`, for who can find out where a video without a duration ends; ``taken`` says what is done about it.

    clean: if not, instances stay as they are written, reversed, repeated and overlong ones too.
    """
    problems = Problems()
    content = mapping(read_json(path, problems), str(path))
    database = _database(content, path)
    ids = _label_ids(database)
    assumed: Subset = subset_named(path) or "training"
    drafts: dict[str, Draft] = {}
    for video_id, entry in database.items():
        where = f"{path.name}: video {video_id!r}"
        with problems.counting("video that cannot be read, left out"):
            text(video_id, where)
            fields = mapping(entry, where)
            subset = assumed
            if fields.get("subset") is None:
                problems.add(f"video without a subset, taken as {assumed}", video_id)
            else:
                subset = subset_or(fields["subset"], assumed, f"{where}, subset", problems)
            drafts[video_id] = _draft(fields, subset, where, ids, problems)
    classes = _leaves(content.get("taxonomy"), path, problems)
    origin = content.get("origin")
    told = origin if isinstance(origin, str) else ""
    return assemble(drafts, classes, name or path.stem, problems, taken=taken, origin=told, clean=clean)


def _database(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """The entry of each video; mmaction2's lists have them at the top."""
    if "database" in content:
        return mapping(content["database"], f"{path}: database")
    if any(isinstance(entry, dict) and "annotations" in entry for entry in content.values()):
        return content
    hint = " (a predictions file: it has results)" if "results" in content else ""
    raise FormatError(f"{path}: no 'database'; is this an ActivityNet annotation file?{hint}")


def _label_ids(database: Mapping[str, Any]) -> dict[int, str]:
    """Which label a ``label_id`` means, from rows that have both."""
    found: dict[int, str] = {}
    for entry in database.values():
        rows = entry.get("annotations") if isinstance(entry, dict) else None
        for fields in rows if isinstance(rows, list) else ():
            both = isinstance(fields, dict) and isinstance(fields.get("label"), str)
            if both and isinstance(fields.get("label_id"), int):
                found.setdefault(fields["label_id"], fields["label"])
    return found


def _draft(entry: dict[str, Any], subset: Subset, where: str, ids: Mapping[int, str], problems: Problems) -> Draft:
    draft = draft_of(entry, subset, where, problems)
    rows = entry.get("annotations")
    known: list[Any] | None = None
    if rows is not None:
        with problems.counting("annotations that cannot be read, left out"):
            known = listing(rows, f"{where}, annotations")
    timed = False
    for i, given in enumerate(known or ()):
        try:
            fields = mapping(given, "row")
            timed |= fields.get("segment") is not None
            _take_row(draft, fields, ids)
        except FormatError as error:
            problems.add("annotation that cannot be read, left out", f"{where}, annotation {i}, {error}")
    says_none = known == [] and (subset != "testing" or "annotated" in entry)
    said = timed or says_none or ("exhaustive_for" in entry and known is not None)
    draft.annotated = said and entry.get("annotated") is not False
    return draft


def _take_row(draft: Draft, fields: dict[str, Any], ids: Mapping[int, str]) -> None:
    label_id = fields.get("label_id")
    by_id = ids.get(label_id) if isinstance(label_id, int) else None
    label = text(fields.get("label_name", fields.get("label", by_id)), "label")
    if fields.get("segment") is None:
        draft.labels.add(label)
        return
    start, end = segment(fields["segment"], "segment")
    confidence = number(fields.get("confidence", 1.0), "confidence")
    draft.found.append(Instance(start, end, label, confidence))


def _leaves(taxonomy: Any, path: Path, problems: Problems) -> list[str]:
    """The taxonomy's leaves in its order."""
    nodes: list[dict[str, Any]] = []
    with problems.counting("taxonomy that cannot be read, left out"):
        for node in listing(taxonomy or [], f"{path.name}: taxonomy"):
            with problems.counting("node of the taxonomy that cannot be read, left out"):
                text(mapping(node, f"{path.name}: taxonomy").get("nodeName"), f"{path.name}: taxonomy, nodeName")
                nodes.append(node)
    parents = {node["parentName"] for node in nodes if isinstance(node.get("parentName"), str)} - {"Root"}
    return [n["nodeName"] for n in nodes if n["nodeName"] not in parents and not _is_root(n)]


def _is_root(node: Mapping[str, Any]) -> bool:
    return node["nodeName"] == "Root" and node.get("parentName") != "Root"


def write(path: Path, dataset: Dataset, extra: Extra = _NOTHING_MORE) -> list[str]:
    """Write annotations in the official schema; equal datasets give equal bytes. Nothing is lost.

    Videos that nobody has annotated have an empty list and ``annotated: false``; their labels stand under ``labels``.
    """
    dataset = rebased(dataset, extra.origin)
    database = {video_id: _entry(dataset, video_id, extra.media.get(video_id)) for video_id in sorted(dataset.videos)}
    parents = {"parentId": 0, "parentName": "Root"}
    taxonomy: list[dict[str, Any]] = [{"nodeId": 0, "nodeName": "Root", "parentId": None, "parentName": None}]
    taxonomy += [{"nodeId": i, "nodeName": label, **parents} for i, label in enumerate(dataset.classes, start=1)]
    head = {"version": extra.version, "time_origin": extra.origin, **extra.header}
    write_json(path, {**head, "taxonomy": taxonomy, "database": database})
    return []


def _entry(dataset: Dataset, video_id: str, media: Media | None) -> dict[str, Any]:
    entry, annotation = facts(dataset, video_id), dataset.annotations.get(video_id)
    if media is not None and media.width and media.height:
        entry["resolution"] = f"{media.width}x{media.height}"
    found = sorted(annotation.instances) if annotation is not None else []
    return {**entry, "annotations": [{"label": one.label, **row(one)} for one in found]}
