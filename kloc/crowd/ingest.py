"""Bringing workers' answers home: every status, every page, the raw text for ever, money booked once.

Nothing here depends on having been interrupted or not: what is known is updated, a verdict is written before it is
carried out, a ledger entry is named after its assignment, and what a HIT lacks is asked for under a token of its own.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from kloc.crowd import money, verdicts
from kloc.crowd.answers import is_report, parse, storable
from kloc.crowd.client import RefusedError, call, pages
from kloc.crowd.extend import BULK, add_places, is_settled, settle
from kloc.crowd.policy import GoldRecord, Policy, gold_records
from kloc.errors import CrowdError
from kloc.store.crowd import OPEN_STATES, answers_possible, assignments_of, hits, known_workers, lock_ledger
from kloc.store.database import Store
from kloc.store.tables import AssignmentRow, HitRow, ReportRow, RoundRow

if TYPE_CHECKING:
    from mypy_boto3_mturk import MTurkClient

Clock = Callable[[], float]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class IngestSettings:
    """``policy`` decides on answers; ``cap_mills`` bounds what is asked for in place of those that cannot be used."""

    policy: Policy = field(default_factory=Policy)
    cap_mills: int | None = None


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What came in. HITs are named by token; ``complete`` ones will bring nothing more or have all they should."""

    new: int = 0
    approved: int = 0
    rejected: int = 0
    #: Handed in, and nobody has decided yet.
    undecided: int = 0
    #: (assignment id, video id, what is wrong) of new answers that could not be read; they are kept.
    problems: tuple[tuple[str, str, str], ...] = ()
    #: (video id, how many more answers were asked for in place of those that cannot be used)
    replaced: tuple[tuple[str, int], ...] = ()
    complete: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    #: (video id, why it could not be asked about, or got no other answer)
    failed: tuple[tuple[str, str], ...] = ()
    short: tuple[tuple[str, str], ...] = ()
    balance: money.Balance = field(default_factory=money.Balance)

    def __str__(self) -> str:
        text = f"{self.new} new answers, {self.approved} approved; {len(self.complete)} HITs complete"
        text += f", {len(self.waiting)} waiting" if self.waiting else ""
        text += f"; {self.rejected} rejected" if self.rejected else ""
        text += f"; {len(self.problems)} answers cannot be read" if self.problems else ""
        text += f"; {len(self.failed)} HITs could not be asked about" if self.failed else ""
        return f"{text}; campaign: {self.balance}"


@dataclass
class _Run:
    """One call of :func:`ingest`: what all of its steps need, and what they find."""

    store: Store
    client: MTurkClient
    settings: IngestSettings
    now: Clock
    records: Mapping[str, GoldRecord] = field(default_factory=dict)
    new: int = 0
    approved: int = 0
    rejected: int = 0
    undecided: int = 0
    problems: list[tuple[str, str, str]] = field(default_factory=list)
    replaced: list[tuple[str, int]] = field(default_factory=list)
    failed: dict[str, tuple[str, str]] = field(default_factory=dict)
    short: list[tuple[str, str]] = field(default_factory=list)


def ingest(
    store: Store,
    client: MTurkClient,
    *,
    rounds: Collection[int | None] | None = None,
    settings: IngestSettings | None = None,
    now: Clock = time.time,
) -> IngestReport:
    """Fetch, keep, parse, judge and book the answers of all HITs that are still open, of ``rounds`` or of all.

    All answers are fetched before any is judged: what a worker did on gold counts for all of theirs. A HIT the
    endpoint refuses to talk about is reported under ``failed`` and the others go on. Raises :class:`CrowdError`
    where the endpoint cannot be reached; calling again continues.
    """
    run = _Run(store, client, settings or IngestSettings(), now)
    with store.transaction() as session:
        rows = hits(session, rounds=rounds)
    open_rows = [row for row in rows if row.state in OPEN_STATES and row.hit_id is not None]
    complete = [row.token for row in rows if row.state == "closed"]
    waiting = [row.token for row in rows if row.state == "intended"]
    there = {row.token: _try(run, row, partial(_fetch, run, row)) for row in open_rows}
    with store.transaction() as session:
        run.records = gold_records(session)
    for row in open_rows:
        hit = there[row.token]
        done = hit is not None and _try(run, row, partial(_judge_and_close, run, row, hit))
        (complete if done else waiting).append(row.token)
    with store.transaction() as session:
        ledger = money.balance(session)
    return IngestReport(
        run.new, run.approved, run.rejected, run.undecided, tuple(run.problems), tuple(run.replaced), tuple(complete),
        tuple(waiting), tuple(run.failed.values()), tuple(run.short), ledger,
    )  # fmt: skip


def _try(run: _Run, row: HitRow, step: Callable[[], T]) -> T | None:
    """One step for one HIT; a refusal is noted and costs this HIT only."""
    try:
        return step()
    except RefusedError as error:
        run.failed[row.token] = (row.video_id, str(error))
        return None


def _fetch(run: _Run, row: HitRow) -> Mapping[str, Any]:
    """Keep what the endpoint lists of a HIT; returns the HIT as it was before."""
    about = f"video {row.video_id!r} (HIT {row.hit_id})"
    # The HIT is read before its assignments: what it counts as handed in, the listing must then show.
    hit: Mapping[str, Any] = call(about, run.client.get_hit, HITId=str(row.hit_id))["HIT"]
    hit = settle(run.store, run.client, row.token, hit, now=run.now)
    listed = list(pages(about, run.client, "list_assignments_for_hit", "Assignments", HITId=str(row.hit_id)))
    came, bad = _keep(run.store, row, listed, run.now())
    run.new += came
    run.problems += bad
    return hit


def _keep(
    store: Store, row: HitRow, listed: Iterable[Mapping[str, Any]], now: float
) -> tuple[int, list[tuple[str, str, str]]]:
    """Upsert what the endpoint lists, in one transaction."""
    came = 0
    bad: list[tuple[str, str, str]] = []
    with store.transaction() as session:
        lock_ledger(session)  # reading first and writing then would fail where another process writes between
        for data in listed:
            kept = session.get(AssignmentRow, data["AssignmentId"])
            if kept is not None:
                if kept.status != "Approved":  # which is final; a listing may be older
                    kept.status = data["AssignmentStatus"]
                continue
            raw = data.get("Answer") or ""
            answer, problem = parse(
                raw, start=row.start, end=row.end, media_start=row.media_start, classes=set(row.classes)
            )
            came += 1
            if problem is not None:
                bad.append((data["AssignmentId"], row.video_id, problem))
            if is_report(problem):
                session.add(_report(row.token, data, problem or "", now))
            session.add(
                AssignmentRow(
                    assignment_id=data["AssignmentId"],
                    token=row.token,
                    worker_id=data["WorkerId"],
                    status=data["AssignmentStatus"],
                    accepted_at=_seconds(data.get("AcceptTime")),
                    submitted_at=_seconds(data.get("SubmitTime")),
                    seen_at=now,
                    raw=storable(raw),
                    answer=None if answer is None else answer.to_json(),
                    problem=problem,
                )
            )
    return came, bad


def _report(token: str, data: Mapping[str, Any], problem: str, now: float) -> ReportRow:
    """An answer that is a report, as a report; numbered below 0, where no endpoint's own number is."""
    number = int(hashlib.sha256(str(data["AssignmentId"]).encode()).hexdigest()[:12], 16)
    at = _seconds(data.get("SubmitTime")) or now
    return ReportRow(id=-number - 1, token=token, worker_id=data["WorkerId"], kind="in an answer", text=problem, at=at)


def _judge_and_close(run: _Run, row: HitRow, hit: Mapping[str, Any]) -> bool:
    """Verdicts, money, other answers for those that cannot be used; whether the HIT is complete."""
    _judge(run, row)
    expired = hit["Expiration"].timestamp() <= run.now()
    # The endpoint's own word, not our clock: near the end of its life a HIT may still be accepted there.
    over = hit["HITStatus"] in ("Reviewable", "Reviewing", "Disposed")
    if (not expired and _replace(run, row.token)) or over:
        # Read anew: what somebody has extended since its answers were listed is not over.
        again = settle(run.store, run.client, row.token, now=run.now)
        over = over and all(again[key] == hit[key] for key in ("HITStatus", "MaxAssignments", "Expiration"))
        expired = again["Expiration"].timestamp() <= run.now()
    with run.store.transaction() as session:
        lock_ledger(session)
        current = session.get_one(HitRow, row.token)
        kept = assignments_of(session, row.token)
        over = over and current.expires_at is None  # nothing is written that the endpoint was not told yet
        over = over and (current.stopped_at is not None or hit["MaxAssignments"] >= current.max_assignments)
        if current.paused_left is not None:  # what ends a pause brings more, unless every place is filled
            over = over and len(kept) >= current.max_assignments
        current.state = "expired" if expired and current.paused_left is None else "created"
        if over and all(map(is_settled, kept)):
            current.state = "closed"
            money.release_rest(session, row.token, at=run.now())
        return over or sum(map(usable, kept)) >= current.wanted


def _judge(run: _Run, row: HitRow) -> None:
    """Write the verdicts on a HIT's answers, carry them out, and book everything that is decided."""
    with run.store.transaction() as session:
        kept = assignments_of(session, row.token)
        for one in kept:
            if one.status == "Submitted" and verdicts.is_open(one):
                said = run.settings.policy.judge(one, row.end - row.start, run.records, run.now())
                if one.verdict is None or (one.verdict["decision"], one.verdict["reason"]) != said:
                    one.verdict = verdicts.verdict(*said, "policy", run.now())
    statuses = {one.assignment_id: verdicts.tell(run.client, one) for one in kept}
    told = {one.assignment_id: one.status for one in kept}
    with run.store.transaction() as session:
        lock_ledger(session)
        for assignment_id, status in statuses.items():
            # Whom somebody has judged meanwhile, they have booked: what was told here is older.
            if session.get_one(AssignmentRow, assignment_id).status == told[assignment_id]:
                verdicts.book(session, assignment_id, status, run.now())
    news = [status for assignment_id, status in statuses.items() if told[assignment_id] == "Submitted"]
    run.approved += news.count("Approved")
    run.rejected += news.count("Rejected")
    run.undecided += news.count("Submitted")


def usable(row: AssignmentRow) -> bool:
    """Whether an answer counts: it can be read and was not turned down."""
    return row.problem is None and row.status != "Rejected"


def _replace(run: _Run, token: str) -> bool:
    """Ask for one more answer for each that cannot be used, within the cap; whether the HIT has grown.

    As far as somebody is known who can be asked: a crew of three must not wait for a fourth.
    """
    with run.store.transaction() as session:
        lock_ledger(session)
        row = session.get_one(HitRow, token)
        round_ = None if row.round is None else session.get(RoundRow, row.round)
        kept = assignments_of(session, row.token)
        good = sum(map(usable, kept))
        lost = len(kept) - good
        if not lost or good >= row.wanted or row.stopped_at is not None or (round_ and round_.state == "done"):
            return False
        # Never more than as many again: a task that nobody can answer must not go on for ever.
        total = row.wanted + min(lost, row.wanted)
        total = min(total, BULK - 1) if row.max_assignments < BULK else total
        before, possible = row.max_assignments, answers_possible(session, token, known_workers(session))
        if len(kept) == before == possible < total:
            why = f"{lost} of {len(kept)} answers cannot be used, and nobody else is known to ask; "
            run.short.append((row.video_id, f"{why}`kloc crowd extend --video {row.video_id}` asks others"))
        total = min(total, possible)
        try:
            with session.begin_nested():
                grown = add_places(session, row, total, cap_mills=run.settings.cap_mills, now=run.now())
        except CrowdError as error:
            run.short.append((row.video_id, f"{lost} answers cannot be used and nobody else is asked: {error}"))
            return False
        if grown:
            run.replaced.append((row.video_id, total - before))
        return grown


def _seconds(value: datetime | None) -> float | None:
    return None if value is None else value.timestamp()
