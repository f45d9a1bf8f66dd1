"""Whether a worker may take and hand in work: their access stands and the requester has not blocked them."""

from __future__ import annotations

from http import HTTPStatus

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from kloc.crowd.endpoint.faults import Refusal
from kloc.crowd.endpoint.tables import Worker, WorkerBlock

_BLOCKED = "The requester has no more work for you here; what you have earned stays yours."
_WITHDRAWN = "Your access has been withdrawn; please ask the person who gave it to you."


#: Built once, like the others that every answer asks for.
_WORKER = select(Worker).where(Worker.id == bindparam("worker_id")).execution_options(populate_existing=True)
_BESIDE_OTHERS, _ALONE = _WORKER.with_for_update(read=True), _WORKER.with_for_update()
_BLOCK = select(WorkerBlock.worker_id).where(WorkerBlock.worker_id == bindparam("worker_id"))


def is_blocked(session: Session, worker_id: str) -> bool:
    return session.scalar(_BLOCK, {"worker_id": worker_id}) is not None


def lock(session: Session, worker_id: str, *, alone: bool = False) -> Worker | None:
    """The worker, held until the transaction ends: alone, or beside others who only look.

    Locks come in one order everywhere, so that nobody waits for each other: account, HIT, worker, assignment.
    """
    return session.scalar(_ALONE if alone else _BESIDE_OTHERS, {"worker_id": worker_id})


def require(session: Session, worker: Worker | None) -> None:
    """Raise :class:`Refusal` (403) for a worker without access or with a block. Held, they keep it till the commit."""
    if worker is None or worker.revoked is not None:
        raise Refusal(HTTPStatus.FORBIDDEN, _WITHDRAWN)
    if is_blocked(session, worker.id):
        raise Refusal(HTTPStatus.FORBIDDEN, _BLOCKED)
