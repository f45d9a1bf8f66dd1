"""The socket and the HTTP server under an app: how it starts, how it is told to stop."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue

import uvicorn
from starlette.applications import Starlette

from kloc.errors import CrowdError


class Server(uvicorn.Server):
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
                # uvicorn would believe X-Forwarded-* of whoever calls from this machine; we do where told to.
                proxy_headers=False,
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


@contextmanager
def in_thread(app: Starlette, listening: socket.socket) -> Iterator[None]:
    """Serve ``app`` from a thread of this process for as long as the block lasts."""
    started: SimpleQueue[bool] = SimpleQueue()
    server = Server(app, lambda: started.put(True))

    def work() -> None:
        try:
            server.run(sockets=[listening])
        finally:
            started.put(False)

    thread = threading.Thread(target=work, name="kloc server", daemon=True)
    thread.start()
    try:
        if not started.get():
            raise CrowdError("the server could not start; its log says why")
        yield
    finally:
        server.should_exit = True
        thread.join()


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at ``host``; port 0 picks a free one. Raises :class:`CrowdError` where it cannot."""
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
                f"port {port} on {host} is in use: another server may be running; stop it or choose another (--port)"
            ) from error
        reason = error.strerror or str(error)
        raise CrowdError(f"cannot listen on {host} port {port}: {reason}; choose another host or port") from error
    listening.listen(2048)
    return listening
