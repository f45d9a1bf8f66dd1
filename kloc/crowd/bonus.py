"""A bonus for good work: once per answer, within the cap, fees counted.

A bonus has a ledger token of its own. It is granted (written with its money, in one transaction) and then paid; what a
killed run has granted the next one pays, and looks first whether the endpoint has paid it already.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from kloc.crowd import money
from kloc.crowd.client import RefusedError, call
from kloc.errors import CrowdError
from kloc.store.crowd import lock_ledger
from kloc.store.database import Store
from kloc.store.tables import AssignmentRow, LedgerRow

if TYPE_CHECKING:
    from mypy_boto3_mturk import MTurkClient


def bonus_token(assignment_id: str) -> str:
    """Under which the bonus of an answer stands in the ledger and is sent: 40 hexadecimal digits."""
    return hashlib.sha256(f"bonus:{assignment_id}".encode()).hexdigest()[:40]


def grant(
    session: Session,
    rows: Iterable[AssignmentRow],
    mills: int,
    fees: money.FeeTable,
    *,
    cap_mills: int | None,
    now: float,
) -> int:
    """Grant a bonus of ``mills`` for each answer that has none; returns for how many the cap left no money."""
    lock_ledger(session)
    refused = 0
    for row in sorted(rows, key=lambda row: row.assignment_id):
        if row.bonus_mills is not None:
            continue
        cost = fees.assignment_cost(mills, 1)
        try:
            with session.begin_nested():
                money.reserve_many(session, {bonus_token(row.assignment_id): cost}, cap_mills=cap_mills, at=now)
                row.bonus_mills = mills
        except CrowdError:
            refused += 1
    return refused


def pay(store: Store, client: MTurkClient, reason: str, now: float) -> int:
    """Pay every bonus that is granted, not known to be paid, and whose answer is approved; returns how many were.

    A bonus for an answer that was turned down since is taken back. One that the endpoint refuses stays granted and is
    tried again. Raises :class:`CrowdError` then, and
    where no answer comes; what was paid before is booked.
    """
    with store.transaction() as session:
        granted = list(session.scalars(select(AssignmentRow).where(AssignmentRow.bonus_mills.is_not(None))))
        paid = set(session.scalars(select(LedgerRow.entry).where(LedgerRow.entry.like("committed:bonus:%"))))
    open_ones = [row for row in granted if f"committed:bonus:{row.assignment_id}" not in paid]
    count = 0
    for row in sorted(open_ones, key=lambda row: row.assignment_id):
        if row.status == "Submitted":
            continue
        if row.status == "Rejected":
            _take_back(store, row.assignment_id, now)
            continue
        _send(client, row, reason)
        count += 1
        with store.transaction() as session:
            token = bonus_token(row.assignment_id)
            due = money.balance(session, [token]).outstanding
            money.commit(session, token, f"bonus:{row.assignment_id}", due, at=now)
    return count


def _take_back(store: Store, assignment_id: str, now: float) -> None:
    with store.transaction() as session:
        session.get_one(AssignmentRow, assignment_id).bonus_mills = None
        money.release_rest(session, bonus_token(assignment_id), at=now)


def _send(client: MTurkClient, row: AssignmentRow, reason: str) -> None:
    about = f"bonus for answer {row.assignment_id}"
    amount = money.wire_amount(row.bonus_mills or 0)
    # The endpoint may have forgotten the token of a run that was killed more than a day ago.
    answer: Any = call(about, client.list_bonus_payments, AssignmentId=row.assignment_id)
    if any(payment.get("Reason") == reason for payment in answer.get("BonusPayments", [])):
        return
    try:
        call(
            about,
            client.send_bonus,
            WorkerId=row.worker_id,
            AssignmentId=row.assignment_id,
            BonusAmount=amount,
            Reason=reason,
            UniqueRequestToken=bonus_token(row.assignment_id),
        )
    except RefusedError as error:
        if "already" not in str(error).lower() and error.code.lower() != "duplicaterequest":
            raise
