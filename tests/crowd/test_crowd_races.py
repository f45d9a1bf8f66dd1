"""Two commands at once: what one of them has read, the other changes before it acts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from test_crowd_campaign import answers, at_endpoint, hand_in, lease, ledger, marks, offered, published, rows

from kloc.crowd import money, verdicts
from kloc.crowd.extend import extend, stop
from kloc.crowd.ingest import IngestSettings, ingest
from kloc.crowd.policy import Policy

Make = Callable[..., Any]


class During:
    """A client during whose first call of ``operation`` something else happens, before the endpoint acts or after."""

    def __init__(self, client: Any, operation: str, happens: Callable[[], Any], *, after: bool = False) -> None:
        self._client, self._operation, self._happens, self._after = client, operation, [happens], after

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._client, name)
        if name != self._operation or not self._happens:
            return real

        def call(**arguments: Any) -> Any:
            answer = real(**arguments) if self._after else None
            while self._happens:
                self._happens.pop()()
            return answer if self._after else real(**arguments)

        return call


@pytest.mark.parametrize(
    "operation", ["list_assignments_for_hit", "create_additional_assignments_for_hit", "approve_assignment", "get_hit"]
)
def test_places_are_added_once_when_a_hit_is_extended_during_an_ingest(make_campaign: Make, operation: str) -> None:
    campaign, crew = published(make_campaign, 1, crew=6)
    campaign.introduce(crew[2:])
    row = next(row for row in rows(campaign) if row.round == 0)
    for (_, token), answer in zip(crew, ["rubbish", marks((1, 3))], strict=False):
        hand_in(campaign, lease(campaign, token, row.hit_id)["assignment_id"], answer)
    settings = IngestSettings(cap_mills=600)
    other: Any = During(
        campaign.client, operation, lambda: extend(campaign.store, campaign.client, {row.token: 5}, max_spend_mills=600)
    )
    ingest(campaign.store, other, settings=settings)
    for _, token in crew[2:]:
        hand_in(campaign, lease(campaign, token, row.hit_id)["assignment_id"], marks((1, 3)))
        ingest(campaign.store, campaign.client, settings=settings)
    row = next(row for row in rows(campaign) if row.round == 0)
    assert at_endpoint(campaign, row)["MaxAssignments"] == row.max_assignments == 6
    assert ledger(campaign) == money.Balance(reserved=600, committed=500)  # what cannot be read is undecided


@pytest.mark.parametrize("days", [None, 50])
@pytest.mark.parametrize("operation", ["list_assignments_for_hit", "approve_assignment"])
def test_what_is_extended_during_an_ingest_is_not_closed(make_campaign: Make, operation: str, days: int | None) -> None:
    campaign, crew = published(make_campaign, 1, crew=3, assignments=2)
    row = rows(campaign)[0]
    hand_in(campaign, lease(campaign, crew[0][1], row.hit_id)["assignment_id"], marks((1, 3)))
    stop(campaign.store, campaign.client, [row.token], "campaign-1", fees=money.NO_FEES)
    wanted = {row.token: 2 if days else 3}
    until = None if days is None else time.time() + days * 86_400

    def extends() -> None:
        extend(campaign.store, campaign.client, wanted, max_spend_mills=300, until=until)

    other: Any = During(campaign.client, operation, extends)
    ingest(campaign.store, other)
    assert rows(campaign)[0].state != "closed"
    for _, token in crew[1:]:
        if offered(campaign, token):
            hand_in(campaign, lease(campaign, token, row.hit_id)["assignment_id"], marks((1, 3)))
    ingest(campaign.store, campaign.client)
    due = 100 * wanted[row.token]
    assert (ledger(campaign).exposure, ledger(campaign).committed) == (due, due)
    assert len(answers(campaign)) == wanted[row.token]
    assert rows(campaign)[0].state == "closed"


def test_a_persons_word_during_an_ingest_is_not_overwritten(make_campaign: Make) -> None:
    campaign, crew = published(make_campaign, 1, assignments=2)
    row = rows(campaign)[0]
    first, second = (lease(campaign, token, row.hit_id)["assignment_id"] for _, token in crew)
    hand_in(campaign, first, marks((1, 3)))
    ingest(campaign.store, campaign.client, settings=IngestSettings(Policy("manual")))
    verdicts.decide(campaign.store, campaign.client, first, "reject", "bad", "person", 1.0)
    hand_in(campaign, second, marks((1, 3)))

    def overrules() -> None:
        verdicts.decide(campaign.store, campaign.client, first, "approve", "sorry", "person", 2.0)

    other: Any = During(campaign.client, "approve_assignment", overrules, after=True)
    ingest(campaign.store, other)
    said = {one.assignment_id: one for one in answers(campaign)}[first]
    assert (said.status, said.verdict["by"], said.verdict["decision"]) == ("Approved", "person", "approve")
    assert ledger(campaign).committed == ledger(campaign).exposure == 200
