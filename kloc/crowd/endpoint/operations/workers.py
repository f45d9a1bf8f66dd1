"""Writing to workers, whose messages appear on their home page, and giving them no more work."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, func, select, update

from kloc.crowd.endpoint import standing
from kloc.crowd.endpoint.faults import RequestError, invalid
from kloc.crowd.endpoint.ids import WORKER
from kloc.crowd.endpoint.operations.paging import page
from kloc.crowd.endpoint.operations.registry import Call, operation
from kloc.crowd.endpoint.tables import ACCEPTED, RETURNED, Assignment, Message, Worker, WorkerBlock

_MOST_BLOCKS = 100_000


@operation("NotifyWorkers", writes=True)
def notify_workers(call: Call) -> dict[str, Any]:
    """Ids nobody has, and workers whose access was withdrawn, come back as hard failures; the others are told."""
    subject, text = call.parameters.text("Subject", 200), call.parameters.text("MessageText", 4096)
    ids = call.parameters.items("WorkerIds")
    if not 1 <= len(ids) <= 100:
        raise invalid(f"WorkerIds holds {len(ids)} ids, 1 to 100 are allowed")
    for worker_id in ids:
        if not isinstance(worker_id, str) or not WORKER.fullmatch(worker_id):
            raise invalid(f'The value "{str(worker_id)[:80]}" is not valid for the parameter WorkerIds.')
    reachable = set(call.session.scalars(select(Worker.id).where(Worker.id.in_(ids), Worker.revoked.is_(None))))
    failures = []
    for worker_id in dict.fromkeys(ids):
        if worker_id in reachable:
            call.session.add(Message(worker_id=worker_id, sent=call.now, subject=subject, text=text))
        else:
            failures.append(
                {
                    "NotifyWorkersFailureCode": "HardFailure",
                    "NotifyWorkersFailureMessage": f"Worker {worker_id} cannot be reached here.",
                    "WorkerId": worker_id,
                }
            )
    return {"NotifyWorkersFailureStatuses": failures}


@operation("CreateWorkerBlock", writes=True)
def create_worker_block(call: Call) -> dict[str, Any]:
    """From its answer on the worker is given and hands in nothing; what they hold is free. Again: another reason."""
    reason, worker = call.parameters.text("Reason", 1024), locked_worker(call)
    block = call.session.get(WorkerBlock, worker.id)
    if block is not None:
        block.reason = reason
        return {}
    if (call.session.scalar(select(func.count()).select_from(WorkerBlock)) or 0) >= _MOST_BLOCKS:
        raise invalid(f"{_MOST_BLOCKS} workers are blocked already, no more are allowed")
    call.session.add(WorkerBlock(worker_id=worker.id, reason=reason, created=call.now))
    held = (Assignment.worker_id == worker.id, Assignment.status == ACCEPTED)
    call.session.execute(update(Assignment).where(*held).values(status=RETURNED))
    return {}


@operation("DeleteWorkerBlock", writes=True)
def delete_worker_block(call: Call) -> dict[str, Any]:
    """Give the worker work again. For one who is not blocked that is success as well."""
    call.parameters.optional_text("Reason", 1024)
    worker = locked_worker(call)
    call.session.execute(delete(WorkerBlock).where(WorkerBlock.worker_id == worker.id))
    return {}


@operation("ListWorkerBlocks", writes=False)
def list_worker_blocks(call: Call) -> dict[str, Any]:
    """The oldest first."""
    keys = (WorkerBlock.created, WorkerBlock.worker_id)
    found, answer = page(call.session, select(WorkerBlock), keys, call.parameters, "worker blocks")
    return {**answer, "WorkerBlocks": [{"WorkerId": each.worker_id, "Reason": each.reason} for each in found]}


def locked_worker(call: Call, worker_id: str | None = None) -> Worker:
    """The worker whom the call names, held: nothing of theirs changes before the commit."""
    worker_id = worker_id or call.parameters.entity("WorkerId", WORKER)
    worker = standing.lock(call.session, worker_id, alone=True)
    if worker is None:
        raise RequestError("WorkerDoesNotExist", f"Worker {worker_id} does not exist.")
    return worker
