"""The campaign store's tables. One schema for SQLite and PostgreSQL; changes go through ``migrations/``.

Times in here are seconds of video (float) or, in columns named ``*_at``, Unix seconds. Money is whole
1/1000 dollars (``*_mills``), so that sums are exact. JSON columns hold what is read whole and never queried.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Float, ForeignKey, Index, Integer, MetaData, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        dict[str, Any]: JSON,
        list[Any]: JSON,
        list[str]: JSON,
        float: Float(53),
    }


class MetaRow(Base):
    """Facts about the workspace itself: its id, the salt that hashes worker ids."""

    __tablename__ = "meta"
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(Text)


class ClassRow(Base):
    """The classes of the dataset, in their fixed order, with what workers are told about them."""

    __tablename__ = "classes"
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    position: Mapped[int] = mapped_column(Integer)
    definition: Mapped[str] = mapped_column(Text, default="")


class VideoRow(Base):
    """A video of the pool. ``state``: ok, quarantined (``reason`` says why) or missing (known by name only)."""

    __tablename__ = "videos"
    id: Mapped[str] = mapped_column(String(300), primary_key=True)
    path: Mapped[str | None] = mapped_column(Text)
    sha256: Mapped[str | None] = mapped_column(String(64))
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    mtime_ns: Mapped[int | None] = mapped_column(BigInteger)
    subset: Mapped[str] = mapped_column(String(16), default="training")
    state: Mapped[str] = mapped_column(String(16), default="ok", index=True)
    reason: Mapped[str | None] = mapped_column(Text)
    start: Mapped[float | None]
    end: Mapped[float | None]
    probe: Mapped[dict[str, Any] | None]
    labels: Mapped[list[str]] = mapped_column(JSON, default=list)
    url: Mapped[str | None] = mapped_column(Text)
    #: Its place among the gold videos (0 is the first), by which workers are judged; NULL: it is none.
    gold: Mapped[int | None]


class ArtefactRow(Base):
    """The manifest: one row per thing a stage made, committed after the file took its name.

    ``fingerprint`` hashes the inputs and settings; a stage redoes a key whose fingerprint is another.
    """

    __tablename__ = "artefacts"
    stage: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(300), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    path: Mapped[str | None] = mapped_column(Text)
    info: Mapped[dict[str, Any]]


class GuidelineRow(Base):
    """What workers were told, by version (a hash of the text)."""

    __tablename__ = "guidelines"
    version: Mapped[str] = mapped_column(String(64), primary_key=True)
    content: Mapped[dict[str, Any]]


class AnnotationRow(Base):
    """Append-only revisions: the newest one of an item counts, none is ever changed."""

    __tablename__ = "annotations"
    __table_args__ = (UniqueConstraint("video_id", "start", "end", "fingerprint"),)
    revision: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    video_id: Mapped[str] = mapped_column(ForeignKey("videos.id"), index=True)
    start: Mapped[float]
    end: Mapped[float]
    #: [{"start", "end", "label", "confidence", ...}]
    instances: Mapped[list[Any]]
    #: Class names the annotation is exhaustive for; NULL where it is for all.
    exhaustive_for: Mapped[list[str] | None]
    #: import, crowd or review
    source: Mapped[str] = mapped_column(String(16))
    round: Mapped[int | None]
    guideline: Mapped[str | None] = mapped_column(String(64))
    #: Assignments behind a consolidated annotation, and the consolidation's settings.
    assignments: Mapped[list[str]] = mapped_column(JSON, default=list)
    consolidation: Mapped[dict[str, Any] | None]
    #: Hash of everything above: the same revision is never appended twice.
    fingerprint: Mapped[str] = mapped_column(String(64))


class RoundRow(Base):
    """One round of active learning. ``state``: selected, published, done."""

    __tablename__ = "rounds"
    index: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    strategy: Mapped[str] = mapped_column(String(64))
    policy: Mapped[str] = mapped_column(String(64))
    seed: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(16))
    settings: Mapped[dict[str, Any]]


class SelectionRow(Base):
    """An item chosen in a round: its score, its rank in the pool and a plain reason."""

    __tablename__ = "selections"
    round: Mapped[int] = mapped_column(ForeignKey("rounds.index"), primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    video_id: Mapped[str] = mapped_column(ForeignKey("videos.id"), index=True)
    start: Mapped[float]
    end: Mapped[float]
    score: Mapped[float | None]
    rank: Mapped[int]
    reason: Mapped[str] = mapped_column(Text, default="")
    #: {"pool": videos to choose from, "ranks": {strategy: rank}, "minutes": one worker's, estimated, "answers": of how
    #: many workers}; NULL for what an older kloc selected.
    details: Mapped[dict[str, Any] | None] = mapped_column(default=None)


class HitRow(Base):
    """A HIT, from the intent on: the row is committed *before* CreateHIT is called with its token.

    ``state``: intended (call not known to have succeeded), created, failed, expired, closed.
    """

    __tablename__ = "hits"
    #: UniqueRequestToken, derived from campaign, round and item.
    token: Mapped[str] = mapped_column(String(64), primary_key=True)
    round: Mapped[int | None] = mapped_column(Integer, index=True)
    video_id: Mapped[str] = mapped_column(ForeignKey("videos.id"), index=True)
    start: Mapped[float]
    end: Mapped[float]
    #: Classes the workers are asked about.
    classes: Mapped[list[str]]
    payload_hash: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(16), index=True)
    intended_at: Mapped[float]
    endpoint: Mapped[str] = mapped_column(Text)
    hit_type_id: Mapped[str | None] = mapped_column(String(64))
    hit_id: Mapped[str | None] = mapped_column(String(64), unique=True)
    guideline: Mapped[str] = mapped_column(String(64))
    reward_mills: Mapped[int] = mapped_column(BigInteger)
    max_assignments: Mapped[int]
    #: Seconds to subtract from an answer's clock: media time + media_start = video time.
    media_start: Mapped[float] = mapped_column(Float(53), default=0.0)
    #: task, or gold: its answers judge workers and never change the annotation.
    purpose: Mapped[str] = mapped_column(String(8), default="task")
    #: What workers were shown as proposals, [{"label", "start", "end"}] in media seconds; NULL: nothing.
    prefill: Mapped[list[Any] | None]
    #: Reward and fee of one answer, as they were when it was published.
    cost_mills: Mapped[int] = mapped_column(BigInteger)
    #: Answers that can be used are wanted so many; ``max_assignments`` is higher by those that could not be.
    wanted: Mapped[int]
    #: How many of the wanted ones were asked for because the others left something in doubt.
    extra: Mapped[int] = mapped_column(default=0)
    #: When it shall end, asked for and not known to be done; NULL: as the endpoint says.
    expires_at: Mapped[float | None]
    #: Seconds it would still be offered if it were not paused; NULL: it is not.
    paused_left: Mapped[float | None]
    #: When it was ended before its time.
    stopped_at: Mapped[float | None]


class AssignmentRow(Base):
    """A worker's answer as it came, kept for ever; ``problem`` says why an answer could not be parsed."""

    __tablename__ = "assignments"
    __table_args__ = (Index("ix_assignments_token", "token"),)
    assignment_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    token: Mapped[str] = mapped_column(ForeignKey("hits.token"))
    worker_id: Mapped[str] = mapped_column(String(64), index=True)
    #: Submitted, Approved, Rejected
    status: Mapped[str] = mapped_column(String(16))
    accepted_at: Mapped[float | None]
    submitted_at: Mapped[float | None]
    raw: Mapped[str] = mapped_column(Text)
    #: {"segments": [{"start", "end", "label"}], "none": bool, "seconds_spent": float, ...} in video seconds
    answer: Mapped[dict[str, Any] | None]
    problem: Mapped[str | None] = mapped_column(Text)
    #: When kloc first saw it.
    seen_at: Mapped[float | None]
    #: {"decision": "approve" | "reject" | "hold", "reason", "by": "policy" | "person" | "endpoint", "at"}
    verdict: Mapped[dict[str, Any] | None]
    #: A bonus that was granted; the ledger says whether it was paid.
    bonus_mills: Mapped[int | None] = mapped_column(BigInteger)


class ReportRow(Base):
    """A worker's word that a task cannot be done. ``handled``: the requester has seen to it."""

    __tablename__ = "reports"
    #: The endpoint's number.
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    token: Mapped[str] = mapped_column(ForeignKey("hits.token"), primary_key=True, index=True)
    worker_id: Mapped[str] = mapped_column(String(64))
    #: does-not-play, disturbing, wrong-class or other
    kind: Mapped[str] = mapped_column(String(32))
    text: Mapped[str] = mapped_column(Text)
    at: Mapped[float]
    handled: Mapped[bool] = mapped_column(default=False)


class LedgerRow(Base):
    """Money, append-only. ``kind``: reserved (published), committed (approved), released (not used).

    ``entry`` names the event ("reserved:TOKEN", "committed:ASSIGNMENT"): the same event never counts twice.
    """

    __tablename__ = "ledger"
    entry: Mapped[str] = mapped_column(String(140), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    amount_mills: Mapped[int] = mapped_column(BigInteger)
    token: Mapped[str | None] = mapped_column(String(64), index=True)
    at: Mapped[float]
