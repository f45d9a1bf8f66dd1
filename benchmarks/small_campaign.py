"""A small campaign over real HTTP: generated videos, a running endpoint, people who hand in what they are told."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from kloc.crowd.endpoint import admin
from kloc.pipeline import crowd, pool, selecting, serving
from kloc.pipeline.telling import Silent
from kloc.store import crowd as stored
from kloc.video.write import write_video
from kloc.workspace import Workspace

FPS, SECONDS = 10, 12
JSON = {"Accept": "application/json"}
SETTINGS: dict[str, Any] = {
    "general.name": "Jumps",
    "general.workers": 1,
    "task.assignments": 3,
    "task.reward": "0.10",
    "task.contact": "annotation@example.org",
}


def answer(*segments: tuple[float, float], label: str = "jump", **changes: Any) -> dict[str, Any]:
    """What the page would send, media seconds."""
    marked = [{"label": label, "start": start, "end": end} for start, end in segments]
    values = {"version": 1, "segments": marked, "none": not marked, "seconds_spent": 30, "watched": [[0, SECONDS]]}
    return values | {"guideline": "g", "prefilled": False} | changes


def make_workspace(root: Path, names: list[str], **changes: Any) -> Workspace:
    """A workspace with short videos of a square that crosses the picture, labelled with two classes."""
    pool.init(root, **(SETTINGS | changes))
    workspace = Workspace.open(root)
    folder = root / "films"
    folder.mkdir()
    for index, name in enumerate(names):
        frames = np.full((FPS * SECONDS, 90, 160, 3), 40 + index, np.uint8)
        for k in range(len(frames)):
            frames[k, 30:60, k : k + 30] = (240, 200, 80)
        write_video(folder / f"{name}.mp4", frames, FPS)
    (folder / "labels.csv").write_text("video,label\n" + "".join(f"{name},jump\n{name},run\n" for name in names))
    pool.add(workspace, [str(folder), str(folder / "labels.csv")], reporter=Silent())
    return workspace


def token_of(name: str) -> str:
    """The token of a worker's link."""
    return f"a-token-{hashlib.sha256(name.encode()).hexdigest()}"


@dataclass
class Review:
    """A published round and the people who work on it."""

    workspace: Workspace
    url: str
    http: httpx.Client

    def publish(self, count: int) -> None:
        selecting.select(self.workspace, batch=count, strategy="random", reporter=Silent())
        crowd.publish(self.workspace, url=self.url, reporter=Silent())

    def ingest(self) -> None:
        crowd.ingest(self.workspace, url=self.url, reporter=Silent())

    def hire(self, name: str) -> None:
        """Let ``name`` in."""
        admin.ensure_worker(serving.database_url(self.workspace), name, token_of(name))

    def lease(self, name: str, hit_id: str) -> str:
        """``name`` accepts a task; gives the assignment's id."""
        self.hire(name)
        response = self.http.post(f"{self.url}/w/{token_of(name)}/accept/{hit_id}", headers=JSON)
        assert response.status_code == 200, response.text
        return str(response.json()["assignment_id"])

    def hits(self) -> dict[str, str]:
        """HIT ids by video."""
        with self.workspace.store.transaction() as session:
            return {row.video_id: row.hit_id or "" for row in stored.hits(session)}

    def hand_in(self, name: str, video: str, content: dict[str, Any] | str) -> str:
        """``name`` accepts the task of ``video`` and hands ``content`` in; gives the assignment's id."""
        assignment_id = self.lease(name, self.hits()[video])
        text = content if isinstance(content, str) else json.dumps(content)
        data = {"assignmentId": assignment_id, "answer": text}
        assert self.http.post(f"{self.url}/mturk/externalSubmit", data=data, headers=JSON).status_code == 200
        return assignment_id

    def at_endpoint(self, video: str) -> list[Any]:
        """The assignments of a video's HIT as the endpoint has them."""
        client = serving.client(self.workspace, self.url)
        return list(client.list_assignments_for_hit(HITId=self.hits()[video])["Assignments"])

    def home(self, name: str) -> str:
        """What ``name`` reads on their own page."""
        return self.http.get(f"{self.url}/w/{token_of(name)}").text
