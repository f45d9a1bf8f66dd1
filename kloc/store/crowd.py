"""Queries on the crowd's tables: HITs, assignments, guidelines, the ledger."""

from __future__ import annotations

from collections.abc import Collection, Sequence, Set
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from kloc.records import Annotation, Item
from kloc.store import revisions
from kloc.store.tables import AssignmentRow, GuidelineRow, HitRow, LedgerRow, ReportRow

#: States in which a HIT can still bring answers.
OPEN_STATES = ("created", "expired")


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """A parsed answer with what it was asked for; ``answer`` is in video seconds (see ``AssignmentRow.answer``)."""

    assignment_id: str
    worker_id: str
    token: str
    round: int | None
    item: Item
    classes: tuple[str, ...]
    guideline: str
    status: str
    answer: dict[str, Any]
    purpose: str = "task"


@dataclass(frozen=True, slots=True)
class StoredWork:
    """What one parsed answer took. ``answer`` as in ``AssignmentRow``; the endpoint's clock in Unix seconds."""

    item: Item
    answer: dict[str, Any]
    accepted_at: float | None
    submitted_at: float | None


def lock_ledger(session: Session) -> None:
    """Make everybody else who would write the ledger wait until this transaction has ended.

    SQLite takes its write lock at the first statement that may write; PostgreSQL is told.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("LOCK TABLE ledger IN SHARE ROW EXCLUSIVE MODE"))
    else:
        session.execute(update(LedgerRow).where(LedgerRow.entry == "").values(amount_mills=LedgerRow.amount_mills))


def keep_guideline(session: Session, version: str, content: dict[str, Any]) -> None:
    """Remember what workers are told under ``version``."""
    if session.get(GuidelineRow, version) is None:
        session.add(GuidelineRow(version=version, content=content))


def hits_by_token(session: Session, tokens: Collection[str]) -> dict[str, HitRow]:
    """Those of the HITs named by ``tokens`` that are known."""
    rows = session.scalars(select(HitRow).where(HitRow.token.in_(list(tokens))))
    return {row.token: row for row in rows}


def hits(
    session: Session, *, rounds: Collection[int | None] | None = None, states: Sequence[str] | None = None
) -> list[HitRow]:
    """HITs in a stable order, of some rounds (``None`` in ``rounds``: those outside any round) or of all."""
    query = select(HitRow)
    if states is not None:
        query = query.where(HitRow.state.in_(states))
    if rounds is not None:
        numbered = [r for r in rounds if r is not None]
        chosen = HitRow.round.in_(numbered)
        query = query.where(chosen | HitRow.round.is_(None) if None in rounds else chosen)
    rows = list(session.scalars(query))
    return sorted(rows, key=lambda row: (row.round is not None, row.round or 0, row.video_id, row.start, row.token))


def assignments_of(session: Session, token: str) -> list[AssignmentRow]:
    """Everything workers handed in for one HIT, parsed or not, by id."""
    query = select(AssignmentRow).where(AssignmentRow.token == token).order_by(AssignmentRow.assignment_id)
    return list(session.scalars(query))


def known_workers(session: Session) -> set[str]:
    """Everybody who has handed in something."""
    return set(session.scalars(select(AssignmentRow.worker_id).distinct()))


def answers_possible(session: Session, token: str, known: Set[str]) -> int:
    """How many answers one HIT can have: of those who gave one and of every other ``known`` worker.

    Whoever reported a HIT is not offered it again.
    """
    given = set(session.scalars(select(AssignmentRow.worker_id).where(AssignmentRow.token == token)))
    reporters = set(session.scalars(select(ReportRow.worker_id).where(ReportRow.token == token)))
    return len(given | (known - reporters))


def parsed_counts(session: Session) -> dict[str, int]:
    """For each HIT (by token) the number of its answers that could be parsed and were not rejected."""
    query = (
        select(AssignmentRow.token, func.count())
        .where(AssignmentRow.problem.is_(None), AssignmentRow.status != "Rejected")
        .group_by(AssignmentRow.token)
    )
    return {token: int(count) for token, count in session.execute(query)}


def bonuses(session: Session, tokens: Collection[str]) -> int:
    """How many answers to these HITs were granted a bonus."""
    query = select(func.count()).where(AssignmentRow.bonus_mills > 0, AssignmentRow.token.in_(list(tokens)))
    return int(session.scalar(query) or 0)


def counted_in(session: Session, rounds: Collection[int]) -> list[int]:
    """How many answers of these rounds count, and how many of them are turned down."""
    query = select(AssignmentRow.status, func.count()).join(HitRow, HitRow.token == AssignmentRow.token)
    query = query.where(HitRow.round.in_(list(rounds)), AssignmentRow.problem.is_(None)).group_by(AssignmentRow.status)
    counts = {status: int(count) for status, count in session.execute(query)}
    return [sum(counts.values()), counts.get("Rejected", 0)]


def undecided(session: Session) -> tuple[int, float | None]:
    """How many answers are neither approved nor rejected, and when the first of them was handed in (Unix s)."""
    query = select(func.count(), func.min(AssignmentRow.submitted_at)).where(AssignmentRow.status == "Submitted")
    count, first = session.execute(query).one()
    return int(count), first


def problems(session: Session) -> list[tuple[str, str, str]]:
    """(assignment id, video id, problem) of all answers that could not be parsed."""
    query = (
        select(AssignmentRow.assignment_id, HitRow.video_id, AssignmentRow.problem)
        .join(HitRow, HitRow.token == AssignmentRow.token)
        .where(AssignmentRow.problem.is_not(None))
        .order_by(AssignmentRow.assignment_id)
    )
    return [(assignment, video, problem or "") for assignment, video, problem in session.execute(query)]


def _counted(session: Session, *, rejected: bool = False) -> list[tuple[AssignmentRow, HitRow, dict[str, Any]]]:
    """Every parsed answer that was not rejected (or all), with its assignment and its HIT, by assignment id."""
    query = (
        select(AssignmentRow, HitRow)
        .join(HitRow, HitRow.token == AssignmentRow.token)
        .where(AssignmentRow.problem.is_(None))
        .order_by(AssignmentRow.assignment_id)
    )
    query = query if rejected else query.where(AssignmentRow.status != "Rejected")
    return [(row, hit, row.answer) for row, hit in session.execute(query) if row.answer is not None]


def answers(session: Session, *, purpose: str | None = None, rejected: bool = False) -> list[StoredAnswer]:
    """Every parsed answer of the campaign, by assignment id; of one ``purpose`` or of all, with ``rejected`` or not."""
    return [
        StoredAnswer(
            assignment_id=row.assignment_id,
            worker_id=row.worker_id,
            token=hit.token,
            round=hit.round,
            item=Item(hit.video_id, hit.start, hit.end),
            classes=tuple(hit.classes),
            guideline=hit.guideline,
            status=row.status,
            answer=answer,
            purpose=hit.purpose,
        )
        for row, hit, answer in _counted(session, rejected=rejected)
        if purpose in (None, hit.purpose)
    ]


def gold(session: Session) -> dict[Item, Annotation]:
    """The known answers by which workers are judged: what people said about the items of gold tasks."""
    query = select(HitRow.video_id, HitRow.start, HitRow.end).where(HitRow.purpose == "gold").distinct()
    items = {Item(*row) for row in session.execute(query)}
    found = [row for video in sorted({i.video_id for i in items}) for row in revisions.current_rows(session, video)]
    known = {
        Item(row.video_id, row.start, row.end): revisions.to_annotation(row) for row in found if row.source != "crowd"
    }
    return {item: annotation for item, annotation in known.items() if item in items}


def work(session: Session) -> list[StoredWork]:
    """What every parsed answer that was not rejected took, by assignment id."""
    return [
        StoredWork(Item(hit.video_id, hit.start, hit.end), answer, row.accepted_at, row.submitted_at)
        for row, hit, answer in _counted(session)
    ]
