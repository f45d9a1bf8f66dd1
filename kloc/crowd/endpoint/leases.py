"""The life of an assignment between worker and endpoint: accept, return, submit. Capacity holds under any race."""

from __future__ import annotations

from http import HTTPStatus
from typing import Literal

from sqlalchemy import BindParameter, bindparam, delete, func, select, update
from sqlalchemy.orm import Session

from kloc.crowd.endpoint import hits, standing
from kloc.crowd.endpoint.database import Database
from kloc.crowd.endpoint.faults import Refusal
from kloc.crowd.endpoint.ids import new_id
from kloc.crowd.endpoint.qualifications import qualifies
from kloc.crowd.endpoint.tables import (
    ACCEPTED,
    HANDED_IN,
    RETURNED,
    SUBMITTED,
    Assignment,
    Draft,
    Hit,
    HitType,
    Worker,
)

#: How many tasks one worker may hold at once: nobody keeps the others from working.
MOST_HELD = 5
HANDS_FULL = f"You hold {MOST_HELD} tasks already: finish or return one of them first."
#: Built once: handing in should cost no more than it has to.
_ID: BindParameter[str] = bindparam("assignment_id")
_WHOSE = select(Assignment.hit_id, Assignment.worker_id).where(Assignment.id == _ID)
_HELD = select(Assignment).where(Assignment.id == _ID).with_for_update().execution_options(populate_existing=True)
_TERMS = select(HitType.reward, HitType.auto_approval_delay).where(HitType.id == bindparam("hit_type_id"))
_NOW: BindParameter[float] = bindparam("now")
_DELAY = select(HitType.auto_approval_delay).join(Hit, Hit.hit_type_id == HitType.id).where(Hit.id == Assignment.hit_id)
#: While the lease runs that is all: it has a place, and a block or a withdrawal would have ended it.
_HANDED_IN = (
    update(Assignment)
    .where(Assignment.id == _ID, Assignment.status == ACCEPTED, Assignment.deadline > _NOW)
    .values(
        status=SUBMITTED,
        answer=bindparam("text"),
        submit_time=_NOW,
        auto_approval_time=_NOW + _DELAY.correlate(Assignment).scalar_subquery(),
    )
    .returning(Assignment.id)
    .execution_options(synchronize_session=False)
)
_NO_DRAFT = delete(Draft).where(Draft.assignment_id == _ID).execution_options(synchronize_session=False)


def accept(session: Session, hit_id: str, worker: Worker, now: float) -> Assignment:
    """Give ``worker`` a lease on the HIT, or the one they hold already.

    A worker who returned the HIT or let the lease run out gets the same assignment again, draft included.
    Raises :class:`Refusal` (404 unknown, 403 blocked or not qualified, 409 no place, closed, already handed in, or
    :data:`HANDS_FULL`).
    """
    hit = hits.lock(session, hit_id)
    if hit is None or hit.disposed:
        raise Refusal(HTTPStatus.NOT_FOUND, "This task does not exist any more.")
    standing.require(session, standing.lock(session, worker.id, alone=True))
    held = session.scalar(
        select(Assignment).where(Assignment.hit_id == hit_id, Assignment.worker_id == worker.id).with_for_update()
    )
    if held is not None and held.status in HANDED_IN:
        raise Refusal(HTTPStatus.CONFLICT, "You have already handed in this task.")
    if held is not None and held.status == ACCEPTED and held.deadline > now:
        return held
    _require_place(session, hit, now)
    _require_hand(session, worker, now)
    kind = session.get_one(HitType, hit.hit_type_id)
    if not qualifies(session, worker.id, kind.qualification_requirements):
        raise Refusal(HTTPStatus.FORBIDDEN, "This task asks for a qualification you do not have yet.")
    deadline = now + kind.assignment_duration
    if held is not None:
        held.status, held.reward, held.accept_time, held.deadline = ACCEPTED, kind.reward, now, deadline
        return held
    assignment = Assignment(
        id=new_id(),
        hit_id=hit_id,
        worker_id=worker.id,
        status=ACCEPTED,
        reward=kind.reward,
        accept_time=now,
        deadline=deadline,
    )
    session.add(assignment)
    return assignment


def give_back(session: Session, assignment_id: str, worker_id: str) -> None:
    """End a lease early; its place is free at once. Returning twice is fine, returning handed-in work is not."""
    assignment = held(session, assignment_id)
    if assignment is None or assignment.worker_id != worker_id:
        raise Refusal(HTTPStatus.NOT_FOUND, "This task is not yours.")
    if assignment.status in HANDED_IN:
        raise Refusal(HTTPStatus.CONFLICT, "This task is already handed in and cannot be returned.")
    assignment.status = RETURNED


def submit(database: Database, assignment_id: str, answer: str, now: float) -> Literal["stored", "again", "late"]:
    """Store an answer. ``again``: one was there, it stays. ``late``: the lease is over and its place is gone.

    After the lease the answer still counts while the HIT is open and has a free place; it is paid as whoever takes
    that place now would be. Once the HIT has closed it does not count: the requester has been told that no more
    answers come, and may have spent the money elsewhere.
    """
    with database.write() as session:
        if session.scalar(_HANDED_IN, {"assignment_id": assignment_id, "now": now, "text": answer}) is not None:
            session.execute(_NO_DRAFT, {"assignment_id": assignment_id})
            return "stored"
    # In another transaction: PostgreSQL may hold the assignment now, and the HIT has to be held before it.
    with database.write() as session:
        return _submit_late(session, assignment_id, answer, now)


def _submit_late(session: Session, assignment_id: str, answer: str, now: float) -> Literal["stored", "again", "late"]:
    """:func:`submit` without a running lease: everything is looked at, and held."""
    row = session.execute(_WHOSE, {"assignment_id": assignment_id}).one_or_none()
    hit = None if row is None else hits.lock(session, row.hit_id)
    worker = None if row is None else standing.lock(session, row.worker_id)
    assignment = held(session, assignment_id)
    if assignment is None or hit is None:
        raise Refusal(HTTPStatus.NOT_FOUND, "There is no such assignment.")
    if assignment.status in HANDED_IN:
        return "again"
    standing.require(session, worker)
    terms = session.execute(_TERMS, {"hit_type_id": hit.hit_type_id}).one()
    if assignment.status != ACCEPTED or assignment.deadline <= now:
        try:
            _require_place(session, hit, now)
        except Refusal:
            assignment.late_answer = answer
            return "late"
        assignment.reward = terms.reward
    session.execute(_NO_DRAFT, {"assignment_id": assignment_id})
    assignment.status = SUBMITTED
    assignment.answer = answer
    assignment.submit_time = now
    assignment.auto_approval_time = now + terms.auto_approval_delay
    return "stored"


def save_draft(session: Session, assignment_id: str, content: str, now: float) -> None:
    """Keep a draft, whether the lease still runs or not; after the answer is in there is nothing to draft."""
    assignment = held(session, assignment_id)
    if assignment is None:
        raise Refusal(HTTPStatus.NOT_FOUND, "There is no such assignment.")
    if assignment.status in HANDED_IN:
        raise Refusal(HTTPStatus.CONFLICT, "This task is already handed in.")
    draft = session.get(Draft, assignment_id)
    if draft is None:
        session.add(Draft(assignment_id=assignment_id, saved=now, content=content))
    else:
        draft.saved, draft.content = now, content


def _require_place(session: Session, hit: Hit, now: float) -> None:
    count = hits.counts(session, [hit.id], now)[hit.id]
    if hit.disposed or hit.expiration <= now:
        raise Refusal(HTTPStatus.CONFLICT, "This task is closed.")
    if count.taken >= hit.max_assignments:
        raise Refusal(HTTPStatus.CONFLICT, "All places of this task are taken.")


def _require_hand(session: Session, worker: Worker, now: float) -> None:
    mine = select(func.count()).where(Assignment.worker_id == worker.id, hits.live(now))
    if session.scalars(mine).one() >= MOST_HELD:
        raise Refusal(HTTPStatus.CONFLICT, HANDS_FULL)


def held(session: Session, assignment_id: str) -> Assignment | None:
    """The assignment, held until the transaction ends."""
    return session.scalar(_HELD, {"assignment_id": assignment_id})
