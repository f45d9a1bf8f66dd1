"""What workers report about tasks: kept, counted, and a task that several report is not offered to anybody else."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from kloc.crowd import money
from kloc.crowd.answers import storable
from kloc.crowd.client import problem_reports
from kloc.crowd.extend import pause
from kloc.crowd.publish import place
from kloc.store import meta
from kloc.store.crowd import OPEN_STATES
from kloc.store.database import Store
from kloc.store.tables import HitRow, ReportRow

if TYPE_CHECKING:
    from mypy_boto3_mturk import MTurkClient

#: A task that so many workers report is paused.
ENOUGH = 2
#: The meta key of the newest report that was fetched from an endpoint.
_LAST = "reports_after:{}"


@dataclass(frozen=True, slots=True)
class Reported:
    """What is reported about one video and not seen to: how many workers by kind, and whether its task waits."""

    video_id: str
    kinds: Mapping[str, int]
    workers: int
    paused: bool

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind} ({count})" for kind, count in sorted(self.kinds.items()))
        text = f"{self.video_id}: {self.workers} worker{'s' if self.workers > 1 else ''} reported a problem: {kinds}"
        if not self.paused:
            return text
        return (
            f"{text}; its task is paused: look at the video, then `kloc crowd resume --video {self.video_id}`, or end "
            f"the task with `kloc crowd expire --video {self.video_id}`"
        )


def fetch_reports(
    store: Store, client: MTurkClient, campaign: str, *, fees: money.FeeTable, now: Callable[[], float] = time.time
) -> int:
    """Keep what workers reported since the last time and pause what several of them report; how many are new.

    Raises :class:`CrowdError` where the endpoint does not answer.
    """
    key = _LAST.format(place(client.meta.endpoint_url))[:64]
    with store.transaction() as session:
        last = int(meta.get(session, key) or 0)
    listed = problem_reports(client, last)
    new = 0
    with store.transaction() as session:
        by_hit = {row.hit_id: row.token for row in session.scalars(select(HitRow).where(HitRow.hit_id.is_not(None)))}
        for report in listed:
            token = by_hit.get(report["HITId"])
            if token is not None and session.get(ReportRow, (report["Id"], token)) is None:
                new += 1
                session.add(
                    ReportRow(
                        id=report["Id"],
                        token=token,
                        worker_id=str(report["WorkerId"])[:64],
                        kind=storable(str(report["Kind"]))[:32],
                        text=storable(str(report["Text"])),
                        at=float(report["Time"]),
                    )
                )
        if listed:
            meta.put(session, key, str(listed[-1]["Id"]))
    with store.transaction() as session:
        doubtful = [token for token, workers in _reporters(session).items() if len(workers) >= ENOUGH]
    pause(store, client, doubtful, campaign, fees=fees, now=now)
    return new


def handled(session: Session, tokens: Collection[str]) -> None:
    """Note that the requester has seen to what was reported about HITs (by token) so far."""
    session.execute(update(ReportRow).where(ReportRow.token.in_(list(tokens))).values(handled=True))


def reported(session: Session) -> list[Reported]:
    """What is reported and not seen to about HITs that are still open, by video."""
    kinds: dict[str, Counter[str]] = {}
    for row in session.scalars(select(ReportRow).where(ReportRow.handled.is_(False))):
        kinds.setdefault(row.token, Counter())[row.kind if row.kind.isprintable() else "other"] += 1
    found = []
    for token, workers in _reporters(session).items():
        hit = session.get_one(HitRow, token)
        waits = hit.paused_left is not None and len(workers) >= ENOUGH
        found.append(Reported(hit.video_id, dict(kinds[token]), len(workers), waits))
    return sorted(found, key=lambda one: (not one.paused, one.video_id))


def held(session: Session) -> set[str]:
    """The HITs (by token) that are paused because of what workers report."""
    return {
        token
        for token, workers in _reporters(session).items()
        if len(workers) >= ENOUGH and session.get_one(HitRow, token).paused_left is not None
    }


def _reporters(session: Session) -> dict[str, set[str]]:
    """Who reported something about each open HIT that was not seen to, by token."""
    workers: dict[str, set[str]] = {}
    query = (
        select(ReportRow.token, ReportRow.worker_id)
        .join(HitRow, HitRow.token == ReportRow.token)
        .where(ReportRow.handled.is_(False), HitRow.state.in_(OPEN_STATES))
    )
    for token, worker in session.execute(query):
        workers.setdefault(token, set()).add(worker)
    return workers
