"""Adaptive redundancy: what the answers leave in doubt gets one more answer, while the budget lasts.

The decision is made over all answers of a round once they are in, so it never depends on who answered first, and it
is written with its money in one transaction: a killed run has asked for all of it or for nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlalchemy.orm import Session

from kloc.crowd.consolidate import Consolidated, ConsolidatedItem
from kloc.crowd.extend import add_places
from kloc.errors import CrowdError
from kloc.records import Item
from kloc.store.crowd import answers_possible, assignments_of, known_workers, lock_ledger
from kloc.store.tables import HitRow


@dataclass(frozen=True, slots=True)
class Asked:
    """The HITs (by token) that get one more answer, and why the other doubtful ones get none (in words)."""

    tokens: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


def ask_for_more(
    session: Session,
    rows: Iterable[HitRow],
    found: Consolidated,
    *,
    most: int,
    cap_mills: int | None,
    now: float,
) -> Asked:
    """Write down one more answer for every HIT whose outcome is provisional, the most doubtful first.

    most: so many extra answers per HIT at most. cap_mills: what the campaign may cost; without one only what costs
    nothing is asked for: nobody shall be surprised by a price. A HIT that everybody known has answered or reported is
    left alone.
    """
    lock_ledger(session)
    doubtful = [row for row in rows if _provisional(found, row) and row.extra < most and row.stopped_at is None]
    doubtful = [row for row in doubtful if cap_mills is not None or row.cost_mills == 0]
    known = known_workers(session)
    doubtful = [
        row for row in doubtful if len(assignments_of(session, row.token)) < answers_possible(session, row.token, known)
    ]
    asked: list[str] = []
    refused: list[str] = []
    for row in sorted(doubtful, key=lambda row: (-_doubt(found.items[_item(row)]), row.video_id, row.start)):
        try:
            with session.begin_nested():
                add_places(session, row, row.max_assignments + 1, cap_mills=cap_mills, now=now)
                row.wanted += 1
                row.extra += 1
        except CrowdError as error:
            refused.append(f"{row.video_id}: in doubt, but nobody else is asked: {error}")
            continue
        asked.append(row.token)
    return Asked(tuple(asked), tuple(refused))


def provisional(rows: Collection[HitRow], found: Consolidated) -> int:
    """How many of the HITs have an outcome in doubt."""
    return sum(_provisional(found, row) for row in rows)


def _provisional(found: Consolidated, row: HitRow) -> bool:
    item = found.items.get(_item(row))
    return row.purpose == "task" and item is not None and item.provisional


def _doubt(item: ConsolidatedItem) -> float:
    """How near the most doubtful candidate is to a coin's toss: 0.5 at most."""
    return max(min(x.confidence, 1 - x.confidence) for x in (*item.instances, *item.rejected))


def _item(row: HitRow) -> Item:
    return Item(row.video_id, row.start, row.end)
