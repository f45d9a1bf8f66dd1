"""Every operation of botocore's model, by boto3 and by ``aws``: answered in its shape or refused in a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from endpoint_kit import ACCESS, SECRET, Endpoint

from benchmarks.requester import KEY, TEST, Aws, Boto, Client, RefusedError, Tour, Worker, problems, service_model
from kloc.crowd.endpoint.operations import OPERATIONS, UNSUPPORTED


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=60) as client:
        yield client


def tour_of(endpoint: Endpoint, client: Client, http: httpx.Client) -> Tour:
    return Tour(client, lambda name: Worker.invited(endpoint.url, endpoint.settings.database_url, name, http))


def test_every_operation_of_the_model_answers_in_its_shape(endpoint: Endpoint, http: httpx.Client) -> None:
    tour = tour_of(endpoint, Boto(endpoint.url, ACCESS, SECRET), http)
    tour.run()
    assert {name: wrong for name, wrong in tour.answers.items() if wrong} == {}
    assert set(tour.answers) | set(tour.refused) == set(service_model().operation_names)
    assert set(tour.answers) == set(OPERATIONS)
    assert set(tour.refused) == set(UNSUPPORTED)
    for name, sentence in tour.refused.items():
        assert re.fullmatch(rf"The operation '{name}' is not supported: [^.]+\. \(\d{{13}}\)", sentence)


def test_the_aws_command_line_is_understood(endpoint: Endpoint, http: httpx.Client) -> None:
    pytest.importorskip("awscli", reason="the aws command line (awscli) is not installed")
    tour = tour_of(endpoint, Aws(endpoint.url, ACCESS, SECRET), http)
    named = {"Name": "knows jumps", "Description": "d", "QualificationTypeStatus": "Active", "RetryDelayInSeconds": 60}
    tour.call("CreateQualificationType", **named, Test=TEST, AnswerKey=KEY, TestDurationInSeconds=600)
    hit_id = endpoint.hit()
    done = [tour.invite(name).work(hit_id) for name in ("one", "two")]
    listed = tour.call("ListAssignmentsForHIT", HITId=hit_id, MaxResults=1)
    assert [each["AssignmentId"] for each in listed["Assignments"]] == done[:1]
    tour.call("ApproveAssignment", AssignmentId=done[0])
    assert {name: wrong for name, wrong in tour.answers.items() if wrong} == {}
    with pytest.raises(RefusedError, match="Approved"):
        tour.call("RejectAssignment", AssignmentId=done[0], RequesterFeedback="late")


def test_the_checker_sees_what_is_wrong() -> None:
    shape = service_model().operation_model("GetQualificationScore").output_shape
    held = {
        "QualificationTypeId": "3A",
        "WorkerId": "A1",
        "GrantTime": 1.5,
        "IntegerValue": 3,
        "Status": "Granted",
    }
    assert problems({"Qualification": held}, shape) == []
    assert problems({}, shape) == ["answer lacks Qualification"]
    for name, value in (("WorkerId", "B1"), ("GrantTime", "1"), ("IntegerValue", True), ("Status", "No"), ("Odd", 1)):
        assert len(problems({"Qualification": {**held, name: value}}, shape)) == 1
    assert problems({"Qualification": [held]}, shape) == ["answer.Qualification is no structure"]
