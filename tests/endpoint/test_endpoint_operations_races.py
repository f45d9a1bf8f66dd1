"""What happens at the same time, on both databases: one place, one token, one name, one try, and a block in between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier
from typing import Any, TypeVar

import pytest
from botocore.exceptions import ClientError
from endpoint_kit import JSON, Endpoint, code, hit_values

from benchmarks.requester import KEY, TEST
from kloc.crowd.endpoint.leases import MOST_HELD

Answer = TypeVar("Answer")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def endpoint(request: pytest.FixtureRequest, start: Callable[..., Endpoint]) -> Endpoint:
    if request.param == "sqlite":
        return start()
    return start(database_url=request.getfixturevalue("postgres")())


def at_once(*calls: Callable[[], Answer]) -> list[Answer]:
    """The calls' answers, all begun together."""
    barrier = Barrier(len(calls))

    def begin(call: Callable[[], Answer]) -> Answer:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(begin, calls))


def outcome(call: Callable[[], Any]) -> str:
    try:
        call()
    except ClientError as error:
        return str(error.response["TurkErrorCode"]).rpartition(".")[2]
    return "done"


def test_two_workers_and_one_last_place(endpoint: Endpoint) -> None:
    for _ in range(5):
        hit_id = endpoint.hit(MaxAssignments=2)
        endpoint.person().work(hit_id)
        people = [endpoint.person() for _ in range(2)]
        answers = at_once(*(partial(person.accept, hit_id) for person in people))
        assert sorted(answer.status_code for answer in answers) == [200, 409]


def test_many_who_ask_for_the_next_task_at_once_all_get_one(endpoint: Endpoint) -> None:
    for number in range(24):
        endpoint.hit(MaxAssignments=1, RequesterAnnotation=str(number))
    people = [endpoint.person() for _ in range(24)]
    asked = [partial(endpoint.http.post, f"{endpoint.url}/w/{person.token}/next", headers=JSON) for person in people]
    answers = at_once(*asked)
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["hit_id"] for answer in answers}) == 24


def test_one_worker_holds_a_few_tasks_and_no_more(endpoint: Endpoint) -> None:
    person = endpoint.person()
    hit_ids = [endpoint.hit(RequesterAnnotation=str(number)) for number in range(MOST_HELD + 3)]
    answers = at_once(*(partial(person.accept, hit_id) for hit_id in hit_ids))
    assert Counter(answer.status_code for answer in answers) == {200: MOST_HELD, 409: 3}
    home = f"{endpoint.url}/w/{person.token}"
    for answer in (person.http.post(f"{home}/next", headers=JSON), *(a for a in answers if a.status_code == 409)):
        assert "finish or return one of them first" in answer.json()["error"]
    first, second = [answer.json() for answer in answers if answer.status_code == 200][:2]
    assert person.take(first["hit_id"])["assignment_id"] == first["assignment_id"]
    person.submit(first["assignment_id"], a="1")
    assert person.http.post(f"{home}/next", headers=JSON).status_code == 200
    assert person.http.post(f"{home}/next", headers=JSON).status_code == 409
    person.give_back(second["assignment_id"])
    assert person.http.post(f"{home}/next", headers=JSON).status_code == 200


def test_a_token_and_a_name_do_their_work_once(endpoint: Endpoint) -> None:
    mturk, person, hit_id = endpoint.mturk, endpoint.person(), endpoint.hit(MaxAssignments=1)
    token = {"UniqueRequestToken": "race"}
    bonus = {"WorkerId": person.id, "AssignmentId": person.work(hit_id), "BonusAmount": "0.10", "Reason": "r"}
    kind = {"Name": "raced", "Description": "d", "QualificationTypeStatus": "Active"}
    more = {"HITId": hit_id, "NumberOfAdditionalAssignments": 1}
    for call, repeated in (
        (partial(mturk.create_hit, **hit_values(Title="raced"), **token), "HITAlreadyExists"),
        (partial(mturk.send_bonus, **bonus, **token), "DuplicateRequest"),
        (partial(mturk.create_additional_assignments_for_hit, **more, **token), "DuplicateRequest"),
        (partial(mturk.create_qualification_type, **kind), "QualificationTypeAlreadyExists"),
    ):
        assert Counter(at_once(*[partial(outcome, call)] * 6)) == {"done": 1, repeated: 5}
    assert mturk.list_bonus_payments(HITId=hit_id)["NumResults"] == 1
    assert mturk.get_hit(HITId=hit_id)["HIT"]["MaxAssignments"] == 2


def test_money_holds(endpoint: Endpoint) -> None:
    before = float(endpoint.mturk.get_account_balance()["AvailableBalance"])
    values = hit_values(Reward=f"{before / 2.5:.2f}", MaxAssignments=1)
    answers = at_once(*[partial(outcome, partial(endpoint.mturk.create_hit, **values))] * 6)
    assert Counter(answers) == {"done": 2, "InsufficientFunds": 4}


def test_one_judgement_stands(endpoint: Endpoint) -> None:
    mturk, done = endpoint.mturk, endpoint.person().work(endpoint.hit())
    approve = partial(mturk.approve_assignment, AssignmentId=done)
    reject = partial(mturk.reject_assignment, AssignmentId=done, RequesterFeedback="no")
    answers = at_once(*[partial(outcome, approve)] * 3, *[partial(outcome, reject)] * 3)
    assert Counter(answers) == {"done": 3, "InvalidAssignmentState": 3}


def test_one_try_is_one_test(endpoint: Endpoint) -> None:
    person = endpoint.person()
    kind = {"Name": "raced", "Description": "d", "QualificationTypeStatus": "Active", "TestDurationInSeconds": 600}
    made = endpoint.mturk.create_qualification_type(**kind, Test=TEST, AnswerKey=KEY)["QualificationType"]
    start = partial(person.http.post, f"{person.url}/w/{person.token}/qualify/{made['QualificationTypeId']}")
    attempts = {answer.json()["attempt_id"] for answer in at_once(*[partial(start, headers=JSON)] * 6)}
    assert len(attempts) == 1
    (attempt,) = attempts
    answers = at_once(*(partial(person.submit, attempt, q=choice) for choice in "ababab"))
    assert len({answer.text for answer in answers}) == 1
    assert start(headers=JSON).status_code == 409  # no retry delay: there is one try


def test_a_block_while_work_is_handed_in(endpoint: Endpoint) -> None:
    mturk = endpoint.mturk
    for _ in range(4):
        person = endpoint.person()
        held = [person.take(endpoint.hit())["assignment_id"] for _ in range(4)]
        fresh = endpoint.hit()
        block = partial(mturk.create_worker_block, WorkerId=person.id, Reason="spam")
        hand_in = [partial(person.submit, assignment_id, a="1") for assignment_id in held]
        answers: list[Any] = at_once(*hand_in, partial(person.accept, fresh), block)
        states = [answer.status_code for answer in answers[:5]]
        assert set(states) <= {200, 403}
        kept = {one for one, status in zip(held, states, strict=False) if status == 200}
        for assignment_id in held:
            known = partial(mturk.get_assignment, AssignmentId=assignment_id)
            if assignment_id in kept:
                assert known()["Assignment"]["AssignmentStatus"] == "Submitted"
            else:
                assert code(known) == "AWS.MechanicalTurk.AssignmentDoesNotExist"
        assert person.home()["in_progress"] == []
        assert {person.submit(one, a="1").status_code for one in held} <= {200, 403}
        assert {one["assignment_id"] for one in person.home()["submitted"]} == kept
