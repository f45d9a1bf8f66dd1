"""Bonuses and the balance."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from kloc.crowd.endpoint.faults import RequestError, invalid
from kloc.crowd.endpoint.ids import WORKER
from kloc.crowd.endpoint.money import to_dollars
from kloc.crowd.endpoint.operations.account import account, require_funds
from kloc.crowd.endpoint.operations.paging import page
from kloc.crowd.endpoint.operations.registry import Call, operation
from kloc.crowd.endpoint.tables import HANDED_IN, Assignment, Bonus, Hit

_LARGEST_BONUS = 1_000_000


@operation("GetAccountBalance", writes=False)
def get_account_balance(call: Call) -> dict[str, Any]:
    now = account(call)
    return {"AvailableBalance": to_dollars(now.available), "OnHoldBalance": to_dollars(now.on_hold)}


@operation("SendBonus", writes=True)
def send_bonus(call: Call) -> dict[str, Any]:
    parameters = call.parameters
    worker_id, assignment_id = parameters.entity("WorkerId", WORKER), parameters.entity("AssignmentId")
    amount, reason = parameters.cents("BonusAmount"), parameters.text("Reason", 4096)
    if not 1 <= amount <= _LARGEST_BONUS:
        raise invalid(f"BonusAmount must be from 0.01 to {to_dollars(_LARGEST_BONUS)} dollars")
    done = call.token_result("SendBonus")
    if done is not None:
        raise RequestError("DuplicateRequest", f"The bonus {done} has already been paid with this UniqueRequestToken.")
    assignment = call.session.get(Assignment, assignment_id)
    if assignment is None or assignment.status not in HANDED_IN:
        raise RequestError("AssignmentDoesNotExist", f"Assignment {assignment_id} does not exist.")
    if assignment.worker_id != worker_id:
        raise RequestError("WorkerDoesNotExist", f"Assignment {assignment_id} is not the work of worker {worker_id}.")
    bonus = Bonus(assignment_id=assignment_id, worker_id=worker_id, amount=amount, reason=reason, granted=call.now)
    call.session.add(bonus)
    call.session.flush()
    call.remember_token("SendBonus", str(bonus.id))
    require_funds(call, amount)
    return {}


@operation("ListBonusPayments", writes=False)
def list_bonus_payments(call: Call) -> dict[str, Any]:
    parameters = call.parameters
    if parameters.has("HITId") == parameters.has("AssignmentId"):
        raise invalid("give either HITId or AssignmentId")
    query = select(Bonus)
    if parameters.has("HITId"):
        hit_id = parameters.entity("HITId")
        if call.session.get(Hit, hit_id) is None:
            raise RequestError("HITDoesNotExist", f"Hit {hit_id} does not exist.")
        query = query.where(Bonus.assignment_id.in_(select(Assignment.id).where(Assignment.hit_id == hit_id)))
        listing = f"bonuses of hit {hit_id}"
    else:
        assignment_id = parameters.entity("AssignmentId")
        if call.session.get(Assignment, assignment_id) is None:
            raise RequestError("AssignmentDoesNotExist", f"Assignment {assignment_id} does not exist.")
        query = query.where(Bonus.assignment_id == assignment_id)
        listing = f"bonuses of assignment {assignment_id}"
    found, answer = page(call.session, query, (Bonus.granted, Bonus.id), parameters, listing)
    payments = [
        {
            "WorkerId": bonus.worker_id,
            "BonusAmount": to_dollars(bonus.amount),
            "AssignmentId": bonus.assignment_id,
            "Reason": bonus.reason,
            "GrantTime": bonus.granted,
        }
        for bonus in found
    ]
    return {**answer, "BonusPayments": payments}
