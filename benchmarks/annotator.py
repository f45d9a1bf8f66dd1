"""The hands and eyes of a worker in a real browser: what tests and the measure ``annotating`` share."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Error, sync_playwright

from benchmarks import timecodes

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PATIENCE_S = 30.0
#: More steps than any search for a frame takes.
_STEPS = 200
# It may run as root in a container, and calls nobody.
_SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--mute-audio",
)

#: Run before any script of a tab: what players show may then be read back from a canvas (the endpoint allows it).
#: Screenshots will not do: on a busy machine they show a paused video's frame of a third of a second ago.
READABLE = """
const source = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, "src");
Object.defineProperty(HTMLMediaElement.prototype, "src", {
  ...source,
  set(address) {
    if (!address.startsWith("blob:")) this.crossOrigin = "anonymous";
    source.set.call(this, address);
  },
});
"""
# Keeps in mind which frame of the video was the last to be drawn.
_WATCH = """() => {
  const video = document.getElementById("video");
  const drawn = (now, { mediaTime }) => { video.drawn = mediaTime; video.requestVideoFrameCallback(drawn); };
  video.requestVideoFrameCallback(drawn);
}"""
# The picture is the playhead's once the video has arrived there and the frame that was drawn last begins less than a
# frame before it (or, where nothing new had to be drawn, after a second).
_PICTURE = """async (frame) => {
  const video = document.getElementById("video");
  const ruler = document.getElementById("ruler");
  const there = () => !video.seeking && Math.abs(video.currentTime - ruler.ariaValueNow) < 0.006
    && Math.abs(video.currentTime - video.drawn - frame / 2) < frame * 0.51;
  for (const began = performance.now(); !there() && (video.seeking || performance.now() - began < 1000);) {
    await new Promise(requestAnimationFrame);
  }
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  return canvas.toDataURL().split(",")[1];
}"""


def chromium() -> str | None:
    """The path of an installed Chromium or Chrome."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def browser(program: str) -> Iterator[Browser]:
    """A headless Chromium (playwright allows one driver per process)."""
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program, args=list(_SWITCHES))
        try:
            yield launched
        finally:
            launched.close()


def enter(tab: Any, address: str) -> Any:
    """Open the page that frames a task; gives the task's frame once its video can be played."""
    tab.goto(address)
    return framed(tab)


def framed(tab: Any) -> Any:
    """The task's frame once its video can be played."""
    tab.wait_for_selector("iframe")
    wait_for(tab, lambda: len(tab.frames) > 1)
    frame = tab.frames[1]
    frame.wait_for_selector("#cover", state="hidden")
    frame.evaluate(_WATCH)
    return frame


def hand_in(frame: Any, clicks: int = 1) -> None:
    """Press Submit, and again where the page asks because little of the video was watched."""
    frame.locator("#submit").click(click_count=clicks)
    try:
        asked = frame.locator("#watch-box").is_visible()
    except Error:  # the answer is in, and the frame is gone
        return
    if asked:
        frame.get_by_role("button", name="Submit all the same").click(click_count=clicks)


def press(tab: Any, *keys: str) -> None:
    """Press one key after the other."""
    for key in keys:
        tab.keyboard.press(key)


def times(frame: Any) -> list[tuple[float, ...]]:
    """Start and end of every segment as the list shows them, seconds; for videos below an hour."""
    rows = frame.locator("#list li").all()
    texts = [[row.locator(f".{edge}").input_value().split(":") for edge in ("start", "end")] for row in rows]
    return [tuple(int(minutes) * 60 + float(seconds) for minutes, seconds in row) for row in texts]


def wait_for(tab: Any, condition: Callable[[], Any], what: str = "it") -> None:
    """Wait until a condition holds. Raises TimeoutError."""
    patience = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > patience:
            raise TimeoutError(f"{what} did not happen within {PATIENCE_S:.0f} s")
        tab.wait_for_timeout(20)


def place(frame: Any, seconds: float, duration: float, row: str = "#lane") -> tuple[float, float]:
    """Where a time is on the screen while the whole video is in view."""
    box = frame.locator(row).bounding_box()
    return box["x"] + box["width"] * seconds / duration, box["y"] + box["height"] / 2


def drag(tab: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag with the mouse."""
    tab.mouse.move(*start)
    tab.mouse.down()
    tab.mouse.move(*end, steps=4)
    tab.mouse.up()


def drag_handle(tab: Any, frame: Any, edge: str, to: tuple[float, float]) -> None:
    """Drag the ``start`` or ``end`` handle of the chosen segment."""
    box = frame.locator(f".bar.on .handle[data-edge={edge}]").bounding_box()
    drag(tab, (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2), to)


def task_of(frame: Any) -> dict[str, Any]:
    """The task that a page was made of."""
    return dict(frame.evaluate("JSON.parse(document.getElementById('kloc-task').textContent)"))


def shown(frame: Any) -> int:
    """The time that the displayed picture says, ticks (see :mod:`benchmarks.timecodes`); needs :data:`READABLE`."""
    png = base64.b64decode(frame.evaluate(_PICTURE, task_of(frame)["frame_period"]))
    return timecodes.read(np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=np.uint8))


def go_to(tab: Any, frame: Any, ticks: int, near: float, duration: float, *, last: bool = False) -> None:
    """Step to the first (or last) moment at which the picture says ``ticks``, beginning at ``near`` media seconds."""
    tab.mouse.click(*place(frame, near, duration, "#ruler"))
    back, on = ("ArrowRight", "ArrowLeft") if last else ("ArrowLeft", "ArrowRight")

    def beyond(picture: int) -> bool:
        return picture <= ticks if last else picture >= ticks

    at = None
    for _ in range(_STEPS):  # one step too far, or to the video's end
        here = frame.locator("#clock b").inner_text()
        if not beyond(shown(frame)) or here == at:
            break
        at = here
        press(tab, back)
    for _ in range(_STEPS):
        if shown(frame) == ticks:
            return
        press(tab, on)
    raise RuntimeError(f"no picture near {near:.2f} s says {ticks}")


def severe(frame: Any) -> list[str]:
    """What axe-core finds serious or critical in a frame, one line each."""
    found = Axe().run(frame, options={"resultTypes": ["violations"], "iframes": False}).response["violations"]
    return [
        f"{each['id']} ({each['impact']}): {node['html'][:160]} {json.dumps(node['any'][:1])[:300]}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


def picture(tab: Any, name: str, *, whole: bool = False) -> None:
    """A screenshot of what is seen, or of the whole page, in the folder that $KLOC_SCREENSHOTS names, if any."""
    folder = os.environ.get("KLOC_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        tab.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=whole)
