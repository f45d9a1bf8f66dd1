"""Training on the worker's pages: offered, begun, handed in, graded, told; and the tasks that open with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from endpoint_kit import JSON, Endpoint, Person, hit_values, html_question

GOLD = [{"label": "High jump", "start": 2.0, "end": 5.0}, {"label": "High jump", "start": 8.0, "end": 9.5}]
KEY = {"version": 1, "segments": GOLD, "tolerance_s": 1.0, "tolerance_share": 0.1}
ANSWER_KEY = f'<GoldAnswerKey xmlns="urn:kloc:gold-answer-key:1"><JSON>{json.dumps(KEY)}</JSON></GoldAnswerKey>'
FORM = (
    '<QuestionForm xmlns="http://mechanicalturk.amazonaws.com/AWSMechanicalTurkDataSchemas/2017-11-06/QuestionForm.xsd">'
    "<Question><QuestionIdentifier>sport</QuestionIdentifier><QuestionContent><Text>Which sport has a bar?</Text>"
    "</QuestionContent><AnswerSpecification><SelectionAnswer><Selections>"
    "<Selection><SelectionIdentifier>high</SelectionIdentifier><Text>High jump</Text></Selection>"
    "<Selection><SelectionIdentifier>long</SelectionIdentifier><Text>Long jump</Text></Selection>"
    "</Selections></SelectionAnswer></AnswerSpecification></Question></QuestionForm>"
)
FORM_KEY = (
    '<AnswerKey xmlns="http://mechanicalturk.amazonaws.com/AWSMechanicalTurkDataSchemas/2005-10-01/AnswerKey.xsd">'
    "<Question><QuestionIdentifier>sport</QuestionIdentifier><AnswerOption><SelectionIdentifier>high"
    "</SelectionIdentifier><AnswerScore>100</AnswerScore></AnswerOption></Question></AnswerKey>"
)


def training(endpoint: Endpoint, **changes: Any) -> tuple[str, str]:
    """A qualification by a gold video, and a HIT that asks for 80 in it."""
    values: dict[str, Any] = {
        "Name": "Gate video v7",
        "Description": "Mark the high jumps in a video that is well known.",
        "QualificationTypeStatus": "Active",
        "Test": html_question("<p>Practice</p>", media_key="v"),
        "AnswerKey": ANSWER_KEY,
        "TestDurationInSeconds": 600,
        "RetryDelayInSeconds": 300,
        **changes,
    }
    kept = {name: value for name, value in values.items() if value is not None}
    type_id = endpoint.mturk.create_qualification_type(**kept)["QualificationType"]["QualificationTypeId"]
    requirement = {"QualificationTypeId": type_id, "Comparator": "GreaterThanOrEqualTo", "IntegerValues": [80]}
    hit = endpoint.mturk.create_hit(
        **hit_values(QualificationRequirements=[{**requirement, "ActionsGuarded": "Accept"}])
    )
    return type_id, hit["HIT"]["HITId"]


def begin(person: Person, type_id: str) -> httpx.Response:
    return person.http.post(f"{person.url}/w/{person.token}/qualify/{type_id}", headers=JSON)


def marks(*segments: dict[str, Any]) -> str:
    return json.dumps({"version": 1, "segments": list(segments), "none": not segments})


def test_a_gold_video_opens_the_tasks_behind_it(endpoint: Endpoint) -> None:
    (Path(endpoint.settings.media_folder) / "v.mp4").write_bytes(b"video")
    type_id, hit_id = training(endpoint)
    person = endpoint.person()
    home = f"{endpoint.url}/w/{person.token}"
    assert person.home()["open"] == []
    (offer,) = person.home()["qualifications"]
    assert offer == {
        "type_id": type_id,
        "name": "Gate video v7",
        "description": "Mark the high jumps in a video that is well known.",
        "state": "open",
        "score": None,
        "needed": 80,
        "retry_at": None,
        "start_url": f"{home}/qualify/{type_id}",
    }
    page = endpoint.http.get(home).text
    assert "training first" in page
    assert "Start the next task" not in page
    assert "Training first" in endpoint.http.get(f"{home}/preview/{hit_id}").text
    assert person.accept(hit_id).status_code == 403

    lease = begin(person, type_id).json()
    assert begin(person, type_id).json()["attempt_id"] == lease["attempt_id"]
    values = {name: only for name, (only,) in parse_qs(urlsplit(lease["frame_url"]).query).items()}
    assert values["assignmentId"] == lease["attempt_id"]
    assert endpoint.http.get(lease["media_url"]).content == b"video"
    frame = endpoint.http.get(lease["frame_url"])
    assert "<p>Practice</p>" in frame.text
    shell = endpoint.http.get(lease["test_url"]).text
    assert 'sandbox="allow-scripts allow-forms"' in shell
    for told in (page, frame.text, shell):
        assert "9.5" not in told  # the gold stays at home

    poor = person.submit(lease["attempt_id"], answer=marks({"label": "High jump", "start": 2.2, "end": 7.9})).json()
    assert (poor["status"], poor["passed"], poor["needed"]) == ("graded", False, 80)
    assert poor["score"] < 80
    assert "gold" not in poor
    assert "9.5" not in json.dumps(poor)
    assert person.submit(lease["attempt_id"], answer=marks(*GOLD)).json() == poor  # the first answer counts
    assert person.home()["qualifications"][0]["state"] == "wait"
    assert begin(person, type_id).status_code == 409
    assert "You can try again from" in endpoint.http.get(lease["test_url"]).text
    assert endpoint.http.get(lease["media_url"]).status_code == 200  # for its feedback

    endpoint.clock.ahead += 301
    second = begin(person, type_id).json()
    assert second["attempt_id"] != lease["attempt_id"]
    good = person.submit(second["attempt_id"], answer=marks(*GOLD)).json()
    assert (good["score"], good["passed"], good["gold"], good["again_at"]) == (100, True, GOLD, None)
    assert person.home()["qualifications"][0]["state"] == "passed"
    assert "Passed" in endpoint.http.get(second["test_url"]).text
    assert [task["hit_id"] for task in person.home()["open"]] == [hit_id]
    person.work(hit_id)


def test_a_form_is_a_test_too(endpoint: Endpoint) -> None:
    type_id, hit_id = training(endpoint, Name="Quiz", Test=FORM, AnswerKey=FORM_KEY, RetryDelayInSeconds=None)
    good, bad = endpoint.person(), endpoint.person()
    for person, choice in ((good, "high"), (bad, "long")):
        lease = begin(person, type_id).json()
        assert lease["media_url"] is None
        frame = endpoint.http.get(lease["frame_url"]).text
        assert "Which sport has a bar?" in frame
        assert f'value="{lease["attempt_id"]}"' in frame
        data = {"assignmentId": lease["attempt_id"], "sport": choice}
        page = endpoint.http.post(f"{endpoint.url}/mturk/externalSubmit", data=data)
        assert page.status_code == 200
        assert ("Passed" if person is good else "Not yet") in page.text
        assert "kloc-graded" in page.text
    assert good.accept(hit_id).status_code == 200
    assert bad.accept(hit_id).status_code == 403
    assert "no further try" in endpoint.http.get(f"{endpoint.url}/w/{bad.token}").text
    assert begin(bad, type_id).status_code == 409


def test_what_a_person_judges_and_what_is_asked_for(endpoint: Endpoint) -> None:
    judged, _ = training(endpoint, Name="Essay", AnswerKey=None)
    asked, _ = training(endpoint, Name="Club", Test=None, AnswerKey=None, TestDurationInSeconds=None)
    person = endpoint.person()
    home = f"{endpoint.url}/w/{person.token}"
    lease = begin(person, judged).json()
    assert person.submit(lease["attempt_id"], answer="words").json() == {"status": "pending"}
    assert begin(person, asked).json()["status"] == "pending"
    assert [each["state"] for each in person.home()["qualifications"]] == ["pending", "pending"]
    page = endpoint.http.get(home).text
    assert page.count("being judged") == 2
    assert "Somebody reads it" in endpoint.http.get(lease["test_url"]).text


def test_people_read_what_they_practise_and_programs_the_name(endpoint: Endpoint) -> None:
    told = json.dumps({"media_key": "v", "classes": [{"name": "High jump"}, {"name": "<b>"}]}).replace("<", "\\u003c")
    test = html_question(f'<script type="application/json" id="kloc-task">{told}</script>')
    type_id, _ = training(endpoint, Test=test, Name="kloc 81dc0f short 9a66b2")
    person = endpoint.person()
    pages = [endpoint.http.get(f"{endpoint.url}/w/{person.token}").text]
    pages.append(endpoint.http.get(begin(person, type_id).json()["test_url"]).text)
    for page in pages:
        assert "Practice: High jump, &lt;b&gt;</h" in page
        assert "81dc0f" not in page
    assert person.home()["qualifications"][0]["name"] == "kloc 81dc0f short 9a66b2"


def test_a_test_has_an_end_and_an_owner(endpoint: Endpoint) -> None:
    type_id, _ = training(endpoint)
    person, other = endpoint.person(), endpoint.person()
    lease = begin(person, type_id).json()
    foreign = lease["test_url"].replace(person.token, other.token)
    assert endpoint.http.get(foreign).status_code == 404
    assert endpoint.http.get(lease["frame_url"].split("?")[0]).status_code == 403
    assert endpoint.http.put(f"{endpoint.url}/draft/{lease['attempt_id']}", json=1).status_code == 404
    endpoint.clock.ahead += 700
    assert endpoint.http.get(lease["frame_url"]).status_code == 403
    assert endpoint.http.get(lease["media_url"]).status_code == 403
    assert person.submit(lease["attempt_id"], answer=marks(*GOLD)).status_code == 409
    assert "has run out" in endpoint.http.get(lease["test_url"]).text
    assert person.http.get(lease["test_url"], headers=JSON).json()["status"] == "expired"


@pytest.mark.parametrize("path", ["qualify/3NOTTHERE", "test/3NOTTHERE"])
def test_what_does_not_exist(endpoint: Endpoint, path: str) -> None:
    person = endpoint.person()
    method = "POST" if path.startswith("qualify") else "GET"
    answer = endpoint.http.request(method, f"{endpoint.url}/w/{person.token}/{path}", headers=JSON)
    assert answer.status_code == 404


def test_tasks_behind_a_gate_hide_no_others(endpoint: Endpoint) -> None:
    """A hundred tasks that come first and are closed to the worker leave those behind them reachable."""
    type_id, _ = training(endpoint)
    requirement = {"QualificationTypeId": type_id, "Comparator": "GreaterThanOrEqualTo", "IntegerValues": [80]}
    for number in range(11):
        endpoint.hit(QualificationRequirements=[requirement], RequesterAnnotation=str(number))
    free = endpoint.hit(Title="Open to all")
    person = endpoint.person()
    lease = endpoint.http.post(f"{endpoint.url}/w/{person.token}/next", headers=JSON).json()
    assert lease["hit_id"] == free


def test_by_the_forms_of_the_pages(endpoint: Endpoint) -> None:
    type_id, _ = training(endpoint)
    person = endpoint.person()
    home = f"{endpoint.url}/w/{person.token}"
    with httpx.Client(follow_redirects=True) as browser:
        assert f'action="{home}/qualify/{type_id}"' in browser.get(home).text
        shell = browser.post(f"{home}/qualify/{type_id}")
        attempt_id = shell.url.path.rsplit("/", 1)[1]
        assert shell.url.path.startswith(f"/w/{person.token}/test/")
        assert f'href="{home}/test/{attempt_id}"' in browser.get(home).text
        person.submit(attempt_id, answer=marks(*GOLD))
        assert "Start the next task" in browser.get(home).text
