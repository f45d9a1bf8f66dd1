"""A TCP proxy for HTTP that breaks what passes, by chance or by plan: throttles, faults, answers lost, torn or whole.

It stands between real clients and a real server. What it breaks *after* the server has acted is what matters most:
a client that cannot know whether its request was carried out must find out without doing it twice.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Fate = Literal["passed", "throttle", "unheard", "fault_before", "fault_after", "lost", "torn", "no_range"]
#: What happens to a request, by its method and path.
Choose = Callable[[str, str], Fate]

_CONNECTION = re.compile(rb"^connection:[^\r\n]*\r\n", re.IGNORECASE | re.MULTILINE)
_LENGTH = re.compile(rb"^content-length:\s*(\d+)", re.IGNORECASE | re.MULTILINE)
_RANGE = re.compile(rb"^(range|accept-ranges):[^\r\n]*\r\n", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class Faults:
    """What happens to a request, as probabilities that exclude one another. By default 30 % throttles, 10 % faults."""

    throttle: float = 0.30
    #: Status 500, the server has not been asked.
    fault_before: float = 0.05
    #: Status 500, the server has acted.
    fault_after: float = 0.05
    #: The server has acted, the connection is reset without a byte.
    lost: float = 0.03
    #: The server has acted, the connection ends in the middle of its answer.
    torn: float = 0.02

    def by_chance(self, seed: int) -> Choose:
        """Draws each request's fate."""
        chance, shares = random.Random(seed), asdict(self)
        fates: list[Any] = [*shares, "passed"]
        weights = [*shares.values(), 1 - sum(shares.values())]
        return lambda method, path: chance.choices(fates, weights)[0]


@dataclass
class Plan:
    """``faults``: (start of a path, what goes wrong there, how often); ``None`` times: until it is taken out.

    "unheard" closes the connection before the server hears of the request, "no_range" has it send the whole file.
    """

    faults: list[tuple[str, Fate, int | None]] = field(default_factory=list)

    def __call__(self, method: str, path: str) -> Fate:
        for index, (start, fate, times) in enumerate(self.faults):
            if path.startswith(start) and method != "OPTIONS":
                if times is not None:
                    self.faults[index : index + 1] = [(start, fate, times - 1)] if times > 1 else []
                return fate
        return "passed"


class FlakyProxy:
    """One proxy before ``upstream`` (host, port). ``counts`` says what happened to how many requests."""

    def __init__(self, upstream: tuple[str, int], choose: Choose) -> None:
        self.upstream, self.counts, self.url = upstream, Counter[str](), ""
        self._choose = choose

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request of one connection; closed afterwards, so that every request meets its own fate."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            body = await reader.readexactly(int(length[1])) if length else b""
            method, path, _ = head.decode("latin-1").split(" ", 2)
            fate = self._choose(method, path)
            answer = await self._answer(fate, head, body)
            writer.write(answer)
            if fate in ("lost", "torn") or not answer:
                await writer.drain()
                writer.transport.abort()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.counts["left by the client"] += 1
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, fate: Fate, head: bytes, body: bytes) -> bytes:
        """The bytes that go back to the client."""
        wire = b"x-amz-target:" in head.lower()
        if fate == "throttle":
            self.counts[fate] += 1
            return _throttled(wire, self.counts[fate] % 2 == 0)
        if fate == "unheard":
            self.counts[fate] += 1
            return b""
        if fate == "fault_before":
            self.counts[fate] += 1
            return _fault(wire)
        answer = await self._forwarded(_RANGE.sub(b"", head) if fate == "no_range" else head, body)
        self.counts[fate if answer else "server away"] += 1
        if not answer or fate == "lost":
            return b""
        if fate == "torn":
            return answer[: len(answer) // 2]
        if fate == "no_range":
            top, end, content = answer.partition(b"\r\n\r\n")
            return _RANGE.sub(b"", top + b"\r\n") + end[2:] + content
        return _fault(wire) if fate == "fault_after" else answer

    async def _forwarded(self, head: bytes, body: bytes) -> bytes:
        """The server's whole answer; empty where the server is away or dies meanwhile."""
        line, rest = head.split(b"\r\n", 1)
        try:
            reader, writer = await asyncio.open_connection(*self.upstream)
            writer.write(line + b"\r\nConnection: close\r\n" + _CONNECTION.sub(b"", rest) + body)
            answer = await reader.read(-1)
            writer.close()
        except OSError:
            return b""
        top, _, content = answer.partition(b"\r\n\r\n")
        length = _LENGTH.search(top)
        return answer if not length or head.startswith(b"HEAD") or len(content) == int(length[1]) else b""


@contextmanager
def running(upstream: tuple[str, int], choose: Choose) -> Iterator[FlakyProxy]:
    """A proxy in a thread of this process, for as long as the block lasts."""
    proxy = FlakyProxy(upstream, choose)
    loop, listening = asyncio.new_event_loop(), threading.Event()

    async def work() -> None:
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, limit=2**20, backlog=512)
        proxy.url = "http://{}:{}".format(*server.sockets[0].getsockname())
        listening.set()
        await server.serve_forever()

    def run() -> None:
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(task)

    task = loop.create_task(work())
    thread = threading.Thread(target=run, name="flaky proxy", daemon=True)
    thread.start()
    try:
        listening.wait()
        yield proxy
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()


def _throttled(wire: bool, plain: bool) -> bytes:
    """As AWS throttles: most services by their own exception, Mechanical Turk also by a request error that says so."""
    if not wire:
        return _json("429 Too Many Requests", {"error": "Too many requests at once; please wait a moment."})
    if plain:
        return _json("400 Bad Request", {"__type": "ThrottlingException", "message": "Rate exceeded"})
    said = {"Message": "Throttling: rate exceeded (1)", "TurkErrorCode": "AWS.MechanicalTurk.ServiceFault"}
    return _json("400 Bad Request", {"__type": "RequestError", **said})


def _fault(wire: bool) -> bytes:
    said = {"__type": "ServiceFault", "Message": "Internal failure (1)"} if wire else {"error": "Internal Server Error"}
    return _json("500 Internal Server Error", said)


def _json(status: str, value: dict[str, str]) -> bytes:
    body = json.dumps(value).encode()
    lines = (
        f"HTTP/1.1 {status}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    return "\r\n".join((*lines, "", "")).encode() + body
