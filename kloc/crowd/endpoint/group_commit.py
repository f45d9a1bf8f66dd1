"""One commit, and one sync to the disk, for all writers that came at the same time (SQLite has one writer).

Each writer has its turn and its savepoint, so what one takes back concerns nobody else; then it waits until the commit
that holds its work is on the disk. Whoever finds nobody waiting commits for all. Under load a sync of several
milliseconds is shared by many; alone, a writer waits for nobody.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine
from sqlalchemy.orm import Session

#: How many may share a commit: the first of them waits for the last.
_MOST = 16


class _Batch:
    """Writers that share a transaction."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.members = 0
        self.error: BaseException | None = None
        self.over = threading.Event()


class GroupCommit:
    """The only way to write to one SQLite database within a process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._turn = threading.Lock()
        self._count = threading.Lock()
        self._waiting = 0
        self._batch: _Batch | None = None

    @contextmanager
    def session(self) -> Iterator[Session]:
        """All or nothing: on the disk at the end of the block, or taken back on any exception."""
        with self._my_turn():
            batch = self._batch = self._batch or self._begun()
            batch.members += 1
            try:
                with (
                    Session(
                        batch.connection, expire_on_commit=False, join_transaction_mode="create_savepoint"
                    ) as session,
                    session.begin(),
                ):
                    yield session
            except BaseException as error:
                if _is_gone(batch.connection):
                    batch.error = error
                raise
            finally:
                if batch.error is not None or not self._waiting or batch.members >= _MOST:
                    self._end(batch)
        batch.over.wait()
        if batch.error is not None:
            raise batch.error

    @contextmanager
    def _my_turn(self) -> Iterator[None]:
        with self._count:
            self._waiting += 1
        with self._turn:
            with self._count:
                self._waiting -= 1
            yield

    def _begun(self) -> _Batch:
        """A transaction that holds SQLite's write lock from its beginning: what it reads stays true."""
        connection = self._engine.connect().execution_options(kloc_write=True)
        try:
            connection.begin()
        except BaseException:
            connection.close()
            raise
        return _Batch(connection)

    def _end(self, batch: _Batch) -> None:
        """Commit for everybody in the batch; where that fails, or nothing is left to commit, everybody learns it."""
        self._batch = None
        try:
            if batch.error is not None:
                raise batch.error
            batch.connection.commit()
        except BaseException as error:
            batch.error = error
            batch.connection.invalidate()
        finally:
            batch.connection.close()
            batch.over.set()


def _is_gone(connection: Connection) -> bool:
    """Whether SQLite has taken back the whole transaction, not the last statement alone: the disk is full or fails."""
    return connection.invalidated or not connection.connection.dbapi_connection.in_transaction  # type: ignore[union-attr]
