"""extract: features of every video, into the bank."""

from __future__ import annotations

import functools
import time
from pathlib import Path
from typing import Any, Literal

from kloc.engine import map_videos
from kloc.engine import shard as part_of
from kloc.engine_ray import map_videos_ray
from kloc.errors import UsageError
from kloc.features.backbone import Backbone, make_backbone
from kloc.features.bank import FeatureBank
from kloc.features.extract import ExtractTask, FeatureWorker, estimate_seconds, extraction_settings
from kloc.features.settings import FeatureSettings
from kloc.files import fingerprint, sweep
from kloc.pipeline.common import file_size, manifest
from kloc.pipeline.data import BANK, active_bank, feature_stage
from kloc.pipeline.telling import Reporter, Summary
from kloc.store import artefacts, meta, videos
from kloc.video.probe import Probe
from kloc.workspace import Workspace

#: Who does the work.
Runner = Literal["local", "ray"]


def extract(
    workspace: Workspace,
    *,
    shard: tuple[int, int] | None = None,
    runner: Runner = "local",
    reporter: Reporter,
) -> Summary:
    """Extract features of every usable video that has a file; what is up to date is skipped.

    A video that cannot be read is quarantined with its reason. ``shard``: only part i (from 0) of n. ``runner``:
    processes of this machine, or a Ray cluster whose machines see the same files. Raises :class:`UsageError` while
    there is no video, :class:`KlocError` where the backbone cannot be had.
    """
    # Parts of one extraction may run side by side on several machines; two of the same part may not.
    name = "extract" if shard is None else f"extract-{shard[0]}-of-{shard[1]}"
    with workspace.stage(name):
        if shard is None:
            sweep(workspace.features)
        return _extract(workspace, shard, runner, reporter)


def _extract(workspace: Workspace, shard: tuple[int, int] | None, runner: Runner, reporter: Reporter) -> Summary:
    config = workspace.settings.features
    with workspace.store.transaction() as session:
        rows = [row for row in videos.rows(session, "ok") if row.path and row.probe]
        any_video = bool(videos.usable(session))
    if not rows:
        if any_video:  # known by imported features only
            return Summary("extract", {"bank": active_bank(workspace), "extracted": 0}, hint="kloc propose")
        raise UsageError("there are no videos yet; add some with `kloc add`")
    weights = Path(config.weights).expanduser() if config.weights else None
    backbone = make_backbone(config.backbone, weights)
    settings = extraction_settings(backbone, fps=config.fps, max_frames=config.max_frames or None)
    name = f"{config.backbone}-{settings.fingerprint[:8]}"
    bank = FeatureBank(workspace.features / name, settings)
    there = manifest(workspace, feature_stage(name))
    marks = {row.id: fingerprint([row.sha256, settings.fingerprint]) for row in rows}
    tasks = [
        ExtractTask(row.id, row.path or "", Probe.from_json(row.probe or {}), row.sha256)
        for row in rows
        if row.id not in there or there[row.id].fingerprint != marks[row.id]
    ]
    if shard is not None:
        tasks = part_of(tasks, *shard)
    seconds = sum(task.probe.duration for task in tasks)
    expected = _announce(tasks, backbone, settings, workspace.workers, reporter)
    problems = _run(workspace, bank, name, tasks, marks, weights, runner, reporter)
    with workspace.store.transaction() as session:
        meta.put(session, BANK, name)
    facts: dict[str, Any] = {
        "bank": name,
        "weights": f"{backbone.weights_source} ({backbone.weights_id})",
        "extracted": f"{len(tasks) - len(problems)} videos, {seconds / 60:.1f} min of video",
        "unchanged": len(rows) - len(tasks),
        "on disk": f"{file_size(bank.folder) / 1e6:.1f} MB",
    }
    if problems:
        facts["set aside"] = len(problems)
    return Summary("extract", facts, problems, "kloc propose", data={"expected_seconds": expected}, idle=not tasks)


def uses_imported(workspace: Workspace) -> bool:
    """Whether the features in use were imported: then a run keeps them."""
    with workspace.store.transaction() as session:
        name = meta.get(session, BANK)
    return name is not None and FeatureBank(workspace.features / name).settings.imported


def _announce(
    tasks: list[ExtractTask], backbone: Backbone, settings: FeatureSettings, workers: int, reporter: Reporter
) -> float:
    if not tasks:
        return 0.0
    expected = estimate_seconds(tasks, backbone, settings, workers=workers)
    shown = (
        f"{expected:.0f} s"
        if expected < 90
        else f"{expected / 60:.0f} min"
        if expected < 5400
        else f"{expected / 3600:.1f} h"
    )
    at = time.strftime("%H:%M", time.localtime(time.time() + expected))
    reporter.say(f"{len(tasks)} videos to extract: about {shown}, done at {at}")
    return expected


def _run(
    workspace: Workspace,
    bank: FeatureBank,
    name: str,
    tasks: list[ExtractTask],
    marks: dict[str, str],
    weights: Path | None,
    runner: Runner,
    reporter: Reporter,
) -> list[str]:
    problems: list[str] = []

    def keep(task: ExtractTask, info: dict[str, Any]) -> None:
        path = workspace.relative(bank.path(task.video_id))
        with workspace.store.transaction() as session:
            artefacts.put(session, feature_stage(name), task.video_id, marks[task.video_id], path, info)
        reporter.advance()

    def refuse(task: ExtractTask, reason: str) -> None:
        if Path(task.path).exists():
            with workspace.store.transaction() as session:
                videos.quarantine(session, task.video_id, reason)
            problems.append(f"quarantined: {reason}")
        else:  # a disk that is not there now may be there tomorrow
            problems.append(f"{reason}; left for the next `kloc extract`")
        reporter.advance()

    reporter.start("extracting features", len(tasks))
    run = map_videos_ray if runner == "ray" else map_videos
    run(
        functools.partial(FeatureWorker, bank.folder, bank.settings, weights, decoder=workspace.settings.video.decoder),
        tasks,
        workers=workspace.workers,
        time_limit_s=workspace.settings.video.time_limit_s,
        on_result=keep,
        on_error=refuse,
    )
    reporter.finish()
    return problems
