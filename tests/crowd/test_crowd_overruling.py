"""A rejection that a person overrules: its money is reserved again within the cap, and it is finished or taken back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from test_crowd_campaign import Cut, answers, hand_in, lease, ledger, marks, published, rows

from kloc.crowd import money, verdicts
from kloc.crowd.client import RefusedError
from kloc.crowd.extend import add_places, stop
from kloc.crowd.ingest import IngestSettings, ingest
from kloc.crowd.policy import Policy
from kloc.errors import CrowdError
from kloc.store.tables import HitRow

Make = Callable[..., Any]
MANUAL = IngestSettings(Policy("manual"))


def closed_after_a_rejection(make_campaign: Make) -> tuple[Any, str]:
    """One HIT of two places with one answer, turned down; ended, closed, its money released."""
    campaign, crew = published(make_campaign, 1, assignments=2)
    row = rows(campaign)[0]
    assignment: str = lease(campaign, crew[0][1], row.hit_id)["assignment_id"]
    hand_in(campaign, assignment, marks((1, 3)))
    ingest(campaign.store, campaign.client, settings=MANUAL)
    stop(campaign.store, campaign.client, [row.token], "campaign-1", fees=money.NO_FEES)
    decide(campaign, assignment, "reject", "bad")
    assert ingest(campaign.store, campaign.client).balance.exposure == 0
    assert rows(campaign)[0].state == "closed"
    return campaign, assignment


def decide(campaign: Any, assignment: str, decision: str, reason: str = "", **more: Any) -> str:
    client = more.pop("client", campaign.client)
    return verdicts.decide(campaign.store, client, assignment, decision, reason, "person", 1.0, **more)


def test_overruling_once_another_answer_was_asked_for_needs_money_of_its_own(make_campaign: Make) -> None:
    campaign, crew = published(make_campaign, 1, crew=5)
    row = rows(campaign)[0]
    handed_in = [lease(campaign, token, row.hit_id)["assignment_id"] for _, token in crew[:3]]
    for assignment in handed_in:
        hand_in(campaign, assignment, marks((1, 3)))
    ingest(campaign.store, campaign.client, settings=IngestSettings(Policy("manual"), cap_mills=300))
    decide(campaign, handed_in[0], "reject", "bad")
    with campaign.store.transaction() as session:
        add_places(session, session.get_one(HitRow, row.token), 4, cap_mills=300, now=1.0)
    with pytest.raises(CrowdError, match=r"over the cap of \$0\.30"):
        decide(campaign, handed_in[0], "approve", max_spend_mills=300)
    assert ledger(campaign).exposure == 300
    assert decide(campaign, handed_in[0], "approve", max_spend_mills=400) == "Approved"
    ingest(campaign.store, campaign.client)
    hand_in(campaign, lease(campaign, crew[3][1], row.hit_id)["assignment_id"], marks((1, 3)))
    assert ingest(campaign.store, campaign.client).balance == money.Balance(reserved=400, committed=400)


@pytest.mark.parametrize("after", [False, True])
def test_an_overruling_on_a_closed_hit_that_was_killed_is_finished_by_ingest(make_campaign: Make, after: bool) -> None:
    campaign, assignment = closed_after_a_rejection(make_campaign)
    dying: Any = Cut(campaign.client, "approve_assignment", after=after)
    with pytest.raises(KeyboardInterrupt):
        decide(campaign, assignment, "approve", client=dying, max_spend_mills=100)
    for _ in range(2):
        balance = ingest(campaign.store, campaign.client).balance
    assert (balance.exposure, balance.committed) == (100, 100)
    assert answers(campaign)[0].status == "Approved"
    assert rows(campaign)[0].state == "closed"
    assert campaign.client.get_assignment(AssignmentId=assignment)["Assignment"]["AssignmentStatus"] == "Approved"


def test_an_overruling_that_the_endpoint_refuses_keeps_no_money(make_campaign: Make) -> None:
    campaign, assignment = closed_after_a_rejection(make_campaign)

    class Refusing(Cut):
        def approve_assignment(self, **arguments: Any) -> Any:
            return self._client.approve_assignment(AssignmentId="NOSUCHASSIGNMENT")

    refusing: Any = Refusing(campaign.client, "")
    with pytest.raises(RefusedError):
        decide(campaign, assignment, "approve", client=refusing)
    assert ledger(campaign).exposure == 0
    assert rows(campaign)[0].state == "closed"
    assert answers(campaign)[0].verdict["decision"] == "reject"
