"""A report's page as a reader opens it: from the disk, in Chromium."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page

from benchmarks import annotator


def opened(
    browser: Browser, path: Path, html: str, width: int, scheme: Literal["light", "dark"] = "light"
) -> tuple[Page, list[str]]:
    """The page, and a list that fills with what it says on the console, throws, or asks the network for.

    Where $KLOC_SCREENSHOTS names a folder, a picture of the whole page is kept there.
    """
    path.write_text(html, encoding="utf-8")
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    trouble: list[str] = []
    page.on("console", lambda message: trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else trouble.append(r.url))
    page.goto(path.as_uri())
    annotator.picture(page, f"{path.stem}-{width}-{scheme}", whole=True)
    return page, trouble
