"""A tour through every operation of the Requester API, by boto3 or by ``aws``, each answer held against the model.

The list of operations is botocore's: one that it gains and the tour lacks is missing from :attr:`Tour.answers`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import boto3
import botocore.session
import httpx
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.model import ServiceModel

from kloc.crowd.endpoint import admin

ACCESS, SECRET = "AKIDBENCH", "a secret for measuring"
_SCHEMAS = "http://mechanicalturk.amazonaws.com/AWSMechanicalTurkDataSchemas"
PAGE = (
    f'<HTMLQuestion xmlns="{_SCHEMAS}/2011-11-11/HTMLQuestion.xsd"><HTMLContent><![CDATA[<!DOCTYPE html><p>Hello]]>'
    "</HTMLContent><FrameHeight>0</FrameHeight></HTMLQuestion>"
)
TEST = (
    f'<QuestionForm xmlns="{_SCHEMAS}/2017-11-06/QuestionForm.xsd"><Question>'
    "<QuestionIdentifier>q</QuestionIdentifier><QuestionContent><Text>Which is a high jump?</Text></QuestionContent>"
    "<AnswerSpecification><SelectionAnswer><Selections>"
    "<Selection><SelectionIdentifier>a</SelectionIdentifier><Text>Over a bar</Text></Selection>"
    "<Selection><SelectionIdentifier>b</SelectionIdentifier><Text>Into sand</Text></Selection>"
    "</Selections></SelectionAnswer></AnswerSpecification></Question></QuestionForm>"
)
KEY = (
    f'<AnswerKey xmlns="{_SCHEMAS}/2005-10-01/AnswerKey.xsd"><Question><QuestionIdentifier>q</QuestionIdentifier>'
    "<AnswerOption><SelectionIdentifier>a</SelectionIdentifier><AnswerScore>1</AnswerScore></AnswerOption></Question>"
    "<QualificationValueMapping><PercentageMapping><MaximumSummedScore>1</MaximumSummedScore></PercentageMapping>"
    "</QualificationValueMapping></AnswerKey>"
)
#: Members of answers that are there only where they have a value; every other member of the model always is.
OPTIONAL: dict[str, set[str]] = {
    "HIT": {"HITLayoutId", "RequesterAnnotation"},
    "Assignment": {"ApprovalTime", "RejectionTime", "RequesterFeedback"},
    "QualificationRequirement": {"IntegerValues", "LocaleValues"},
    "QualificationType": {
        "Keywords", "Test", "TestDurationInSeconds", "AnswerKey", "RetryDelayInSeconds", "AutoGrantedValue",
    },
    "QualificationRequest": {"Test", "Answer"},
    "Qualification": {"LocaleValue"},
    "ListReviewPolicyResultsForHITResponse": {"AssignmentReviewPolicy", "HITReviewPolicy"},
}  # fmt: skip


def service_model() -> ServiceModel:
    """botocore's model of the API."""
    return botocore.session.get_session().get_service_model("mturk")


def problems(value: Any, shape: Any, where: str = "answer") -> list[str]:
    """What in a JSON answer differs from its shape: members unknown or missing, types, patterns, lengths, enums."""
    if shape is None:
        return [] if value == {} else [f"{where} should be empty"]
    kind, rules = shape.type_name, shape.metadata
    if kind == "structure":
        return _structure(value, shape, where)
    if kind == "list":
        if not isinstance(value, list):
            return [f"{where} is no list"]
        return [each for index, item in enumerate(value) for each in problems(item, shape.member, f"{where}[{index}]")]
    if kind == "string":
        if not isinstance(value, str):
            return [f"{where} is no string"]
        good = re.search(rules.get("pattern", ""), value, re.ASCII) and (not shape.enum or value in shape.enum)
        fits = rules.get("min", 0) <= len(value) <= rules.get("max", 10**9)
        return [] if good and fits else [f"{where} {value[:80]!r} is no {shape.name}"]
    types = {"integer": (int,), "long": (int,), "boolean": (bool,), "timestamp": (int, float)}
    return [] if type(value) in types[kind] else [f"{where} {value!r} is no {kind}"]


def _structure(value: Any, shape: Any, where: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{where} is no structure"]
    always = set(shape.members) - OPTIONAL.get(shape.name, set()) - {"NextToken"}
    always |= set(shape.required_members)
    found = [f"{where} lacks {name}" for name in sorted(always - set(value))]
    found += [f"{where} has {name}, which the model does not know" for name in sorted(set(value) - set(shape.members))]
    known = (name for name in value if name in shape.members)
    return found + [each for name in known for each in problems(value[name], shape.members[name], f"{where}.{name}")]


class RefusedError(Exception):
    """The endpoint said no: ``code`` is the TurkErrorCode, or whatever the client shows of it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


class Client(Protocol):
    """Calls an operation; gives the answer as it came, in JSON."""

    def __call__(self, operation: str, **parameters: Any) -> dict[str, Any]: ...


class Boto:
    """boto3. What its parser makes of an answer must have the members that the answer has."""

    def __init__(self, url: str, access: str = ACCESS, secret: str = SECRET) -> None:
        self.client = boto3.client(
            "mturk",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id=access,
            aws_secret_access_key=secret,
            config=Config(retries={"max_attempts": 1, "mode": "standard"}),
        )
        self._raw: dict[str, Any] = {}
        self.client.meta.events.register("after-call.mturk.*", self._keep)

    def __call__(self, operation: str, **parameters: Any) -> dict[str, Any]:
        try:
            parsed = getattr(self.client, xform_name(operation))(**parameters)
        except ClientError as error:
            answer: Any = error.response
            raise RefusedError(answer["TurkErrorCode"], answer["Error"]["Message"]) from error
        parsed.pop("ResponseMetadata")
        if _members(parsed) != _members(self._raw):
            raise AssertionError(f"botocore reads the answer to {operation} otherwise than it is")
        return self._raw

    def _keep(self, http_response: Any, **_: Any) -> None:
        self._raw = json.loads(http_response.content)


class Aws:
    """The ``aws`` command line, one process a call."""

    def __init__(self, url: str, access: str = ACCESS, secret: str = SECRET) -> None:
        self._url = url
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            "AWS_ACCESS_KEY_ID": access,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_MAX_ATTEMPTS": "1",
        }

    def __call__(self, operation: str, **parameters: Any) -> dict[str, Any]:
        command = [sys.executable, "-m", "awscli", "mturk", xform_name(operation, "-"), "--endpoint-url", self._url]
        command += ["--no-paginate", "--output", "json", "--cli-input-json", json.dumps(parameters)]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode:
            said = re.search(r"An error occurred \((\w+)\).*?: (.*)", done.stderr, re.DOTALL)
            if said is None:
                raise AssertionError(f"aws {operation} failed: {done.stderr.strip()[-500:]}")
            raise RefusedError(said[1], said[2].strip())
        answer: dict[str, Any] = json.loads(done.stdout or "{}")
        return answer


def _members(value: Any) -> Any:
    """The shape of a value: its members and lengths without its leaves."""
    if isinstance(value, dict):
        return {name: _members(member) for name, member in value.items()}
    return [_members(member) for member in value] if isinstance(value, list) else None


@dataclass(frozen=True)
class Worker:
    """A worker who does what the tour needs done, over HTTP."""

    url: str
    id: str
    token: str
    http: httpx.Client

    @classmethod
    def invited(cls, url: str, database_url: str, name: str, http: httpx.Client) -> Worker:
        return cls(url, *admin.create_worker(database_url, name), http)

    def work(self, hit_id: str) -> str:
        """Accept and hand in; gives the assignment's id."""
        lease = self._post(f"/w/{self.token}/accept/{hit_id}")
        self._post("/mturk/externalSubmit", assignmentId=lease["assignment_id"], answer="1")
        return str(lease["assignment_id"])

    def ask(self, type_id: str) -> None:
        """Ask for a qualification that has no test."""
        self._post(f"/w/{self.token}/qualify/{type_id}")

    def _post(self, path: str, **fields: str) -> dict[str, Any]:
        answer = self.http.post(self.url + path, data=fields, headers={"Accept": "application/json"})
        answer.raise_for_status()
        told: dict[str, Any] = answer.json()
        return told


@dataclass
class Tour:
    """Drives the operations and keeps what was wrong with each answer: operation -> problems, empty where it is fine.

    ``refused``: the operations that say they are not supported, with their sentence.
    """

    client: Client
    invite: Callable[[str], Worker]
    answers: dict[str, list[str]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    model: ServiceModel = field(default_factory=service_model)

    def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        answer = self.client(operation, **parameters)
        wrong = problems(answer, self.model.operation_model(operation).output_shape)
        self.answers.setdefault(operation, []).extend(wrong)
        return answer

    def run(self) -> None:
        """Every operation at least once, in the order of a small campaign."""
        first, second = self.invite("tour 1"), self.invite("tour 2")
        graded, asked = self._qualification_types()
        hit_id = self._hits(graded)
        done = [first.work(hit_id), second.work(hit_id)]
        self._qualifications(graded, asked, first, second)
        self._reviewing(hit_id, done, first)
        self._workers(second)
        self.call("UpdateExpirationForHIT", HITId=hit_id, ExpireAt=0)
        self.call("DeleteHIT", HITId=hit_id)
        self.call("DeleteQualificationType", QualificationTypeId=asked)
        self._unsupported(hit_id, done[0])

    def _qualification_types(self) -> tuple[str, str]:
        named = {"Description": "For those who know", "QualificationTypeStatus": "Active"}
        tested = {"Test": TEST, "AnswerKey": KEY, "TestDurationInSeconds": 600, "RetryDelayInSeconds": 60}
        graded = self.call("CreateQualificationType", Name="knows jumps", Keywords="jump", **named, **tested)
        asked = self.call("CreateQualificationType", Name="was there", **named)
        self.call("CreateQualificationType", Name="for all", **named, AutoGranted=True, AutoGrantedValue=3)
        type_id = graded["QualificationType"]["QualificationTypeId"]
        self.call("GetQualificationType", QualificationTypeId=type_id)
        self.call("GetQualificationType", QualificationTypeId="000000000000000000L0")
        self.call("UpdateQualificationType", QualificationTypeId=type_id, Description="For those who know more")
        self.call("ListQualificationTypes", MustBeRequestable=False, MaxResults=2)
        self.call("ListQualificationTypes", MustBeRequestable=True, MustBeOwnedByCaller=True, Query="jump knows")
        return type_id, asked["QualificationType"]["QualificationTypeId"]

    def _hits(self, type_id: str) -> str:
        """A HIT with two places, two types, and one more HIT."""
        common: dict[str, Any] = {
            "Title": "Mark the jumps",
            "Description": "All of them",
            "Keywords": "video",
            "Reward": "0.25",
        }
        common |= {"AssignmentDurationInSeconds": 600, "AutoApprovalDelayInSeconds": 3600}
        requirement = {"QualificationTypeId": type_id, "Comparator": "GreaterThan", "IntegerValues": [50]}
        guarded = self.call("CreateHITType", **common, QualificationRequirements=[requirement])["HITTypeId"]
        plain = self.call("CreateHITType", **{**common, "Reward": "0.5"})["HITTypeId"]
        made = self.call(
            "CreateHITWithHITType", HITTypeId=guarded, LifetimeInSeconds=600, Question=PAGE, RequesterAnnotation="tour"
        )
        hit_id = str(made["HIT"]["HITId"])
        self.call("ListHITsForQualificationType", QualificationTypeId=type_id)
        self.call("UpdateHITTypeOfHIT", HITId=hit_id, HITTypeId=plain)
        self.call("CreateAdditionalAssignmentsForHIT", HITId=hit_id, NumberOfAdditionalAssignments=1)
        self.call("CreateHIT", **common, Question=PAGE, LifetimeInSeconds=600, UniqueRequestToken="tour")
        self.call("GetHIT", HITId=hit_id)
        self.call("ListHITs", MaxResults=1)
        return hit_id

    def _qualifications(self, graded: str, asked: str, first: Worker, second: Worker) -> None:
        first.ask(asked)
        second.ask(asked)
        waiting = self.call("ListQualificationRequests", QualificationTypeId=asked)["QualificationRequests"]
        ids = {each["WorkerId"]: each["QualificationRequestId"] for each in waiting}
        self.call("AcceptQualificationRequest", QualificationRequestId=ids[first.id], IntegerValue=7)
        self.call("RejectQualificationRequest", QualificationRequestId=ids[second.id], Reason="not seen there")
        given = {"QualificationTypeId": graded, "WorkerId": first.id}
        self.call("AssociateQualificationWithWorker", **given, IntegerValue=60, SendNotification=True)
        self.call("GetQualificationScore", **given)
        self.call("DisassociateQualificationFromWorker", **given, Reason="by mistake")
        for status in ("Granted", "Revoked"):
            self.call("ListWorkersWithQualificationType", QualificationTypeId=graded, Status=status)
        self.call("ListWorkersWithQualificationType", QualificationTypeId=asked)

    def _reviewing(self, hit_id: str, done: list[str], worker: Worker) -> None:
        self.call("ListAssignmentsForHIT", HITId=hit_id)
        self.call("ApproveAssignment", AssignmentId=done[0], RequesterFeedback="good")
        self.call("RejectAssignment", AssignmentId=done[1], RequesterFeedback="empty")
        for assignment_id in done:
            self.call("GetAssignment", AssignmentId=assignment_id)
        bonus = {"WorkerId": worker.id, "AssignmentId": done[0], "BonusAmount": "0.1", "Reason": "fine work"}
        self.call("SendBonus", **bonus, UniqueRequestToken="tour")
        self.call("ListBonusPayments", HITId=hit_id)
        self.call("GetAccountBalance")
        self.call("ListReviewableHITs")
        self.call("UpdateHITReviewStatus", HITId=hit_id)
        self.call("ListReviewPolicyResultsForHIT", HITId=hit_id)

    def _workers(self, worker: Worker) -> None:
        self.call("NotifyWorkers", Subject="Hi", MessageText="There is more", WorkerIds=[worker.id, "ANOBODY"])
        self.call("CreateWorkerBlock", WorkerId=worker.id, Reason="spam")
        self.call("ListWorkerBlocks")
        self.call("DeleteWorkerBlock", WorkerId=worker.id, Reason="it was not")

    def _unsupported(self, hit_id: str, assignment_id: str) -> None:
        place = {"Destination": "https://example.org", "Transport": "SNS", "Version": "2014-08-15"}
        notification = {**place, "EventTypes": ["HITReviewable"]}
        calls: Iterable[tuple[str, dict[str, Any]]] = (
            ("GetFileUploadURL", {"AssignmentId": assignment_id, "QuestionIdentifier": "q"}),
            ("UpdateNotificationSettings", {"HITTypeId": hit_id, "Notification": notification}),
            ("SendTestEventNotification", {"Notification": notification, "TestEventType": "Ping"}),
        )
        for operation, parameters in calls:
            try:
                self.call(operation, **parameters)
            except RefusedError as error:
                self.refused[operation] = error.message
