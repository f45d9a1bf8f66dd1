"""Who holds which qualification: requests to judge, values given and taken away, who and what is concerned."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from kloc.crowd.endpoint.faults import RequestError
from kloc.crowd.endpoint.ids import WORKER
from kloc.crowd.endpoint.operations.hits import described as described_hits
from kloc.crowd.endpoint.operations.paging import page
from kloc.crowd.endpoint.operations.qualification_types import own
from kloc.crowd.endpoint.operations.registry import Call, operation
from kloc.crowd.endpoint.operations.workers import locked_worker
from kloc.crowd.endpoint.qualifications import HIGHEST, SYSTEM
from kloc.crowd.endpoint.qualifying import GRANTED, PENDING, REJECTED, grant
from kloc.crowd.endpoint.tables import (
    Hit,
    HitType,
    Message,
    Qualification,
    QualificationRequest,
    QualificationType,
)


@operation("ListQualificationRequests", writes=False)
def list_qualification_requests(call: Call) -> dict[str, Any]:
    """What waits to be judged, the oldest first."""
    query = select(QualificationRequest).where(QualificationRequest.status == PENDING)
    listing = "qualification requests"
    if call.parameters.has("QualificationTypeId"):
        kind = own(call)
        query = query.where(QualificationRequest.type_id == kind.id)
        listing += f" {kind.id}"
    keys = (QualificationRequest.submitted, QualificationRequest.id)
    found, answer = page(call.session, query, keys, call.parameters, listing)
    ids = {request.type_id for request in found}
    tests = select(QualificationType.id, QualificationType.test).where(QualificationType.id.in_(ids))
    test_of: dict[str, str | None] = {row[0]: row[1] for row in call.session.execute(tests)}
    return {**answer, "QualificationRequests": [_described_request(each, test_of[each.type_id]) for each in found]}


@operation("AcceptQualificationRequest", writes=True)
def accept_qualification_request(call: Call) -> dict[str, Any]:
    """Grant what was asked for. Accepting twice is success: the answer to the first call may have been lost."""
    value = call.parameters.integer("IntegerValue", 0, HIGHEST, default=1)
    request = _locked_request(call)
    if request.status == PENDING:
        request.status, request.score = GRANTED, value
        grant(call.session, request.type_id, request.worker_id, value, call.now)
    elif request.status != GRANTED:
        raise _wrong_state(request)
    return {}


@operation("RejectQualificationRequest", writes=True)
def reject_qualification_request(call: Call) -> dict[str, Any]:
    """Refuse what was asked for. Rejecting twice is success, and the first reason stays."""
    reason = call.parameters.optional_text("Reason", 1024)
    request = _locked_request(call)
    if request.status == PENDING:
        request.status, request.reason = REJECTED, reason
    elif request.status != REJECTED:
        raise _wrong_state(request)
    return {}


@operation("AssociateQualificationWithWorker", writes=True)
def associate_qualification_with_worker(call: Call) -> dict[str, Any]:
    """Give a worker a value, or another one. A request of theirs that waits is granted by it."""
    value = call.parameters.integer("IntegerValue", 0, HIGHEST, default=1)
    notify = call.parameters.flag("SendNotification")
    kind, worker = own(call), locked_worker(call)
    waiting = select(QualificationRequest).where(
        QualificationRequest.type_id == kind.id,
        QualificationRequest.worker_id == worker.id,
        QualificationRequest.status == PENDING,
    )
    for request in call.session.scalars(waiting):
        request.status, request.score = GRANTED, value
    grant(call.session, kind.id, worker.id, value, call.now)
    if notify:
        text = f"You have been given the qualification {kind.name} with the value {value}."
        call.session.add(Message(worker_id=worker.id, sent=call.now, subject="A qualification", text=text))
    return {}


@operation("DisassociateQualificationFromWorker", writes=True)
def disassociate_qualification_from_worker(call: Call) -> dict[str, Any]:
    """Take a value away; it stays on record as revoked."""
    reason = call.parameters.optional_text("Reason", 4096)
    kind, worker = own(call), locked_worker(call)
    held = _held(call, kind.id, worker.id)
    if held.revoked:
        raise RequestError(
            "InvalidQualificationState",
            "This operation can be called with a status of: Granted. "
            f"The qualification {kind.id} of worker {worker.id} is Revoked.",
        )
    held.revoked, held.reason = True, reason
    return {}


@operation("GetQualificationScore", writes=False)
def get_qualification_score(call: Call) -> dict[str, Any]:
    kind, worker_id = own(call), call.parameters.entity("WorkerId", WORKER)
    return {"Qualification": _described(_held(call, kind.id, worker_id))}


@operation("ListWorkersWithQualificationType", writes=False)
def list_workers_with_qualification_type(call: Call) -> dict[str, Any]:
    """In the order in which they were granted it."""
    kind, status = own(call), call.parameters.choice("Status", ("Granted", "Revoked"), "Granted")
    query = select(Qualification).where(
        Qualification.type_id == kind.id, Qualification.revoked.is_(status == "Revoked")
    )
    keys = (Qualification.granted, Qualification.worker_id)
    found, answer = page(call.session, query, keys, call.parameters, f"workers with {kind.id} {status}")
    return {**answer, "Qualifications": [_described(each) for each in found]}


@operation("ListHITsForQualificationType", writes=False)
def list_hits_for_qualification_type(call: Call) -> dict[str, Any]:
    """The HITs, newest first, whose type asks for the qualification; deleted ones left out."""
    type_id = call.parameters.entity("QualificationTypeId")
    if type_id not in SYSTEM:
        own(call)
    kinds = [
        hit_type
        for hit_type, requirements in call.session.execute(select(HitType.id, HitType.qualification_requirements))
        if any(each["QualificationTypeId"] == type_id for each in requirements)
    ]
    query = select(Hit).where(Hit.hit_type_id.in_(kinds), Hit.disposed.is_(False))
    keys = (Hit.created, Hit.id)
    found, answer = page(call.session, query, keys, call.parameters, f"hits that ask for {type_id}", newest_first=True)
    return {**answer, "HITs": described_hits(call, found)}


def _locked_request(call: Call) -> QualificationRequest:
    request_id = call.parameters.entity("QualificationRequestId")
    worker = select(QualificationRequest.worker_id).where(QualificationRequest.id == request_id)
    worker_id = call.session.scalar(worker.where(QualificationRequest.submitted.is_not(None)))
    if worker_id is None:
        raise RequestError("QualificationRequestDoesNotExist", f"Qualification request {request_id} does not exist.")
    locked_worker(call, worker_id)
    return call.session.get_one(QualificationRequest, request_id, populate_existing=True)


def _held(call: Call, type_id: str, worker_id: str) -> Qualification:
    held = call.session.get(Qualification, (type_id, worker_id))
    if held is None:
        raise RequestError(
            "QualificationDoesNotExist", f"Worker {worker_id} does not have a qualification of the type {type_id}."
        )
    return held


def _described(held: Qualification) -> dict[str, Any]:
    return {
        "QualificationTypeId": held.type_id,
        "WorkerId": held.worker_id,
        "GrantTime": held.granted,
        "IntegerValue": held.value,
        "Status": "Revoked" if held.revoked else "Granted",
    }


def _described_request(request: QualificationRequest, test: str | None) -> dict[str, Any]:
    answer = {
        "QualificationRequestId": request.id,
        "QualificationTypeId": request.type_id,
        "WorkerId": request.worker_id,
        "Test": test,
        "Answer": request.answer,
        "SubmitTime": request.submitted,
    }
    return {name: value for name, value in answer.items() if value is not None}


def _wrong_state(request: QualificationRequest) -> RequestError:
    return RequestError(
        "InvalidQualificationRequestState",
        f"This operation can be called with a status of: Pending. Qualification request {request.id} "
        f"is {request.status}.",
    )
