"""The worker app: home, history, preview, accept, return, and the page around a task. The token in the path is the
login."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from sqlalchemy.orm import Session, defer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from kloc.crowd.endpoint import (
    entities,
    frames,
    leases,
    login,
    pages,
    participants,
    qualifying,
    questions,
    reports,
    standing,
    tasks,
    training,
)
from kloc.crowd.endpoint.context import Context, origin_of, wants_json
from kloc.crowd.endpoint.faults import Refusal
from kloc.crowd.endpoint.money import to_dollars
from kloc.crowd.endpoint.qualifications import qualifies
from kloc.crowd.endpoint.tables import ACCEPTED, HANDED_IN, RETURNED, Assignment, Hit, HitType, Worker
from kloc.crowd.endpoint.visits import NOT_VALID, Visit, as_worker, home_of

_GONE = "This task does not exist any more."
_REPORTED = "You have reported a problem with this task; it is not offered to you again."
#: How many lines of the history the home page shows, and how many open tasks ``next`` looks at at a time.
_LATEST = 8
_TRIES = 10


def app(context: Context) -> Starlette:
    """The app to mount at the endpoint's address: all that people and their sandboxed frames ask for."""
    entities.register()

    async def refuse(request: Request, error: Exception) -> Response:
        assert isinstance(error, Refusal)
        if "token" in request.path_params and error.message != context.BAD_HOST:
            home = home_of(context, request) if error.message != NOT_VALID else None
            return pages.refused(request, error, home, context.base(request))
        # The frame's own routes: what went wrong is read inside our own page.
        framed = error.message not in (context.BAD_HOST, context.FOREIGN)
        return pages.refused(request, error, ancestors=origin_of(context.base(request)) if framed else "'none'")

    return Starlette(
        routes=[
            Route("/w/{token}", as_worker(context, _home), methods=["GET"]),
            Route("/w/{token}/history", as_worker(context, _history), methods=["GET"]),
            Route("/w/{token}/leave", as_worker(context, _leave), methods=["POST"]),
            Route("/w/{token}/preview/{hit_id:entity}", as_worker(context, _preview), methods=["GET"]),
            Route("/w/{token}/accept/{hit_id:entity}", as_worker(context, _accept), methods=["POST"]),
            Route("/w/{token}/next", as_worker(context, _next), methods=["POST"]),
            Route("/w/{token}/return/{assignment_id:entity}", as_worker(context, _return), methods=["POST"]),
            Route("/w/{token}/task/{assignment_id:entity}", as_worker(context, _task), methods=["GET"]),
            *login.routes(context),
            *training.routes(context),
            *frames.routes(context),
            *reports.routes(context),
        ],
        exception_handlers={Refusal: refuse, Exception: pages.Fault(context)},
    )


def _home(context: Context, request: Request, visit: Visit) -> Response:
    now, worker = context.now(), visit.worker
    as_json = wants_json(request)
    with context.database.read() as session:
        offers = qualifying.offered(session, worker, now)
        open_now = tasks.open_tasks(session, worker, now, action="Accept" if as_json else "Discover")
        held = tasks.in_progress(session, worker, now)
        done = tasks.handed_in(session, worker, size=tasks.SHOWN if as_json else _LATEST)
        books = tasks.books(session, worker, now)
        letters = tasks.messages(session, worker)
        reported = tasks.reported(session, worker)
        blocked = standing.is_blocked(session, worker.id)
    if as_json:
        return pages.data(
            {
                "worker_id": worker.id,
                "open": [tasks.as_json(task) for task in open_now],
                "in_progress": [
                    {
                        "assignment_id": task.assignment_id,
                        "hit_id": task.hit_id,
                        "task_url": f"{visit.home}/task/{task.assignment_id}",
                        "expires_at": task.expires_at,
                    }
                    for task in held
                ],
                "submitted": [
                    {
                        "assignment_id": task.assignment_id,
                        "hit_id": task.hit_id,
                        "title": task.title,
                        "status": task.status,
                        "reward": to_dollars(task.reward),
                    }
                    for task in done
                ],
                "earned": to_dollars(books.earned),
                "qualifications": [training.as_json(offer, visit.home) for offer in offers],
            }
        )
    return pages.page(
        "home.html",
        visit=visit,
        groups=tasks.grouped(open_now),
        more=len(open_now) >= tasks.SHOWN,
        contacts=sorted({task.contact for task in (*open_now, *held) if task.contact}),
        held=held,
        done=done,
        books=books,
        messages=letters,
        reported=reported,
        blocked=blocked,
        offers=offers,
        now=now,
    )


def _history(context: Context, request: Request, visit: Visit) -> Response:
    asked = request.query_params.get("page", "1")
    with context.database.read() as session:
        books = tasks.books(session, visit.worker, context.now())
        last = max(-(-books.handed_in // tasks.PAGE), 1)
        number = min(max(int(asked), 1), last) if asked.isascii() and asked.isdigit() and len(asked) < 9 else 1
        done = tasks.handed_in(session, visit.worker, number, tasks.PAGE)
    return pages.page("history.html", visit=visit, books=books, done=done, number=number, last=last)


def _leave(context: Context, request: Request, visit: Visit) -> Response:
    """Sign out: the address in the browser's history opens nothing any more."""
    with context.database.write() as session:
        participants.close_session(session, visit.token)
    return RedirectResponse(f"{context.base(request)}/login", HTTPStatus.SEE_OTHER, pages.HEADERS)


def _preview(context: Context, request: Request, visit: Visit) -> Response:
    hit_id, now = request.path_params["hit_id"], context.now()
    with context.database.read() as session:
        hit = session.get(Hit, hit_id, options=[defer(Hit.question)])
        if hit is None or hit.disposed or hit.expiration <= now:
            raise Refusal(HTTPStatus.NOT_FOUND, _GONE)
        kind = session.get_one(HitType, hit.hit_type_id)
        if not qualifies(session, visit.worker.id, kind.qualification_requirements, "Preview"):
            raise Refusal(HTTPStatus.FORBIDDEN, "This task asks for a qualification you do not have yet.")
        task = tasks.described(hit, kind, qualifies(session, visit.worker.id, kind.qualification_requirements))
    question = context.question(hit.id)
    address = tasks.preview_address(context, context.base(request), hit, question, now)
    if wants_json(request):
        html = question.content if question.kind == "html" else None
        return pages.data({"hit_id": hit.id, "title": kind.title, "question_html": html, "frame_url": address})
    told = questions.task_of(question)
    return pages.page(
        "preview.html",
        frame=origin_of(address),
        visit=visit,
        task=task,
        guideline=_text(told, "guideline"),
        instructions=_text(told, "instructions"),
        frame_url=address,
    )


def _accept(context: Context, request: Request, visit: Visit) -> Response:
    hit, assignment = _lease(context, request.path_params["hit_id"], visit.worker)
    return _leased(context, request, visit, hit, assignment)


def _next(context: Context, request: Request, visit: Visit) -> Response:
    """Accept whatever comes first; a place that somebody else takes meanwhile is passed over.

    A person who holds a task is led back to it: open tasks would pile up otherwise. A program is given another.
    """
    if not wants_json(request):
        with context.database.read() as session:
            held = tasks.in_progress(session, visit.worker, context.now())
        if held:
            address = f"{visit.home}/task/{held[0].assignment_id}"
            return RedirectResponse(address, HTTPStatus.SEE_OTHER, pages.HEADERS)
    tried: set[str] = set()
    while found := _untried(context, visit.worker, tried):
        for hit_id in found:
            tried.add(hit_id)
            try:
                hit, assignment = _lease(context, hit_id, visit.worker)
            except Refusal as refusal:
                passed_over = refusal.status in (HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND)
                if not passed_over or refusal.message == leases.HANDS_FULL:
                    raise
            else:
                return _leased(context, request, visit, hit, assignment)
    raise Refusal(HTTPStatus.NOT_FOUND, "There is no open task for you at the moment. Thank you for your work!")


def _untried(context: Context, worker: Worker, tried: set[str]) -> list[str]:
    """The next few open tasks: many may come at once, and all look at the oldest first."""
    with context.database.read() as session:
        found = tasks.open_tasks(session, worker, context.now(), len(tried) + _TRIES)
    return [task.hit_id for task in found if task.hit_id not in tried]


def _return(context: Context, request: Request, visit: Visit) -> Response:
    with context.database.write() as session:
        leases.give_back(session, request.path_params["assignment_id"], visit.worker.id)
    if wants_json(request):
        return pages.data({"assignment_id": request.path_params["assignment_id"], "status": "Returned"})
    return RedirectResponse(visit.home, HTTPStatus.SEE_OTHER, pages.HEADERS)


def _task(context: Context, request: Request, visit: Visit) -> Response:
    now = context.now()
    with context.database.read() as session:
        hit, kind, assignment = _own(session, request.path_params["assignment_id"], visit.worker)
        state = tasks.state_of(assignment, now)
        reported = state == RETURNED and reports.is_reported(session, hit.id, visit.worker.id)
        as_json = wants_json(request)
        books = None if as_json or state not in HANDED_IN else tasks.books(session, visit.worker, now)
    addresses: dict[str, Any] = {"frame_url": None, "media_url": None}
    if state == ACCEPTED:
        question = context.question(hit.id)
        addresses = dict(tasks.lease_addresses(context, context.base(request), hit, question, assignment))
    if as_json:
        return pages.data(
            {
                "assignment_id": assignment.id,
                "hit_id": hit.id,
                "status": state,
                "task_url": f"{visit.home}/task/{assignment.id}",
                "expires_at": assignment.deadline,
                **addresses,
            }
        )
    return pages.page(
        "task.html",
        frame=origin_of(addresses["frame_url"]) if addresses["frame_url"] else "'none'",
        visit=visit,
        task=tasks.described(hit, kind),
        assignment=assignment,
        state="Submitted" if state in HANDED_IN else "Reported" if reported else state,
        seconds_left=max(assignment.deadline - now, 0),
        books=books,
        frame_url=addresses["frame_url"],
    )


def _text(told: dict[str, Any], key: str) -> str:
    value = told.get(key)
    return value if isinstance(value, str) else ""


def _lease(context: Context, hit_id: str, worker: Worker) -> tuple[Hit, Assignment]:
    with context.database.write() as session:
        if reports.is_reported(session, hit_id, worker.id):
            raise Refusal(HTTPStatus.CONFLICT, _REPORTED)
        assignment = leases.accept(session, hit_id, worker, context.now())
        return session.get_one(Hit, hit_id), assignment


def _leased(context: Context, request: Request, visit: Visit, hit: Hit, assignment: Assignment) -> Response:
    task_url = f"{visit.home}/task/{assignment.id}"
    if not wants_json(request):
        return RedirectResponse(task_url, HTTPStatus.SEE_OTHER, pages.HEADERS)
    return pages.data(
        {
            "assignment_id": assignment.id,
            "hit_id": hit.id,
            "task_url": task_url,
            **tasks.lease_addresses(context, context.base(request), hit, context.question(hit.id), assignment),
            "expires_at": assignment.deadline,
        }
    )


def _own(session: Session, assignment_id: str, worker: Worker) -> tuple[Hit, HitType, Assignment]:
    assignment = session.get(Assignment, assignment_id)
    if assignment is None or assignment.worker_id != worker.id:
        raise Refusal(HTTPStatus.NOT_FOUND, "This task is not yours.")
    hit = session.get_one(Hit, assignment.hit_id, options=[defer(Hit.question)])
    return hit, session.get_one(HitType, hit.hit_type_id), assignment
