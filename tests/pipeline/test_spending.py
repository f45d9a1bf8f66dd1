"""Which round chose each video, what it cost, and which media are gone."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from kloc.pipeline import publication
from kloc.store.tables import VideoRow
from tests.pipeline.campaign_world import World


def test_stats_tell_rounds_costs_agreement_missing_media_and_leaks(world: Callable[..., World]) -> None:
    w = world(**{"task.reward": "0.10", "crowd.fee_percent": 20.0})
    w.publish()
    first, second = w.hits()
    for worker, segment in ((0, (2, 7)), (1, (3, 7))):
        w.answer(worker, first, segment)
        w.answer(worker, second, segment, seconds_spent=90)
    w.ingest()
    with w.workspace.store.transaction() as session:
        session.add(VideoRow(id="bad", state="quarantined", reason="no picture can be decoded"))
        session.get_one(VideoRow, "v6").sha256 = session.get_one(VideoRow, "v7").sha256 = "twin"
        session.get_one(VideoRow, "v7").subset = "testing"
    statistics, told = publication.stats(w.workspace)
    campaign = statistics.campaign
    assert campaign is not None
    assert not campaign.simulated
    (row,) = campaign.rounds
    assert (row.round, row.videos, row.minutes, row.answers, row.state) == (0, 2, 1.0, 4, "done")
    assert row.dollars == pytest.approx(4 * 0.12)
    assert {c.video_id: c.minutes for c in campaign.chosen} == {first.video_id: 2.0, second.video_id: 3.0}
    assert all((c.round, c.answers, c.dollars) == (0, 2, pytest.approx(0.24)) for c in campaign.chosen)
    assert campaign.agreement is not None
    assert (campaign.agreement.pairs, campaign.agreement.start_spread) == (2, pytest.approx(1.0))
    assert campaign.missing[0] == "bad (no picture can be decoded)"
    assert len(campaign.missing) == 9  # the copies that workers see are there, the originals never were
    (leak,) = statistics.leakage
    assert "v6" in leak.examples[0]
    assert "v7" in leak.examples[0]
    reports = w.workspace.reports
    assert "bad (no picture can be decoded)" in (reports / "statistics.html").read_text()
    assert json.loads((reports / "statistics.json").read_text())["campaign"]["rounds"][0]["answers"] == 4
    assert told.facts["page"] == str(reports / "statistics.html")
    before = (reports / "statistics.html").read_bytes()
    publication.stats(w.workspace)
    assert (reports / "statistics.html").read_bytes() == before
