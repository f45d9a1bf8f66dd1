"""Queries of the review page: answers without their raw text, revisions of a stretch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from kloc.records import Item
from kloc.store.tables import AnnotationRow, AssignmentRow, HitRow, ReportRow


@dataclass(frozen=True, slots=True)
class AnswerLine:
    """One assignment without its raw text, which may be long."""

    assignment_id: str
    token: str
    worker_id: str
    status: str
    submitted_at: float | None
    answer: dict[str, Any] | None
    problem: str | None
    verdict: dict[str, Any] | None


def answer_lines(session: Session, tokens: Sequence[str] | None = None) -> list[AnswerLine]:
    """Every assignment by id: of the HITs named by ``tokens``, or of all."""
    columns = [getattr(AssignmentRow, name) for name in AnswerLine.__slots__]
    query = select(*columns).order_by(AssignmentRow.assignment_id)
    if tokens is not None:
        query = query.where(AssignmentRow.token.in_(tokens))
    return [AnswerLine(*row) for row in session.execute(query)]


def raw_answer(session: Session, assignment_id: str) -> str | None:
    """What a worker sent, as it came; ``None`` where there is no such assignment."""
    return session.scalar(select(AssignmentRow.raw).where(AssignmentRow.assignment_id == assignment_id))


def answers_stamp(session: Session) -> tuple[int, ...]:
    """Changes whenever consolidating all answers could come out differently."""
    unread = case((AssignmentRow.problem.is_not(None), 1), else_=0)
    rejected = case((AssignmentRow.status == "Rejected", 1), else_=0)
    counts = session.execute(
        select(func.count(), func.sum(unread), func.sum(rejected)).select_from(AssignmentRow)
    ).one()
    known = 0
    if session.scalar(select(func.count()).select_from(HitRow).where(HitRow.purpose == "gold")):
        known = session.scalar(select(func.max(AnnotationRow.revision))) or 0  # what is known of gold judges workers
    return (*(int(value or 0) for value in counts), known)


def item_hits(session: Session, item: Item) -> list[HitRow]:
    """The HITs of exactly this stretch, by token."""
    query = select(HitRow).where(HitRow.video_id == item.video_id, HitRow.start == item.start, HitRow.end == item.end)
    return list(session.scalars(query.order_by(HitRow.token)))


def reports(session: Session, tokens: Iterable[str] | None = None) -> list[ReportRow]:
    """What workers reported about HITs, oldest first."""
    query = select(ReportRow).order_by(ReportRow.at, ReportRow.id)
    if tokens is not None:
        query = query.where(ReportRow.token.in_(list(tokens)))
    return list(session.scalars(query))


def history(session: Session, item: Item) -> list[AnnotationRow]:
    """All revisions of stretches that overlap ``item``, oldest first."""
    query = select(AnnotationRow).where(
        AnnotationRow.video_id == item.video_id, AnnotationRow.start < item.end, AnnotationRow.end > item.start
    )
    return list(session.scalars(query.order_by(AnnotationRow.revision)))
