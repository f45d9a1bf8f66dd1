"""What the page tells and asks beside the marking: instructions, practice, proposals, problems."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from benchmarks.annotator import enter, hand_in, press, times, wait_for
from kloc.crowd.page import render

pytestmark = pytest.mark.browser
PREFILL = [
    {"label": "long jump", "start": 1.0, "end": 2.0},
    {"label": "long jump", "start": 4.0, "end": 6.0},
    {"label": "long jump", "start": 8.0, "end": 9.0},
]


def hear(tab: Any, count: int = 1) -> Any:
    wait_for(tab, lambda: tab.evaluate("heard.length") == count)
    return tab.evaluate("heard.at(-1)")


def test_instructions_open_before_the_first_task_and_their_examples_play(
    tab: Any, server: Any, task: dict[str, Any]
) -> None:
    task["classes"][0]["examples"] = [
        {"media_key": "clip", "start": 2.0, "end": 2.4, "caption": "A whole jump"},
        {"media_key": "gone", "start": 0.0, "end": 1.0, "caption": "Its address is missing"},
    ]
    server.pages["guided"] = render(task)
    address = server.work("guided", **{"media:clip": f"{server.base}/media.mp4"})
    frame = enter(tab, f"{address}&fresh=1")
    guide = frame.locator("#guide-box")
    guide.wait_for(state="visible")
    text = guide.inner_text()
    assert all(words in text for words in ("Half a second matters", "The first step of the run-up.", "A whole jump"))
    assert "Its address" not in text
    places: list[float] = []
    look = "document.querySelector('.examples video').currentTime"
    # It plays its part of the video over and over.
    wait_for(tab, lambda: places.append(frame.evaluate(look)) or (len(places) > 1 and places[-2] > places[-1] >= 1.9))
    frame.locator(".examples button").click()
    assert frame.evaluate("document.querySelector('.examples video').paused")
    press(tab, "Escape")
    assert guide.is_hidden()
    # A dialog tells that it closed a moment later; then its examples go.
    wait_for(tab, lambda: frame.locator("video").count() == 1)
    press(tab, "h")
    assert guide.is_visible()
    # The shell remembers; another task of the same guideline begins at once.
    assert tab.evaluate("read") is True
    frame = enter(tab, address)
    press(tab, "a", "Shift+ArrowRight", "a")
    assert times(frame) == [(0.0, 1.04)]


def test_example_clips_stand_still_for_who_wants_no_motion(make_tab: Any, server: Any, task: dict[str, Any]) -> None:
    task["classes"][0]["examples"] = [{"media_key": "clip", "start": 2.0, "end": 3.0, "caption": "A whole jump"}]
    server.pages["still"] = render(task)
    tab = make_tab(reduced_motion="reduce")
    frame = enter(tab, server.work("still", **{"media:clip": f"{server.base}/media.mp4"}))
    press(tab, "h")
    clip = "document.querySelector('.examples video')"
    wait_for(tab, lambda: frame.evaluate(f"{clip}.currentTime") == 2)
    assert frame.evaluate(f"{clip}.paused")
    frame.locator(".examples button").click()
    wait_for(tab, lambda: frame.evaluate(f"{clip}.currentTime") > 2)


def test_proposals_are_kept_corrected_and_deleted_and_the_answer_says_so(
    tab: Any, server: Any, task: dict[str, Any]
) -> None:
    server.pages["proposed"] = render({**task, "prefill": PREFILL})
    frame = enter(tab, server.work("proposed"))
    assert "It is often wrong" in frame.locator("#banner").inner_text()
    assert frame.locator("li.proposed").count() == frame.locator(".bar.proposed").count() == 3
    frame.locator("#submit").click()
    assert "Segment 1 is still a model's proposal" in frame.locator("#state").inner_text()
    press(tab, "k")  # the first is chosen and kept, the second is next
    assert "Segment 2" in frame.locator("li.on .pick").get_attribute("aria-label")
    press(tab, *["Shift+ArrowRight"] * 3, "]", "k", "Delete")
    press(tab, "Control+z")
    assert frame.locator("li.proposed").count() == 1
    # The draft knows what came from where.
    wait_for(tab, lambda: frame.locator("#saved").inner_text() == "Saved")
    frame = enter(tab, server.work("proposed"))
    wait_for(tab, lambda: frame.locator("li.proposed").count() == 1)
    frame.locator("li.proposed .pick").click()
    press(tab, "Delete", *["Home", "ArrowRight", "a", "ArrowRight", "a"])
    hand_in(frame)
    assert hear(tab)["type"] == "kloc-submitted"
    answer = json.loads(server.answers[0]["answer"])
    assert [(s["origin"], s["start"], s["end"]) for s in answer["segments"]] == [
        ("own", 0.04, 0.12),
        ("kept", 1.0, 2.0),
        ("corrected", 4.0, 7.04),
    ]
    assert (answer["prefilled"], answer["discarded"]) == (True, 1)


def test_a_problem_gives_the_task_back_after_a_confirmation(tab: Any, server: Any) -> None:
    frame = enter(tab, server.work("page", reportUrl=f"{server.base}/report/A1"))
    frame.locator("#report").click()
    assert "without any penalty" in frame.locator("#report-box").inner_text()
    frame.locator("#report-send").click()
    assert frame.locator("#report-box").is_visible(), "it asks for a kind first"
    press(tab, "Escape")
    assert server.reports == []
    frame.locator("#report").click()
    frame.get_by_label("Something else").check()
    frame.locator("#report-send").click()
    assert frame.locator("#report-box").is_visible(), "something else needs words"
    frame.locator("#problem").fill("Two videos in one.")
    server.failures = [503]
    frame.locator("#report-send").click()
    frame.wait_for_selector("text=Your report was not sent: the server said 503.")
    frame.locator("#report-send").click()
    frame.wait_for_selector("text=The task is given back.")
    assert hear(tab) == {"type": "kloc-returned", "assignmentId": "A1"}
    assert server.reports == [{"kind": "other", "text": "Two videos in one."}]
    assert server.answers == []


def test_practice_shows_what_was_good_and_what_was_not(tab: Any, server: Any, task: dict[str, Any]) -> None:
    server.pages["practice"] = render({**task, "mode": "training"})
    server.grade = {
        "status": "graded",
        "score": 40,
        "needed": 80,
        "passed": False,
        "again_at": None,
        "feedback": [
            {"kind": "start", "label": "long jump", "start": 0.0, "end": 1.04, "off": -1.2},
            {"kind": "end", "label": "long jump", "start": 0.0, "end": 1.04, "off": 2.0},
            {"kind": "extra", "label": "long jump", "start": 2.0, "end": 3.04},
            {"kind": "missed", "label": "long jump"},
        ],
    }
    frame = enter(tab, server.work("practice"))
    assert "This is practice" in frame.locator("#banner").inner_text()
    assert "Practice · about 3 min" in frame.locator("#facts").inner_text()
    assert frame.locator("#report").is_hidden()
    press(tab, "a", "Shift+ArrowRight", "a", *["Shift+ArrowRight"], "a", "Shift+ArrowRight", "a")
    hand_in(frame)
    result = frame.locator("#result")
    result.wait_for(state="visible")
    assert frame.locator("#feedback li").all_inner_texts() == [
        "Segment 1: started 1.2 s too early, ended 2.0 s too late.",
        "Segment 2: long jump does not happen there.",
        "You missed 1 more. Where it happens is not told: watch the whole video.",
    ]
    assert "Your score is 40 of 100; 80 are needed." in result.inner_text()
    assert frame.locator("#gold").is_hidden()
    assert hear(tab) == {"type": "kloc-graded", "assignmentId": "A1", "passed": False, "score": 40, "again_at": None}
    press(tab, "a", "Delete")
    assert len(times(frame)) == 2, "what was graded stays"
    frame.get_by_role("button", name="Try again").click()
    assert hear(tab, 2) == {"type": "kloc-again", "assignmentId": "A1"}


def test_practice_that_is_passed_shows_the_gold_and_a_wait_is_told(tab: Any, server: Any, task: dict[str, Any]) -> None:
    server.pages["practice"] = render({**task, "mode": "training"})
    good = {"kind": "good", "label": "long jump", "start": 0.0, "end": 1.04, "off": 0.0}
    gold = [{"label": "long jump", "start": 3.0, "end": 6.0}]
    server.grade = {"status": "graded", "score": 100, "needed": 80, "passed": True, "again_at": None}
    server.grade |= {"feedback": [good], "gold": gold}
    frame = enter(tab, server.work("practice"))
    press(tab, "a", "Shift+ArrowRight", "a")
    hand_in(frame)
    frame.wait_for_selector("text=Passed")
    assert frame.locator("#feedback").inner_text() == "Segment 1: good."
    lane, bar = (frame.locator(row).bounding_box() for row in ("#lane", "#gold i"))
    assert bar["x"] - lane["x"] == pytest.approx(lane["width"] * 3 / 12, abs=1)
    assert bar["width"] == pytest.approx(lane["width"] * 3 / 12, abs=1)
    # Another worker failed and has to wait.
    server.grade |= {"passed": False, "score": 0, "gold": None, "again_at": time.time() + 3600}
    server.grade |= {"feedback": [{"kind": "many"}]}
    frame = enter(tab, server.work("practice", "A2"))
    press(tab, "0")
    hand_in(frame)
    frame.wait_for_selector("text=You can try again at")
    assert "far too many segments" in frame.locator("#feedback").inner_text()
    assert frame.locator("#again").is_hidden()


def test_pay_time_and_contact_are_there_before_anything_begins(tab: Any, server: Any) -> None:
    parameters = {"assignmentId": "ASSIGNMENT_ID_NOT_AVAILABLE", "mediaUrl": f"{server.base}/media.mp4"}
    frame = enter(tab, server.frame("page", **parameters))
    assert frame.locator("#facts").inner_text() == "$0.50 · about 3 min · Questions? annotation@example.org"
    assert frame.locator("#report").is_hidden()
