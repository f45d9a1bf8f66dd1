"""What the review page reads and does: all answers beside the consensus, and a person's word above both."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kloc.crowd import verdicts
from kloc.crowd.agreement import pairwise_f1
from kloc.crowd.client import UnreachableError, call
from kloc.crowd.consolidate import ConsolidationSettings, WorkerAnswer, consolidate, from_stored
from kloc.crowd.endpoint import admin
from kloc.crowd.policy import gold_records
from kloc.crowd.reports import handled
from kloc.errors import CrowdError, KlocError, UsageError
from kloc.files import safe_name
from kloc.pipeline import media, serving, tasks
from kloc.pipeline.crowd import exhaustive_for
from kloc.pipeline.quality import hashed
from kloc.pipeline.review_lines import (
    Consensus,
    Entry,
    answer_lane,
    by_doubt,
    consensus_lane,
    entry_line,
    key_of,
    overlapping,
    plain,
    prefill_lane,
    read_instances,
    source_of,
)
from kloc.pipeline.telling import Silent
from kloc.records import Annotation, Instance, Item
from kloc.store import crowd, meta, reviewing, revisions, videos
from kloc.store.reviewing import AnswerLine
from kloc.store.tables import AnnotationRow, ArtefactRow, AssignmentRow, VideoRow
from kloc.workspace import Workspace

if TYPE_CHECKING:
    from mypy_boto3_mturk import MTurkClient
    from sqlalchemy.orm import Session


class OutdatedError(KlocError):
    """Somebody else saved the same stretch since it was read; nothing was written."""


class Desk:
    """The requester's desk over one workspace; safe for several threads.

    ``round_`` and ``video`` narrow it down. Raises :class:`UsageError` for a video that is not there.
    """

    def __init__(
        self, workspace: Workspace, *, round_: int | None = None, video: str | None = None, url: str | None = None
    ) -> None:
        self.workspace = workspace
        self._round, self._video = round_, video
        self._url = url or workspace.settings.crowd.endpoint
        self._consolidating, self._filming = threading.Lock(), threading.Lock()
        self._consensus: tuple[tuple[int, ...], Consensus] | None = None
        self._items: dict[str, Item] = {}
        if video is not None:
            with workspace.store.transaction() as session:
                row = session.get(VideoRow, video)
            if row is None or row.start is None or row.end is None:
                raise UsageError(f"there is no video {video!r} to review; `kloc status` shows what is there")

    # -- reading ------------------------------------------------------------------------------------------

    def overview(self) -> dict[str, Any]:
        """The list, the most doubtful first, with the classes of the dataset."""
        consensus = self._consolidated()
        with self.workspace.store.transaction() as session:
            entries = self._entries(session)
            classes = videos.classes(session)
        self._items = {key_of(entry.item): entry.item for entry in entries}
        lines = sorted((entry_line(entry, consensus) for entry in entries), key=by_doubt)
        return {"name": self.workspace.settings.general.name, "classes": classes, "items": lines}

    def detail(self, key: str) -> dict[str, Any]:
        """Everything about one item, in video seconds; the media's 0 is at ``offset``."""
        item = self._item(key)
        consensus = self._consolidated()
        with self.workspace.store.transaction() as session:
            hits = reviewing.item_hits(session, item)
            tokens = [hit.token for hit in hits]
            lines = reviewing.answer_lines(session, tokens)
            reports = reviewing.reports(session, tokens)
            history = reviewing.history(session, item)
            gold = crowd.gold(session).get(item)
            counting = overlapping(revisions.current_rows(session, item.video_id), item)
            copy = session.get(ArtefactRow, (media.STAGE, item.video_id))
            salt = meta.get(session, "worker_salt") or ""
        alias = _aliases(self.workspace, salt)
        purpose = {hit.token: hit.purpose for hit in hits}
        imported = [row for row in history if row.source == "import"]
        found = consensus.of.items.get(item)
        return {
            "key": key,
            "video_id": item.video_id,
            "start": item.start,
            "end": item.end,
            "offset": copy.info["offset"] if copy else item.start,
            "frame_period": copy.info["frame_period"] if copy else 0.04,
            "asked": sorted({name for hit in hits for name in hit.classes}),
            "revision": history[-1].revision if history else 0,
            "source": source_of(counting),
            "segments": plain(instance for row in counting for instance in row.instances),
            "consensus": None if found is None else consensus_lane(found),
            "agreement": consensus.agreement.get(item),
            "prefill": prefill_lane(hits),
            "gold": None if gold is None else plain(asdict(instance) for instance in gold.instances),
            "imported": plain(imported[-1].instances) if imported and gold is None else None,
            "answers": [answer_lane(line, purpose[line.token], alias(line.worker_id), consensus) for line in lines],
            "reports": [
                {"kind": row.kind, "text": row.text, "worker": alias(row.worker_id), "handled": row.handled}
                for row in reports
            ],
            "history": [
                {"revision": row.revision, "source": row.source, "segments": len(row.instances)} for row in history
            ],
        }

    def raw(self, assignment_id: str) -> str:
        """An answer as it came. Raises :class:`UsageError` for an unknown assignment."""
        with self.workspace.store.transaction() as session:
            text = reviewing.raw_answer(session, assignment_id)
        if text is None:
            raise UsageError(f"there is no answer {assignment_id}; reload the page")
        return text

    def film(self, key: str) -> Path:
        """The seek-friendly copy of an item's video, made now where it is missing. Raises :class:`KlocError`."""
        video_id = self._item(key).video_id
        path = self.workspace.media / f"{safe_name(video_id)}.mp4"
        with self._filming:
            with self.workspace.store.transaction() as session:
                copy = session.get(ArtefactRow, (media.STAGE, video_id))
            if copy is None or not path.is_file():
                problems: list[str] = []
                if video_id not in media.make_media(self.workspace, [video_id], problems, Silent()):
                    raise KlocError(problems[0])
        return path

    # -- the requester's word -----------------------------------------------------------------------------

    def save(self, key: str, base: int, segments: Any, none: bool) -> int:
        """Append the requester's revision, which stands above the crowd's; returns its number.

        ``base`` is the revision the page has read: :class:`OutdatedError` where another came since. ``segments`` are
        ``{"label", "start", "end"}`` in video seconds; without any, ``none`` must say that nothing occurs.
        """
        item = self._item(key)
        with self._changing(item, base) as (session, history):
            classes = videos.classes(session)
            instances = read_instances(segments, item, classes)
            if none is not (not instances):
                raise UsageError("mark what occurs, or say that nothing occurs: one of the two, not both or neither")
            return self._append(session, item, instances, "review", history)

    def take_back(self, key: str, base: int) -> int:
        """Let the crowd's consensus count again where a review stands; returns the number of the new revision.

        Where no answer counts, what stood before does again. Raises :class:`UsageError` where no review stands.
        """
        item = self._item(key)
        found = self._consolidated().of.items.get(item)
        with self._changing(item, base) as (session, history):
            if not history or history[-1].source != "review":
                raise UsageError(f"{item.video_id}: no review stands here that could be taken back")
            before = [row for row in history if row.source != "review"]
            if found is not None:
                return self._append(session, item, found.annotation.instances, "crowd", before, found.assignments)
            if not before:
                raise UsageError(f"{item.video_id}: nothing was known before this review; correct it instead")
            return self._append(session, item, revisions.to_annotation(before[-1]).instances, before[-1].source, before)

    def decide(self, assignment_id: str, decision: str, reason: str) -> str:
        """Approve or reject an answer as a person; returns the status it has then, which somebody else may have given.

        The endpoint hears of it first, or :class:`CrowdError` is raised, also where the campaign's cap has no money.
        """
        return verdicts.decide(
            self.workspace.store,
            self._client(),
            assignment_id,
            decision,
            reason,
            by="person",
            now=time.time(),
            max_spend_mills=tasks.spend_cap(self.workspace),
        )

    def write(self, assignment_id: str, subject: str, text: str) -> None:
        """Write to the worker behind an answer. Raises :class:`CrowdError` where the endpoint does not take it."""
        if not subject.strip() or not text.strip():
            raise UsageError("a message needs a subject and a text")
        with self.workspace.store.transaction() as session:
            row = session.get(AssignmentRow, assignment_id)
        if row is None:
            raise UsageError(f"there is no answer {assignment_id}; reload the page")
        client = self._client()
        answer: Mapping[str, Any] = call(
            "the message", client.notify_workers, Subject=subject, MessageText=text, WorkerIds=[row.worker_id]
        )
        for failure in answer.get("NotifyWorkersFailureStatuses", []):
            raise CrowdError(
                f"the message was not delivered: {failure.get('NotifyWorkersFailureMessage', 'no reason')}"
            )

    def handle(self, key: str) -> None:
        """Note that the requester has seen to what workers reported about an item."""
        item = self._item(key)
        with self.workspace.store.transaction() as session:
            handled(session, [hit.token for hit in reviewing.item_hits(session, item)])

    # -- how ----------------------------------------------------------------------------------------------

    def _item(self, key: str) -> Item:
        if key not in self._items:
            self.overview()
        if key not in self._items:
            raise UsageError("this video is not in the list any more; reload the page")
        return self._items[key]

    def _entries(self, session: Session) -> list[Entry]:
        """What is to be reviewed: everything that was published or is the crowd's or a review, or the one video."""
        rows: dict[str, list[AnnotationRow]] = {}
        for row in revisions.current_rows(session, self._video):
            rows.setdefault(row.video_id, []).append(row)
        lines: dict[str, list[AnswerLine]] = {}
        for line in reviewing.answer_lines(session):
            lines.setdefault(line.token, []).append(line)
        reported = Counter(report.token for report in reviewing.reports(session) if not report.handled)
        entries: dict[Item, Entry] = {}
        for hit in crowd.hits(session):
            if self._video not in (None, hit.video_id) or self._round not in (None, hit.round):
                continue
            item = Item(hit.video_id, hit.start, hit.end)
            entry = entries.setdefault(item, Entry(item, rows=overlapping(rows.get(item.video_id, ()), item)))
            entry.hits.append(hit)
            entry.lines.extend(lines.get(hit.token, ()))
            entry.reports += reported[hit.token]
        asked = {item.video_id for item in entries}
        if self._round is None:
            for video_id, own in rows.items():
                for row in own:
                    if video_id not in asked and (row.source != "import" or self._video):
                        item = Item(video_id, row.start, row.end)
                        entries[item] = Entry(item, rows=[row])
        if self._video is not None and not entries:
            whole = videos.to_video(session.get_one(VideoRow, self._video)).item
            entries[whole] = Entry(whole)
        return list(entries.values())

    def _consolidated(self) -> Consensus:
        """The consensus of all answers so far; made anew where answers came or were rejected since."""
        with self._consolidating:
            with self.workspace.store.transaction() as session:
                stamp = reviewing.answers_stamp(session)
                if self._consensus is not None and self._consensus[0] == stamp:
                    return self._consensus[1]
                answers = from_stored(crowd.answers(session))
                classes, gold = videos.classes(session), crowd.gold(session)
                records = gold_records(session)
            # Outside the transaction: an ingest that runs meanwhile need not wait.
            settings = ConsolidationSettings(method=self.workspace.settings.crowd.consolidation)
            of_item: dict[Item, list[WorkerAnswer]] = {}
            for answer in answers:
                of_item.setdefault(answer.item, []).append(answer)
            agreement = {item: pairwise_f1(group) for item, group in of_item.items()}
            self._consensus = stamp, Consensus(consolidate(answers, classes, settings, gold=gold), agreement, records)
            return self._consensus[1]

    @contextmanager
    def _changing(self, item: Item, base: int) -> Iterator[tuple[Session, list[AnnotationRow]]]:
        """A transaction in which nobody else appends, with the revisions so far, the last of which is ``base``."""
        with self.workspace.store.transaction() as session:
            revisions.lock(session)
            history = reviewing.history(session, item)
            newest = history[-1].revision if history else 0
            if newest != base:
                raise OutdatedError(
                    f"{item.video_id}: somebody saved this video since you opened it; nothing was written"
                )
            yield session, history

    def _append(
        self,
        session: Session,
        item: Item,
        instances: tuple[Instance, ...],
        source: str,
        history: Sequence[AnnotationRow],
        assignments: Iterable[str] | None = None,
    ) -> int:
        hits = reviewing.item_hits(session, item)
        if assignments is None:
            lines = reviewing.answer_lines(session, [hit.token for hit in hits])
            assignments = [line.assignment_id for line in lines if line.answer is not None]
        asked = {name for hit in hits for name in hit.classes}
        if not asked and history:  # never published: what an earlier annotation was exhaustive for, this one is
            exhaustive = revisions.to_annotation(history[-1]).exhaustive_for
        else:
            exhaustive = exhaustive_for(self.workspace, session, item.video_id, asked or videos.classes(session))
        revisions.append(
            session,
            Annotation(item, instances, exhaustive),
            source,
            round_=hits[-1].round if hits else None,
            guideline=hits[-1].guideline if hits else None,
            assignments=assignments,
            consolidation={"method": self.workspace.settings.crowd.consolidation} if source == "crowd" else None,
        )
        return reviewing.history(session, item)[-1].revision

    def _client(self) -> MTurkClient:
        """The endpoint's client; a sentence at once where kloc's own endpoint is not running."""
        if serving.is_own(self._url) and not serving.answers(self._url):
            raise UnreachableError(
                f"the endpoint {self._url} does not answer, so nothing was done: start it (kloc crowd serve), try again"
            )
        return serving.client(self.workspace, self._url)


def _aliases(workspace: Workspace, salt: str) -> Callable[[str], str]:
    """Names that one's own crew was invited by; a short hash for everybody else."""
    names = _crew(workspace)
    return lambda worker: names.get(worker) or hashed(salt, worker)


def _crew(workspace: Workspace) -> dict[str, str]:
    """Names by worker id, where the workspace's own endpoint has some."""
    if not (workspace.crowd / "endpoint.sqlite").exists():
        return {}
    return {worker.id: worker.name for worker in admin.list_workers(serving.database_url(workspace))}
