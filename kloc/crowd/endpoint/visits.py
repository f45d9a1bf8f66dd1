"""Letting a worker in: the token in the path says who asks, and every page of theirs starts from here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from kloc.crowd.endpoint import participants
from kloc.crowd.endpoint.context import Context
from kloc.crowd.endpoint.faults import Refusal
from kloc.crowd.endpoint.tables import Worker

NOT_VALID = (
    "This link is not valid (any more). If you have a name and a password, sign in again; otherwise please ask the "
    "person who gave you the link for a new one."
)


@dataclass(frozen=True)
class Visit:
    """One request of a worker. home: the address of their page. signed_in: by a password, so they can sign out."""

    worker: Worker
    home: str
    token: str
    signed_in: bool


Handler = Callable[[Context, Request, Visit], Response]


def as_worker(context: Context, function: Handler) -> Callable[[Request], Response]:
    """``function`` as an endpoint behind ``/w/{token}``."""
    return partial(_visit, context, function)


def home_of(context: Context, request: Request) -> str:
    """The address of the page that the token in the path opens."""
    return f"{context.base(request)}/w/{request.path_params['token']}"


def _visit(context: Context, function: Handler, request: Request) -> Response:
    """Find out who asks, and let them ask only so often."""
    token = request.path_params["token"]
    with context.database.read() as session:
        found = participants.by_token(session, token, context.now())
        session.expunge_all()
    if found is None:
        context.stranger_limit.take(context.caller(request))
        raise Refusal(HTTPStatus.FORBIDDEN, NOT_VALID)
    worker, access = found
    context.worker_limit.take(worker.id)
    if request.method == "POST":
        context.require_own_page(request)
    context.settle()
    visit = Visit(worker, home_of(context, request), token, signed_in=access.expires is not None)
    return function(context, request, visit)
