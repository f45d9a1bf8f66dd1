"""Opening the campaign store: SQLite by default, PostgreSQL by URL, brought to the newest schema by Alembic."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from kloc.errors import KlocError

_MIGRATIONS = Path(__file__).parent / "migrations"


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file, whatever characters its path holds."""
    return URL.create("sqlite", database=str(path)).render_as_string()


class Store:
    """A campaign database. All reads and writes happen inside :meth:`transaction`.

    Only the parent process of a stage writes here; workers return what they made.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = _engine(url)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """All or nothing: commit at the end of the block, roll back on any exception."""
        with self._plainly(), self._sessions() as session, session.begin():
            yield session

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        """The database's own errors as one line that says what to do."""
        try:
            yield
        except DBAPIError as error:
            reason = str(error.orig).strip().splitlines()[0] if error.orig else str(error)
            raise KlocError(f"the campaign store {self.shown} refused: {reason}{_advice(reason)}") from error

    @property
    def shown(self) -> str:
        """The URL without its password."""
        return make_url(self.url).render_as_string(hide_password=True)

    def migrate(self) -> None:
        """Bring the schema to this version of kloc; refuse a store that a newer kloc wrote."""
        with self._plainly():
            self._migrate()

    def _migrate(self) -> None:
        with self.engine.connect() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
        known = ScriptDirectory.from_config(config)
        if current == known.get_current_head():
            return
        if current is not None:
            try:
                known.get_revision(current)
            except CommandError:
                raise KlocError(
                    f"the campaign store {self.shown} has schema {current}, which this kloc does not know: "
                    "it was written by a newer version; update kloc (pip install -U kloc)"
                ) from None
        with self.engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def close(self) -> None:
        self.engine.dispose()


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise KlocError(f"general.store {url!r} is no database URL; use postgresql://user@host/database") from None
    if parsed.get_backend_name() == "postgresql" and parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        shown = parsed.render_as_string(hide_password=True)
        raise KlocError(f"general.store {shown!r}: only sqlite:/// and postgresql:// are supported")
    engine = create_engine(
        parsed,
        pool_pre_ping=parsed.get_backend_name() == "postgresql",
        # NaN is no JSON: SQLite would keep it, PostgreSQL refuse it. Neither may.
        json_serializer=functools.partial(json.dumps, ensure_ascii=False, allow_nan=False),
    )
    if parsed.get_backend_name() == "sqlite":

        @event.listens_for(engine, "connect")
        def _configure(connection: Any, _record: Any) -> None:
            # WAL lets `kloc status` read while a stage writes; FULL survives a power cut. Python's driver
            # starts transactions late and ends them at DDL: take that over (isolation_level None + BEGIN).
            connection.isolation_level = None
            cursor = connection.cursor()
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
                cursor.execute(f"PRAGMA {pragma}")
            cursor.close()

        @event.listens_for(engine, "begin")
        def _begin(connection: Any) -> None:
            # Immediate: a transaction that begins as a reader and then writes would fail at once ("database is
            # locked") where another stage has written meanwhile; this one waits its turn.
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _advice(reason: str) -> str:
    if "full" in reason or "disk I/O" in reason:
        return "; free some disk space and run the command again"
    if "readonly" in reason or "read-only" in reason or "unable to open" in reason:
        return "; make the workspace writable and run the command again"
    if "locked" in reason:
        return "; another command is writing to it: run this one again when that has finished"
    return ""
