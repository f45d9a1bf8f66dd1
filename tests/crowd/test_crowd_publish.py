from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from kloc.crowd import money
from kloc.crowd.client import RefusedError
from kloc.crowd.extend import extend, stop
from kloc.crowd.ingest import ingest
from kloc.crowd.plan import PublishSettings, annotation_text, item_token
from kloc.crowd.publish import publish
from kloc.errors import CrowdError, UsageError
from kloc.records import Item
from kloc.store.tables import GuidelineRow, HitRow, LedgerRow

Make = Callable[..., Any]


def hits_at(campaign: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for page in campaign.client.get_paginator("list_hits").paginate():
        found += page["HITs"]
    return found


def rows(campaign: Any) -> list[HitRow]:
    with campaign.store.transaction() as session:
        return list(session.scalars(select(HitRow).order_by(HitRow.video_id)))


def ledger(campaign: Any) -> money.Balance:
    with campaign.store.transaction() as session:
        return money.balance(session)


def test_publish_makes_one_hit_per_item_and_again_none(make_campaign: Make) -> None:
    campaign = make_campaign(3)
    report = publish(campaign.store, campaign.client, campaign.items, campaign.settings(), max_spend_mills=900)
    assert len(report.created) == 3
    assert report.cost_mills == 900
    assert "published 3 HITs for $0.90" in str(report)
    again = publish(campaign.store, campaign.client, campaign.items, campaign.settings(), max_spend_mills=900)
    assert (again.created, again.adopted, len(again.already), again.cost_mills) == ((), (), 3, 0)
    found = hits_at(campaign)
    assert len(found) == 3
    by_annotation = {json.loads(hit["RequesterAnnotation"])["token"]: hit for hit in found}
    for row in rows(campaign):
        hit = by_annotation[row.token]
        assert (row.state, row.hit_id, row.max_assignments, row.reward_mills) == ("created", hit["HITId"], 3, 100)
        assert (hit["MaxAssignments"], hit["Reward"], hit["Title"]) == (3, "0.10", "Mark the jumps")
        assert row.video_id in hit["Question"]
        with campaign.store.transaction() as session:
            told = session.get_one(GuidelineRow, row.guideline).content
        assert told["classes"] == [{"name": "jump", "definition": "From the take-off to the landing."}]
    assert ledger(campaign) == money.Balance(reserved=900)


def test_dry_run_calls_nobody_and_writes_nothing(make_campaign: Make) -> None:
    campaign = make_campaign(2)
    settings = campaign.settings(fees=money.MTURK_FEES)
    report = publish(campaign.store, None, campaign.items, settings, max_spend_mills=None, dry_run=True)  # type: ignore[arg-type]
    assert report.cost_mills == 2 * 3 * 120
    assert str(report).startswith("would publish 2 HITs for $0.72")
    assert rows(campaign) == []
    assert hits_at(campaign) == []


def test_cap_and_balance_are_checked_before_anything_happens(make_campaign: Make) -> None:
    campaign = make_campaign(3, balance="0.50")
    with pytest.raises(CrowdError, match=r"costs \$0\.90 .* over the cap of \$0\.89; raise --max-spend"):
        publish(campaign.store, campaign.client, campaign.items, campaign.settings(), max_spend_mills=890)
    with pytest.raises(CrowdError, match=r"costs \$0\.90 but the account holds \$0\.50"):
        publish(campaign.store, campaign.client, campaign.items, campaign.settings(), max_spend_mills=900)
    assert rows(campaign) == []
    assert hits_at(campaign) == []
    # What fits is published, and the next call is still bound by the whole campaign's ledger.
    publish(campaign.store, campaign.client, campaign.items[:1], campaign.settings(), max_spend_mills=300)
    with pytest.raises(CrowdError, match="over the cap"):
        publish(campaign.store, campaign.client, campaign.items, campaign.settings(), max_spend_mills=300)
    assert ledger(campaign).exposure == 300


def test_a_refused_hit_is_failed_and_the_others_go_on(make_campaign: Make) -> None:
    campaign = make_campaign(3)

    def render(task: Any) -> str:
        # An empty page passes here but not at the endpoint.
        return "" if task["video_id"] == "video-001" else "<p>page</p>"

    settings = campaign.settings()
    report = publish(campaign.store, campaign.client, campaign.items, settings, max_spend_mills=900, render=render)
    assert len(report.created) == 2
    assert report.failed[0][0] == "video-001"
    assert "XMLParseError" in report.failed[0][1]
    assert [row.state for row in rows(campaign)] == ["created", "failed", "created"]
    assert ledger(campaign).exposure == 600
    again = publish(campaign.store, campaign.client, campaign.items, settings, max_spend_mills=900)
    assert len(again.created) == 1
    assert ledger(campaign) == money.Balance(reserved=1200, released=300)
    assert len(hits_at(campaign)) == 3


class Dying:
    """A client that acts and then, at the ``nth`` creation, loses the answer."""

    def __init__(self, client: Any, nth: int) -> None:
        self._client, self._left = client, nth

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def create_hit_with_hit_type(self, **arguments: Any) -> Any:
        answer = self._client.create_hit_with_hit_type(**arguments)
        self._left -= 1
        if self._left == 0:
            raise KeyboardInterrupt
        return answer


def interrupted(campaign: Any, nth: int, **changes: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        publish(
            campaign.store,
            Dying(campaign.client, nth),  # type: ignore[arg-type]
            campaign.items,
            campaign.settings(**changes),
            max_spend_mills=None,
        )


def test_a_lost_answer_is_found_by_its_token(make_campaign: Make) -> None:
    campaign = make_campaign(3)
    interrupted(campaign, 2)
    assert [row.state for row in rows(campaign)] == ["created", "intended", "intended"]
    assert len(hits_at(campaign)) == 2
    report = publish(campaign.store, campaign.client, campaign.items, campaign.settings(), max_spend_mills=900)
    assert (len(report.created), len(report.adopted), len(report.already)) == (1, 1, 1)
    assert len(hits_at(campaign)) == 3
    assert ledger(campaign) == money.Balance(reserved=900)


def test_after_a_day_the_endpoint_is_searched_before_it_is_called(make_campaign: Make) -> None:
    campaign = make_campaign(2)
    interrupted(campaign, 1)

    class Forgetful(Dying):
        """Remembers no token, as Amazon after 24 h."""

        def create_hit_with_hit_type(self, **arguments: Any) -> Any:
            arguments["UniqueRequestToken"] += "forgotten"
            return self._client.create_hit_with_hit_type(**arguments)

    with campaign.store.transaction() as session:
        for row in session.scalars(select(HitRow)):
            row.intended_at -= 2 * 86_400
    client = Forgetful(campaign.client, -1)
    report = publish(campaign.store, client, campaign.items, campaign.settings(), max_spend_mills=600)  # type: ignore[arg-type]
    assert (len(report.created), len(report.adopted)) == (1, 1)
    assert len(hits_at(campaign)) == 2


def test_a_restart_with_other_settings_keeps_what_exists_and_its_price(make_campaign: Make) -> None:
    campaign = make_campaign(2)
    interrupted(campaign, 1)
    changed = campaign.settings(reward_mills=200, instructions="Mark every jump, from take-off to landing.")
    report = publish(campaign.store, campaign.client, campaign.items, changed, max_spend_mills=900)
    assert (len(report.created), len(report.adopted)) == (1, 1)
    first, second = rows(campaign)
    assert (first.reward_mills, second.reward_mills) == (100, 200)
    assert first.guideline != second.guideline
    assert ledger(campaign).exposure == 300 + 600
    assert len(hits_at(campaign)) == 2


def test_items_that_began_at_another_endpoint_are_finished_there(make_campaign: Make) -> None:
    campaign = make_campaign(1)
    interrupted(campaign, 1)
    with campaign.store.transaction() as session:
        for row in session.scalars(select(HitRow)):
            row.endpoint = "https://crowd.example"
    with pytest.raises(CrowdError, match=r"publishing began at https://crowd\.example"):
        publish(campaign.store, campaign.client, campaign.items, campaign.settings(), max_spend_mills=None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reward_mills": 15}, "whole cents"),
        ({"assignments": 0}, "assignments 0 is outside"),
        ({"time_limit_s": 5}, "time_limit_s 5 is outside"),
        ({"title": ""}, "title must have 1 to 128"),
        ({"title": "x" * 129}, "title must have 1 to 128"),
        ({"campaign": ""}, "campaign id ''"),
    ],
)
def test_settings_the_protocol_refuses_are_refused_here(changes: Any, words: str) -> None:
    values = {"campaign": "c", "title": "Mark", "instructions": "Mark every jump."}
    with pytest.raises(UsageError, match=words):
        PublishSettings(**(values | changes))


def test_an_item_given_twice_or_without_classes_is_refused(make_campaign: Make) -> None:
    campaign = make_campaign(1)
    with pytest.raises(UsageError, match="twice in one round"):
        publish(campaign.store, campaign.client, campaign.items * 2, campaign.settings(), max_spend_mills=None)
    bare = replace(campaign.items[0], classes=())
    with pytest.raises(UsageError, match="'video-000': there is no class to ask about"):
        publish(campaign.store, campaign.client, [bare], campaign.settings(), max_spend_mills=None)


def test_token_and_annotation_fit_the_protocol() -> None:
    item = Item("a video" * 40, 0.0, 10.0)
    token = item_token("c" * 64, 12, item)
    assert len(token) == 40
    assert token == item_token("c" * 64, 12, item)
    others = [
        item_token("d", 12, item),
        item_token("c" * 64, 13, item),
        item_token("c" * 64, None, item),
        item_token("c" * 64, 12, Item(item.video_id, 0.0, 10.5)),
    ]
    assert len({token, *others}) == 5
    assert len(annotation_text("c" * 64, 12, token)) <= 255


def test_extend_reserves_first_and_happens_once(make_campaign: Make) -> None:
    campaign = make_campaign(2)
    publish(campaign.store, campaign.client, campaign.items, campaign.settings(), max_spend_mills=None)
    token = rows(campaign)[0].token
    with pytest.raises(CrowdError, match=r"over the cap of \$0\.69"):
        extend(campaign.store, campaign.client, {token: 4}, max_spend_mills=690)
    assert {hit["MaxAssignments"] for hit in hits_at(campaign)} == {3}
    assert extend(campaign.store, campaign.client, {token: 4}, max_spend_mills=700) == ((token,), 100)
    assert extend(campaign.store, campaign.client, {token: 4}, max_spend_mills=700) == ((), 0)
    assert sorted(hit["MaxAssignments"] for hit in hits_at(campaign)) == [3, 4]
    assert ledger(campaign).exposure == 700
    with pytest.raises(CrowdError, match="not published yet"):
        extend(campaign.store, campaign.client, {"nobody": 4}, max_spend_mills=None)


def test_an_extension_killed_before_its_call_is_finished_by_ingest(make_campaign: Make) -> None:
    campaign = make_campaign(1)
    publish(campaign.store, campaign.client, campaign.items, campaign.settings(), max_spend_mills=None)
    token = rows(campaign)[0].token

    class Cut(Dying):
        def create_additional_assignments_for_hit(self, **arguments: Any) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extend(campaign.store, Cut(campaign.client, -1), {token: 5}, max_spend_mills=None)  # type: ignore[arg-type]
    assert hits_at(campaign)[0]["MaxAssignments"] == 3
    report = ingest(campaign.store, campaign.client)
    assert hits_at(campaign)[0]["MaxAssignments"] == 5
    assert report.waiting == (token,)
    assert ledger(campaign).exposure == 500


def test_stop_ends_hits_and_gives_money_back(make_campaign: Make) -> None:
    campaign = make_campaign(3)
    interrupted(campaign, 2)
    tokens = [row.token for row in rows(campaign)]
    stop(campaign.store, campaign.client, tokens, "campaign-1", fees=money.NO_FEES)
    report = ingest(campaign.store, campaign.client)
    assert [row.state for row in rows(campaign)] == ["closed", "closed", "failed"]
    assert set(report.complete) == set(tokens[:2])
    assert ledger(campaign) == money.Balance(reserved=900, released=900)
    with pytest.raises(CrowdError, match="not known in this workspace"):
        stop(campaign.store, campaign.client, ["nobody"], "campaign-1", fees=money.NO_FEES)


def test_insufficient_funds_stops_and_a_later_run_continues(make_campaign: Make) -> None:
    campaign = make_campaign(2, balance="0.30")

    class Generous(Dying):
        def get_account_balance(self) -> dict[str, str]:
            return {"AvailableBalance": "100.00"}

    client: Any = Generous(campaign.client, -1)
    with pytest.raises(RefusedError, match="balance is too low"):
        publish(campaign.store, client, campaign.items, campaign.settings(), max_spend_mills=None)
    assert [row.state for row in rows(campaign)] == ["created", "intended"]
    with campaign.store.transaction() as session:
        entries = [row.entry for row in session.scalars(select(LedgerRow).order_by(LedgerRow.entry))]
    assert entries == sorted(f"reserved:{row.token}:0" for row in rows(campaign))
