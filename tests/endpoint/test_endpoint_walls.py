"""The walls: who may call, what gets out, what is written down, what settings are refused."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from endpoint_kit import ACCESS, HTML, SECRET, Endpoint, client, hit_values, html_question
from hypothesis import given
from hypothesis import strategies as st

from kloc.crowd.endpoint import admin, answers, money, questions
from kloc.crowd.endpoint.faults import RequestError, SignatureError
from kloc.crowd.endpoint.limits import RateLimiter
from kloc.crowd.endpoint.links import LinkSigner
from kloc.crowd.endpoint.log import shown_path
from kloc.crowd.endpoint.server import create_app
from kloc.crowd.endpoint.settings import EndpointSettings
from kloc.crowd.endpoint.signature import verify
from kloc.errors import CrowdError, UsageError


def signed(url: str, body: bytes, target: str = "GetAccountBalance", **changes: Any) -> dict[str, str]:
    """The headers botocore's own signer makes, ``minutes`` away from now."""
    headers = {"X-Amz-Target": f"MTurkRequesterServiceV20170117.{target}", "Content-Type": "application/x-amz-json-1.1"}
    request = AWSRequest("POST", url + "/", headers=headers, data=body)
    moment = datetime.now(UTC) + timedelta(minutes=changes.get("minutes", 0))
    signer = SigV4Auth(
        Credentials(ACCESS, SECRET), changes.get("service", "mturk-requester"), changes.get("region", "us-east-1")
    )
    with mock.patch("botocore.auth.get_current_datetime", return_value=moment.replace(tzinfo=None)):
        signer.add_auth(request)
    return dict(request.headers.items())


def post(url: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
    return httpx.post(url + "/", content=body, headers=headers)


@pytest.mark.parametrize("minutes", [-14, 0, 14])
def test_a_signed_request_passes(endpoint: Endpoint, minutes: int) -> None:
    headers = signed(endpoint.url, b"{}", minutes=minutes)
    response = post(endpoint.url, b"{}", headers)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-amz-json-1.1"


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"minutes": -16}, "InvalidSignatureException"),
        ({"minutes": 16}, "InvalidSignatureException"),
        ({"region": "eu-west-1"}, "InvalidSignatureException"),
        ({"service": "s3"}, "InvalidSignatureException"),
    ],
)
def test_a_signature_for_another_time_or_place(endpoint: Endpoint, changes: dict[str, Any], kind: str) -> None:
    response = post(endpoint.url, b"{}", signed(endpoint.url, b"{}", **changes))
    assert response.status_code == 403
    assert response.json()["__type"] == kind


def test_a_signature_covers_body_and_operation(endpoint: Endpoint) -> None:
    headers = signed(endpoint.url, b"{}")
    assert post(endpoint.url, b'{"MaxResults": 1}', headers).status_code == 403
    other = {**headers, "X-Amz-Target": "MTurkRequesterServiceV20170117.ListHITs"}
    assert post(endpoint.url, b"{}", other).status_code == 403
    unsigned = {name: value for name, value in headers.items() if name != "Authorization"}
    assert post(endpoint.url, b"{}", unsigned).json()["__type"] == "MissingAuthenticationTokenException"
    nonsense = {**headers, "Authorization": "Bearer x"}
    assert post(endpoint.url, b"{}", nonsense).json()["__type"] == "IncompleteSignatureException"


def test_what_must_be_signed_must_be_signed() -> None:
    headers = {
        "authorization": f"AWS4-HMAC-SHA256 Credential={ACCESS}/20260101/us-east-1/mturk-requester/aws4_request, "
        f"SignedHeaders=host;x-amz-date, Signature={'0' * 64}",
        "x-amz-date": "20260101T000000Z",
    }
    with pytest.raises(SignatureError, match="must be signed"):
        verify(headers, b"", access_key=ACCESS, secret_key=SECRET, now=1767225600, places=[("h", "/")])


@pytest.mark.parametrize("keys", [{"secret": "wrong"}, {"access": "AKIDOTHER"}])
def test_the_wrong_key(endpoint: Endpoint, keys: dict[str, str]) -> None:
    with pytest.raises(ClientError) as caught:
        client(endpoint.url, **keys).create_hit(**hit_values())
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert endpoint.mturk.list_hits()["HITs"] == []


@pytest.mark.parametrize("slash", ["", "/"])
def test_behind_a_proxy_the_public_address_is_what_is_signed(
    make_settings: Callable[..., EndpointSettings], slash: str
) -> None:
    public = "https://lab.example/kloc"
    app = create_app(make_settings(public_url=public + "/"))
    headers = {"X-Amz-Target": "MTurkRequesterServiceV20170117.ListHITs", "Content-Type": "application/x-amz-json-1.1"}
    request = AWSRequest("POST", public + slash, headers=headers, data=b"{}")
    SigV4Auth(Credentials(ACCESS, SECRET), "mturk-requester", "us-east-1").add_auth(request)

    async def behind() -> list[int]:
        # The proxy has rewritten host and path.
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8765") as inside:
            first = await inside.post("/", content=b"{}", headers=dict(request.headers.items()))
            request.headers.replace_header("X-Amz-Target", "MTurkRequesterServiceV20170117.DeleteHIT")
            second = await inside.post("/", content=b"{}", headers=dict(request.headers.items()))
        return [first.status_code, second.status_code]

    with ThreadPoolExecutor(1) as apart:  # a browser test of this process may have left its loop running here
        assert apart.submit(lambda: asyncio.run(behind())).result() == [200, 403]


@pytest.mark.parametrize(
    ("body", "code"),
    [(body, "ParameterValidationError") for body in (b"[]", b"{", b"[" * 90_000, b"\xff")],
)
def test_broken_bodies(endpoint: Endpoint, body: bytes, code: str) -> None:
    response = post(endpoint.url, body, signed(endpoint.url, body))
    assert response.status_code == 400
    assert response.json()["__type"] == "RequestError"
    assert response.json()["TurkErrorCode"] == f"AWS.MechanicalTurk.{code}"


@pytest.mark.parametrize("target", ["NoSuchOperation", "", "../GetHIT"])
def test_unknown_operations(endpoint: Endpoint, target: str) -> None:
    response = post(endpoint.url, b"{}", signed(endpoint.url, b"{}", target=target))
    assert response.json()["TurkErrorCode"] == "AWS.MechanicalTurk.UnsupportedOperation"


@pytest.mark.parametrize(
    "values",
    [
        {"Title": 7},
        {"Reward": 0.25},
        {"LifetimeInSeconds": "60"},
        {"LifetimeInSeconds": True},
        {"QualificationRequirements": {}},
        {"QualificationRequirements": [7]},
        {"MaxAssignments": 1.5},
        {"Question": ["x"]},
    ],
)
def test_types_are_checked_here_too(endpoint: Endpoint, values: dict[str, Any]) -> None:
    body = json.dumps(hit_values(**values)).encode()
    response = post(endpoint.url, body, signed(endpoint.url, body, target="CreateHIT"))
    assert response.json()["TurkErrorCode"] == "AWS.MechanicalTurk.ParameterValidationError"


def test_a_body_that_is_too_large(endpoint: Endpoint) -> None:
    body = b"{" + b" " * 2**20 + b"}"
    assert post(endpoint.url, body, signed(endpoint.url, body)).status_code == 413


def test_a_fault_is_a_service_fault_and_is_reported(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from kloc.crowd.endpoint.operations import OPERATIONS

    def fail(_call: Any) -> dict[str, Any]:
        raise ZeroDivisionError("private detail")

    monkeypatch.setitem(OPERATIONS, "GetAccountBalance", (fail, False))
    response = post(endpoint.url, b"{}", signed(endpoint.url, b"{}"))
    assert response.status_code == 500
    assert response.json()["__type"] == "ServiceFault"
    assert "private detail" not in response.text
    assert "private detail" in capfd.readouterr().err


def test_a_failing_database_loses_no_secret_to_the_log(endpoint: Endpoint, capfd: pytest.CaptureFixture[str]) -> None:
    person = endpoint.person()
    assignment_id = person.take(endpoint.hit())["assignment_id"]
    with sqlite3.connect(endpoint.settings.database_url.removeprefix("sqlite:///")) as connection:
        connection.execute("create trigger no before update on assignments begin select raise(abort, 'broken'); end")
    connection.close()
    response = person.submit(assignment_id, a="private answer")
    assert response.status_code == 500
    assert response.headers["access-control-allow-origin"] == "*"
    assert "Nothing you have saved is lost" in response.json()["error"]
    log = capfd.readouterr().err
    assert [json.loads(line)["event"] for line in log.splitlines()] == ["fault"]
    assert "broken" in log
    assert "private answer" not in log
    assert assignment_id not in log


def test_a_bad_host_is_refused(endpoint: Endpoint) -> None:
    person = endpoint.person()
    for path in (f"/w/{person.token}", "/frame/3ABC"):
        response = endpoint.http.get(endpoint.url + path, headers={"Host": "a'; script-src *"})
        assert response.status_code in (400, 403)
        assert "script-src *" not in response.headers.get("content-security-policy", "")


def test_the_log_keeps_secrets_out(start: Callable[..., Endpoint], tmp_path: Path) -> None:
    log = tmp_path / "access.jsonl"
    endpoint = start(log_file=str(log))
    person, hit_id = endpoint.person(), endpoint.hit(Question=html_question(media_key="v"))
    lease = person.take(hit_id)
    endpoint.http.get(lease["task_url"])
    endpoint.http.get(lease["frame_url"])
    endpoint.http.get(lease["media_url"])
    endpoint.http.put(f"{endpoint.url}/draft/{lease['assignment_id']}", json=1)
    person.give_back(lease["assignment_id"])
    text = log.read_text("utf-8")
    events = [json.loads(line) for line in text.splitlines()]
    assert {"operation", "request"} <= {event["event"] for event in events}
    assert [event["operation"] for event in events if event["event"] == "operation"] == ["CreateHIT"]
    for secret in (person.token, lease["assignment_id"], SECRET, "sig="):
        assert secret not in text


def test_the_database_holds_no_token_and_is_private(endpoint: Endpoint, tmp_path: Path) -> None:
    token = endpoint.person().token
    files = list(tmp_path.glob("endpoint.db*"))
    assert files
    for path in files:
        assert path.stat().st_mode & 0o077 == 0
        assert token.encode() not in path.read_bytes()


def test_shown_path() -> None:
    assert "secret" not in shown_path("/w/secret/task/secret")
    assert "secret" not in shown_path("/w/secret")
    assert "secret" not in shown_path("/frame/secret")
    assert "secret" not in shown_path("/draft/secret")
    assert "secret" not in shown_path("/report/secret")
    assert "secret" not in shown_path("/w/secret/test/secret")
    assert shown_path("/media/v1") == "/media/v1"


def test_admin_is_idempotent_by_name(make_settings: Callable[..., EndpointSettings]) -> None:
    url = make_settings().database_url
    first, token = admin.create_worker(url, "Ada", seed=7)
    again, other = admin.create_worker(url, "Ada", seed=7)
    assert (first, token != other) == (again, True)
    assert first.startswith("A")
    assert admin.ensure_worker(url, "Ada", token) == first
    with pytest.raises(CrowdError, match="belongs to somebody else"):
        admin.ensure_worker(url, "Grace", token)
    with pytest.raises(UsageError, match="at least"):
        admin.ensure_worker(url, "Grace", "short")
    with pytest.raises(CrowdError, match="no worker 'Linus'"):
        admin.revoke(url, "Linus")
    assert [worker.name for worker in admin.list_workers(url)] == ["Ada"]


def test_a_seed_fixes_the_worker_id_and_never_the_token(tmp_path: Path) -> None:
    made = [admin.create_worker(f"sqlite:///{tmp_path / name}", "Ada", seed=7) for name in ("a.db", "b.db")]
    assert made[0][0] == made[1][0]
    assert made[0][1] != made[1][1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"host": "0.0.0.0", "secret_key": "short"}, "at least 16 characters"),
        ({"secret_key": ""}, "secret_key"),
        ({"port": 70_000}, "port"),
        ({"public_url": "lab.example"}, "public_url"),
        ({"balance": "much"}, "balance"),
        ({"requests_per_second": 0}, "requests_per_second"),
    ],
)
def test_settings_that_cannot_be(
    make_settings: Callable[..., EndpointSettings], changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        make_settings(**changes)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://h/d", "nonsense"])
def test_databases_that_cannot_be(url: str) -> None:
    with pytest.raises(UsageError, match="database url"):
        admin.list_workers(url)


def test_a_database_of_another_schema_is_refused(make_settings: Callable[..., EndpointSettings]) -> None:
    url = make_settings().database_url
    admin.list_workers(url)
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        connection.execute("update meta set value = '99' where key = 'schema'")
    connection.close()
    with pytest.raises(CrowdError, match="schema 99"):
        admin.list_workers(url)


TEXT = st.text(st.characters(codec=None), max_size=40)


@given(st.lists(st.tuples(TEXT, TEXT), max_size=6))
def test_every_answer_reads_back_as_sent_less_what_xml_forbids(fields: list[tuple[str, str]]) -> None:
    import defusedxml.ElementTree

    def allowed(text: str) -> str:
        """XML 1.0, section 2.2, production 2, letter by letter."""
        return "".join(
            letter
            for letter in text
            if letter in "\t\n\r"
            or " " <= letter <= "\ud7ff"
            or "\ue000" <= letter <= "\ufffd"
            or letter >= "\U00010000"
        )

    expected: dict[str, list[str]] = {}
    for name, value in fields:
        expected.setdefault(allowed(name), []).append(allowed(value))
    root = defusedxml.ElementTree.fromstring(answers.question_form_answers(fields))
    found = [[child.text or "" for child in answer] for answer in root]
    assert found == [[name, "|".join(values)] for name, values in expected.items()]


@given(st.integers(0, 10**13))
def test_money_reads_what_it_writes(cents: int) -> None:
    assert money.to_cents(money.to_dollars(cents)) == cents


@pytest.mark.parametrize(("text", "cents"), [("3", 300), ("3.", 300), ("0.5", 50), ("0.05", 5), ("007.10", 710)])
def test_money(text: str, cents: int) -> None:
    assert money.to_cents(text) == cents


@pytest.mark.parametrize("text", ["", ".5", "1.234", "1e3", "-1", "1 ", "٣", "1.5\n", None, 1])
def test_what_is_no_money(text: Any) -> None:
    assert money.to_cents(text) is None


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), st.text(max_size=9)), st.integers(0, 99))
def test_links_hold_until_their_end_and_unchanged(values: dict[str, str], until: int) -> None:
    from urllib.parse import parse_qsl, urlsplit

    signer = LinkSigner("key")
    parts = urlsplit(signer.sign("/p", values, until))
    given = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True))
    assert signer.holds("/p", given, until)
    assert not signer.holds("/p", given, until + 1)
    assert not signer.holds("/q", given, until)
    assert not LinkSigner("other").holds("/p", given, until)
    assert not signer.holds("/p", {**given, "exp": "9999"}, until)
    assert not signer.holds("/p", {**given, "d": ""}, until)


def facts(html: str) -> Any:
    return questions.facts(questions.Question("html", html, 0))


def test_the_task_is_found_the_way_a_browser_would() -> None:
    def key(html: str) -> list[str]:
        found = facts(html)
        return found["media"] if found else []

    plain = '<script type="application/json" id="kloc-task">{"media_key": "a.b"}</script>'
    assert key(plain) == ["a.b"]
    assert key(plain.replace('"application/json"', "application/json").replace('"kloc-task"', "'kloc-task'")) == ["a.b"]
    assert key(f"<!-- {plain} -->") == []
    assert key(plain.replace("kloc-task", "other")) == []
    assert key(plain.replace(' type="application/json"', "")) == []


def test_what_a_page_says_of_itself_is_taken_with_care() -> None:
    def of(**task: Any) -> Any:
        text = json.dumps(task).replace("<", "\\u003c")
        return facts(f'<script type="application/json" id="kloc-task">{text}</script>')

    example = {"media_key": "e1", "start": 0, "end": 1, "caption": ""}
    jump = {"name": "High jump", "definition": "", "examples": [example, {"media_key": "../x"}, 7]}
    told = of(media_key="v", classes=[jump], duration=12.5, expected_minutes=3, contact="a@b.org")
    assert told == {
        "classes": ["High jump"],
        "duration": 12.5,
        "expected_minutes": 3.0,
        "contact": "a@b.org",
        "media": ["v", "e1"],
    }
    nothing = {"classes": [], "duration": None, "expected_minutes": None, "contact": "", "media": []}
    wrong: list[dict[str, Any]] = [
        {"classes": 7, "duration": "x", "expected_minutes": -1, "contact": ["a"], "media_key": 7},
        {"classes": [7, {"name": 7}], "duration": float("nan"), "expected_minutes": True, "media_key": "../x"},
    ]
    for task in wrong:
        assert of(**task) == nothing
    assert of() is None
    assert questions.facts(questions.Question("external", "https://a.example", 0)) is None


@pytest.mark.parametrize(
    "xml",
    [
        f'<HTMLQuestion xmlns="{HTML}"><HTMLContent/><FrameHeight>0</FrameHeight></HTMLQuestion>',
        f'<HTMLQuestion xmlns="{HTML}"><HTMLContent>x</HTMLContent></HTMLQuestion>',
        f'<HTMLQuestion xmlns="{HTML}"><HTMLContent>x</HTMLContent><FrameHeight>-1</FrameHeight></HTMLQuestion>',
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>',
    ],
)
def test_questions_that_cannot_be(xml: str) -> None:
    with pytest.raises(RequestError) as caught:
        questions.parse(xml)
    assert caught.value.code == "AWS.MechanicalTurk.XMLParseError"


def test_a_bucket_fills_up_again() -> None:
    now = 0.0
    limiter = RateLimiter(2.0, 3.0, clock=lambda: now)

    def passes() -> bool:
        from kloc.crowd.endpoint.faults import Refusal

        try:
            limiter.take("a")
        except Refusal:
            return False
        return True

    assert [passes() for _ in range(4)] == [True, True, True, False]
    now = 1.0
    assert [passes() for _ in range(3)] == [True, True, False]


def test_a_plain_boto3_client_is_all_it_takes(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unchanged user code: address and keys come from the environment."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_MTURK", endpoint.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    mturk = boto3.session.Session(region_name="us-east-1").client("mturk")
    assert mturk.get_account_balance()["AvailableBalance"] == "1000000.00"
