"""How a worker comes to a qualification: by a test that is graded or judged, by asking, or by being given it.

A test that is graded gives a value at once, whatever it is; whether that is enough is for the HIT types to say. With
a retry delay it may be taken again, and the best value stays; without one there is one try.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session, defer

from kloc.crowd.endpoint import grading, standing
from kloc.crowd.endpoint.faults import Refusal
from kloc.crowd.endpoint.ids import new_id
from kloc.crowd.endpoint.qualifications import SYSTEM, meets
from kloc.crowd.endpoint.tables import Hit, HitType, Qualification, QualificationRequest, QualificationType, Worker

TAKING, PENDING, GRANTED, REJECTED = "Taking", "Pending", "Granted", "Rejected"
#: A test handed in this many seconds after its end still counts: the network is not the worker's fault.
GRACE = 60.0
_GONE = "This training does not exist any more."
State = Literal["open", "pending", "passed", "failed", "wait"]


@dataclass(frozen=True)
class Offer:
    """A qualification that open tasks ask for, as one worker stands to it.

    name: the requester's, made to be found again; title: what people read.
    score: what they hold, or what their last try was worth; needed: the least that some open task asks for, None
    where it is not about a least value. retry_at: epoch seconds, in the state ``wait`` only. attempt_id: the test they
    are in the middle of. With ``has_test`` a start opens the test, without it is a request.
    """

    type_id: str
    name: str
    title: str
    description: str
    state: State
    score: int | None
    needed: int | None
    retry_at: float | None
    has_test: bool
    attempt_id: str | None


@dataclass(frozen=True)
class Outcome:
    """What became of a test. gold: only where it was passed. again_at: epoch seconds, None once passed or for never."""

    status: Literal["graded", "pending"]
    score: int | None = None
    needed: int | None = None
    passed: bool = False
    feedback: Sequence[dict[str, Any]] = ()
    gold: Sequence[dict[str, Any]] | None = None
    again_at: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As the page that was handed in reads it."""
        if self.status == "pending":
            return {"status": self.status}
        told = {
            "status": self.status,
            "score": self.score,
            "needed": self.needed,
            "passed": self.passed,
            "feedback": list(self.feedback),
            "again_at": self.again_at,
        }
        return told if self.gold is None else {**told, "gold": list(self.gold)}


def offered(session: Session, worker: Worker, now: float) -> list[Offer]:
    """The qualifications that open tasks ask for, oldest first, whether the worker has them or not; none if blocked."""
    if standing.is_blocked(session, worker.id):
        return []
    asked = _asked(session, now)
    light = (defer(QualificationType.test), defer(QualificationType.answer_key))
    query = select(QualificationType, QualificationType.test.is_not(None)).options(*light)
    query = query.where(QualificationType.id.in_(asked), QualificationType.disposed.is_(False))
    offers = [
        _offer(session, kind, has_test, asked[kind.id], worker.id, now)
        for kind, has_test in session.execute(query.order_by(QualificationType.created, QualificationType.id))
    ]
    return [offer for offer in offers if offer is not None]


def title_of(kind: QualificationType) -> str:
    """What people read: the classes to be practised where kloc's page says them, else the type's name."""
    classes = (kind.facts or {}).get("classes")
    return f"Practice: {', '.join(classes)}" if classes else kind.name


def start_test(session: Session, type_id: str, worker: Worker, now: float) -> QualificationRequest:
    """Open the type's test for ``worker``, or give the one they are in the middle of; its ``deadline`` ends it.

    Raises :class:`Refusal` (404 no such test, 403 blocked, 409 taken and no further try, or not yet).
    """
    kind = _requestable(session, type_id, worker)
    if kind.test is None:
        raise Refusal(HTTPStatus.NOT_FOUND, "There is no test for this qualification: ask for it instead.")
    last = _last(session, kind.id, worker.id)
    if last is not None and _is_open(last, now):
        return last
    _require_try(session, kind, last, worker.id, now)
    attempt = _new(kind, worker, TAKING, now)
    attempt.deadline = None if kind.test_duration is None else now + kind.test_duration
    session.add(attempt)
    return attempt


def request(session: Session, type_id: str, worker: Worker, now: float) -> QualificationRequest:
    """Ask for a qualification without a test: granted at once where its owner says so, otherwise theirs to judge.

    Asking again while they have not is the same request. Raises :class:`Refusal` like :func:`start_test`.
    """
    kind = _requestable(session, type_id, worker)
    if kind.test is not None:
        raise Refusal(HTTPStatus.CONFLICT, "This qualification has a test: take it instead.")
    last = _last(session, kind.id, worker.id)
    if last is not None and last.status == PENDING:
        return last
    _require_try(session, kind, last, worker.id, now)
    asked = _new(kind, worker, GRANTED if kind.auto_granted else PENDING, now)
    asked.submitted = now
    if kind.auto_granted:
        asked.score = 1 if kind.auto_granted_value is None else kind.auto_granted_value
        grant(session, kind.id, worker.id, asked.score, now)
    session.add(asked)
    return asked


def submit_test(session: Session, attempt_id: str, answer: str, now: float) -> Outcome:
    """Hand in a test (an answer document). The first answer counts; handing in again tells the same outcome.

    Raises :class:`Refusal` (404 unknown, 403 blocked or without access, 409 its time is over).
    """
    worker_id = session.scalar(select(QualificationRequest.worker_id).where(QualificationRequest.id == attempt_id))
    if worker_id is None:
        raise Refusal(HTTPStatus.NOT_FOUND, "There is no such test.")
    standing.require(session, standing.lock(session, worker_id, alone=True))
    attempt = session.get_one(QualificationRequest, attempt_id, populate_existing=True)
    kind = session.get_one(QualificationType, attempt.type_id)
    if attempt.submitted is None:
        if attempt.status != TAKING or kind.disposed:
            raise Refusal(HTTPStatus.NOT_FOUND, _GONE)
        if attempt.deadline is not None and attempt.deadline + GRACE <= now:
            raise Refusal(HTTPStatus.CONFLICT, "The time for this test ran out.")
        attempt.answer, attempt.submitted, attempt.status = answer, now, PENDING
        if kind.answer_key is not None:
            grade = grading.grade(kind.answer_key, answer)
            attempt.status, attempt.score, attempt.feedback = GRANTED, grade.score, grade.feedback
            held = session.get(Qualification, (kind.id, worker_id))
            best = held.value if held is not None and not held.revoked else grade.score
            grant(session, kind.id, worker_id, max(best, grade.score), now)
    return _outcome(session, kind, attempt, now)


def grant(session: Session, type_id: str, worker_id: str, value: int, now: float) -> None:
    """Give a worker the qualification, or another value in it. The caller holds the worker's row."""
    held = session.get(Qualification, (type_id, worker_id))
    if held is None:
        session.add(Qualification(type_id=type_id, worker_id=worker_id, value=value, granted=now, revoked=False))
    else:
        held.value, held.granted, held.revoked, held.reason = value, now, False, None


def _offer(
    session: Session, kind: QualificationType, has_test: bool, asked: list[dict[str, Any]], worker_id: str, now: float
) -> Offer | None:
    held, last = session.get(Qualification, (kind.id, worker_id)), _last(session, kind.id, worker_id)
    value = held.value if held is not None and not held.revoked else None
    retry_at, attempt_id = None, None
    state: State
    if any(meets(value, requirement) for requirement in asked):
        state = "passed"
    elif last is not None and last.status == PENDING:
        state = "pending"
    elif last is not None and _is_open(last, now):
        state, attempt_id = "open", last.id
    elif not kind.active or (last is not None and kind.retry_delay is None):
        if last is None:
            return None
        state = "failed"
    else:
        retry_at = _retry_at(kind, last)
        state = "open" if retry_at is None or retry_at <= now else "wait"
    return Offer(
        type_id=kind.id,
        name=kind.name,
        title=title_of(kind),
        description=kind.description,
        state=state,
        score=value if value is not None or last is None else last.score,
        needed=_needed(asked),
        retry_at=retry_at if state == "wait" else None,
        has_test=has_test,
        attempt_id=attempt_id,
    )


def _outcome(session: Session, kind: QualificationType, attempt: QualificationRequest, now: float) -> Outcome:
    if attempt.score is None or kind.answer_key is None or attempt.answer is None:
        return Outcome("pending")
    asked = _asked(session, now, closed=True).get(kind.id, [])
    passed = not asked or any(meets(attempt.score, requirement) for requirement in asked)
    gold = grading.grade(kind.answer_key, attempt.answer).gold if passed else None
    again_at = None if passed or not kind.active else _retry_at(kind, attempt)
    return Outcome("graded", attempt.score, _needed(asked), passed, attempt.feedback or [], gold, again_at)


def _asked(session: Session, now: float, *, closed: bool = False) -> dict[str, list[dict[str, Any]]]:
    """Own qualification type -> the requirements of HIT types with open HITs (``closed``: of all) that name it."""
    query = select(HitType.qualification_requirements)
    if not closed:
        open_hit = select(Hit.id).where(Hit.hit_type_id == HitType.id, Hit.disposed.is_(False), Hit.expiration > now)
        query = query.where(open_hit.exists())
    found: dict[str, list[dict[str, Any]]] = {}
    for requirement in (each for requirements in session.scalars(query) for each in requirements):
        if requirement["QualificationTypeId"] not in SYSTEM and requirement["Comparator"] != "DoesNotExist":
            found.setdefault(requirement["QualificationTypeId"], []).append(requirement)
    return found


def _needed(asked: Sequence[dict[str, Any]]) -> int | None:
    more = {"GreaterThanOrEqualTo": 0, "GreaterThan": 1, "EqualTo": 0}
    least = [each["IntegerValues"][0] + more[each["Comparator"]] for each in asked if each["Comparator"] in more]
    return min(least, default=None)


def _requestable(session: Session, type_id: str, worker: Worker) -> QualificationType:
    """The type, with the worker's row held: one request at a time decides about a worker's tries."""
    standing.require(session, standing.lock(session, worker.id, alone=True))
    kind = session.get(QualificationType, type_id)
    if kind is None or kind.disposed or not kind.active:
        raise Refusal(HTTPStatus.NOT_FOUND, _GONE)
    return kind


def _require_try(
    session: Session, kind: QualificationType, last: QualificationRequest | None, worker_id: str, now: float
) -> None:
    if last is None:
        return
    if last.status == PENDING:
        raise Refusal(HTTPStatus.CONFLICT, "Your test waits to be judged; there is nothing to do for you now.")
    retry_at = _retry_at(kind, last)
    if retry_at is None:
        raise Refusal(HTTPStatus.CONFLICT, "You have had your try at this qualification; there is one for everybody.")
    if retry_at > now:
        raise Refusal(HTTPStatus.CONFLICT, "You cannot try again yet; please wait a little.")


def _retry_at(kind: QualificationType, last: QualificationRequest | None) -> float | None:
    """When the next try may begin. A test that was never handed in counts from its end."""
    if last is None or kind.retry_delay is None:
        return None
    return (last.submitted or last.deadline or last.started) + kind.retry_delay


def _is_open(attempt: QualificationRequest, now: float) -> bool:
    return attempt.status == TAKING and (attempt.deadline is None or attempt.deadline > now)


def _last(session: Session, type_id: str, worker_id: str) -> QualificationRequest | None:
    query = select(QualificationRequest).where(
        QualificationRequest.type_id == type_id, QualificationRequest.worker_id == worker_id
    )
    order = (QualificationRequest.started.desc(), QualificationRequest.id.desc())
    return session.scalar(query.order_by(*order).limit(1).execution_options(populate_existing=True))


def _new(kind: QualificationType, worker: Worker, status: str, now: float) -> QualificationRequest:
    return QualificationRequest(id=new_id(), type_id=kind.id, worker_id=worker.id, status=status, started=now)
