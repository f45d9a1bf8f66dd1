"""Workers and their access, straight in the endpoint's database; the endpoint may be running meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from kloc.crowd.endpoint.database import Database
from kloc.crowd.endpoint.ids import new_token, token_hash, worker_id
from kloc.crowd.endpoint.tables import ACCEPTED, RETURNED, Assignment, Worker, WorkerToken
from kloc.errors import CrowdError, UsageError

#: A token anybody could guess is no token.
_MINIMUM_TOKEN = 20


@dataclass(frozen=True)
class WorkerInfo:
    """One worker. Tokens are stored as hashes and cannot be shown again."""

    id: str
    name: str
    source: str
    created: float
    revoked: bool


def create_worker(database_url: str, name: str, seed: int | None = None) -> tuple[str, str]:
    """``(worker id, token)`` for the local worker ``name``; the worker's page is ``<endpoint>/w/<token>``.

    The same name is the same worker; every call makes a further token, and older ones stay good until
    :func:`revoke`. With a seed the id of a new worker depends on seed and name alone; the token never does.
    """
    token = new_token()
    return ensure_worker(database_url, name, token, seed=seed), token


def ensure_worker(
    database_url: str,
    name: str,
    token: str,
    seed: int | None = None,
    source: str = "local",
    *,
    replace: bool = False,
) -> str:
    """See to it that the worker ``name`` exists and that ``token`` opens their page; returns the worker id.

    With ``replace`` it is the only one that does: links given out before stop working. A worker whose access was
    withdrawn gets it back. Raises :class:`UsageError` for a short token and :class:`CrowdError` for one that
    belongs to somebody else.
    """
    if len(token) < _MINIMUM_TOKEN or "/" in token:
        raise UsageError(f"the token for worker {name!r} must have at least {_MINIMUM_TOKEN} characters and no slash")
    if not name.strip():
        raise UsageError("a worker needs a name")
    with _writing(database_url) as session:
        worker = _find(session, name, source)
        if worker is None:
            worker = Worker(id=worker_id(seed, name), source=source, name=name, created=time.time())
            if session.get(Worker, worker.id) is not None:
                raise CrowdError(f"worker {name!r} and another one share an id under seed {seed}; use another seed")
            session.add(worker)
            session.flush()
        worker.revoked = None
        if replace:
            session.execute(
                delete(WorkerToken).where(WorkerToken.worker_id == worker.id, WorkerToken.hash != token_hash(token))
            )
        known = session.get(WorkerToken, token_hash(token))
        if known is None:
            session.add(WorkerToken(hash=token_hash(token), worker_id=worker.id, created=time.time()))
        elif known.worker_id != worker.id:
            raise CrowdError(
                f"the token given for worker {name!r} belongs to somebody else; give each worker their own"
            )
        return worker.id


def revoke(database_url: str, name: str, source: str = "local") -> None:
    """Withdraw a worker's access: their links stop working and what they hold is free again. Handed-in work stays."""
    with _writing(database_url) as session:
        worker = _find(session, name, source)
        if worker is None:
            raise CrowdError(f"there is no worker {name!r}; see the list of workers for the names")
        worker.revoked = time.time()
        session.execute(delete(WorkerToken).where(WorkerToken.worker_id == worker.id))
        session.execute(
            update(Assignment)
            .where(Assignment.worker_id == worker.id, Assignment.status == ACCEPTED)
            .values(status=RETURNED)
        )


def list_workers(database_url: str) -> list[WorkerInfo]:
    """All workers, oldest first."""
    database = Database(database_url)
    try:
        with database.read() as session:
            return [
                WorkerInfo(worker.id, worker.name, worker.source, worker.created, worker.revoked is not None)
                for worker in session.scalars(select(Worker).order_by(Worker.created, Worker.id))
            ]
    finally:
        database.close()


@contextmanager
def _writing(database_url: str) -> Iterator[Session]:
    database = Database(database_url)
    try:
        with database.write() as session:
            yield session
    finally:
        database.close()


def _find(session: Session, name: str, source: str) -> Worker | None:
    return session.scalar(select(Worker).where(Worker.source == source, Worker.name == name).with_for_update())
