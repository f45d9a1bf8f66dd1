"""What a worker can see: open tasks, their own work, and the addresses that belong to a lease."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from kloc.crowd.endpoint import hits
from kloc.crowd.endpoint.context import Context
from kloc.crowd.endpoint.media import PREVIEW, media_link
from kloc.crowd.endpoint.money import to_dollars
from kloc.crowd.endpoint.qualifications import qualifies
from kloc.crowd.endpoint.questions import Question
from kloc.crowd.endpoint.tables import ACCEPTED, APPROVED, HANDED_IN, Assignment, Bonus, Hit, HitType, Message, Worker

NO_ASSIGNMENT = "ASSIGNMENT_ID_NOT_AVAILABLE"
#: How many open tasks a page shows.
SHOWN = 100
#: How long a preview's links last, seconds.
PREVIEW_SECONDS = 1800


@dataclass(frozen=True)
class Task:
    """One task in a list."""

    hit_id: str
    title: str
    description: str
    reward: str
    minutes: int
    available: int = 0
    assignment_id: str = ""
    status: str = ""
    expires_at: float = 0.0
    feedback: str = ""


def open_tasks(session: Session, worker: Worker, now: float, limit: int = SHOWN) -> list[Task]:
    """Oldest first: HITs with a free place that the worker neither holds nor has handed in, and may accept."""
    taken = hits.number_taken(now)
    mine = select(Assignment.id).where(
        Assignment.hit_id == Hit.id, Assignment.worker_id == worker.id, hits.takes_a_place(now)
    )
    rows = session.execute(
        select(Hit, HitType, taken)
        .join(HitType)
        .where(Hit.disposed.is_(False), Hit.expiration > now, taken < Hit.max_assignments, ~mine.exists())
        .order_by(Hit.created, Hit.id)
        .limit(limit)
    )
    judged: dict[str, bool] = {}
    found = []
    for hit, kind, number in rows:
        if kind.id not in judged:
            judged[kind.id] = qualifies(session, worker.id, kind.qualification_requirements)
        if judged[kind.id]:
            found.append(_task(hit, kind, available=hit.max_assignments - number))
    return found


def in_progress(session: Session, worker: Worker, now: float) -> list[Task]:
    return _mine(session, select(Assignment).where(Assignment.worker_id == worker.id, hits.live(now)))


def handed_in(session: Session, worker: Worker) -> list[Task]:
    """Newest first."""
    query = select(Assignment).where(Assignment.worker_id == worker.id, Assignment.status.in_(HANDED_IN))
    return _mine(session, query.order_by(Assignment.submit_time.desc()).limit(SHOWN))


def earned(session: Session, worker: Worker) -> str:
    """Approved rewards and bonuses, dollars."""
    rewards = session.scalar(
        select(func.sum(Assignment.reward)).where(Assignment.worker_id == worker.id, Assignment.status == APPROVED)
    )
    bonuses = session.scalar(select(func.sum(Bonus.amount)).where(Bonus.worker_id == worker.id))
    return to_dollars(int(rewards or 0) + int(bonuses or 0))


def messages(session: Session, worker: Worker) -> list[Message]:
    query = select(Message).where(Message.worker_id == worker.id).order_by(Message.sent.desc()).limit(20)
    return list(session.scalars(query))


def state_of(assignment: Assignment, now: float) -> str:
    """The assignment's status, with ``Expired`` for a lease whose time is over."""
    return "Expired" if assignment.status == ACCEPTED and assignment.deadline <= now else assignment.status


def lease_addresses(
    context: Context, base: str, hit: Hit, question: Question, assignment: Assignment
) -> dict[str, str | None]:
    """``frame_url`` and ``media_url`` of a lease; both end with it."""
    media = None
    if hit.media_key is not None:
        media = base + media_link(context, hit.media_key, assignment.id, assignment.deadline)
    parameters = {
        "assignmentId": assignment.id,
        "hitId": hit.id,
        "workerId": assignment.worker_id,
        "turkSubmitTo": base,
        "draftUrl": f"{base}/draft/{assignment.id}",
    }
    path = f"/frame/{assignment.id}"
    return {
        "frame_url": _frame(context, base, question, path, parameters, media, assignment.deadline),
        "media_url": media,
    }


def preview_address(context: Context, base: str, hit: Hit, question: Question, now: float) -> str:
    """Where the question can be looked at without a lease."""
    until = now + PREVIEW_SECONDS
    media = base + media_link(context, hit.media_key, PREVIEW, until) if hit.media_key is not None else None
    parameters = {"assignmentId": NO_ASSIGNMENT, "hitId": hit.id, "turkSubmitTo": base}
    return _frame(context, base, question, f"/frame/preview/{hit.id}", parameters, media, until)


def _frame(
    context: Context,
    base: str,
    question: Question,
    path: str,
    parameters: Mapping[str, str],
    media: str | None,
    until: float,
) -> str:
    full = dict(parameters) if media is None else {**parameters, "mediaUrl": media}
    if question.kind == "external":
        return f"{question.content}{'&' if '?' in question.content else '?'}{urlencode(full)}"
    return base + context.links.sign(path, full, until)


def _mine(session: Session, query: Any) -> list[Task]:
    assignments = list(session.scalars(query))
    rows = session.execute(
        select(Hit, HitType).join(HitType).where(Hit.id.in_({assignment.hit_id for assignment in assignments}))
    )
    known = {hit.id: (hit, kind) for hit, kind in rows}
    return [
        _task(
            *known[assignment.hit_id],
            reward=to_dollars(assignment.reward),
            assignment_id=assignment.id,
            status=assignment.status,
            expires_at=assignment.deadline,
            feedback=assignment.feedback or "",
        )
        for assignment in assignments
    ]


def _task(hit: Hit, kind: HitType, **more: Any) -> Task:
    values = {"reward": to_dollars(kind.reward), **more}
    return Task(
        hit_id=hit.id,
        title=kind.title,
        description=kind.description,
        minutes=max(round(kind.assignment_duration / 60), 1),
        **values,
    )
