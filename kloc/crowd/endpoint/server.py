"""Putting the three apps together and serving them until told to stop."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from ipaddress import ip_address
from pathlib import Path

from sqlalchemy import text
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from kloc.crowd.endpoint import media, pages, wire, worker
from kloc.crowd.endpoint.context import Context
from kloc.crowd.endpoint.listening import Server, in_thread, listen
from kloc.crowd.endpoint.log import AccessLog
from kloc.crowd.endpoint.settings import EndpointSettings
from kloc.errors import CrowdError

#: How often answers that nobody has judged are looked for, beside every call that could show them, seconds.
_SETTLE_EVERY = 60.0


def create_app(settings: EndpointSettings, *, clock: Callable[[], float] = time.time) -> Starlette:
    """The whole endpoint as one ASGI app. Raises :class:`CrowdError` where its database or media cannot be used.

    clock: epoch seconds for leases, expiry and approval; tests move it. Signatures go by the machine's clock.
    """
    if not Path(settings.media_folder).is_dir():
        raise CrowdError(
            f"the endpoint's media_folder {os.fspath(settings.media_folder)} is not a folder; make it first"
        )
    context = Context(settings, clock)

    def healthz(_request: Request) -> Response:
        with context.database.read() as session:
            session.execute(text("select 1"))
        return JSONResponse({"status": "ok"})

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        settling = asyncio.create_task(_settle_for_ever(context))
        try:
            yield
        finally:
            settling.cancel()
            context.close()

    return Starlette(
        routes=[
            Route("/healthz", healthz, methods=["GET"]),
            Mount("/media", media.app(context)),
            Route("/", wire.app(context)),
            Mount("/", worker.app(context)),
        ],
        middleware=[Middleware(AccessLog, log=context.log)],
        exception_handlers={Exception: pages.Fault(context)},
        lifespan=lifespan,
    )


def serve(
    settings: EndpointSettings,
    *,
    ready: Callable[[str], None] | None = None,
    until_stdin_closes: bool = False,
) -> None:
    """Serve until SIGTERM, SIGINT or (where asked) the end of standard input, so that no parent leaves it behind.

    ready: called with the endpoint's address once it answers. An endpoint at one of this machine's outer addresses
    answers at 127.0.0.1 as well: kloc's own commands call there. Raises :class:`CrowdError` when it cannot start.
    """
    listening = [listen(settings.host, settings.port)]
    place, port = listening[0].getsockname()[:2]
    if not (ip_address(place).is_loopback or ip_address(place).is_unspecified):
        listening.append(listen("127.0.0.1", port))
    server = Server(create_app(settings), lambda: (ready or _ignore)(address(listening[0])))
    if until_stdin_closes:
        threading.Thread(target=server.stop_at_end_of, args=(0,), daemon=True).start()
    server.run(sockets=listening)
    if server.failed:
        raise CrowdError("the endpoint could not start; its log says why")


@contextmanager
def running(settings: EndpointSettings, *, clock: Callable[[], float] = time.time) -> Iterator[str]:
    """An endpoint in a thread of this process, for as long as the block lasts; gives its address."""
    listening = listen(settings.host, settings.port)
    with in_thread(create_app(settings, clock=clock), listening):
        yield address(listening)


def address(listening: socket.socket) -> str:
    """The address at which this machine reaches the endpoint; workers may know it by its ``public_url``."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _settle_for_ever(context: Context) -> None:
    while True:
        await asyncio.sleep(_SETTLE_EVERY)
        try:
            await run_in_threadpool(context.settle)
        except Exception as error:  # the next round may succeed; meanwhile it is on record
            context.log.fault("settle", error=repr(error))


def _ignore(_url: str) -> None:
    return None
