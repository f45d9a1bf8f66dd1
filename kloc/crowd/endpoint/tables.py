"""The endpoint's own tables. Times are seconds since the epoch (UTC), money is integer cents."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Double, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SCHEMA = "2"

ACCEPTED, RETURNED, SUBMITTED, APPROVED, REJECTED = "Accepted", "Returned", "Submitted", "Approved", "Rejected"
#: What the requester can see.
HANDED_IN = (SUBMITTED, APPROVED, REJECTED)


class Base(DeclarativeBase):
    type_annotation_map = {float: Double, int: BigInteger, dict[str, Any]: JSON, list[Any]: JSON}  # noqa: RUF012


class Meta(Base):
    """Facts about this database: ``schema``, the key that signs URLs, and the row that serialises the requester."""

    __tablename__ = "meta"
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(Text)


class HitType(Base):
    """The properties HITs share. Equal properties are one type: ``fingerprint`` is unique."""

    __tablename__ = "hit_types"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64), unique=True)
    group_id: Mapped[str] = mapped_column(String(64))
    created: Mapped[float]
    title: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text)
    keywords: Mapped[str] = mapped_column(Text)
    reward: Mapped[int]
    assignment_duration: Mapped[int]
    auto_approval_delay: Mapped[int]
    qualification_requirements: Mapped[list[Any]]


class Hit(Base):
    __tablename__ = "hits"
    __table_args__ = (Index("hits_by_time", "created", "id"), Index("hits_open", "disposed", "expiration"))
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    hit_type_id: Mapped[str] = mapped_column(ForeignKey("hit_types.id"), index=True)
    created: Mapped[float]
    expiration: Mapped[float]
    max_assignments: Mapped[int]
    question: Mapped[str] = mapped_column(Text)
    media_key: Mapped[str | None] = mapped_column(String(200))
    #: What kloc's own page says of itself: classes, duration, expected_minutes, contact, media. NULL for other pages.
    facts: Mapped[dict[str, Any] | None]
    requester_annotation: Mapped[str | None] = mapped_column(Text)
    reviewing: Mapped[bool] = mapped_column(default=False)
    disposed: Mapped[bool] = mapped_column(default=False)


class Worker(Base):
    """A participant. ``source`` says where the identity comes from; ``external_id`` what it is called there."""

    __tablename__ = "workers"
    __table_args__ = (UniqueConstraint("source", "name"),)
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    source: Mapped[str] = mapped_column(String(32), default="local")
    name: Mapped[str] = mapped_column(Text)
    external_id: Mapped[str | None] = mapped_column(Text)
    created: Mapped[float]
    revoked: Mapped[float | None]
    #: ``scrypt$n$r$p$salt$hash``; NULL for those who come by a link alone.
    password: Mapped[str | None] = mapped_column(Text)


class WorkerToken(Base):
    __tablename__ = "worker_tokens"
    hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    worker_id: Mapped[str] = mapped_column(ForeignKey("workers.id"), index=True)
    created: Mapped[float]
    #: An invitation has no end (NULL); what a password opened has one.
    expires: Mapped[float | None]


class Assignment(Base):
    """One worker's one go at one HIT; taken up again after a return or an expiry it stays the same row."""

    __tablename__ = "assignments"
    __table_args__ = (
        UniqueConstraint("hit_id", "worker_id"),
        Index("assignments_due", "status", "auto_approval_time"),
        Index("assignments_by_worker", "worker_id", "status"),
        # Covers the counting of places, which every accept, list and balance does.
        Index("assignments_by_hit", "hit_id", "status", "deadline"),
    )
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    hit_id: Mapped[str] = mapped_column(ForeignKey("hits.id"))
    worker_id: Mapped[str] = mapped_column(ForeignKey("workers.id"))
    status: Mapped[str] = mapped_column(String(16))
    #: What the worker was promised, whatever the HIT's type says later.
    reward: Mapped[int]
    accept_time: Mapped[float]
    deadline: Mapped[float]
    submit_time: Mapped[float | None]
    auto_approval_time: Mapped[float | None]
    approval_time: Mapped[float | None]
    rejection_time: Mapped[float | None]
    answer: Mapped[str | None] = mapped_column(Text)
    #: An answer that came too late: nobody is paid for it, but nobody's work is thrown away either.
    late_answer: Mapped[str | None] = mapped_column(Text)
    feedback: Mapped[str | None] = mapped_column(Text)


class Draft(Base):
    __tablename__ = "drafts"
    assignment_id: Mapped[str] = mapped_column(ForeignKey("assignments.id"), primary_key=True)
    saved: Mapped[float]
    content: Mapped[str] = mapped_column(Text)


class Bonus(Base):
    __tablename__ = "bonuses"
    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    assignment_id: Mapped[str] = mapped_column(ForeignKey("assignments.id"), index=True)
    worker_id: Mapped[str] = mapped_column(ForeignKey("workers.id"), index=True)
    amount: Mapped[int]
    reason: Mapped[str] = mapped_column(Text)
    granted: Mapped[float]


class Message(Base):
    """What the requester wrote to a worker, shown on the worker's home page."""

    __tablename__ = "messages"
    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    worker_id: Mapped[str] = mapped_column(ForeignKey("workers.id"), index=True)
    sent: Mapped[float]
    subject: Mapped[str] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)


class Report(Base):
    """A worker's word that a task cannot be done: the task goes back without penalty, the requester reads why."""

    __tablename__ = "reports"
    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    assignment_id: Mapped[str] = mapped_column(ForeignKey("assignments.id"), index=True)
    hit_id: Mapped[str] = mapped_column(ForeignKey("hits.id"), index=True)
    worker_id: Mapped[str] = mapped_column(ForeignKey("workers.id"), index=True)
    #: does-not-play, disturbing, wrong-class, other
    kind: Mapped[str] = mapped_column(String(32))
    text: Mapped[str] = mapped_column(Text)
    created: Mapped[float]


class QualificationType(Base):
    """What a requester may ask of workers. With ``test`` a worker can earn it; ``answer_key`` grades the test."""

    __tablename__ = "qualification_types"
    __table_args__ = (Index("qualification_types_by_time", "created", "id"),)
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    created: Mapped[float]
    name: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text)
    keywords: Mapped[str | None] = mapped_column(Text)
    active: Mapped[bool] = mapped_column(default=True)
    disposed: Mapped[bool] = mapped_column(default=False)
    #: Seconds after a refusal; NULL: no second try.
    retry_delay: Mapped[int | None]
    test: Mapped[str | None] = mapped_column(Text)
    test_duration: Mapped[int | None]
    answer_key: Mapped[str | None] = mapped_column(Text)
    auto_granted: Mapped[bool] = mapped_column(default=False)
    auto_granted_value: Mapped[int | None]
    #: As in :class:`Hit`, for a test that is a page of kloc's.
    facts: Mapped[dict[str, Any] | None]


class QualificationRequest(Base):
    """One worker's one try at a qualification. ``status``: Taking (the test is open), Pending, Granted, Rejected."""

    __tablename__ = "qualification_requests"
    __table_args__ = (Index("qualification_requests_by_type", "type_id", "status", "started"),)
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    type_id: Mapped[str] = mapped_column(ForeignKey("qualification_types.id"))
    worker_id: Mapped[str] = mapped_column(ForeignKey("workers.id"), index=True)
    status: Mapped[str] = mapped_column(String(16))
    started: Mapped[float]
    #: When an open test ends; NULL: it does not.
    deadline: Mapped[float | None]
    submitted: Mapped[float | None]
    answer: Mapped[str | None] = mapped_column(Text)
    score: Mapped[int | None]
    #: What grading told the worker.
    feedback: Mapped[list[Any] | None]
    reason: Mapped[str | None] = mapped_column(Text)


class Qualification(Base):
    """A worker's score in a qualification. Revoked ones stay on record."""

    __tablename__ = "qualifications"
    type_id: Mapped[str] = mapped_column(ForeignKey("qualification_types.id"), primary_key=True)
    worker_id: Mapped[str] = mapped_column(ForeignKey("workers.id"), primary_key=True, index=True)
    value: Mapped[int]
    granted: Mapped[float]
    revoked: Mapped[bool] = mapped_column(default=False)
    reason: Mapped[str | None] = mapped_column(Text)


class WorkerBlock(Base):
    """A worker the requester gives no more work to. Their access stays: they can see what they did and were paid."""

    __tablename__ = "worker_blocks"
    worker_id: Mapped[str] = mapped_column(ForeignKey("workers.id"), primary_key=True)
    reason: Mapped[str] = mapped_column(Text)
    created: Mapped[float]


class RequestToken(Base):
    """A UniqueRequestToken that was used. Kept for ever: a token never does its work twice."""

    __tablename__ = "request_tokens"
    operation: Mapped[str] = mapped_column(String(64), primary_key=True)
    token: Mapped[str] = mapped_column(String(64), primary_key=True)
    result: Mapped[str] = mapped_column(Text)
    created: Mapped[float]
