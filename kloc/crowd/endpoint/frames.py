"""What the sandboxed frame talks to: the question itself, submit, drafts. The assignment id is the permission."""

from __future__ import annotations

import json
from functools import partial
from http import HTTPStatus
from typing import Any

from sqlalchemy import bindparam, select
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message

from kloc.crowd.endpoint import leases, pages, questions, training
from kloc.crowd.endpoint.answers import question_form_answers
from kloc.crowd.endpoint.context import Context, origin_of, wants_json
from kloc.crowd.endpoint.faults import Refusal
from kloc.crowd.endpoint.ids import ENTITY
from kloc.crowd.endpoint.limits import body_of
from kloc.crowd.endpoint.questions import Question
from kloc.crowd.endpoint.tables import Assignment, Draft, Hit
from kloc.crowd.endpoint.tasks import NO_ASSIGNMENT

MAXIMUM_ANSWER = 2**20
MAXIMUM_DRAFT = 256 * 2**10
#: Built once: every answer asks for it.
_ABOUT = select(Assignment.hit_id, Hit.facts).join(Hit).where(Assignment.id == bindparam("assignment_id"))
_TOO_LATE = (
    "The time for this task ran out, and its place has been given to somebody else or the task is closed. "
    "Your answer is kept, but it does not count and is not paid."
)


def routes(context: Context) -> list[Route]:
    """The frame's routes, as part of the worker app. Any origin may use them: a sandboxed frame has none of its own."""
    cors = Middleware(
        CORSMiddleware, allow_origins=["*"], allow_methods=["GET", "PUT", "POST"], allow_headers=["Content-Type"]
    )
    submit, draft = partial(_submit, context), partial(_draft, context)
    return [
        Route("/frame/preview/{hit_id:entity}", partial(_preview_frame, context), methods=["GET"]),
        Route("/frame/{assignment_id:entity}", partial(_frame, context), methods=["GET"]),
        Route("/mturk/externalSubmit", submit, methods=["POST", "OPTIONS"], middleware=[cors]),
        Route("/draft/{assignment_id:entity}", draft, methods=["GET", "PUT", "POST", "OPTIONS"], middleware=[cors]),
    ]


def _frame(context: Context, request: Request) -> Response:
    assignment_id = request.path_params["assignment_id"]
    _require_link(context, request, f"/frame/{assignment_id}")
    with context.database.read() as session:
        assignment = session.get(Assignment, assignment_id)
        test = training.question_of(session, assignment_id) if assignment is None else None
    if test is not None:
        return _shown(context, request, test)
    if assignment is None:
        raise Refusal(HTTPStatus.NOT_FOUND, "This task does not exist any more.")
    return _shown(context, request, context.question(assignment.hit_id))


def _preview_frame(context: Context, request: Request) -> Response:
    hit_id = request.path_params["hit_id"]
    _require_link(context, request, f"/frame/preview/{hit_id}")
    return _shown(context, request, context.question(hit_id))


def _shown(context: Context, request: Request, question: Question) -> Response:
    origin = origin_of(context.base(request))
    if question.form is None:
        return pages.framed_html(question.content, origin)
    given = request.query_params
    html = pages.rendered("form.html", form=question.form, given=given, preview=given["assignmentId"] == NO_ASSIGNMENT)
    return pages.framed_html(html, origin)


async def _submit(context: Context, request: Request) -> Response:
    body = await body_of(request, MAXIMUM_ANSWER)
    fields = await _fields(request, body)
    named = [value for name, value in fields if name == "assignmentId"]
    assignment_id = named[0] if named else request.query_params.get("assignmentId", "")
    if not assignment_id or assignment_id == NO_ASSIGNMENT:
        raise Refusal(HTTPStatus.BAD_REQUEST, "This is a preview: accept the task before you submit it.")
    if not ENTITY.fullmatch(assignment_id):
        raise Refusal(HTTPStatus.NOT_FOUND, "There is no such assignment.")
    context.worker_limit.take(assignment_id)
    fields = [field for field in fields if field[0] != "assignmentId"]
    return await run_in_threadpool(_store, context, request, assignment_id, fields)


def _store(context: Context, request: Request, assignment_id: str, fields: list[tuple[str, str]]) -> Response:
    with context.database.read() as session:
        known = session.execute(_ABOUT, {"assignment_id": assignment_id}).one_or_none()
    if known is None:
        graded = training.hand_in(context, request, assignment_id, fields)
        if graded is not None:
            return graded
        context.stranger_limit.take(context.caller(request))
        raise Refusal(HTTPStatus.NOT_FOUND, "There is no such assignment.")
    # What says something of itself is kloc's own page, which names its fields; only a form must be read to answer it.
    answer = question_form_answers(fields) if known.facts else questions.answer(context.question(known.hit_id), fields)
    outcome = leases.submit(context.database, assignment_id, answer, context.now())
    if outcome == "late":
        raise Refusal(HTTPStatus.CONFLICT, _TOO_LATE)
    if wants_json(request):
        return pages.data({"assignment_id": assignment_id, "status": "Submitted"})
    origin = origin_of(context.base(request))
    return pages.page("submitted.html", ancestors=origin, origin=origin)


async def _fields(request: Request, body: bytes) -> list[tuple[str, str]]:
    """The form's fields in their order, from a form of either encoding or from a JSON object."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        value = _json(body)
        if not isinstance(value, dict):
            raise Refusal(HTTPStatus.BAD_REQUEST, "A JSON answer must be an object of fields.")
        return [(name, field if isinstance(field, str) else json.dumps(field)) for name, field in value.items()]
    if kind not in ("application/x-www-form-urlencoded", "multipart/form-data"):
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "An answer must come as a form or as JSON.")

    async def replay() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    form = await Request(request.scope, replay).form(max_files=20, max_fields=2000, max_part_size=MAXIMUM_ANSWER)
    try:
        return [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    finally:
        await form.close()


async def _draft(context: Context, request: Request) -> Response:
    """``GET`` gives the JSON back as it was stored, 404 where there is none; ``PUT`` (or ``POST``) stores it."""
    assignment_id = request.path_params["assignment_id"]
    context.worker_limit.take(assignment_id)
    await run_in_threadpool(context.require_assignment, request, assignment_id)
    if request.method in ("GET", "HEAD"):
        content = await run_in_threadpool(_stored_draft, context, assignment_id)
        return Response(content, headers={"Cache-Control": "no-store"}, media_type="application/json")
    body = await body_of(request, MAXIMUM_DRAFT)
    _json(body)
    await run_in_threadpool(_keep_draft, context, assignment_id, body.decode())
    return Response(status_code=HTTPStatus.NO_CONTENT)


def _stored_draft(context: Context, assignment_id: str) -> str:
    with context.database.read() as session:
        draft = session.get(Draft, assignment_id)
    if draft is None:
        raise Refusal(HTTPStatus.NOT_FOUND, "There is no draft.")
    return draft.content


def _keep_draft(context: Context, assignment_id: str, content: str) -> None:
    with context.database.write() as session:
        leases.save_draft(session, assignment_id, content, context.now())


def _json(body: bytes) -> Any:
    try:
        return json.loads(body.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Refusal(HTTPStatus.BAD_REQUEST, "This is not JSON in UTF-8.") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _require_link(context: Context, request: Request, path: str) -> None:
    if not context.links.holds(path, dict(request.query_params), context.now()):
        raise Refusal(HTTPStatus.FORBIDDEN, "This link is not valid, or its time is over: open the task again.")
