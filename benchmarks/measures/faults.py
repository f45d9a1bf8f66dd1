"""Throttles, faults, lost answers and kill -9 between kloc and its endpoint: every HIT, answer and cent once."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks import flaky_proxy
from benchmarks.campaigns import (
    MILLS_PER_CENT,
    PER_HIT,
    REWARD_MILLS,
    Books,
    Endpoint,
    Hands,
    answer_in,
    free_port,
    hire,
    kloc,
    make_workspace,
    read_books,
    write_tiny_video,
)
from benchmarks.flaky_proxy import Faults
from benchmarks.harness import Context, Figure, load_average, measure
from benchmarks.postgres import AbsentError, cluster
from kloc.crowd.money import MILLS_PER_DOLLAR, dollars
from kloc.pipeline import selecting
from kloc.pipeline.telling import Silent
from kloc.workspace import Workspace

WORKERS = 5
#: Within what time the first kills come, in units of what a command takes that does nothing.
PUBLISHING, INGESTING = 1.6, 3.0
#: What a command says that gave up for now because of the faults; it is run again.
GAVE_UP = ("is the endpoint running?", "the endpoint failed", "Throttling", "Rate exceeded")


@dataclass
class Trial:
    """One campaign under faults, and what was found wrong with its books."""

    workspace: Workspace
    endpoint: Endpoint
    cap: int
    chance: random.Random
    kills: Counter[str] = field(default_factory=Counter)
    gave_up: list[str] = field(default_factory=list)
    #: How many of the kills came before all was done.
    working: int = 0
    runs: int = 0
    highest: int = 0
    #: Seconds that a command takes which does nothing, as loaded as this machine is.
    pace: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def disturb(self, command: list[str], kills: int, longest_s: float, done: Callable[[Books], bool]) -> None:
        """Run a command again and again until it is done; kill it or the endpoint up to so many times meanwhile.

        The first kills come within ``longest_s`` of a start or the kill before, later ones within what the last run
        took that ended by itself. The first third of that is spared: there a process is only starting.
        """
        until = self.kills.total() + kills
        while not done(self.check()):
            began = time.perf_counter()
            process = kloc(self.workspace.root, *command)
            self.runs += 1
            while self.kills.total() < until and self._outlives(process, longest_s * self.chance.uniform(0.3, 1.0)):
                self._kill(process, command[0])
            if process.poll() == 0:
                longest_s = time.perf_counter() - began
            self._end(process, command[0])

    def check(self) -> Books:
        """Both books as they are; notes what must never be, whoever was killed when."""
        books = read_books(self.workspace)
        self.highest = max(self.highest, books.ledger.exposure)
        twice = [text for text, count in books.published.items() if count > 1]
        for broken, what in (
            (books.ledger.exposure > self.cap, f"{dollars(books.ledger.exposure)} promised, over the cap"),
            (twice, f"published twice: {twice}"),
            (books.ledger.committed > books.paid, f"{books.ledger} but {dollars(books.paid)} approved"),
            (books.paid > books.ledger.exposure, f"{dollars(books.paid)} approved, more than promised"),
            (not books.kept.keys() <= books.handed_in.keys(), "an answer that nobody handed in"),
        ):
            if broken:
                self.wrong.append(what)
        return books

    def _outlives(self, process: subprocess.Popen[str], seconds: float) -> bool:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def _kill(self, process: subprocess.Popen[str], name: str) -> None:
        victim = self.chance.choice([name, "crowd serve"])
        self.kills[victim] += 1
        if victim == name:
            process.send_signal(signal.SIGKILL)
            process.wait()
        else:
            self.endpoint.end(signal.SIGKILL)
        self.check()
        if victim != name:
            self.endpoint.start()

    def _end(self, process: subprocess.Popen[str], name: str) -> None:
        _, said = process.communicate()
        if process.returncode in (0, -signal.SIGKILL):
            return
        self.gave_up.append(said.strip()[-300:])
        if not any(words in said for words in GAVE_UP):
            raise RuntimeError(f"kloc {name} failed: {said.strip()[-800:]}")


@dataclass(frozen=True)
class Size:
    """How much is published, in how many rounds, how often something is killed, and what is granted on top.

    ``extra``: so many cents' worth of further answers and bonuses fit under the cap, where more would be wanted.
    """

    hits: int
    rounds: int
    kills: int
    extra: int = 0

    @property
    def cap(self) -> int:
        return self.hits * PER_HIT * REWARD_MILLS + self.extra * MILLS_PER_CENT

    @property
    def settings(self) -> dict[str, Any]:
        """Of the workspace. Made-up answers agree with nobody: every video is in doubt, every worker as good."""
        on_top = {"crowd.bonus": "0.05", "crowd.bonus_quality": 0.0} if self.extra else {}
        return {
            "selection.batch": self.hits // self.rounds,
            "crowd.max_spend": plain(self.cap),
            "crowd.extra_answers": int(self.extra > 0),
            **on_top,
        }


def run_trial(folder: Path, size: Size, seed: int, **changes: Any) -> list[Figure]:
    """The figures of a campaign under all faults at once; ``changes`` are settings of its workspace.

    Two fifths of the kills come while publishing, the rest while ingesting.
    """
    began, load = time.perf_counter(), load_average()
    folder.mkdir()
    video = write_tiny_video(folder / "tiny.mp4")
    port = free_port()
    with flaky_proxy.running(("127.0.0.1", port), Faults().by_chance(seed)) as proxy:
        make_workspace(folder / "workspace", video, size.hits, proxy.url, **{**size.settings, **changes})
        workspace = Workspace.open(folder / "workspace")
        trial = Trial(workspace, Endpoint(workspace.root, port), size.cap, random.Random(seed))
        tokens = hire(workspace.root, WORKERS).values()
        crew = [Hands(proxy.url, token, 3.0, seed + number) for number, token in enumerate(tokens)]
        trial.endpoint.start()
        try:
            for worker in crew:
                worker.start()
            for number in range(size.rounds):
                _round(trial, number, size)
            trial.working = trial.kills.total()
            trial.disturb(
                ["ingest"], size.kills - trial.working, trial.pace, lambda _: trial.kills.total() >= size.kills
            )
        finally:
            for worker in crew:
                worker.over.set()
            for worker in crew:
                worker.join()
            trial.endpoint.end(signal.SIGTERM)
        books = trial.check()
        workspace.close()
    detail = {
        "seconds": round(time.perf_counter() - began),
        "load_1min": load,
        "rounds": size.rounds,
        "seconds of a command that does nothing": round(trial.pace, 2),
        "kills before all was done": trial.working,
        "commands run": trial.runs,
        "gave up and were run again": len(trial.gave_up),
        "last words": sorted({words[-120:] for words in trial.gave_up})[:5],
        "requests": dict(proxy.counts),
        "workers' requests": sum(worker.requests for worker in crew),
        "answers sent again with another content": sum(worker.repeated for worker in crew),
    }
    return _figures(trial, books, crew, size, detail)


def _round(trial: Trial, number: int, size: Size) -> None:
    selecting.select(trial.workspace, batch=None, reporter=Silent())
    batch = size.hits // size.rounds
    _try_in_vain(trial, batch if number == 0 else 0)
    # What a round had no time for the next one makes up for; what is left in the end falls on commands that are done.
    due = size.kills * (number + 1) // size.rounds - trial.kills.total()
    publish = ["publish-hits", "--max-spend", plain(trial.cap)]
    trial.disturb(
        publish, 2 * due // 5, PUBLISHING * trial.pace, lambda books: len(books.created) == (number + 1) * batch
    )
    due = size.kills * (number + 1) // size.rounds - trial.kills.total()

    def closed(books: Books) -> bool:
        return books.closed > number and not books.ledger.outstanding

    trial.disturb(["ingest"], due, INGESTING * trial.pace, closed)


def _try_in_vain(trial: Trial, batch: int) -> None:
    """A dry run, for what it takes; before the first round also a cap one cent too low. Neither publishes anything."""
    before = trial.check().published
    began = time.perf_counter()
    kloc(trial.workspace.root, "publish-hits", "--dry-run").communicate()
    trial.pace = time.perf_counter() - began
    if batch:
        too_little = plain(batch * PER_HIT * REWARD_MILLS - MILLS_PER_CENT)
        kloc(trial.workspace.root, "publish-hits", "--max-spend", too_little).communicate()
    if trial.check().published != before:
        trial.wrong.append("published by a dry run, or although the cap is too low")


def plain(mills: int) -> str:
    """Dollars as a setting takes them."""
    return dollars(mills).removeprefix("$")


def _figures(trial: Trial, books: Books, crew: list[Hands], size: Size, detail: dict[str, Any]) -> list[Figure]:
    sent = {assignment: text for worker in crew for assignment, text in worker.sent.items()}
    answers = size.hits * PER_HIT
    most = answers + size.extra * MILLS_PER_CENT // REWARD_MILLS
    changed = [a for a, raw in books.handed_in.items() if answer_in(raw) != sent.get(a) or books.kept.get(a) != raw]
    wrong = [*trial.wrong, *books.unreadable, *(text for worker in crew for text in worker.refused)]
    spent, cap = books.ledger.committed / MILLS_PER_DOLLAR, trial.cap / MILLS_PER_DOLLAR
    return [
        Figure("kills", trial.kills.total(), at_least=size.kills, detail={**trial.kills, **detail}),
        Figure("HITs at the endpoint", books.published.total(), at_least=size.hits, at_most=size.hits),
        Figure("HITs there that the store knows", len(books.created), at_least=size.hits, at_most=size.hits),
        Figure("answers at the endpoint", len(books.handed_in), at_least=answers, at_most=most),
        Figure("answers ingested", len(books.kept), at_least=len(books.handed_in), at_most=len(books.handed_in)),
        Figure("answers that are not what was sent first", len(changed), at_most=0),
        Figure("money spent less what was approved", abs(books.ledger.committed - books.paid), "mills", at_most=0),
        Figure("money spent", spent, "$", at_least=answers * REWARD_MILLS / MILLS_PER_DOLLAR, at_most=cap),
        Figure("highest promise less the cap", trial.highest - trial.cap, "mills", at_most=0),
        Figure("things wrong in the books after a kill", len(wrong), at_most=0, detail={"wrong": wrong[:20]}),
    ]


@measure("faults", "throttles, 500s, lost answers and kill -9 while publishing and ingesting: everything exactly once")
def faults(context: Context) -> list[Figure]:
    """500 HITs, 1,500 answers and 100 kills at full scale; 20, 60 and 4 at small. At full scale another campaign
    follows, with its store on PostgreSQL, further answers and bonuses."""
    size = Size(500, 5, 100) if context.full else Size(20, 1, 4)
    figures = run_trial(context.scratch / "campaign", size, context.seed)
    if context.full:
        for figure in figures:
            context.say(f"  {figure}")
        figures += _on_postgresql(context)
    return figures


def _on_postgresql(context: Context) -> list[Figure]:
    try:
        with cluster() as database:
            settings = {"general.store": database()}
            found = run_trial(context.scratch / "postgresql", Size(40, 1, 12, extra=500), context.seed + 1, **settings)
    except AbsentError as absent:
        context.say(f"  left out: {absent}")
        return []
    return [replace(figure, name=f"on PostgreSQL, with extras: {figure.name}") for figure in found]
