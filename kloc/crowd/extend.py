"""A published HIT gets more places, more time, a pause, or an early end.

The row says what shall be, :func:`settle` makes it so at the endpoint: a command that is killed in between is finished
by calling it again, or by the next ingest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from kloc.crowd import money
from kloc.crowd.client import RefusedError, call
from kloc.crowd.publish import HitScan, check_account, mark_created, mark_failed
from kloc.errors import CrowdError
from kloc.store.crowd import OPEN_STATES, assignments_of, hits_by_token, lock_ledger
from kloc.store.database import Store
from kloc.store.tables import AssignmentRow, HitRow

if TYPE_CHECKING:
    from mypy_boto3_mturk import MTurkClient

#: A HIT that expired and gets another place is offered for so long again.
LIFETIME_S = 30 * 86_400
#: The protocol lets no HIT of fewer assignments grow to so many.
BULK = 10

Clock = Callable[[], float]


def add_places(session: Session, row: HitRow, total: int, *, cap_mills: int | None, now: float) -> bool:
    """Write down that a HIT shall have ``total`` places, and reserve their money; whether that is more than before.

    Raises :class:`CrowdError` where the cap would be exceeded or the protocol allows no such HIT; then nothing of the
    transaction may be committed, unless it is done in one of its own (``session.begin_nested()``).
    """
    if total <= row.max_assignments:
        return False
    if row.max_assignments < BULK <= total:
        raise CrowdError(
            f"{row.video_id}: a HIT made for fewer than {BULK} answers cannot grow to {total}; {BULK - 1} is the most"
        )
    row.max_assignments = total
    row.state = "created"
    reserve(session, row, cap_mills=cap_mills, now=now)
    return True


def reserve(session: Session, row: HitRow, *, cap_mills: int | None, now: float) -> None:
    """Bring what is reserved for a HIT to what it may cost: what is due, and each place or answer not settled.

    A closed HIT offers no place. Raises :class:`CrowdError` where the cap would be exceeded; then nothing of the
    transaction may be committed.
    """
    kept = assignments_of(session, row.token)
    places = len(kept) if row.state == "closed" else row.max_assignments
    unsettled = max(places - sum(map(is_settled, kept)), 0)
    due = money.balance(session, [row.token]).committed
    money.reserve_many(session, {row.token: due + unsettled * row.cost_mills}, cap_mills=cap_mills, at=now)


def is_settled(answer: AssignmentRow) -> bool:
    """Whether nothing more can come due for an answer: it is paid, or turned down and nobody has overruled that."""
    overruled = answer.verdict is not None and answer.verdict["decision"] == "approve"
    return answer.status == "Approved" or (answer.status == "Rejected" and not overruled)


def extend(
    store: Store,
    client: MTurkClient,
    wanted: Mapping[str, int],
    *,
    max_spend_mills: int | None,
    until: float | None = None,
    dry_run: bool = False,
    now: Clock = time.time,
) -> tuple[tuple[str, ...], int]:
    """Ask for so many usable answers in all to each HIT (by token), and offer it until ``until`` (Unix s) at least.

    All or nothing, intent and money before the first call. Returns the tokens of the HITs that change and the mills
    that come on top. Raises :class:`CrowdError` for a HIT that is not known or not published yet, where the cap
    would be exceeded and where the account holds too little.
    """
    changed, cost = _write_extension(store, wanted, max_spend_mills, until, now(), keep=False)
    if dry_run:
        return changed, cost
    check_account(client, cost)
    changed, cost = _write_extension(store, wanted, max_spend_mills, until, now(), keep=True)
    for token in wanted:  # also those that a run that was killed has written and not told
        settle(store, client, token, now=now)
    return changed, cost


def _write_extension(
    store: Store, wanted: Mapping[str, int], cap: int | None, until: float | None, now: float, *, keep: bool
) -> tuple[tuple[str, ...], int]:
    """The rows and the money of an extension, in one transaction; taken back at once unless ``keep``."""
    changed = []
    with store.transaction() as session:
        lock_ledger(session)
        before = money.balance(session).exposure
        known = hits_by_token(session, wanted)
        for token, total in wanted.items():
            row = known.get(token)
            if row is None or row.hit_id is None:
                raise CrowdError(f"HIT {token}: not published yet; publish it before asking for more answers")
            if _extend_row(session, row, total, cap, until, now):
                changed.append(token)
        session.flush()
        cost = money.balance(session).exposure - before
        if not keep:
            session.rollback()
    return tuple(changed), cost


def _extend_row(session: Session, row: HitRow, total: int, cap: int | None, until: float | None, now: float) -> bool:
    more = total > row.wanted
    filled = len(assignments_of(session, row.token)) >= row.max_assignments
    if not more and (until is None or (row.state == "closed" and filled)):
        return False
    if more:
        unusable = max(row.max_assignments - row.wanted, 0)
        row.wanted = total
        add_places(session, row, total + unusable, cap_mills=cap, now=now)
    if until is not None and row.paused_left is not None:
        row.paused_left = max(row.paused_left, until - now)
    elif until is not None:
        row.expires_at = until
        row.state = "created"
    row.stopped_at = None
    reserve(session, row, cap_mills=cap, now=now)  # a place of a closed HIT that is offered again costs again
    return True


def pause(
    store: Store,
    client: MTurkClient,
    tokens: Collection[str],
    campaign: str,
    *,
    fees: money.FeeTable,
    now: Clock = time.time,
) -> tuple[str, ...]:
    """Let HITs (by token) not be offered any more until :func:`resume`; work under way may be handed in.

    Returns those that were offered until now.
    """
    paused = []
    scan = HitScan(client, campaign)
    for token in tokens:
        row = _published(store, token, scan, fees, now())
        if row is None or row.state not in OPEN_STATES or row.stopped_at is not None:
            continue
        if row.paused_left is not None:
            settle(store, client, token, now=now)
            continue
        hit: Mapping[str, Any] = call(_about(row), client.get_hit, HITId=str(row.hit_id))["HIT"]
        left = (row.expires_at or hit["Expiration"].timestamp()) - now()
        if left <= 0:
            continue
        with store.transaction() as session:
            current = session.get_one(HitRow, token)
            current.paused_left, current.expires_at = left, now()
        settle(store, client, token, now=now)
        paused.append(token)
    return tuple(paused)


def resume(store: Store, client: MTurkClient, tokens: Collection[str], *, now: Clock = time.time) -> tuple[str, ...]:
    """Offer paused HITs (by token) again, for as long as they had left; returns those that were paused."""
    resumed = []
    for token in tokens:
        with store.transaction() as session:
            row = session.get_one(HitRow, token)
            if row.paused_left is not None:
                row.expires_at, row.paused_left = now() + row.paused_left, None
                resumed.append(token)
        if row.expires_at is not None:
            settle(store, client, token, now=now)
    return tuple(resumed)


def stop(
    store: Store,
    client: MTurkClient,
    tokens: Collection[str],
    campaign: str,
    *,
    fees: money.FeeTable,
    now: Clock = time.time,
) -> tuple[str, ...]:
    """End HITs (by token): nobody can accept them any more, work under way may be handed in, what is in counts.

    The next ingest closes them and releases their money. An intent whose HIT never came to exist is marked
    failed and its money released at once. Returns those that were open. Raises :class:`CrowdError` for a token that
    is not known.
    """
    stopped = []
    scan = HitScan(client, campaign)
    for token in tokens:
        row = _published(store, token, scan, fees, now())
        if row is None:
            mark_failed(store, token, now())
        elif row.state not in OPEN_STATES:
            continue
        elif row.stopped_at is not None:
            settle(store, client, token, now=now)
            continue
        else:
            with store.transaction() as session:
                current = session.get_one(HitRow, token)
                current.stopped_at = current.expires_at = now()
                current.paused_left = None
            settle(store, client, token, now=now)
        stopped.append(token)
    return tuple(stopped)


def _published(store: Store, token: str, scan: HitScan, fees: money.FeeTable, now: float) -> HitRow | None:
    """The row of a HIT, of an intent once its HIT is found; ``None`` for an intent without one."""
    with store.transaction() as session:
        row = session.get(HitRow, token)
    if row is None:
        raise CrowdError(f"HIT {token}: not known in this workspace")
    if row.state != "intended":
        return row
    hit = scan.find(token)
    if hit is None:
        return None
    mark_created(store, token, hit, fees, None, now)
    with store.transaction() as session:
        return session.get_one(HitRow, token)


def settle(
    store: Store, client: MTurkClient, token: str, hit: Mapping[str, Any] | None = None, *, now: Clock = time.time
) -> Mapping[str, Any]:
    """Make a HIT at the endpoint what its row says: its places, and until when it is offered.

    ``hit`` is the HIT as the endpoint has just told it. Returns the HIT as it is then. Every step happens once,
    however often it is called and by whom: each place is added under a token of its own. No end is moved forward.
    """
    with store.transaction() as session:
        row = session.get_one(HitRow, token)
    about = _about(row)
    if hit is None:
        hit = call(about, client.get_hit, HITId=str(row.hit_id))["HIT"]
    ends = hit["Expiration"].timestamp()
    missing = range(hit["MaxAssignments"] + 1, row.max_assignments + 1) if row.stopped_at is None else ()
    until = row.expires_at
    if row.stopped_at is not None or row.paused_left is not None:
        until = now() if ends > now() else None
    elif until is not None and until <= ends:
        until = None
    if missing and row.paused_left is None and (until or ends) <= now():
        until = now() + LIFETIME_S
    if until is not None:
        _set_expiration(client, about, hit["HITId"], until)
    for place in missing:
        _add(client, about, hit["HITId"], f"{token}-{place}")
    if row.expires_at is not None:
        with store.transaction() as session:
            current = session.get_one(HitRow, token)
            if current.expires_at == row.expires_at:  # nobody has wanted something else meanwhile
                current.expires_at = None
    if until is None and not missing:
        return hit
    found: Mapping[str, Any] = call(about, client.get_hit, HITId=hit["HITId"])["HIT"]
    return found


def _add(client: MTurkClient, about: str, hit_id: str, token: str) -> None:
    """Add one place to a HIT; a repetition that was processed already is a success."""
    try:
        call(
            about,
            client.create_additional_assignments_for_hit,
            HITId=hit_id,
            NumberOfAdditionalAssignments=1,
            UniqueRequestToken=token,
        )
    except RefusedError as error:
        if "already" not in f"{error.code} {error}".lower():
            raise


def _set_expiration(client: MTurkClient, about: str, hit_id: str, at: float) -> None:
    """Let a HIT end at Unix second ``at``; a repetition that was processed already is a success."""
    try:
        call(about, client.update_expiration_for_hit, HITId=hit_id, ExpireAt=datetime.fromtimestamp(at, UTC))
    except RefusedError as error:
        if "already been processed" not in str(error).lower():
            raise


def _about(row: HitRow) -> str:
    return f"video {row.video_id!r} (HIT {row.hit_id})"
