"""The Requester API through boto3: rules, limits, pages, tokens, states and money."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import ClientError
from endpoint_kit import Endpoint, code, hit_values, html_question

STATE_ERROR = "AWS.MechanicalTurk.InvalidHITState"


def test_what_is_not_supported_says_so(endpoint: Endpoint) -> None:
    mturk = endpoint.mturk
    refused = "AWS.MechanicalTurk.UnsupportedParameter"
    assert code(lambda: mturk.create_hit(**hit_values(Question=None, HITLayoutId="ABC"))) == refused
    for kind in ("2F1QJWKUDD8XADTFD2Q0G6UTO95ALH", "00000000000000000071", "00000000000000000060"):
        values = hit_values(QualificationRequirements=[{"QualificationTypeId": kind, "Comparator": "Exists"}])
        assert code(partial(mturk.create_hit, **values)) == refused
    assert mturk.list_hits()["NumResults"] == 0


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"Title": "x" * 129}, "ParameterValidationError"),
        ({"Title": "bell \x07"}, "ParameterValidationError"),
        ({"Title": "zero \x00"}, "ParameterValidationError"),
        ({"Title": "half \ud800"}, "ParameterValidationError"),
        ({"Description": "x" * 2001}, "ParameterValidationError"),
        ({"Keywords": "x" * 1001}, "ParameterValidationError"),
        ({"RequesterAnnotation": "x" * 256}, "ParameterValidationError"),
        ({"Reward": "0.255"}, "ParameterValidationError"),
        ({"Reward": "-1"}, "ParameterValidationError"),
        ({"Reward": "٣"}, "ParameterValidationError"),
        ({"LifetimeInSeconds": 29}, "ParameterValidationError"),
        ({"LifetimeInSeconds": 31_536_001}, "ParameterValidationError"),
        ({"AssignmentDurationInSeconds": 29}, "ParameterValidationError"),
        ({"AutoApprovalDelayInSeconds": 2_592_001}, "ParameterValidationError"),
        ({"MaxAssignments": 0}, "ParameterValidationError"),
        ({"Question": None}, "ParameterValidationError"),
        ({"Question": html_question("é" * 32_700)}, "ParameterValidationError"),
        ({"Question": "<HTMLQuestion"}, "XMLParseError"),
        ({"Question": "<HTMLQuestion><HTMLContent>x</HTMLContent></HTMLQuestion>"}, "XMLParseError"),
        ({"Question": '<!DOCTYPE a [<!ENTITY b "c">]>' + html_question()}, "XMLParseError"),
        ({"QualificationRequirements": [{}] * 11}, None),
        ({"Reward": "900000000"}, "InsufficientFunds"),
    ],
)
def test_limits(endpoint: Endpoint, changes: dict[str, Any], expected: str | None) -> None:
    if expected is None:
        requirement = {"QualificationTypeId": "00000000000000000040", "Comparator": "EqualTo", "IntegerValues": [1]}
        changes, expected = {"QualificationRequirements": [requirement] * 11}, "ParameterValidationError"
    assert code(lambda: endpoint.mturk.create_hit(**hit_values(**changes))) == f"AWS.MechanicalTurk.{expected}"
    assert endpoint.mturk.list_hits()["HITs"] == []


def test_a_question_of_the_largest_size_passes(endpoint: Endpoint) -> None:
    padding = "x" * (65_535 - len(html_question("")))
    assert len(html_question(padding)) == 65_535
    endpoint.mturk.create_hit(**hit_values(Question=html_question(padding)))


def test_equal_values_are_one_hit_type(endpoint: Endpoint) -> None:
    first, second = (endpoint.mturk.create_hit(**hit_values(Reward=reward))["HIT"] for reward in ("0.5", "0.50"))
    assert first["HITTypeId"] == second["HITTypeId"]
    assert first["HITGroupId"] == second["HITGroupId"]
    third = endpoint.mturk.create_hit(**hit_values(Reward="0.51"))["HIT"]
    assert third["HITTypeId"] != first["HITTypeId"]


def test_a_token_creates_one_hit(endpoint: Endpoint) -> None:
    values = hit_values(UniqueRequestToken="round-1-video-7")
    hit_id = endpoint.mturk.create_hit(**values)["HIT"]["HITId"]
    with pytest.raises(ClientError) as caught:
        endpoint.mturk.create_hit(**values)
    assert caught.value.response["TurkErrorCode"] == "AWS.MechanicalTurk.HITAlreadyExists"
    assert hit_id in caught.value.response["Error"]["Message"]
    assert [hit["HITId"] for hit in endpoint.mturk.list_hits()["HITs"]] == [hit_id]


def test_tokens_of_bonuses_and_additional_assignments(endpoint: Endpoint) -> None:
    mturk, person, hit_id = endpoint.mturk, endpoint.person(), endpoint.hit(MaxAssignments=2)
    more = {"HITId": hit_id, "NumberOfAdditionalAssignments": 2, "UniqueRequestToken": "more"}
    mturk.create_additional_assignments_for_hit(**more)
    duplicate = "AWS.MechanicalTurk.DuplicateRequest"
    assert code(lambda: mturk.create_additional_assignments_for_hit(**more)) == duplicate
    assert mturk.get_hit(HITId=hit_id)["HIT"]["MaxAssignments"] == 4
    bonus = {
        "WorkerId": person.id,
        "AssignmentId": person.work(hit_id),
        "BonusAmount": "1.00",
        "Reason": "r",
        "UniqueRequestToken": "bonus",
    }
    mturk.send_bonus(**bonus)
    assert code(lambda: mturk.send_bonus(**bonus)) == duplicate
    assert mturk.list_bonus_payments(AssignmentId=bonus["AssignmentId"])["NumResults"] == 1
    stranger = {**bonus, "WorkerId": endpoint.person().id, "UniqueRequestToken": "other"}
    assert code(lambda: mturk.send_bonus(**stranger)) == "AWS.MechanicalTurk.WorkerDoesNotExist"


def test_a_failed_call_does_not_use_up_its_token(start: Callable[..., Endpoint]) -> None:
    endpoint = start(balance="1.00")
    values = hit_values(Reward="0.50", UniqueRequestToken="once")
    assert code(lambda: endpoint.mturk.create_hit(**values)) == "AWS.MechanicalTurk.InsufficientFunds"
    endpoint.mturk.create_hit(**{**values, "MaxAssignments": 2})


def test_nine_do_not_become_ten(endpoint: Endpoint) -> None:
    hit_id = endpoint.hit(MaxAssignments=9)
    more = {"HITId": hit_id, "NumberOfAdditionalAssignments": 1}
    expected = "AWS.MechanicalTurk.InvalidMaximumAssignmentsIncrease"
    assert code(lambda: endpoint.mturk.create_additional_assignments_for_hit(**more)) == expected


def test_pages_are_whole_and_disjoint(endpoint: Endpoint) -> None:
    made = [endpoint.hit(RequesterAnnotation=str(number)) for number in range(7)]
    pages = list(endpoint.mturk.get_paginator("list_hits").paginate(PaginationConfig={"PageSize": 3}))
    assert [page["NumResults"] for page in pages] == [3, 3, 1]
    assert "NextToken" not in pages[-1]
    assert [hit["HITId"] for page in pages for hit in page["HITs"]] == made[::-1]
    token = pages[0]["NextToken"]
    assert len(token) <= 255
    expected = "AWS.MechanicalTurk.ParameterValidationError"
    assert code(lambda: endpoint.mturk.list_reviewable_hits(NextToken=token)) == expected
    assert code(lambda: endpoint.mturk.list_hits(NextToken="bm9uc2Vuc2U")) == expected
    assert code(lambda: endpoint.mturk.list_hits(MaxResults=101)) == expected


def test_assignments_of_every_status_are_listed_in_pages(endpoint: Endpoint) -> None:
    hit_id = endpoint.hit(MaxAssignments=4)
    done = [endpoint.person().work(hit_id) for _ in range(3)]
    endpoint.person().take(hit_id)  # a lease is not the requester's to see
    endpoint.mturk.approve_assignment(AssignmentId=done[0])
    endpoint.mturk.reject_assignment(AssignmentId=done[1], RequesterFeedback="no")
    pages = endpoint.mturk.get_paginator("list_assignments_for_hit").paginate(
        HITId=hit_id, PaginationConfig={"PageSize": 2}
    )
    found = [one for page in pages for one in page["Assignments"]]
    assert [one["AssignmentId"] for one in found] == done
    assert [one["AssignmentStatus"] for one in found] == ["Approved", "Rejected", "Submitted"]
    some = endpoint.mturk.list_assignments_for_hit(HITId=hit_id, AssignmentStatuses=["Rejected"])
    assert [one["AssignmentId"] for one in some["Assignments"]] == [done[1]]
    assert some["Assignments"][0]["RequesterFeedback"] == "no"


def test_approving_and_rejecting(endpoint: Endpoint) -> None:
    mturk, hit_id = endpoint.mturk, endpoint.hit()
    approved, rejected = endpoint.person().work(hit_id), endpoint.person().work(hit_id)
    wrong = "AWS.MechanicalTurk.InvalidAssignmentState"
    mturk.approve_assignment(AssignmentId=approved)
    mturk.approve_assignment(AssignmentId=approved)
    assert code(lambda: mturk.reject_assignment(AssignmentId=approved, RequesterFeedback="late")) == wrong
    mturk.reject_assignment(AssignmentId=rejected, RequesterFeedback="first")
    mturk.reject_assignment(AssignmentId=rejected, RequesterFeedback="second")
    assert mturk.get_assignment(AssignmentId=rejected)["Assignment"]["RequesterFeedback"] == "first"
    assert code(lambda: mturk.approve_assignment(AssignmentId=rejected)) == wrong
    mturk.approve_assignment(AssignmentId=rejected, OverrideRejection=True)
    found = mturk.get_assignment(AssignmentId=rejected)["Assignment"]
    assert found["AssignmentStatus"] == "Approved"
    assert "RejectionTime" not in found
    unknown = "AWS.MechanicalTurk.AssignmentDoesNotExist"
    assert code(lambda: mturk.approve_assignment(AssignmentId="3NOTTHERE")) == unknown
    leased = endpoint.person().take(hit_id)["assignment_id"]
    assert code(lambda: mturk.approve_assignment(AssignmentId=leased)) == unknown


def test_a_rejection_stands_after_thirty_days(endpoint: Endpoint) -> None:
    assignment_id = endpoint.person().work(endpoint.hit())
    endpoint.mturk.reject_assignment(AssignmentId=assignment_id, RequesterFeedback="no")
    endpoint.clock.ahead += 31 * 86_400
    override = {"AssignmentId": assignment_id, "OverrideRejection": True}
    wrong = "AWS.MechanicalTurk.InvalidAssignmentState"
    assert code(lambda: endpoint.mturk.approve_assignment(**override)) == wrong


def test_what_nobody_judges_is_approved_in_time(endpoint: Endpoint) -> None:
    mturk, hit_id = endpoint.mturk, endpoint.hit(AutoApprovalDelayInSeconds=3600)
    assignment_id = endpoint.person().work(hit_id)
    endpoint.clock.ahead += 3500
    assert mturk.get_assignment(AssignmentId=assignment_id)["Assignment"]["AssignmentStatus"] == "Submitted"
    endpoint.clock.ahead += 200
    found = mturk.list_assignments_for_hit(HITId=hit_id)["Assignments"][0]
    assert found["AssignmentStatus"] == "Approved"
    assert found["ApprovalTime"] == found["AutoApprovalTime"]
    late = "AWS.MechanicalTurk.InvalidAssignmentState"
    assert code(lambda: mturk.reject_assignment(AssignmentId=assignment_id, RequesterFeedback="late")) == late


def test_states_of_a_hit(endpoint: Endpoint) -> None:
    mturk, first, second = endpoint.mturk, endpoint.person(), endpoint.person()
    hit_id = endpoint.hit(MaxAssignments=1)

    def state() -> str:
        return str(mturk.get_hit(HITId=hit_id)["HIT"]["HITStatus"])

    assert state() == "Assignable"
    assert code(lambda: mturk.update_hit_review_status(HITId=hit_id)) == STATE_ERROR
    assert code(lambda: mturk.delete_hit(HITId=hit_id)) == STATE_ERROR
    assignment_id = first.take(hit_id)["assignment_id"]
    assert state() == "Unassignable"
    first.submit(assignment_id, a="1")
    assert state() == "Reviewable"
    assert code(lambda: mturk.update_hit_review_status(HITId=hit_id, Revert=True)) == STATE_ERROR
    mturk.update_hit_review_status(HITId=hit_id)
    assert state() == "Reviewing"
    assert code(lambda: mturk.delete_hit(HITId=hit_id)) == STATE_ERROR  # the answer is not judged
    mturk.create_additional_assignments_for_hit(HITId=hit_id, NumberOfAdditionalAssignments=1)
    assert state() == "Assignable"
    assignment_id = second.take(hit_id)["assignment_id"]
    mturk.update_expiration_for_hit(HITId=hit_id, ExpireAt=0)
    assert state() == "Unassignable"  # closed, but somebody is still at work
    assert second.submit(assignment_id, a="1").status_code == 200
    assert state() == "Reviewable"
    for one in mturk.list_assignments_for_hit(HITId=hit_id)["Assignments"]:
        mturk.approve_assignment(AssignmentId=one["AssignmentId"])
    mturk.delete_hit(HITId=hit_id)
    assert state() == "Disposed"
    assert mturk.list_hits()["NumResults"] == 0
    assert mturk.list_assignments_for_hit(HITId=hit_id)["NumResults"] == 2
    assert code(lambda: mturk.update_expiration_for_hit(HITId=hit_id, ExpireAt=4e9)) == STATE_ERROR
    assert code(lambda: mturk.get_hit(HITId="3NOTTHERE")) == "AWS.MechanicalTurk.HITDoesNotExist"


def test_expiry_and_extension(endpoint: Endpoint) -> None:
    hit_id = endpoint.hit(LifetimeInSeconds=100)
    endpoint.clock.ahead += 101
    assert endpoint.mturk.get_hit(HITId=hit_id)["HIT"]["HITStatus"] == "Reviewable"
    assert endpoint.person().accept(hit_id).status_code == 409
    endpoint.mturk.update_expiration_for_hit(HITId=hit_id, ExpireAt=endpoint.clock() + 500)
    assert endpoint.mturk.get_hit(HITId=hit_id)["HIT"]["HITStatus"] == "Assignable"
    endpoint.person().work(hit_id)


def test_the_account(start: Callable[..., Endpoint]) -> None:
    endpoint = start(balance="10.00")
    mturk = endpoint.mturk

    def balance() -> tuple[str, str]:
        answer = mturk.get_account_balance()
        return answer["AvailableBalance"], answer["OnHoldBalance"]

    hit_id = endpoint.hit(Reward="2.00", MaxAssignments=3)
    assert balance() == ("4.00", "6.00")
    person = endpoint.person()
    first, second = person.work(hit_id), endpoint.person().work(hit_id)
    assert balance() == ("4.00", "6.00")
    mturk.approve_assignment(AssignmentId=first)
    assert balance() == ("4.00", "4.00")
    mturk.reject_assignment(AssignmentId=second, RequesterFeedback="no")
    assert balance() == ("6.00", "2.00")
    bonus = {"WorkerId": person.id, "AssignmentId": first, "Reason": "r"}
    funds = "AWS.MechanicalTurk.InsufficientFunds"
    assert code(lambda: mturk.send_bonus(**bonus, BonusAmount="6.01")) == funds
    mturk.send_bonus(**bonus, BonusAmount="5.50")
    assert balance() == ("0.50", "2.00")
    assert code(lambda: mturk.create_hit(**hit_values(Reward="0.51", MaxAssignments=1))) == funds
    more = {"HITId": hit_id, "NumberOfAdditionalAssignments": 1}
    assert code(lambda: mturk.create_additional_assignments_for_hit(**more)) == funds
    mturk.update_expiration_for_hit(HITId=hit_id, ExpireAt=0)
    assert balance() == ("2.50", "0.00")
    mturk.approve_assignment(AssignmentId=second, OverrideRejection=True)
    assert balance() == ("0.50", "0.00")
    again = {"HITId": hit_id, "ExpireAt": endpoint.clock() + 500}
    assert code(lambda: mturk.update_expiration_for_hit(**again)) == funds


def test_qualifications_keep_the_wrong_people_out(endpoint: Endpoint) -> None:
    requirement = {
        "QualificationTypeId": "00000000000000000040",
        "Comparator": "GreaterThanOrEqualTo",
        "IntegerValues": [1],
        "ActionsGuarded": "PreviewAndAccept",
    }
    experienced, fresh = endpoint.person(), endpoint.person()
    endpoint.mturk.approve_assignment(AssignmentId=experienced.work(endpoint.hit(MaxAssignments=1)))
    hit_id = endpoint.hit(QualificationRequirements=[requirement])
    assert fresh.home()["open"] == []
    assert fresh.accept(hit_id).status_code == 403
    assert fresh.http.get(f"{fresh.url}/w/{fresh.token}/preview/{hit_id}").status_code == 403
    assert [task["hit_id"] for task in experienced.home()["open"]] == [hit_id]
    assert experienced.accept(hit_id).status_code == 200
