"""stats, split, export: the dataset as it will be published."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any, cast

import numpy as np

from kloc.errors import FormatError, KlocError, UsageError
from kloc.files import write_json, write_text
from kloc.formats import activitynet
from kloc.pipeline import quality
from kloc.pipeline.common import SIMULATED, stage
from kloc.pipeline.telling import Summary
from kloc.records import SUBSETS, Dataset, Subset
from kloc.report import splits
from kloc.report.statistics import Statistics, compute
from kloc.seeds import generator
from kloc.store import artefacts, meta, revisions, videos
from kloc.store.tables import VideoRow
from kloc.workspace import Workspace

#: The exported instances of one subset.
INSTANCES = "instances-{}.csv"


def current_dataset(workspace: Workspace) -> Dataset:
    """Videos and newest annotations as they stand in the store."""
    with workspace.store.transaction() as session:
        usable = videos.usable(session)
        known = revisions.current(session)
        classes = tuple(videos.classes(session))
    there = {v: a for v, a in known.items() if v in usable}
    return Dataset(classes, usable, there, workspace.settings.general.name)


@stage("stats")
def stats(workspace: Workspace) -> tuple[Statistics, Summary]:
    """Statistics of the workspace; also written to ``reports/statistics.json``."""
    dataset = current_dataset(workspace)
    if not dataset.videos:
        raise UsageError("there are no videos yet; add some with `kloc add`")
    statistics = compute(dataset)
    path = workspace.reports / "statistics.json"
    figures = quality.figures(workspace)
    data = statistics.to_json() | _origin(workspace) | ({} if figures is None else {"crowd": figures})
    write_json(path, data)
    return statistics, Summary(
        "stats",
        quality.lines(figures) | {"written": str(path)},
        hint="kloc split" if dataset.annotations else "kloc select",
        data=data,
    )


def _origin(workspace: Workspace) -> dict[str, str]:
    """Where answers come from, for what is published, unless they come from people."""
    with workspace.store.transaction() as session:
        return {} if meta.get(session, SIMULATED) is None else {"origin": "simulated workers"}


def file_stats(path: Path) -> tuple[Statistics, Summary]:
    """Statistics of an ActivityNet-style file."""
    dataset, problems = activitynet.read(path)
    statistics = compute(dataset)
    return statistics, Summary("stats", {}, problems, data=statistics.to_json())


@stage("split")
def split(
    workspace: Workspace, *, training: float, validation: float, keep: Subset | None, groups: Path | None
) -> Summary:
    """Deal the annotated videos out to the subsets: classes in equal shares, groups never torn apart.

    ``keep``: videos already in that subset stay there, the others are dealt out to the other two.
    Raises :class:`UsageError` while nothing is annotated.
    """
    dataset = current_dataset(workspace)
    known = {v: a for v, a in dataset.annotations.items() if dataset.videos[v].subset != keep}
    if not known:
        raise UsageError("nothing is annotated yet that could be split; have some videos annotated first")
    labels = {v: sorted({i.label for i in a.instances} or set(dataset.videos[v].labels)) for v, a in known.items()}
    shares = np.array([training, validation, max(0.0, 1 - training - validation)])
    if keep is not None:
        shares[SUBSETS.index(keep)] = 0
    if shares.sum() <= 0:
        raise UsageError("no share is left for the videos that are to be dealt out; give other shares")
    grouping = _groups(groups) if groups else None
    made = splits.split(
        labels,
        generator(workspace.settings.general.seed, "split"),
        shares=tuple((shares / shares.sum()).tolist()),
        groups=grouping,
    )
    with workspace.store.transaction() as session:
        for video_id, subset in made.items():
            session.get_one(VideoRow, video_id).subset = subset
        hashes = {row.id: row.sha256 for row in videos.rows(session, "ok") if row.sha256}
        artefacts.put(session, "split", "current", "", info={"training": training, "validation": validation})
    placed = {v: made.get(v, dataset.videos[v].subset) for v in dataset.annotations}
    twins = {v: h for v, h in hashes.items() if v in placed}
    problems = splits.leaks(placed, twins) + (splits.leaks(placed, grouping) if grouping else [])
    facts: dict[str, Any] = {}
    for subset in SUBSETS:
        inside = [v for v, s in placed.items() if s == subset]
        count = sum(len(dataset.annotations[v].instances) for v in inside)
        facts[subset] = f"{len(inside)} videos, {count} instances" + (" (kept)" if subset == keep else "")
    facts["leaks"] = "none: no file and no group in two subsets" if not problems else len(problems)
    return Summary("split", facts, problems, "kloc card", data={"subsets": placed})


def _groups(path: Path) -> dict[str, str]:
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: cannot be read: {error}") from None
    if not rows or not {"video", "group"} <= set(rows[0]):
        raise FormatError(f"{path}: expected a header 'video,group' and one row for each video")
    return {row["video"]: row["group"] for row in rows if row["group"]}


@stage("export")
def export(workspace: Workspace, *, out: Path | None, origin: str) -> Summary:
    """Write ``annotations.json`` (ActivityNet), ``videos.csv`` and the instances of each subset as CSV.

    Equal datasets give equal bytes. Raises :class:`UsageError` while nothing is annotated.
    """
    dataset = current_dataset(workspace)
    if not dataset.annotations:
        raise UsageError("nothing is annotated yet that could be exported")
    folder = out or workspace.dataset
    with workspace.store.transaction() as session:
        resolutions = {
            row.id: f"{row.probe['width']}x{row.probe['height']}" for row in videos.rows(session, "ok") if row.probe
        }
    if origin not in ("stream", "first-frame"):
        raise UsageError(f"unknown time origin {origin!r}; it is 'stream' or 'first-frame'")
    shift = {v: -video.start if origin == "first-frame" else 0.0 for v, video in dataset.videos.items()}
    try:
        activitynet.write(
            folder / "annotations.json",
            dataset,
            origin=cast(activitynet.Origin, origin),
            resolutions=resolutions,
            header=_origin(workspace),
        )
        for subset in SUBSETS:
            instances = _instances_csv(dataset.of(subset), shift, _origin(workspace))
            write_text(folder / INSTANCES.format(subset), instances)
        write_text(folder / "videos.csv", _videos_csv(dataset))
    except PermissionError as error:
        raise KlocError(f"{folder}: cannot be written: {error.strerror}; name another folder with --out") from None
    facts = {
        "folder": str(folder),
        "videos": len(dataset.annotations),
        "instances": sum(len(a.instances) for a in dataset.annotations.values()),
        "files": "annotations.json (ActivityNet), videos.csv, one instances-*.csv per subset",
    }
    return Summary("export", facts, hint="kloc report")


def _instances_csv(dataset: Dataset, shift: dict[str, float], more: dict[str, str]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["video", "subset", "label", "start", "end", "confidence", *more])
    for video_id in sorted(dataset.annotations):
        for i in dataset.annotations[video_id].instances:
            times = [f"{t + shift[video_id]:.6f}" for t in (i.start, i.end)]
            writer.writerow(
                [video_id, dataset.videos[video_id].subset, i.label, *times, f"{i.confidence:.6f}", *more.values()]
            )
    return stream.getvalue()


def _videos_csv(dataset: Dataset) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["video", "subset", "duration", "labels", "exhaustive_for", "url"])
    for video_id in sorted(dataset.annotations):
        video, covered = dataset.videos[video_id], dataset.annotations[video_id].exhaustive_for
        asked = "all" if covered is None else ";".join(sorted(covered))
        row = [video_id, video.subset, f"{video.duration:.6f}", ";".join(video.labels), asked, video.url or ""]
        writer.writerow(row)
    return stream.getvalue()
