"""The account: what is paid, what is promised, what is left."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import and_, func, or_, select

from kloc.crowd.endpoint import hits
from kloc.crowd.endpoint.faults import RequestError
from kloc.crowd.endpoint.money import to_dollars
from kloc.crowd.endpoint.operations.registry import Call
from kloc.crowd.endpoint.tables import APPROVED, SUBMITTED, Assignment, Bonus, Hit, HitType


@dataclass(frozen=True)
class Account:
    """Cents. ``on_hold`` is promised: open places, running leases and answers that wait for review."""

    available: int
    on_hold: int


def account(call: Call) -> Account:
    """The account as it stands inside the call's transaction."""
    open_hits = and_(Hit.disposed.is_(False), Hit.expiration > call.now)
    places = select(func.sum(Hit.max_assignments * HitType.reward)).join(HitType).where(open_hits)
    taken = (
        select(func.sum(HitType.reward))
        .select_from(Assignment)
        .join(Hit, Hit.id == Assignment.hit_id)
        .join(HitType, HitType.id == Hit.hit_type_id)
        .where(open_hits, hits.takes_a_place(call.now))
    )
    promised = select(func.sum(Assignment.reward)).where(or_(Assignment.status == SUBMITTED, hits.live(call.now)))
    paid = select(func.sum(Assignment.reward)).where(Assignment.status == APPROVED)
    bonuses = select(func.sum(Bonus.amount))
    figures = [int(call.session.scalar(query) or 0) for query in (places, taken, promised, paid, bonuses)]
    on_hold = figures[0] - figures[1] + figures[2]
    return Account(call.balance - figures[3] - figures[4] - on_hold, on_hold)


def require_funds(call: Call) -> None:
    """Refuse, and undo what the call has written, where it promises more than there is."""
    call.session.flush()
    left = account(call).available
    if left < 0:
        raise RequestError(
            "InsufficientFunds",
            f"This Requester has insufficient funds: {to_dollars(-left)} dollars more are needed for this operation.",
        )
