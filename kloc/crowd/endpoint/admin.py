"""Workers and their access, straight in the endpoint's database; the endpoint may be running meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.orm import Session

from kloc.crowd.endpoint import participants
from kloc.crowd.endpoint.database import Database
from kloc.crowd.endpoint.ids import new_token, token_hash, worker_id
from kloc.crowd.endpoint.tables import (
    ACCEPTED,
    APPROVED,
    HANDED_IN,
    RETURNED,
    Assignment,
    Draft,
    QualificationRequest,
    Worker,
    WorkerBlock,
    WorkerToken,
)
from kloc.errors import CrowdError, UsageError

#: A token anybody could guess is no token.
_MINIMUM_TOKEN = 20


@dataclass(frozen=True)
class WorkerInfo:
    """One worker. Tokens and passwords are stored as hashes and cannot be shown again.

    answers, approved: handed-in and approved assignments. last_seen: when they last took, saved or handed in
    something, or signed in; epoch seconds, None where they never did.
    """

    id: str
    name: str
    source: str
    created: float
    revoked: bool
    blocked: bool
    answers: int
    approved: int
    last_seen: float | None


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

    With ``replace`` it is the only one that does: a password and links given out before stop working. A worker whose
    access was withdrawn gets it back. Raises :class:`UsageError` for a short token and :class:`CrowdError` for one
    that belongs to somebody else.
    """
    if len(token) < _MINIMUM_TOKEN or "/" in token:
        raise UsageError(f"the token for worker {name!r} must have at least {_MINIMUM_TOKEN} characters and no slash")
    with _writing(database_url) as session:
        worker = _admitted(session, name, source, seed)
        if replace:
            worker.password = None
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


def give_password(database_url: str, name: str) -> str:
    """A new password for the local worker ``name``, made if needed; older links and what a password opened close."""
    password = participants.new_password()
    stored = participants.hashed(password)
    with _writing(database_url) as session:
        worker = _admitted(session, name)
        worker.password = stored
        session.execute(delete(WorkerToken).where(WorkerToken.worker_id == worker.id))
    return password


def revoke(database_url: str, name: str, source: str = "local") -> None:
    """Withdraw a worker's access: links and password stop working, what they hold is free again, answers stay."""
    with _writing(database_url) as session:
        worker = _find(session, name, source)
        if worker is None:
            raise CrowdError(f"there is no worker {name!r}; `kloc crowd workers` lists the names")
        worker.revoked = time.time()
        worker.password = None
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
            count = select(Assignment.worker_id, func.count())
            done = _by_worker(session, count.where(Assignment.status.in_(HANDED_IN)))
            good = _by_worker(session, count.where(Assignment.status == APPROVED))
            seen = _last_seen(session)
            blocked = set(session.scalars(select(WorkerBlock.worker_id)))
            return [
                WorkerInfo(
                    worker.id,
                    worker.name,
                    worker.source,
                    worker.created,
                    worker.revoked is not None,
                    worker.id in blocked,
                    int(done.get(worker.id, 0)),
                    int(good.get(worker.id, 0)),
                    seen.get(worker.id),
                )
                for worker in session.scalars(select(Worker).order_by(Worker.created, Worker.id))
            ]
    finally:
        database.close()


def late_answers(database_url: str) -> int:
    """How many answers came after their task had closed: nobody is paid for them, and they do not count."""
    database = Database(database_url)
    try:
        with database.read() as session:
            return int(session.scalar(select(func.count()).where(Assignment.late_answer.is_not(None))) or 0)
    finally:
        database.close()


def _by_worker(session: Session, query: Select[Any, Any]) -> dict[str, float]:
    """One number per worker id, the first of the query's two columns."""
    return {row[0]: row[1] for row in session.execute(query.group_by(query.selected_columns[0]))}


def _last_seen(session: Session) -> dict[str, float]:
    signed_in = WorkerToken.expires.is_not(None)
    queries: list[Select[Any, Any]] = [
        select(Assignment.worker_id, func.max(Assignment.accept_time)),
        select(Assignment.worker_id, func.max(Assignment.submit_time)).where(Assignment.submit_time.is_not(None)),
        select(Assignment.worker_id, func.max(Draft.saved)).join(Draft, Draft.assignment_id == Assignment.id),
        select(QualificationRequest.worker_id, func.max(QualificationRequest.started)),
        select(WorkerToken.worker_id, func.max(WorkerToken.created)).where(signed_in),
    ]
    seen: dict[str, float] = {}
    for query in queries:
        for worker, when in _by_worker(session, query).items():
            seen[worker] = max(when, seen.get(worker, when))
    return seen


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


def _admitted(session: Session, name: str, source: str = "local", seed: int | None = None) -> Worker:
    """The worker of that name, made if needed, with access."""
    if not name.strip():
        raise UsageError("a worker needs a name")
    worker = _find(session, name, source)
    if worker is None:
        worker = Worker(id=worker_id(seed, name), source=source, name=name, created=time.time())
        if session.get(Worker, worker.id) is not None:
            raise CrowdError(f"worker {name!r} and another one share an id under seed {seed}; use another seed")
        session.add(worker)
        session.flush()
    worker.revoked = None
    return worker
