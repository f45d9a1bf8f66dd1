"""The endpoint's own tables. Times are seconds since the epoch (UTC), money is integer cents."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Double, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SCHEMA = "1"

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


class WorkerToken(Base):
    __tablename__ = "worker_tokens"
    hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    worker_id: Mapped[str] = mapped_column(ForeignKey("workers.id"), index=True)
    created: Mapped[float]


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


class RequestToken(Base):
    """A UniqueRequestToken that was used. Kept for ever: a token never does its work twice."""

    __tablename__ = "request_tokens"
    operation: Mapped[str] = mapped_column(String(64), primary_key=True)
    token: Mapped[str] = mapped_column(String(64), primary_key=True)
    result: Mapped[str] = mapped_column(Text)
    created: Mapped[float]
