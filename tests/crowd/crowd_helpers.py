"""What the crowd's tests share: a campaign's parts, made-up videos with their truth, a fresh store."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import httpx
from sqlalchemy import select

from kloc.crowd.endpoint.admin import ensure_worker
from kloc.crowd.endpoint.settings import EndpointSettings
from kloc.crowd.ingest import ingest
from kloc.crowd.plan import PublishItem, PublishSettings
from kloc.crowd.publish import publish
from kloc.crowd.simulate import SimulatedWorker
from kloc.records import Annotation, Instance, Item
from kloc.seeds import generator
from kloc.store.database import Store
from kloc.store.tables import HitRow, VideoRow

if TYPE_CHECKING:
    from mypy_boto3_mturk import MTurkClient

KEYS = {"access_key": "kloc", "secret_key": "a secret of the tests"}


@dataclass(frozen=True)
class Campaign:
    """Everything a test needs to publish and to answer."""

    store: Store
    client: MTurkClient
    url: str
    endpoint: EndpointSettings
    items: list[PublishItem]
    truth: dict[str, Annotation]
    media_start: dict[str, float]

    def settings(self, **changes: Any) -> PublishSettings:
        return publish_settings(**changes)

    def hire(self, crew: tuple[SimulatedWorker, ...]) -> list[tuple[SimulatedWorker, str]]:
        tokens = [f"a-long-token-of-{worker.name}-{'x' * 20}" for worker in crew]
        for worker, token in zip(crew, tokens, strict=True):
            ensure_worker(self.endpoint.database_url, worker.name, token, seed=0)
        return list(zip(crew, tokens, strict=True))

    def introduce(self, crew: list[tuple[SimulatedWorker, str]]) -> None:
        """Let kloc know these workers: each answers a task of another round, for nothing."""
        other = [replace(self.items[0], round=9)]
        publish(
            self.store,
            self.client,
            other,
            self.settings(assignments=len(crew), reward_mills=0),
            max_spend_mills=None,
        )
        with self.store.transaction() as session:
            hit = session.scalars(select(HitRow.hit_id).where(HitRow.round == 9)).one()
        headers = {"Accept": "application/json"}
        for _, token in crew:
            lease = httpx.post(f"{self.url}/w/{token}/accept/{hit}", headers=headers).raise_for_status().json()
            form = {"assignmentId": lease["assignment_id"], "answer": '{"version":1,"segments":[],"none":true}'}
            httpx.post(f"{self.url}/mturk/externalSubmit", data=form, headers=headers).raise_for_status()
        ingest(self.store, self.client, rounds=[9])


def publish_settings(**changes: Any) -> PublishSettings:
    values: dict[str, Any] = {
        "campaign": "campaign-1",
        "title": "Mark the jumps",
        "instructions": "Mark every jump.",
        "definitions": {"jump": "From the take-off to the landing."},
        "reward_mills": 100,
        "assignments": 3,
    }
    return PublishSettings(**(values | changes))


def videos(count: int, seed: int = 0) -> tuple[list[PublishItem], dict[str, Annotation], dict[str, float]]:
    """Items with made-up truth; the first frame of some videos is not at 0."""
    items, truth, starts = [], {}, {}
    for index in range(count):
        rng = generator(seed, "truth", index)
        name, first, duration = f"video-{index:03d}", 0.5 * (index % 3), 40.0 + 5 * (index % 4)
        item = Item(name, first, first + duration)
        instances, cursor = [], first
        for _ in range(int(rng.integers(0, 4))):
            start = cursor + float(rng.uniform(1, 6))
            end = start + float(rng.uniform(3, 8))
            if end < item.end:
                instances.append(Instance(start, end, "jump"))
            cursor = end
        truth[name] = Annotation(item, tuple(instances), frozenset({"jump"}))
        starts[name] = first
        items.append(PublishItem(item, ("jump",), name, duration, 1 / 30, media_start=first, round=0))
    return items, truth, starts


def open_store(url: str, items: list[PublishItem]) -> Store:
    store = Store(url)
    store.migrate()
    with store.transaction() as session:
        for entry in items:
            if session.get(VideoRow, entry.item.video_id) is None:
                session.add(VideoRow(id=entry.item.video_id, start=entry.item.start, end=entry.item.end))
    return store
