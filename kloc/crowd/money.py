"""Money in whole mills (1/1000 dollar) and the append-only ledger that no restart can outspend.

Three kinds of entry: *reserved* when an intent to publish is written, *committed* when an answer is approved (a
part of what was reserved becomes due), *released* when a reservation turns out not to be needed. What the campaign
can still come to cost is ``reserved - released``: that is what the cap bounds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from kloc.errors import CrowdError, UsageError
from kloc.store.crowd import lock_ledger
from kloc.store.tables import LedgerRow

MILLS_PER_DOLLAR = 1000


@dataclass(frozen=True, slots=True)
class FeeTable:
    """What the endpoint takes on top of a reward. Shares are in 1/1000 of the reward, amounts in mills.

    rate_permille: on every reward. bulk_permille: further, on HITs with at least ``bulk_from`` assignments.
    minimum_mills: at least this much per assignment.
    """

    rate_permille: int = 0
    bulk_permille: int = 0
    bulk_from: int = 10
    minimum_mills: int = 0

    def __post_init__(self) -> None:
        if min(self.rate_permille, self.bulk_permille, self.minimum_mills) < 0 or self.bulk_from < 1:
            raise UsageError(f"fee table {self}: no part of it may be negative")

    def fee(self, reward_mills: int, assignments: int) -> int:
        """Fee in mills for one assignment of a HIT with so many, rounded up to the mill."""
        rate = self.rate_permille + (self.bulk_permille if assignments >= self.bulk_from else 0)
        return max(-(-reward_mills * rate // 1000), self.minimum_mills)

    def assignment_cost(self, reward_mills: int, assignments: int) -> int:
        """Reward and fee in mills for one assignment of a HIT with so many."""
        return reward_mills + self.fee(reward_mills, assignments)

    def hit_cost(self, reward_mills: int, assignments: int) -> int:
        """Reward and fee in mills for all assignments of one HIT."""
        return assignments * self.assignment_cost(reward_mills, assignments)


#: kloc's own endpoint takes nothing.
NO_FEES = FeeTable()
#: What Mechanical Turk took: 20 % of the reward, 20 % more from 10 assignments on, at least a cent each.
MTURK_FEES = FeeTable(rate_permille=200, bulk_permille=200, bulk_from=10, minimum_mills=10)


@dataclass(frozen=True, slots=True)
class Balance:
    """The ledger's sums, in mills."""

    reserved: int = 0
    committed: int = 0
    released: int = 0

    @property
    def exposure(self) -> int:
        """What the campaign costs at most: everything reserved and not released."""
        return self.reserved - self.released

    @property
    def outstanding(self) -> int:
        """Reserved, neither approved nor released yet."""
        return self.exposure - self.committed

    def __str__(self) -> str:
        return f"{dollars(self.committed)} spent, {dollars(self.outstanding)} reserved"


def parse_dollars(text: str, what: str = "amount") -> int:
    """Mills of an amount such as ``"0.10"``. Raises :class:`UsageError` naming ``what``."""
    try:
        mills = Decimal(text.strip().removeprefix("$")) * MILLS_PER_DOLLAR
    except InvalidOperation:
        raise UsageError(f"{what} {text!r}: not an amount of dollars, e.g. 0.10") from None
    if not mills.is_finite() or mills != mills.to_integral_value() or not 0 <= mills <= 10**12:
        raise UsageError(f"{what} {text!r}: give dollars and at most three decimals, not below 0")
    return int(mills)


def dollars(mills: int) -> str:
    """For people: ``$1.20``, with the third decimal only where there is one."""
    whole, rest = divmod(abs(mills), MILLS_PER_DOLLAR)
    return f"{'-' if mills < 0 else ''}${whole}.{f'{rest:03d}' if rest % 10 else f'{rest // 10:02d}'}"


def wire_amount(mills: int) -> str:
    """For the wire, which knows whole cents: ``"0.10"``. Raises :class:`UsageError` for anything else."""
    if mills < 0 or mills % 10:
        raise UsageError(f"reward {dollars(mills)}: rewards are whole cents, not below 0")
    return f"{mills // 1000}.{mills % 1000 // 10:02d}"


def balance(session: Session, tokens: Iterable[str] | None = None) -> Balance:
    """The ledger's sums, over the whole campaign or over some HITs (by token)."""
    query = select(LedgerRow.kind, func.sum(LedgerRow.amount_mills)).group_by(LedgerRow.kind)
    if tokens is not None:
        query = query.where(LedgerRow.token.in_(list(tokens)))
    # PostgreSQL sums BIGINT as NUMERIC: int() makes them the same on both.
    return Balance(**{kind: int(total) for kind, total in session.execute(query)})


def balances(session: Session, tokens: Collection[str]) -> dict[str, Balance]:
    """The ledger's sums of each HIT (by token)."""
    query = (
        select(LedgerRow.token, LedgerRow.kind, func.sum(LedgerRow.amount_mills))
        .where(LedgerRow.token.in_(list(tokens)))
        .group_by(LedgerRow.token, LedgerRow.kind)
    )
    sums: dict[str, dict[str, int]] = {token: {} for token in tokens}
    for token, kind, total in session.execute(query):
        sums[token or ""][kind] = int(total)
    return {token: Balance(**kinds) for token, kinds in sums.items()}


def reserve_many(session: Session, targets: Mapping[str, int], *, cap_mills: int | None, at: float) -> dict[str, int]:
    """Bring what each HIT (by token) may cost to its target in mills; returns the changes that were made.

    Reserving the same target again changes nothing, so a restart cannot count twice; less than before is a
    release. Serialised with every other writer of the ledger, so that two processes cannot pass the cap
    together. Raises :class:`CrowdError` where the cap would be exceeded, and where less is asked for than is
    already due; then nothing of it may be committed.
    """
    lock_ledger(session)
    before = balances(session, targets)
    changes = {token: target - before[token].exposure for token, target in targets.items()}
    for token, target in targets.items():
        if target < before[token].committed:
            raise CrowdError(
                f"HIT {token}: {dollars(before[token].committed)} are already due, more than the {dollars(target)} "
                "it should cost"
            )
    more = sum(changes.values())
    if more > 0 and cap_mills is not None and (total := balance(session).exposure + more) > cap_mills:
        raise CrowdError(
            f"{dollars(more)} more would bring the campaign to {dollars(total)}, over the cap of "
            f"{dollars(cap_mills)}; raise --max-spend or publish less"
        )
    for token, change in changes.items():
        if change:
            kind = "reserved" if change > 0 else "released"
            count = session.scalar(select(func.count()).where(LedgerRow.token == token, LedgerRow.kind == kind))
            session.add(
                LedgerRow(entry=f"{kind}:{token}:{count}", kind=kind, amount_mills=abs(change), token=token, at=at)
            )
    session.flush()
    return {token: change for token, change in changes.items() if change}


def commit(session: Session, token: str, assignment_id: str, amount_mills: int, *, at: float) -> bool:
    """An approved answer makes ``amount_mills`` of HIT ``token``'s reservation due; once per assignment.

    Returns whether this was news. Raises :class:`CrowdError` where more would be due than was reserved.
    """
    lock_ledger(session)
    entry = f"committed:{assignment_id}"
    if session.get(LedgerRow, entry) is not None:
        return False
    mine = balance(session, [token])
    if amount_mills > mine.outstanding:
        raise CrowdError(
            f"assignment {assignment_id}: {dollars(amount_mills)} are due but HIT {token} has only "
            f"{dollars(mine.outstanding)} left in the ledger; was it changed by hand at the endpoint?"
        )
    session.add(LedgerRow(entry=entry, kind="committed", amount_mills=amount_mills, token=token, at=at))
    session.flush()
    return True


def release_rest(session: Session, token: str, *, at: float) -> int:
    """Give back what HIT ``token`` reserved and will not need; returns the mills given back."""
    lock_ledger(session)
    mine = balance(session, [token])
    reserve_many(session, {token: mine.committed}, cap_mills=None, at=at)
    return mine.outstanding
