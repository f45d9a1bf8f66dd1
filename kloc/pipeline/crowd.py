"""publish-hits and ingest: from a selected round to annotations."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kloc.crowd import money
from kloc.crowd.consolidate import ConsolidationSettings, consolidate, from_stored
from kloc.crowd.ingest import IngestReport, IngestSettings
from kloc.crowd.ingest import ingest as fetch
from kloc.crowd.plan import PublishItem, PublishSettings
from kloc.crowd.publish import publish as send
from kloc.errors import CrowdError, UsageError
from kloc.files import safe_name
from kloc.pipeline import media, serving
from kloc.pipeline.common import stage
from kloc.pipeline.telling import Reporter, Summary
from kloc.records import Item
from kloc.store import crowd, meta, revisions, rounds, videos
from kloc.store.tables import RoundRow, VideoRow
from kloc.workspace import Workspace

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


def publish_settings(workspace: Workspace) -> PublishSettings:
    """What is the same for every HIT of the campaign, from ``kloc.toml``."""
    task = workspace.settings.task
    with workspace.store.transaction() as session:
        campaign = meta.get(session, "workspace_id") or ""
    return PublishSettings(
        campaign=campaign,
        title=task.title,
        instructions=task.instructions,
        definitions=task.definitions,
        contact=task.contact,
        expected_minutes=task.expected_minutes,
        reward_mills=money.parse_dollars(task.reward, "task.reward"),
        assignments=task.assignments,
        lifetime_s=int(task.lifetime_days * 86_400),
        time_limit_s=int(task.time_limit_minutes * 60),
        fees=fees(workspace),
    )


def fees(workspace: Workspace) -> money.FeeTable:
    """The endpoint's fee, from ``kloc.toml``."""
    return money.FeeTable(rate_permille=round(workspace.settings.crowd.fee_percent * 10))


@stage("publish-hits")
def publish(
    workspace: Workspace,
    *,
    dry_run: bool = False,
    max_spend: str | None = None,
    allow_amazon: bool = False,
    url: str | None = None,
    reporter: Reporter,
) -> Summary:
    """Publish every selected round as HITs, exactly once whatever gets killed when.

    Makes the seek-friendly copies of the videos first. Raises :class:`UsageError` while nothing is selected.
    """
    client = serving.client(workspace, url, allow_amazon=allow_amazon)
    with workspace.store.transaction() as session:
        open_rounds = [row for row in rounds.all_rounds(session) if row.state == "selected"]
        published = [row for row in rounds.all_rounds(session) if row.state == "published"]
    if not open_rounds:
        if published:
            return Summary(
                "publish-hits", {"published before": f"round {published[-1].index}"}, hint="kloc ingest --watch"
            )
        raise UsageError("nothing is selected; choose a batch first (kloc select)")
    cap = max_spend or workspace.settings.crowd.max_spend
    cap_mills = money.parse_dollars(cap, "--max-spend") if cap else None
    problems: list[str] = []
    facts: dict[str, Any] = {}
    for row in open_rounds:
        items = _publish_items(workspace, row, problems, reporter, dry_run=dry_run)
        report = send(
            workspace.store, client, items, publish_settings(workspace), max_spend_mills=cap_mills, dry_run=dry_run
        )
        facts[f"round {row.index}"] = str(report)
        problems += [f"{video_id}: {reason}" for video_id, reason in report.failed]
        if dry_run:
            continue
        if report.failed and not (report.created or report.adopted or report.already):
            raise CrowdError(f"round {row.index}: the endpoint refused every task; {problems[-1]}")
        # a task that was refused goes back to the pool when the round closes
        with workspace.store.transaction() as session:
            session.get_one(RoundRow, row.index).state = "published"
    where = url or workspace.settings.crowd.endpoint
    facts["endpoint"] = where
    hint = "kloc publish-hits" if dry_run else "kloc ingest --watch"
    return Summary("publish-hits", facts, problems, hint)


def _publish_items(
    workspace: Workspace, row: RoundRow, problems: list[str], reporter: Reporter, *, dry_run: bool
) -> list[PublishItem]:
    with workspace.store.transaction() as session:
        chosen = rounds.selections(session, row.index)
        states = {s.video_id: session.get_one(VideoRow, s.video_id).state for s in chosen}
        labels = {s.video_id: tuple(session.get_one(VideoRow, s.video_id).labels) for s in chosen}
        classes = tuple(videos.classes(session))
    there = [s.video_id for s in chosen if states[s.video_id] == "ok"]
    if dry_run:  # the price needs no copies of the videos
        shown = {v: media.Shown(safe_name(v), 0.0, 1.0, 0.04) for v in there}
    else:
        shown = media.make_media(workspace, there, problems, reporter)
    items = []
    for selection in chosen:
        proxy = shown.get(selection.video_id)
        if proxy is None:
            if states[selection.video_id] != "ok":
                problems.append(f"{selection.video_id}: not published, it is {states[selection.video_id]} by now")
            continue  # otherwise make_media has said why
        items.append(
            PublishItem(
                item=Item(selection.video_id, selection.start, selection.end),
                # Without a label of its own a video is searched for every class.
                classes=labels[selection.video_id] or classes,
                media_key=proxy.key,
                duration=proxy.duration,
                frame_period=proxy.frame_period,
                media_start=proxy.offset,
                round=row.index,
            )
        )
    return items


# -- ingest ---------------------------------------------------------------------------------------------------


@stage("ingest")
def ingest(
    workspace: Workspace,
    *,
    watch: bool = False,
    url: str | None = None,
    poll_s: float = 5.0,
    reporter: Reporter,
) -> Summary:
    """Collect answers of every published round; consolidate and close the rounds that are complete.

    ``watch``: look again every ``poll_s`` seconds until all rounds are complete.
    """
    client = serving.client(workspace, url)
    problems: list[str] = []
    closed: list[int] = []
    new = 0
    while True:
        with workspace.store.transaction() as session:
            published = [row.index for row in rounds.all_rounds(session) if row.state == "published"]
            hits = crowd.hits(session)
        if not hits and not published:
            raise UsageError("nothing is published yet; choose a batch and publish it (kloc select, kloc publish-hits)")
        report = fetch(workspace.store, client, settings=IngestSettings(fees=fees(workspace)))
        new += report.new
        problems += [f"{video}: answer {a} cannot be read: {why}" for a, video, why in report.problems]
        problems += [f"{video}: {why}" for video, why in report.failed]
        closed += close_rounds(workspace, published, report)
        hopeless = len(report.waiting) == len(report.failed)
        if not watch or set(published) <= set(closed) or hopeless:
            break
        reporter.say(f"{len(report.complete)} of {len(report.complete) + len(report.waiting)} tasks complete; waiting")
        time.sleep(poll_s)
    facts: dict[str, Any] = {"answers": f"{new} new", "tasks": f"{len(report.complete)} complete"}
    if report.waiting:
        facts["tasks"] += f", {len(report.waiting)} waiting"
    facts["money"] = str(report.balance)
    with workspace.store.transaction() as session:
        known = revisions.current(session)
    for index in closed:
        facts[f"round {index}"] = "complete, consolidated"
    facts["annotated"] = f"{len(known)} videos, {sum(len(a.instances) for a in known.values())} instances"
    hint = "kloc train" if closed or not published else "kloc ingest --watch"
    return Summary("ingest", facts, list(dict.fromkeys(problems)), hint, data={"closed_rounds": closed})


def close_rounds(workspace: Workspace, published: list[int], report: IngestReport) -> list[int]:
    """Consolidate once a round's answers are all in; returns the rounds that were closed.

    Consolidation runs over all answers of all complete rounds: what a worker did elsewhere tells how far to trust
    them here. It runs only at the end of a round, so that its result never depends on who answered first.
    """
    waiting = set(report.waiting)
    with workspace.store.transaction() as session:
        done = {row.index for row in rounds.all_rounds(session) if row.state == "done"}
        of_round: dict[int, set[str]] = {}
        for hit in crowd.hits(session):
            if hit.round is not None:
                of_round.setdefault(hit.round, set()).add(hit.token)
    closed = [index for index in published if not of_round.get(index, set()) & waiting]
    for index in closed:
        done.add(index)
        _consolidate(workspace, done, index)
    return closed


def _consolidate(workspace: Workspace, complete: set[int], closing: int) -> None:
    settings = ConsolidationSettings(method=workspace.settings.crowd.consolidation)
    with workspace.store.transaction() as session:
        revisions.lock(session)  # a review that is saved meanwhile comes before or after, never between
        stored = [answer for answer in crowd.answers(session) if answer.round in complete]
        sources = {row.video_id: row.source for row in revisions.current_rows(session)}
        classes = videos.classes(session)
        result = consolidate(from_stored(stored), classes, settings)
        behind = {answer.item: answer for answer in stored}
        for _, found in sorted(result.items.items()):
            item = found.item
            if sources.get(item.video_id, "crowd") != "crowd":
                continue  # a requester's own correction stands above the crowd's
            exhaustive = exhaustive_for(workspace, session, item.video_id, found.classes)
            annotation = replace(found.annotation, exhaustive_for=exhaustive)
            revisions.append(
                session,
                annotation,
                "crowd",
                round_=behind[item].round,
                guideline=behind[item].guideline,
                assignments=found.assignments,
                consolidation={"method": settings.method},
            )
        session.get_one(RoundRow, closing).state = "done"


def exhaustive_for(workspace: Workspace, session: Session, video_id: str, asked: Collection[str]) -> frozenset[str]:
    """The classes that an annotation of a video is exhaustive for whose workers were asked about ``asked``."""
    labels = session.get_one(VideoRow, video_id).labels
    if workspace.settings.task.labels_are_complete and labels and set(labels) <= set(asked):
        return frozenset(videos.classes(session))  # every class the labels do not name is known to be absent
    return frozenset(asked)
