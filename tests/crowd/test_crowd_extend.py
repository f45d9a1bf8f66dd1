"""Extending what is closed: it costs again, its end never comes sooner, and nothing is promised that is not done."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from test_crowd_campaign import at_endpoint, hand_in, lease, ledger, marks, offered, published, rows

from kloc.crowd import money
from kloc.crowd.extend import extend, stop
from kloc.crowd.ingest import ingest
from kloc.errors import CrowdError

Make = Callable[..., Any]
DAY = 86_400


def test_more_days_for_a_closed_hit_reserve_its_free_places_again(make_campaign: Make) -> None:
    campaign, crew = published(make_campaign, 1, crew=3)
    row = rows(campaign)[0]
    hand_in(campaign, lease(campaign, crew[0][1], row.hit_id)["assignment_id"], marks((1, 3)))
    stop(campaign.store, campaign.client, [row.token], "campaign-1", fees=money.NO_FEES)
    assert ingest(campaign.store, campaign.client).balance.exposure == 100
    until, wanted = time.time() + 3 * DAY, {row.token: 3}
    with pytest.raises(CrowdError, match=r"over the cap of \$0\.29"):
        extend(campaign.store, campaign.client, wanted, max_spend_mills=290, until=until)
    assert offered(campaign, crew[1][1]) == set()
    assert extend(campaign.store, campaign.client, wanted, max_spend_mills=300, until=until) == ((row.token,), 200)
    for _, token in crew[1:]:
        hand_in(campaign, lease(campaign, token, row.hit_id)["assignment_id"], marks((1, 3)))
    report = ingest(campaign.store, campaign.client)
    assert (report.approved, report.complete) == (2, (row.token,))
    assert ledger(campaign).committed == ledger(campaign).exposure == 300
    # Now every place is filled: more days would bring nothing.
    assert extend(campaign.store, campaign.client, wanted, max_spend_mills=300, until=until) == ((), 0)
    assert rows(campaign)[0].state == "closed"


def test_an_extension_never_moves_an_end_forward(make_campaign: Make) -> None:
    campaign, _ = published(make_campaign, 1, lifetime_s=5 * DAY)
    row = rows(campaign)[0]
    ends = at_endpoint(campaign, row)["Expiration"]
    extend(campaign.store, campaign.client, {row.token: 3}, max_spend_mills=None, until=time.time() + DAY)
    assert at_endpoint(campaign, row)["Expiration"] == ends
    assert rows(campaign)[0].expires_at is None
