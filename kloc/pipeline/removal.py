"""Taking a video down: nothing of it stays but the money that was paid for it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select

from kloc.crowd import money
from kloc.crowd.client import RefusedError, call
from kloc.errors import CrowdError, UsageError
from kloc.files import safe_name
from kloc.pipeline import serving, versions
from kloc.pipeline.knowing import LAL, PRIOR
from kloc.pipeline.telling import Reporter
from kloc.store import artefacts, revisions, videos
from kloc.store.tables import ArtefactRow, HitRow, VideoRow
from kloc.workspace import Workspace


def remove(workspace: Workspace, video_ids: Sequence[str], reporter: Reporter) -> dict[str, Any]:
    """Remove videos from store, features, proposals, media, models and predictions; expire their open HITs.

    Models and predictions that saw a removed video are dropped whole: the next train and predict make them anew.
    The store forgets a video last: killed anywhere, the same command finishes the work.
    Raises :class:`UsageError` for an unknown id, before anything is removed, and :class:`CrowdError` while workers
    can still see the video and the endpoint cannot be reached.
    """
    with workspace.store.transaction() as session:
        unknown = [v for v in video_ids if session.get(VideoRow, v) is None]
        rows = list(session.scalars(select(ArtefactRow).where(ArtefactRow.key.in_(video_ids))))
        seen = bool(rows) or any(row.video_id in video_ids for row in revisions.current_rows(session))
    if unknown:
        raise UsageError(f"no video {unknown[0]!r} here; nothing was removed (`kloc status` lists what is there)")
    expired = _expire(workspace, video_ids)
    names = {safe_name(video_id) for video_id in video_ids}
    files = {workspace.root / row.path for row in rows if row.path}
    files |= {p for f in (workspace.features, workspace.proposals) for p in f.rglob("*.npy") if p.stem in names}
    files |= {workspace.media / f"{name}.mp4" for name in names}
    gone = [path for path in sorted(files) if path.is_file()]
    for path in gone:
        path.unlink()
    if seen:
        # What LAL learned is of other classes and other videos: it has seen none of this workspace's.
        models = [folder for folder in workspace.models.glob("*") if folder.name != LAL]
        folders = [workspace.predictions, workspace.reports, workspace.dataset, *models]
        numbers = versions.read(workspace.dataset)
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        if numbers is not None:  # figures only; the next export shall not call itself what an earlier one was called
            versions.keep(workspace.dataset, numbers)
    counts: dict[str, int] = {}
    with workspace.store.transaction() as session:
        if seen:
            for stage in ("train", "predict", "evaluate", PRIOR):
                artefacts.drop(session, stage)
        for video_id in video_ids:
            for hit in session.scalars(select(HitRow).where(HitRow.video_id == video_id)):
                money.release_rest(session, hit.token, at=time.time())
            for name, count in videos.forget(session, video_id).items():
                counts[name] = counts.get(name, 0) + count
    if seen:
        reporter.say("models, predictions, reports and exports were dropped: they may have seen the video")
    return {**counts, "files": len(gone), "open HITs expired": expired}


def _expire(workspace: Workspace, video_ids: Sequence[str]) -> int:
    with workspace.store.transaction() as session:
        wanted = (HitRow.video_id.in_(video_ids), HitRow.state.in_(("intended", "created")))
        hits = [row.hit_id for row in session.scalars(select(HitRow).where(*wanted)) if row.hit_id]
    if not hits:
        return 0
    url = workspace.settings.crowd.endpoint
    if serving.is_own(url) and not serving.answers(url):
        with serving.endpoint_process(workspace) as started:
            return _expire_at(workspace, started, hits)
    return _expire_at(workspace, url, hits)


def _expire_at(workspace: Workspace, url: str, hits: Sequence[str]) -> int:
    client = serving.client(workspace, url)
    for hit_id in hits:
        try:
            call(
                f"HIT {hit_id}", client.update_expiration_for_hit, HITId=hit_id, ExpireAt=datetime.fromtimestamp(0, UTC)
            )
        except RefusedError as error:
            if error.code.lower() != "hitdoesnotexist":
                raise CrowdError(f"the video can still be seen by workers: {error}") from None
    return len(hits)
