"""Writing to workers. Messages appear on their home page."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from kloc.crowd.endpoint.faults import invalid
from kloc.crowd.endpoint.ids import WORKER
from kloc.crowd.endpoint.operations.registry import Call, operation
from kloc.crowd.endpoint.tables import Message, Worker


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
