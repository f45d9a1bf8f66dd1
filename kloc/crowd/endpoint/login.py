"""Signing in with a name and a password: no cookie, but a token in the address that ends by itself."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from urllib.parse import parse_qs

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from kloc.crowd.endpoint import pages, participants
from kloc.crowd.endpoint.answers import clean
from kloc.crowd.endpoint.context import Context, wants_json
from kloc.crowd.endpoint.faults import Refusal
from kloc.crowd.endpoint.limits import body_of

_WRONG = "This name and this password do not go together. Please check both, or ask the person who gave them to you."
_MAXIMUM_BODY = 4096


def routes(context: Context) -> list[Route]:
    """``/login``: the form, and what it sends."""
    # Checking a password is made to be slow: it never takes the threads that serve those who are in.
    turns = CapacityLimiter(2)

    async def enter(request: Request) -> Response:
        context.require_own_page(request)
        fields = parse_qs((await body_of(request, _MAXIMUM_BODY)).decode("utf-8", "replace"))
        name, password = (clean(fields.get(field, [""])[0]).strip() for field in ("name", "password"))
        context.stranger_limit.take(context.caller(request))
        context.guess_limit.take(_guess(context, request, name))
        context.name_limit.take(name)
        work = partial(_enter, context, request, name, password)
        return await to_thread.run_sync(work, limiter=turns)

    def form(request: Request) -> Response:
        return pages.page("login.html", base=context.base(request), name="", problem="")

    return [Route("/login", form, methods=["GET"]), Route("/login", enter, methods=["POST"])]


def _guess(context: Context, request: Request, name: str) -> str:
    return f"{context.caller(request)}\n{name}"


def _enter(context: Context, request: Request, name: str, password: str) -> Response:
    with context.database.read() as session:
        worker = participants.by_name(session, name)
    if not participants.matches(password, worker.password if worker else None) or worker is None:
        if wants_json(request):
            raise Refusal(HTTPStatus.FORBIDDEN, _WRONG)
        return pages.page(
            "login.html", status=HTTPStatus.FORBIDDEN, base=context.base(request), name=name, problem=_WRONG
        )
    context.guess_limit.forgive(_guess(context, request, name))
    context.name_limit.forgive(name)
    with context.database.write() as session:
        token = participants.open_session(session, worker.id, context.now())
    home = f"{context.base(request)}/w/{token}"
    if wants_json(request):
        return pages.data({"home_url": home, "expires_at": context.now() + participants.SESSION_SECONDS})
    return RedirectResponse(home, HTTPStatus.SEE_OTHER, pages.HEADERS)
