"""What a campaign promises about money, ends and reports holds through the commands that people run."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from kloc.crowd import money
from kloc.errors import CrowdError
from kloc.pipeline import campaign, serving, state
from kloc.pipeline.reviewing import Desk
from kloc.pipeline.telling import Silent
from kloc.store import rounds
from kloc.store.tables import AssignmentRow
from tests.pipeline.campaign_world import JSON, World

Make = Callable[..., World]
PAID = {"task.reward": "0.10", "crowd.extra_answers": 0}


def exposure(w: World) -> int:
    with w.workspace.store.transaction() as session:
        return money.balance(session).exposure


def test_overruling_on_the_review_page_minds_the_cap(world: Make) -> None:
    w = world(**PAID, **{"crowd.approve": "manual", "task.assignments": 1})
    w.publish(batch=1, max_spend="0.10")
    w.answer(0, w.hits()[0], (2, 5))
    w.ingest()
    with w.workspace.store.transaction() as session:
        (answer,) = (row.assignment_id for row in session.query(AssignmentRow))
    desk = Desk(w.workspace, url=w.url)
    assert desk.decide(answer, "reject", "no") == "Rejected"
    w.ingest()
    w.publish(batch=1)  # the money that was released goes to another video
    assert exposure(w) == 100
    with pytest.raises(CrowdError, match=r"over the cap of \$0\.10"):
        desk.decide(answer, "approve", "")
    assert exposure(w) == 100


def test_a_verdict_says_what_became_of_the_answer(world: Make) -> None:
    w = world(**PAID, **{"crowd.approve": "manual", "task.assignments": 1})
    w.publish(batch=1)
    w.answer(0, w.hits()[0], (2, 5))
    w.ingest()
    with w.workspace.store.transaction() as session:
        (answer,) = (row.assignment_id for row in session.query(AssignmentRow))
    serving.client(w.workspace, w.url).approve_assignment(AssignmentId=answer)  # as its automatic approval does
    assert Desk(w.workspace, url=w.url).decide(answer, "reject", "no") == "Approved"


def test_a_closed_task_is_offered_again_with_its_money_and_its_round(world: Make) -> None:
    w = world(**PAID, **{"task.assignments": 3})
    w.publish(batch=1, max_spend="0.30")
    row = w.hits()[0]
    w.answer(0, row, (2, 5))
    campaign.expire(w.workspace, url=w.url, reporter=Silent())
    assert (w.hits()[0].state, exposure(w)) == ("closed", 100)
    told = campaign.extend(w.workspace, answers=3, video=row.video_id, url=w.url)
    assert told.facts["unchanged"] == (
        "1 tasks, which ask for 3 answers or more already; --days offers a closed one again for those that never came"
    )
    told = campaign.extend(w.workspace, days=3, video=row.video_id, url=w.url)
    assert told.facts["extended"] == "1 of 1 tasks, for $0.20 more"
    with w.workspace.store.transaction() as session:
        assert rounds.all_rounds(session)[-1].state == "published"
    assert (w.offered(1), exposure(w)) == (1, 300)
    for worker in (1, 2):
        w.answer(worker, row, (2, 5))
    told = w.ingest()
    assert told.data["closed_rounds"] == [0]
    assert told.facts["money"] == "$0.30 spent, $0.00 reserved"


def test_reports_stay_until_their_video_is_named(world: Make) -> None:
    w = world()
    w.publish(batch=2)
    row = w.hits()[0]
    lease = httpx.post(f"{w.url}/w/{w.people[0]}/accept/{row.hit_id}", headers=JSON).raise_for_status().json()
    report = {"kind": "disturbing", "text": "blood"}
    httpx.post(f"{w.url}/report/{lease['assignment_id']}", json=report).raise_for_status()
    w.ingest()
    told = f"{row.video_id}: 1 worker reported a problem: disturbing (1)"
    for video, still in ((None, True), (row.video_id, False)):
        campaign.pause(w.workspace, url=w.url)
        campaign.resume(w.workspace, video=video, url=w.url)
        assert (told in state.status(w.workspace).problems) is still


def test_status_warns_of_what_the_endpoint_approves_by_itself(world: Make) -> None:
    w = world(**{"crowd.approve": "manual", "crowd.auto_approve_days": 2.0})
    w.publish(batch=1)
    for worker in (0, 1):
        w.answer(worker, w.hits()[0], (2, 5))
    w.ingest()
    client = serving.client(w.workspace, w.url)
    listed = client.list_assignments_for_hit(HITId=w.hits()[0].hit_id)["Assignments"]
    first = min(one["AutoApprovalTime"] for one in listed).astimezone()
    assert state.status(w.workspace).facts["answers"] == (
        "2 not decided on yet: kloc ingest, kloc review; the endpoint approves the first by itself on "
        f"{first:%Y-%m-%d %H:%M}"
    )
