"""The pool: videos, their probes, their labels, the classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from kloc.records import Subset, Video
from kloc.store.tables import (
    AnnotationRow,
    ArtefactRow,
    AssignmentRow,
    ClassRow,
    HitRow,
    SelectionRow,
    VideoRow,
)


def to_video(row: VideoRow) -> Video:
    """The record of a row. A video known by name only spans ``[0, 0)``."""
    return Video(
        id=row.id,
        start=row.start if row.start is not None else 0.0,
        end=row.end if row.end is not None else 0.0,
        path=row.path,
        labels=tuple(row.labels),
        subset=cast(Subset, row.subset),
        url=row.url,
    )


def rows(session: Session, *states: str) -> list[VideoRow]:
    """Videos in one of ``states`` (all without any), in the order of their ids."""
    query = select(VideoRow).order_by(VideoRow.id)
    if states:
        query = query.where(VideoRow.state.in_(states))
    return list(session.scalars(query))


def usable(session: Session) -> dict[str, Video]:
    """All videos that stages work on, by id."""
    return {row.id: to_video(row) for row in rows(session, "ok")}


def quarantine(session: Session, video_id: str, reason: str) -> None:
    """Set a video aside with its reason; every stage leaves it out from now on."""
    session.execute(update(VideoRow).where(VideoRow.id == video_id).values(state="quarantined", reason=reason))


def add_labels(session: Session, video_id: str, labels: Iterable[str]) -> bool:
    """Add video-level labels; whether there was something new. Their classes must be known (`add_classes`)."""
    row = session.get_one(VideoRow, video_id)
    merged = sorted({*row.labels, *labels})
    if merged == row.labels:
        return False
    row.labels = merged
    return True


def classes(session: Session) -> list[str]:
    """Class names in their fixed order: the order in which they first came."""
    return list(session.scalars(select(ClassRow.name).order_by(ClassRow.position)))


def add_classes(session: Session, names: Iterable[str]) -> None:
    """Append classes that are new, in the order given."""
    known = set(classes(session))
    position = session.scalar(select(func.coalesce(func.max(ClassRow.position), -1))) or 0
    position = len(known) if not known else max(position, len(known) - 1) + 1
    for name in names:
        if name not in known:
            known.add(name)
            session.add(ClassRow(name=name, position=position, definition=""))
            position += 1
    session.flush()


def forget(session: Session, video_id: str) -> dict[str, int]:
    """Take a video out of every table; returns how many rows went, by table.

    Answers of workers go too: a take-down means that nothing of the video stays. The ledger keeps its
    amounts (money that was paid was paid).
    """
    tokens: Sequence[str] = session.scalars(select(HitRow.token).where(HitRow.video_id == video_id)).all()
    counts = {}
    for name, statement in {
        "assignments": delete(AssignmentRow).where(AssignmentRow.token.in_(tokens)),
        "HITs": delete(HitRow).where(HitRow.video_id == video_id),
        "annotations": delete(AnnotationRow).where(AnnotationRow.video_id == video_id),
        "selections": delete(SelectionRow).where(SelectionRow.video_id == video_id),
        "artefacts": delete(ArtefactRow).where(ArtefactRow.key == video_id),
        "videos": delete(VideoRow).where(VideoRow.id == video_id),
    }.items():
        counts[name] = session.execute(statement).rowcount  # type: ignore[attr-defined]
    return counts
