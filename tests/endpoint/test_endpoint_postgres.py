"""The same endpoint on PostgreSQL: a temporary cluster. Races: test_endpoint_operations_races.py."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from endpoint_kit import Endpoint, html_question
from sqlalchemy import text

from kloc.crowd.endpoint.database import Database, lock_account

pytestmark = pytest.mark.postgres


@pytest.fixture
def endpoint(start: Callable[..., Endpoint], postgres: Callable[[], str]) -> Endpoint:
    return start(database_url=postgres(), balance="1000.00")


def test_the_whole_life_of_a_hit(endpoint: Endpoint) -> None:
    mturk, people = endpoint.mturk, [endpoint.person() for _ in range(40)]
    requirement = {"QualificationTypeId": "000000000000000000L0", "Comparator": "In", "IntegerValues": [100]}
    hit_id = endpoint.hit(Question=html_question(media_key="v"), QualificationRequirements=[requirement])
    for number in range(4):
        endpoint.hit(RequesterAnnotation=str(number))

    assert endpoint.http.post(f"{endpoint.url}/login", content=b"name=%00x&password=%00").status_code == 403
    with ThreadPoolExecutor(40) as pool:
        accepted = list(pool.map(lambda person: person.accept(hit_id), people))
    assert sorted(answer.status_code for answer in accepted) == [200] * 3 + [409] * 37
    leases = [answer.json()["assignment_id"] for answer in accepted if answer.status_code == 200]

    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda number: people[0].submit(leases[0], a=f"{number}\x00").status_code, range(8))
        assert set(answers) == {200}
    holder = next(person for person, answer in zip(people, accepted, strict=True) if answer.status_code == 200)
    assert len(holder.home()["open"]) == 4

    endpoint.http.put(f"{endpoint.url}/draft/{leases[1]}", content=b'{"a": "\\u0000"}')
    assert endpoint.http.get(f"{endpoint.url}/draft/{leases[1]}").json() == {"a": "\x00"}
    endpoint.clock.ahead += 601
    late = [person.accept(hit_id) for person in people]
    fresh = [answer.json()["assignment_id"] for answer in late if answer.status_code == 200]
    assert len(fresh) == 2
    for assignment_id in fresh:
        assert people[0].submit(assignment_id, a="1").status_code == 200

    pages = mturk.get_paginator("list_hits").paginate(PaginationConfig={"PageSize": 2})
    assert [page["NumResults"] for page in pages] == [2, 2, 1]
    assert [hit["HITId"] for hit in mturk.list_reviewable_hits()["HITs"]] == [hit_id]
    pages = mturk.get_paginator("list_assignments_for_hit").paginate(HITId=hit_id, PaginationConfig={"PageSize": 1})
    found = [one for page in pages for one in page["Assignments"]]
    assert [one["AssignmentId"] for one in found] == [leases[0], *fresh]
    mturk.approve_assignment(AssignmentId=found[0]["AssignmentId"])
    mturk.reject_assignment(AssignmentId=found[1]["AssignmentId"], RequesterFeedback="no")
    bonus = {"WorkerId": found[0]["WorkerId"], "AssignmentId": found[0]["AssignmentId"]}
    for number in range(3):
        mturk.send_bonus(**bonus, BonusAmount="0.10", Reason=str(number))
    pages = mturk.get_paginator("list_bonus_payments").paginate(HITId=hit_id, PaginationConfig={"PageSize": 2})
    assert [each["Reason"] for page in pages for each in page["BonusPayments"]] == ["0", "1", "2"]
    endpoint.clock.ahead += 3600
    states = [one["AssignmentStatus"] for one in mturk.list_assignments_for_hit(HITId=hit_id)["Assignments"]]
    assert states == ["Approved", "Rejected", "Approved"]
    mturk.notify_workers(Subject="Hi", MessageText="Thanks", WorkerIds=[people[0].id])
    assert "Thanks" in endpoint.http.get(f"{endpoint.url}/w/{people[0].token}").text
    mturk.delete_hit(HITId=hit_id)
    assert mturk.get_hit(HITId=hit_id)["HIT"]["HITStatus"] == "Disposed"


def test_no_report_is_seen_before_one_with_a_smaller_id(endpoint: Endpoint) -> None:
    """Whoever has read up to an id never asks for those before it again: one report is written at a time."""
    lease = endpoint.person().take(endpoint.hit())
    address = f"{endpoint.url}/report/{lease['assignment_id']}"
    waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    database = Database(endpoint.settings.database_url)
    with ThreadPoolExecutor(1) as pool, database.write() as session, database.read() as look:
        lock_account(session)  # as another report that is not committed yet
        report = pool.submit(endpoint.http.post, address, json={"kind": "other", "text": ""})
        while not report.done() and not look.scalar(text(waits)):
            look.rollback()
        assert not report.done()
    database.close()
    assert report.result().status_code == 200
