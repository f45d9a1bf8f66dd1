"""Putting the three apps together and serving them until told to stop."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from queue import SimpleQueue

import uvicorn
from sqlalchemy import text
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from kloc.crowd.endpoint import media, pages, wire, worker
from kloc.crowd.endpoint.context import Context
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

    ready: called with the endpoint's address once it answers. Raises :class:`CrowdError` when it cannot start.
    """
    listening = _listen(settings)
    server = _Server(create_app(settings), lambda: (ready or _ignore)(address(settings, listening)))
    if until_stdin_closes:
        threading.Thread(target=server.stop_at_end_of, args=(0,), daemon=True).start()
    server.run(sockets=[listening])
    if server.failed:
        raise CrowdError("the endpoint could not start; its log says why")


@contextmanager
def running(settings: EndpointSettings, *, clock: Callable[[], float] = time.time) -> Iterator[str]:
    """An endpoint in a thread of this process, for as long as the block lasts; gives its address."""
    listening = _listen(settings)
    started: SimpleQueue[bool] = SimpleQueue()
    server = _Server(create_app(settings, clock=clock), lambda: started.put(True))

    def work() -> None:
        try:
            server.run(sockets=[listening])
        finally:
            started.put(False)

    thread = threading.Thread(target=work, name="kloc endpoint", daemon=True)
    thread.start()
    try:
        if not started.get():
            raise CrowdError("the endpoint could not start; its log says why")
        yield address(settings, listening)
    finally:
        server.should_exit = True
        thread.join()


def address(settings: EndpointSettings, listening: socket.socket) -> str:
    """The address the endpoint answers at: ``public_url``, or host and port as they are."""
    if settings.public_url is not None:
        return settings.public_url
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """uvicorn, told what to do at start and end by us rather than by its own signal conventions."""

    def __init__(self, app: Starlette, started: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                # What goes wrong inside a request is in our own log already.
                log_level="critical",
                access_log=False,
                server_header=False,
                ws="none",
                lifespan="on",
                # Longer than clients keep idle connections: a request never meets a closing one.
                timeout_keep_alive=75,
                timeout_graceful_shutdown=5,
            )
        )
        self._tell = started
        self.failed = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._tell()
        else:
            self.failed = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop in order on SIGTERM and SIGINT and return; uvicorn would raise the signal once more at the end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        caught = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, self.handle_exit) for number in caught}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def stop_at_end_of(self, descriptor: int) -> None:
        try:
            while os.read(descriptor, 4096):
                continue
        except OSError as error:  # no standard input at all: nobody could ever end it
            print(f"standard input cannot be read ({error.strerror}): stopping", file=sys.stderr)
        self.should_exit = True


async def _settle_for_ever(context: Context) -> None:
    while True:
        await asyncio.sleep(_SETTLE_EVERY)
        try:
            await run_in_threadpool(context.settle)
        except Exception as error:  # the next round may succeed; meanwhile it is on record
            context.log.fault("settle", error=repr(error))


def _listen(settings: EndpointSettings) -> socket.socket:
    host, port = settings.host, settings.port
    listening: socket.socket | None = None
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
    except OSError as error:
        if listening is not None:
            listening.close()
        if error.errno == errno.EADDRINUSE:
            raise CrowdError(
                f"port {port} on {host} is in use: another endpoint may be running; stop it or choose another port"
            ) from error
        reason = error.strerror or str(error)
        raise CrowdError(f"cannot listen on {host} port {port}: {reason}; choose another host or port") from error
    listening.listen(2048)
    return listening


def _ignore(_url: str) -> None:
    return None
