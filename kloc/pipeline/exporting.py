"""export: the dataset as other people's tools read it."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import cast

from kloc.errors import KlocError, UsageError
from kloc.files import write_text
from kloc.formats import activitynet
from kloc.formats.common import Extra, Media, Origin
from kloc.pipeline.common import stage
from kloc.pipeline.publication import current_dataset, simulated_origin
from kloc.pipeline.telling import Summary
from kloc.records import SUBSETS, Dataset
from kloc.store import videos
from kloc.workspace import Workspace

#: The exported instances of one subset.
INSTANCES = "instances-{}.csv"


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
        media = {
            row.id: Media(width=row.probe["width"], height=row.probe["height"])
            for row in videos.rows(session, "ok")
            if row.probe
        }
    annotated = {v: video for v, video in dataset.videos.items() if v in dataset.annotations}
    published = replace(dataset, videos=annotated)
    if origin not in ("stream", "first-frame"):
        raise UsageError(f"unknown time origin {origin!r}; it is 'stream' or 'first-frame'")
    shift = {v: -video.start if origin == "first-frame" else 0.0 for v, video in dataset.videos.items()}
    try:
        activitynet.write(
            folder / "annotations.json",
            published,
            Extra(origin=cast(Origin, origin), media=media, header=simulated_origin(workspace)),
        )
        for subset in SUBSETS:
            instances = _instances_csv(dataset.of(subset), shift, simulated_origin(workspace))
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
