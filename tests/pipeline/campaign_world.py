"""A workspace whose campaign is under way beside its running endpoint, for the tests of what a campaign needs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from kloc.config import template
from kloc.crowd.endpoint import admin
from kloc.crowd.endpoint.server import running
from kloc.files import write_text
from kloc.pipeline import crowd, media, pool, selecting, serving
from kloc.pipeline.telling import Silent
from kloc.records import Annotation, Instance, Item
from kloc.store import artefacts, revisions, videos
from kloc.store import crowd as queries
from kloc.store.tables import VideoRow
from kloc.workspace import Workspace

JSON = {"Accept": "application/json"}
N = 8


class World:
    """A workspace whose videos' copies are there already, beside its running endpoint with five annotators."""

    def __init__(self, root: Path, **settings: Any) -> None:
        pool.init(root)
        write_text(root / "kloc.toml", template(**{"general.name": "x", "task.assignments": 2, **settings}))
        self.workspace = Workspace.open(root)
        self.url = ""
        self.people = [f"token-of-{i}-{'x' * 20}" for i in range(5)]
        folder = self.workspace.media
        folder.mkdir(parents=True)
        with self.workspace.store.transaction() as session:
            videos.add_classes(session, ["jump"])
            for i in range(N):
                probe = {"width": 64, "height": 48}
                row = VideoRow(id=f"v{i}", state="ok", start=1.0, end=31.0, labels=["jump"], path="v", probe=probe)
                session.add(row)
                (folder / f"v{i}.mp4").write_bytes(bytes(999))
                info = {"offset": 1.0, "duration": 30.0, "frame_period": 0.04, "reused": False}
                artefacts.put(session, media.STAGE, f"v{i}", media.mark_of(row), f"crowd/media/v{i}.mp4", info)
            session.flush()
            for i in range(3):
                known = Annotation(Item(f"v{i}", 1.0, 31.0), (Instance(3.0, 8.0, "jump"),), None)
                revisions.append(session, known, "import")

    def up(self) -> None:
        """Start the endpoint, after :meth:`down` at the address it had."""
        settings = serving.endpoint_settings(self.workspace)
        self.server = running(replace(settings, port=serving.port_of(self.url) if self.url else 0))
        self.url = self.server.__enter__()

    def down(self) -> None:
        self.server.__exit__(None, None, None)

    def hire(self) -> None:
        for index, token in enumerate(self.people):
            admin.ensure_worker(serving.database_url(self.workspace), f"w{index}", token, seed=0)

    def publish(self, batch: int = 2, **more: Any) -> Any:
        selecting.select(self.workspace, batch=batch, reporter=Silent())
        return crowd.publish(self.workspace, url=self.url, reporter=Silent(), **more)

    def ingest(self) -> Any:
        return crowd.ingest(self.workspace, url=self.url, reporter=Silent())

    def hits(self) -> list[Any]:
        with self.workspace.store.transaction() as session:
            return queries.hits(session)

    def answer(self, worker: int, row: Any, *segments: tuple[float, float], **more: Any) -> None:
        path = f"{self.url}/w/{self.people[worker]}/accept/{row.hit_id}"
        lease = httpx.post(path, headers=JSON).raise_for_status().json()
        found = [{"label": "jump", "start": a, "end": b} for a, b in segments]
        said = {"version": 1, "segments": found, "none": not found, "seconds_spent": 60, "watched": [[0, 30]]}
        said |= more
        form = {"assignmentId": lease["assignment_id"], "answer": json.dumps(said)}
        httpx.post(f"{self.url}/mturk/externalSubmit", data=form, headers=JSON).raise_for_status()

    def offered(self, worker: int) -> int:
        return len(httpx.get(f"{self.url}/w/{self.people[worker]}", headers=JSON).json()["open"])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    worlds: list[World] = []

    def make(**settings: Any) -> World:
        made = World(tmp_path / "w", **settings)
        made.up()
        worlds.append(made)
        made.hire()
        return made

    yield make
    for made in worlds:
        made.down()
