"""Answering people: autoescaped templates, strict headers, and the same words as JSON for programs."""

from __future__ import annotations

import secrets
import traceback
from functools import cache
from http import HTTPStatus
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from kloc.crowd.endpoint.context import Context, wants_json
from kloc.crowd.endpoint.faults import Refusal

#: On every answer of the worker app: the address holds a token, so it goes to nobody, and nothing is kept.
_HEADERS = {
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("kloc.crowd.endpoint"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def page(
    template: str, *, status: int = 200, frame: str = "'none'", ancestors: str = "'none'", **values: Any
) -> Response:
    """One of our own pages. frame: the origin it may frame; ancestors: who may frame it."""
    nonce = secrets.token_urlsafe(16)
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; "
        f"connect-src 'self'; form-action 'self'; frame-src {frame}; frame-ancestors {ancestors}; base-uri 'none'"
    )
    html = _templates().get_template(template).render(nonce=nonce, **values)
    return HTMLResponse(html, status, {**_HEADERS, "Content-Security-Policy": policy})


def data(value: Any, status: int = 200) -> Response:
    return JSONResponse(value, status, _HEADERS)


def framed_html(html: str, origin: str) -> Response:
    """Somebody's HTML as it is, walled in twice: by the frame's sandbox and by this policy.

    A sandboxed document's origin is opaque, so ``'self'`` would match nothing: our origin is spelled out.
    """
    policy = (
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; font-src data:; "
        f"img-src {origin} data: blob:; media-src {origin} blob:; connect-src {origin}; form-action {origin}; "
        f"frame-ancestors {origin}; base-uri 'none'; sandbox allow-scripts allow-forms"
    )
    return HTMLResponse(html, 200, {**_HEADERS, "Content-Security-Policy": policy})


def refused(request: Request, refusal: Refusal, home: str | None = None, ancestors: str = "'none'") -> Response:
    """A refusal in words, or as ``{"error": ...}``."""
    if wants_json(request):
        response = data({"error": refusal.message}, refusal.status)
    else:
        response = page("refused.html", status=refusal.status, ancestors=ancestors, message=refusal.message, home=home)
    if refusal.status == HTTPStatus.TOO_MANY_REQUESTS:
        response.headers["Retry-After"] = "2"
    return response


class Fault:
    """Answers what nobody expected, after it has been reported. Each mounted app needs it, and each passes it on."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def __call__(self, request: Request, error: Exception) -> Response:
        if request.scope.get("kloc.fault") is not error:
            request.scope["kloc.fault"] = error
            trace = "".join(traceback.format_exception(error))
            self._context.log.fault("fault", method=request.method, error=repr(error), trace=trace)
        message = "The endpoint failed; please try again. Nothing you have saved is lost."
        response = data({"error": message}, HTTPStatus.INTERNAL_SERVER_ERROR)
        # A sandboxed page that may read this knows that it should try again.
        response.headers["Access-Control-Allow-Origin"] = "*"
        return response
