"""import: other people's features and predictions, without any video at hand."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kloc.errors import KlocError, UsageError
from kloc.features.bank import FeatureBank
from kloc.features.imports import guess_width, import_settings, load_array
from kloc.features.imports import import_features as put_into_bank
from kloc.files import fingerprint, sha256_file
from kloc.localizers.predictions import PredictionWriter
from kloc.pipeline.common import manifest, stage, track
from kloc.pipeline.data import BANK, feature_stage
from kloc.pipeline.pool import known_id
from kloc.pipeline.telling import Reporter, Summary
from kloc.pipeline.training import CURRENT
from kloc.records import Detection, Prediction
from kloc.store import artefacts, meta, rounds, videos
from kloc.store.tables import ArtefactRow, VideoRow
from kloc.workspace import Workspace


@stage("extract")
def import_features(
    workspace: Workspace, source: Path, *, name: str, fps: float, stride: float, offset: float, reporter: Reporter
) -> Summary:
    """Put every ``ID.npy`` of a folder into the bank ``name``; videos not known yet become known by that id.

    ``fps``: frames per second the features were computed at; ``stride``, ``offset``: in those frames.
    Raises :class:`UsageError` for a folder without ``.npy`` files; a file that cannot be used is a problem line.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}", name):
        raise UsageError(f"--name {name}: give letters, digits, '.', '_' and '-' only")
    files = sorted(source.rglob("*.npy")) if source.is_dir() else [source]
    if not files or not files[0].exists():
        raise UsageError(f"{source}: no .npy files here; give a folder with one ID.npy of shape (T, D) per video")
    problems: list[str] = []
    shapes = []
    usable = []
    for path in files:
        try:
            shape = load_array(path).shape
        except KlocError as error:
            problems.append(str(error))
            continue
        shapes.append((shape[0], shape[1]))
        usable.append(path)
    if not usable:
        raise KlocError(f"{source}: none of its {len(files)} files holds features; the first: {problems[0]}")
    settings = import_settings(guess_width(shapes, str(source)), fps=fps, stride=stride, offset=offset, name=name)
    bank = FeatureBank(workspace.features / name, settings)
    done = 0
    with workspace.store.transaction() as session:
        known = {v.id: (v.start or 0.0, v.end) for v in videos.rows(session)}
    there = manifest(workspace, feature_stage(name))
    usable = _one_each(usable, known, problems)
    for path in track(reporter, "importing features", usable, len(usable)):
        try:
            done += _import_one(workspace, bank, name, path, known, there, problems)
        except KlocError as error:
            problems.append(str(error))
    with workspace.store.transaction() as session:
        meta.put(session, BANK, name)
    facts = {
        "bank": name,
        "files": len(files),
        "imported": done,
        "unchanged": len(usable) - done,
        "dimensions": settings.dim,
    }
    return Summary("import features", facts, problems, "kloc propose")


def _one_each(paths: list[Path], known: Container[str], problems: list[str]) -> list[Path]:
    """One file for each video: that of its very name goes before "v_ID.npy" or "ID.flow.npy"."""
    taken: dict[str, Path] = {}
    for path in sorted(paths, key=lambda path: path.stem not in known):
        video_id = known_id(path.stem, known) or path.stem
        if taken.setdefault(video_id, path) != path:
            problems.append(f"{video_id}: two files hold its features, {taken[video_id]} is taken and not {path}")
    return sorted(taken.values())


def _import_one(
    workspace: Workspace,
    bank: FeatureBank,
    name: str,
    path: Path,
    known: Mapping[str, tuple[float, float | None]],
    there: Mapping[str, ArtefactRow],
    problems: list[str],
) -> bool:
    video_id = known_id(path.stem, known) or path.stem
    start, end = known.get(video_id, (0.0, None))
    mark = fingerprint([sha256_file(path), bank.settings.fingerprint, start, end])
    if video_id in there and there[video_id].fingerprint == mark:
        return False
    info = put_into_bank(bank, video_id, load_array(path), start=start, end=end, source=path.name)
    if info.get("warning"):
        problems.append(f"{video_id}: {info['warning']}")
    mark = fingerprint([sha256_file(path), bank.settings.fingerprint, info["start"], info["end"]])
    with workspace.store.transaction() as session:
        row = session.get(VideoRow, video_id)
        if row is None:
            row = VideoRow(id=video_id, subset="training", labels=[], state="ok")
            session.add(row)
        if row.state == "missing":
            row.state, row.reason = "ok", None
        if row.end is None:
            row.start, row.end = info["start"], info["end"]
        session.flush()
        artefacts.put(session, feature_stage(name), video_id, mark, workspace.relative(bank.path(video_id)), info)
    return True


@stage("predict")
def import_predictions(workspace: Workspace, source: Path, *, reporter: Reporter) -> Summary:
    """Take ActivityNet-style predictions as the current ones: selection and evaluation then read them.

    The best detection of every segment stands for its actionness; class scores are what the file says
    (explicitly sigmoid: nothing makes them sum to one).
    """
    from kloc.formats.predictions import read_predictions

    results, problems = read_predictions(source)
    with workspace.store.transaction() as session:
        usable = videos.usable(session)
        videos.add_classes(session, sorted({d.label for found in results.values() for d in found}))
        classes = tuple(videos.classes(session))
        done = sum(row.state == "done" for row in rounds.all_rounds(session))
    there = {}
    for name, found in results.items():
        video_id = known_id(name, usable)
        if video_id is None:
            problems.append(f"{source.name}: {name!r} is no usable video of this workspace; left out")
        else:
            there[video_id] = tuple(found)
    if not there:
        raise KlocError(f"{source}: predicts for no video of this workspace; `kloc status` lists what is there")
    mark = fingerprint(["imported", sha256_file(source)])
    folder = workspace.predictions / mark
    with PredictionWriter(folder, classes, "sigmoid", {"model": mark, "localizer": "imported"}, replace=True) as writer:
        for video_id in track(reporter, "importing predictions", sorted(there), len(there)):
            writer.write(_prediction(video_id, there[video_id], classes))
    with workspace.store.transaction() as session:
        artefacts.put(session, "predict", CURRENT, mark, workspace.relative(folder), {"model": mark, "round": done})
    facts: dict[str, Any] = {"videos": len(there), "detections": sum(map(len, there.values()))}
    return Summary("import predictions", facts, problems, "kloc select")


def _prediction(video_id: str, detections: tuple[Detection, ...], classes: tuple[str, ...]) -> Prediction:
    best: dict[tuple[float, float], float] = {}
    for detection in detections:
        key = (detection.start, detection.end)
        best[key] = max(best.get(key, 0.0), detection.score)
    ordered = sorted(best, key=lambda key: (-best[key], key))
    return Prediction(
        video_id=video_id,
        segments=np.array(ordered, np.float64).reshape(-1, 2),
        actionness=np.array([best[key] for key in ordered], np.float32),
        levels=(),
        activation="sigmoid",
        classes=classes,
        detections=tuple(sorted(detections, key=lambda d: (-d.score, d.start, d.end, d.label))),
    )
