"""The pictures of README and docs, taken from what `kloc demo` leaves: ``python -m benchmarks.pictures [DIR]``.

DIR holds a finished demo (one is made there if not, which takes minutes; default: a temporary folder). Pictures go to
docs/pictures/. Text in them is drawn by the machine's fonts: another machine makes other bytes of the same pages.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from benchmarks import annotator
from kloc.crowd.endpoint import admin, server
from kloc.formats import activitynet
from kloc.pipeline import crowd, demo, pool, selecting, serving
from kloc.pipeline.telling import Silent
from kloc.workspace import Workspace

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from kloc.records import Dataset

PICTURES = Path(__file__).resolve().parent.parent / "docs" / "pictures"
#: What GitHub shows of a README is 1012 pixels wide.
WIDTH, HEIGHT = 1280, 800
#: The video that the annotation page shows needs so many instances at least.
INSTANCES = 2
TOKEN = "a-token-for-whoever-takes-the-pictures-of-kloc"


def take(folder: Path) -> list[Path]:
    """Take all pictures from the demo in ``folder``; gives their files. Raises RuntimeError without a Chromium."""
    program = annotator.chromium()
    if program is None:
        raise RuntimeError("pictures need Chromium; install it")
    made = demo.demo(
        folder, n_videos=48, seed=7, tell=lambda *_: None, show_statistics=lambda _: None, reporter=Silent()
    )
    truth = activitynet.read(folder / "truth.json").dataset
    with annotator.browser(program) as browser:
        report = Path(made.facts["report"])
        return [
            annotating(browser, folder, truth),
            section(browser, report, "#learning", "learning-curve"),
            screen(browser, report, "report"),
        ]


@contextmanager
def tab(browser: Browser) -> Iterator[Any]:
    """A tab in light colours; fails when a script of the page throws."""
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.set_default_timeout(annotator.PATIENCE_S * 1000)
    yield page
    context.close()
    if errors:
        raise RuntimeError(f"a script of the page failed: {errors[0]}")


def screen(browser: Browser, page: Path, name: str) -> Path:
    """The first screen of a page on the disk."""
    with tab(browser) as opened:
        opened.goto(page.as_uri())
        return keep(opened.screenshot(), name)


def section(browser: Browser, page: Path, selector: str, name: str) -> Path:
    """One part of a page on the disk."""
    with tab(browser) as opened:
        opened.goto(page.as_uri())
        return keep(opened.locator(selector).screenshot(), name)


def annotating(browser: Browser, folder: Path, truth: Dataset) -> Path:
    """The annotation page in mid-work: all actions of a video but the last are marked, the last is opened."""
    video_id = next(
        v
        for v, a in sorted(truth.annotations.items())
        if len(a.instances) >= INSTANCES and len(truth.videos[v].labels) == 1
    )
    instances, start = truth.annotations[video_id].instances, truth.videos[video_id].start
    with (
        tempfile.TemporaryDirectory() as scratch,
        published(Path(scratch) / "w", folder, video_id) as url,
        tab(browser) as page,
    ):
        page.goto(f"{url}/w/{TOKEN}")
        page.get_by_role("button", name="Start the next task").click()
        page.wait_for_url("**/task/*")
        frame = annotator.framed(page)
        frame.locator("#guide-box").wait_for(state="visible")
        annotator.press(page, "Enter")
        duration = annotator.task_of(frame)["duration"]
        for one in instances:
            for moment in (one.start, one.end):
                page.mouse.click(*annotator.place(frame, moment - start, duration, "#ruler"))
                annotator.press(page, "a")
        middle = (instances[0].start + instances[0].end) / 2 - start
        page.mouse.click(*annotator.place(frame, middle, duration, "#ruler"))
        frame.locator("#list .pick").first.click()
        annotator.wait_for(page, lambda: frame.locator("#saved").inner_text() == "Saved", "saving")
        return keep(page.screenshot(), "annotating")


@contextmanager
def published(root: Path, folder: Path, video_id: str) -> Iterator[str]:
    """An endpoint at which one video of the demo waits to be annotated; gives its address."""
    settings = {"general.name": "kloc demo", "task.contact": "annotation@example.org", "task.expected_minutes": 1.0}
    pool.init(root, **settings)
    workspace = Workspace.open(root)
    video = next((folder / "videos").glob(f"{video_id}.*"))
    pool.add(workspace, [str(video), str(folder / "labels.csv")], reporter=Silent())
    with server.running(serving.endpoint_settings(workspace, port=0)) as url:
        selecting.select(workspace, batch=1, strategy="random", reporter=Silent())
        crowd.publish(workspace, url=url, reporter=Silent())
        admin.ensure_worker(serving.database_url(workspace), "Ada", TOKEN)
        yield url
    workspace.close()


def keep(png: bytes, name: str) -> Path:
    """Write a screenshot in 256 colours, which is a third of the bytes."""
    path = PICTURES / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    return path


def main() -> None:
    """Take the pictures and say how large they are."""
    with tempfile.TemporaryDirectory() as scratch:
        for path in take(Path(sys.argv[1] if len(sys.argv) > 1 else scratch)):
            print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
