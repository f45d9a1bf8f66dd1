"""Every page a worker meets, in Chromium: readable for screen readers, on every width, with the keyboard alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from endpoint_kit import Endpoint, hit_values

from benchmarks.annotator import hand_in, picture, severe
from kloc.config import TaskConfig
from kloc.crowd.endpoint import admin
from kloc.crowd.page import render
from kloc.crowd.question import html_question as kloc_html_question
from kloc.errors import CrowdError
from kloc.pipeline.serving import lan_address

pytestmark = pytest.mark.browser

#: What looks different enough to be read in the dark as well.
DARK = ("home", "login", "not there", "submitted", "form")
WIDTHS = ((1280, 720), (820, 1180), (390, 844))
GOLD = {"version": 1, "segments": [{"label": "High jump", "start": 2.0, "end": 5.0}], "tolerance_s": 1.0}
ANSWER_KEY = f'<GoldAnswerKey xmlns="urn:kloc:gold-answer-key:1"><JSON>{json.dumps(GOLD)}</JSON></GoldAnswerKey>'
LONG = "A class whose name is a whole sentence about what somebody does, how they do it and why"
FORM = (
    '<QuestionForm xmlns="http://mechanicalturk.amazonaws.com/AWSMechanicalTurkDataSchemas/2017-11-06/QuestionForm.xsd">'
    "<Overview><Title>Before you begin</Title><Text>Two questions.</Text></Overview>"
    "<Question><QuestionIdentifier>a</QuestionIdentifier><IsRequired>true</IsRequired><QuestionContent><Text>Which?"
    "</Text></QuestionContent><AnswerSpecification><SelectionAnswer><Selections><Selection><SelectionIdentifier>x"
    "</SelectionIdentifier><Text>This</Text></Selection><Selection><SelectionIdentifier>y</SelectionIdentifier>"
    "<Text>That</Text></Selection></Selections></SelectionAnswer></AnswerSpecification></Question>"
    "<Question><QuestionIdentifier>b</QuestionIdentifier><QuestionContent><Text>Why?</Text></QuestionContent>"
    "<AnswerSpecification><FreeTextAnswer/></AnswerSpecification></Question></QuestionForm>"
)


def question(*classes: str, duration: float = 12.0, **changes: Any) -> str:
    task: dict[str, Any] = {
        "version": 1,
        "video_id": "v",
        "media_key": "v",
        "media_type": "video/mp4",
        "duration": duration,
        "frame_period": 0.1,
        "classes": [{"name": name, "definition": f"Somebody does it: {name}."} for name in classes or ("High jump",)],
        "guideline": "g-1",
        "title": "Mark when an action happens in a video",
        "instructions": TaskConfig().instructions,
        "reward": "0.35",
        "expected_minutes": 3.0,
        "contact": "annotation@example.org",
        "prefill": [],
        **changes,
    }
    return kloc_html_question(render(task), "v")


def practice(endpoint: Endpoint, name: str, **changes: Any) -> tuple[str, str]:
    """A gate and a HIT behind it."""
    values: dict[str, Any] = {
        "Name": name,
        "Description": "Mark a video that is well known.",
        "QualificationTypeStatus": "Active",
        "Test": question(mode="training"),
        "AnswerKey": ANSWER_KEY,
        "TestDurationInSeconds": 600,
        "RetryDelayInSeconds": 0,
        **changes,
    }
    kept = {name: value for name, value in values.items() if value is not None}
    type_id = endpoint.mturk.create_qualification_type(**kept)["QualificationType"]["QualificationTypeId"]
    requirement = {"QualificationTypeId": type_id, "Comparator": "GreaterThanOrEqualTo", "IntegerValues": [80]}
    values = hit_values(Question=question("Long jump"), QualificationRequirements=[requirement])
    return type_id, endpoint.mturk.create_hit(**values)["HIT"]["HITId"]


@pytest.fixture
def open_tab(chromium: Any) -> Iterator[Callable[..., Any]]:
    opened, errors = [], []

    def begin(scheme: str = "light") -> Any:
        context = chromium.new_context(viewport={"width": 1280, "height": 720}, color_scheme=scheme)
        context.set_default_timeout(30_000)
        opened.append(context)
        tab = context.new_page()
        tab.on("pageerror", lambda error: errors.append(str(error)))
        return tab

    yield begin
    for context in opened:
        context.close()
    assert errors == []


@pytest.fixture
def place(endpoint: Endpoint, video: Path) -> Endpoint:
    shutil.copy(video, Path(endpoint.settings.media_folder) / "v.mp4")
    return endpoint


def scene(endpoint: Endpoint) -> dict[str, str]:
    """A worker with a past, a present and a choice; page -> address."""
    person = endpoint.person()
    home = f"{endpoint.url}/w/{person.token}"

    def work(number: int) -> str:
        return person.work(endpoint.hit(Question=question(), RequesterAnnotation=str(number)))

    done = [work(number) for number in range(10)]
    endpoint.mturk.approve_assignment(AssignmentId=done[0])
    endpoint.mturk.reject_assignment(AssignmentId=done[-1], RequesterFeedback=f"Nothing was marked. {LONG}")
    endpoint.mturk.send_bonus(
        WorkerId=person.id, BonusAmount="1.00", AssignmentId=done[0], Reason="careful", UniqueRequestToken="b"
    )
    endpoint.mturk.notify_workers(Subject=LONG, MessageText="Please read\nthe rules again.", WorkerIds=[person.id])
    broken = person.take(endpoint.hit(RequesterAnnotation="broken"))
    endpoint.http.post(f"{endpoint.url}/report/{broken['assignment_id']}", json={"kind": "other", "text": LONG})
    returned = person.take(endpoint.hit(Question=question("Hammer throw"), RequesterAnnotation="returned"))
    person.give_back(returned["assignment_id"])
    held = person.take(endpoint.hit(Question=question(LONG, "High jump"), RequesterAnnotation="held"))
    hit_id = endpoint.hit(Question=question("Long jump", LONG, duration=95.0), RequesterAnnotation="open")
    gate, _ = practice(endpoint, "High jump, first video", RetryDelayInSeconds=600)
    quiz, _ = practice(endpoint, "Quiz", Test=FORM, AnswerKey=None)
    test, form = (
        endpoint.http.post(f"{home}/qualify/{each}", headers={"Accept": "application/json"}).json()
        for each in (gate, quiz)
    )
    failed = endpoint.person()
    tried = failed.http.post(
        f"{endpoint.url}/w/{failed.token}/qualify/{gate}", headers={"Accept": "application/json"}
    ).json()
    failed.submit(tried["attempt_id"], answer="{}")
    password = admin.give_password(endpoint.settings.database_url, "worker 1")
    login = endpoint.http.post(f"{endpoint.url}/login", data={"name": "worker 1", "password": password})
    return {
        "home": login.headers["location"],
        "history": f"{home}/history",
        "login": f"{endpoint.url}/login",
        "not valid": f"{endpoint.url}/w/{'x' * 30}",
        "not there": f"{home}/task/3NOTTHERE",
        "preview": f"{home}/preview/{hit_id}",
        "task": held["task_url"],
        "submitted": f"{home}/task/{done[0]}",
        "returned": returned["task_url"],
        "reported": broken["task_url"],
        "test": test["test_url"],
        "test judged": tried["test_url"],
        "form": form["frame_url"],
    }


def test_every_page_on_every_width_for_every_reader(place: Endpoint, open_tab: Callable[..., Any]) -> None:
    pages = scene(place)
    found: dict[str, list[str]] = {}
    for scheme, (width, height) in zip(("light", "light", "dark"), WIDTHS, strict=True):
        tab = open_tab(scheme)
        tab.set_viewport_size({"width": width, "height": height})
        for name, address in pages.items():
            tab.goto(address)
            if tab.evaluate("document.documentElement.scrollWidth > innerWidth"):
                found[f"{name} {width}"] = ["scrolls sideways"]
            if width == 1280 or (scheme == "dark" and name in DARK):
                found[f"{name} {scheme}"] = severe(tab)
            picture(tab, f"worker-{name.replace(' ', '-')}-{scheme}-{width}")
    assert {where: lines for where, lines in found.items() if lines} == {}
    # It would have been seen.
    tab.goto(pages["login"])
    tab.evaluate("document.querySelector('label').remove()")
    assert "label" in severe(tab)[0]


def test_a_day_with_the_keyboard_alone(place: Endpoint, open_tab: Callable[..., Any]) -> None:
    place.person()
    password = admin.give_password(place.settings.database_url, "worker 1")
    for number in range(2):
        place.hit(Question=question(), MaxAssignments=1, RequesterAnnotation=str(number))
    tab = open_tab()
    tab.goto(f"{place.url}/login")
    tab.keyboard.type("worker 1")
    tab.keyboard.press("Tab")
    tab.keyboard.type("wrong")
    tab.keyboard.press("Enter")
    tab.get_by_role("alert").wait_for()
    tab.keyboard.type(password)  # the name is still there, and the focus is where it is needed
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/w/*")
    button = tab.get_by_role("button", name="Start the next task")
    for _ in range(20):
        if button.evaluate("node => node === document.activeElement"):
            break
        tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/task/*")
    for left in (1, 0):
        frame = tab.frame_locator("iframe")
        frame.locator("#cover").wait_for(state="hidden")
        frame.locator("#submit").wait_for()
        assert tab.evaluate("document.activeElement.tagName") == "IFRAME"  # keys reach the task at once
        if left:
            frame.get_by_role("button", name="Go to the video").wait_for()
            tab.keyboard.press("Enter")
        tab.keyboard.press("0")
        frame.locator("#none[aria-checked=true]").wait_for()
        frame.locator("#submit").focus()
        tab.keyboard.press("Enter")
        frame.get_by_role("button", name="Submit all the same").press("Enter")  # nothing of it was watched
        tab.get_by_text("Thank you, your answer is in.").wait_for()
        tab.keyboard.press("Enter")  # the next task is one key away
        if left:
            tab.wait_for_url(lambda url: "/task/" in url)
            tab.locator("iframe").wait_for()
    tab.get_by_text("There is no open task for you").wait_for()


def test_a_report_in_the_page_gives_the_task_back(place: Endpoint, open_tab: Callable[..., Any]) -> None:
    person, hit_id = place.person(), place.hit(Question=question())
    tab = open_tab()
    tab.goto(person.take(hit_id)["task_url"])
    frame = tab.frame_locator("iframe")
    frame.get_by_role("button", name="Go to the video").click()
    frame.locator("#report").click()
    frame.locator("input[name=kind]").first.check()
    frame.locator("#report-send").click()
    tab.get_by_role("heading", name="Thank you for your report.").wait_for()
    assert tab.locator("iframe").count() == 0
    tab.get_by_role("link", name="All tasks").click()
    tab.get_by_text("Problems you reported").wait_for()
    assert person.home()["open"] == []


def test_practice_until_it_is_passed(place: Endpoint, open_tab: Callable[..., Any]) -> None:
    person = place.person()
    _, hit_id = practice(place, "High jump, first video")
    tab = open_tab()
    tab.goto(f"{place.url}/w/{person.token}")
    tab.get_by_role("button", name="Start Practice: High jump").click()
    tab.wait_for_url("**/test/*")
    frame = tab.frame_locator("iframe")
    frame.get_by_role("button", name="Go to the video").click()
    frame.locator("#none").click()
    # A frame may claim what it likes.
    frame.locator("body").evaluate("() => parent.postMessage({ type: 'kloc-graded', passed: true }, '*')")
    hand_in(frame)
    frame.get_by_role("heading", name="Not yet").wait_for()
    tab.get_by_role("button", name="Try again").wait_for()
    assert not tab.get_by_role("button", name="Start working").is_visible()
    first = tab.url
    frame.get_by_role("button", name="Try again").click()
    tab.wait_for_url(lambda url: "/test/" in url and url != first)
    attempt_id = tab.url.rsplit("/", 1)[1]
    right = json.dumps({"version": 1, "segments": GOLD["segments"], "none": False})
    assert person.submit(attempt_id, answer=right).json()["passed"]
    tab.frame_locator("iframe").locator("body").evaluate("() => parent.postMessage({ type: 'kloc-graded' }, '*')")
    tab.get_by_role("button", name="Start working").click()
    tab.wait_for_url("**/task/*")
    assert [task["hit_id"] for task in person.home()["in_progress"]] == [hit_id]
    assert person.home()["qualifications"][0]["state"] == "passed"


def test_on_plain_http_in_a_local_network(
    start: Callable[..., Endpoint], video: Path, open_tab: Callable[..., Any]
) -> None:
    """No secure context: browsers name no Sec-Fetch-Site there, and many of their functions are missing."""
    try:
        endpoint = start(host=lan_address())
    except CrowdError as error:
        pytest.skip(str(error))
    shutil.copy(video, Path(endpoint.settings.media_folder) / "v.mp4")
    endpoint.person()
    password = admin.give_password(endpoint.settings.database_url, "worker 1")
    hit_id = endpoint.hit(Question=question())
    tab = open_tab()
    tab.goto(endpoint.url)
    assert tab.evaluate("isSecureContext") is False
    tab.get_by_label("Name").fill("worker 1")
    tab.get_by_label("Password").fill(password)
    tab.get_by_role("button", name="Sign in").click()
    tab.get_by_role("button", name="Start the next task").click()
    tab.wait_for_url("**/task/*")
    frame = tab.frame_locator("iframe")
    frame.get_by_role("button", name="Go to the video").click()
    with tab.expect_response(lambda reply: "/draft/" in reply.url and reply.request.method == "PUT") as saved:
        frame.locator("#none").click()
    assert saved.value.status == 204
    hand_in(frame)
    tab.get_by_text("Thank you, your answer is in.").wait_for()
    tab.get_by_role("link", name="All tasks").click()
    tab.get_by_role("button", name="Sign out").click()
    tab.get_by_role("heading", name="Sign in").wait_for()
    assert len(endpoint.mturk.list_assignments_for_hit(HITId=hit_id)["Assignments"]) == 1


def test_a_form_in_the_page(place: Endpoint, open_tab: Callable[..., Any]) -> None:
    person, hit_id = place.person(), place.hit(Question=FORM)
    tab = open_tab()
    tab.goto(person.take(hit_id)["task_url"])
    frame = tab.frame_locator("iframe")
    frame.get_by_label("That").check()
    frame.get_by_label("Why?").fill("Because")
    frame.get_by_role("button", name="Submit").click()
    tab.get_by_text("Thank you, your answer is in.").wait_for()
    (found,) = place.mturk.list_assignments_for_hit(HITId=hit_id)["Assignments"]
    assert "<SelectionIdentifier>y</SelectionIdentifier>" in found["Answer"]
    assert "<FreeText>Because</FreeText>" in found["Answer"]


def test_work_that_never_reached_the_server_is_found_again_and_leaving_it_is_asked_about(
    place: Endpoint, open_tab: Callable[..., Any]
) -> None:
    person, hit_id = place.person(), place.hit(Question=question())
    tab = open_tab()
    tab.set_viewport_size({"width": 820, "height": 1180})
    asked: list[str] = []
    tab.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    tab.goto(person.take(hit_id)["task_url"])
    frame = tab.frame_locator("iframe")
    frame.get_by_role("button", name="Go to the video").click()
    away = ("**/draft/*", "**/externalSubmit")
    for route in away:
        tab.route(route, lambda call: call.continue_() if call.request.method == "GET" else call.abort())
    frame.locator("#none").click()
    hand_in(frame)
    frame.get_by_text("Your work is safe, trying again").wait_for()
    frame.get_by_text("Saved on this device").wait_for()
    tab.reload()
    assert asked == ["beforeunload"]
    for route in away:
        tab.unroute(route)
    frame.get_by_role("button", name="Send it now").click()
    frame.get_by_role("button", name="Submit all the same").click()
    tab.get_by_text("Thank you, your answer is in.").wait_for()
    (answer,) = place.mturk.list_assignments_for_hit(HITId=hit_id)["Assignments"]
    assert "none" in answer["Answer"]
    assert asked == ["beforeunload"]
    assert [key for key in tab.evaluate("Object.keys(localStorage)") if not key.startswith("kloc:guide:")] == []
