"""What people get wrong or overlook while a campaign runs, and what kloc then says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kloc.crowd.client import RefusedError, UnreachableError
from kloc.errors import UsageError
from kloc.pipeline import campaign, crowd, serving, state, tasks
from kloc.pipeline.telling import Silent
from tests.pipeline.campaign_world import World


def test_a_watch_outlives_a_server_that_goes_away(world: Callable[..., World], monkeypatch: pytest.MonkeyPatch) -> None:
    w = world()
    w.publish()
    monkeypatch.setattr("kloc.crowd.client._FAILED", 2)
    said: list[str] = []

    class Listening(Silent):
        def say(self, text: str) -> None:
            said.append(text)
            if len(said) == 1:
                w.down()
            elif len(said) == 2:
                w.up()
                for row in w.hits():
                    for worker in (0, 1):
                        w.answer(worker, row, (2, 7))

    told = crowd.ingest(w.workspace, watch=True, url=w.url, poll_s=0.01, reporter=Listening())
    assert told.data["closed_rounds"] == [0]
    assert said[0] == "0 of 2 tasks complete; waiting"
    assert said[1].endswith("is the endpoint running? Looking again.")


def test_a_server_that_was_never_there_is_said_at_once(world: Callable[..., World]) -> None:
    w = world()
    w.publish()
    with pytest.raises(UnreachableError, match="is the endpoint running"):
        crowd.ingest(w.workspace, watch=True, url="http://127.0.0.1:9", reporter=Silent())


def test_a_cap_counts_when_all_is_published(world: Callable[..., World]) -> None:
    w = world()
    w.publish(max_spend="5")
    with pytest.raises(UsageError, match="five"):
        crowd.publish(w.workspace, url=w.url, max_spend="five", reporter=Silent())
    told = crowd.publish(w.workspace, url=w.url, max_spend="2", reporter=Silent())
    assert told.facts == {"published before": "round 0", "cap": "$2.00"}
    assert tasks.spend_cap(w.workspace) == 2000


@pytest.mark.parametrize(("clip", "said"), [("v9@0-3", "no usable video 'v9'"), ("v1@4-99", "lies outside")])
def test_a_dry_run_finds_wrong_examples(world: Callable[..., World], clip: str, said: str) -> None:
    w = world(**{"task.examples": {"jump": [clip]}})
    with pytest.raises(UsageError, match=said):
        w.publish(dry_run=True)


def test_an_example_that_gives_practice_away_is_said(world: Callable[..., World]) -> None:
    w = world(**{"task.examples": {"jump": ["v0@3-8"]}, "task.gate": 1})
    campaign.gold(w.workspace, ["v0"])
    told = w.publish(dry_run=True)
    assert any("v0: an example of task.examples and a practice video as well" in line for line in told.problems)


def test_gold_that_comes_again_is_said(world: Callable[..., World]) -> None:
    w = world(**{"task.gold_per_round": 1})
    campaign.gold(w.workspace, ["v0"])
    assert not w.publish().problems
    for row in w.hits():
        for worker in (0, 1):
            w.answer(worker, row, (2, 7))
    w.ingest()
    told = w.publish()
    assert any("v0: gold that was hidden in another round" in line for line in told.problems)


def test_status_names_the_open_round_before_the_newest(world: Callable[..., World]) -> None:
    w = world()
    w.publish()
    w.publish()
    for row in w.hits():
        if row.round == 1:
            for worker in (0, 1):
                w.answer(worker, row, (2, 7))
    assert w.ingest().data["closed_rounds"] == [1]
    hint = state.status(w.workspace).hint
    assert "train" not in hint


def test_foreign_keys_are_explained(world: Callable[..., World], monkeypatch: pytest.MonkeyPatch) -> None:
    w = world()
    pair: Any = serving.credentials(w.workspace)
    monkeypatch.setattr(serving, "credentials", lambda _w: ("KLOCSOMEBODYELSE", pair[1]))
    with pytest.raises(RefusedError, match="is another server listening at this address"):
        w.publish()
