"""Simulated workers at a real endpoint: they pass the gate, correct proposals, report problems."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import httpx
from sqlalchemy import create_engine, func, select

from kloc.crowd.client import problem_reports
from kloc.crowd.endpoint.tables import QualificationRequest
from kloc.crowd.gate import GoldTask, requirements
from kloc.crowd.ingest import ingest
from kloc.crowd.publish import publish
from kloc.crowd.simulate import SimulatedWorker, work
from kloc.store.tables import AssignmentRow

Make = Callable[..., Any]
EXACT = SimulatedWorker("exact", 0, 0, 0, 0, 0, 0, 0, 0)
HEADERS = {"Accept": "application/json"}


def gated(campaign: Any, gold: int = 0) -> tuple[dict[str, Any], ...]:
    """The requirement to pass the first video, which then is no task."""
    entry = campaign.items.pop(gold)
    start = campaign.media_start[entry.media_key]
    segments = tuple(
        {"label": i.label, "start": i.start - start, "end": i.end - start}
        for i in campaign.truth[entry.item.video_id].instances
    )
    assert segments
    return requirements(campaign.client, [GoldTask(entry, segments)], campaign.settings(), 80)


def send(campaign: Any, **changes: Any) -> None:
    publish(campaign.store, campaign.client, campaign.items, campaign.settings(**changes), max_spend_mills=None)


def stored(campaign: Any) -> list[dict[str, Any]]:
    ingest(campaign.store, campaign.client)
    with campaign.store.transaction() as session:
        return [answer for answer in session.scalars(select(AssignmentRow.answer)) if answer is not None]


def state(campaign: Any, token: str) -> dict[str, Any]:
    """The only qualification on a worker's home."""
    (offer,) = httpx.get(f"{campaign.url}/w/{token}", headers=HEADERS).json()["qualifications"]
    return dict(offer)


def test_who_passes_the_gate_works_and_who_does_not_waits(make_campaign: Make) -> None:
    campaign = make_campaign(3)
    blind = SimulatedWorker("blind", miss=1.0, false_alarms=0)
    spammer = SimulatedWorker("spammer", spammer=True, spam="whole")
    crew = campaign.hire((EXACT, blind, spammer))
    send(campaign, qualifications=gated(campaign))
    counts = work(campaign.url, crew, campaign.truth, 0, media_start=campaign.media_start)
    assert counts == {"exact": 2, "blind": 0, "spammer": 0}
    assert [(state(campaign, t)["state"], state(campaign, t)["score"]) for _, t in crew] == [
        ("passed", 100),
        ("wait", 0),
        ("wait", 0),
    ]
    # Nobody takes a test twice unasked.
    assert work(campaign.url, crew, campaign.truth, 0, media_start=campaign.media_start) == dict.fromkeys(counts, 0)


def test_whoever_failed_looks_anew_and_a_spammer_does_not(make_campaign: Make) -> None:
    campaign = make_campaign(3)
    # Sees an instance or not, one try like the other; the gate asks for all.
    unsteady = SimulatedWorker(
        "unsteady", miss=0.5, false_alarms=0, spread=0, merge=0, split=0, confusion=0, laziness=0
    )
    crew = campaign.hire((unsteady, SimulatedWorker("spammer", spammer=True, spam="nothing")))
    asked = gated(campaign)
    campaign.client.update_qualification_type(
        QualificationTypeId=asked[0]["QualificationTypeId"], RetryDelayInSeconds=0
    )
    send(campaign, qualifications=asked)
    looks = []

    def until() -> bool:
        looks.append([state(campaign, token) for _, token in crew])
        return bool(looks[-1][0]["state"] == "passed")

    work(campaign.url, crew, campaign.truth, 8, media_start=campaign.media_start, until=until)
    assert len(looks) > 1
    assert looks[0][0]["score"] < 80
    assert looks[-1][1]["score"] == 0
    engine = create_engine(campaign.endpoint.database_url)
    with engine.connect() as connection:
        rows = connection.execute(select(QualificationRequest.worker_id, func.count()).group_by("worker_id")).all()
    engine.dispose()
    ids = [httpx.get(f"{campaign.url}/w/{token}", headers=HEADERS).json()["worker_id"] for _, token in crew]
    tries = dict(rows)
    assert tries[ids[0]] > 1
    assert tries[ids[1]] == 1


def test_proposals_are_corrected_and_the_answer_tells(make_campaign: Make) -> None:
    campaign = make_campaign(3)
    entry = next(e for e in campaign.items if campaign.truth[e.item.video_id].instances)
    first = campaign.truth[entry.item.video_id].instances[0]
    right = {"label": "jump", "start": first.start - entry.media_start, "end": first.end - entry.media_start}
    wrong = {"label": "jump", "start": entry.duration - 2.0, "end": entry.duration - 1.0}
    campaign.items[:] = [dataclasses.replace(entry, prefill=(right, wrong))]
    lazy = SimulatedWorker("lazy", laziness=1.0)
    crew = campaign.hire((dataclasses.replace(EXACT, trust=0.0), lazy))
    send(campaign, assignments=2)
    assert work(campaign.url, crew, campaign.truth, 0, media_start=campaign.media_start) == {"exact": 1, "lazy": 1}
    careful, careless = sorted(stored(campaign), key=lambda a: a["discarded"], reverse=True)
    assert (careful["prefilled"], careful["discarded"], careless["discarded"]) == (True, 1, 0)
    assert [s["origin"] for s in careless["segments"]] == ["kept", "kept"]
    assert careful["segments"][0]["origin"] == "kept"
    assert all(s["origin"] == "own" for s in careful["segments"][1:])
    assert careless["seconds_spent"] < careful["seconds_spent"]


def test_a_reported_task_goes_to_the_next_and_nobody_reports_it_twice(make_campaign: Make) -> None:
    campaign = make_campaign(2)
    crew = campaign.hire((SimulatedWorker("ann", report=1.0), SimulatedWorker("bob"), SimulatedWorker("cem")))
    send(campaign, assignments=3)
    counts = [work(campaign.url, crew, campaign.truth, 0, media_start=campaign.media_start) for _ in range(2)]
    assert counts == [{"ann": 0, "bob": 2, "cem": 2}, dict.fromkeys(("ann", "bob", "cem"), 0)]
    reports = problem_reports(campaign.client)
    assert [report["Text"] for report in reports] == ["ann cannot do this"] * 2
    assert len({report["HITId"] for report in reports}) == 2
    assert len(stored(campaign)) == 4
