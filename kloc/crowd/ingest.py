"""Bringing workers' answers home: every status, every page, the raw text for ever, money booked once.

Nothing here depends on having been interrupted or not: what is known is updated, what is approved is not approved
again, and a ledger entry is named after its assignment.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from kloc.crowd import money
from kloc.crowd.answers import ParsedAnswer, parse
from kloc.crowd.client import RefusedError, call, pages
from kloc.crowd.extend import grow
from kloc.store.crowd import OPEN_STATES, assignments_of, hits, lock_ledger
from kloc.store.database import Store
from kloc.store.tables import AssignmentRow, HitRow

if TYPE_CHECKING:
    from mypy_boto3_mturk import MTurkClient

Verdict = Literal["approve", "hold"]


def approve_readable(answer: ParsedAnswer | None) -> Verdict:
    """The standing policy: who handed in an answer that can be read is paid; the rest waits for a person."""
    return "hold" if answer is None else "approve"


@dataclass(frozen=True, slots=True)
class IngestSettings:
    """``review`` decides on each new answer (``None``: one that cannot be read); it must not change its mind."""

    fees: money.FeeTable = money.NO_FEES
    review: Callable[[ParsedAnswer | None], Verdict] = approve_readable
    lifetime_s: int = 30 * 86_400


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What came in. HITs are named by token; ``complete`` ones will bring nothing more or have all they should."""

    new: int = 0
    approved: int = 0
    #: (assignment id, video id, what is wrong) of new answers that could not be read; they are kept.
    problems: tuple[tuple[str, str, str], ...] = ()
    complete: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    #: (video id, why it could not be asked about)
    failed: tuple[tuple[str, str], ...] = ()
    balance: money.Balance = field(default_factory=money.Balance)

    def __str__(self) -> str:
        text = f"{self.new} new answers, {self.approved} approved; {len(self.complete)} HITs complete"
        text += f", {len(self.waiting)} waiting" if self.waiting else ""
        text += f"; {len(self.problems)} answers cannot be read" if self.problems else ""
        text += f"; {len(self.failed)} HITs could not be asked about" if self.failed else ""
        return f"{text}; campaign: {self.balance}"


def ingest(
    store: Store,
    client: MTurkClient,
    *,
    rounds: Collection[int | None] | None = None,
    settings: IngestSettings | None = None,
    now: Callable[[], float] = time.time,
) -> IngestReport:
    """Fetch, keep, parse, approve and book the answers of all HITs that are still open, of ``rounds`` or of all.

    A HIT the endpoint no longer knows is reported under ``failed`` and the others go on. Raises
    :class:`CrowdError` where the endpoint cannot be reached; calling again continues.
    """
    settings = settings or IngestSettings()
    with store.transaction() as session:
        rows = hits(session, rounds=rounds)
    new = approved = 0
    problems: list[tuple[str, str, str]] = []
    failed: list[tuple[str, str]] = []
    complete = [row.token for row in rows if row.state == "closed"]
    waiting = [row.token for row in rows if row.state == "intended"]
    for row in rows:
        if row.state not in OPEN_STATES or row.hit_id is None:
            continue
        try:
            came, bad, paid, done = _one(store, client, row, row.hit_id, settings, now)
        except RefusedError as error:
            failed.append((row.video_id, str(error)))
            waiting.append(row.token)
            continue
        new += came
        approved += paid
        problems += bad
        (complete if done else waiting).append(row.token)
    with store.transaction() as session:
        ledger = money.balance(session)
    return IngestReport(new, approved, tuple(problems), tuple(complete), tuple(waiting), tuple(failed), ledger)


def _one(
    store: Store,
    client: MTurkClient,
    row: HitRow,
    hit_id: str,
    settings: IngestSettings,
    now: Callable[[], float],
) -> tuple[int, list[tuple[str, str, str]], int, bool]:
    """New answers, unreadable ones among them, approved ones, whether the HIT is complete."""
    about = f"video {row.video_id!r} (HIT {hit_id})"
    # The HIT is read before its assignments: what it counts as handed in, the listing must then show.
    hit: Mapping[str, Any] = call(about, client.get_hit, HITId=hit_id)["HIT"]
    if hit.get("MaxAssignments", row.max_assignments) < row.max_assignments:
        hit = grow(client, about, row.token, hit, row.max_assignments, settings.lifetime_s, now())
    listed = list(pages(about, client, "list_assignments_for_hit", "Assignments", HITId=hit_id))
    came, bad = _keep(store, row, listed)
    paid = _approve(store, client, row, settings, now)
    with store.transaction() as session:
        lock_ledger(session)
        kept = assignments_of(session, row.token)
        parsed = sum(a.problem is None and a.status != "Rejected" for a in kept)
        # The endpoint's own word, not our clock: near the end of its life a HIT may still be accepted there.
        over = hit["HITStatus"] in ("Reviewable", "Reviewing", "Disposed")
        expired = (_seconds(hit.get("Expiration")) or now() + 1) <= now()
        current = session.get_one(HitRow, row.token)
        current.state = "expired" if expired else "created"
        if over and all(a.status != "Submitted" for a in kept):
            current.state = "closed"
            money.release_rest(session, row.token, at=now())
    return came, bad, paid, over or parsed >= row.max_assignments


def _keep(store: Store, row: HitRow, listed: Iterable[Mapping[str, Any]]) -> tuple[int, list[tuple[str, str, str]]]:
    """Upsert what the endpoint lists, in one transaction."""
    came = 0
    bad: list[tuple[str, str, str]] = []
    with store.transaction() as session:
        lock_ledger(session)  # reading first and writing then would fail where another process writes between
        for data in listed:
            kept = session.get(AssignmentRow, data["AssignmentId"])
            if kept is not None:
                kept.status = data["AssignmentStatus"]
                continue
            raw = data.get("Answer") or ""
            answer, problem = parse(
                raw, start=row.start, end=row.end, media_start=row.media_start, classes=set(row.classes)
            )
            came += 1
            if problem is not None:
                bad.append((data["AssignmentId"], row.video_id, problem))
            session.add(
                AssignmentRow(
                    assignment_id=data["AssignmentId"],
                    token=row.token,
                    worker_id=data["WorkerId"],
                    status=data["AssignmentStatus"],
                    accepted_at=_seconds(data.get("AcceptTime")),
                    submitted_at=_seconds(data.get("SubmitTime")),
                    raw=storable(raw),
                    answer=None if answer is None else answer.to_json(),
                    problem=problem,
                )
            )
    return came, bad


def _approve(store: Store, client: MTurkClient, row: HitRow, settings: IngestSettings, now: Callable[[], float]) -> int:
    """Approve what the policy approves and book everything that is approved; returns how many were approved here."""
    with store.transaction() as session:
        kept = assignments_of(session, row.token)
        reserved = money.balance(session, [row.token]).exposure
    # What an answer costs was fixed when its HIT was published; a fee changed since holds for later HITs.
    today = settings.fees.assignment_cost(row.reward_mills, row.max_assignments)
    cost = min(today, reserved // row.max_assignments) if reserved else today
    count = 0
    for assignment in kept:
        status = assignment.status
        if status == "Submitted":
            answer = None
            if assignment.problem is None:
                answer, _ = parse(
                    assignment.raw, start=row.start, end=row.end, media_start=row.media_start, classes=set(row.classes)
                )
            if settings.review(answer) == "hold":
                continue
            status = _approve_one(client, assignment.assignment_id)
            count += status == "Approved"
        with store.transaction() as session:
            lock_ledger(session)
            session.get_one(AssignmentRow, assignment.assignment_id).status = status
            if status == "Approved":
                money.commit(session, row.token, assignment.assignment_id, cost, at=now())
    return count


def _approve_one(client: MTurkClient, assignment_id: str) -> str:
    """Approve; returns the status the assignment has then (somebody else may have been faster)."""
    about = f"assignment {assignment_id}"
    try:
        call(about, client.approve_assignment, AssignmentId=assignment_id)
    except RefusedError as error:
        if error.code.lower() != "invalidassignmentstate":
            raise
        found: Mapping[str, Any] = call(about, client.get_assignment, AssignmentId=assignment_id)
        return str(found["Assignment"]["AssignmentStatus"])
    return "Approved"


def storable(raw: str) -> str:
    """``raw`` as both databases can keep it: NUL and lone surrogates become visible escapes, all else stays."""
    return re.sub("[\x00\ud800-\udfff]", lambda match: f"\\u{ord(match[0]):04x}", raw)


def _seconds(value: datetime | None) -> float | None:
    return None if value is None else value.timestamp()
