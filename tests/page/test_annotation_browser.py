"""The page as a worker meets it: a real browser, a sandboxed frame without same-origin, a real server and video."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.annotator import drag, drag_handle, enter, hand_in, place, press, times, wait_for
from kloc.crowd.page import render

pytestmark = pytest.mark.browser
FRAME = 1 / 25


def finish(tab: Any, frame: Any, server: Any) -> dict[str, Any]:
    frame.wait_for_selector("#done", state="visible")
    wait_for(tab, lambda: tab.evaluate("heard.length") == 1)
    (sent,) = server.answers
    assert tab.evaluate("heard[0]") == {"type": "kloc-submitted", "assignmentId": sent["assignmentId"]}
    return json.loads(sent["answer"])


def test_a_worker_marks_three_segments_and_the_answer_arrives_once(tab: Any, server: Any) -> None:
    frame = enter(tab, server.work("page"))
    clock = frame.locator("#clock b")
    assert frame.evaluate("(() => { try { return !!localStorage } catch (e) { return e.name } })()") == "SecurityError"

    # Frames and seconds: 1 s, then three frames.
    press(tab, "Shift+ArrowRight", "ArrowRight", "ArrowRight", "ArrowRight")
    wait_for(tab, lambda: clock.inner_text() == "0:01.14")
    press(tab, "a", "Shift+ArrowRight", "a")
    assert times(frame) == [(1.12, 2.16)]
    # Past the chosen segment, "[" opens the next one; "]" closes it.
    press(tab, *["Shift+ArrowRight"] * 2, "[", *["Shift+ArrowRight"] * 2, "]")
    assert times(frame) == [(1.12, 2.16), (4.12, 6.16)]

    # The third by dragging across the empty lane, 8 s to 9.5 s.
    def at(seconds: float) -> tuple[float, float]:
        return place(frame, seconds, 12)

    drag(tab, at(8), at(9.5))
    third = times(frame)[2]
    assert third == pytest.approx((8, 9.5), abs=FRAME)

    press(tab, "Control+z")
    assert len(times(frame)) == 2
    press(tab, "Control+y")
    assert times(frame)[2] == third

    # Its end handle to 10.5 s; then its start past its end: the edges swap.
    tab.mouse.click(*at(8.7))
    drag_handle(tab, frame, "end", at(10.5))
    assert times(frame)[2] == pytest.approx((third[0], 10.5), abs=2 * FRAME)
    # By number, and a segment of less than a frame is refused.
    end = frame.locator("#list li.on .end")
    end.fill("10")
    end.press("Enter")
    assert times(frame)[2] == (third[0], 10.0)
    start = frame.locator("#list li.on .start")
    start.fill("9.99")
    start.press("Enter")
    assert times(frame)[2] == (third[0], 10.0)
    assert "at least one frame" in frame.locator("#live").inner_text()
    # A start typed behind the end makes no other segment.
    start.fill("11")
    start.press("Enter")
    assert times(frame)[2] == (third[0], 10.0)
    assert "starts before it ends. It stays as it was." in frame.locator("#live").inner_text()

    # Playing is watching; the pictures at the edges are drawn.
    press(tab, " ")
    widest = "Math.max(0, ...[...document.querySelectorAll('#watched i')].map((i) => parseFloat(i.style.width)))"
    wait_for(tab, lambda: frame.evaluate(widest) > 1)
    press(tab, " ")
    frame.wait_for_selector(".edges", state="visible")

    # The tab is closed in the middle of the work: the draft brings everything back.
    wait_for(tab, lambda: len(server.drafts.get("draft/A1", {}).get("segments", [])) == 3)
    marked = times(frame)
    frame = enter(tab, server.work("page"))
    wait_for(tab, lambda: times(frame) == marked)
    assert frame.evaluate(widest) > 1

    # The first attempts meet dropped connections (Chromium itself repeats some); an impatient worker clicks twice.
    server.failures = [0] * 20
    hand_in(frame, clicks=2)
    frame.wait_for_selector("text=Your work is safe, trying again")
    server.failures = []
    frame.locator("text=Try now").click()
    answer = finish(tab, frame, server)
    assert [(s["label"], round(s["start"], 2), round(s["end"], 2)) for s in answer["segments"]] == [
        ("long jump", *pair) for pair in marked
    ]
    assert answer["segments"][0] == {"label": "long jump", "start": 1.12, "end": 2.16, "origin": "own"}
    assert (answer["version"], answer["none"], answer["guideline"], answer["prefilled"]) == (1, False, "g-1", False)
    assert answer["seconds_spent"] > 0
    assert sum(b - a for a, b in answer["watched"]) > 0
    assert answer["events"]["undos"] == 1


def test_none_is_an_answer_of_its_own_and_an_empty_one_is_not_sent(tab: Any, server: Any) -> None:
    frame = enter(tab, server.work("page"))
    frame.locator("#submit").click()
    assert "Mark at least one segment, or tick" in frame.locator("#state").inner_text()
    press(tab, "a", "Shift+ArrowRight", "a", "0")
    assert "Delete it first" in frame.locator("#live").inner_text()
    press(tab, "Delete", "0")
    assert frame.locator("#none").get_attribute("aria-checked") == "true"
    # The server fails once: the page waits and tries again by itself.
    server.failures = [500]
    hand_in(frame, clicks=2)
    answer = finish(tab, frame, server)
    assert (answer["segments"], answer["none"], server.posts) == ([], True, 2)


def test_who_watched_little_is_asked_once(tab: Any, server: Any) -> None:
    frame = enter(tab, server.work("page"))
    press(tab, "0")
    frame.locator("#submit").press("Enter")
    assert "You have watched 0 % of the video." in frame.locator("#watch-box").inner_text()
    assert frame.evaluate("document.activeElement.textContent") == "Keep watching"
    press(tab, "Escape")
    frame.locator("#watch-box").wait_for(state="hidden")
    assert server.answers == []
    # Nobody is asked again, and nobody at all who has seen half.
    frame.locator("#submit").press("Enter")
    finish(tab, frame, server)
    server.answers.clear()
    server.drafts["draft/A2"] = {"version": 1, "none": True, "watched": [[0, 6.1]]}
    frame = enter(tab, server.work("page", "A2"))
    frame.locator("#none[aria-checked=true]").wait_for()
    frame.locator("#submit").click()
    assert finish(tab, frame, server)["none"] is True


def test_a_refusal_is_shown_and_the_work_stays_open(tab: Any, server: Any) -> None:
    frame = enter(tab, server.work("page"))
    press(tab, "0")
    server.failures = [409]
    hand_in(frame)
    frame.wait_for_selector("text=The assignment has expired.")
    press(tab, "a", "Shift+ArrowRight", "a")
    assert times(frame) == [(0.0, 1.04)]
    assert server.answers == []


def test_where_fetch_is_forbidden_a_form_is_posted(tab: Any, server: Any) -> None:
    frame = enter(tab, server.work("page", draftUrl=""))
    press(tab, "0")
    server.share = False
    hand_in(frame)
    for attempt in (1, 2):
        wait_for(tab, lambda attempt=attempt: server.posts == attempt)
        frame.locator("text=Try now").click()
    frame.wait_for_selector("#plain")
    assert len({json.dumps(sent, sort_keys=True) for sent in server.answers}) == 1
    assert json.loads(server.answers[-1]["answer"])["none"] is True


def test_a_preview_plays_and_changes_nothing(tab: Any, server: Any, task: dict[str, Any]) -> None:
    task["prefill"] = [{"label": "long jump", "start": 2.0, "end": 4.0}]
    server.pages["preview"] = render(task)
    parameters = {"assignmentId": "ASSIGNMENT_ID_NOT_AVAILABLE", "hitId": "H1", "turkSubmitTo": server.base}
    frame = enter(tab, server.frame("preview", mediaUrl=f"{server.base}/media.mp4", **parameters))
    assert "Preview" in frame.locator("#banner").inner_text()
    frame.locator("#play").click()
    wait_for(tab, lambda: frame.evaluate("document.querySelector('video').currentTime > 0"))
    frame.locator("#play").click()
    press(tab, "a", "ArrowRight", "a", "n", "[", "Delete", "0", "Control+z")
    assert "This is a preview" in frame.locator("#live").inner_text() + frame.locator("#toast").inner_text()
    assert times(frame) == [(2.0, 4.0)]
    assert frame.locator("#submit").is_disabled()
    assert frame.locator("#none").get_attribute("aria-checked") == "false"
    assert (server.posts, server.drafts) == (0, {})


def test_hostile_class_texts_are_inert_and_several_classes_are_chosen_by_key(
    tab: Any, server: Any, task: dict[str, Any]
) -> None:
    nasty = '<img src=x onerror="window.hit=1"></script><script>window.hit=1</script>'
    task["title"] = task["instructions"] = task["contact"] = nasty
    task["classes"] = [{"name": nasty, "definition": nasty, "start_rule": nasty}, {"name": "dive", "definition": "d"}]
    server.pages["several"] = render(task)
    frame = enter(tab, server.work("several"))
    press(tab, "a", "Shift+ArrowRight", "a")
    frame.locator("#submit").click()
    assert "Segment 1 has no class yet" in frame.locator("#state").inner_text()
    press(tab, "1")
    assert nasty in frame.locator(".bar").inner_text()
    press(tab, "?")
    assert frame.locator("#help-box").is_visible()
    press(tab, "Escape", "Escape", "Shift+ArrowRight", "2", "a", "Shift+ArrowRight", "a")
    assert frame.evaluate("window.hit") is None
    assert frame.locator("img").count() == 0
    hand_in(frame)
    answer = finish(tab, frame, server)
    assert [segment["label"] for segment in answer["segments"]] == [nasty, "dive"]


def test_a_video_that_cannot_be_played_is_explained_and_can_be_reported(tab: Any, server: Any) -> None:
    tab.goto(server.work("page", mediaUrl=f"{server.base}/broken.mp4"))
    frame = tab.frame("task")
    frame.wait_for_selector("text=The video could not be opened")
    frame.locator("#cover .primary").click()
    frame.get_by_label("The video does not play").check()
    frame.locator("#problem").fill("It stays black.")
    frame.locator("#report-send").click()
    answer = finish(tab, frame, server)
    assert answer["problem"] == {"kind": "does-not-play", "text": "It stays black."}
    assert answer["events"]["media_errors"] == 1


def test_a_segment_loops_and_gaps_are_reviewed(tab: Any, server: Any) -> None:
    frame = enter(tab, server.work("page"))
    playhead = "document.querySelector('video').currentTime"
    press(tab, "Shift+ArrowRight", "a", *["ArrowRight"] * 10, "a", "l")
    places = [frame.evaluate(playhead)]

    def came_back() -> bool:
        places.append(frame.evaluate(playhead))
        return places[-1] < places[-2]

    wait_for(tab, came_back)
    assert min(places) >= 1
    press(tab, "l", "Home", "g")
    wait_for(tab, lambda: places.append(frame.evaluate(playhead)) or places[-1] > 1.5)
    # Reviewing the gaps played up to the segment and went on behind it.
    stretches = frame.evaluate("[...document.querySelectorAll('#watched i')].length")
    assert stretches >= 2


def test_everything_fits_on_a_laptop_without_scrolling(tab: Any, server: Any) -> None:
    frame = enter(tab, server.work("page"))
    assert frame.evaluate("document.getElementById('page').scrollHeight") <= 720
    assert frame.locator("#overview").bounding_box()["y"] + 14 <= 720
    assert frame.locator("#stage").bounding_box()["width"] > 800
