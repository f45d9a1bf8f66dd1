"""For everybody: screen readers, keyboards, fingers, light and dark, every size of screen."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks import timecodes
from benchmarks.annotator import enter, hand_in, press, severe, times, wait_for
from kloc.crowd.page import render
from kloc.video.write import write_video

pytestmark = pytest.mark.browser

CLASSES = [
    {"name": name, "definition": f"Somebody does a {name}.", "start_rule": "The first step.", "end_rule": "Standing."}
    for name in ("long jump", "high jump", "pole vault", "hammer throw", "javelin throw")
]
PREFILL = [{"label": "long jump", "start": 1.0, "end": 2.0}, {"label": "high jump", "start": 4.0, "end": 6.0}]
FEEDBACK = [{"kind": "start", "label": "long jump", "start": 0.0, "end": 1.04, "off": 1.2}, {"kind": "missed"}]
GRADE = {"status": "graded", "needed": 80, "again_at": None, "feedback": FEEDBACK}
GOLD = [{"label": "long jump", "start": 3.0, "end": 6.0}]


def marked(tab: Any, frame: Any) -> None:
    press(tab, "a", "Shift+ArrowRight", "a")
    frame.wait_for_selector(".edges", state="visible")


def open_guide(tab: Any, frame: Any) -> None:
    press(tab, "h")
    frame.wait_for_selector(".examples video")


def little_watched(tab: Any, frame: Any) -> None:
    press(tab, "0")
    frame.locator("#submit").click()
    frame.locator("#watch-box").wait_for()


def submitted(tab: Any, frame: Any) -> None:
    press(tab, "a", "Shift+ArrowRight", "a")
    hand_in(frame)
    frame.locator("#result, #done").locator("visible=true").wait_for()


STATES: dict[str, Callable[[Any, Any], Any]] = {
    "page": lambda tab, frame: None,
    "page, segments": marked,
    "page, keys": lambda tab, frame: press(tab, "?"),
    "page, instructions": open_guide,
    "page, report": lambda tab, frame: frame.locator("#report").click(),
    "page, little watched": little_watched,
    "page, refused": lambda tab, frame: frame.locator("#submit").click(),
    "page, done": submitted,
    "proposed": lambda tab, frame: press(tab, "k"),
    "several": marked,
    "failed": submitted,
    "passed": submitted,
    "no-codec": lambda tab, frame: frame.evaluate("document.getElementById('video').dispatchEvent(new Event('error'))"),
}


def test_axe_finds_nothing_serious_in_any_state(tab: Any, server: Any, task: dict[str, Any]) -> None:
    task["classes"][0]["examples"] = [{"media_key": "clip", "start": 2.0, "end": 3.0, "caption": "A whole jump"}]
    server.pages["page"] = server.pages["no-codec"] = render(task)
    server.pages["failed"] = server.pages["passed"] = render({**task, "mode": "training"})
    server.pages["several"] = render({**task, "classes": CLASSES})
    server.pages["proposed"] = render({**task, "classes": CLASSES, "prefill": PREFILL})
    found = {}

    def look(state: str, frame: Any) -> None:
        for scheme in ("light", "dark"):
            tab.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            found[state, scheme] = severe(frame)

    for number, (state, act) in enumerate(STATES.items()):
        name = state.split(",")[0]
        server.grade = {
            "failed": {**GRADE, "score": 0, "passed": False},
            "passed": {**GRADE, "score": 90, "passed": True, "gold": GOLD},
        }.get(name)
        frame = enter(tab, server.work(name, f"A{number}", **{"media:clip": f"{server.base}/media.mp4"}))
        act(tab, frame)
        look(state, frame)
    parameters = {"assignmentId": "ASSIGNMENT_ID_NOT_AVAILABLE", "mediaUrl": f"{server.base}/media.mp4"}
    look("preview", enter(tab, server.frame("page", **parameters)))
    assert {state: lines for state, lines in found.items() if lines} == {}
    # It would have been seen.
    tab.frames[1].evaluate("document.getElementById('play').removeAttribute('aria-label')")
    tab.frames[1].evaluate("document.getElementById('play').removeAttribute('title')")
    assert "button-name" in severe(tab.frames[1])[0]


@pytest.mark.parametrize("size", [(1280, 720), (1280, 654), (1180, 754), (1920, 1080)])
def test_everything_is_in_view_without_scrolling(make_tab: Any, server: Any, size: tuple[int, int]) -> None:
    tab = make_tab(viewport={"width": size[0], "height": size[1]}, has_touch=size[0] == 1180)
    frame = enter(tab, server.work("page"))
    marked(tab, frame)
    height = frame.evaluate("document.getElementById('page').scrollHeight")
    assert height <= size[1]
    assert frame.evaluate("document.getElementById('page').scrollWidth") <= size[0]
    for part in ("#overview", "#submit", ".edges", "#play"):
        box = frame.locator(part).bounding_box()
        assert box["y"] + box["height"] <= size[1], part


@pytest.mark.parametrize("size", [(820, 1180), (1180, 820)])
def test_fingers_find_targets_of_44_pixels(
    make_tab: Any, server: Any, task: dict[str, Any], size: tuple[int, int]
) -> None:
    server.pages["proposed"] = render({**task, "classes": CLASSES, "prefill": PREFILL})
    tab = make_tab(viewport={"width": size[0], "height": size[1]}, has_touch=True)
    frame = enter(tab, server.work("proposed"))
    assert frame.evaluate("document.getElementById('page').scrollWidth") <= size[0]
    frame.locator(".bar").first.tap()
    frame.wait_for_selector(".edges", state="visible")
    small = frame.evaluate(
        """() => [...document.querySelectorAll("button, select, input, .on .handle, #ruler")]
          .map((node) => [node, node.getBoundingClientRect()])
          .filter(([node, box]) => box.width && (box.width < 43.5 || box.height < 43.5))
          .map(([node, box]) => `${node.outerHTML.slice(0, 80)} ${box.width}x${box.height}`)"""
    )
    assert small == []


def test_fingers_draw_drag_and_pinch(make_tab: Any, server: Any) -> None:
    tab = make_tab(viewport={"width": 1180, "height": 820}, has_touch=True)
    frame = enter(tab, server.work("page"))
    lane = frame.locator("#lane").bounding_box()
    y = lane["y"] + lane["height"] / 2

    session = tab.context.new_cdp_session(tab)

    def x(seconds: float) -> float:
        return lane["x"] + lane["width"] * seconds / 12

    def touch(kind: str, *points: tuple[float, float]) -> None:
        places = [{"x": x, "y": y, "id": finger} for finger, (x, y) in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    def stroke(*path: tuple[float, float]) -> None:
        touch("touchStart", path[0])
        for point in path[1:]:
            touch("touchMove", point)
        touch("touchEnd")

    stroke((x(2), y), (x(3), y), (x(5), y))
    assert times(frame) == [(pytest.approx(2, abs=0.1), pytest.approx(5, abs=0.1))]
    # The handle is beside the edge, as wide as a finger.
    stroke((x(5) + 20, y), (x(6), y), (x(7) + 20, y))
    assert times(frame)[0][1] == pytest.approx(7, abs=0.15)
    before = times(frame)
    label = "document.querySelectorAll('#ruler span')[1].textContent"
    coarse = frame.evaluate(label)
    touch("touchStart", (x(5), y))
    touch("touchStart", (x(5), y), (x(7), y))
    touch("touchMove", (x(3), y), (x(9), y))
    touch("touchEnd")
    wait_for(tab, lambda: frame.locator("#window").is_visible())
    share = frame.evaluate("parseFloat(document.getElementById('window').style.width)")
    assert share == pytest.approx(100 / 3, abs=1)
    assert frame.evaluate(label) != coarse
    assert times(frame) == before, "two fingers change the view and nothing else"


def test_the_pictures_at_the_edges_are_the_frames_they_say(
    tab: Any, server: Any, task: dict[str, Any], tmp_path: Any
) -> None:
    path = tmp_path / "numbers.mp4"
    write_video(path, (timecodes.draw(k) for k in range(300)), 25)
    server.video = path.read_bytes()
    frame = enter(tab, server.work("page"))
    press(tab, *["Shift+ArrowRight"] * 2, "a", *["Shift+ArrowRight"] * 3, "a")
    frame.wait_for_selector(".edges", state="visible")
    before = frame.evaluate("document.getElementById('video').currentTime")

    def numbers() -> list[int]:
        found = []
        for canvas in frame.locator(".edge canvas").all():
            picture = np.asarray(Image.open(io.BytesIO(canvas.screenshot())).convert("RGB"), dtype=np.uint8)
            width = picture.shape[1]
            found.append(timecodes.read(picture[:, 3 : width - 3]))
        return found

    for canvas in frame.locator(".edge canvas").all():
        canvas.evaluate("node => { node.style.opacity = 1; }")
    wait_for(tab, lambda: times(frame) == [(2.0, 5.04)] and numbers() == [49, 50, 125, 126])
    assert frame.evaluate("document.getElementById('video').currentTime") == before
    # Pressing one goes there.
    frame.locator(".edge.first").click()
    wait_for(tab, lambda: frame.locator("#clock b").inner_text() == "0:02.02")
