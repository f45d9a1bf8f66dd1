"""Opening the endpoint's database: SQLite by default, PostgreSQL by URL. What is answered has been committed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.orm import Session

from kloc.crowd.endpoint.group_commit import GroupCommit
from kloc.crowd.endpoint.tables import SCHEMA, Base, Meta
from kloc.errors import CrowdError, UsageError

#: Serialises the making of tables on PostgreSQL; any constant does, as long as it stays the same.
_SETUP_LOCK = 0x6B6C6F63
#: Columns that came with a later schema, by the schema that lacked them. New tables need no mention.
_ADDED: dict[str, tuple[tuple[str, str], ...]] = {
    "1": (("hits", "facts"), ("workers", "password"), ("worker_tokens", "expires")),
}
#: One connection for each of the server's threads; a statement's values (answers, ids) stay out of the log.
_OPTIONS: dict[str, Any] = {"pool_size": 8, "max_overflow": 56, "hide_parameters": True}


class Database:
    """The endpoint's database. :meth:`read` and :meth:`write` are the only ways in.

    A write transaction on SQLite takes the write lock when it begins, so what it reads stays true until it
    commits; those that come together commit together. On PostgreSQL the same is reached by locking the rows that
    decide (the HIT, the account).
    """

    def __init__(self, url: str) -> None:
        parsed = _parsed(url)
        self.shown = parsed.render_as_string(hide_password=True)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        self.engine = _sqlite(parsed) if self.is_sqlite else _postgresql(parsed)
        # SQLite waits for its lock by polling; within one process a queue does better, and shares the sync.
        self._together = GroupCommit(self.engine) if self.is_sqlite else None
        try:
            self._set_up()
        except DBAPIError as error:
            self.engine.dispose()
            reason = str(error.orig).strip().splitlines()[0] if error.orig else str(error)
            raise CrowdError(f"cannot open the endpoint's database {self.shown}: {reason}") from error

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A consistent view; nothing is kept."""
        with Session(self.engine) as session:
            yield session

    def write(self) -> AbstractContextManager[Session]:
        """All or nothing: commit (and sync to the disk) at the end of the block, roll back on any exception."""
        return self._alone() if self._together is None else self._together.session()

    @contextmanager
    def _alone(self) -> Iterator[Session]:
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    def value(self, key: str) -> str:
        """One of the facts in ``meta``."""
        with self.read() as session:
            return session.get_one(Meta, key).value

    def close(self) -> None:
        self.engine.dispose()

    def _set_up(self) -> None:
        with self.read() as session:
            if inspect(session.connection()).has_table(Meta.__tablename__) and self._is_complete(session):
                return
        with self.write() as session:
            if not self.is_sqlite:
                session.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _SETUP_LOCK})
            self._upgrade(session)
            Base.metadata.create_all(session.connection())
            if not self._is_complete(session):
                for key, value in (("schema", SCHEMA), ("url_key", secrets.token_hex(32)), ("account", "requester")):
                    session.add(Meta(key=key, value=value))

    def _upgrade(self, session: Session) -> None:
        """Bring the tables of an older kloc to today's columns. Only adds: an answer is never rewritten."""
        connection = session.connection()
        if not inspect(connection).has_table(Meta.__tablename__):
            return
        meta = session.get(Meta, "schema")
        for table, column in _ADDED.get(meta.value if meta else "", ()):
            kind = Base.metadata.tables[table].c[column].type.compile(connection.dialect)
            session.execute(text(f"alter table {table} add column {column} {kind}"))
        if meta is not None and meta.value in _ADDED:
            meta.value = SCHEMA

    def _is_complete(self, session: Session) -> bool:
        """Whether the tables are made. They are, with the facts, in one transaction."""
        schema = session.get(Meta, "schema")
        if schema is None or schema.value in _ADDED:
            return False
        if schema.value != SCHEMA:
            raise CrowdError(
                f"the endpoint's database {self.shown} has schema {schema.value}, this kloc reads {SCHEMA}: "
                "use the version of kloc that wrote it, or a new database"
            )
        return True


def lock_account(session: Session) -> None:
    """Let one requester call at a time decide about money, tokens and types (PostgreSQL; SQLite has one writer)."""
    if session.get_bind().dialect.name != "sqlite":
        session.execute(select(Meta.key).where(Meta.key == "account").with_for_update())


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise UsageError(f"database url {url!r} is not like sqlite:///file.db or postgresql://host/name") from error
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise UsageError(f"database url {url!r}: only sqlite:///file.db and postgresql:// are supported")
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise UsageError(f"database url {url!r}: the endpoint needs a file, memory would lose paid work")
    return parsed


def _sqlite(parsed: URL) -> Engine:
    path = Path(str(parsed.database))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Answers, names and the key that signs URLs are nobody else's business.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise CrowdError(f"cannot open the endpoint's database {path}: {error.strerror}; make it writable") from error
    engine = create_engine(parsed, connect_args={"check_same_thread": False}, **_OPTIONS)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        # FULL: an answered request survives a power cut. Python's driver begins transactions late: take that over.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("busy_timeout=30000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("kloc_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _postgresql(parsed: URL) -> Engine:
    return create_engine(parsed, pool_pre_ping=True, **_OPTIONS)
