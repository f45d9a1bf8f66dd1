"""CSV tables: ``instances-SUBSET.csv`` (one row per instance), ``videos.csv`` and ``classes.csv`` in one folder.

instances: ``video,subset,label,start,end,confidence``. videos: ``video,subset,duration,labels,exhaustive_for,url,start,
searched``; ``exhaustive_for`` is ``all`` or class names divided by ``;``, ``searched`` is ``all``, ``no`` (nobody has
annotated the video) or the first and last second of the stretch that was. Seconds, six decimals.
"""

from __future__ import annotations

from pathlib import Path

from kloc.errors import FormatError
from kloc.files import write_text
from kloc.formats.common import Extra, Problems, Reading, number, rebased, segment, subset_or, text
from kloc.formats.drafts import Draft, assemble
from kloc.formats.losses import Aspect
from kloc.formats.tables import Row, divided, joined, rows, table
from kloc.records import SUBSETS, Dataset, Instance

LOST: frozenset[Aspect] = frozenset()
#: The instances of one subset.
INSTANCES = "instances-{}.csv"
_VIDEO_COLUMNS = ("video", "subset", "duration", "labels", "exhaustive_for", "url", "start", "searched")
_INSTANCE_COLUMNS = ("video", "subset", "label", "start", "end", "confidence")


def read(path: Path, *, name: str | None = None) -> Reading:
    """Read a folder that `write` filled, or one table of instances alone (``video,label,start,end``, others may lack).

    Raises FormatError: no such table, a missing column, broken CSV or UTF-8. Rows that cannot be read are counted.
    """
    problems = Problems()
    drafts: dict[str, Draft] = {}
    classes: list[str] = []
    origins: set[str] = set()
    folder = path.is_dir()
    tables = sorted(path.glob("instances*.csv")) if folder else [path]
    known = folder and (path / "videos.csv").exists()
    if not tables and not known:
        raise FormatError(f"{path}: holds no instances*.csv and no videos.csv; name the folder of an export")
    if folder and (path / "classes.csv").exists():
        for row in rows(path / "classes.csv", ("label",), problems):
            with problems.counting("class that cannot be read, left out"):
                classes.append(row["label"])
    if known:
        for row in rows(path / "videos.csv", ("video",), problems):
            origins.add(row.get("origin"))
            with problems.counting("video that cannot be read, left out"):
                _take_video(row, drafts, problems)
    for source in tables:
        for row in rows(source, ("video", "label", "start", "end"), problems):
            origins.add(row.get("origin"))
            with problems.counting("instance that cannot be read, left out"):
                _take_instance(row, drafts, known, problems)
    told = ", ".join(sorted(origins - {""}))
    found = assemble(drafts, classes, name or path.stem, problems, origin=told)
    return Reading(found.dataset, found.problems)


def _take_video(row: Row, drafts: dict[str, Draft], problems: Problems) -> None:
    video_id = row["video"]
    if video_id in drafts:
        problems.add("video given twice, the first one holds", video_id)
        return
    draft = Draft(subset_or(row.get("subset") or "training", "training", f"{row.where}, subset", problems))
    with problems.counting("duration that cannot be read, taken as unknown"):
        draft.duration = number(row.get("duration"), f"{row.where}, duration") if row.get("duration") else None
    with problems.counting("start of a video that cannot be read, taken as 0"):
        draft.start = number(row.get("start") or 0.0, f"{row.where}, start")
    draft.url = row.get("url") or None
    draft.labels = set(divided(row.get("labels")))
    if row.cells.get("exhaustive_for", "all") != "all":
        draft.exhaustive = frozenset(divided(row.get("exhaustive_for")))
    searched = row.get("searched") or "all"
    draft.annotated = searched != "no"
    if searched not in ("all", "no"):
        with problems.counting("searched stretch that cannot be read, taken as the whole video"):
            draft.stretch = segment(searched.split(" "), f"{row.where}, searched")
    drafts[video_id] = draft


def _take_instance(row: Row, drafts: dict[str, Draft], known: bool, problems: Problems) -> None:
    video_id, label = text(row["video"], row.where), row["label"]
    start, end = number(row["start"], f"{row.where}, start"), number(row["end"], f"{row.where}, end")
    confidence = number(row.get("confidence") or 1.0, f"{row.where}, confidence")
    subset = subset_or(row.get("subset") or "training", "training", f"{row.where}, subset", problems)
    if known and video_id not in drafts:
        problems.add("instance of a video that videos.csv lacks, the video is added", video_id)
    drafts.setdefault(video_id, Draft(subset)).found.append(Instance(start, end, label, confidence))


def write(path: Path, dataset: Dataset, extra: Extra) -> list[str]:
    """Write the tables into the folder; nothing is lost. What the header says stands in a column of every row."""
    dataset = rebased(dataset, extra.origin)
    more = list(extra.header.values())
    for subset in SUBSETS:
        body = [
            [v, subset, i.label, f"{i.start:.6f}", f"{i.end:.6f}", f"{i.confidence:.6f}", *more]
            for v, annotation in sorted(dataset.annotations.items())
            if dataset.videos[v].subset == subset
            for i in sorted(annotation.instances)
        ]
        write_text(path / INSTANCES.format(subset), table([*_INSTANCE_COLUMNS, *extra.header], body))
    videos = [_video_cells(dataset, video_id) + more for video_id in sorted(dataset.videos)]
    write_text(path / "videos.csv", table([*_VIDEO_COLUMNS, *extra.header], videos))
    write_text(path / "classes.csv", table(["label"], [[label] for label in dataset.classes]))
    return []


def _video_cells(dataset: Dataset, video_id: str) -> list[str]:
    video, annotation = dataset.videos[video_id], dataset.annotations.get(video_id)
    asked, searched = "all", "all"
    if annotation is None:
        searched = "no"
    else:
        if annotation.item != video.item:
            searched = f"{annotation.item.start:.6f} {annotation.item.end:.6f}"
        if annotation.exhaustive_for is not None:
            asked = joined(sorted(annotation.exhaustive_for))
            asked = "\\all" if asked == "all" else asked  # a class of that name
    duration = f"{video.duration:.6f}" if dataset.is_timed(video_id) else ""
    labels = joined(video.labels)
    return [video.id, video.subset, duration, labels, asked, video.url or "", f"{video.start:.6f}", searched]
