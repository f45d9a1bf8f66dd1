"""What state a HIT is in: counted from its assignments, never stored, so it cannot go stale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, ScalarSelect, and_, bindparam, func, or_, select
from sqlalchemy.orm import Session, defer

from kloc.crowd.endpoint.tables import (
    ACCEPTED,
    APPROVED,
    HANDED_IN,
    REJECTED,
    SUBMITTED,
    Assignment,
    Hit,
)


@dataclass(frozen=True)
class Counts:
    """Assignments of one HIT: live leases, waiting for review, reviewed."""

    pending: int = 0
    submitted: int = 0
    completed: int = 0

    @property
    def handed_in(self) -> int:
        return self.submitted + self.completed

    @property
    def taken(self) -> int:
        return self.pending + self.handed_in


def live(now: float) -> ColumnElement[bool]:
    """The assignments that somebody is working on; an expired lease is nobody's."""
    return and_(Assignment.status == ACCEPTED, Assignment.deadline > now)


def takes_a_place(now: float) -> ColumnElement[bool]:
    """The assignments that fill one of a HIT's places. A rejected one does: its place is not given out again."""
    return or_(Assignment.status.in_(HANDED_IN), live(now))


def counts(session: Session, hit_ids: Sequence[str], now: float) -> dict[str, Counts]:
    """The counts of several HITs at once."""
    found: dict[str, dict[str, int]] = {hit_id: {} for hit_id in hit_ids}
    rows = session.execute(
        select(Assignment.hit_id, Assignment.status, func.count())
        .where(Assignment.hit_id.in_(hit_ids), takes_a_place(now))
        .group_by(Assignment.hit_id, Assignment.status)
    )
    for hit_id, status, number in rows:
        found[hit_id][status] = number
    return {
        hit_id: Counts(by.get(ACCEPTED, 0), by.get(SUBMITTED, 0), by.get(APPROVED, 0) + by.get(REJECTED, 0))
        for hit_id, by in found.items()
    }


def status(hit: Hit, count: Counts, now: float) -> str:
    """Assignable, Unassignable, Reviewable, Reviewing or Disposed.

    Reviewable promises that no further answer can come: all are in, or the HIT has expired and nobody holds a lease.
    """
    if hit.disposed:
        return "Disposed"
    if count.handed_in >= hit.max_assignments or (hit.expiration <= now and not count.pending):
        return "Reviewing" if hit.reviewing else "Reviewable"
    if hit.expiration <= now or count.taken >= hit.max_assignments:
        return "Unassignable"
    return "Assignable"


def number_taken(now: float) -> ScalarSelect[int]:
    """How many of a HIT's places are taken, as a subquery beside :class:`Hit`."""
    return _number(takes_a_place(now))


def is_reviewable(now: float) -> ColumnElement[bool]:
    """:func:`status` in SQL, for the two reviewable states."""
    return and_(
        Hit.disposed.is_(False),
        or_(
            _number(Assignment.status.in_(HANDED_IN)) >= Hit.max_assignments,
            and_(Hit.expiration <= now, _number(live(now)) == 0),
        ),
    )


#: Built once: what every answer that is handed in asks for should cost no more than asking.
_LOCKED = (
    select(Hit)
    .where(Hit.id == bindparam("hit_id"))
    .options(defer(Hit.question))
    .with_for_update()
    .execution_options(populate_existing=True)
)


def lock(session: Session, hit_id: str) -> Hit | None:
    """The HIT, held until the transaction ends: whoever counts places holds it."""
    return session.scalar(_LOCKED, {"hit_id": hit_id})


def _number(condition: ColumnElement[bool]) -> ScalarSelect[int]:
    return (
        select(func.count())
        .select_from(Assignment)
        .where(Assignment.hit_id == Hit.id, condition)
        .correlate(Hit)
        .scalar_subquery()
    )
