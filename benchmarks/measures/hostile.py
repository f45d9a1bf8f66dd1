"""What 2,000 hostile answers can do: over real HTTP, ingested by kloc, looked at on the review page in Chromium."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks import annotator
from benchmarks.harness import Context, Figure, measure
from benchmarks.hostile import GOOD, HONEST, LABEL, Attack, attacks, script
from benchmarks.small_campaign import JSON, Review, make_workspace, token_of
from kloc.crowd.answers import storable
from kloc.crowd.endpoint.database import Database
from kloc.crowd.endpoint.leases import MOST_HELD
from kloc.crowd.endpoint.listening import in_thread, listen
from kloc.crowd.endpoint.server import running
from kloc.crowd.endpoint.tables import SUBMITTED, Assignment
from kloc.pipeline import serving
from kloc.pipeline.reviewing import Desk
from kloc.review.server import HOST, create_app
from kloc.store.tables import AssignmentRow, ReportRow

PER_VIDEO = 50
#: Scripts that are let loose on a page without defences, to see that the trap works.
CONTROL = 15
STRANGER = "a stranger"
#: Raw answers that are opened on the review page, one of so many.
RAW_EVERY = 10


class Canary:
    """A server that nobody has a reason to call: a script that runs gives itself away here."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        canary = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                canary.calls.append(self.path)
                self.send_error(404)

            def log_message(self, *args: object) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def listening(self) -> Iterator[Canary]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


@dataclass
class Storm:
    """What was sent and what came of it; every list but the first two should be empty."""

    sent: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    let_in: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    unmarked: list[str] = field(default_factory=list)
    miscounted: list[str] = field(default_factory=list)
    paid: list[str] = field(default_factory=list)
    executed: list[str] = field(default_factory=list)
    #: How many of the scripts do run on a page that takes text for markup.
    control: int = 0
    looked_at: int = 0
    #: What the workers are called.
    names: list[str] = field(default_factory=list)
    ingest_s: float = 0.0


@dataclass
class _Sent:
    attack: Attack
    video: str
    assignment_id: str
    #: in, refused, reported
    end: str


class _Front:
    """The hostile side: one lease for every attack."""

    def __init__(self, review: Review, database: Database, storm: Storm) -> None:
        self._review, self._database, self._storm = review, database, storm
        self._http = review.http

    def send(self, attack: Attack, worker: str, video: str, hit_id: str) -> _Sent:
        assignment_id = self._review.lease(worker, hit_id)
        end = getattr(self, f"_{attack.way}")(attack, assignment_id)
        if attack.expected == "refused" and end != "refused":
            self._storm.let_in.append(f"{attack.kind}: {attack.body[:80]!r}")
        self._storm.sent[attack.kind] += 1
        self._storm.outcomes[end] += 1
        return _Sent(attack, video, assignment_id, end)

    def _call(self, attack: Attack, method: str, path: str, **more: Any) -> int:
        """The status; whatever says that the server failed is noted."""
        status = self._http.request(method, f"{self._review.url}{path}", **more).status_code
        if status >= 500:
            self._storm.failed.append(f"{attack.kind}: {method} {path.split('/')[1]} -> {status}")
        return status

    def _hand_in(self, attack: Attack, assignment_id: str, body: bytes, content_type: str) -> str:
        body = body.replace(b"%ID%", assignment_id.encode())
        headers = JSON | {"Content-Type": content_type}
        status = self._call(attack, "POST", "/mturk/externalSubmit", content=body, headers=headers)
        return "in" if status == 200 else "refused"

    def _honest(self, attack: Attack, assignment_id: str) -> str:
        return self._hand_in(attack, assignment_id, HONEST, "application/x-www-form-urlencoded")

    def _submit(self, attack: Attack, assignment_id: str) -> str:
        return self._hand_in(attack, assignment_id, attack.body, attack.content_type)

    def _twice(self, attack: Attack, assignment_id: str) -> str:
        end = self._submit(attack, assignment_id)
        self._hand_in(attack, assignment_id, HONEST.replace(b"5.0", b"9.0"), attack.content_type)
        return end

    def _raw(self, attack: Attack, assignment_id: str) -> str:
        with self._database.write() as session:
            row = session.get_one(Assignment, assignment_id)
            row.status, row.answer = SUBMITTED, attack.body.decode()
            row.submit_time = time.time()
            row.auto_approval_time = row.submit_time + 7 * 86_400
        return "in"

    def _draft(self, attack: Attack, assignment_id: str) -> str:
        headers = {"Content-Type": attack.content_type}
        self._call(attack, "PUT", f"/draft/{assignment_id}", content=attack.body, headers=headers)
        self._call(attack, "GET", f"/draft/{assignment_id}")
        return self._honest(attack, assignment_id)

    def _report(self, attack: Attack, assignment_id: str) -> str:
        headers = {"Content-Type": attack.content_type}
        if self._call(attack, "POST", f"/report/{assignment_id}", content=attack.body, headers=headers) == 200:
            return "reported"
        return self._honest(attack, assignment_id)

    def _foreign(self, attack: Attack, assignment_id: str) -> str:
        """Others try to get at the lease, and at leases that are none; then its holder hands in."""
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        guess = HONEST.replace(b"%ID%", assignment_id[::-1].encode())
        stranger = token_of(STRANGER)
        tries = [
            self._call(attack, "POST", "/mturk/externalSubmit", content=guess, headers=JSON | form),
            self._call(attack, "GET", f"/w/{stranger}/task/{assignment_id}", headers=JSON),
            self._call(attack, "POST", f"/w/{stranger}/return/{assignment_id}", headers=JSON),
            self._call(attack, "POST", f"/w/{stranger[:-1]}0/return/{assignment_id}", headers=JSON),
            self._call(attack, "GET", f"/frame/{assignment_id}", headers=JSON),
        ]
        if min(tries) < 400:
            self._storm.let_in.append(f"{attack.kind}: {tries}")
        return self._honest(attack, assignment_id)


def storm(folder: Path, browser: Any, *, seed: int, count: int) -> Storm:
    """Send ``count`` attacks, ingest, look. ``browser`` is a real one."""
    found = Storm()
    videos = [f"v{i:02d}" for i in range(-(-count // PER_VIDEO))]
    workspace = make_workspace(folder / "w", videos, **{"task.assignments": PER_VIDEO})
    settings = serving.endpoint_settings(workspace, port=0)
    settings = type(settings)(**{**vars(settings), "requests_per_second": 1e6})
    with Canary().listening() as canary, running(settings) as url, httpx.Client(timeout=60) as http:
        review = Review(workspace, url, http)
        review.publish(len(videos))
        database = Database(settings.database_url)
        sent = _send(review, database, found, attacks(seed, count, canary.url), canary)
        began = time.perf_counter()
        review.ingest()
        found.ingest_s = time.perf_counter() - began
        _compare(review, database, found, sent)
        database.close()
        if http.get(f"{url}/healthz").status_code != 200:
            found.failed.append("the endpoint does not answer any more")
        log = (workspace.crowd / "access.log").read_text(errors="replace").splitlines()
        found.failed += [line[:300] for line in log if "error" in json.loads(line)]
        _look(review, browser, canary, found)
    workspace.close()
    return found


def _send(review: Review, database: Database, found: Storm, made: list[Attack], canary: Canary) -> list[_Sent]:
    """Every worker's name is an attack of its own: the requester reads it. Nobody may hold more than a few tasks."""
    rng = np.random.default_rng(len(made))
    review.hire(STRANGER)
    hits = list(review.hits().items())
    front = _Front(review, database, found)
    crews = -(-len(hits) // MOST_HELD)
    sent = []
    for index, attack in enumerate(made):
        number, place = divmod(index, len(hits))
        worker = number * crews + place // MOST_HELD
        if worker == len(found.names):
            found.names.append(f"{worker} {script(rng, canary.url)}")
        sent.append(front.send(attack, found.names[worker], *hits[place]))
    return sent


def _compare(review: Review, database: Database, found: Storm, sent: list[_Sent]) -> None:
    """What the campaign store says of everything that was sent."""
    with review.workspace.store.transaction() as session:
        rows = {row.assignment_id: row for row in session.query(AssignmentRow)}
        reports = session.query(ReportRow).filter(ReportRow.id > 0).count()
    with database.read() as session:
        listed = {row.id: row.answer for row in session.query(Assignment)}
    if reports != found.outcomes["reported"]:
        found.lost.append(f"{found.outcomes['reported']} reports were taken, {reports} arrived")
    counted: Counter[str] = Counter()
    for one in sent:
        row, about = rows.get(one.assignment_id), f"{one.attack.kind}: {one.attack.body[:200]!r}"
        if one.end != "in":
            if row is not None:
                found.let_in.append(about)
            continue
        if row is None or row.raw != storable(listed[one.assignment_id] or ""):
            found.lost.append(about)
            continue
        counted[one.video] += row.problem is None
        if one.attack.expected == "marked" and row.problem is None:
            found.unmarked.append(about)
        if row.problem is not None and row.status == "Approved":
            found.paid.append(about)
        # After a draft or a report that was refused an honest answer followed; bytes at random may mean anything.
        honest = one.attack.expected == "counted" or one.attack.way in ("draft", "report")
        if honest and (row.answer or {}).get("segments") != [{"start": GOOD[0], "end": GOOD[1], "label": LABEL}]:
            found.miscounted.append(f"{about}: {row.problem}")
    desk = Desk(review.workspace, url=review.url)
    for line in desk.overview()["items"]:
        consensus = desk.detail(line["key"])["consensus"]
        times = [(i["start"], i["end"], i["label"], i["asked"]) for i in consensus["instances"]]
        if times != [(*GOOD, LABEL, counted[line["video_id"]])]:
            found.miscounted.append(
                f"the consensus of {line['video_id']}: {times}, {counted[line['video_id']]} answers"
            )


def _look(review: Review, browser: Any, canary: Canary, found: Storm) -> None:
    """Open everything on the review page and on workers' pages; whatever runs or calls out is noted."""
    found.control = _control(browser, canary)
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    tab = context.new_page()
    tab.set_default_timeout(60_000)
    for event in ("pageerror", "dialog", "popup", "download"):
        tab.on(event, lambda what, event=event: found.executed.append(f"{event}: {what}"))
    listening = listen(HOST, 0)
    with in_thread(create_app(Desk(review.workspace, url=review.url), "a-token-of-the-measure"), listening):
        address = f"http://{HOST}:{listening.getsockname()[1]}/a-token-of-the-measure/"
        tab.goto(address)
        tab.locator("body[data-ready]").wait_for()
        for video in [name.inner_text() for name in tab.locator(".video .name").all()]:
            tab.locator(".video", has_text=video).click()
            tab.locator("#title", has_text=video).wait_for()
            for number in range(tab.locator("button.lane-name").count()):
                tab.keyboard.press("j")
                found.looked_at += 1
                if number % RAW_EVERY == 0:
                    tab.get_by_role("button", name="As it came", exact=True).click()
                    tab.locator("#raw[aria-busy=false]").wait_for()
                    tab.keyboard.press("Escape")
            _astray(tab, address, found)
        for name in ("raw/" + next(iter(_unreadable(review))), "items"):
            tab.goto(address + name)
            _astray(tab, address, found)
    tab.goto(f"{review.url}/w/{token_of(next(iter(found.names)))}")
    _astray(tab, review.url, found)
    context.close()
    found.executed += canary.calls


def _unreadable(review: Review) -> list[str]:
    with review.workspace.store.transaction() as session:
        rows = session.query(AssignmentRow).filter(AssignmentRow.problem.is_not(None))
        return [row.assignment_id for row in rows if "script" in row.raw]


def _astray(tab: Any, address: str, found: Storm) -> None:
    if tab.evaluate("window.kloc_hit") is not None:
        found.executed.append(f"a script ran on {tab.url}")
    if not tab.url.startswith(address):
        found.executed.append(f"the page went to {tab.url}")


def _control(browser: Any, canary: Canary) -> int:
    """How many of :data:`CONTROL` scripts give themselves away where text is taken for markup: the trap has to work."""
    rng = np.random.default_rng(0)
    caught = 0
    context = browser.new_context()
    for _ in range(CONTROL):
        tab = context.new_page()
        tab.set_content(f"<p>{script(rng, canary.url)}</p>", wait_until="load")
        tab.wait_for_load_state("networkidle")
        caught += bool(tab.evaluate("window.kloc_hit")) or bool(canary.calls)
        canary.calls.clear()
        tab.close()
    context.close()
    canary.calls.clear()
    return caught


@measure("hostile", "hostile answers over HTTP and in what an endpoint lists: none crashes, runs, is lost or is paid")
def hostile(context: Context) -> list[Figure]:
    """2,000 of them (150 at small scale), ingested and opened in the review page in Chromium."""
    program = annotator.chromium()
    if program is None:
        context.say("  left out: Chromium is not installed")
        return []
    count = 2000 if context.full else 150
    with annotator.browser(program) as browser:
        found = storm(context.scratch, browser, seed=context.seed, count=count)
    parts = {
        "crashed the endpoint": found.failed,
        "let in though not allowed": found.let_in,
        "executed in a page": found.executed,
        "lost or altered": found.lost,
        "bad and not marked": found.unmarked,
        "bad and paid": found.paid,
        "good and not counted right": found.miscounted,
    }
    return [
        Figure("hostile answers", count, detail={"kinds": dict(found.sent), "ends": dict(found.outcomes)}),
        *(Figure(name, len(list_), at_most=0, detail={"first": list_[:5]}) for name, list_ in parts.items()),
        Figure(f"scripts of {CONTROL} that run on a page without defences", found.control, at_least=CONTROL / 2),
        Figure("answers opened in the review page", found.looked_at),
        Figure("ingest", round(found.ingest_s, 2), "s"),
    ]
