"""A real campaign on disk for the measures of the crowd: workspace, endpoint process, workers, books."""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from defusedxml.ElementTree import fromstring
from sqlalchemy import select

from kloc.crowd import money
from kloc.crowd.endpoint import admin
from kloc.crowd.endpoint.database import Database
from kloc.crowd.endpoint.tables import APPROVED, HANDED_IN, Assignment, Bonus, Hit
from kloc.formats import labels_csv
from kloc.pipeline import pool, serving
from kloc.pipeline.telling import Silent
from kloc.store.tables import AssignmentRow, HitRow, RoundRow
from kloc.video.write import write_video
from kloc.workspace import Workspace

#: A worker breathes between two tasks, so that answers come in while others are fetched.
LONGEST_BREATH_S = 1.5
REWARD, PER_HIT, LABEL = "0.10", 3, "jump"
REWARD_MILLS, MILLS_PER_CENT = money.parse_dollars(REWARD), money.MILLS_PER_DOLLAR // 100


def write_tiny_video(path: Path) -> Path:
    """Three seconds that a browser could seek in; a few kilobytes."""
    frames = (np.full((48, 64, 3), 5 * index % 256, np.uint8) for index in range(45))
    write_video(path, frames, 15)
    return path


def make_workspace(root: Path, video: Path, count: int, endpoint_url: str, **changes: Any) -> None:
    """A workspace at ``root`` with ``count`` videos that are all the same file, ready for `kloc select`."""
    files = root.with_name(f"{root.name}-videos")
    files.mkdir()
    names = [f"video-{index:04d}" for index in range(count)]
    for name in names:
        os.link(video, files / f"{name}.mp4")
    labels_csv.write(files / "labels.csv", dict.fromkeys(names, (LABEL,)), dict.fromkeys(names, "training"))
    settings = {"selection.strategy": "random", "task.reward": REWARD, "task.assignments": PER_HIT}
    pool.init(root, **{"general.name": "crowd", "crowd.endpoint": endpoint_url, **settings, **changes})
    workspace = Workspace.open(root)
    pool.add(workspace, [str(files), str(files / "labels.csv")], reporter=Silent())
    workspace.close()


def kloc(root: Path, *arguments: str, log: Path | None = None) -> subprocess.Popen[str]:
    """`kloc ARGUMENTS` in the workspace, as a process."""
    command = [sys.executable, "-m", "kloc", *arguments, "--workspace", str(root)]
    errors: Any = subprocess.PIPE if log is None else log.open("a")
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, text=True)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Endpoint:
    """`kloc crowd serve` of a workspace, always on the same port, to be killed and started again."""

    def __init__(self, root: Path, port: int) -> None:
        self.root, self.port, self.url = root, port, f"http://127.0.0.1:{port}"
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.process = kloc(self.root, "crowd", "serve", "--port", str(self.port), log=self.root / "serve.log")
        for _ in range(600):
            if serving.answers(self.url):
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError(f"the endpoint did not start: {(self.root / 'serve.log').read_text()[-500:]}")

    def end(self, number: signal.Signals) -> None:
        """End it by a signal: SIGKILL in mid-work, SIGTERM in order."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait()
            self.process = None


def hire(root: Path, count: int) -> dict[str, str]:
    """Workers with the tokens that open their pages, by name."""
    workspace = Workspace.open(root)
    workspace.crowd.mkdir(exist_ok=True)
    crew = {f"worker-{index:03d}": secrets.token_urlsafe(24) for index in range(count)}
    for name, token in crew.items():
        admin.ensure_worker(serving.database_url(workspace), name, token)
    workspace.close()
    return crew


def made_up_answer(chance: random.Random, duration: float, *, padding: int = 0) -> str:
    """An answer's JSON as the page sends it, about some of ``duration`` seconds, at least ``padding`` bytes long."""
    start, end = sorted(round(chance.uniform(0, duration), 3) for _ in range(2))
    answer = {
        "version": 1,
        "segments": [{"label": LABEL, "start": start, "end": end + 0.05, "origin": "own"}],
        "none": False,
        "seconds_spent": round(chance.uniform(2, 4) * duration, 1),
        "watched": [[0.0, duration]],
        "guideline": "",
        "prefilled": False,
        "comment": f"ä<&>\n{chance.random()}{'.' * padding}",
    }
    return json.dumps(answer, ensure_ascii=False)


class Hands(threading.Thread):
    """One worker who hands in whatever is open, patiently, through a proxy that fails, until told to stop.

    ``sent`` holds what was handed in first, by assignment. Now and then a worker sends another answer after the first
    was acknowledged: it must not count.
    """

    def __init__(self, url: str, token: str, duration: float, seed: int) -> None:
        super().__init__(daemon=True)
        self.url, self.token, self.duration, self.over = url, token, duration, threading.Event()
        self.chance = random.Random(seed)
        self.sent: dict[str, str] = {}
        self.requests = self.repeated = 0
        self.refused: list[str] = []

    def run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=30.0, headers={"Accept": "application/json"}) as http:
            while not self.over.is_set():
                home = self._ask(http, "GET", f"/w/{self.token}")
                tasks = home.json()["open"] if home is not None else []
                self.chance.shuffle(tasks)
                for task in tasks:
                    if self._do(http, task["hit_id"]):
                        self.over.wait(self.chance.uniform(0.0, LONGEST_BREATH_S))
                if not tasks:
                    self.over.wait(LONGEST_BREATH_S)

    def _do(self, http: httpx.Client, hit_id: str) -> bool:
        """Whether there was a place, and an answer was handed in."""
        lease = self._ask(http, "POST", f"/w/{self.token}/accept/{hit_id}")
        if lease is None or lease.status_code == httpx.codes.CONFLICT:
            return False  # somebody else was faster
        assignment_id = lease.json()["assignment_id"]
        for count in range(2 if self.chance.random() < 0.1 else 1):
            answer = made_up_answer(self.chance, self.duration)
            if count == 0:
                self.sent[assignment_id] = answer
            form = {"assignmentId": assignment_id, "answer": answer}
            done = self._ask(http, "POST", "/mturk/externalSubmit", form)
            self.repeated += count
            if done is not None and done.is_error:
                self.refused.append(f"{done.status_code} {done.text[:200]}")
        return True

    def _ask(self, http: httpx.Client, method: str, path: str, form: dict[str, str] | None = None) -> Any:
        """The answer, however often it takes; ``None`` once told to stop."""
        while not self.over.is_set():
            self.requests += 1
            try:
                answer = http.request(method, path, data=form)
            except httpx.TransportError:
                pass
            else:
                if answer.status_code != httpx.codes.TOO_MANY_REQUESTS and answer.status_code < 500:
                    return answer
            self.over.wait(self.chance.uniform(0.0, 0.1))
        return None


@dataclass(frozen=True)
class Books:
    """What both sides have written down. Money in mills; raw answers by assignment."""

    #: Of the store: the ledger, the HITs whose id it knows, the answers, those it could not read, the rounds it closed.
    ledger: money.Balance
    created: set[str]
    kept: dict[str, str]
    unreadable: list[str]
    closed: int
    #: Of the endpoint: how many HITs carry each annotation, the answers, what it approved and gave on top.
    published: Counter[str]
    handed_in: dict[str, str]
    paid: int


def read_books(workspace: Workspace) -> Books:
    """The store's first, then the endpoint's: what the one has booked, the other has approved before."""
    with workspace.store.transaction() as session:
        ledger = money.balance(session)
        created = {hit for hit in session.scalars(select(HitRow.hit_id)) if hit is not None}
        rows = list(session.scalars(select(AssignmentRow)))
        closed = len(session.scalars(select(RoundRow.index).where(RoundRow.state == "done")).all())
    database = Database(serving.database_url(workspace))
    with database.read() as session:
        published = Counter(text or "" for text in session.scalars(select(Hit.requester_annotation)))
        work = session.scalars(select(Assignment).where(Assignment.status.in_(HANDED_IN))).all()
        bonuses = sum(session.scalars(select(Bonus.amount)))
    database.close()
    return Books(
        ledger=ledger,
        created=created,
        kept={row.assignment_id: row.raw for row in rows},
        unreadable=[f"{row.assignment_id}: {row.problem}" for row in rows if row.problem is not None],
        closed=closed,
        published=published,
        handed_in={one.id: one.answer or "" for one in work},
        paid=MILLS_PER_CENT * (bonuses + sum(one.reward for one in work if one.status == APPROVED)),
    )


def answer_in(raw: str) -> str:
    """The page's answer inside a QuestionFormAnswers document."""
    (answer,) = (one for one in fromstring(raw) if one[0].text == "answer")
    return answer[1].text or ""
