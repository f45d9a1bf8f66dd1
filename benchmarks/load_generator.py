"""Many workers at once, each as a browser would: one asyncio process, pinned to one core, one connection per worker.

``python -m benchmarks.load_generator PLAN.json`` reads a :class:`Plan` and prints what it measured as JSON. A worker
opens their page, takes the next task, loads its shell and frame, reads ranges of its video, saves drafts, submits, and
thinks in between. All begin at a random place of that loop, as if they had been at it for long.
"""

from __future__ import annotations

import asyncio
import html
import json
import os
import random
import re
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from benchmarks.campaigns import made_up_answer

RANGES, DRAFTS, RANGE_BYTES = 10, 6, 256 * 1024
#: One loop of a worker; what stands between two steps is thought about.
STEPS = ("page", *["range"] * RANGES, *["draft"] * DRAFTS, "submit")
#: A page is four requests in a row.
REQUESTS = len(STEPS) + 3
_FRAME = re.compile(r'<iframe[^>]* src="([^"]+)"')


@dataclass(frozen=True)
class Plan:
    """What to do: ``tokens`` of the workers, seconds to measure, seconds to think from and to, the core to stay on."""

    url: str
    tokens: list[str]
    seconds: float
    think: tuple[float, float]
    seed: int
    core: int | None = None
    #: Characters beside the segments, in drafts and answers.
    padding: int = 2000


@dataclass
class Record:
    """What was measured: seconds by kind, what went wrong, the answers that were acknowledged, by assignment."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    errors: list[str] = field(default_factory=list)
    acknowledged: dict[str, str] = field(default_factory=dict)
    lag: list[float] = field(default_factory=list)
    measured_s: float = 0.0


class Connection:
    """HTTP/1.1 over one connection that is kept, as a browser keeps it."""

    def __init__(self, host: str, port: int) -> None:
        self._place = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers by small name, body."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._place, limit=2**20)
        reader, writer = self._streams
        host = "{}:{}".format(*self._place)
        lines = {"Host": host, "Content-Length": str(len(body)), "Accept": "text/html", **(headers or {})}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        first, *rest = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        got = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest if line)}
        content = await reader.readexactly(int(got.get("content-length", 0)))
        if got.get("connection") == "close":
            self.close()
        return int(first.split()[1]), got, content

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class Worker:
    """One worker with their lease."""

    def __init__(self, plan: Plan, number: int, record: Record) -> None:
        self.plan, self.record = plan, record
        self.chance = random.Random(f"{plan.seed}:{number}")
        self.token = plan.tokens[number]
        parts = urlsplit(plan.url)
        self.connection = Connection(parts.hostname or "", parts.port or 80)
        self.place = self.chance.randrange(len(STEPS))
        self.assignment = self.media = ""
        self.size = 0

    async def begin(self) -> None:
        """Hold a task where the loop is entered in the middle of one; not measured."""
        if self.place:
            await self.page(Record())

    async def work(self, until: float) -> None:
        think = self.plan.think
        await asyncio.sleep(self.chance.uniform(0, think[1]))
        while time.perf_counter() < until:
            step = STEPS[self.place]
            try:
                await getattr(self, step)(self.record)
            except (OSError, asyncio.IncompleteReadError, AssertionError, IndexError, KeyError) as error:
                self.record.errors.append(f"{step}: {type(error).__name__} {error}")
                self.connection.close()
            self.place = (self.place + 1) % len(STEPS)
            await asyncio.sleep(self.chance.uniform(*think))
        self.connection.close()

    async def page(self, record: Record) -> None:
        """Home, next task, its shell, its frame: one after another, as a browser follows them."""
        began = time.perf_counter()
        home = f"/w/{self.token}"
        await self._ask(record, "home", "GET", home, 200)
        _, got, _ = await self._ask(record, "accept", "POST", f"{home}/next", 303)
        task = urlsplit(got["location"]).path
        _, _, shell = await self._ask(record, "task", "GET", task, 200)
        address = urlsplit(html.unescape(_FRAME.findall(shell.decode())[0]))
        await self._ask(record, "frame", "GET", f"{address.path}?{address.query}", 200)
        record.seconds["page"].append(time.perf_counter() - began)
        media = urlsplit(parse_qs(address.query)["mediaUrl"][0])
        self.assignment, self.media, self.size = task.rsplit("/", 1)[1], f"{media.path}?{media.query}", 0

    async def range(self, record: Record) -> None:
        """Bytes from somewhere in the video."""
        start = self.chance.randrange(max(self.size - RANGE_BYTES, 1)) if self.size else 0
        headers = {"Range": f"bytes={start}-{start + RANGE_BYTES - 1}", "Accept": "*/*"}
        _, got, _ = await self._ask(record, "range", "GET", self.media, 206, headers=headers)
        self.size = int(got["content-range"].rsplit("/", 1)[1])

    async def draft(self, record: Record) -> None:
        body = made_up_answer(self.chance, 60.0, padding=self.plan.padding).encode()
        headers = {"Content-Type": "application/json", "Accept": "*/*"}
        await self._ask(record, "draft", "PUT", f"/draft/{self.assignment}", 204, body, headers)

    async def submit(self, record: Record) -> None:
        answer = made_up_answer(self.chance, 60.0, padding=self.plan.padding)
        body = urlencode({"assignmentId": self.assignment, "answer": answer}).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        await self._ask(record, "submit", "POST", "/mturk/externalSubmit", 200, body, headers)
        record.acknowledged[self.assignment] = answer

    async def _ask(
        self,
        record: Record,
        kind: str,
        method: str,
        path: str,
        expected: int,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        began = time.perf_counter()
        status, got, content = await self.connection.send(method, path, body, headers)
        record.seconds[kind].append(time.perf_counter() - began)
        assert status == expected, f"{kind}: status {status}: {content[:200]!r}"
        return status, got, content


async def generate(plan: Plan) -> Record:
    """Let all workers work; everything begun in time is finished."""
    record = Record()
    crew = [Worker(plan, number, record) for number in range(len(plan.tokens))]
    for worker in crew:
        await worker.begin()
    began = time.perf_counter()
    until = began + plan.seconds
    lag = asyncio.create_task(_lag(record))
    await asyncio.gather(*(worker.work(until) for worker in crew))
    record.measured_s = time.perf_counter() - began
    lag.cancel()
    return record


async def _lag(record: Record) -> None:
    """How late this process itself wakes up: what it adds to every time it measures."""
    while True:
        began = time.perf_counter()
        await asyncio.sleep(0.05)
        record.lag.append(time.perf_counter() - began - 0.05)


def main() -> None:
    values: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    plan = Plan(**values)
    if plan.core is not None:
        os.sched_setaffinity(0, {plan.core})
    record = asyncio.run(generate(plan))
    json.dump(record.__dict__, sys.stdout)


if __name__ == "__main__":
    main()
