"""Seek-friendly copies of the videos that workers see, made once per video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kloc.engine import map_videos
from kloc.files import fingerprint, safe_name
from kloc.pipeline.common import manifest
from kloc.pipeline.telling import Reporter
from kloc.store import artefacts
from kloc.store.tables import VideoRow
from kloc.video.probe import Probe
from kloc.video.proxy import make_proxy
from kloc.workspace import Workspace

STAGE = "media"
#: Changes when proxies are made differently, so that old ones are made again.
_RECIPE = 1


@dataclass(frozen=True)
class Shown:
    """The media of one video. Video seconds = media seconds + ``offset``."""

    key: str
    offset: float
    duration: float
    frame_period: float


@dataclass(frozen=True)
class MediaTask:
    """One video to make a copy of."""

    video_id: str
    path: Path
    out: Path
    probe: Probe


class MediaMaker:
    """Worker: make one copy."""

    def process(self, task: MediaTask) -> dict[str, Any]:
        proxy = make_proxy(task.path, task.out, task.probe)
        return {
            "offset": proxy.offset,
            "duration": proxy.duration,
            "frame_period": proxy.frame_period,
            "reused": proxy.reused,
        }


def mark_of(row: VideoRow) -> str:
    """Changes when a video's copy is to be made again."""
    return fingerprint([row.sha256, _RECIPE])


def make_media(
    workspace: Workspace, video_ids: Sequence[str], problems: list[str], reporter: Reporter
) -> dict[str, Shown]:
    """The media of each video, made where missing or stale. A video that has none is a problem line."""
    there = manifest(workspace, STAGE)
    tasks, marks = [], {}
    with workspace.store.transaction() as session:
        for video_id in video_ids:
            row = session.get_one(VideoRow, video_id)
            if row.path is None or row.probe is None:
                problems.append(f"{video_id}: workers cannot watch it, its file is not here; add it with `kloc add`")
                continue
            marks[video_id] = mark_of(row)
            if video_id not in there or there[video_id].fingerprint != marks[video_id]:
                out = workspace.media / f"{safe_name(video_id)}.mp4"
                tasks.append(MediaTask(video_id, Path(row.path), out, Probe.from_json(row.probe)))
    workspace.media.mkdir(parents=True, exist_ok=True)

    def keep(task: MediaTask, info: dict[str, Any]) -> None:
        with workspace.store.transaction() as session:
            artefacts.put(session, STAGE, task.video_id, marks[task.video_id], workspace.relative(task.out), info)
        reporter.advance()

    def refuse(task: MediaTask, reason: str) -> None:
        problems.append(f"{task.video_id}: no copy for workers could be made: {reason}")
        reporter.advance()

    reporter.start("making seek-friendly copies", len(tasks))
    map_videos(
        MediaMaker,
        tasks,
        workers=min(workspace.workers, len(tasks)),
        time_limit_s=workspace.settings.video.time_limit_s,
        on_result=keep,
        on_error=refuse,
    )
    reporter.finish()
    rows = manifest(workspace, STAGE)
    shown = {v: rows[v] for v in video_ids if v in rows and rows[v].fingerprint == marks.get(v)}
    return {
        video_id: Shown(safe_name(video_id), row.info["offset"], row.info["duration"], row.info["frame_period"])
        for video_id, row in shown.items()
    }
