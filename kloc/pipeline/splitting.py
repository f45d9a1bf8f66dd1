"""split: the annotated videos dealt out to training, validation and testing."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np

from kloc.errors import FormatError, UsageError
from kloc.pipeline.common import stage
from kloc.pipeline.publication import current_dataset
from kloc.pipeline.telling import Summary
from kloc.records import SUBSETS, Subset
from kloc.report import splits
from kloc.seeds import generator
from kloc.store import artefacts, videos
from kloc.store.tables import VideoRow
from kloc.workspace import Workspace


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
