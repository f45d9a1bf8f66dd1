"""One reviewed campaign for the whole module: published, answered over HTTP, ingested; its page in real Chromium."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from benchmarks.small_campaign import Review, answer, make_workspace
from kloc.crowd.endpoint.listening import in_thread, listen
from kloc.crowd.endpoint.server import running
from kloc.pipeline import serving
from kloc.pipeline.reviewing import Desk
from kloc.review.server import HOST, create_app

TOKEN = "a-token-of-the-tests"


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Review]:
    """Four videos: agreed on, disputed, with unreadable answers, and one that nobody has answered yet."""
    workspace = make_workspace(tmp_path_factory.mktemp("review") / "w", ["agreed", "broken", "disputed", "waiting"])
    with running(serving.endpoint_settings(workspace, port=0)) as url, httpx.Client(timeout=30) as http:
        review = Review(workspace, url, http)
        review.publish(4)
        for name, shift in (("ada", 0.0), ("ben", 0.2), ("cleo", 0.1)):
            review.hand_in(name, "agreed", answer((2 + shift, 5 + shift), (7.0, 9.5 + shift)))
        review.hand_in("ada", "disputed", answer((1.0, 3.0)))
        review.hand_in("ben", "disputed", answer((6.0, 9.0), label="run"))
        review.hand_in("cleo", "disputed", answer(seconds_spent=1, watched=[]))
        review.hand_in("ada", "broken", answer((2.0, 4.0)))
        review.hand_in("ben", "broken", '{"version": 7, "segments": "<img src=x onerror=alert(1)>"}')
        review.hand_in("cleo", "broken", answer(problem={"kind": "does-not-play", "text": "It stays <b>black</b>"}))
        review.ingest()
        yield review
    workspace.close()


@pytest.fixture
def page_of() -> Iterator[Callable[..., str]]:
    """``page_of(review, **desk)``: the address of a review page that is being served."""
    closing: list[Any] = []

    def start(review: Review, **narrowed: Any) -> str:
        listening = listen(HOST, 0)
        server = in_thread(create_app(Desk(review.workspace, url=review.url, **narrowed), TOKEN), listening)
        server.__enter__()
        closing.append(server)
        return f"http://{HOST}:{listening.getsockname()[1]}/{TOKEN}/"

    yield start
    for server in reversed(closing):
        server.__exit__(None, None, None)


@pytest.fixture
def tab(chromium: Any) -> Iterator[Any]:
    """A fresh 1280x720 tab; no script of the page may throw, nothing may be refused by its policy."""
    context = chromium.new_context(viewport={"width": 1280, "height": 720})
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if "Content Security" in message.text else None)
    page.set_default_timeout(20_000)
    yield page
    context.close()
    assert errors == []
