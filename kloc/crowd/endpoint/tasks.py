"""What a worker can see: open tasks, their own work and what it earned, and the addresses that belong to a lease."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import ColumnElement, and_, case, func, select
from sqlalchemy.orm import Session

from kloc.crowd.endpoint import hits, reports, standing
from kloc.crowd.endpoint.context import Context
from kloc.crowd.endpoint.media import PREVIEW, media_link
from kloc.crowd.endpoint.money import to_dollars
from kloc.crowd.endpoint.qualifications import Action, qualifies
from kloc.crowd.endpoint.questions import Question
from kloc.crowd.endpoint.tables import (
    ACCEPTED,
    APPROVED,
    HANDED_IN,
    REJECTED,
    SUBMITTED,
    Assignment,
    Bonus,
    Hit,
    HitType,
    Message,
    Report,
    Worker,
)

NO_ASSIGNMENT = "ASSIGNMENT_ID_NOT_AVAILABLE"
#: How many open tasks a page shows.
SHOWN = 100
#: How many lines of the history a page shows.
PAGE = 25
#: How long a preview's links last, seconds.
PREVIEW_SECONDS = 1800


@dataclass(frozen=True)
class Task:
    """One task in a list. reward: cents. seconds: the time limit. taken, when: epoch seconds of
    taking it up and of handing in."""

    hit_id: str
    title: str
    description: str
    reward: int
    seconds: int
    classes: tuple[str, ...] = ()
    duration: float | None = None
    expected_minutes: float | None = None
    contact: str = ""
    available: int = 0
    acceptable: bool = True
    assignment_id: str = ""
    status: str = ""
    expires_at: float = 0.0
    taken: float = 0.0
    when: float = 0.0
    feedback: str = ""
    bonus: int = 0

    @property
    def per_hour(self) -> int | None:
        """Cents per hour at the expected time."""
        return round(60 * self.reward / self.expected_minutes) if self.expected_minutes else None


@dataclass(frozen=True)
class Group:
    """Open tasks that differ in their video alone; ``first`` stands for them."""

    first: Task
    tasks: Sequence[Task]

    @property
    def places(self) -> int:
        return len(self.tasks)

    @property
    def durations(self) -> tuple[float, float] | None:
        """The shortest and the longest video, seconds."""
        known = [task.duration for task in self.tasks if task.duration]
        return (min(known), max(known)) if known else None


@dataclass(frozen=True)
class Books:
    """What a worker did and what came of it. Money in cents; bonuses are part of what was earned."""

    submitted: int
    approved: int
    rejected: int
    waiting: int
    earned: int
    bonuses: int
    today: int
    handed_in_today: int

    @property
    def handed_in(self) -> int:
        return self.submitted + self.approved + self.rejected


def open_tasks(
    session: Session, worker: Worker, now: float, limit: int = SHOWN, *, action: Action = "Accept"
) -> list[Task]:
    """Oldest first: HITs with a free place that the worker neither holds, has handed in nor reported, and may accept
    (or discover: then each says whether they may accept it)."""
    if standing.is_blocked(session, worker.id):
        return []
    is_open = and_(Hit.disposed.is_(False), Hit.expiration > now)
    kinds = session.scalars(
        select(HitType).where(select(Hit.id).where(Hit.hit_type_id == HitType.id, is_open).exists())
    )
    # Judged by type and before the limit: what comes first may be closed to this worker, and what comes later open.
    seen = {kind.id: kind for kind in kinds if qualifies(session, worker.id, kind.qualification_requirements, action)}
    may = {kind.id: qualifies(session, worker.id, kind.qualification_requirements) for kind in seen.values()}
    taken = hits.number_taken(now)
    mine = select(Assignment.id).where(
        Assignment.hit_id == Hit.id, Assignment.worker_id == worker.id, hits.takes_a_place(now)
    )
    rows = session.execute(
        select(Hit.id, Hit.hit_type_id, Hit.facts, Hit.max_assignments - taken)
        .where(is_open, Hit.hit_type_id.in_(seen), taken < Hit.max_assignments, ~mine.exists(), ~reports.by(worker.id))
        .order_by(Hit.created, Hit.id)
        .limit(limit)
    )
    return [
        _task(hit_id, seen[type_id], facts, available=free, acceptable=may[type_id])
        for hit_id, type_id, facts, free in rows
    ]


def grouped(tasks: Iterable[Task]) -> list[Group]:
    """Tasks alike but for their video as one, in the order in which the first of each comes."""
    found: dict[Task, list[Task]] = {}
    for task in tasks:
        found.setdefault(replace(task, hit_id="", duration=None, available=0), []).append(task)
    return [Group(alike[0], alike) for alike in found.values()]


def in_progress(session: Session, worker: Worker, now: float) -> list[Task]:
    """What the worker holds, the most urgent first."""
    return _mine(session, _OWN.where(Assignment.worker_id == worker.id, hits.live(now)).order_by(Assignment.deadline))


def handed_in(session: Session, worker: Worker, page: int = 1, size: int = SHOWN) -> list[Task]:
    """Newest first, ``size`` on a page; pages count from 1."""
    query = _OWN.where(Assignment.worker_id == worker.id, Assignment.status.in_(HANDED_IN))
    query = query.order_by(Assignment.submit_time.desc(), Assignment.id).limit(size).offset((page - 1) * size)
    return _mine(session, query)


def books(session: Session, worker: Worker, now: float) -> Books:
    """The worker's whole account."""
    midnight = datetime.fromtimestamp(now).replace(hour=0, minute=0, second=0, microsecond=0).timestamp()

    def total(condition: ColumnElement[bool], value: Any) -> Any:
        return func.coalesce(func.sum(case((condition, value), else_=0)), 0)

    status = Assignment.status
    row = session.execute(
        select(
            total(status == SUBMITTED, 1),
            total(status == APPROVED, 1),
            total(status == REJECTED, 1),
            total(status == SUBMITTED, Assignment.reward),
            total(status == APPROVED, Assignment.reward),
            total(and_(status == APPROVED, Assignment.approval_time >= midnight), Assignment.reward),
            total(Assignment.submit_time >= midnight, 1),
        ).where(Assignment.worker_id == worker.id, status.in_(HANDED_IN))
    ).one()
    submitted, approved, rejected, waiting, rewards, rewards_today, today = map(int, row)
    bonus = select(total(Bonus.amount > 0, Bonus.amount), total(Bonus.granted >= midnight, Bonus.amount))
    bonuses, bonuses_today = map(int, session.execute(bonus.where(Bonus.worker_id == worker.id)).one())
    return Books(
        submitted, approved, rejected, waiting, rewards + bonuses, bonuses, rewards_today + bonuses_today, today
    )


def messages(session: Session, worker: Worker) -> list[Message]:
    """The latest, newest first."""
    query = select(Message).where(Message.worker_id == worker.id).order_by(Message.sent.desc(), Message.id.desc())
    return list(session.scalars(query.limit(20)))


def reported(session: Session, worker: Worker) -> list[tuple[Report, str]]:
    """The worker's latest reports, newest first, each with its task's title."""
    query = select(Report, HitType.title).join(Hit, Hit.id == Report.hit_id).join(HitType)
    rows = session.execute(query.where(Report.worker_id == worker.id).order_by(Report.id.desc()).limit(10))
    return [(report, title) for report, title in rows]


def described(hit: Hit, kind: HitType, acceptable: bool = True) -> Task:
    """A HIT as a task that nobody has taken yet."""
    return _task(hit.id, kind, hit.facts, acceptable=acceptable)


def state_of(assignment: Assignment, now: float) -> str:
    """The assignment's status, with ``Expired`` for a lease whose time is over."""
    return "Expired" if assignment.status == ACCEPTED and assignment.deadline <= now else assignment.status


def lease_addresses(
    context: Context, base: str, hit: Hit, question: Question, assignment: Assignment
) -> dict[str, str | None]:
    """``frame_url`` and ``media_url`` of a lease; both end with it."""
    parameters = {
        "assignmentId": assignment.id,
        "hitId": hit.id,
        "workerId": assignment.worker_id,
        "turkSubmitTo": base,
        "draftUrl": f"{base}/draft/{assignment.id}",
        "reportUrl": f"{base}/report/{assignment.id}",
        **media_parameters(context, base, hit.media_key, hit.facts, assignment.id, assignment.deadline),
    }
    frame = frame_address(context, base, question, f"/frame/{assignment.id}", parameters, assignment.deadline)
    return {"frame_url": frame, "media_url": parameters.get("mediaUrl")}


def preview_address(context: Context, base: str, hit: Hit, question: Question, now: float) -> str:
    """Where the question can be looked at without a lease."""
    until = now + PREVIEW_SECONDS
    parameters = {
        "assignmentId": NO_ASSIGNMENT,
        "hitId": hit.id,
        "turkSubmitTo": base,
        **media_parameters(context, base, hit.media_key, hit.facts, PREVIEW, until),
    }
    return frame_address(context, base, question, f"/frame/preview/{hit.id}", parameters, until)


def media_parameters(
    context: Context, base: str, video: str | None, facts: Mapping[str, Any] | None, holder: str, until: float
) -> dict[str, str]:
    """``mediaUrl`` of the video and ``media:<key>`` of every example clip, each signed for ``holder``."""
    examples = [key for key in (facts or {}).get("media", ()) if key != video]
    named = {"mediaUrl": video} if video is not None else {}
    named |= {f"media:{key}": key for key in examples}
    return {name: base + media_link(context, key, holder, until) for name, key in named.items()}


def frame_address(
    context: Context, base: str, question: Question, path: str, parameters: Mapping[str, str], until: float
) -> str:
    """The address of the sandboxed page: ours, signed, or the external one with its parameters."""
    if question.kind == "external":
        return f"{question.content}{'&' if '?' in question.content else '?'}{urlencode(parameters)}"
    return base + context.links.sign(path, parameters, until)


#: Of an assignment only what a list shows: questions and answers are large.
_OWN = (
    select(
        Assignment.id,
        Assignment.reward,
        Assignment.status,
        Assignment.deadline,
        Assignment.accept_time,
        Assignment.submit_time,
        Assignment.feedback,
        Hit.id,
        Hit.facts,
        HitType,
    )
    .join(Hit, Hit.id == Assignment.hit_id)
    .join(HitType)
)


def _mine(session: Session, query: Any) -> list[Task]:
    rows = session.execute(query).all()
    amounts = select(Bonus.assignment_id, func.sum(Bonus.amount)).where(
        Bonus.assignment_id.in_([row[0] for row in rows])
    )
    bonuses = {row[0]: int(row[1]) for row in session.execute(amounts.group_by(Bonus.assignment_id))}
    return [
        _task(
            hit_id,
            kind,
            facts,
            reward=reward,
            assignment_id=assignment_id,
            status=status,
            expires_at=deadline,
            taken=accepted,
            when=submitted or 0.0,
            feedback=feedback or "",
            bonus=bonuses.get(assignment_id, 0),
        )
        for assignment_id, reward, status, deadline, accepted, submitted, feedback, hit_id, facts, kind in rows
    ]


def _task(hit_id: str, kind: HitType, facts: dict[str, Any] | None, **more: Any) -> Task:
    told = facts or {}
    values = {"reward": kind.reward, **more}
    return Task(
        hit_id=hit_id,
        title=kind.title,
        description=kind.description,
        seconds=kind.assignment_duration,
        classes=tuple(told.get("classes", ())),
        duration=told.get("duration"),
        expected_minutes=told.get("expected_minutes"),
        contact=told.get("contact", ""),
        **values,
    )


def as_json(task: Task) -> dict[str, Any]:
    """What a program reads of an open task."""
    return {
        "hit_id": task.hit_id,
        "title": task.title,
        "reward": to_dollars(task.reward),
        "available": task.available,
        "classes": list(task.classes),
        "duration": task.duration,
        "expected_minutes": task.expected_minutes,
        "seconds": task.seconds,
        "contact": task.contact,
    }
