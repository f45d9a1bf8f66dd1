"""select --explain: how one video stands, and why it was or would be chosen."""

from __future__ import annotations

import difflib
import math
from dataclasses import replace
from typing import Any

from kloc.errors import UsageError
from kloc.pipeline.costing import cost_model
from kloc.pipeline.pool import known_id
from kloc.pipeline.selecting import pool_items, selection_context
from kloc.pipeline.telling import Summary
from kloc.records import Annotation
from kloc.selection.cost import minutes_of
from kloc.selection.ranks import rankable, ranks_of, scored_by
from kloc.selection.spec import strategy_from
from kloc.store import revisions, rounds, videos
from kloc.store.tables import RoundRow, SelectionRow, VideoRow
from kloc.workspace import Workspace


def explain(workspace: Workspace, name: str, *, strategy: str = "") -> Summary:
    """Tell where a video stands: why it was chosen, what ranks it has in the pool now, or why it is in no pool.

    Args:
        workspace: whose video.
        name: its id, or its file's name.
        strategy: also rank it under this one; empty: `selection.strategy`.

    Raises:
        UsageError: an unknown video; names the nearest known one.
    """
    with workspace.store.transaction() as session:
        rows = {row.id: row for row in videos.rows(session)}
        video_id = known_id(name, rows)
        if video_id is None:
            near = difflib.get_close_matches(name, rows, 1)
            hint = f"did you mean {near[0]!r}?" if near else "`kloc status` tells what is there"
            raise UsageError(f"no video {name!r} in this workspace; {hint}")
        row = rows[video_id]
        chosen = rounds.selections_of(session, video_id)
        opened = {r.index: r for r in rounds.all_rounds(session)}
        annotation = revisions.current(session).get(video_id)
    facts: dict[str, Any] = {"video": video_id, "state": _state(row, annotation, chosen, opened)}
    notes: list[str] = []
    if chosen:
        facts |= _as_chosen(chosen[-1], opened[chosen[-1].round])
    if row.state == "ok" and row.subset == "training" and annotation is None and not _is_open(chosen, opened):
        facts |= _as_it_stands(workspace, video_id, strategy or workspace.settings.selection.strategy, notes)
    return Summary("select --explain", facts, notes)


def _is_open(chosen: list[SelectionRow], opened: dict[int, RoundRow]) -> bool:
    return any(opened[row.round].state != "done" for row in chosen)


def _state(
    row: VideoRow, annotation: Annotation | None, chosen: list[SelectionRow], opened: dict[int, RoundRow]
) -> str:
    if row.state == "quarantined":
        return f"quarantined, never selected: {row.reason}"
    if row.state != "ok":
        return "known by name only, never selected; add its file with `kloc add`"
    if annotation is not None:
        return f"annotated, {len(annotation.instances)} instances; it is not in the pool any more"
    if row.subset != "training":
        return f"in the subset {row.subset}, never selected"
    if _is_open(chosen, opened):
        return f"chosen in round {chosen[-1].round}, not annotated yet"
    if chosen:
        return f"in the pool again: chosen in round {chosen[-1].round}, which brought no annotation"
    return "in the pool, not chosen yet"


def _as_chosen(row: SelectionRow, round_: RoundRow) -> dict[str, Any]:
    details = row.details or {}
    pool = details.get("pool", round_.settings.get("pool"))
    facts: dict[str, Any] = {
        "chosen": f"round {row.round} ({round_.state}), number {row.position + 1} of its batch, from {pool} videos",
        "by": f"{round_.settings['asked']['strategy']}, policy {round_.settings['asked']['policy']}",
        "why": row.reason,
        "score": "none" if row.score is None else row.score,
    }
    ranks = details.get("ranks") or {round_.strategy: row.rank}
    facts |= _ranks({name: int(rank) for name, rank in ranks.items()}, pool)
    if "minutes" in details:
        facts["minutes then"] = _minutes(details["minutes"], details["answers"])
    return facts


def _as_it_stands(workspace: Workspace, video_id: str, strategy: str, notes: list[str]) -> dict[str, Any]:
    items = pool_items(workspace)
    at = next(i for i, item in enumerate(items) if item.video_id == video_id)
    with workspace.store.transaction() as session:
        newest = rounds.latest(session)
    costs = cost_model(workspace)
    context = selection_context(workspace, 0 if newest is None else newest.index + 1, costs.model)
    # As the next batch would be chosen: typiclust makes clusters by its size.
    context = replace(context, batch=min(workspace.settings.selection.batch, len(items)))
    names = dict.fromkeys(rankable(context, len(items)))
    facts: dict[str, Any] = {}
    if strategy_from(strategy).heads and (context.predictions is None or not len(context.predictions)):
        notes.append(f"no predictions yet: {strategy!r} would give way to a random draw")
    else:
        names |= {strategy: None}
    ranks: dict[str, int] = {}
    for name in names:
        if (scored := scored_by(items, context, name)) is None:
            continue
        ranks[name] = int(ranks_of(scored.value)[at])
        if name == strategy:
            score = float(scored.value[at])
            known = math.isfinite(score)
            facts["score"] = score if known else "none"
            facts["why"] = scored.strategy.reason(at, score) if known else f"{name!r} has nothing to judge it by"
    facts |= _ranks(ranks, len(items))
    facts["minutes"] = _minutes(float(minutes_of([items[at]], context)[0]), workspace.settings.task.assignments)
    facts["estimated"] = costs.source
    notes += context.heard
    return facts


def _ranks(ranks: dict[str, int], pool: int | None) -> dict[str, str]:
    of = "" if pool is None else f" of {pool:,}"
    return {f"rank, {name}"[:34]: f"{rank:,}{of}" for name, rank in ranks.items()}


def _minutes(minutes: float, answers: int) -> str:
    return f"about {minutes:.1f} per answer, {minutes * answers:.1f} for {answers} answers"
