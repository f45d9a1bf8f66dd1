"""The account: what is paid, what is promised, what is left."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import and_, case, func, or_, select

from kloc.crowd.endpoint import hits
from kloc.crowd.endpoint.faults import RequestError
from kloc.crowd.endpoint.money import to_dollars
from kloc.crowd.endpoint.operations.registry import Call
from kloc.crowd.endpoint.tables import ACCEPTED, APPROVED, SUBMITTED, Assignment, Bonus, Hit, HitType, Meta


@dataclass(frozen=True)
class Account:
    """Cents. ``on_hold`` is promised: open places, running leases and answers that wait for review."""

    available: int
    on_hold: int


def account(call: Call) -> Account:
    """The account as it stands inside the call's transaction."""
    open_hits = and_(Hit.disposed.is_(False), Hit.expiration > call.now)
    places = select(func.sum(Hit.max_assignments * HitType.reward)).join(HitType).where(open_hits)
    # A lease that pays less than its place costs since: when it is given back the place is free at that price.
    cheaper = and_(Assignment.status == ACCEPTED, Assignment.reward < HitType.reward)
    taken = (
        select(func.sum(case((cheaper, Assignment.reward), else_=HitType.reward)))
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


def require_funds(call: Call, more: int) -> None:
    """Refuse, and undo what the call has written, where with ``more`` cents it promises more than there is.

    Counting everything takes as long as there are HITs. Between the requester's calls what is promised and paid only
    falls (HITs expire, places are given back, answers rejected). So what it came to when it was last counted, plus
    all that was promised since, is never too little, and only where that is too much it is counted again.
    """
    noted = call.session.get_one(Meta, "account", populate_existing=True)
    most = int(noted.value) + more if noted.value.isdigit() else None
    if most is None or most > call.balance:
        call.session.flush()
        left = account(call).available
        if left < 0:
            raise RequestError(
                "InsufficientFunds",
                f"This Requester has insufficient funds: {to_dollars(-left)} dollars more are needed for this.",
            )
        most = call.balance - left
    noted.value = str(most)
