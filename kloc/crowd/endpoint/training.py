"""The worker's side of qualifications: starting a test, the page around it, handing it in."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from kloc.crowd.endpoint import pages, qualifying, questions, tasks
from kloc.crowd.endpoint.context import Context, origin_of, wants_json
from kloc.crowd.endpoint.faults import Refusal
from kloc.crowd.endpoint.qualifying import TAKING, Offer
from kloc.crowd.endpoint.questions import Question
from kloc.crowd.endpoint.tables import QualificationRequest, QualificationType
from kloc.crowd.endpoint.visits import Visit, as_worker

#: How long the links of a test without an end last, seconds.
_NO_END = 24 * 3600


def routes(context: Context) -> list[Route]:
    """``/w/<token>/qualify/<type>`` starts or asks; ``/w/<token>/test/<attempt>`` is the page around a test."""
    return [
        Route("/w/{token}/qualify/{type_id:entity}", as_worker(context, _start), methods=["POST"]),
        Route("/w/{token}/test/{attempt_id:entity}", as_worker(context, _test), methods=["GET"]),
    ]


def as_json(offer: Offer, home: str) -> dict[str, Any]:
    """A qualification on the worker's home, for programs."""
    return {
        "type_id": offer.type_id,
        "name": offer.name,
        "description": offer.description,
        "state": offer.state,
        "score": offer.score,
        "needed": offer.needed,
        "retry_at": offer.retry_at,
        "start_url": f"{home}/qualify/{offer.type_id}",
    }


def question_of(session: Session, attempt_id: str) -> Question | None:
    """The test that an attempt is about; None where there is no such attempt."""
    attempt = session.get(QualificationRequest, attempt_id)
    kind = session.get(QualificationType, attempt.type_id) if attempt is not None else None
    return questions.parse(kind.test) if kind is not None and kind.test is not None else None


def hand_in(context: Context, request: Request, attempt_id: str, fields: list[tuple[str, str]]) -> Response | None:
    """Store and grade a test; what the page that sent it reads. None where there is no such attempt."""
    with context.database.read() as session:
        question = question_of(session, attempt_id)
    if question is None:
        return None
    answer = questions.answer(question, fields)
    with context.database.write() as session:
        outcome = qualifying.submit_test(session, attempt_id, answer, context.now())
    if wants_json(request):
        return pages.data(outcome.to_json())
    origin = origin_of(context.base(request))
    return pages.page("graded.html", ancestors=origin, origin=origin, outcome=outcome, attempt_id=attempt_id)


def _start(context: Context, request: Request, visit: Visit) -> Response:
    type_id, now = request.path_params["type_id"], context.now()
    with context.database.write() as session:
        kind = session.get(QualificationType, type_id)
        if kind is not None and kind.test is None:
            asked = qualifying.request(session, type_id, visit.worker, now)
            status = asked.status.lower()
            if wants_json(request):
                return pages.data({"type_id": type_id, "status": status})
            return RedirectResponse(visit.home, HTTPStatus.SEE_OTHER, pages.HEADERS)
        attempt = qualifying.start_test(session, type_id, visit.worker, now)
        kind = session.get_one(QualificationType, type_id)
    if wants_json(request):
        return pages.data(
            {
                "attempt_id": attempt.id,
                "test_url": f"{visit.home}/test/{attempt.id}",
                **_addresses(context, request, kind, attempt),
                "expires_at": _end(context, attempt),
            }
        )
    return RedirectResponse(f"{visit.home}/test/{attempt.id}", HTTPStatus.SEE_OTHER, pages.HEADERS)


def _test(context: Context, request: Request, visit: Visit) -> Response:
    now = context.now()
    with context.database.read() as session:
        attempt = session.get(QualificationRequest, request.path_params["attempt_id"])
        if attempt is None or attempt.worker_id != visit.worker.id:
            raise Refusal(HTTPStatus.NOT_FOUND, "This test is not yours.")
        kind = session.get_one(QualificationType, attempt.type_id)
        offers = qualifying.offered(session, visit.worker, now)
    offer = next((offer for offer in offers if offer.type_id == kind.id), None)
    open_now = attempt.status == TAKING and _end(context, attempt) > now
    addresses: dict[str, str | None] = {"frame_url": None, "media_url": None}
    if open_now:
        addresses = _addresses(context, request, kind, attempt)
    if wants_json(request):
        state = "open" if open_now else "expired" if attempt.status == TAKING else attempt.status.lower()
        told = {"attempt_id": attempt.id, "status": state, "score": attempt.score, "expires_at": _end(context, attempt)}
        return pages.data({**told, **addresses, "qualification": as_json(offer, visit.home) if offer else None})
    return pages.page(
        "test.html",
        frame=origin_of(addresses["frame_url"]) if addresses["frame_url"] else "'none'",
        visit=visit,
        kind=kind,
        title=qualifying.title_of(kind),
        offer=offer,
        attempt=attempt,
        seconds_left=max(_end(context, attempt) - now, 0),
        frame_url=addresses["frame_url"],
    )


def _end(context: Context, attempt: QualificationRequest) -> float:
    return attempt.deadline if attempt.deadline is not None else context.now() + _NO_END


def _addresses(
    context: Context, request: Request, kind: QualificationType, attempt: QualificationRequest
) -> dict[str, str | None]:
    """As of a lease; the links outlast the test, so that its feedback can be looked at."""
    base, until = context.base(request), _end(context, attempt) + qualifying.GRACE
    video = next(iter((kind.facts or {}).get("media", ())), None)
    parameters = {
        "assignmentId": attempt.id,
        "hitId": kind.id,
        "workerId": attempt.worker_id,
        "turkSubmitTo": base,
        **tasks.media_parameters(context, base, video, kind.facts, attempt.id, until),
    }
    question = questions.parse(kind.test or "")
    frame = tasks.frame_address(context, base, question, f"/frame/{attempt.id}", parameters, until)
    return {"frame_url": frame, "media_url": parameters.get("mediaUrl")}
