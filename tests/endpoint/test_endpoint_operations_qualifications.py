"""Qualification types, requests, values and blocks on the requester's wire, and what they keep from whom."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from endpoint_kit import JSON, Endpoint, Person, code, hit_values, html_question
from sqlalchemy.orm import Session

from benchmarks.requester import KEY, TEST
from kloc.crowd.endpoint.faults import RequestError
from kloc.crowd.endpoint.grading import GOLD
from kloc.crowd.endpoint.qualifications import meets, validated

PREFIX = "AWS.MechanicalTurk."
APPROVED = "00000000000000000040"
TESTED = {"Test": TEST, "AnswerKey": KEY, "TestDurationInSeconds": 600}
GOLD_KEY = f'<GoldAnswerKey xmlns="{GOLD}"><JSON>{{"version": 1, "segments": []}}</JSON></GoldAnswerKey>'


def kind_values(**changes: Any) -> dict[str, Any]:
    values = {"Name": "knows jumps", "Description": "For those who know", "QualificationTypeStatus": "Active"}
    return {name: value for name, value in {**values, **changes}.items() if value is not None}


def make(endpoint: Endpoint, **changes: Any) -> str:
    made = endpoint.mturk.create_qualification_type(**kind_values(**changes))
    return str(made["QualificationType"]["QualificationTypeId"])


def asks(type_id: str, comparator: str = "Exists", *values: int, action: str = "Accept") -> dict[str, Any]:
    requirement = {"QualificationTypeId": type_id, "Comparator": comparator, "ActionsGuarded": action}
    return {"QualificationRequirements": [requirement | ({"IntegerValues": list(values)} if values else {})]}


def ask(person: Person, type_id: str) -> int:
    return person.http.post(f"{person.url}/w/{person.token}/qualify/{type_id}", headers=JSON).status_code


@pytest.mark.parametrize(
    "changes",
    [
        {"Name": "x" * 201},
        {"Description": "x" * 2001},
        {"Keywords": "x" * 1001},
        {"QualificationTypeStatus": "Idle"},
        {"RetryDelayInSeconds": -1},
        {"RetryDelayInSeconds": 31_536_001},
        {"AutoGranted": True, **TESTED},
        {"AutoGranted": True, "AutoGrantedValue": -1},
        {"Test": TEST},
        {"AnswerKey": KEY},
        {"TestDurationInSeconds": 60},
        {**TESTED, "TestDurationInSeconds": 0},
        {**TESTED, "Test": html_question("é" * 32_700)},
        {**TESTED, "AnswerKey": KEY + " " * 65_536},
        {**TESTED, "AnswerKey": GOLD_KEY},
    ],
)
def test_limits_of_a_type(endpoint: Endpoint, changes: dict[str, Any]) -> None:
    create = endpoint.mturk.create_qualification_type
    assert code(partial(create, **kind_values(**changes))) == PREFIX + "ParameterValidationError"
    listed = endpoint.mturk.list_qualification_types(MustBeRequestable=True)
    assert (listed["NumResults"], listed["QualificationTypes"]) == (0, [])


def test_what_is_no_test_or_key(endpoint: Endpoint) -> None:
    create = endpoint.mturk.create_qualification_type
    for part in ({"Test": "<QuestionForm/>"}, {"AnswerKey": "<AnswerKey/>"}):
        assert code(partial(create, **kind_values(**{**TESTED, **part}))) == PREFIX + "XMLParseError"


def test_a_name_is_given_once_and_free_again(endpoint: Endpoint) -> None:
    mturk, type_id = endpoint.mturk, make(endpoint)
    create = partial(mturk.create_qualification_type, **kind_values())
    assert code(create) == PREFIX + "QualificationTypeAlreadyExists"
    mturk.delete_qualification_type(QualificationTypeId=type_id)
    for call in (mturk.delete_qualification_type, mturk.get_qualification_type, mturk.list_hits_for_qualification_type):
        assert code(partial(call, QualificationTypeId=type_id)) == PREFIX + "InvalidQualificationTypeState"
    assert create()["QualificationType"]["QualificationTypeId"] != type_id
    for unknown in ("3NOTTHERE", APPROVED):
        remove = partial(mturk.delete_qualification_type, QualificationTypeId=unknown)
        assert code(remove) == PREFIX + "QualificationTypeDoesNotExist"


def test_a_type_is_changed_member_by_member(endpoint: Endpoint) -> None:
    type_id = make(endpoint, Keywords="jump", RetryDelayInSeconds=60)
    update = partial(endpoint.mturk.update_qualification_type, QualificationTypeId=type_id)
    changed = update(Description="Other", **TESTED)["QualificationType"]
    assert {name: changed[name] for name in ("Name", "Keywords", "RetryDelayInSeconds", "Description", *TESTED)} == {
        "Name": "knows jumps", "Keywords": "jump", "RetryDelayInSeconds": 60, "Description": "Other", **TESTED,
    }  # fmt: skip
    key = KEY.replace(">a<", ">b<")
    assert update(AnswerKey=key, TestDurationInSeconds=90)["QualificationType"]["AnswerKey"] == key
    assert code(partial(update, AutoGranted=True)) == PREFIX + "ParameterValidationError"
    bare = update(Test=TEST, TestDurationInSeconds=90)["QualificationType"]
    assert "AnswerKey" not in bare
    idle = update(QualificationTypeStatus="Inactive")["QualificationType"]
    assert (idle["QualificationTypeStatus"], idle["IsRequestable"]) == ("Inactive", False)
    refused = partial(endpoint.mturk.create_hit, **hit_values(**asks(type_id)))
    assert code(refused) == PREFIX + "InvalidQualificationTypeState"


def test_types_are_found_by_words_and_in_pages(endpoint: Endpoint) -> None:
    made = [make(endpoint, Name=f"kloc night-{number} v7", Keywords="gate") for number in range(3)]
    idle = make(endpoint, Name="kloc day", QualificationTypeStatus="Inactive")

    def found(**query: Any) -> list[str]:
        pages = endpoint.mturk.get_paginator("list_qualification_types").paginate(
            **{"MustBeRequestable": False, **query}, PaginationConfig={"PageSize": 2}
        )
        return [kind["QualificationTypeId"] for page in pages for kind in page["QualificationTypes"]]

    assert found(MustBeOwnedByCaller=True) == [*made, idle]
    assert found(MustBeRequestable=True) == made
    assert found()[-4:] == [*made, idle]
    assert sorted(found()[:-4]) == [APPROVED, "000000000000000000L0"]
    assert found(Query="GATE v7 night-1") == made[1:2]
    assert found(Query="approv") == found()[:-4]
    assert found(Query="50%_") == []


def test_a_request_is_judged_once(endpoint: Endpoint) -> None:
    mturk, people = endpoint.mturk, [endpoint.person() for _ in range(3)]
    type_id = make(endpoint)
    assert [ask(person, type_id) for person in (*people, people[0])] == [200] * 4
    pages = mturk.get_paginator("list_qualification_requests").paginate(PaginationConfig={"PageSize": 2})
    waiting = [one for page in pages for one in page["QualificationRequests"]]
    assert [one["WorkerId"] for one in waiting] == [person.id for person in people]
    first, second, third = ({"QualificationRequestId": one["QualificationRequestId"]} for one in waiting)
    mturk.accept_qualification_request(**first, IntegerValue=70)
    mturk.accept_qualification_request(**first, IntegerValue=70)
    mturk.reject_qualification_request(**second, Reason="no")
    mturk.reject_qualification_request(**second)
    state = PREFIX + "InvalidQualificationRequestState"
    assert code(partial(mturk.reject_qualification_request, **first)) == state
    assert code(partial(mturk.accept_qualification_request, **second)) == state
    mturk.associate_qualification_with_worker(QualificationTypeId=type_id, WorkerId=people[2].id, IntegerValue=5)
    assert mturk.list_qualification_requests()["NumResults"] == 0
    assert code(partial(mturk.reject_qualification_request, **third)) == state
    held = mturk.list_workers_with_qualification_type(QualificationTypeId=type_id)["Qualifications"]
    assert [(one["WorkerId"], one["IntegerValue"]) for one in held] == [(people[0].id, 70), (people[2].id, 5)]
    unknown = partial(mturk.accept_qualification_request, QualificationRequestId="3NOTTHERE")
    assert code(unknown) == PREFIX + "QualificationRequestDoesNotExist"
    assert ask(people[1], type_id) == 409  # one try, and it was refused


def test_a_value_is_given_and_taken_away(endpoint: Endpoint) -> None:
    mturk, person, type_id = endpoint.mturk, endpoint.person(), make(endpoint)
    pair = {"QualificationTypeId": type_id, "WorkerId": person.id}
    hit_id = endpoint.hit(**asks(type_id, "GreaterThanOrEqualTo", 10))
    absent = PREFIX + "QualificationDoesNotExist"
    for call in (mturk.get_qualification_score, mturk.disassociate_qualification_from_worker):
        assert code(partial(call, **pair)) == absent
    mturk.associate_qualification_with_worker(**pair, IntegerValue=9)
    assert person.accept(hit_id).status_code == 403
    mturk.associate_qualification_with_worker(**pair, IntegerValue=10, SendNotification=True)
    assert "knows jumps" in endpoint.http.get(f"{endpoint.url}/w/{person.token}").text
    mturk.disassociate_qualification_from_worker(**pair, Reason="by mistake")
    assert person.accept(hit_id).status_code == 403
    taken = partial(mturk.disassociate_qualification_from_worker, **pair)
    assert code(taken) == PREFIX + "InvalidQualificationState"
    assert mturk.get_qualification_score(**pair)["Qualification"]["Status"] == "Revoked"
    mturk.associate_qualification_with_worker(**pair, IntegerValue=10)
    assert person.accept(hit_id).status_code == 200
    stranger = partial(mturk.associate_qualification_with_worker, **{**pair, "WorkerId": "ANOBODY"})
    assert code(stranger) == PREFIX + "WorkerDoesNotExist"
    systems = partial(mturk.get_qualification_score, **{**pair, "QualificationTypeId": APPROVED})
    assert code(systems) == PREFIX + "QualificationTypeDoesNotExist"


def test_hits_go_on_without_the_type_they_ask_for(endpoint: Endpoint) -> None:
    mturk, person, type_id = endpoint.mturk, endpoint.person(), make(endpoint)
    endpoint.hit()
    hit_id = endpoint.hit(**asks(type_id))
    listed = mturk.list_hits_for_qualification_type(QualificationTypeId=type_id)["HITs"]
    assert [hit["HITId"] for hit in listed] == [hit_id]
    mturk.associate_qualification_with_worker(QualificationTypeId=type_id, WorkerId=person.id)
    other = endpoint.person()
    ask(other, type_id)
    mturk.delete_qualification_type(QualificationTypeId=type_id)
    assert mturk.list_qualification_requests()["NumResults"] == 0
    assert ask(endpoint.person(), type_id) == 404
    person.work(hit_id)
    more = {"HITTypeId": listed[0]["HITTypeId"], "LifetimeInSeconds": 60, "Question": html_question()}
    absent = PREFIX + "QualificationTypeDoesNotExist"
    assert code(partial(mturk.create_hit_with_hit_type, **more)) == absent
    assert code(partial(mturk.create_hit, **hit_values(**asks(type_id)))) == absent


@pytest.mark.parametrize(
    ("comparator", "values", "met"),
    [
        ("Exists", [], {0, 4, 5, 6}),
        ("DoesNotExist", [], {None}),
        ("LessThan", [5], {0, 4}),
        ("LessThanOrEqualTo", [5], {0, 4, 5}),
        ("GreaterThan", [5], {6}),
        ("GreaterThanOrEqualTo", [5], {5, 6}),
        ("EqualTo", [5], {5}),
        ("NotEqualTo", [5], {0, 4, 6}),
        ("In", [4, 6], {4, 6}),
        ("NotIn", [4, 6], {0, 5}),
    ],
)
def test_comparators(comparator: str, values: list[int], met: set[int | None]) -> None:
    requirement = {"QualificationTypeId": APPROVED, "Comparator": comparator, "IntegerValues": values}
    (kept,) = validated(Session(), [requirement])
    assert {value for value in (None, 0, 4, 5, 6) if meets(value, kept)} == met


@pytest.mark.parametrize(
    "requirement",
    [
        "Exists",
        {},
        {"QualificationTypeId": APPROVED},
        {"QualificationTypeId": APPROVED, "Comparator": "Exists", "IntegerValues": [1]},
        {"QualificationTypeId": APPROVED, "Comparator": "EqualTo", "IntegerValues": [1, 2]},
        {"QualificationTypeId": APPROVED, "Comparator": "EqualTo"},
        {"QualificationTypeId": APPROVED, "Comparator": "In", "IntegerValues": []},
        {"QualificationTypeId": APPROVED, "Comparator": "In", "IntegerValues": list(range(16))},
        {"QualificationTypeId": APPROVED, "Comparator": "In", "IntegerValues": [-1]},
        {"QualificationTypeId": APPROVED, "Comparator": "In", "IntegerValues": [True]},
        {"QualificationTypeId": APPROVED, "Comparator": "Near", "IntegerValues": [1]},
        {"QualificationTypeId": APPROVED, "Comparator": "Exists", "LocaleValues": [{"Country": "DE"}]},
        {"QualificationTypeId": APPROVED, "Comparator": "Exists", "ActionsGuarded": "Breathe"},
        {
            "QualificationTypeId": APPROVED,
            "Comparator": "Exists",
            "ActionsGuarded": "Accept",
            "RequiredToPreview": True,
        },
    ],
)
def test_requirements_that_cannot_be(requirement: Any) -> None:
    with pytest.raises(RequestError) as caught:
        validated(Session(), [requirement])
    assert caught.value.code == PREFIX + "ParameterValidationError"


@pytest.mark.parametrize(
    ("action", "discover", "preview"),
    [("Accept", True, 200), ("PreviewAndAccept", True, 403), ("DiscoverPreviewAndAccept", False, 403)],
)
def test_what_a_requirement_guards(endpoint: Endpoint, action: str, discover: bool, preview: int) -> None:
    person, type_id = endpoint.person(), make(endpoint)
    title = "Only for those who know"
    hit_id = endpoint.hit(Title=title, **asks(type_id, action=action))
    page = f"{person.url}/w/{person.token}"
    assert (title in person.http.get(page).text) == discover
    assert person.home()["open"] == []
    assert person.http.get(f"{page}/preview/{hit_id}").status_code == preview
    assert person.accept(hit_id).status_code == 403
    endpoint.mturk.associate_qualification_with_worker(QualificationTypeId=type_id, WorkerId=person.id)
    assert title in person.http.get(page).text
    assert [task["hit_id"] for task in person.home()["open"]] == [hit_id]
    assert person.http.get(f"{page}/preview/{hit_id}").status_code == 200
    assert person.accept(hit_id).status_code == 200


def test_a_blocked_worker_is_given_and_hands_in_nothing(endpoint: Endpoint) -> None:
    mturk, person, other = endpoint.mturk, endpoint.person(), endpoint.person()
    hit_id, second, type_id = endpoint.hit(MaxAssignments=1), endpoint.hit(), make(endpoint)
    done, held = person.work(second), person.take(hit_id)["assignment_id"]
    assert other.accept(hit_id).status_code == 409
    mturk.create_worker_block(WorkerId=person.id, Reason="spam")
    mturk.create_worker_block(WorkerId=person.id, Reason="much spam")
    assert person.home()["open"] == person.home()["qualifications"] == []
    assert person.accept(endpoint.hit()).status_code == 403
    assert ask(person, type_id) == 403
    assert person.submit(held, a="1").status_code == 403
    assert person.submit(done, a="1").status_code == 200  # it was in before: the answer to that may have been lost
    mturk.approve_assignment(AssignmentId=done)
    assert person.home()["earned"] == "0.25"
    other.work(hit_id)  # the place is free again
    assert mturk.list_worker_blocks()["WorkerBlocks"] == [{"WorkerId": person.id, "Reason": "much spam"}]
    for _ in range(2):
        mturk.delete_worker_block(WorkerId=person.id)
    assert mturk.list_worker_blocks()["NumResults"] == 0
    assert person.home()["open"] != []
    for call in (partial(mturk.create_worker_block, Reason="r"), mturk.delete_worker_block):
        assert code(partial(call, WorkerId="ANOBODY")) == PREFIX + "WorkerDoesNotExist"


def test_blocks_and_failures_by_worker(endpoint: Endpoint) -> None:
    mturk, people = endpoint.mturk, [endpoint.person() for _ in range(3)]
    for person in people:
        mturk.create_worker_block(WorkerId=person.id, Reason="r")
    pages = [mturk.list_worker_blocks(MaxResults=2)]
    pages.append(mturk.list_worker_blocks(MaxResults=2, NextToken=pages[0]["NextToken"]))
    assert [one["WorkerId"] for page in pages for one in page["WorkerBlocks"]] == [person.id for person in people]
    assert "NextToken" not in pages[1]
    told = mturk.notify_workers(Subject="Hi", MessageText="There is more", WorkerIds=[people[0].id, "ANOBODY"])
    failed = told["NotifyWorkersFailureStatuses"]
    assert [(one["WorkerId"], one["NotifyWorkersFailureCode"]) for one in failed] == [("ANOBODY", "HardFailure")]
    assert "There is more" in endpoint.http.get(f"{endpoint.url}/w/{people[0].token}").text
    for values in ({"Subject": "x" * 201}, {"MessageText": "x" * 4097}, {"WorkerIds": ["ANOBODY"] * 101}):
        call = {"Subject": "s", "MessageText": "m", "WorkerIds": [people[0].id], **values}
        assert code(partial(mturk.notify_workers, **call)) == PREFIX + "ParameterValidationError"


def test_no_review_policy_no_report(endpoint: Endpoint) -> None:
    hit_id, results = endpoint.hit(), endpoint.mturk.list_review_policy_results_for_hit
    empty = {"ReviewResults": [], "ReviewActions": []}
    told = results(HITId=hit_id)
    assert (told["AssignmentReviewReport"], told["HITReviewReport"]) == (empty, empty)
    one = results(HITId=hit_id, PolicyLevels=["HIT"], RetrieveActions=False)
    assert "AssignmentReviewReport" not in one
    assert one["HITReviewReport"] == {"ReviewResults": []}
    assert code(partial(results, HITId="3NOTTHERE")) == PREFIX + "HITDoesNotExist"
    assert code(partial(results, HITId=hit_id, NextToken="x")) == PREFIX + "ParameterValidationError"
