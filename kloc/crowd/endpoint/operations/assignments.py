"""Reading and judging what workers handed in."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, func, select, update

from kloc.crowd.endpoint import leases
from kloc.crowd.endpoint.faults import RequestError, invalid
from kloc.crowd.endpoint.operations.account import require_funds
from kloc.crowd.endpoint.operations.hits import described
from kloc.crowd.endpoint.operations.paging import page
from kloc.crowd.endpoint.operations.registry import Call, operation
from kloc.crowd.endpoint.tables import APPROVED, HANDED_IN, REJECTED, SUBMITTED, Assignment, Hit

#: A rejection can be overridden for 30 days after the work was handed in.
OVERRIDE_DAYS = 30
_APPROVED = (
    update(Assignment)
    .where(Assignment.id == bindparam("assignment_id"), Assignment.status == SUBMITTED)
    .values(
        status=APPROVED,
        approval_time=bindparam("now"),
        feedback=func.coalesce(bindparam("feedback"), Assignment.feedback),
    )
    .returning(Assignment.id)
    .execution_options(synchronize_session=False)
)


@operation("ListAssignmentsForHIT", writes=False)
def list_assignments_for_hit(call: Call) -> dict[str, Any]:
    """In the order they were handed in; all statuses unless some are asked for."""
    hit_id = call.parameters.entity("HITId")
    if call.session.scalar(select(Hit.id).where(Hit.id == hit_id)) is None:
        raise RequestError("HITDoesNotExist", f"Hit {hit_id} does not exist.")
    wanted = call.parameters.items("AssignmentStatuses") or list(HANDED_IN)
    for state in wanted:
        if state not in HANDED_IN:
            raise invalid(f"AssignmentStatuses holds {str(state)[:40]!r}, which is none of {', '.join(HANDED_IN)}")
    wanted = sorted(set(wanted))
    query = select(Assignment).where(Assignment.hit_id == hit_id, Assignment.status.in_(wanted))
    keys = (Assignment.submit_time, Assignment.id)
    found, answer = page(call.session, query, keys, call.parameters, f"assignments {hit_id} {wanted}")
    return {**answer, "Assignments": [_described(assignment) for assignment in found]}


@operation("GetAssignment", writes=False)
def get_assignment(call: Call) -> dict[str, Any]:
    assignment_id = call.parameters.entity("AssignmentId")
    assignment = call.session.get(Assignment, assignment_id)
    if assignment is None or assignment.status not in HANDED_IN:
        raise _unknown(assignment_id)
    hit = call.session.get_one(Hit, assignment.hit_id)
    return {"Assignment": _described(assignment), "HIT": described(call, [hit])[0]}


@operation("ApproveAssignment", writes=True)
def approve_assignment(call: Call) -> dict[str, Any]:
    """Approve what waits for review; with OverrideRejection also what was rejected.

    Approving twice is success: boto3 repeats a call whose answer was lost, and nobody is paid twice.
    """
    feedback = call.parameters.optional_text("RequesterFeedback", 1024)
    override = call.parameters.flag("OverrideRejection")
    values = {"assignment_id": call.parameters.entity("AssignmentId"), "now": call.now, "feedback": feedback}
    if call.session.scalar(_APPROVED, values) is not None:  # what waited for review, as nearly always
        return {}
    assignment = _locked(call)
    if assignment.status == APPROVED:
        return {}
    if not override:
        raise _wrong_state(assignment, "Submitted; a rejection needs OverrideRejection")
    disposed = call.session.scalar(select(Hit.disposed).where(Hit.id == assignment.hit_id))
    if call.now - (assignment.submit_time or 0) > OVERRIDE_DAYS * 86_400 or disposed:
        raise RequestError(
            "InvalidAssignmentState",
            f"Assignment {assignment.id} was handed in more than {OVERRIDE_DAYS} days ago or its HIT is deleted: "
            "its rejection stands.",
        )
    assignment.status, assignment.approval_time, assignment.rejection_time = APPROVED, call.now, None
    if feedback is not None:
        assignment.feedback = feedback
    require_funds(call, assignment.reward)  # of the others the money is on hold since the HIT was made
    return {}


@operation("RejectAssignment", writes=True)
def reject_assignment(call: Call) -> dict[str, Any]:
    """Reject what waits for review. Rejecting twice is success, and the first feedback stays."""
    feedback = call.parameters.text("RequesterFeedback", 1024)
    assignment = _locked(call)
    if assignment.status == REJECTED:
        return {}
    if assignment.status != SUBMITTED:
        raise _wrong_state(assignment, "Submitted")
    assignment.status, assignment.rejection_time, assignment.feedback = REJECTED, call.now, feedback
    return {}


def _locked(call: Call) -> Assignment:
    """The assignment, held. A verdict changes no count of places, so its HIT need not be."""
    assignment_id = call.parameters.entity("AssignmentId")
    assignment = leases.held(call.session, assignment_id)
    if assignment is None or assignment.status not in HANDED_IN:
        raise _unknown(assignment_id)
    return assignment


def _described(assignment: Assignment) -> dict[str, Any]:
    answer = {
        "AssignmentId": assignment.id,
        "WorkerId": assignment.worker_id,
        "HITId": assignment.hit_id,
        "AssignmentStatus": assignment.status,
        "AutoApprovalTime": assignment.auto_approval_time,
        "AcceptTime": assignment.accept_time,
        "SubmitTime": assignment.submit_time,
        "ApprovalTime": assignment.approval_time,
        "RejectionTime": assignment.rejection_time,
        "Deadline": assignment.deadline,
        "Answer": assignment.answer,
        "RequesterFeedback": assignment.feedback,
    }
    return {name: value for name, value in answer.items() if value is not None}


def _unknown(assignment_id: str) -> RequestError:
    return RequestError("AssignmentDoesNotExist", f"Assignment {assignment_id} does not exist.")


def _wrong_state(assignment: Assignment, needed: str) -> RequestError:
    return RequestError(
        "InvalidAssignmentState",
        f"This operation can be called with a status of: {needed}. Assignment {assignment.id} is {assignment.status}.",
    )
