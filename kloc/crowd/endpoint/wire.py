"""The requester's wire: AWS JSON 1.1 over ``POST /``, signed with Signature Version 4."""

from __future__ import annotations

import json
import time
import traceback
import uuid
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from kloc.crowd.endpoint import signature
from kloc.crowd.endpoint.context import Context
from kloc.crowd.endpoint.database import lock_account
from kloc.crowd.endpoint.faults import Refusal, RequestError, SignatureError, invalid
from kloc.crowd.endpoint.limits import body_of
from kloc.crowd.endpoint.money import to_cents
from kloc.crowd.endpoint.operations import OPERATIONS, UNSUPPORTED, Call, Parameters

TARGET = "MTurkRequesterServiceV20170117."
#: A question has at most 64 KiB, escaped in JSON at most six times as much.
_MAXIMUM_BODY = 2**20


def app(context: Context) -> Starlette:
    """The app to mount at the endpoint's address."""

    async def answer(request: Request) -> Response:
        try:
            body = await body_of(request, _MAXIMUM_BODY)
        except Refusal as refusal:
            return _json(413, {"__type": "RequestEntityTooLargeException", "Message": refusal.message})
        return await run_in_threadpool(respond, context, request, body)

    async def hello(request: Request) -> Response:
        """Whoever types the bare address is a person: they sign in, or use the link they were given."""
        try:
            return RedirectResponse(f"{context.base(request)}/login", HTTPStatus.SEE_OTHER)
        except Refusal as refusal:
            return PlainTextResponse(f"{refusal.message}\n", refusal.status)

    return Starlette(routes=[Route("/", answer, methods=["POST"]), Route("/", hello, methods=["GET"])])


def respond(context: Context, request: Request, body: bytes) -> Response:
    """Check, run and log one request; whatever happens, the answer is one that AWS clients understand."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    name = headers.get("x-amz-target", "").removeprefix(TARGET)
    facts: dict[str, Any] = {"operation": name[:64]}
    try:
        # The machine's clock, whatever the endpoint's own says: a client signs with its machine's.
        signature.verify(
            headers,
            body,
            access_key=context.settings.access_key,
            secret_key=context.settings.secret_key,
            now=time.time(),
            places=_places(context, headers.get("host", "")),
        )
        answer = _json(200, _run(context, name, _parameters(body)))
    except SignatureError as error:
        facts["error"] = error.kind
        answer = _json(403, {"__type": error.kind, "message": error.message})
    except RequestError as error:
        facts["error"] = error.code
        message = f"{error.message} ({int(time.time() * 1000)})"
        answer = _json(400, {"__type": "RequestError", "Message": message, "TurkErrorCode": error.code})
    except Exception as error:  # the border of the process: reported in full, answered as the wire wants it
        context.log.fault("fault", operation=name[:64], error=repr(error), trace=traceback.format_exc())
        facts["error"] = "ServiceFault"
        message = "The endpoint failed; nothing was changed. Its log says why."
        answer = _json(
            500, {"__type": "ServiceFault", "Message": message, "TurkErrorCode": "AWS.MechanicalTurk.ServiceFault"}
        )
    context.log.event("operation", **facts, status=answer.status_code)
    return answer


def _run(context: Context, name: str, parameters: Parameters) -> dict[str, Any]:
    if name not in OPERATIONS:
        why = f"is not supported: {UNSUPPORTED[name]}" if name in UNSUPPORTED else "is not one of the Requester API"
        raise RequestError("UnsupportedOperation", f"The operation {name[:64]!r} {why}.")
    function, writes = OPERATIONS[name]
    context.settle()
    balance = to_cents(context.settings.balance) or 0
    with context.database.write() if writes else context.database.read() as session:
        if writes:
            lock_account(session)
        return function(Call(session, parameters, context.now(), balance))


def _parameters(body: bytes) -> Parameters:
    try:
        values = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise invalid("the request's body is not JSON") from error
    if not isinstance(values, dict):
        raise invalid("the request's body is not a JSON object")
    return Parameters(values)


def _places(context: Context, host: str) -> list[tuple[str, str]]:
    places = [(host, "/")]
    if context.settings.public_url is not None:
        parts = urlsplit(context.settings.public_url)
        places += [(parts.netloc, path) for path in (parts.path or "/", f"{parts.path}/")]
    return places


def _json(status: int, value: dict[str, Any]) -> Response:
    return Response(
        json.dumps(value, ensure_ascii=True, allow_nan=False),
        status,
        {"x-amzn-RequestId": str(uuid.uuid4()), "Cache-Control": "no-store"},
        "application/x-amz-json-1.1",
    )
