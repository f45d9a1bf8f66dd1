"""The review page as the requester meets it: real Chromium, a real endpoint, answers that came over HTTP."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from benchmarks.small_campaign import answer
from kloc.records import Annotation, Instance, Item
from kloc.store import reviewing, revisions

pytestmark = pytest.mark.browser
FRAME = 0.1


def enter(tab: Any, address: str, video: str = "") -> None:
    tab.goto(address)
    tab.wait_for_selector("body[data-ready]")
    if video:
        tab.locator(".video", has_text=video).click()
        tab.locator("#title", has_text=video).wait_for()


def shot(tab: Any, name: str) -> None:
    """A picture for people to look at, where CI asks for one."""
    if folder := os.environ.get("KLOC_SCREENSHOTS"):
        tab.screenshot(path=str(Path(folder) / f"review-{name}.png"))


def press(tab: Any, *keys: str) -> None:
    for key in keys:
        tab.keyboard.press(key)


def times(tab: Any) -> list[tuple[float, float]]:
    rows = tab.locator("#segments li:has(.time)").all()
    return [tuple(float(f.input_value().split(":")[1]) for f in row.locator(".time").all()) for row in rows]


def stored(campaign: Any, video: str) -> list[tuple[str, list[tuple[str, float, float]]]]:
    """(source, segments) of every revision, oldest first."""
    with campaign.workspace.store.transaction() as session:
        rows = reviewing.history(session, Item(video, 0.0, 1e9))
    return [(r.source, [(i["label"], round(i["start"], 3), round(i["end"], 3)) for i in r.instances]) for r in rows]


def test_a_review_from_the_first_look_to_saved_and_taken_back(tab: Any, campaign: Any, page_of: Any) -> None:
    enter(tab, page_of(campaign))
    tab.locator("#cover").wait_for(state="hidden")
    assert [row.inner_text() for row in tab.locator(".video .name").all()] == [
        "broken",  # reported, unreadable, and one answer alone leaves everything in doubt
        "disputed",
        "agreed",
        "waiting",
    ]
    assert "low agreement" in tab.locator(".video", has_text="disputed").inner_text()
    assert "1 reported\n1 unreadable" in tab.locator(".video", has_text="broken").inner_text()
    assert {name.inner_text().split("\n")[0] for name in tab.locator("button.lane-name").all()} == {
        "ada",
        "ben",
        "cleo",
    }
    shot(tab, "disputed")
    press(tab, "n", "n")
    tab.locator("#title", has_text="agreed").wait_for()
    assert times(tab) == [(2.1, 5.1), (7.0, 9.6)]
    assert tab.locator(".crowd .bar").first.inner_text() == "100 %"
    assert tab.locator(".whisker").first.get_attribute("title") == "start ± 0.07 s"

    # By keyboard: the first one's start a frame later, by exact seconds its end, a new class, a third one.
    tab.locator("#cover").wait_for(state="hidden")
    press(tab, "1")
    assert tab.locator("#clock").inner_text().startswith("0:02.10")
    press(tab, "ArrowRight", "[")
    assert times(tab)[0] == pytest.approx((2.2, 5.1))
    tab.locator("[data-field='0-end']").fill("4.321")
    press(tab, "Enter", "Escape", "c")
    assert times(tab)[0] == pytest.approx((2.2, 4.321))
    assert tab.locator("[data-field='0-class']").input_value() == "run"
    press(tab, "Escape", "Shift+ArrowRight", "a")
    assert len(times(tab)) == 3
    press(tab, "Control+z", "Control+z")
    assert tab.locator("[data-field='0-class']").input_value() == "jump"
    press(tab, "Control+y")
    assert tab.locator("[data-field='0-class']").input_value() == "run"
    # A time that is none is refused.
    tab.locator("[data-field='0-end']").fill("soon")
    press(tab, "Enter")
    assert "Times are like" in tab.locator("#toast").inner_text()
    assert times(tab)[0] == pytest.approx((2.2, 4.321))
    # So is one on the wrong side, or outside the video.
    for wrong, why in (
        ("1", "A segment starts before it ends. It stays as it was."),
        ("99", "The video runs from 0:00.00"),
    ):
        tab.locator("[data-field='0-end']").fill(wrong)
        press(tab, "Enter")
        assert why in tab.locator("#toast").inner_text()
        assert times(tab)[0] == pytest.approx((2.2, 4.321))
    press(tab, "Escape")

    # By mouse: the second one's end to 10.5 s, a new one drawn from 10.8 s to 11.6 s.
    track = tab.locator(".mine .track").bounding_box()

    def at(seconds: float) -> tuple[float, float]:
        return track["x"] + track["width"] * seconds / 12, track["y"] + track["height"] / 2

    def drag(start: tuple[float, float], end: tuple[float, float]) -> None:
        tab.mouse.move(*start)
        tab.mouse.down()
        tab.mouse.move(*end, steps=4)
        tab.mouse.up()

    tab.mouse.click(*at(8))
    drag((at(9.6)[0] - 4, at(9.6)[1]), (at(10.5)[0] - 4, at(9.6)[1]))
    assert times(tab)[1] == pytest.approx((7.0, 10.5), abs=FRAME)
    drag(at(10.8), at(11.6))
    assert times(tab)[2] == pytest.approx((10.8, 11.6), abs=FRAME)
    assert tab.locator(".saved").count() == 0  # nothing counts yet: the round is not complete
    assert "not saved" in tab.locator(".video", has_text="agreed").inner_text()
    shot(tab, "edited")
    changed = times(tab)
    press(tab, "n", "p")
    tab.locator("#title", has_text="agreed").wait_for()
    assert times(tab) == changed  # going elsewhere lost nothing
    press(tab, "n")
    tab.locator("#title", has_text="waiting").wait_for()
    press(tab, "p")
    tab.locator("#title", has_text="agreed").wait_for()
    assert times(tab) == changed

    press(tab, "s")
    tab.locator("#source", has_text="your review").wait_for()
    ((source, segments),) = stored(campaign, "agreed")
    assert source == "review"
    assert segments[0] == ("run", 2.2, 4.321)
    assert [s[0] for s in segments[1:]] == ["jump", "jump"]
    assert segments[1][1:] == pytest.approx((7.0, 10.5), abs=FRAME)
    tab.locator(".video", has_text="agreed").get_by_text("reviewed").wait_for()
    tab.locator("#back").click()
    tab.locator("#source", has_text="the crowd").wait_for()
    assert times(tab) == [(2.1, 5.1), (7.0, 9.6)]
    assert [source for source, _ in stored(campaign, "agreed")] == ["review", "crowd"]


def test_nothing_occurs_is_said_on_purpose(tab: Any, campaign: Any, page_of: Any) -> None:
    enter(tab, page_of(campaign), "waiting")
    press(tab, "s")
    assert "Mark what occurs, or say" in tab.locator("#toast").inner_text()
    press(tab, "a", "0")
    assert times(tab) == []
    press(tab, "Control+z")
    assert len(times(tab)) == 1
    press(tab, "0", "s")
    tab.locator("#source", has_text="your review").wait_for()
    assert stored(campaign, "waiting") == [("review", [])]
    tab.locator("#back").click()
    tab.get_by_text("nothing was known before this review").first.wait_for()


def test_two_tabs_lose_nothing(tab: Any, campaign: Any, page_of: Any) -> None:
    address = page_of(campaign)
    enter(tab, address, "disputed")
    other = tab.context.new_page()
    enter(other, address, "disputed")
    press(other, "a", "s")
    other.locator("#source", has_text="your review").wait_for()
    before = stored(campaign, "disputed")

    tab.bring_to_front()
    press(tab, *["Shift+ArrowRight"] * 3, "a", "Shift+ArrowRight", "a")
    mine = times(tab)
    press(tab, "s")
    tab.get_by_text("Somebody saved this video meanwhile").wait_for()
    assert stored(campaign, "disputed") == before
    assert times(tab) == mine
    assert tab.locator(".saved .bar").count() == 1
    shot(tab, "two-tabs")
    tab.get_by_role("button", name="Save mine above it").click()
    tab.locator("#source", has_text="your review").wait_for()
    assert [len(segments) for _, segments in stored(campaign, "disputed")] == [1, 2]
    assert not tab.locator("#banner").is_visible()

    # The other tab notices when it is looked at, and takes over what is there.
    press(other, "Delete")
    other.evaluate("dispatchEvent(new Event('focus'))")
    other.get_by_role("button", name="Use theirs").click()
    assert len(times(other)) == 2
    assert other.locator("#save").is_disabled()


def test_what_cannot_be_read_is_shown_as_text_and_judged(tab: Any, campaign: Any, page_of: Any) -> None:
    enter(tab, page_of(campaign), "broken")
    problems = [row.inner_text() for row in tab.locator(".problem").all()]
    assert "unknown version 7 of the answer" in problems
    assert any(p == "the worker reports 'does-not-play': 'It stays <b>black</b>'" for p in problems)
    tab.get_by_role("button", name="Worker ben").click()
    tab.get_by_role("button", name="As it came").click()
    # The XML as it came, escapes and all.
    tab.locator("#raw", has_text="&lt;img src=x onerror=alert(1)&gt;").wait_for()
    shot(tab, "raw")
    press(tab, "Escape")
    tab.locator("#raw-box").wait_for(state="hidden")
    # A rejection needs a reason, which its worker reads.
    tab.get_by_role("button", name="Reject").click()
    tab.locator("#say-send").click()
    tab.get_by_text("a rejection needs a reason").wait_for()
    tab.locator("#text").fill("Your page sent something else.")
    shot(tab, "reject")
    tab.locator("#say-send").click()
    tab.locator("#answer dd", has_text="Rejected by you: Your page sent something else.").wait_for()
    (rejected,) = [a for a in campaign.at_endpoint("broken") if a["AssignmentStatus"] == "Rejected"]
    assert rejected["RequesterFeedback"] == "Your page sent something else."
    tab.get_by_role("button", name="Write").click()
    tab.locator("#subject").fill("Thank you")
    tab.locator("#text").fill("Please use a newer browser.")
    tab.locator("#say-send").click()
    tab.locator("#say-box").wait_for(state="hidden")
    assert "Please use a newer browser." in campaign.home("ben")
    # What was reported is seen to.
    tab.locator("#told bdi", has_text="It stays <b>black</b>").wait_for()
    tab.get_by_role("button", name="Seen to it").click()
    tab.get_by_role("button", name="Seen to it").wait_for(state="detached")
    assert "reported" not in tab.locator(".video", has_text="broken").inner_text()
    # Taking over somebody's answer.
    tab.get_by_role("button", name="Worker ada").click()
    press(tab, "t")
    assert times(tab) == [(2.0, 4.0)]


def test_answers_that_come_in_meanwhile_appear_and_edits_stay(tab: Any, campaign: Any, page_of: Any) -> None:
    enter(tab, page_of(campaign), "waiting")
    press(tab, "0", "a", "Shift+ArrowRight", "a")
    mine = times(tab)
    campaign.hand_in("gina", "waiting", answer((4.0, 6.0)))
    campaign.ingest()
    tab.evaluate("dispatchEvent(new Event('focus'))")
    tab.get_by_role("button", name="Worker gina; jump 0:04.00 to 0:06.00").wait_for()
    assert times(tab) == mine
    assert not tab.locator("#banner").is_visible()
    assert tab.locator(".video", has_text="waiting").inner_text().count("1 answer") == 1


def test_proposals_gold_and_what_became_of_them_are_lanes(tab: Any, campaign: Any, page_of: Any) -> None:
    proposal = {"label": "jump", "start": 1.0, "end": 2.0}
    marked = [{**proposal, "end": 2.5, "origin": "corrected"}, {"label": "run", "start": 6, "end": 7, "origin": "own"}]
    campaign.hand_in("hans", "waiting", answer(segments=marked, none=False, prefilled=True, discarded=1))
    campaign.ingest()
    whole = Item("waiting", 0.0, 12.0)
    with campaign.workspace.store.transaction() as session:
        (hit,) = reviewing.item_hits(session, whole)
        hit.prefill, hit.purpose, hit.media_start = [proposal], "gold", 0.5
        truth = Annotation(whole, (Instance(1.5, 3.0, "jump"),), frozenset({"jump", "run"}))
        revisions.append(session, truth, "import")
    enter(tab, page_of(campaign), "waiting")
    assert tab.locator(".prefill .bar").get_attribute("title") == "jump, 0:01.50 to 0:02.50"
    assert tab.locator(".lane.gold .bar").get_attribute("title") == "jump, 0:01.50 to 0:03.00"
    tab.get_by_role("button", name="Worker hans").click()
    facts = tab.locator("#answer").inner_text()
    assert "1 corrected, 1 deleted, 1 added" in facts
    assert "a gold video" in facts
    assert "On gold: F1" in facts
    shot(tab, "gold")


def test_a_verdict_is_not_pretended_where_the_endpoint_is_away(tab: Any, campaign: Any, page_of: Any) -> None:
    url, campaign.url = campaign.url, "http://127.0.0.1:9"
    try:
        enter(tab, page_of(campaign), "broken")
    finally:
        campaign.url = url
    tab.get_by_role("button", name="Worker cleo").click()
    tab.get_by_role("button", name="Reject", exact=True).click()
    tab.locator("#text").fill("No.")
    tab.locator("#say-send").click()
    tab.get_by_text("does not answer, so nothing was done").wait_for()
    with campaign.workspace.store.transaction() as session:
        lines = reviewing.answer_lines(session)
    assert [line.status for line in lines if line.problem and "black" in line.problem] == ["Submitted"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_laptop_and_bars_nobody(tab: Any, campaign: Any, page_of: Any, scheme: str) -> None:
    tab.emulate_media(color_scheme=scheme)
    enter(tab, page_of(campaign), "broken")
    press(tab, "1", "j", "j")
    assert tab.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]") == [1280, 720]
    assert tab.locator("#stage").bounding_box()["height"] > 300
    found = Axe().run(tab)
    assert found.violations_count == 0, found.generate_report()
    shot(tab, scheme)
    press(tab, "?")
    tab.locator("#help-box").wait_for()
    found = Axe().run(tab)
    assert found.violations_count == 0, found.generate_report()
    shot(tab, f"help-{scheme}")
    # Every chip beside a video says what it means, under the pointer and in the help.
    chips = tab.locator("#list .chip")
    told = {re.sub(r"^\d+ ", "", chip.inner_text()): chip.get_attribute("title") for chip in chips.all()}
    legend = dict(zip(*(tab.locator(f"#legend {tag}").all_inner_texts() for tag in ("dt", "dd")), strict=True))
    assert {"unreadable", "low agreement"} <= told.keys()
    assert told.items() <= legend.items()


def test_every_control_is_reached_by_the_tab_key(tab: Any, campaign: Any, page_of: Any) -> None:
    enter(tab, page_of(campaign), "agreed")
    press(tab, "1", "j")
    tab.locator("#find").focus()
    reached = set()
    for _ in range(80):
        reached.add(
            tab.evaluate(
                "document.activeElement.id || document.activeElement.ariaLabel || document.activeElement.dataset.field"
            )
        )
        press(tab, "Tab")
    ways = "button:enabled, input, select, [tabindex='0']"
    names = tab.evaluate(
        "ways => [...document.querySelectorAll(ways)].filter((n) => n.checkVisibility() && !n.closest('dialog'))"
        ".map((n) => n.id || n.ariaLabel || n.dataset.field).filter(Boolean)",
        ways,
    )
    assert len(names) > 25
    assert set(names) <= reached
