"""Facts about the workspace itself."""

from __future__ import annotations

from sqlalchemy.orm import Session

from kloc.store.tables import MetaRow


def get(session: Session, key: str) -> str | None:
    """The value of ``key``, ``None`` where it was never set."""
    row = session.get(MetaRow, key)
    return row.value if row else None


def put(session: Session, key: str, value: str) -> None:
    """Set ``key``."""
    session.merge(MetaRow(key=key, value=value))


def get_or_set(session: Session, key: str, default: str) -> str:
    """The value of ``key``; ``default`` is stored first where there is none."""
    known = get(session, key)
    if known is None:
        put(session, key, default)
        return default
    return known
