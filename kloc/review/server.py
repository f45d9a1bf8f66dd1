"""The review page: a local web app over the desk, behind an address that nobody can guess.

It listens on loopback only and sets no cookie, so there is nothing another site's page could ride on; a request that
comes from another site, or under another host's name (DNS rebinding), is refused all the same.
"""

from __future__ import annotations

import json
import secrets
import sys
import traceback
import webbrowser
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kloc.crowd.client import UnreachableError
from kloc.crowd.endpoint.faults import Refusal
from kloc.crowd.endpoint.limits import body_of
from kloc.crowd.endpoint.listening import Server, listen
from kloc.errors import CrowdError, KlocError, UsageError
from kloc.pipeline.reviewing import Desk, OutdatedError

HOST = "127.0.0.1"
#: More than any review has.
_MAXIMUM_BODY = 2**20
_PAGE = Path(__file__).parent / "page"
_HEADERS = {
    b"content-security-policy": b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    b"media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
    b"cross-origin-resource-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"cache-control": b"no-store",
}


def create_app(desk: Desk, token: str) -> Starlette:
    """The page and what it calls, under ``/<token>/``."""

    async def index(_request: Request) -> Response:
        return FileResponse(_PAGE / "index.html", media_type="text/html")

    async def items(_request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(desk.overview))

    async def item(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(desk.detail, request.path_params["key"]))

    async def raw(request: Request) -> Response:
        return PlainTextResponse(await run_in_threadpool(desk.raw, request.path_params["answer"]))

    async def film(request: Request) -> Response:
        path = await run_in_threadpool(desk.film, request.path_params["key"])
        return FileResponse(path, media_type="video/mp4")

    async def save(request: Request) -> Response:
        key, said = request.path_params["key"], await _said(request, base=int, segments=list, none=bool)
        await run_in_threadpool(desk.save, key, said["base"], said["segments"], said["none"])
        return JSONResponse(await run_in_threadpool(desk.detail, key))

    async def take_back(request: Request) -> Response:
        key, said = request.path_params["key"], await _said(request, base=int)
        await run_in_threadpool(desk.take_back, key, said["base"])
        return JSONResponse(await run_in_threadpool(desk.detail, key))

    async def decide(request: Request) -> Response:
        said = await _said(request, decision=str, reason=str)
        status = await run_in_threadpool(desk.decide, request.path_params["answer"], said["decision"], said["reason"])
        return JSONResponse({"status": status})

    async def handle(request: Request) -> Response:
        await _said(request)
        await run_in_threadpool(desk.handle, request.path_params["key"])
        return JSONResponse({})

    async def write(request: Request) -> Response:
        said = await _said(request, subject=str, text=str)
        await run_in_threadpool(desk.write, request.path_params["answer"], said["subject"], said["text"])
        return JSONResponse({})

    routes = [
        Route("/", index),
        Mount("/page", StaticFiles(directory=_PAGE)),
        Route("/items", items),
        Route("/items/{key}", item),
        Route("/film/{key}", film),
        Route("/raw/{answer}", raw),
        Route("/save/{key}", save, methods=["POST"]),
        Route("/take-back/{key}", take_back, methods=["POST"]),
        Route("/decide/{answer}", decide, methods=["POST"]),
        Route("/handle/{key}", handle, methods=["POST"]),
        Route("/write/{answer}", write, methods=["POST"]),
    ]
    handlers: dict[Any, Any] = {KlocError: _refuse, Refusal: _refuse, Exception: _fail}
    mounted = [Mount(f"/{token}", routes=routes)]
    return Starlette(routes=mounted, middleware=[Middleware(_Gate)], exception_handlers=handlers)


def serve(desk: Desk, *, port: int = 0, browse: bool, say: Callable[[str], None]) -> None:
    """Serve until Ctrl-C; ``browse`` opens the page. Raises :class:`CrowdError` where the port is taken."""
    token = secrets.token_urlsafe(24)
    listening = listen(HOST, port)
    address = f"http://{HOST}:{listening.getsockname()[1]}/{token}/"

    def ready() -> None:
        say(f"review at {address}")
        say("whoever has this address can review; stop with Ctrl-C")
        if browse:
            webbrowser.open(address)

    Server(create_app(desk, token), ready).run(sockets=[listening])


class _Gate:
    """Lets in who asks for this very host from this very page, and puts the policy on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name.lower() for name, _ in message["headers"]} & set(_HEADERS)
                kept = [pair for pair in message["headers"] if pair[0].lower() not in own]
                message = {**message, "headers": [*kept, *_HEADERS.items()]}
            await send(message)

        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        here = {f"{name}:{scope['server'][1]}" for name in (HOST, "localhost")}
        if host not in here:
            return await PlainTextResponse("this is not the host you asked for\n", 421)(scope, receive, sealed)
        origin = headers.get(b"origin", f"http://{host}".encode()).decode("latin-1")
        # A typed address is "none", our own page "same-origin"; whatever else a browser says comes from elsewhere.
        site = headers.get(b"sec-fetch-site", b"none").decode("latin-1")
        if scope["method"] == "POST" and (origin != f"http://{host}" or site not in ("none", "same-origin")):
            return await PlainTextResponse("only the review page itself may do that\n", 403)(scope, receive, sealed)
        return await self._app(scope, receive, sealed)


async def _said(request: Request, **kinds: type) -> dict[str, Any]:
    """The request's JSON object with exactly these members. Raises :class:`UsageError`."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise UsageError("the request is not JSON")
    try:
        said = json.loads(await body_of(request, _MAXIMUM_BODY))
    except (ValueError, RecursionError):
        raise UsageError("the request is not JSON") from None
    if not isinstance(said, dict) or set(said) != set(kinds) or any(type(said[k]) is not t for k, t in kinds.items()):
        raise UsageError(f"the request must say {', '.join(kinds)}")
    return said


async def _refuse(_request: Request, error: Exception) -> Response:
    if isinstance(error, Refusal):
        return JSONResponse({"error": error.message}, error.status)
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    for kind, answer in (
        (OutdatedError, HTTPStatus.CONFLICT),
        (UsageError, HTTPStatus.BAD_REQUEST),
        (UnreachableError, HTTPStatus.BAD_GATEWAY),
        (CrowdError, HTTPStatus.UNPROCESSABLE_ENTITY),
    ):
        if isinstance(error, kind):
            status = answer
            break
    return JSONResponse({"error": str(error)}, status)


async def _fail(_request: Request, error: Exception) -> Response:
    traceback.print_exception(error, file=sys.stderr)
    return JSONResponse({"error": "the review page failed; the terminal says why. Nothing saved is lost."}, 500)
