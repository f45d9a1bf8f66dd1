"""More answers for a published HIT, or none any more."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kloc.crowd import money
from kloc.crowd.client import RefusedError, call
from kloc.crowd.publish import HitScan, mark_created, mark_failed
from kloc.errors import CrowdError
from kloc.store.crowd import OPEN_STATES, hits_by_token, lock_ledger
from kloc.store.database import Store

if TYPE_CHECKING:
    from mypy_boto3_mturk import MTurkClient


def extend(
    store: Store,
    client: MTurkClient,
    wanted: Mapping[str, int],
    *,
    fees: money.FeeTable = money.NO_FEES,
    max_spend_mills: int | None,
    lifetime_s: int = 30 * 86_400,
    now: Callable[[], float] = time.time,
) -> tuple[str, ...]:
    """Raise HITs (by token) to ``wanted`` assignments in all; returns the tokens of those that grew.

    The intent and its money are written first, all HITs in one transaction; a run killed afterwards is finished
    by the next :func:`kloc.crowd.ingest.ingest` or by calling again. Raises :class:`CrowdError` for a HIT that is
    not known or not published yet, and where the cap would be exceeded.
    """
    with store.transaction() as session:
        lock_ledger(session)
        known = hits_by_token(session, wanted)
        targets: dict[str, int] = {}
        for token, total in wanted.items():
            row = known.get(token)
            if row is None or row.hit_id is None:
                raise CrowdError(f"HIT {token}: not published yet; publish it before asking for more answers")
            if total > row.max_assignments:
                row.max_assignments = total
                row.state = "created"
                targets[token] = fees.hit_cost(row.reward_mills, total)
        money.reserve_many(session, targets, cap_mills=max_spend_mills, at=now())
    for token in targets:
        row = known[token]
        about = f"video {row.video_id!r} (HIT {row.hit_id})"
        hit: Mapping[str, Any] = call(about, client.get_hit, HITId=str(row.hit_id))["HIT"]
        grow(client, about, token, hit, row.max_assignments, lifetime_s, now())
    return tuple(targets)


def grow(
    client: MTurkClient, about: str, token: str, hit: Mapping[str, Any], total: int, lifetime_s: int, now: float
) -> Mapping[str, Any]:
    """Bring a HIT at the endpoint to ``total`` assignments, alive for ``lifetime_s`` where it had expired.

    Its own token makes each step happen once. Returns the HIT as it is then.
    """
    hit_id, has = hit["HITId"], hit["MaxAssignments"]
    if has < total:
        if hit["Expiration"].timestamp() <= now:
            set_expiration(client, about, hit_id, now + lifetime_s)
        try:
            call(
                about,
                client.create_additional_assignments_for_hit,
                HITId=hit_id,
                NumberOfAdditionalAssignments=total - has,
                UniqueRequestToken=f"{token}-{total}",
            )
        except RefusedError as error:
            if "already" not in f"{error.code} {error}".lower():
                raise
    found: Mapping[str, Any] = call(about, client.get_hit, HITId=hit_id)["HIT"]
    return found


def stop(
    store: Store,
    client: MTurkClient,
    tokens: Collection[str],
    campaign: str,
    *,
    fees: money.FeeTable = money.NO_FEES,
    now: Callable[[], float] = time.time,
) -> None:
    """Take HITs (by token) off the market: nobody can accept them any more, work under way may be handed in.

    The next ingest closes them and releases their money. An intent whose HIT never came to exist is marked
    failed and its money released at once. Raises :class:`CrowdError` for a token that is not known.
    """
    with store.transaction() as session:
        known = hits_by_token(session, tokens)
    scan = HitScan(client, campaign)
    for token in tokens:
        row = known.get(token)
        if row is None:
            raise CrowdError(f"HIT {token}: not known in this workspace, nothing to stop")
        if row.hit_id is not None and row.state in OPEN_STATES:
            set_expiration(client, f"video {row.video_id!r} (HIT {row.hit_id})", row.hit_id, now())
        elif row.state == "intended":
            hit = scan.find(token)
            if hit is None:
                mark_failed(store, token, now())
            else:
                mark_created(store, token, hit, fees, None, now())
                set_expiration(client, f"video {row.video_id!r} (HIT {hit['HITId']})", hit["HITId"], now())


def set_expiration(client: MTurkClient, about: str, hit_id: str, at: float) -> None:
    """Let a HIT end at Unix second ``at``; a repetition that was processed already is a success."""
    try:
        call(about, client.update_expiration_for_hit, HITId=hit_id, ExpireAt=datetime.fromtimestamp(at, UTC))
    except RefusedError as error:
        if "already been processed" not in str(error).lower():
            raise
