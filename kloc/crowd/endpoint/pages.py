"""Answering people: autoescaped templates, strict headers, and the same words as JSON for programs."""

from __future__ import annotations

import secrets
import traceback
from datetime import datetime
from functools import cache
from http import HTTPStatus
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from kloc.crowd.endpoint.context import Context, wants_json
from kloc.crowd.endpoint.faults import Refusal
from kloc.crowd.endpoint.money import to_dollars

#: On every answer of the worker app: the address holds a token, so it goes to nobody, and nothing is kept.
HEADERS = {
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("kloc.crowd.endpoint"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(dollars=to_dollars, clock=_clock, minutes=_minutes, moment=_moment)
    return environment


def page(
    template: str, *, status: int = 200, frame: str = "'none'", ancestors: str = "'none'", **values: Any
) -> Response:
    """One of our own pages. frame: the origin it may frame; ancestors: who may frame it."""
    nonce = secrets.token_urlsafe(16)
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; "
        f"connect-src 'self'; form-action 'self'; frame-src {frame}; frame-ancestors {ancestors}; base-uri 'none'"
    )
    html = rendered(template, nonce=nonce, **values)
    return HTMLResponse(html, status, {**HEADERS, "Content-Security-Policy": policy})


def rendered(template: str, **values: Any) -> str:
    """One of our templates as HTML."""
    return _templates().get_template(template).render(**values)


def _clock(seconds: float) -> str:
    """A video's length: ``1:05``."""
    return f"{int(round(seconds) // 60)}:{int(round(seconds) % 60):02d}"


def _minutes(seconds: float) -> str:
    """A time to work: ``45 s``, ``10 min``, ``1 h 30 min``, ``2 days``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    whole = round(seconds / 60)
    if whole >= 2880:
        return f"{whole / 1440:.0f} days"
    hours, rest = divmod(whole, 60)
    return " ".join(part for part in (f"{hours} h" if hours else "", f"{rest} min" if rest else "") if part)


def _moment(when: float) -> Markup:
    """A point in time, in the clock of the server's place."""
    local = datetime.fromtimestamp(when).astimezone()
    return Markup("<time datetime='{}'>{}</time>").format(
        local.isoformat("T", "seconds"), f"{local.day} {local:%b %Y, %H:%M}"
    )


def data(value: Any, status: int = 200) -> Response:
    return JSONResponse(value, status, HEADERS)


def framed_html(html: str, origin: str) -> Response:
    """Somebody's HTML as it is, walled in twice: by the frame's sandbox and by this policy.

    A sandboxed document's origin is opaque, so ``'self'`` would match nothing: our origin is spelled out.
    """
    policy = (
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; font-src data:; "
        f"img-src {origin} data: blob:; media-src {origin} blob:; connect-src {origin}; form-action {origin}; "
        f"frame-ancestors {origin}; base-uri 'none'; sandbox allow-scripts allow-forms"
    )
    return HTMLResponse(html, 200, {**HEADERS, "Content-Security-Policy": policy})


def refused(
    request: Request, refusal: Refusal, home: str | None = None, base: str | None = None, ancestors: str = "'none'"
) -> Response:
    """A refusal in words, or as ``{"error": ...}``. home: the worker's page; base: where to sign in instead."""
    if wants_json(request):
        response = data({"error": refusal.message}, refusal.status)
    else:
        status, message = refusal.status, refusal.message
        response = page("refused.html", status=status, ancestors=ancestors, message=message, home=home, base=base)
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
