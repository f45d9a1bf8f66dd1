"""Money, whatever happens in what order: never above the cap, and the endpoint's books agree with the ledger."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from crowd_helpers import KEYS, Campaign, open_store, publish_settings, videos
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from kloc.crowd import bonus, money, redundancy, verdicts
from kloc.crowd.client import make_client
from kloc.crowd.consolidate import consolidate, from_stored
from kloc.crowd.endpoint.server import running
from kloc.crowd.endpoint.settings import EndpointSettings
from kloc.crowd.extend import extend, pause, resume, stop
from kloc.crowd.ingest import IngestSettings, ingest
from kloc.crowd.policy import Policy
from kloc.crowd.publish import publish
from kloc.crowd.simulate import SimulatedWorker
from kloc.errors import CrowdError
from kloc.store import crowd as queries
from kloc.store.tables import AssignmentRow, HitRow

JSON = {"Accept": "application/json"}
REASON = "good work"
N_VIDEOS, N_WORKERS = 2, 5
STEPS = ["publish", "answer", "garbage", "ingest", "extend", "extra", "bonus", "expire"]
STEPS += ["look", "reject", "overrule", "days", "pause", "resume"]


class Killed(BaseException):
    """What a kill looks like from within: nothing after it runs."""


class Disturbed:
    """A client at whose ``nth`` call something happens, before or after the endpoint has acted: without ``happens`` a
    kill, at a writing call."""

    def __init__(self, client: Any, nth: int, after: bool, happens: Callable[[], None] | None) -> None:
        self._client, self._left, self._after, self._happens = client, nth, after, happens

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._client, name)
        writing = ("create_", "update_", "approve_", "reject_", "send_")
        if not name.startswith(writing if self._happens is None else (*writing, "get_hit", "list_assignments")):
            return real

        def call(**arguments: Any) -> Any:
            self._left -= 1
            if self._left == 0 and not self._after:
                self._disturb()
            answer = real(**arguments)
            if self._left == 0 and self._after:
                self._disturb()
            return answer

        return call

    def _disturb(self) -> None:
        if self._happens is None:
            raise Killed
        self._happens()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Campaign]]:
    """One endpoint for all examples; every call makes a campaign of its own at it."""
    folder: Path = tmp_path_factory.mktemp("cap")
    (folder / "media").mkdir()
    items, truth, starts = videos(N_VIDEOS)
    endpoint = EndpointSettings(
        database_url=f"sqlite:///{folder / 'endpoint.sqlite'}", media_folder=folder / "media", port=0, **KEYS
    )
    made: list[Campaign] = []
    with running(endpoint) as url:

        def make() -> Campaign:
            store = open_store(f"sqlite:///{folder / f'store-{len(made)}.sqlite'}", items)
            made.append(Campaign(store, make_client(url, **KEYS), url, endpoint, items, truth, starts))
            return made[-1]

        yield make
        for campaign in made:
            campaign.store.close()
            campaign.client.close()


steps = st.lists(
    st.tuples(
        st.sampled_from(STEPS),
        st.integers(0, N_VIDEOS - 1),
        st.integers(1, 4) | st.none(),  # the writing call that kills the command
        st.booleans(),
        st.sampled_from(STEPS) | st.none(),  # what another process does before that call, in place of a kill
    ),
    min_size=4,
    max_size=14,
)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps, st.sampled_from([200, 450, 900]))
def test_no_order_of_commands_kills_and_restarts_passes_the_cap(
    world: Callable[[], Campaign], life: list[tuple[str, int, int | None, bool, str | None]], cap: int
) -> None:
    campaign = world()
    name = Path(str(campaign.store.engine.url.database)).stem
    crew = campaign.hire(tuple(SimulatedWorker(f"w{i}-{name}") for i in range(N_WORKERS)))
    do = partial(try_step, campaign, crew=crew, name=name, cap=cap)
    first = [("publish", 0, None, False, None), ("answer", 0, None, False, None)]
    last = [("ingest", 0, None, False, None), ("bonus", 0, None, False, None)]
    for what, video, nth, after, other in [*first, *life, *last]:
        happens = None if other is None else partial(do, campaign.client, other, video)
        client: Any = campaign.client if nth is None else Disturbed(campaign.client, nth, after, happens)
        do(client, what, video)
        with campaign.store.transaction() as session:
            assert money.balance(session).exposure <= cap
            assert all(b.outstanding >= 0 for b in money.balances(session, tokens(session)).values())
    with campaign.store.transaction() as session:
        approved = session.scalars(select(AssignmentRow).where(AssignmentRow.status == "Approved")).all()
        assert approved or session.scalars(select(AssignmentRow).where(AssignmentRow.status == "Rejected")).all()
    assert 100 * len(approved) <= spent_at_endpoint(campaign, name) == ledger(campaign).committed


def try_step(campaign: Campaign, client: Any, what: str, video: int, *, crew: Any, name: str, cap: int) -> None:
    """One command; an error is the cap, a task that is not there yet or a verdict that nobody may give any more."""
    try:
        step(campaign, client, crew, name, what, video, cap)
    except Killed:
        pass
    except CrowdError as error:
        if "changed by hand" in str(error):  # more is due than was reserved
            raise


def step(campaign: Campaign, client: Any, crew: Any, name: str, what: str, video: int, cap: int) -> None:
    store, settings_ = campaign.store, publish_settings(campaign=name, assignments=2)
    rows = hits(campaign)
    if what == "publish":
        publish(store, client, campaign.items[: video + 1], settings_, max_spend_mills=cap)
    elif what in ("answer", "garbage"):
        for row in rows:
            hand_in(campaign, crew, row, what == "garbage")
    elif what == "ingest":
        ingest(store, client, settings=IngestSettings(cap_mills=cap))
    elif what == "extend" and rows:
        row = rows[video % len(rows)]
        extend(store, client, {row.token: row.wanted + 1}, max_spend_mills=cap)
    elif what == "expire" and rows:
        stop(store, client, [rows[video % len(rows)].token], name, fees=money.NO_FEES)
    elif what == "days" and rows:
        row = rows[video % len(rows)]
        extend(store, client, {row.token: row.wanted}, max_spend_mills=cap, until=time.time() + 86_400 * (40 + video))
    elif what == "pause":
        pause(store, client, [row.token for row in rows], name, fees=money.NO_FEES)
    elif what == "resume":
        resume(store, client, [row.token for row in rows])
    elif what == "look":  # a person shall decide
        ingest(store, client, settings=IngestSettings(Policy("manual"), cap))
    elif what in ("reject", "overrule"):
        decision, status = ("reject", "Submitted") if what == "reject" else ("approve", "Rejected")
        with store.transaction() as session:
            ids = session.scalars(select(AssignmentRow.assignment_id).where(AssignmentRow.status == status)).all()
        if ids:
            chosen = sorted(ids)[video % len(ids)]
            verdicts.decide(store, client, chosen, decision, "why", "person", 1.0, max_spend_mills=cap)
    elif what == "extra":
        with store.transaction() as session:
            found = consolidate(from_stored(queries.answers(session)), ["jump"])
            redundancy.ask_for_more(session, queries.hits(session), found, most=2, cap_mills=cap, now=1.0)
    elif what == "bonus":
        with store.transaction() as session:
            answers = session.scalars(select(AssignmentRow).where(AssignmentRow.status == "Approved"))
            bonus.grant(session, answers, 30, money.NO_FEES, cap_mills=cap, now=1.0)
        bonus.pay(store, client, REASON, 1.0)


def hand_in(campaign: Campaign, crew: Any, row: HitRow, garbage: bool) -> None:
    """The next worker who may answers; every other one sees something else."""
    for index, (_, token) in enumerate(crew):
        answer = httpx.post(f"{campaign.url}/w/{token}/accept/{row.hit_id}", headers=JSON)
        if answer.is_error:
            continue
        start = 2.0 + 10 * (index % 2)
        said = {"version": 1, "segments": [{"label": "jump", "start": start, "end": start + 5}], "seconds_spent": 90}
        form = {"assignmentId": answer.json()["assignment_id"], "answer": "?" if garbage else json.dumps(said)}
        httpx.post(f"{campaign.url}/mturk/externalSubmit", data=form, headers=JSON).raise_for_status()
        return


def hits(campaign: Campaign) -> list[HitRow]:
    with campaign.store.transaction() as session:
        return [row for row in queries.hits(session) if row.hit_id is not None]


def tokens(session: Any) -> list[str]:
    return [row.token for row in queries.hits(session)]


def ledger(campaign: Campaign) -> money.Balance:
    with campaign.store.transaction() as session:
        return money.balance(session)


def spent_at_endpoint(campaign: Campaign, name: str) -> int:
    """Mills of all rewards and bonuses the endpoint has paid for the campaign's HITs."""
    spent = Decimal(0)
    for page in campaign.client.get_paginator("list_hits").paginate():
        for hit in page["HITs"]:
            if json.loads(hit["RequesterAnnotation"])["campaign"] != name:
                continue
            listed = campaign.client.list_assignments_for_hit(HITId=hit["HITId"], AssignmentStatuses=["Approved"])
            spent += len(listed["Assignments"]) * Decimal(hit["Reward"])
            paid = campaign.client.list_bonus_payments(HITId=hit["HITId"])["BonusPayments"]
            spent += sum((Decimal(payment["BonusAmount"]) for payment in paid), Decimal(0))
    return int(spent * money.MILLS_PER_DOLLAR)
