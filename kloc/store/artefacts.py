"""The manifest of what stages made: what is up to date is skipped, what is stale is made again."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from kloc.store.tables import ArtefactRow


def get(session: Session, stage: str, key: str) -> ArtefactRow | None:
    """The artefact of ``key``, if any."""
    return session.get(ArtefactRow, (stage, key))


def of_stage(session: Session, stage: str) -> dict[str, ArtefactRow]:
    """All artefacts of a stage, by key."""
    query = select(ArtefactRow).where(ArtefactRow.stage == stage).order_by(ArtefactRow.key)
    return {row.key: row for row in session.scalars(query)}


def put(
    session: Session,
    stage: str,
    key: str,
    fingerprint: str,
    path: str | None = None,
    info: dict[str, Any] | None = None,
) -> None:
    """Record what was made; called after the file took its name, never before."""
    session.merge(ArtefactRow(stage=stage, key=key, fingerprint=fingerprint, path=path, info=info or {}))


def drop(session: Session, stage: str, key: str | None = None) -> None:
    """Forget one artefact of a stage, or all of them."""
    statement = delete(ArtefactRow).where(ArtefactRow.stage == stage)
    session.execute(statement if key is None else statement.where(ArtefactRow.key == key))
