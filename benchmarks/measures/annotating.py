"""A worker's whole task in a real browser: what is stored, what faults cost, what an accessibility checker says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from benchmarks import annotator, timecodes
from benchmarks.flaky_proxy import FlakyProxy, Plan, running
from benchmarks.harness import Context, Figure, measure
from benchmarks.timecodes import CLOCK
from kloc.crowd.endpoint import admin
from kloc.crowd.page import MAX_BYTES
from kloc.files import write_json
from kloc.formats import labels_csv
from kloc.pipeline import campaign, pool, selecting, serving
from kloc.pipeline import crowd as publishing
from kloc.pipeline.telling import Silent
from kloc.seeds import generator
from kloc.store import crowd
from kloc.workspace import Workspace

LABEL = "long jump"
ARRIVED = "Thank you, your answer is in."
FULL = ("even", "ntsc", "late", "late-mkv", "variable", "late-variable")
SMALL = ("late", "variable")
#: The gate's video and what there is to mark in it, seconds.
GATE, GOLD = "short", ((2.0, 4.0), (6.0, 9.0))

#: For as long as ``window.astray`` is above 0, a seek of the video lands two seconds early.
ASTRAY = """() => {
  const video = document.getElementById("video");
  const real = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, "currentTime");
  Object.defineProperty(video, "currentTime", {
    get: () => real.get.call(video),
    set: (t) => real.set.call(video, window.astray-- > 0 ? Math.max(0, t - 2) : t),
  });
}"""


@dataclass
class Walk:
    """One campaign with its people, and what was seen on the way."""

    workspace: Workspace
    proxy: FlakyProxy
    plan: Plan
    browser: Any
    ticks: dict[str, NDArray[np.int64]]
    chance: np.random.Generator
    #: Whether every state of the pages is looked at, which takes more time than the walk itself.
    looks: bool = True
    #: What each worker marked: (worker, video) -> (first and last frame of each segment), by index.
    marked: dict[tuple[str, str], list[tuple[int, int]]] = field(default_factory=dict)
    #: Serious findings of axe-core, and the states that were looked at.
    findings: list[str] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    #: Names of those who have passed the gate.
    trained: set[str] = field(default_factory=set)
    #: Worker ids by name.
    workers: dict[str, str] = field(default_factory=dict)
    #: Bytes that the texts of a task may have beside kloc's own instructions and a class without rules.
    room: int = 0

    def token(self, name: str) -> str:
        token = f"{name}-" + "x" * 40
        self.workers[name] = admin.ensure_worker(serving.database_url(self.workspace), name, token)
        return token

    @contextmanager
    def tab(self, **options: Any) -> Iterator[Any]:
        """A fresh tab that fails when a script of the page throws."""
        settings = {"viewport": {"width": 1280, "height": 720}, **options}
        context = self.browser.new_context(**settings)
        context.add_init_script(annotator.READABLE)
        tab = context.new_page()
        errors: list[str] = []
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.set_default_timeout(annotator.PATIENCE_S * 1000)
        yield tab
        context.close()
        if errors:
            raise RuntimeError(f"a script of the page failed: {errors[0]}")

    def look(self, tab: Any, frame: Any, state: str) -> None:
        """Keep a screenshot and what axe-core says of the page in this state, in light and in dark."""
        if not self.looks:
            return
        for scheme in ("light", "dark"):
            tab.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            annotator.picture(tab, f"annotating-{state}-{scheme}")
            self.findings += [f"{state}, {scheme}: {line}" for line in annotator.severe(frame)]
        tab.emulate_media(color_scheme="light", reduced_motion="no-preference")
        self.states.append(state)


# -- the worker's doings --------------------------------------------------------------------------------------


def begin(walk: Walk, tab: Any, name: str, *, looking: bool = False) -> tuple[Any, str]:
    """Open the invitation, pass the gate where it is still shut, take a task; gives its frame and its video."""
    tab.goto(f"{walk.proxy.url}/w/{walk.token(name)}")
    if looking:
        walk.look(tab, tab, "home")
    if name not in walk.trained:
        practise(walk, tab, GOLD, looking=looking)
        walk.trained.add(name)
        tab.get_by_role("button", name="Start working").click()
    else:
        tab.get_by_role("button", name="Start the next task").click()
    tab.wait_for_url("**/task/*")
    frame = annotator.framed(tab)
    return frame, annotator.task_of(frame)["video_id"]


def practise(walk: Walk, tab: Any, marks: tuple[tuple[float, float], ...], *, looking: bool = False) -> None:
    """Read the instructions, mark the gold video, and hear what was right."""
    tab.locator("form[action*='/qualify/'] button").click()
    tab.wait_for_url("**/test/*")
    frame = annotator.framed(tab)
    if looking:
        frame.locator("#guide-box").wait_for(state="visible")
        walk.look(tab, frame, "instructions")
    read_instructions(tab, frame)
    for start, end in marks:
        for moment in (start, end):
            tab.mouse.click(*annotator.place(frame, moment, duration_of(frame), "#ruler"))
            annotator.press(tab, "a")
    annotator.hand_in(frame)
    frame.locator("#result").wait_for(state="visible")
    verdict = "Passed" if marks == GOLD else "Not yet"
    expect(frame.locator("#result-title").inner_text() == verdict, f"practice was not judged as {verdict!r}")
    if looking:
        walk.look(tab, frame, verdict.lower().replace(" ", "-"))


def read_instructions(tab: Any, frame: Any) -> None:
    frame.locator("#guide-box").wait_for(state="visible")
    annotator.press(tab, "Enter")
    frame.locator("#guide-box").wait_for(state="hidden")


def go_to_frame(walk: Walk, tab: Any, frame: Any, video: str, index: int, *, last: bool = False) -> None:
    ticks = walk.ticks[video]
    near, duration = (int(ticks[index]) - int(ticks[0])) / CLOCK, duration_of(frame)
    annotator.go_to(tab, frame, int(ticks[index]), near, duration, last=last)


def duration_of(frame: Any) -> float:
    return float(annotator.task_of(frame)["duration"])


def mark(walk: Walk, tab: Any, frame: Any, video: str, first: int, last: int, how: str = "keys") -> None:
    """Mark the frames ``first`` to ``last`` of the original, found by the numbers in the picture."""
    if how == "drag":  # roughly, then both edges exactly
        ticks, duration = walk.ticks[video], duration_of(frame)
        ends = [(int(ticks[k]) - int(ticks[0])) / CLOCK for k in (first, last)]
        annotator.drag(tab, *(annotator.place(frame, end, duration) for end in ends))
    for index, button in ((first, "start"), (last, "end")):
        go_to_frame(walk, tab, frame, video, index, last=button == "end")
        if how == "keys":
            annotator.press(tab, "a")
        elif how == "drag":
            annotator.press(tab, "[" if button == "start" else "]")
        else:
            frame.locator("#add").click()


def segments(walk: Walk, video: str) -> list[tuple[int, int]]:
    """Three segments that do not touch, as frame indices."""
    n = len(walk.ticks[video])
    cuts = np.sort(walk.chance.choice(np.arange(4, n - 4, 4), 6, replace=False))
    return [(int(a), int(b)) for a, b in cuts.reshape(3, 2)]


def submit(walk: Walk, tab: Any, frame: Any, name: str, video: str, found: list[tuple[int, int]]) -> None:
    annotator.hand_in(frame)
    tab.get_by_text(ARRIVED).wait_for()
    walk.marked[name, video] = found


def whole_task(walk: Walk, name: str) -> str:
    """Everything a worker does: keys and mouse, second thoughts, a closed tab, and the confirmation."""
    with walk.tab() as tab:
        frame, video = begin(walk, tab, name, looking=True)
        walk.room = MAX_BYTES - len(tab.request.get(frame.url).body())
        walk.look(tab, frame, "fresh")
        found = segments(walk, video)
        for pair, how in zip(found, ("keys", "mouse", "drag"), strict=True):
            mark(walk, tab, frame, video, *pair, how=how)
        marks = annotator.times(frame)
        annotator.press(tab, "Control+z", "Control+z", "Control+z")
        expect(annotator.times(frame) != marks, "undo took nothing back")
        annotator.press(tab, "Control+y", "Control+y", "Control+y")
        expect(annotator.times(frame) == marks, "redo did not bring everything back")
        frame.locator("#list .pick").last.click()
        annotator.drag_handle(tab, frame, "end", annotator.place(frame, duration_of(frame) - 0.3, duration_of(frame)))
        expect(annotator.times(frame) != marks, "the handle did not move")
        frame.locator("#undo").click()
        expect(annotator.times(frame) == marks, "undo did not move the handle back")
        annotator.press(tab, " ")
        annotator.wait_for(tab, lambda: frame.locator("#seen").inner_text() != "Watched 0 %", "playing")
        annotator.press(tab, " ")
        frame.wait_for_selector(".edges", state="visible")
        walk.look(tab, frame, "segments")
        for state, button in (("keys", "#help"), ("report", "#report")):
            frame.locator(button).click()
            walk.look(tab, frame, state)
            annotator.press(tab, "Escape")
        annotator.wait_for(tab, lambda: frame.locator("#saved").inner_text() == "Saved", "saving")
        tab.reload()
        frame = annotator.framed(tab)
        annotator.wait_for(tab, lambda: annotator.times(frame) == marks, "the draft")
        submit(walk, tab, frame, name, video, found)
        walk.look(tab, tab, "done")
    return video


def not_yet(walk: Walk, name: str) -> None:
    """Somebody who does not pass the gate gets no task."""
    with walk.tab() as tab:
        tab.goto(f"{walk.proxy.url}/w/{walk.token(name)}")
        practise(walk, tab, ((0.0, 1.0),), looking=True)
        tab.goto(f"{walk.proxy.url}/w/{walk.token(name)}")
        expect(tab.get_by_role("button", name="Start the next task").count() == 0, "the gate let somebody through")


def mark_exactly(walk: Walk, name: str) -> None:
    """One more video of the campaign, all by keys, on a device that has not shown the instructions yet."""
    with walk.tab() as tab:
        frame, video = begin(walk, tab, name)
        read_instructions(tab, frame)
        found = segments(walk, video)
        for pair in found:
            mark(walk, tab, frame, video, *pair)
        submit(walk, tab, frame, name, video, found)


# -- faults ---------------------------------------------------------------------------------------------------


def seek_error(walk: Walk, tab: Any, frame: Any, video: str, pair: tuple[int, int]) -> None:
    """Seeks land two seconds early: once, which the page mends, then again and again, which it says."""
    frame.evaluate(ASTRAY)
    frame.evaluate("window.astray = 1")
    mark(walk, tab, frame, video, *pair)
    expect(frame.locator("#alert").is_hidden(), "a seek that was mended is no cause for alarm")
    before = annotator.times(frame)
    frame.evaluate("window.astray = 99")
    tab.mouse.click(*annotator.place(frame, duration_of(frame) * 0.9, duration_of(frame), "#ruler"))
    frame.locator("#alert").wait_for(state="visible")
    frame.evaluate("window.astray = 0")
    expect(annotator.times(frame) == before, "a failed seek changed the marks")


def no_range(walk: Walk, tab: Any, frame: Any, video: str, pair: tuple[int, int]) -> None:
    """The server sends the whole video whatever is asked for; the page notices, and plays it from memory."""
    walk.plan.faults.append(("/media", "no_range", None))
    tab.reload()
    frame = annotator.framed(tab)
    source = "document.getElementById('video').currentSrc"
    annotator.wait_for(tab, lambda: frame.evaluate(source).startswith("blob:"), "loading the whole video")
    mark(walk, tab, frame, video, *pair)
    walk.plan.faults.clear()


def video_cut(walk: Walk, tab: Any, frame: Any, video: str, pair: tuple[int, int]) -> None:
    """The connection to the video breaks in mid-work and comes back."""
    mark(walk, tab, frame, video, *pair)
    annotator.wait_for(tab, lambda: frame.locator("#saved").inner_text() == "Saved", "saving")
    walk.plan.faults.append(("/media", "unheard", 6))
    tab.reload()
    frame = annotator.framed(tab)
    expect(bool(annotator.times(frame)), "the marks are gone")


def lost_before(walk: Walk, tab: Any, frame: Any, video: str, pair: tuple[int, int]) -> None:
    """The connection is lost before the endpoint hears of the answer."""
    mark(walk, tab, frame, video, *pair)
    walk.plan.faults.append(("/mturk", "unheard", 4))
    annotator.hand_in(frame)
    frame.wait_for_selector("text=Your work is safe, trying again")


def lost_after(walk: Walk, tab: Any, frame: Any, video: str, pair: tuple[int, int]) -> None:
    """The connection is lost after the endpoint has stored the answer."""
    mark(walk, tab, frame, video, *pair)
    walk.plan.faults.append(("/mturk", "lost", 2))
    annotator.hand_in(frame)


def double_click(walk: Walk, tab: Any, frame: Any, video: str, pair: tuple[int, int]) -> None:
    """An impatient click too many."""
    mark(walk, tab, frame, video, *pair)
    annotator.hand_in(frame, clicks=2)


FAULTS = {
    "seek error of 2 s": seek_error,
    "no Range": no_range,
    "video cut off": video_cut,
    "lost at submit": lost_before,
    "lost after submit": lost_after,
    "double click": double_click,
}


def with_fault(walk: Walk, fault: str) -> None:
    """A worker who meets a fault; the answer has to arrive all the same."""
    name = fault.replace(" ", "-")
    with walk.tab() as tab:
        frame, video = begin(walk, tab, name)
        pair = segments(walk, video)[0]
        FAULTS[fault](walk, tab, frame, video, pair)
        if len(tab.frames) > 1 and tab.frames[-1].locator("#submit").is_enabled():
            annotator.hand_in(tab.frames[-1])
        tab.get_by_text(ARRIVED).wait_for()
        walk.marked[name, video] = [pair]
    walk.plan.faults.clear()


# -- what came of it ------------------------------------------------------------------------------------------


def expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise RuntimeError(otherwise)


def errors_of(walk: Walk) -> tuple[list[float], list[str]]:
    """Errors of all stored edges in frames of the original (its shortest), and what was lost."""
    with walk.workspace.store.transaction() as session:
        rows = crowd.answers(session)
        stored: dict[tuple[str, str], list[Any]] = {}
        for row in rows:
            stored.setdefault((row.worker_id, row.item.video_id), []).append(row.answer["segments"])
    errors, lost = [], []
    for (name, video), pairs in walk.marked.items():
        answers = stored.get((walk.workers[name], video), [])
        if len(answers) != 1 or len(answers[0]) != len(pairs):
            lost.append(f"{name}, {video}: {len(answers)} answers, {[len(a) for a in answers]} segments")
            continue
        ticks = walk.ticks[video]
        frame = float(np.diff(ticks).min())
        for segment, (first, last) in zip(answers[0], pairs, strict=True):
            errors.append(abs(segment["start"] * CLOCK - int(ticks[first])) / frame)
            errors.append(abs(segment["end"] * CLOCK - int(ticks[last + 1])) / frame)
    return errors, lost


@contextmanager
def campaign_of(folder: Path, browser: Any, names: tuple[str, ...], assignments: int, seed: int) -> Iterator[Walk]:
    """A workspace with the named videos, published at an endpoint behind a proxy that can fail."""
    files = folder / "files"
    ticks = timecodes.make(files, (*names, GATE))
    labels_csv.write(files / "labels.csv", {name: [LABEL] for name in (*names, GATE)}, {})
    truth = [{"label": LABEL, "segment": list(pair)} for pair in GOLD]
    gold = {"subset": "training", "duration": 10.0, "annotations": truth}
    write_json(files / "truth.json", {"version": "1", "taxonomy": [], "database": {GATE: gold}})
    root = folder / "campaign"
    changes: dict[str, Any] = {"general.name": "annotating", "task.assignments": assignments, "task.gate": 1}
    pool.init(root, **changes)
    workspace = Workspace.open(root)
    pool.add(workspace, [str(files), str(files / "labels.csv"), str(files / "truth.json")], reporter=Silent())
    campaign.gold(workspace, [GATE])
    selecting.select(workspace, batch=len(names), strategy="random", reporter=Silent())
    with serving.endpoint_process(workspace) as url:
        publishing.publish(workspace, url=url, reporter=Silent())
        plan, place = Plan(), urlsplit(url)
        with running((str(place.hostname), place.port or 80), plan) as proxy:
            yield Walk(workspace, proxy, plan, browser, ticks, generator(seed, "annotating"))
            publishing.ingest(workspace, url=url, reporter=Silent())
    workspace.close()


@measure("annotating", "a worker's whole task in Chromium: stored times, faults, accessibility")
def annotating(context: Context) -> list[Figure]:
    """Small: one whole task and one fault on two videos; full: six videos, every fault."""
    names, faults = (FULL, tuple(FAULTS)) if context.full else (SMALL, ("lost after submit",))
    program = annotator.chromium()
    if program is None:
        raise RuntimeError("Chromium is not installed")
    with (
        annotator.browser(program) as browser,
        campaign_of(context.scratch, browser, names, assignments=2, seed=context.seed) as walk,
    ):
        whole_task(walk, "ann")
        not_yet(walk, "zoe")
        context.say("  the gate, and a whole task: done")
        for _ in names[1:] if context.full else ():
            mark_exactly(walk, "ann")
        for fault in faults:
            with_fault(walk, fault)
            context.say(f"  {fault}: the answer arrived")
    errors, lost = errors_of(walk)
    for line in (*lost, *walk.findings):
        context.say(f"  {line}")
    n = len(walk.marked)
    return [
        Figure(
            "largest error of a stored edge",
            round(max(errors), 4),
            "frames",
            at_most=1.0,
            detail={"edges": len(errors), "median": round(float(np.median(errors)), 4), "videos": list(names)},
        ),
        Figure("answers lost or changed", len(lost), f"of {n}", at_most=0, detail={"faults": list(faults)}),
        Figure(
            "serious findings of axe-core", len(walk.findings), "", at_most=0, detail={"states": walk.states, "n": 2}
        ),
        Figure("room for texts in a page", walk.room, "bytes", at_least=15_000, detail={"of": MAX_BYTES}),
    ]
