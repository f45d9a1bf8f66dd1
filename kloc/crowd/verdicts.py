"""Verdicts on answers: written down before the endpoint is told, so that a killed run is finished by the next one.

Who decided, what and why stays in ``AssignmentRow.verdict``. An approval is booked in the ledger, once per assignment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy.orm import Session

from kloc.crowd import money
from kloc.crowd.client import RefusedError, call
from kloc.crowd.extend import reserve
from kloc.errors import CrowdError, UsageError
from kloc.store.crowd import lock_ledger
from kloc.store.database import Store
from kloc.store.tables import AssignmentRow, HitRow

if TYPE_CHECKING:
    from mypy_boto3_mturk import MTurkClient

Decision = Literal["approve", "reject", "hold"]
By = Literal["policy", "person", "endpoint"]

#: The protocol's limit on what a worker is told.
MAX_REASON = 1024
#: (verdict, status at the endpoint) that do not agree yet.
_TO_DO = frozenset({("approve", "Submitted"), ("approve", "Rejected"), ("reject", "Submitted")})


def decide(
    store: Store,
    client: MTurkClient,
    assignment_id: str,
    decision: str,
    reason: str,
    by: By,
    now: float,
    *,
    max_spend_mills: int | None = None,
) -> str:
    """Approve, reject or hold an answer; returns the status it has then at the endpoint.

    A rejection can be overruled by an approval (its money is reserved again, within ``max_spend_mills``), an approval
    by nothing. ``"hold"`` keeps the policy from deciding. Where the endpoint gives no answer
    (:class:`kloc.crowd.client.UnreachableError`) the verdict is kept and carried out by the next ingest; where it
    refuses (:class:`kloc.crowd.client.RefusedError`) the verdict is taken back.
    Raises :class:`UsageError` for a decision or reason that is none, :class:`CrowdError` for an answer that is not
    known or cannot be judged that way any more.
    """
    with store.transaction() as session:
        lock_ledger(session)
        row = session.get(AssignmentRow, assignment_id)
        if row is None:
            raise CrowdError(f"answer {assignment_id}: not known in this workspace; run `kloc ingest` first")
        _check(row, decision, reason)
        hit = session.get_one(HitRow, row.token)
        before, state = row.verdict, hit.state
        if before is None or (before["decision"], before["by"]) != (decision, by) or row.status == "Submitted":
            row.verdict = verdict(decision, reason, by, now)
        if row.status == "Rejected" and decision == "approve":
            reserve(session, hit, cap_mills=max_spend_mills, now=now)  # it may have been released since
            hit.state = "created" if state == "closed" else state  # so that the next ingest looks at it
    try:
        return carry_out(store, client, assignment_id, now)
    except RefusedError:
        with store.transaction() as session:
            lock_ledger(session)
            row = session.get_one(AssignmentRow, assignment_id)
            row.verdict = before
            if row.status == "Rejected":
                hit = session.get_one(HitRow, row.token)
                hit.state = state
                reserve(session, hit, cap_mills=None, now=now)
        raise


def verdict(decision: str, reason: str, by: By, now: float) -> dict[str, Any]:
    """As kept in ``AssignmentRow.verdict``."""
    return {"decision": decision, "reason": reason.strip(), "by": by, "at": now}


def is_open(row: AssignmentRow) -> bool:
    """Whether the policy may still decide: nobody has, or only the policy itself to wait."""
    return row.verdict is None or (row.verdict["decision"], row.verdict["by"]) == ("hold", "policy")


def carry_out(store: Store, client: MTurkClient, assignment_id: str, now: float) -> str:
    """Do at the endpoint what the answer's verdict says, where it is not done; book it; return the answer's status.

    Raises :class:`CrowdError` as the endpoint refuses or does not answer.
    """
    with store.transaction() as session:
        row = session.get_one(AssignmentRow, assignment_id)
    status = tell(client, row)
    with store.transaction() as session:
        book(session, assignment_id, status, now)
    return status


def tell(client: MTurkClient, row: AssignmentRow) -> str:
    """Tell the endpoint an answer's verdict, where it does not know it; returns the status the answer has then.

    Somebody else may have been faster. Raises :class:`CrowdError` as the endpoint refuses or does not answer.
    """
    decided: Mapping[str, Any] = row.verdict or {}
    if (decided.get("decision"), row.status) not in _TO_DO:
        return row.status
    about = f"answer {row.assignment_id}"
    # A worker reads why an answer was turned down, and what a person had to say; nothing of the policy's yes.
    told: dict[str, Any] = {}
    if decided["by"] == "person" and decided["reason"]:
        told["RequesterFeedback"] = decided["reason"]
    try:
        if decided["decision"] == "reject":
            call(about, client.reject_assignment, AssignmentId=row.assignment_id, RequesterFeedback=decided["reason"])
            return "Rejected"
        told |= {"OverrideRejection": True} if row.status == "Rejected" else {}
        call(about, client.approve_assignment, AssignmentId=row.assignment_id, **told)
    except RefusedError as error:
        if error.code.lower() != "invalidassignmentstate":
            raise
        found: Mapping[str, Any] = call(about, client.get_assignment, AssignmentId=row.assignment_id)
        return str(found["Assignment"]["AssignmentStatus"])
    return "Approved"


def book(session: Session, assignment_id: str, status: str, now: float) -> None:
    """Write down the status an answer has at the endpoint, and what it costs where that is an approval.

    An end that nobody here decided on was decided there: by its automatic approval or by hand.
    """
    lock_ledger(session)
    row = session.get_one(AssignmentRow, assignment_id)
    hit = session.get_one(HitRow, row.token)
    row.status = status
    if status == "Submitted":
        return
    expected = {"Approved": "approve", "Rejected": "reject"}[status]
    if row.verdict is None or row.verdict["decision"] != expected:
        row.verdict = verdict(expected, f"{status.lower()} at the endpoint, not by kloc", "endpoint", now)
    if status == "Approved":
        money.commit(session, row.token, assignment_id, hit.cost_mills, at=now)


def _check(row: AssignmentRow, decision: str, reason: str) -> None:
    if decision not in ("approve", "reject", "hold"):
        raise UsageError(f"decision {decision!r}: approve, reject or hold")
    if len(reason) > MAX_REASON:
        raise UsageError(f"the reason has {len(reason):,} characters; a worker can be told {MAX_REASON:,}")
    if decision == "reject" and not reason.strip():
        raise UsageError(f"answer {row.assignment_id}: a rejection needs a reason, which its worker reads")
    if row.status == "Approved" and decision != "approve":
        raise CrowdError(f"answer {row.assignment_id} is approved and paid; that cannot be taken back")
    if row.status == "Rejected" and decision == "hold":
        raise CrowdError(f"answer {row.assignment_id} is rejected; approve it to overrule that")
