"""The pictures of README and docs, taken from what `kloc demo` leaves: ``python -m benchmarks.pictures [DIR]``.

DIR holds a finished demo (one is made there if not, which takes minutes; default: a temporary folder). Pictures go to
docs/pictures/. Text in them is drawn by the machine's fonts: another machine makes other bytes of the same pages.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from benchmarks import annotator
from kloc.crowd.endpoint import admin, server
from kloc.formats import activitynet, labels_csv
from kloc.pipeline import crowd, demo, pool, selecting, serving
from kloc.pipeline.telling import Silent
from kloc.workspace import Workspace

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from kloc.records import Dataset, Video

PICTURES = Path(__file__).resolve().parent.parent / "docs" / "pictures"
#: What GitHub shows of a README is 1012 pixels wide.
WIDTH, NARROW, HEIGHT = 1280, 900, 800
#: A README should be quick to load.
MOST_BYTES = 150_000
#: The demo's video that the annotation page shows.
SHOWN = "demo_010"
TOKEN = "a-token-for-whoever-takes-the-pictures-of-kloc"


def take(folder: Path) -> list[Path]:
    """Take all pictures from the demo in ``folder``; gives their files. Raises RuntimeError without a Chromium."""
    program = annotator.chromium()
    if program is None:
        raise RuntimeError("pictures need Chromium; install it")
    demo.demo(folder, n_videos=48, seed=7, tell=_nothing, show_statistics=_nothing, reporter=Silent())
    truth = activitynet.read(folder / "truth.json").dataset
    reports = folder / demo.ARMS[0] / "reports"
    for command in ("stats", "evaluate"):
        kloc(command, "--html", str(reports / f"{command}.html"), "--workspace", str(reports.parent))
    with annotator.browser(program) as browser:
        return [
            annotating(browser, folder, truth),
            part(browser, reports / "report.html", "#learning", "learning-curve", NARROW),
            part(browser, reports / "report.html", "#videos .video >> nth=1", "report", NARROW),
            part(browser, reports / "stats.html", "#attributes", "statistics", WIDTH),
            part(browser, reports / "evaluate.html", "#false-positives", "evaluation", WIDTH),
        ]


def _nothing(*_: object) -> None:
    """Whom nobody listens to."""


def kloc(*arguments: str) -> None:
    """Run a command of kloc, quietly."""
    subprocess.run([sys.executable, "-m", "kloc", *arguments], check=True, stdout=subprocess.DEVNULL)


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


def part(browser: Browser, page: Path, selector: str, name: str, width: int) -> Path:
    """One part of a page on the disk, in a window of that width."""
    with tab(browser) as opened:
        opened.set_viewport_size({"width": width, "height": HEIGHT})
        opened.goto(page.as_uri())
        return keep(opened.locator(selector).screenshot(), name)


def annotating(browser: Browser, folder: Path, truth: Dataset) -> Path:
    """The annotation page in mid-work: all actions of :data:`SHOWN` are marked, the longest is chosen."""
    video, instances = truth.videos[SHOWN], truth.annotations[SHOWN].instances
    chosen = max(range(len(instances)), key=lambda i: instances[i].duration)
    with (
        tempfile.TemporaryDirectory() as scratch,
        published(Path(scratch) / "w", folder, video) as url,
        tab(browser) as page,
    ):
        page.goto(f"{url}/w/{TOKEN}")
        page.get_by_role("button", name="Start the next task").click()
        page.wait_for_url("**/task/*")
        frame = annotator.framed(page)
        frame.locator("#guide-box").wait_for(state="visible")
        annotator.press(page, "Enter")
        for one in instances:
            for moment in (one.start, one.end):
                seek(page, frame, moment - video.start)
                annotator.press(page, "a")
        annotator.wait_for(page, lambda: len(annotator.times(frame)) == len(instances), "marking")
        frame.locator("#list .pick").nth(chosen).click()
        frame.wait_for_selector(".edges", state="visible")
        seek(page, frame, (instances[chosen].start + instances[chosen].end) / 2 - video.start)
        frame.locator("#toast").wait_for(state="hidden")
        annotator.wait_for(page, lambda: frame.locator("#saved").inner_text() == "Saved", "saving")
        return keep(page.screenshot(), "annotating")


def seek(page: Any, frame: Any, seconds: float) -> None:
    """Click on the ruler, and wait until the picture is that of the moment."""
    page.mouse.click(*annotator.place(frame, seconds, annotator.task_of(frame)["duration"], "#ruler"))
    video = "document.getElementById('video')"
    there = f"!{video}.seeking && Math.abs({video}.currentTime - {seconds}) < 0.2"
    annotator.wait_for(page, lambda: frame.evaluate(there), "seeking")


@contextmanager
def published(root: Path, folder: Path, video: Video) -> Iterator[str]:
    """An endpoint at which one video of the demo waits to be annotated; gives its address."""
    settings = {"general.name": "kloc demo", "task.contact": "annotation@example.org", "task.expected_minutes": 1.0}
    pool.init(root, **settings)
    workspace = Workspace.open(root)
    file = next((folder / "videos").glob(f"{video.id}.*"))
    labels_csv.write(root / "labels.csv", {video.id: video.labels})
    pool.add(workspace, [str(file), str(root / "labels.csv")], reporter=Silent())
    with server.running(serving.endpoint_settings(workspace, port=0)) as url:
        selecting.select(workspace, batch=1, strategy="random", reporter=Silent())
        crowd.publish(workspace, url=url, reporter=Silent())
        admin.ensure_worker(serving.database_url(workspace), "Ada", TOKEN)
        yield url
    workspace.close()


def keep(png: bytes, name: str) -> Path:
    """Write a screenshot; a large one in 256 colours, which is a third of the bytes."""
    path = PICTURES / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.save(path, optimize=True)
    if path.stat().st_size > MOST_BYTES:
        picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    return path


def main() -> None:
    """Take the pictures and say how large they are."""
    with tempfile.TemporaryDirectory() as scratch:
        for path in take(Path(sys.argv[1] if len(sys.argv) > 1 else scratch)):
            print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
