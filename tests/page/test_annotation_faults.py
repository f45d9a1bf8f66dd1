"""What goes wrong around the page, and that nothing is lost by it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.annotator import enter, framed, hand_in, place, press, times, wait_for
from benchmarks.measures.annotating import ASTRAY

pytestmark = pytest.mark.browser


def sent(server: Any) -> dict[str, Any]:
    (answer,) = server.answers
    return json.loads(answer["answer"])


def test_a_seek_that_lands_elsewhere_is_mended_or_said_and_the_marks_are_what_was_seen(tab: Any, server: Any) -> None:
    frame = enter(tab, server.work("page"))
    frame.evaluate(ASTRAY)
    frame.evaluate("window.astray = 1")
    tab.mouse.click(*place(frame, 6.02, 12, "#ruler"))
    wait_for(tab, lambda: frame.evaluate("document.getElementById('video').currentTime") == pytest.approx(6.02))
    assert frame.locator("#alert").is_hidden()
    frame.evaluate("window.astray = 99")
    tab.mouse.click(*place(frame, 8.02, 12, "#ruler"))
    frame.wait_for_selector("text=The video did not go where it was sent.")
    assert frame.locator("#clock b").inner_text() == "0:06.02"
    press(tab, "a")
    frame.evaluate("window.astray = 0")
    press(tab, "Shift+ArrowRight", "a")
    assert times(frame) == [(6.0, 7.04)]
    hand_in(frame)
    frame.wait_for_selector("#done", state="visible")
    answer = sent(server)
    assert (answer["segments"][0]["start"], answer["events"]["failed_seeks"]) == (6.0, 4)


def test_a_video_that_comes_without_ranges_is_loaded_whole(tab: Any, server: Any) -> None:
    server.ranges = False
    frame = enter(tab, server.work("page"))
    wait_for(tab, lambda: frame.evaluate("document.getElementById('video').src").startswith("blob:"))
    tab.mouse.click(*place(frame, 8.02, 12, "#ruler"))
    wait_for(tab, lambda: frame.evaluate("document.getElementById('video').currentTime") == pytest.approx(8.02))
    press(tab, "a", "Shift+ArrowRight", "a")
    assert times(frame) == [(8.0, 9.04)]
    frame.wait_for_selector(".edges", state="visible")
    assert frame.locator("#alert").is_hidden()
    hand_in(frame)
    frame.wait_for_selector("#done", state="visible")
    assert sent(server)["events"]["no_ranges"] == 1


def test_where_it_cannot_be_loaded_whole_the_marks_are_what_was_seen(tab: Any, server: Any) -> None:
    server.ranges = False
    server.whole = False
    frame = enter(tab, server.work("page"))
    frame.wait_for_selector("text=does not send parts of it")
    press(tab, "Shift+ArrowRight")
    wait_for(tab, lambda: "did not go where it was sent" in frame.locator("#alert").inner_text())
    assert frame.locator("#clock b").inner_text() == "0:00.00"


def test_a_browser_without_the_codec_is_told_which(make_tab: Any, server: Any) -> None:
    tab = make_tab()
    tab.add_init_script("HTMLMediaElement.prototype.canPlayType = (type) => (type.includes('avc1') ? '' : 'maybe')")
    tab.goto(server.work("page"))
    frame = tab.frame("task")
    frame.wait_for_selector("text=This browser cannot play H.264 video, which this task needs.")
    assert frame.get_by_role("button", name="Report a problem").count() == 2


def test_a_video_whose_connection_breaks_is_opened_again_by_itself(tab: Any, server: Any) -> None:
    server.media_down = True
    tab.goto(server.work("page"))
    frame = tab.frame("task")
    frame.wait_for_selector("text=The connection to the video broke.")
    server.media_down = False
    frame.get_by_role("button", name="Try now").click()
    frame.wait_for_selector("#cover", state="hidden")
    press(tab, "Shift+ArrowRight")
    wait_for(tab, lambda: frame.locator("#clock b").inner_text() == "0:01.02")


def test_a_worker_who_goes_away_while_offline_finds_the_work_again(tab: Any, server: Any) -> None:
    frame = enter(tab, server.work("page"))
    press(tab, "a", "Shift+ArrowRight", "a")
    wait_for(tab, lambda: "draft/A1" in server.drafts)
    marked = times(frame)
    server.failures = [0] * 20
    hand_in(frame)
    frame.wait_for_selector("text=Could not send. Your work is safe, trying again")
    tab.reload()
    frame = framed(tab)
    wait_for(tab, lambda: times(frame) == marked)
    server.failures = []
    hand_in(frame)
    frame.wait_for_selector("#done", state="visible")
    assert len(sent(server)["segments"]) == 1


@pytest.mark.parametrize("host", ["", "&forgetful"])
def test_a_draft_goes_on_while_the_answer_waits_for_the_server(tab: Any, server: Any, host: str) -> None:
    asked: list[str] = []
    tab.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    frame = enter(tab, server.work("page") + host)
    press(tab, "a", "Shift+ArrowRight", "a")
    wait_for(tab, lambda: "draft/A1" in server.drafts)
    server.down = True
    press(tab, "Shift+ArrowRight", "a", "Shift+ArrowRight", "a")
    marked = times(frame)
    hand_in(frame)
    frame.wait_for_selector(f"text={'Keep this page open' if host else 'Your work is safe'}, trying again")
    assert len(server.drafts["draft/A1"]["segments"]) == 1
    if host:
        # The server is back, and looks at drafts before answers get through.
        server.failures, server.down = [0] * 100, False
        wait_for(tab, lambda: len(server.drafts["draft/A1"]["segments"]) == 2)
    tab.reload()
    frame = framed(tab)
    frame.wait_for_selector("text=Your answer was not sent yet.")
    assert (times(frame), asked) == (marked, ["beforeunload"])
    server.failures, server.down = [], False
    frame.get_by_role("button", name="Send it now").click()
    frame.get_by_role("button", name="Submit all the same").click()
    frame.wait_for_selector("#done", state="visible")
    assert len(sent(server)["segments"]) == 2
    tab.reload()
    assert asked == ["beforeunload"]


def test_on_a_tall_tablet_it_is_seen_that_the_answer_waits(make_tab: Any, server: Any) -> None:
    tab = make_tab(viewport={"width": 820, "height": 1180})
    frame = enter(tab, server.work("page", draftUrl=""))
    press(tab, "a", "Shift+ArrowRight", "a")
    frame.wait_for_selector(".edges", state="visible")
    title = frame.locator("#heading").bounding_box()["height"]
    server.down = True
    hand_in(frame)
    frame.wait_for_selector("text=Could not send.")
    frame.evaluate("scrollTo(0, 0)")
    box = frame.locator("#state").bounding_box()
    assert box["y"] + box["height"] <= 1180
    frame.evaluate("document.getElementById('saved').textContent = 'Not saved, trying again…'")
    assert frame.locator("#heading").bounding_box()["height"] == title <= 30
    server.down = False
    frame.locator("text=Try now").click()
    frame.wait_for_selector("#done", state="visible")


def test_nothing_needs_a_secure_context(tab: Any, server: Any) -> None:
    server.base = server.base.replace("127.0.0.1", "0.0.0.0")
    frame = enter(tab, server.work("page"))
    assert frame.evaluate("isSecureContext") is False
    press(tab, "a", "Shift+ArrowRight", "a")
    frame.wait_for_selector(".edges", state="visible")
    hand_in(frame)
    frame.wait_for_selector("#done", state="visible")
    assert sent(server)["segments"][0]["end"] == 1.04
