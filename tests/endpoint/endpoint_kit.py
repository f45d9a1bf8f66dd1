"""What the tests of the endpoint share: a boto3 client, questions, people, and a clock that can be moved."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from kloc.crowd.endpoint import admin
from kloc.crowd.endpoint.settings import EndpointSettings

ACCESS, SECRET = "AKIDTEST", "a secret that is long enough"
HTML = "http://mechanicalturk.amazonaws.com/AWSMechanicalTurkDataSchemas/2011-11-11/HTMLQuestion.xsd"
EXTERNAL = "http://mechanicalturk.amazonaws.com/AWSMechanicalTurkDataSchemas/2006-07-14/ExternalQuestion.xsd"
JSON = {"Accept": "application/json"}


def client(url: str, *, access: str = ACCESS, secret: str = SECRET, attempts: int = 1) -> Any:
    return boto3.client(
        "mturk",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=access,
        aws_secret_access_key=secret,
        config=Config(retries={"max_attempts": attempts, "mode": "standard"}),
    )


def code(call: Callable[[], Any]) -> str:
    """The TurkErrorCode a call fails with."""
    with pytest.raises(ClientError) as caught:
        call()
    response = caught.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert re.fullmatch(r".+ \(\d{13}\)", response["Error"]["Message"], re.DOTALL)
    return str(response["TurkErrorCode"])


def html_question(body: str = "<p>Hello</p>", media_key: str | None = None) -> str:
    task = json.dumps({"media_key": media_key}).replace("<", "\\u003c") if media_key else ""
    script = f'<script type="application/json" id="kloc-task">{task}</script>' if media_key else ""
    page = f"<!DOCTYPE html><html><body>{script}{body}</body></html>"
    content = f"<HTMLContent><![CDATA[{page}]]></HTMLContent><FrameHeight>0</FrameHeight>"
    return f'<HTMLQuestion xmlns="{HTML}">{content}</HTMLQuestion>'


def hit_values(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "Title": "Mark the high jumps",
        "Description": "Find every high jump",
        "Keywords": "video, jump",
        "Reward": "0.25",
        "MaxAssignments": 3,
        "LifetimeInSeconds": 86_400,
        "AssignmentDurationInSeconds": 600,
        "AutoApprovalDelayInSeconds": 3600,
        "Question": html_question(),
        "RequesterAnnotation": "campaign/round/video",
    }
    return {name: value for name, value in {**values, **changes}.items() if value is not None}


@dataclass
class Clock:
    """Epoch seconds that run on and can be pushed forward."""

    ahead: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@dataclass
class Person:
    """A worker's browser, without the browser."""

    url: str
    id: str
    token: str
    http: httpx.Client

    def home(self) -> dict[str, Any]:
        return self._json(self.http.get(f"{self.url}/w/{self.token}", headers=JSON))

    def accept(self, hit_id: str) -> httpx.Response:
        return self.http.post(f"{self.url}/w/{self.token}/accept/{hit_id}", headers=JSON)

    def take(self, hit_id: str) -> dict[str, Any]:
        return self._json(self.accept(hit_id))

    def give_back(self, assignment_id: str) -> httpx.Response:
        return self.http.post(f"{self.url}/w/{self.token}/return/{assignment_id}", headers=JSON)

    def submit(self, assignment_id: str, **fields: str) -> httpx.Response:
        data = {"assignmentId": assignment_id, **fields}
        return self.http.post(f"{self.url}/mturk/externalSubmit", data=data, headers=JSON)

    def work(self, hit_id: str, **fields: str) -> str:
        """Accept and hand in; gives the assignment's id."""
        assignment_id = str(self.take(hit_id)["assignment_id"])
        assert self.submit(assignment_id, **(fields or {"answer": "1"})).status_code == 200
        return assignment_id

    @staticmethod
    def _json(response: httpx.Response) -> dict[str, Any]:
        assert response.status_code == 200, response.text
        value = response.json()
        assert isinstance(value, dict)
        return value


@dataclass
class Endpoint:
    url: str
    settings: EndpointSettings
    clock: Clock
    mturk: Any
    http: httpx.Client
    names: int = field(default=0)

    def person(self) -> Person:
        self.names += 1
        worker_id, token = admin.create_worker(self.settings.database_url, f"worker {self.names}")
        return Person(self.url, worker_id, token, self.http)

    def hit(self, **changes: Any) -> str:
        return str(self.mturk.create_hit(**hit_values(**changes))["HIT"]["HITId"])
