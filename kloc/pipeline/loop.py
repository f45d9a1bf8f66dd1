"""run: the stages strung together, round after round. Every step is read off the store, so it continues anywhere."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kloc.crowd.endpoint import admin
from kloc.crowd.simulate import SimulatedWorker, default_crew, work
from kloc.errors import CrowdError, KlocError, UsageError
from kloc.pipeline import crowd, features, proposals, selecting, serving, training
from kloc.pipeline.common import SIMULATED, manifest, stage
from kloc.pipeline.media import STAGE as MEDIA
from kloc.pipeline.pool import known_id
from kloc.pipeline.telling import Reporter, Summary
from kloc.records import Annotation, Instance, Item
from kloc.store import meta, revisions, rounds, videos
from kloc.workspace import Workspace

#: Simulated workers; the last one is a spammer.
CREW = 6

#: Told of every stage that ran, as a command line and its summary.
Listener = Callable[[str, Summary], None]


@dataclass(frozen=True)
class Crowd:
    """Who answers: the URL to publish at, and what makes answers come (nothing, where people do it)."""

    url: str
    answer: Callable[[], None]


@stage("run")
def run(
    workspace: Workspace,
    *,
    rounds: int,
    batch: int | None = None,
    truth: Path | None = None,
    listener: Listener | None = None,
    reporter: Reporter,
) -> Summary:
    """Extract, propose, then ``rounds`` rounds of train, predict, select, publish, ingest; a last train and predict.

    ``truth``: ActivityNet JSON from which simulated workers answer; without it people do, at ``crowd.endpoint``.
    Killed at any moment it continues where it was, and ends with the same result.
    """

    def tell(command: str, summary: Summary) -> None:
        if listener is not None and not summary.idle:
            listener(command, summary)

    if not features.uses_imported(workspace):
        tell("kloc extract", features.extract(workspace, reporter=reporter))
    tell("kloc propose", proposals.propose(workspace, reporter=reporter))
    with _crowd(workspace, truth, reporter) as people:
        while (index := _open_round(workspace)) is not None or _done(workspace) < rounds:
            if index is None:
                if not selecting.pool_items(workspace):
                    reporter.say("the pool is empty: every video is annotated")
                    break
                _learn(workspace, tell, reporter)
                tell("kloc select", selecting.select(workspace, batch=batch, reporter=reporter))
            tell("kloc publish-hits", crowd.publish(workspace, url=people.url, reporter=reporter))
            asked = True
            while asked:  # simulated workers answer what is there; in the end nothing more is asked of them
                people.answer()
                summary = crowd.ingest(workspace, watch=truth is None, url=people.url, reporter=reporter)
                tell("kloc ingest", summary)
                asked = truth is not None and summary.data["asked"] > 0
            if _open_round(workspace) is not None and truth is not None:
                raise CrowdError("simulated workers left tasks open; the lines above say why")
    last = _learn(workspace, tell, reporter)
    with workspace.store.transaction() as session:
        known = revisions.current(session)
    facts: dict[str, Any] = {
        "rounds": _done(workspace),
        "annotated": f"{len(known)} videos, {sum(len(a.instances) for a in known.values())} instances",
    }
    facts |= {k: v for k, v in (last.facts if last else {}).items() if k.startswith("mAP")}
    return Summary("run", facts, hint="kloc stats, kloc card, kloc export, kloc report")


def _open_round(workspace: Workspace) -> int | None:
    with workspace.store.transaction() as session:
        newest = rounds.latest(session)
        return newest.index if newest is not None and newest.state != "done" else None


def _done(workspace: Workspace) -> int:
    with workspace.store.transaction() as session:
        return sum(row.state == "done" for row in rounds.all_rounds(session))


def _learn(workspace: Workspace, tell: Listener, reporter: Reporter) -> Summary | None:
    with workspace.store.transaction() as session:
        usable = videos.usable(session)
        known = revisions.current(session)
    labelled = [a for v, a in known.items() if v in usable and usable[v].subset == "training"]
    if not any(annotation.instances for annotation in labelled):
        return None  # a cold start: the first batch is drawn at random
    if workspace.settings.proposals.method == "daps":
        tell("kloc propose", proposals.propose(workspace, reporter=reporter))
    tell("kloc train", training.train(workspace, reporter=reporter))
    summary = training.predict(workspace, reporter=reporter)
    tell("kloc predict", summary)
    return summary


# -- who answers ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _crowd(workspace: Workspace, truth: Path | None, reporter: Reporter) -> Iterator[Crowd]:
    if truth is not None:
        known = read_truth(workspace, truth)
        with serving.endpoint_process(workspace) as url:
            yield Crowd(url, lambda: _simulate(workspace, url, known))
        return
    url = workspace.settings.crowd.endpoint
    if serving.answers(url) or not serving.is_own(url):
        yield Crowd(url, lambda: None)
        return
    with serving.endpoint_process(workspace, port=serving.port_of(url)) as started:
        reporter.say(f"serving tasks at {started}; invite annotators in another terminal: kloc crowd invite NAME...")
        yield Crowd(started, lambda: None)


def read_truth(workspace: Workspace, path: Path) -> dict[str, Annotation]:
    """The truth simulated workers answer from, by video id of the workspace."""
    from kloc.formats import activitynet

    dataset, _ = activitynet.read(path)
    with workspace.store.transaction() as session:
        usable = videos.usable(session)
    truth: dict[str, Annotation] = {}
    for name, annotation in dataset.annotations.items():
        video_id = known_id(name, usable)
        if video_id is not None:
            video = usable[video_id]
            inside = tuple(
                Instance(max(i.start, video.start), min(i.end, video.end), i.label)
                for i in annotation.instances
                if min(i.end, video.end) > max(i.start, video.start)
            )
            truth[video_id] = Annotation(Item(video_id, video.start, video.end), inside, annotation.exhaustive_for)
    if not truth:
        raise UsageError(f"{path}: tells the truth about no video of this workspace; are its ids the files' names?")
    return truth


def _simulate(workspace: Workspace, url: str, truth: dict[str, Annotation]) -> None:
    seed = workspace.settings.general.seed
    crew: list[tuple[SimulatedWorker, str]] = []
    for worker in default_crew(seed, CREW):
        # Derived, not drawn: after a crash the same worker comes back by the same link.
        secret = serving.credentials(workspace)[1]
        token = hashlib.sha256(f"{secret}:{worker.name}".encode()).hexdigest()
        admin.ensure_worker(serving.database_url(workspace), worker.name, token, seed=seed)
        crew.append((worker, token))
    starts = {video_id: row.info["offset"] for video_id, row in manifest(workspace, MEDIA).items()}
    with workspace.store.transaction() as session:
        open_videos = {s.video_id for r in rounds.all_rounds(session) for s in rounds.selections(session, r.index)}
    unknown = sorted(open_videos - set(truth))
    if unknown:
        raise KlocError(f"the truth for simulated workers says nothing about {unknown[0]!r}; add it to the file")
    with workspace.store.transaction() as session:
        meta.put(session, SIMULATED, "yes")
    work(url, crew, truth, seed, media_start=starts)
