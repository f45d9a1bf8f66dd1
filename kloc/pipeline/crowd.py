"""publish-hits and ingest: from a selected round to annotations."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from kloc.crowd import bonus, gate, money, redundancy
from kloc.crowd.client import UnreachableError
from kloc.crowd.consolidate import Consolidated, ConsolidationSettings, consolidate, from_stored
from kloc.crowd.extend import settle
from kloc.crowd.ingest import IngestReport, IngestSettings
from kloc.crowd.ingest import ingest as fetch
from kloc.crowd.plan import PublishSettings
from kloc.crowd.policy import Policy
from kloc.crowd.publish import publish as send
from kloc.crowd.reports import fetch_reports, reported
from kloc.errors import CrowdError, UsageError
from kloc.pipeline import quality, serving, tasks
from kloc.pipeline.common import stage
from kloc.pipeline.telling import Reporter, Summary
from kloc.store import crowd, revisions, rounds, videos
from kloc.store.tables import AssignmentRow, HitRow, RoundRow, VideoRow
from kloc.workspace import Workspace

if TYPE_CHECKING:
    from mypy_boto3_mturk import MTurkClient
    from sqlalchemy.orm import Session

#: What a worker reads beside a bonus.
BONUS_REASON = "A bonus for good work: your answers agree well with what is known."


@stage("publish-hits")
def publish(
    workspace: Workspace,
    *,
    dry_run: bool = False,
    max_spend: str | None = None,
    prefill: float | None = None,
    allow_amazon: bool = False,
    url: str | None = None,
    reporter: Reporter,
) -> Summary:
    """Publish every selected round as HITs, exactly once whatever gets killed when.

    Makes the seek-friendly copies of the videos first. ``prefill``: workers are shown the newest detections of at
    least this score as proposals. Raises :class:`UsageError` while nothing is selected.
    """
    client = serving.client(workspace, url, allow_amazon=allow_amazon)
    with workspace.store.transaction() as session:
        open_rounds = [row for row in rounds.all_rounds(session) if row.state == "selected"]
        published = [row for row in rounds.all_rounds(session) if row.state == "published"]
    cap = tasks.spend_cap(workspace, max_spend)
    if not open_rounds:
        if not published:
            raise UsageError("nothing is selected; choose a batch first (kloc select)")
        tasks.spend_cap(workspace, max_spend, remember=not dry_run)  # it holds for extra answers and bonuses
        facts: dict[str, Any] = {"published before": f"round {published[-1].index}"}
        facts |= {"cap": money.dollars(cap)} if cap is not None else {}
        return Summary("publish-hits", facts, hint="kloc ingest --watch")
    problems: list[str] = []
    plain = tasks.publish_settings(workspace)
    problems += tasks.told_before_practice(workspace)
    settings: PublishSettings | None = None
    facts = {}
    count = 0
    for row in open_rounds:
        items = tasks.round_items(workspace, row, problems, reporter, prefill=prefill, dry_run=dry_run)
        report = send(workspace.store, client, items, plain, max_spend_mills=cap, dry_run=True)
        if not dry_run:
            settings = settings or _settings(workspace, client, plain, problems, reporter)
            tasks.spend_cap(workspace, max_spend, remember=True)  # it suffices, and holds from here on
            report = send(workspace.store, client, items, settings, max_spend_mills=cap)
        facts[f"round {row.index}"] = str(report)
        count += sum(entry.purpose == "task" for entry in items)
        if hidden := sum(entry.purpose == "gold" for entry in items):
            facts[f"round {row.index}"] += f"; {hidden} of them gold, to judge workers"
        if prefill is not None and not dry_run:
            facts["proposals"] = f"in {sum(bool(entry.prefill) for entry in items)} of {len(items)} tasks"
        problems += [f"{video_id}: {reason}" for video_id, reason in report.failed]
        if dry_run:
            continue
        if report.failed and not (report.created or report.adopted or report.already):
            raise CrowdError(f"round {row.index}: the endpoint refused every task; {problems[-1]}")
        # a task that was refused goes back to the pool when the round closes
        with workspace.store.transaction() as session:
            session.get_one(RoundRow, row.index).state = "published"
    facts |= _price(workspace, plain, cap, count)
    facts["endpoint"] = url or workspace.settings.crowd.endpoint
    hint = "kloc publish-hits" if dry_run else "kloc ingest --watch"
    return Summary("publish-hits", facts, problems, hint)


def _settings(
    workspace: Workspace, client: MTurkClient, plain: PublishSettings, problems: list[str], reporter: Reporter
) -> PublishSettings:
    """What all HITs share, with the clips workers are shown and the gate they pass."""
    settings = replace(plain, examples=tasks.example_clips(workspace, problems, reporter))
    if not workspace.settings.task.gate:
        return settings
    practice = tasks.gate_tasks(workspace, problems, reporter)
    asked = gate.requirements(client, practice, settings, workspace.settings.task.gate_score)
    return replace(settings, qualifications=asked)


def _price(workspace: Workspace, settings: PublishSettings, cap: int | None, count: int) -> dict[str, str]:
    """What one answer costs, since when, and what may come on top."""
    each = settings.fees.assignment_cost(settings.reward_mills, settings.assignments)
    facts = {"one answer": f"{money.dollars(each)}, of which {money.dollars(each - settings.reward_mills)} fee"}
    with workspace.store.transaction() as session:
        before = {row.cost_mills for row in crowd.hits(session) if row.state != "failed"} - {each}
    if before:
        facts["one answer"] += f"; published before at {', '.join(map(money.dollars, sorted(before)))} (stays so)"
    extra = workspace.settings.crowd.extra_answers
    if extra and each and cap is not None:
        most = money.dollars(count * extra * each)
        facts["on top"] = (
            f"at most {most}, for {extra} more answer{'s'[: extra > 1]} to each video in doubt, within the cap"
        )
    if cap is not None:
        facts["cap"] = money.dollars(cap)
    return facts


# -- ingest ---------------------------------------------------------------------------------------------------


@dataclass
class _Heard:
    """What the passes of one ingest have brought together."""

    new: int = 0
    rejected: int = 0
    reports: int = 0
    bonuses: int = 0
    asked: int = 0
    closed: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@stage("ingest")
def ingest(
    workspace: Workspace,
    *,
    watch: bool = False,
    url: str | None = None,
    poll_s: float = 5.0,
    reporter: Reporter,
) -> Summary:
    """Collect answers of every published round, judge and pay them; consolidate and close the complete rounds.

    A round is complete once all its answers are in and what they leave in doubt was asked for again, as far as
    ``crowd.extra_answers`` and the cap allow. ``watch``: look again every ``poll_s`` seconds until all rounds are.
    """
    client = serving.client(workspace, url)
    heard = _Heard()
    said = ""
    report: IngestReport | None = None
    while True:
        with workspace.store.transaction() as session:
            published = [row.index for row in rounds.all_rounds(session) if row.state == "published"]
            hits = crowd.hits(session)
        if not hits and not published:
            raise UsageError("nothing is published yet; choose a batch and publish it (kloc select, kloc publish-hits)")
        try:
            report = _pass(workspace, client, published, heard)
        except UnreachableError as error:
            if not watch or report is None:  # what never answered is probably not there
                raise
            news = f"{error} Looking again."
        else:
            hopeless = len(report.waiting) == len(report.failed) and not heard.asked
            if not watch or set(published) <= set(heard.closed) or hopeless:
                break
            done, waiting = len(report.complete), len(report.waiting)
            news = f"{done} of {done + waiting} tasks complete; waiting"
        if news != said:
            reporter.say(news)
        said = news
        time.sleep(poll_s)
    return _summary(workspace, heard, report, published)


def _pass(workspace: Workspace, client: MTurkClient, published: list[int], heard: _Heard) -> IngestReport:
    """Fetch, judge, ask for more, close, pay: once."""
    settings = IngestSettings(policy=policy(workspace), cap_mills=tasks.spend_cap(workspace))
    campaign, fees = tasks.campaign_id(workspace), tasks.fees(workspace)
    report = fetch(workspace.store, client, settings=settings)
    heard.reports += fetch_reports(workspace.store, client, campaign, fees=fees)
    heard.new += report.new
    heard.rejected += report.rejected
    heard.problems += [f"{video}: answer {a} cannot be read: {why}" for a, video, why in report.problems]
    heard.problems += [
        f"{video}: {n} more asked for, in place of answers that cannot be used" for video, n in report.replaced
    ]
    heard.problems += [f"{video}: {why}" for video, why in (*report.failed, *report.short)]
    heard.asked = sum(n for _, n in report.replaced)
    for index in complete_rounds(workspace, published, report):
        asked = close_round(workspace, index)
        heard.problems += asked.refused
        heard.asked += len(asked.tokens)
        for token in asked.tokens:
            settle(workspace.store, client, token)
        if not asked.tokens:
            heard.closed.append(index)
    try:
        heard.bonuses += bonus.pay(workspace.store, client, BONUS_REASON, time.time())
    except CrowdError as error:
        heard.problems.append(str(error))
    return report


def policy(workspace: Workspace) -> Policy:
    """What kloc decides on answers by itself, from ``kloc.toml``."""
    settings = workspace.settings.crowd
    return Policy(settings.approve, settings.grace_hours * 3600)


def _summary(workspace: Workspace, heard: _Heard, report: IngestReport, published: list[int]) -> Summary:
    facts: dict[str, Any] = {"answers": f"{heard.new} new", "tasks": f"{len(report.complete)} complete"}
    facts["answers"] += f", {heard.rejected} rejected" if heard.rejected else ""
    facts["answers"] += f", {report.undecided} not decided on yet" if report.undecided else ""
    if report.waiting:
        facts["tasks"] += f", {len(report.waiting)} waiting"
    if heard.asked:
        facts["tasks"] += f"; {heard.asked} more answer{'s'[: heard.asked > 1]} asked for"
    if heard.reports:
        facts["reports"] = f"{heard.reports} new"
    with workspace.store.transaction() as session:
        facts["money"] = str(money.balance(session))
        known = revisions.current(session)
        heard.problems += map(str, reported(session))
    if heard.bonuses:
        facts["bonuses"] = f"{heard.bonuses} paid"
    for index in heard.closed:
        facts[f"round {index}"] = "complete, consolidated"
    facts["annotated"] = f"{len(known)} videos, {sum(len(a.instances) for a in known.values())} instances"
    hint = "kloc train" if heard.closed or not published else "kloc ingest --watch"
    data = {"closed_rounds": heard.closed, "asked": heard.asked}
    return Summary("ingest", facts, list(dict.fromkeys(heard.problems)), hint, data=data)


# -- closing a round ------------------------------------------------------------------------------------------


def complete_rounds(workspace: Workspace, published: list[int], report: IngestReport) -> list[int]:
    """The published rounds none of whose HITs will bring anything more."""
    waiting = set(report.waiting)
    with workspace.store.transaction() as session:
        incomplete = {hit.round for hit in crowd.hits(session) if hit.token in waiting}
    return [index for index in published if index not in incomplete]


def close_round(workspace: Workspace, closing: int) -> redundancy.Asked:
    """Ask for more where a complete round leaves something in doubt, otherwise consolidate and close it.

    Consolidation runs over all answers of all complete rounds: what a worker did elsewhere tells how far to trust
    them here. It runs only at the end of a round, so that its result never depends on who answered first. Gold
    tasks tell about workers; what is known of their videos stays.
    """
    now, cap = time.time(), tasks.spend_cap(workspace)
    with workspace.store.transaction() as session:
        revisions.lock(session)  # a review that is saved meanwhile comes before or after, never between
        complete = {row.index for row in rounds.all_rounds(session) if row.state == "done"} | {closing}
        stored = [answer for answer in crowd.answers(session) if answer.round in complete]
        classes = videos.classes(session)
        settings = ConsolidationSettings(method=workspace.settings.crowd.consolidation)
        result = consolidate(from_stored(stored), classes, settings, gold=crowd.gold(session))
        hits = crowd.hits(session, rounds=[closing])
        extra = workspace.settings.crowd.extra_answers
        asked = redundancy.ask_for_more(session, hits, result, most=extra, cap_mills=cap, now=now)
        if asked.tokens:
            return asked
        _annotate(workspace, session, stored, result, settings.method)
        unpaid = _grant_bonuses(workspace, session, hits, stored, cap, now)
        session.get_one(RoundRow, closing).state = "done"
    if unpaid:
        asked = replace(
            asked, refused=(*asked.refused, f"round {closing}: the cap leaves no money for {unpaid} bonuses")
        )
    return asked


def _annotate(
    workspace: Workspace,
    session: Session,
    stored: Sequence[crowd.StoredAnswer],
    result: Consolidated,
    method: str,
) -> None:
    """Append what the crowd says; a requester's own word stands above it, and gold is known."""
    sources = {row.video_id: row.source for row in revisions.current_rows(session)}
    behind = {answer.item: answer for answer in stored if answer.purpose == "task"}
    for _, found in sorted(result.items.items()):
        item = found.item
        if item not in behind or sources.get(item.video_id, "crowd") != "crowd":
            continue
        exhaustive = exhaustive_for(workspace, session, item.video_id, found.classes)
        revisions.append(
            session,
            replace(found.annotation, exhaustive_for=exhaustive),
            "crowd",
            round_=behind[item].round,
            guideline=behind[item].guideline,
            assignments=found.assignments,
            consolidation={"method": method},
        )


def _grant_bonuses(
    workspace: Workspace,
    session: Session,
    hits: Sequence[HitRow],
    stored: Sequence[crowd.StoredAnswer],
    cap: int | None,
    now: float,
) -> int:
    """Grant the round's bonuses; returns for how many the cap left no money."""
    settings = workspace.settings.crowd
    mills = money.parse_dollars(settings.bonus, "crowd.bonus")
    if not mills:
        return 0
    good = {w for w, value in quality.qualities(session, stored).items() if value >= settings.bonus_quality}
    tokens = {hit.token for hit in hits}
    earned = [a.assignment_id for a in stored if a.token in tokens and a.worker_id in good]
    answers = [session.get_one(AssignmentRow, assignment_id) for assignment_id in earned]
    return bonus.grant(session, answers, mills, tasks.fees(workspace), cap_mills=cap, now=now)


def exhaustive_for(workspace: Workspace, session: Session, video_id: str, asked: Collection[str]) -> frozenset[str]:
    """The classes that an annotation of a video is exhaustive for whose workers were asked about ``asked``."""
    labels = session.get_one(VideoRow, video_id).labels
    if workspace.settings.task.labels_are_complete and labels and set(labels) <= set(asked):
        return frozenset(videos.classes(session))  # every class the labels do not name is known to be absent
    return frozenset(asked)
