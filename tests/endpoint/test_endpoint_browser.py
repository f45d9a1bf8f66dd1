"""In Chromium: what a sandboxed frame can do, what it cannot, and a task from the list to the thank-you."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from endpoint_kit import Endpoint, Person, html_question

from benchmarks.annotator import hand_in
from kloc.config import TaskConfig
from kloc.crowd.page import render

pytestmark = pytest.mark.browser

FPS, SECONDS = 10, 12

#: A page that tries what a hostile one would try, and what an honest one needs. Its findings become its answer.
PROBE = """
<video id="v" crossorigin="anonymous" preload="auto" muted></video>
<form id="f" method="post"><input name="assignmentId" type="hidden"><input name="found" type="hidden">
<button id="send">Send</button></form>
<script>
const p = new URLSearchParams(location.search), found = {};
const attempt = async (name, f) => { try { found[name] = await f(); } catch (e) { found[name] = "refused"; } };
const once = (node, name) => new Promise((good, bad) => {
  node.addEventListener(name, good, { once: true }); node.addEventListener("error", bad, { once: true }); });
(async () => {
  found.origin = self.origin;
  await attempt("storage", () => localStorage.length);
  await attempt("cookie", () => document.cookie);
  await attempt("parent", () => parent.document.title);
  await attempt("shell_address", () => parent.location.href);
  await attempt("top", () => { top.location = "about:blank"; return "moved"; });
  await attempt("elsewhere", async () => (await fetch("http://localhost:1/", { mode: "no-cors" })).type);
  await attempt("popup", () => window.open("about:blank") ? "opened" : "refused");
  await attempt("draft", async () => (await fetch(p.get("draftUrl"), { method: "PUT", body: '{"a": 1}',
    headers: { "Content-Type": "application/json" } })).status);
  await attempt("draft_back", async () => (await (await fetch(p.get("draftUrl"))).json()).a);
  const v = document.getElementById("v");
  await attempt("seek", async () => {
    v.src = p.get("mediaUrl"); await once(v, "loadeddata");
    v.currentTime = 7.5; await once(v, "seeked"); return v.currentTime; });
  await attempt("pixels", () => {
    const c = document.createElement("canvas"); c.width = c.height = 8;
    const x = c.getContext("2d"); x.drawImage(v, 0, 0, 8, 8); return x.getImageData(4, 4, 1, 1).data[3]; });
  const form = document.getElementById("f");
  form.action = p.get("turkSubmitTo") + "/mturk/externalSubmit";
  form.elements.assignmentId.value = p.get("assignmentId");
  form.elements.found.value = JSON.stringify(found);
  document.body.dataset.done = JSON.stringify(found);
})();
</script>
"""


@pytest.fixture
def tab(chromium: Any) -> Iterator[Any]:
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(30_000)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert errors == []


def publish(endpoint: Endpoint, video: Path, question: str) -> tuple[Person, str]:
    shutil.copy(video, Path(endpoint.settings.media_folder) / "v.mp4")
    return endpoint.person(), endpoint.hit(Question=question, MaxAssignments=1)


def test_the_walls_around_the_frame_and_the_doors_in_them(endpoint: Endpoint, video: Path, tab: Any) -> None:
    person, hit_id = publish(endpoint, video, html_question(PROBE, media_key="v"))
    tab.goto(f"{endpoint.url}/w/{person.token}")
    tab.get_by_role("button", name="Accept").click()
    tab.wait_for_url("**/task/*")
    frame = tab.frame_locator("iframe")
    frame.locator("body[data-done]").wait_for()
    found = frame.locator("body").evaluate("body => JSON.parse(body.dataset.done)")
    assert found == {
        "origin": "null",
        "storage": "refused",
        "cookie": "refused",
        "parent": "refused",
        "shell_address": "refused",
        "top": "refused",
        "elsewhere": "refused",
        "popup": "refused",
        "draft": 204,
        "draft_back": 1,
        "seek": 7.5,
        "pixels": 255,
    }
    # The frame may claim to be done; the shell asks the server.
    frame.locator("body").evaluate("() => parent.postMessage({ type: 'kloc-submitted' }, '*')")
    tab.wait_for_timeout(300)
    assert not tab.get_by_text("Thank you, your answer is in.").is_visible()
    frame.get_by_role("button", name="Send").click()
    tab.get_by_role("button", name="Next task").click()
    tab.get_by_text("There is no open task for you").wait_for()
    (answer,) = endpoint.mturk.list_assignments_for_hit(HITId=hit_id)["Assignments"]
    assert "draft_back" in answer["Answer"]


def test_the_frame_opened_by_itself_is_sandboxed_too(endpoint: Endpoint, video: Path, tab: Any) -> None:
    person, hit_id = publish(endpoint, video, html_question("<p>Look</p>"))
    tab.goto(person.take(hit_id)["frame_url"])
    tab.get_by_text("Look").wait_for()
    assert tab.evaluate("() => self.origin") == "null"
    assert tab.evaluate("() => { try { return localStorage.length; } catch { return 'refused'; } }") == "refused"


def test_the_annotation_page_works_inside(endpoint: Endpoint, video: Path, tab: Any) -> None:
    task = {
        "version": 1,
        "video_id": "v",
        "media_key": "v",
        "media_type": "video/mp4",
        "duration": float(SECONDS),
        "frame_period": 1 / FPS,
        "classes": [{"name": "long jump", "definition": "A person jumps as far as possible into a sand pit."}],
        "guideline": "g-1",
        "title": "Mark actions in a short video",
        "instructions": TaskConfig().instructions,
        "reward": "0.50",
        "expected_minutes": 3.0,
        "contact": "annotation@example.org",
        "prefill": [],
    }
    content = f"<HTMLContent><![CDATA[{render(task)}]]></HTMLContent><FrameHeight>0</FrameHeight>"
    namespace = html_question().split('"')[1]
    person, hit_id = publish(endpoint, video, f'<HTMLQuestion xmlns="{namespace}">{content}</HTMLQuestion>')
    home = f"{endpoint.url}/w/{person.token}"
    tab.goto(f"{home}/preview/{hit_id}")
    frame = tab.frame_locator("iframe")
    frame.locator("#stage").wait_for()
    tab.get_by_role("button", name="Accept").click()
    tab.wait_for_url("**/task/*")
    frame.locator("video").first.evaluate("v => new Promise(go => v.readyState >= 2 ? go() : v.onloadeddata = go)")
    frame.get_by_role("button", name="Go to the video").click()
    with tab.expect_response(lambda reply: "/draft/" in reply.url and reply.request.method == "PUT") as saved:
        frame.locator("#none").click()
    assert saved.value.status == 204
    tab.reload()
    frame.locator("#none[aria-checked=true]").wait_for()
    hand_in(frame)
    tab.get_by_text("Thank you, your answer is in.").wait_for()
    assert tab.get_by_role("button", name="Next task").is_visible()
    assert not tab.locator("iframe").is_visible()
    (answer,) = endpoint.mturk.list_assignments_for_hit(HITId=hit_id)["Assignments"]
    assert '"none":true' in answer["Answer"]
