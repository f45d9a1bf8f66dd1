"""crowd pause, resume, expire, extend, gold: running a campaign that is under way."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from kloc.crowd import extend as places
from kloc.crowd import money, reports
from kloc.errors import UsageError
from kloc.pipeline import crowd as collecting
from kloc.pipeline import serving, tasks
from kloc.pipeline.common import stage
from kloc.pipeline.telling import Reporter, Summary
from kloc.store import crowd, revisions, rounds, videos
from kloc.store.crowd import OPEN_STATES
from kloc.store.tables import HitRow, RoundRow, VideoRow
from kloc.workspace import Workspace

_DAY = 86_400.0


@stage("crowd pause")
def pause(workspace: Workspace, *, video: str | None = None, url: str | None = None) -> Summary:
    """Stop offering the campaign's open tasks, or those of one video; work under way may be handed in."""
    client = serving.client(workspace, url)
    rows = _rows(workspace, video, lambda row: row.state in (*OPEN_STATES, "intended"))
    paused = places.pause(
        workspace.store, client, [r.token for r in rows], tasks.campaign_id(workspace), fees=tasks.fees(workspace)
    )
    waiting = sum(row.paused_left is not None for row in rows)
    facts = {"paused": f"{len(paused)} tasks" + (f", {waiting} were before" if waiting else "")}
    return Summary("crowd pause", facts, hint="kloc crowd resume (leases that run may still be handed in: kloc ingest)")


@stage("crowd resume")
def resume(workspace: Workspace, *, video: str | None = None, url: str | None = None) -> Summary:
    """Offer what is paused again, for as long as it had left. What workers reported only where its video is named."""
    client = serving.client(workspace, url)
    rows = _rows(workspace, video, lambda row: row.paused_left is not None or row.expires_at is not None)
    with workspace.store.transaction() as session:
        held = reports.held(session) if video is None else set()
        if video is not None:  # before its task is offered again: the next ingest would pause it for the same reports
            reports.handled(session, [row.token for row in rows])
    resumed = places.resume(workspace.store, client, [row.token for row in rows if row.token not in held])
    problems = [
        f"{row.video_id}: stays paused, workers reported it; look at it, then kloc crowd resume --video {row.video_id}"
        for row in rows
        if row.token in held
    ]
    return Summary("crowd resume", {"resumed": f"{len(resumed)} tasks"}, problems, "kloc ingest --watch")


@stage("crowd expire")
def expire(
    workspace: Workspace,
    *,
    round_: int | None = None,
    video: str | None = None,
    url: str | None = None,
    reporter: Reporter,
) -> Summary:
    """End a round short, or one video's task: what is in counts, what has no answer goes back to the pool.

    The round is consolidated and closed as soon as nobody is at work on it any more.
    """
    client = serving.client(workspace, url)
    with workspace.store.transaction() as session:
        published = [row.index for row in rounds.all_rounds(session) if row.state == "published"]
    if round_ is not None and round_ not in published:
        raise UsageError(f"round {round_} is not open; open: {', '.join(map(str, published)) or 'none'}")
    chosen = [round_] if round_ is not None else published if video is not None else published[-1:]
    if not chosen:
        raise UsageError("no round is open that could be ended; `kloc status` shows them")
    rows = [
        row
        for row in _rows(workspace, video, lambda row: row.state in (*OPEN_STATES, "intended"))
        if row.round in chosen
    ]
    stopped = places.stop(
        workspace.store, client, [r.token for r in rows], tasks.campaign_id(workspace), fees=tasks.fees(workspace)
    )
    ended = collecting.ingest(workspace, url=url, reporter=reporter)
    facts: dict[str, Any] = {"ended": f"{len(stopped)} tasks of round {', '.join(map(str, chosen))}", **ended.facts}
    closed = set(chosen) <= set(ended.data["closed_rounds"])
    minutes = workspace.settings.task.time_limit_minutes
    if not closed and video is None:
        facts["round"] = f"closes when those at work have handed in, or in {minutes:g} min at the latest"
    hint = ended.hint if closed or video else "kloc ingest --watch"
    return Summary("crowd expire", facts, ended.problems, hint, ended.data)


@stage("crowd extend")
def extend(
    workspace: Workspace,
    *,
    answers: int | None = None,
    video: str | None = None,
    days: float | None = None,
    max_spend: str | None = None,
    dry_run: bool = False,
    url: str | None = None,
) -> Summary:
    """Ask for so many answers in all, offer tasks for so many days from now at least, or both; within the cap.

    Of all open tasks, or of one video's; a closed one and its round are opened again.
    """
    if answers is None and days is None:
        raise UsageError("say what to extend: --answers N (so many in all), --days D (open so long from now), or both")
    client = serving.client(workspace, url)
    rows = _rows(workspace, video, lambda row: row.hit_id is not None and row.purpose == "task")
    newest = max((row.round for row in rows if row.round is not None), default=None)
    rows = [
        row for row in rows if (row.round == newest if video else row.state in OPEN_STATES and row.stopped_at is None)
    ]
    if not rows:
        raise UsageError("no task is open that could be extended; name a video of a closed round with --video")
    until = None if days is None else time.time() + days * _DAY
    wanted = {row.token: answers or row.wanted for row in rows}
    cap = tasks.spend_cap(workspace, max_spend)
    changed, cost = places.extend(workspace.store, client, wanted, max_spend_mills=cap, until=until, dry_run=True)
    if not dry_run:
        tasks.spend_cap(workspace, max_spend, remember=True)
        _reopen(workspace, [row for row in rows if row.token in changed])
        changed, cost = places.extend(workspace.store, client, wanted, max_spend_mills=cap, until=until)
    verb = "would be extended" if dry_run else "extended"
    facts: dict[str, Any] = {verb: f"{len(changed)} of {len(rows)} tasks, for {money.dollars(cost)} more"}
    with workspace.store.transaction() as session:
        facts["money"] = str(money.balance(session)) + (f", cap {money.dollars(cap)}" if cap is not None else "")
    if unchanged := [row for row in rows if row.token not in changed]:
        facts["unchanged"] = f"{len(unchanged)} tasks, which ask for {answers} answers or more already"
        if days is not None:
            facts["unchanged"] = f"{len(unchanged)} tasks, which are closed with all their answers: raise --answers"
        elif any(row.state == "closed" for row in unchanged):
            facts["unchanged"] += "; --days offers a closed one again for those that never came"
    return Summary(
        "crowd extend", facts, hint="kloc crowd extend without --dry-run" if dry_run else "kloc ingest --watch"
    )


def _reopen(workspace: Workspace, rows: Sequence[HitRow]) -> None:
    """Open the rounds of closed tasks again: their answers shall count when they are in."""
    with workspace.store.transaction() as session:
        for index in {row.round for row in rows if row.round is not None}:
            row = session.get_one(RoundRow, index)
            row.state = "published" if row.state == "done" else row.state


@stage("crowd gold")
def gold(workspace: Workspace, video_ids: Sequence[str], *, remove: bool = False) -> Summary:
    """Mark annotated videos as gold, by which workers are trained and judged, or take the mark away; list them.

    Raises :class:`UsageError` for a video that is not there or that nobody but the crowd has annotated.
    """
    with workspace.store.transaction() as session:
        place = 1 + max((row.gold for row in videos.rows(session) if row.gold is not None), default=-1)
        for video_id in dict.fromkeys(video_ids):
            row = session.get(VideoRow, video_id)
            if row is None:
                raise UsageError(f"there is no video {video_id!r}; `kloc status` shows what is there")
            if remove:
                row.gold = None
            elif row.gold is None:
                _check_gold(video_id, [r.source for r in revisions.current_rows(session, video_id)])
                row.gold, place = place, place + 1
    marked = tasks.gold_videos(workspace)
    task = workspace.settings.task
    gate, hidden = marked[: task.gate], marked[task.gate :]
    facts: dict[str, Any] = {"gold videos": len(marked)}
    if marked:
        facts["gate"] = ", ".join(g.video_id for g in gate) or "none (task.gate in kloc.toml says how many)"
        facts["hidden"] = f"{task.gold_per_round} a round of {', '.join(g.video_id for g in hidden) or 'none'}"
    problems = []
    if not task.gate and not task.gold_per_round and marked:
        problems.append("gold is not used yet: set task.gate or task.gold_per_round in kloc.toml")
    if len(marked) < task.gate or len(hidden) < task.gold_per_round:
        problems.append(
            f"kloc.toml asks for {task.gate} at the gate and {task.gold_per_round} a round: mark more videos"
        )
    hint = "kloc select, kloc publish-hits" if marked else "kloc crowd gold VIDEO..."
    return Summary("crowd gold", facts, problems, hint)


def _check_gold(video_id: str, sources: Sequence[str]) -> None:
    if not sources:
        raise UsageError(
            f"{video_id}: gold needs a known answer; annotate it first (kloc add FILE.json, or kloc review)"
        )
    if "crowd" in sources:
        raise UsageError(f"{video_id}: only the crowd has annotated it; look through it with `kloc review` first")
    if len(sources) > 1:
        raise UsageError(
            f"{video_id}: gold needs one annotation of the whole video, it has {len(sources)} of parts of it"
        )


def _rows(workspace: Workspace, video: str | None, wanted: Callable[[HitRow], bool]) -> list[HitRow]:
    with workspace.store.transaction() as session:
        rows = crowd.hits(session)
    if video is not None and not any(row.video_id == video for row in rows):
        raise UsageError(f"video {video!r} was never published; `kloc status` shows what is there")
    return [row for row in rows if video in (None, row.video_id) and wanted(row)]
