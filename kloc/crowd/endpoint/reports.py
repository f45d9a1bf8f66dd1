"""Problem reports: a worker's word that a task cannot be done frees it without penalty and reaches the requester."""

from __future__ import annotations

import json
import time
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kloc.crowd.endpoint import hits, leases, pages, signature
from kloc.crowd.endpoint.answers import clean
from kloc.crowd.endpoint.context import Context
from kloc.crowd.endpoint.database import lock_account
from kloc.crowd.endpoint.faults import Refusal, SignatureError
from kloc.crowd.endpoint.limits import body_of
from kloc.crowd.endpoint.tables import RETURNED, Assignment, Hit, Report

KINDS = ("does-not-play", "disturbing", "wrong-class", "other")
MAXIMUM_TEXT = 2000
#: How many reports one call of the requester gets.
PAGE = 500
_MAXIMUM_BODY = 16 * 2**10


def routes(context: Context) -> list[Route]:
    """``POST /report/<assignment>`` for the sandboxed frame, ``GET /reports`` for the requester."""
    cors = Middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["POST"], allow_headers=["Content-Type"])
    report = partial(_report, context)
    return [
        Route("/report/{assignment_id:entity}", report, methods=["POST", "OPTIONS"], middleware=[cors]),
        Route("/reports", partial(_listed, context), methods=["GET"]),
    ]


def by(worker_id: str) -> ColumnElement[bool]:
    """The HITs, as a condition beside :class:`Hit`, that this worker has reported: never offered to them again."""
    return select(Report.id).where(Report.hit_id == Hit.id, Report.worker_id == worker_id).exists()


def is_reported(session: Session, hit_id: str, worker_id: str) -> bool:
    """Whether the worker has reported the HIT."""
    query = select(Report.id).where(Report.hit_id == hit_id, Report.worker_id == worker_id).limit(1)
    return session.scalar(query) is not None


async def _report(context: Context, request: Request) -> Response:
    body = await body_of(request, _MAXIMUM_BODY)
    try:
        told: Any = json.loads(body)
    except (ValueError, RecursionError):
        told = None
    kind, text = (told.get("kind"), told.get("text", "")) if isinstance(told, dict) else (None, "")
    if kind not in KINDS or not isinstance(text, str) or len(text) > MAXIMUM_TEXT:
        raise Refusal(
            HTTPStatus.BAD_REQUEST,
            f"A report is JSON with a kind ({', '.join(KINDS)}) and a text of at most {MAXIMUM_TEXT} characters.",
        )
    assignment_id = request.path_params["assignment_id"]
    await run_in_threadpool(context.require_assignment, request, assignment_id)
    await run_in_threadpool(_keep, context, assignment_id, kind, clean(text))
    return pages.data({"status": "returned"})


def _keep(context: Context, assignment_id: str, kind: str, text: str) -> None:
    with context.database.write() as session:
        # Ids must become visible in their order: whoever has read up to one never asks for those before it again.
        lock_account(session)
        assignment = session.get_one(Assignment, assignment_id)
        context.worker_limit.take(assignment.worker_id)
        hits.lock(session, assignment.hit_id)
        session.refresh(assignment)
        repeated = assignment.status == RETURNED and is_reported(session, assignment.hit_id, assignment.worker_id)
        leases.give_back(session, assignment_id, assignment.worker_id)
        if not repeated:  # the answer to the first one may have been lost on its way
            session.add(
                Report(
                    assignment_id=assignment_id,
                    hit_id=assignment.hit_id,
                    worker_id=assignment.worker_id,
                    kind=kind,
                    text=text,
                    created=context.now(),
                )
            )


def _listed(context: Context, request: Request) -> Response:
    """The reports after the one whose id is given, oldest first; signed like the requester's other calls."""
    after = request.query_params.get("after", "0")
    query = f"after={after}" if "after" in request.query_params else ""
    if not (after.isascii() and after.isdigit() and len(after) <= 18) or request.url.query != query:
        return JSONResponse({"message": "ask for /reports?after=<the last id you have>"}, HTTPStatus.BAD_REQUEST)
    places = [(request.headers.get("host", ""), "/reports")]
    if context.settings.public_url is not None:
        public = urlsplit(context.settings.public_url)
        places.append((public.netloc, f"{public.path}/reports"))
    try:
        signature.verify(
            {name.lower(): value for name, value in request.headers.items()},
            b"",
            access_key=context.settings.access_key,
            secret_key=context.settings.secret_key,
            now=time.time(),
            places=places,
            method="GET",
            query=query,
        )
    except SignatureError as error:
        return JSONResponse({"__type": error.kind, "message": error.message}, HTTPStatus.FORBIDDEN)
    with context.database.read() as session:
        found = session.scalars(select(Report).where(Report.id > int(after)).order_by(Report.id).limit(PAGE))
        reports = [
            {
                "Id": report.id,
                "HITId": report.hit_id,
                "AssignmentId": report.assignment_id,
                "WorkerId": report.worker_id,
                "Kind": report.kind,
                "Text": report.text,
                "Time": report.created,
            }
            for report in found
        ]
    return JSONResponse({"Reports": reports}, headers={"Cache-Control": "no-store"})
