"""Publish, let simulated workers answer over HTTP, ingest, consolidate: the whole way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from kloc.crowd import money
from kloc.crowd.agreement import agreement, match
from kloc.crowd.consolidate import Consolidated, WorkerAnswer, consolidate, from_stored
from kloc.crowd.extend import extend, stop
from kloc.crowd.ingest import IngestSettings, ingest
from kloc.crowd.policy import Policy
from kloc.crowd.publish import publish
from kloc.crowd.simulate import SimulatedWorker, default_crew, work
from kloc.errors import CrowdError, UsageError
from kloc.records import Annotation, Instance
from kloc.store import crowd as queries
from kloc.store.tables import AssignmentRow, HitRow

Make = Callable[..., Any]


def f1(found: Mapping[str, Sequence[Instance]], truth: Mapping[str, Annotation]) -> float:
    pairs = [match(found[name], truth[name].instances) for name in sorted(found)]
    total = sum(pair.n_first + pair.n_second for pair in pairs)
    return 2 * sum(len(pair.tious) for pair in pairs) / total


def stored_answers(campaign: Any) -> list[WorkerAnswer]:
    with campaign.store.transaction() as session:
        return from_stored(queries.answers(session))


def go(campaign: Any, crew: Any, **changes: Any) -> Consolidated:
    settings = campaign.settings(**changes)
    publish(campaign.store, campaign.client, campaign.items, settings, max_spend_mills=None)
    work(campaign.url, crew, campaign.truth, 0, media_start=campaign.media_start)
    ingest(campaign.store, campaign.client)
    return consolidate(stored_answers(campaign), ["jump"])


def test_a_crowd_is_better_than_one_worker_and_money_is_exact(make_campaign: Make) -> None:
    campaign = make_campaign(12)
    crew = campaign.hire(default_crew(3, 6))
    settings = campaign.settings(fees=money.MTURK_FEES, assignments=5)
    publish(campaign.store, campaign.client, campaign.items, settings, max_spend_mills=None)
    counts = work(campaign.url, crew, campaign.truth, 0, media_start=campaign.media_start)
    assert sum(counts.values()) == 60
    report = ingest(campaign.store, campaign.client)
    assert (report.new, report.approved, report.problems, report.waiting) == (60, 60, (), ())
    assert len(report.complete) == 12
    assert report.balance == money.Balance(reserved=7200, committed=7200)
    again = ingest(campaign.store, campaign.client)
    assert (again.new, again.approved, again.balance) == (0, 0, report.balance)

    answers = stored_answers(campaign)
    found = consolidate(answers, ["jump"])
    crowd = {item.video_id: annotation.instances for item, annotation in found.annotations.items()}
    alone = [
        f1({a.item.video_id: a.segments for a in answers if a.worker_id == worker}, campaign.truth)
        for worker in sorted({a.worker_id for a in answers})
    ]
    assert f1(crowd, campaign.truth) > max(alone)
    assert f1(crowd, campaign.truth) > 0.9
    # The spammer is found out, by the model and by agreement.
    names = {token: worker.name for worker, token in crew}
    spammer = httpx.get(f"{campaign.url}/w/{crew[-1][1]}", headers={"Accept": "application/json"}).json()["worker_id"]
    assert names[crew[-1][1]] == "simulated-06"
    assert min(found.workers, key=lambda w: found.workers[w].sensitivity) == spammer
    agreed = agreement(answers)
    assert min(agreed.workers, key=lambda w: agreed.workers[w]) == spammer
    with campaign.store.transaction() as session:
        hasty = session.scalars(select(AssignmentRow).where(AssignmentRow.worker_id == spammer))
        assert all("hasty" in row.answer["signs"] for row in hasty if row.answer)


def test_answers_do_not_depend_on_interruption_or_order(make_campaign: Make, tmp_path: Any) -> None:
    campaign = make_campaign(4)
    crew = campaign.hire(default_crew(1, 5))
    publish(campaign.store, campaign.client, campaign.items, campaign.settings(), max_spend_mills=None)
    # Somebody accepted and went away: the lease is taken up again.
    token = crew[2][1]
    home = httpx.get(f"{campaign.url}/w/{token}", headers={"Accept": "application/json"}).json()
    turns = {hit["hit_id"] for hit in home["open"]}
    assert len(turns) == 4
    stop_after = [3]

    def enough() -> bool:
        stop_after[0] -= 1
        return stop_after[0] <= 0

    work(campaign.url, list(reversed(crew)), campaign.truth, 0, media_start=campaign.media_start, until=enough)
    ingest(campaign.store, campaign.client)
    answers = stored_answers(campaign)
    by_item: dict[str, set[str]] = {}
    for answer in answers:
        by_item.setdefault(answer.item.video_id, set()).add(answer.worker_id)
    assert all(len(workers) == 3 for workers in by_item.values())
    # One more assignment goes to the next in line; the three before are untouched.
    with campaign.store.transaction() as session:
        wanted = {row.token: 4 for row in session.scalars(select(HitRow))}
    extend(campaign.store, campaign.client, wanted, max_spend_mills=None)
    work(campaign.url, crew, campaign.truth, 0, media_start=campaign.media_start)
    report = ingest(campaign.store, campaign.client)
    assert report.new == 4
    more = stored_answers(campaign)
    assert set(answers) < set(more)
    assert consolidate(more, ["jump"]) == consolidate(list(reversed(more)), ["jump"])
    assert report.balance == money.Balance(reserved=1600, committed=1600)


def test_a_lease_left_by_a_crash_is_finished(make_campaign: Make) -> None:
    campaign = make_campaign(1)
    crew = campaign.hire((SimulatedWorker("ann"), SimulatedWorker("bob")))
    publish(campaign.store, campaign.client, campaign.items, campaign.settings(assignments=1), max_spend_mills=None)
    headers = {"Accept": "application/json"}
    hit = httpx.get(f"{campaign.url}/w/{crew[1][1]}", headers=headers).json()["open"][0]["hit_id"]
    httpx.post(f"{campaign.url}/w/{crew[1][1]}/accept/{hit}", headers=headers).raise_for_status()
    counts = work(campaign.url, crew, campaign.truth, 0, media_start=campaign.media_start)
    assert counts == {"ann": 0, "bob": 1}


def test_answers_come_home_in_video_seconds(make_campaign: Make) -> None:
    campaign = make_campaign(3)
    exact = SimulatedWorker("exact", 0, 0, 0, 0, 0, 0, 0, 0)
    go(campaign, campaign.hire((exact,)), assignments=1)
    for answer in stored_answers(campaign):
        truth = campaign.truth[answer.item.video_id].instances
        assert [(s.start, s.end) for s in answer.segments] == [
            (pytest.approx(t.start, abs=0.001), pytest.approx(t.end, abs=0.001)) for t in truth
        ]
    assert {a.item.start for a in stored_answers(campaign)} == {0.0, 0.5, 1.0}


def test_what_cannot_be_read_is_kept_marked_and_not_paid(make_campaign: Make) -> None:
    campaign = make_campaign(1)
    crew = campaign.hire((SimulatedWorker("ann"), SimulatedWorker("bob"), SimulatedWorker("cem")))
    publish(campaign.store, campaign.client, campaign.items, campaign.settings(), max_spend_mills=None)
    headers = {"Accept": "application/json"}
    campaign.introduce(campaign.hire((SimulatedWorker("dee"), SimulatedWorker("eve"))))
    for (_, token), text in zip(crew, ['{"problem":"no \\ud800 sound"}', "not <json> & \x00", None], strict=True):
        hit = httpx.get(f"{campaign.url}/w/{token}", headers=headers).json()["open"][0]["hit_id"]
        lease = httpx.post(f"{campaign.url}/w/{token}/accept/{hit}", headers=headers).json()
        good = '{"version":1,"segments":[{"label":"jump","start":1,"end":2}],"none":false,"seconds_spent":99}'
        form = {"assignmentId": lease["assignment_id"], "answer": good if text is None else text}
        httpx.post(f"{campaign.url}/mturk/externalSubmit", data=form, headers=headers).raise_for_status()
    report = ingest(campaign.store, campaign.client, rounds=[0])
    assert (report.new, report.approved, len(report.problems)) == (3, 1, 2)
    # Two places are filled by nothing: two more answers are asked for, once.
    assert (report.replaced, report.complete, len(report.waiting)) == ((("video-000", 2),), (), 1)
    assert report.balance == money.Balance(reserved=500, committed=100)
    assert ingest(campaign.store, campaign.client, rounds=[0]).replaced == ()
    assert {hit["MaxAssignments"] for hit in campaign.client.list_hits()["HITs"]} == {2, 5}
    assert "2 answers cannot be read" in str(report)
    mine = select(AssignmentRow).join(HitRow, HitRow.token == AssignmentRow.token).where(HitRow.round == 0)
    with campaign.store.transaction() as session:
        kept = {row.status: row for row in session.scalars(mine)}
        assert "jump" in kept["Approved"].raw
        assert kept["Submitted"].answer is None
        assert kept["Submitted"].raw.startswith("<?xml")
        problems = queries.problems(session)
        assert queries.parsed_counts(session)[kept["Approved"].token] == 1
    assert {video for _, video, _ in problems} == {"video-000"}
    assert any("the worker reports: 'no" in text for _, _, text in problems)
    # A person pays one of them and turns the other down: the rest of the money comes back, once.
    held = [assignment for assignment, _, _ in problems]
    campaign.client.approve_assignment(AssignmentId=held[0])
    campaign.client.reject_assignment(AssignmentId=held[1], RequesterFeedback="Please mark segments.")
    report = ingest(campaign.store, campaign.client, rounds=[0])
    assert report.balance == money.Balance(reserved=500, committed=200)
    with campaign.store.transaction() as session:
        said = {row.assignment_id: row.verdict for row in session.scalars(mine)}
        tokens = list(session.scalars(select(HitRow.token).where(HitRow.round == 0)))
    assert [(said[a]["decision"], said[a]["by"]) for a in held] == [("approve", "endpoint"), ("reject", "endpoint")]
    assert [v["by"] for a, v in said.items() if a not in held] == ["policy"]
    stop(campaign.store, campaign.client, tokens, "campaign-1", fees=money.NO_FEES)
    report = ingest(campaign.store, campaign.client, rounds=[0])
    assert report.balance == money.Balance(reserved=500, committed=200, released=300)
    with campaign.store.transaction() as session:
        assert session.scalars(select(HitRow.state).where(HitRow.round == 0)).one() == "closed"
    assert ingest(campaign.store, campaign.client, rounds=[0]).balance == report.balance


def test_an_approval_whose_booking_was_lost_is_booked_once(make_campaign: Make) -> None:
    campaign = make_campaign(1)
    crew = campaign.hire((SimulatedWorker("ann"),))
    publish(campaign.store, campaign.client, campaign.items, campaign.settings(assignments=1), max_spend_mills=None)
    work(campaign.url, crew, campaign.truth, 0, media_start=campaign.media_start)

    class Cut:
        """Approves, then dies before the answer is booked."""

        def __getattr__(self, name: str) -> Any:
            return getattr(campaign.client, name)

        def approve_assignment(self, **arguments: Any) -> Any:
            campaign.client.approve_assignment(**arguments)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(campaign.store, Cut())  # type: ignore[arg-type]
    with campaign.store.transaction() as session:
        assert money.balance(session) == money.Balance(reserved=100)
    report = ingest(campaign.store, campaign.client)
    assert report.balance == money.Balance(reserved=100, committed=100)
    assert (report.new, len(report.complete)) == (0, 1)


def test_a_policy_can_hold_and_a_faster_person_wins(make_campaign: Make) -> None:
    campaign = make_campaign(1)
    crew = campaign.hire((SimulatedWorker("ann"),))
    publish(campaign.store, campaign.client, campaign.items, campaign.settings(assignments=1), max_spend_mills=None)
    work(campaign.url, crew, campaign.truth, 0, media_start=campaign.media_start)
    held = ingest(campaign.store, campaign.client, settings=IngestSettings(Policy("manual")))
    assert (held.new, held.approved, held.balance.committed) == (1, 0, 0)
    with campaign.store.transaction() as session:
        assignment = session.scalars(select(AssignmentRow.assignment_id)).one()
    campaign.client.reject_assignment(AssignmentId=assignment, RequesterFeedback="no")
    with campaign.store.transaction() as session:
        # As if the rejection came between the listing and the approval.
        session.execute(update(AssignmentRow).values(status="Submitted"))
    report = ingest(campaign.store, campaign.client)
    # Nobody is paid, and nobody else is known who could be asked for the same money.
    assert (report.approved, report.replaced, len(report.short)) == (0, (), 1)
    assert report.balance == money.Balance(reserved=100, released=100)
    assert stored_answers(campaign) == []


def test_a_hit_the_endpoint_forgot_is_reported_and_the_others_go_on(make_campaign: Make) -> None:
    campaign = make_campaign(2)
    publish(campaign.store, campaign.client, campaign.items, campaign.settings(), max_spend_mills=None)
    with campaign.store.transaction() as session:
        session.execute(update(HitRow).where(HitRow.video_id == "video-000").values(hit_id="NOSUCHHIT"))
    report = ingest(campaign.store, campaign.client, rounds=[0])
    assert [video for video, _ in report.failed] == ["video-000"]
    assert "does not know this HIT" in report.failed[0][1]
    assert len(report.waiting) == 2
    assert ingest(campaign.store, campaign.client, rounds=[7]).waiting == ()


def test_workers_say_what_is_wrong_with_an_endpoint(make_campaign: Make) -> None:
    campaign = make_campaign(1)
    crew = campaign.hire((SimulatedWorker("ann"),))
    publish(campaign.store, campaign.client, campaign.items, campaign.settings(), max_spend_mills=None)
    with pytest.raises(UsageError, match="'video-000': simulated workers need its truth"):
        work(campaign.url, crew, {}, 0)
    with pytest.raises(UsageError, match="same name"):
        work(campaign.url, [*crew, *crew], {}, 0)
    with pytest.raises(CrowdError, match="403"):
        work(campaign.url, [(crew[0][0], "not-a-token-" * 4)], campaign.truth, 0)
    (campaign.endpoint.media_folder / "video-000.mp4").unlink()
    with pytest.raises(CrowdError, match="'video-000': the endpoint answers a range request with 404"):
        work(campaign.url, crew, campaign.truth, 0)
