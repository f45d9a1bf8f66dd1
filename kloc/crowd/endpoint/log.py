"""The access log: one JSON object per line, quiet by default. Tokens and ids that open doors never get in."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kloc.errors import CrowdError

_SECRET_PATH = re.compile(r"^/(w|frame/preview|frame|draft|report)/([^/]+)|/(task|return|test)/([^/]+)")


class Log:
    """Writes events to a file, to standard error (``-``), or nowhere; faults go to standard error in any case."""

    def __init__(self, target: str | None) -> None:
        self._lock = threading.Lock()
        self._own: IO[str] | None = None
        self._stream: IO[str] | None = sys.stderr if target == "-" else None
        if target is not None and target != "-":
            try:
                self._own = self._stream = Path(target).open("a", encoding="utf-8", buffering=1)  # noqa: SIM115
            except OSError as error:
                raise CrowdError(
                    f"cannot write the endpoint's log {target}: {error.strerror}; make it writable"
                ) from error

    @property
    def on(self) -> bool:
        return self._stream is not None

    def event(self, name: str, **facts: Any) -> None:
        self._write(self._stream, name, facts)

    def fault(self, name: str, **facts: Any) -> None:
        """Something that should not have happened."""
        self._write(self._stream or sys.stderr, name, facts)

    def close(self) -> None:
        if self._own is not None:
            self._own.close()
            self._own = self._stream = None

    def _write(self, stream: IO[str] | None, name: str, facts: dict[str, Any]) -> None:
        if stream is None:
            return
        line = json.dumps({"time": round(time.time(), 3), "event": name, **facts}, default=str)
        with self._lock:
            stream.write(line + "\n")
            stream.flush()


def shown_path(path: str) -> str:
    """A path without the capability in it; a short hash still tells callers apart."""

    def mask(match: re.Match[str]) -> str:
        part, secret = (match[1], match[2]) if match[1] else (match[3], match[4])
        return f"/{part}/~{hashlib.sha256(secret.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"

    return _SECRET_PATH.sub(mask, path)


class AccessLog:
    """ASGI middleware that notes every request. Query strings carry signatures and are left out."""

    def __init__(self, app: ASGIApp, log: Log) -> None:
        self.app, self.log = app, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self.log.on:
            await self.app(scope, receive, send)
            return
        begun, status = time.monotonic(), 0

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, note)
        finally:
            milliseconds = round((time.monotonic() - begun) * 1000, 1)
            path = shown_path(scope["path"])
            self.log.event("request", method=scope["method"], path=path, status=status, ms=milliseconds)
