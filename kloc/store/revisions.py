"""Annotations: append-only revisions, the newest of an item counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from kloc.files import fingerprint
from kloc.records import Annotation, Instance, Item
from kloc.store.tables import AnnotationRow


def to_annotation(row: AnnotationRow) -> Annotation:
    """The record of a row."""
    return Annotation(
        Item(row.video_id, row.start, row.end),
        tuple(Instance(i["start"], i["end"], i["label"], i.get("confidence", 1.0)) for i in row.instances),
        None if row.exhaustive_for is None else frozenset(row.exhaustive_for),
    )


def lock(session: Session) -> None:
    """Make everybody else who would append revisions wait until this transaction has ended.

    Every transaction on SQLite has the write lock from its beginning; PostgreSQL is told.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("LOCK TABLE annotations IN SHARE ROW EXCLUSIVE MODE"))


def append(
    session: Session,
    annotation: Annotation,
    source: str,
    *,
    round_: int | None = None,
    guideline: str | None = None,
    assignments: Iterable[str] = (),
    consolidation: Mapping[str, Any] | None = None,
) -> bool:
    """Append a revision unless the newest one of the item already says the same; whether it was appended."""
    item = annotation.item
    content: dict[str, Any] = {
        "instances": [
            {"start": i.start, "end": i.end, "label": i.label, "confidence": i.confidence}
            for i in sorted(annotation.instances)
        ],
        "exhaustive_for": None if annotation.exhaustive_for is None else sorted(annotation.exhaustive_for),
        "source": source,
        "guideline": guideline,
        "assignments": sorted(assignments),
        "consolidation": None if consolidation is None else dict(consolidation),
    }
    newest = session.scalars(
        select(AnnotationRow)
        .where(
            AnnotationRow.video_id == item.video_id, AnnotationRow.start == item.start, AnnotationRow.end == item.end
        )
        .order_by(AnnotationRow.revision.desc())
        .limit(1)
    ).first()
    # The previous revision is part of the hash: going back to an earlier opinion is a revision of its own.
    mark = fingerprint(content)
    if newest is not None and newest.fingerprint.split("-")[-1] == mark:
        return False
    generation = 0 if newest is None else int(newest.fingerprint.split("-")[0]) + 1
    session.add(
        AnnotationRow(
            video_id=item.video_id,
            start=item.start,
            end=item.end,
            round=round_,
            fingerprint=f"{generation}-{mark}",
            **content,
        )
    )
    session.flush()
    return True


def current_rows(session: Session, video_id: str | None = None) -> list[AnnotationRow]:
    """The revisions that count, ordered by video and start: of stretches that overlap the newest only.

    ``video_id``: of this video; ``None``: of all.
    """
    groups = select(func.max(AnnotationRow.revision)).group_by(
        AnnotationRow.video_id, AnnotationRow.start, AnnotationRow.end
    )
    if video_id is not None:
        groups = groups.where(AnnotationRow.video_id == video_id)
    newest = groups.scalar_subquery()
    query = select(AnnotationRow).where(AnnotationRow.revision.in_(newest)).order_by(AnnotationRow.revision)
    kept: dict[str, list[AnnotationRow]] = {}
    for row in session.scalars(query):
        # A later look at the same stretch stands for an earlier one, also where the ends differ a little.
        others = [old for old in kept.get(row.video_id, ()) if old.end <= row.start or old.start >= row.end]
        kept[row.video_id] = [*others, row]
    return sorted((row for rows in kept.values() for row in rows), key=lambda r: (r.video_id, r.start, r.end))


def current(session: Session) -> dict[str, Annotation]:
    """The annotation of every annotated video, by video id.

    Several clips of one video merge into one annotation: its item spans them all, its classes are those that
    every clip was searched for.
    """
    merged: dict[str, Annotation] = {}
    for row in current_rows(session):
        new = to_annotation(row)
        old = merged.get(row.video_id)
        merged[row.video_id] = new if old is None else _merge(old, new)
    return merged


def _merge(a: Annotation, b: Annotation) -> Annotation:
    item = Item(a.item.video_id, min(a.item.start, b.item.start), max(a.item.end, b.item.end))
    if a.exhaustive_for is None:
        both = b.exhaustive_for
    elif b.exhaustive_for is None:
        both = a.exhaustive_for
    else:
        both = a.exhaustive_for & b.exhaustive_for
    return Annotation(item, tuple(sorted({*a.instances, *b.instances})), both)
