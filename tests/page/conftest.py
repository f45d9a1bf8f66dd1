"""A tiny real video, a real server with Range, drafts and submissions, and a real Chromium."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import av
import numpy as np
import pytest

from kloc.config import TaskConfig
from kloc.crowd.page import render

FPS = 25
SECONDS = 12

TASK: dict[str, Any] = {
    "version": 1,
    "mode": "task",
    "video_id": "v_jump",
    "media_key": "m1",
    "media_type": "video/mp4",
    "duration": float(SECONDS),
    "frame_period": 1 / FPS,
    "classes": [
        {
            "name": "long jump",
            "definition": "A person runs up and jumps as far as possible into a sand pit.",
            "start_rule": "The first step of the run-up.",
            "end_rule": "The body comes to rest in the sand.",
        }
    ],
    "guideline": "g-1",
    "title": "Mark actions in a short video",
    "instructions": f"{TaskConfig().instructions}\n\nHalf a second matters.",
    "reward": "0.50",
    "expected_minutes": 3.0,
    "contact": "annotation@example.org",
    "prefill": [],
}


@pytest.fixture
def task() -> dict[str, Any]:
    return json.loads(json.dumps(TASK))


@pytest.fixture(scope="session")
def tiny_video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """12 s of a bright square that crosses a dark field, H.264, a key frame every 10 frames."""
    path = tmp_path_factory.mktemp("page") / "tiny.mp4"
    with av.open(str(path), "w", options={"movflags": "faststart"}) as out:
        stream = out.add_stream("libx264", rate=FPS, options={"g": "10", "preset": "veryfast", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        y, x = np.mgrid[0:180, 0:320]
        ground = np.stack([30 + x / 8, 45 + y / 4, 70 + x / 16], axis=-1).astype(np.uint8)
        for k in range(FPS * SECONDS):
            picture = ground.copy()
            left = int(k * 280 / (FPS * SECONDS))
            picture[70:110, left : left + 40] = (240, 200, 80)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                out.mux(packet)
        for packet in stream.encode(None):
            out.mux(packet)
    return path.read_bytes()


@dataclass
class WorkServer:
    """What the endpoint does for a page: serves page and media, keeps drafts, takes answers."""

    video: bytes
    pages: dict[str, str] = field(default_factory=dict)
    drafts: dict[str, Any] = field(default_factory=dict)
    answers: list[dict[str, str]] = field(default_factory=list)
    #: How the next POSTs fail before one is accepted: an HTTP status, or 0 for a closed connection.
    failures: list[int] = field(default_factory=list)
    posts: int = 0
    reports: list[Any] = field(default_factory=list)
    #: What a graded answer gets back.
    grade: dict[str, Any] | None = None
    #: Whether parts of the video can be asked for.
    ranges: bool = True
    #: Whether a script, too, may fetch the video (a player always may).
    whole: bool = True
    #: Nothing is kept: drafts and answers end without an answer.
    down: bool = False
    #: Requests for the video end without an answer.
    media_down: bool = False
    share: bool = True
    base: str = ""

    def frame(self, page: str, **params: str) -> str:
        """Address of the outer document that shows ``page`` in the sandboxed frame."""
        return f"{self.base}/shell?" + urlencode({"src": f"{self.base}/{page}?{urlencode(params)}"})

    def work(self, page: str, assignment: str = "A1", **more: str) -> str:
        params = {"assignmentId": assignment, "hitId": "H1", "workerId": "AW1", "turkSubmitTo": self.base}
        params |= {"mediaUrl": f"{self.base}/media.mp4", "draftUrl": f"{self.base}/draft/{assignment}"}
        return self.frame(page, **(params | more))


SHELL = """<!doctype html>
<style>html,body{margin:0;height:100%%}iframe{border:0;width:100%%;height:100%%;display:block}</style>
<script>
window.heard = [];
window.unsent = false;
addEventListener("beforeunload", (event) => { if (unsent) event.preventDefault(); });
window.read = !new URLSearchParams(location.search).has("fresh");
addEventListener("message", ({ source, data }) => {
  if (data.type === "kloc-guide") source.postMessage({ ...data, read }, "*");
  else if (data.type === "kloc-guide-read") read = true;
  else if (data.type === "kloc-unsent") unsent = data.unsent;
  else if (new URLSearchParams(location.search).has("forgetful")) heard.push(data);
  else if (data.type === "kloc-kept") source.postMessage({ ...data, read: localStorage.getItem(data.key) ?? "" }, "*");
  else if (data.type === "kloc-keep" && data.text === null) localStorage.removeItem(data.key);
  else if (data.type === "kloc-keep") localStorage.setItem(data.key, data.text);
  else heard.push(data);
});
</script>
<iframe name="task" sandbox="allow-scripts allow-forms" src="%s"></iframe>"""


# What the endpoint says about pages that it did not write.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src ORIGIN data: blob:; "
    "media-src ORIGIN blob:; connect-src ORIGIN; form-action ORIGIN; sandbox allow-scripts allow-forms"
)


def _handler(server: WorkServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def reply(self, status: int, body: bytes, kind: str, **headers: str) -> None:
            self.send_response(status)
            if server.share:
                self.send_header("Access-Control-Allow-Origin", "*")
                self.send_header("Access-Control-Allow-Methods", "GET, PUT, POST, HEAD")
                self.send_header("Access-Control-Allow-Headers", "content-type")
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def drop(self) -> None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

        def body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def do_OPTIONS(self) -> None:
            self.reply(204, b"", "text/plain")

        def do_HEAD(self) -> None:
            self.reply(405, b"", "text/plain")

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            name = url.path.strip("/")
            if name == "shell":
                source = parse_qs(url.query)["src"][0].replace("&", "&amp;")
                self.reply(200, (SHELL % source).encode(), "text/html")
            elif name == "media.mp4":
                self.media()
            elif name == "broken.mp4":
                self.reply(200, b"not a video at all", "video/mp4")
            elif name.startswith("draft/"):
                found = server.drafts.get(name)
                self.reply(200 if found else 404, json.dumps(found).encode(), "application/json")
            elif name in server.pages:
                policy = POLICY.replace("ORIGIN", server.base)
                kind = "text/html; charset=utf-8"
                self.reply(200, server.pages[name].encode(), kind, Content_Security_Policy=policy)
            else:
                self.reply(404, b"", "text/plain")

        def media(self) -> None:
            wanted = self.headers.get("Range")
            by_script = not wanted and self.headers.get("Sec-Fetch-Mode") == "cors"
            if server.media_down or (by_script and not server.whole):
                self.drop()
                return
            if not wanted or not server.ranges:
                self.reply(200, server.video, "video/mp4")
                return
            first, last = wanted.removeprefix("bytes=").split("-")
            start, end = int(first), min(int(last) if last else len(server.video) - 1, len(server.video) - 1)
            span = f"bytes {start}-{end}/{len(server.video)}"
            self.reply(206, server.video[start : end + 1], "video/mp4", Accept_Ranges="bytes", Content_Range=span)

        def do_PUT(self) -> None:
            if server.down:
                self.drop()
                return
            server.drafts[self.path.strip("/")] = json.loads(self.body())
            self.reply(200, b"{}", "application/json")

        def do_POST(self) -> None:
            body = self.body().decode()
            if self.path.startswith("/report/"):
                failure = server.failures.pop(0) if server.failures else 200
                server.reports += [json.loads(body)] if failure == 200 else []
                self.reply(failure, b'{"status": "returned"}', "application/json")
                return
            sent = {key: values[0] for key, values in parse_qs(body).items()}
            assert self.path == "/mturk/externalSubmit"
            server.posts += 1
            failure = server.failures.pop(0) if server.failures else None
            if failure == 0 or server.down:
                self.drop()
            elif failure is not None:
                self.reply(failure, b'{"message": "The assignment has expired"}', "application/json")
            else:
                server.answers.append(sent)
                if server.grade is not None:
                    self.reply(200, json.dumps(server.grade).encode(), "application/json")
                    return
                self.reply(200, b"<p id=plain>Received</p>", "text/html")

    return Handler


@pytest.fixture
def server(tiny_video: bytes, task: dict[str, Any]) -> Iterator[WorkServer]:
    state = WorkServer(tiny_video, {"page": render(task)})
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(state))
    http.daemon_threads = True
    state.base = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield state
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture
def make_tab(chromium: Any) -> Iterator[Any]:
    """Fresh tabs, 1280x720 or as asked for; the test fails if any script of a page threw."""
    contexts: list[Any] = []
    errors: list[str] = []

    def make(**options: Any) -> Any:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 720}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.set_default_timeout(30_000)
        return page

    yield make
    for context in contexts:
        context.close()
    assert errors == []


@pytest.fixture
def tab(make_tab: Any) -> Any:
    """One fresh tab of a laptop's size."""
    return make_tab()
