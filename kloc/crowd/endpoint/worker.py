"""The worker app: home, preview, accept, return, and the page around a task. The token in the path is the login."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from kloc.crowd.endpoint import entities, frames, leases, pages, questions, tasks
from kloc.crowd.endpoint.context import Context, origin_of, wants_json
from kloc.crowd.endpoint.faults import Refusal
from kloc.crowd.endpoint.ids import token_hash
from kloc.crowd.endpoint.qualifications import qualifies
from kloc.crowd.endpoint.tables import ACCEPTED, HANDED_IN, Assignment, Hit, HitType, Worker, WorkerToken

_NOT_VALID = "This link is not valid (any more). Please ask the person who gave it to you for a new one."
_NOT_YOURS = "This task is not yours."


def app(context: Context) -> Starlette:
    """The app to mount at the endpoint's address: it answers ``/w``, ``/frame``, ``/draft`` and ``/mturk``."""
    entities.register()

    def handle(function: Callable[[Context, Request, Worker], Response]) -> Callable[[Request], Response]:
        return partial(_as_worker, context, function)

    async def refuse(request: Request, error: Exception) -> Response:
        assert isinstance(error, Refusal)
        token = request.path_params.get("token")
        if token:
            known = error.message not in (_NOT_VALID, context.BAD_HOST)
            return pages.refused(request, error, _home_address(context, request) if known else None)
        # The frame's own routes: what went wrong is read inside our own page.
        framed = error.message != context.BAD_HOST
        return pages.refused(request, error, ancestors=origin_of(context.base(request)) if framed else "'none'")

    return Starlette(
        routes=[
            Route("/w/{token}", handle(_home), methods=["GET"]),
            Route("/w/{token}/preview/{hit_id:entity}", handle(_preview), methods=["GET"]),
            Route("/w/{token}/accept/{hit_id:entity}", handle(_accept), methods=["POST"]),
            Route("/w/{token}/next", handle(_next), methods=["POST"]),
            Route("/w/{token}/return/{assignment_id:entity}", handle(_return), methods=["POST"]),
            Route("/w/{token}/task/{assignment_id:entity}", handle(_task), methods=["GET"]),
            *frames.routes(context),
        ],
        exception_handlers={Refusal: refuse, Exception: pages.Fault(context)},
    )


def _as_worker(
    context: Context, function: Callable[[Context, Request, Worker], Response], request: Request
) -> Response:
    """Find out who asks, and let them ask only so often."""
    token = token_hash(request.path_params["token"])
    with context.database.read() as session:
        query = select(Worker).join(WorkerToken).where(WorkerToken.hash == token, Worker.revoked.is_(None))
        worker = session.scalar(query)
        session.expunge_all()
    if worker is None:
        context.stranger_limit.take(request.client.host if request.client else "")
        raise Refusal(HTTPStatus.FORBIDDEN, _NOT_VALID)
    context.worker_limit.take(worker.id)
    context.settle()
    return function(context, request, worker)


def _home(context: Context, request: Request, worker: Worker) -> Response:
    now = context.now()
    with context.database.read() as session:
        available = tasks.open_tasks(session, worker, now)
        working = tasks.in_progress(session, worker, now)
        done = tasks.handed_in(session, worker)
        earned = tasks.earned(session, worker)
        letters = tasks.messages(session, worker)
    home = _home_address(context, request)
    if wants_json(request):
        return pages.data(
            {
                "worker_id": worker.id,
                "open": [
                    {"hit_id": task.hit_id, "title": task.title, "reward": task.reward, "available": task.available}
                    for task in available
                ],
                "in_progress": [
                    {
                        "assignment_id": task.assignment_id,
                        "hit_id": task.hit_id,
                        "task_url": f"{home}/task/{task.assignment_id}",
                        "expires_at": task.expires_at,
                    }
                    for task in working
                ],
                "submitted": [
                    {
                        "assignment_id": task.assignment_id,
                        "hit_id": task.hit_id,
                        "title": task.title,
                        "status": task.status,
                        "reward": task.reward,
                    }
                    for task in done
                ],
                "earned": earned,
            }
        )
    return pages.page(
        "home.html",
        home=home,
        worker=worker,
        open=available,
        in_progress=[(task, max(round((task.expires_at - now) / 60), 0)) for task in working],
        submitted=done,
        earned=earned,
        messages=letters,
    )


def _preview(context: Context, request: Request, worker: Worker) -> Response:
    hit_id, now = request.path_params["hit_id"], context.now()
    with context.database.read() as session:
        hit = session.get(Hit, hit_id)
        if hit is None or hit.disposed or hit.expiration <= now:
            raise Refusal(HTTPStatus.NOT_FOUND, "This task does not exist any more.")
        kind = session.get_one(HitType, hit.hit_type_id)
        guarded = [each for each in kind.qualification_requirements if each["RequiredToPreview"]]
        if not qualifies(session, worker.id, guarded):
            raise Refusal(HTTPStatus.FORBIDDEN, "This task asks for a qualification you do not have yet.")
    question = questions.parse(hit.question)
    base = context.base(request)
    address = tasks.preview_address(context, base, hit, question, now)
    if wants_json(request):
        html = question.content if question.kind == "html" else None
        return pages.data({"hit_id": hit.id, "title": kind.title, "question_html": html, "frame_url": address})
    return pages.page(
        "preview.html",
        frame=origin_of(address),
        home=_home_address(context, request),
        hit_id=hit.id,
        title=kind.title,
        description=kind.description,
        frame_url=address,
        height=question.frame_height,
    )


def _accept(context: Context, request: Request, worker: Worker) -> Response:
    with context.database.write() as session:
        assignment = leases.accept(session, request.path_params["hit_id"], worker, context.now())
        hit = session.get_one(Hit, assignment.hit_id)
    return _leased(context, request, hit, assignment)


def _next(context: Context, request: Request, worker: Worker) -> Response:
    """Accept whatever comes first; a place that somebody else takes meanwhile is passed over."""
    now = context.now()
    with context.database.read() as session:
        candidates = [task.hit_id for task in tasks.open_tasks(session, worker, now)]
    for hit_id in candidates:
        try:
            with context.database.write() as session:
                assignment = leases.accept(session, hit_id, worker, now)
                hit = session.get_one(Hit, hit_id)
        except Refusal as refusal:
            if refusal.status not in (HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND):
                raise
        else:
            return _leased(context, request, hit, assignment)
    raise Refusal(HTTPStatus.NOT_FOUND, "There is no open task for you at the moment. Thank you for your work!")


def _return(context: Context, request: Request, worker: Worker) -> Response:
    with context.database.write() as session:
        leases.give_back(session, request.path_params["assignment_id"], worker.id)
    if wants_json(request):
        return pages.data({"assignment_id": request.path_params["assignment_id"], "status": "Returned"})
    return RedirectResponse(_home_address(context, request), HTTPStatus.SEE_OTHER)


def _task(context: Context, request: Request, worker: Worker) -> Response:
    now = context.now()
    with context.database.read() as session:
        hit, kind, assignment = _own(session, request.path_params["assignment_id"], worker)
    state = tasks.state_of(assignment, now)
    question = questions.parse(hit.question)
    addresses: dict[str, Any] = {"frame_url": None, "media_url": None}
    if state == ACCEPTED:
        addresses = dict(tasks.lease_addresses(context, context.base(request), hit, question, assignment))
    home = _home_address(context, request)
    if wants_json(request):
        return pages.data(
            {
                "assignment_id": assignment.id,
                "hit_id": hit.id,
                "status": state,
                "task_url": f"{home}/task/{assignment.id}",
                "expires_at": assignment.deadline,
                **addresses,
            }
        )
    return pages.page(
        "task.html",
        frame=origin_of(addresses["frame_url"]) if addresses["frame_url"] else "'none'",
        home=home,
        assignment_id=assignment.id,
        hit_id=hit.id,
        title=kind.title,
        state="Submitted" if state in HANDED_IN else state,
        seconds_left=max(assignment.deadline - now, 0),
        height=question.frame_height,
        frame_url=addresses["frame_url"],
    )


def _leased(context: Context, request: Request, hit: Hit, assignment: Assignment) -> Response:
    task_url = f"{_home_address(context, request)}/task/{assignment.id}"
    if not wants_json(request):
        return RedirectResponse(task_url, HTTPStatus.SEE_OTHER)
    question = questions.parse(hit.question)
    return pages.data(
        {
            "assignment_id": assignment.id,
            "hit_id": hit.id,
            "task_url": task_url,
            **tasks.lease_addresses(context, context.base(request), hit, question, assignment),
            "expires_at": assignment.deadline,
        }
    )


def _own(session: Session, assignment_id: str, worker: Worker) -> tuple[Hit, HitType, Assignment]:
    assignment = session.get(Assignment, assignment_id)
    if assignment is None or assignment.worker_id != worker.id:
        raise Refusal(HTTPStatus.NOT_FOUND, _NOT_YOURS)
    hit = session.get_one(Hit, assignment.hit_id)
    return hit, session.get_one(HitType, hit.hit_type_id), assignment


def _home_address(context: Context, request: Request) -> str:
    return f"{context.base(request)}/w/{request.path_params['token']}"
