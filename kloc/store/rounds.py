"""Rounds of active learning and what each of them chose."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from kloc.store.tables import HitRow, RoundRow, SelectionRow


def all_rounds(session: Session) -> list[RoundRow]:
    """All rounds, first to last."""
    return list(session.scalars(select(RoundRow).order_by(RoundRow.index)))


def latest(session: Session) -> RoundRow | None:
    """The newest round, ``None`` before the first selection."""
    return session.scalars(select(RoundRow).order_by(RoundRow.index.desc()).limit(1)).first()


def selections(session: Session, round_: int | None = None) -> list[SelectionRow]:
    """What was chosen, in the order of choosing, in one round or in all."""
    query = select(SelectionRow).order_by(SelectionRow.round, SelectionRow.position)
    return list(session.scalars(query if round_ is None else query.where(SelectionRow.round == round_)))


def selections_of(session: Session, video_id: str) -> list[SelectionRow]:
    """Every time a video was chosen, first to last."""
    query = select(SelectionRow).where(SelectionRow.video_id == video_id).order_by(SelectionRow.round)
    return list(session.scalars(query))


def add(session: Session, strategy: str, policy: str, seed: int, settings: dict[str, Any]) -> RoundRow:
    """Open the next round."""
    index = session.scalar(select(func.count()).select_from(RoundRow)) or 0
    row = RoundRow(index=index, strategy=strategy, policy=policy, seed=seed, state="selected", settings=settings)
    session.add(row)
    session.flush()
    return row


def has_hits(session: Session, round_: int) -> bool:
    """Whether publishing of a round has begun (an intent may have reached the endpoint)."""
    return session.scalar(select(func.count()).select_from(HitRow).where(HitRow.round == round_)) != 0


def undo(session: Session, round_: int) -> int:
    """Take back a round nothing of which was published; returns how many selections went."""
    count = session.execute(delete(SelectionRow).where(SelectionRow.round == round_)).rowcount  # type: ignore[attr-defined]
    session.execute(delete(RoundRow).where(RoundRow.index == round_))
    return int(count)
