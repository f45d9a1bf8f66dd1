"""A real HTTP proxy in front of an endpoint that fails on request, as networks and servers do."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx

Fault = Literal["drop before", "drop after", "no range", "503"]
_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding", "date", "server"}


@dataclass
class FaultyProxy:
    """``faults``: (start of a path, what goes wrong there, how often); ``None`` times: until it is taken out.

    "drop before" closes the connection before the endpoint hears of the request, "drop after" when it has acted,
    "no range" sends the whole file whatever part was asked for.
    """

    upstream: str
    url: str = ""
    faults: list[tuple[str, Fault, int | None]] = field(default_factory=list)
    #: Method and path of everything that was asked for.
    seen: list[tuple[str, str]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next_fault(self, method: str, path: str) -> Fault | None:
        with self._lock:
            self.seen.append((method, path))
            for index, (start, fault, times) in enumerate(self.faults):
                if path.startswith(start) and method != "OPTIONS":
                    if times is not None:
                        self.faults[index : index + 1] = [(start, fault, times - 1)] if times > 1 else []
                    return fault
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Browsers hang up when they have seen enough; that is no error of ours."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def _handler(proxy: FaultyProxy, client: httpx.Client) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def drop(self) -> None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fault = proxy.next_fault(self.command, urlsplit(self.path).path)
            if fault == "drop before":
                self.drop()
                return
            if fault == "503":
                self.send_response(503)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            headers = [(name, value) for name, value in self.headers.items() if name.lower() not in _HOP]
            if fault == "no range":
                headers = [(name, value) for name, value in headers if name.lower() != "range"]
            answer = client.request(self.command, proxy.upstream + self.path, headers=headers, content=body)
            if fault == "drop after":
                self.drop()
                return
            self.send_response(answer.status_code)
            for name, value in answer.headers.multi_items():
                if name.lower() not in _HOP and not (fault == "no range" and name.lower() == "accept-ranges"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            if self.command != "HEAD":
                try:
                    self.wfile.write(answer.content)
                except OSError:  # a browser that has seen enough of a video hangs up
                    self.close_connection = True

    for method in ("GET", "HEAD", "POST", "PUT", "OPTIONS"):
        setattr(Handler, f"do_{method}", Handler.handle_any)

    return Handler


@contextmanager
def in_front_of(upstream: str) -> Iterator[FaultyProxy]:
    """Run a proxy on this machine for as long as the block lasts."""
    proxy = FaultyProxy(upstream)
    limits = httpx.Limits(max_connections=64)
    with httpx.Client(timeout=60, limits=limits, headers={"Accept-Encoding": "identity"}) as client:
        server = _Server(("127.0.0.1", 0), _handler(proxy, client))
        proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
