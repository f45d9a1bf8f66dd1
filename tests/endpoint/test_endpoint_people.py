"""What people meet beside their tasks: signing in, what the pages tell, problem reports, standard forms."""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from endpoint_kit import ACCESS, JSON, SECRET, Endpoint, Person, html_question

from kloc.crowd.client import make_client, problem_reports
from kloc.crowd.endpoint import admin, participants, questions
from kloc.crowd.endpoint.faults import RequestError

FORM = "http://mechanicalturk.amazonaws.com/AWSMechanicalTurkDataSchemas/2017-11-06/QuestionForm.xsd"


def kloc_question(**changes: Any) -> str:
    """A page that says of itself what kloc's own page says."""
    task = {
        "media_key": "v",
        "duration": 75.0,
        "expected_minutes": 3.0,
        "contact": "annotation@example.org",
        "guideline": "g-7",
        "instructions": "Watch it all.\n\nThen mark <every> jump.",
        "classes": [
            {
                "name": "High jump",
                "definition": "Over the bar.",
                "examples": [{"media_key": "clip", "start": 1, "end": 2, "caption": ""}],
            }
        ],
        **changes,
    }
    text = json.dumps(task).replace("<", "\\u003c")
    return html_question(f'<script type="application/json" id="kloc-task">{text}</script><p>Look</p>')


# -- signing in -------------------------------------------------------------------------------------------------


def sign_in(endpoint: Endpoint, name: str, password: str, **headers: str) -> httpx.Response:
    return endpoint.http.post(f"{endpoint.url}/login", data={"name": name, "password": password}, headers=headers)


@pytest.fixture
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes that take no time, where what is tested is not how long they take."""
    monkeypatch.setattr(participants, "_COST", (16, 8, 1))


def test_a_password_opens_the_page_for_a_day(endpoint: Endpoint, tmp_path: Path) -> None:
    url = endpoint.settings.database_url
    person, password = endpoint.person(), admin.give_password(url, "worker 1")
    answer = sign_in(endpoint, " worker 1 ", password)
    assert answer.status_code == 303
    assert "set-cookie" not in answer.headers
    home = answer.headers["location"]
    assert endpoint.http.get(home, headers=JSON).json()["worker_id"] == person.id
    assert "Sign out" in endpoint.http.get(home).text
    assert endpoint.http.get(f"{endpoint.url}/w/{person.token}").status_code == 403  # the password is instead of it
    invited = endpoint.person()
    assert "Sign out" not in endpoint.http.get(f"{endpoint.url}/w/{invited.token}").text
    other = sign_in(endpoint, "worker 1", password, **JSON).json()["home_url"]
    assert other != home
    assert endpoint.http.post(f"{home}/leave").status_code == 303
    assert endpoint.http.get(home).status_code == 403
    assert "Sign in with name and password" in endpoint.http.get(home).text
    assert endpoint.http.get(other).status_code == 200
    endpoint.clock.ahead += participants.SESSION_SECONDS + 1
    assert endpoint.http.get(other).status_code == 403
    assert invited.home()["worker_id"] == invited.id  # an invitation has no end, and signing out does not end it
    endpoint.http.post(f"{endpoint.url}/w/{invited.token}/leave")
    assert invited.home()["worker_id"] == invited.id
    for path in tmp_path.glob("endpoint.db*"):
        content = path.read_bytes()
        for secret in (password, home.rsplit("/", 1)[1]):
            assert secret.encode() not in content


def test_the_bare_address_leads_to_the_door(endpoint: Endpoint) -> None:
    answer = endpoint.http.get(endpoint.url)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{endpoint.url}/login")
    assert endpoint.http.get(endpoint.url, headers={"Host": "a'; script-src *"}).status_code == 400


@pytest.mark.usefixtures("cheap_passwords")
def test_a_new_password_closes_what_the_old_one_opened(endpoint: Endpoint) -> None:
    url = endpoint.settings.database_url
    person, first = endpoint.person(), admin.give_password(url, "worker 1")
    home = sign_in(endpoint, "worker 1", first).headers["location"]
    second = admin.give_password(url, "worker 1")
    assert endpoint.http.get(home).status_code == 403
    assert sign_in(endpoint, "worker 1", first).status_code == 403
    home = sign_in(endpoint, "worker 1", second).headers["location"]
    admin.revoke(url, "worker 1")
    assert endpoint.http.get(home).status_code == 403
    assert sign_in(endpoint, "worker 1", second).status_code == 403
    assert admin.create_worker(url, "worker 1")[0] == person.id
    assert sign_in(endpoint, "worker 1", second).status_code == 403  # a withdrawn password does not come back


@pytest.mark.usefixtures("cheap_passwords")
def test_a_new_link_is_instead_of_the_password(endpoint: Endpoint) -> None:
    url = endpoint.settings.database_url
    password = admin.give_password(url, "Ada")
    home = sign_in(endpoint, "Ada", password).headers["location"]
    admin.ensure_worker(url, "Ada", "a fresh token of good length", replace=True)
    assert endpoint.http.get(home).status_code == 403
    assert sign_in(endpoint, "Ada", password).status_code == 403


def test_nobody_learns_which_names_exist(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []
    scrypt = participants.hashlib.scrypt
    monkeypatch.setattr(
        participants.hashlib,
        "scrypt",
        lambda *args, **kwargs: calls.append((kwargs["n"], kwargs["r"], kwargs["p"])) or scrypt(*args, **kwargs),
    )
    endpoint.person()
    admin.give_password(endpoint.settings.database_url, "worker 1")
    endpoint.person()  # has a link, no password
    calls.clear()
    answers = [sign_in(endpoint, name, "wrong", **JSON) for name in ("worker 1", "worker 2", "nobody", "")]
    assert {(answer.status_code, answer.text) for answer in answers} == {(403, answers[0].text)}
    assert len(calls) == 4
    assert len(set(calls)) == 1


def knock(endpoint: Endpoint, **headers: str) -> int:
    return endpoint.http.get(f"{endpoint.url}/w/{'x' * 30}", headers={**JSON, **headers}).status_code


@pytest.mark.usefixtures("cheap_passwords")
def test_guessing_a_password_is_slow_for_a_name_and_for_an_address(endpoint: Endpoint) -> None:
    url = endpoint.settings.database_url
    endpoint.person()
    password = admin.give_password(url, "worker 1")
    answers = [sign_in(endpoint, "worker 1", f"guess {number}", **JSON).status_code for number in range(10)]
    assert answers == [403] * 10
    assert any(sign_in(endpoint, "worker 1", password, **JSON).status_code == 429 for _ in range(10))
    # Another name is another lock, but one address has only so many keys to try.
    assert sign_in(endpoint, "worker 2", "x", **JSON).status_code == 403
    assert any(knock(endpoint) == 429 for _ in range(200))
    assert any(sign_in(endpoint, f"name {number}", "x", **JSON).status_code == 429 for number in range(10))


@pytest.mark.usefixtures("cheap_passwords")
def test_a_strangers_guesses_lock_nobody_out(start: Callable[..., Endpoint]) -> None:
    endpoint = start(behind_proxy=True, public_url="https://lab.example")
    password = admin.give_password(endpoint.settings.database_url, "Ada")

    def enter(secret: str, address: str) -> int:
        return sign_in(endpoint, "Ada", secret, **JSON, **{"X-Forwarded-For": address}).status_code

    assert Counter(enter("guess", "10.0.0.9") for _ in range(20))[429] >= 5
    assert enter(password, "10.0.0.1") == 200
    # A name is guessed from many places at once no faster than from a few.
    assert any(enter("guess", f"10.1.0.{number}") == 429 for number in range(200))


@pytest.mark.usefixtures("cheap_passwords")
def test_who_signs_in_often_is_not_locked_out(endpoint: Endpoint) -> None:
    endpoint.person()
    password = admin.give_password(endpoint.settings.database_url, "worker 1")
    assert {sign_in(endpoint, "worker 1", password).status_code for _ in range(12)} == {303}


@pytest.mark.usefixtures("cheap_passwords")
@pytest.mark.parametrize("body", [b"", b"name=%ff&password=%00", b"name=a&name=b", b"\xff\xfe", b"x" * 4000])
def test_nonsense_at_the_door(endpoint: Endpoint, body: bytes) -> None:
    assert endpoint.http.post(f"{endpoint.url}/login", content=body).status_code == 403
    assert endpoint.http.post(f"{endpoint.url}/login", content=body * 9 + b"x" * 40_000).status_code == 413


def test_behind_a_proxy_everybody_has_their_own_share(start: Callable[..., Endpoint]) -> None:
    endpoint = start(behind_proxy=True, public_url="https://lab.example")
    assert any(knock(endpoint, **{"X-Forwarded-For": "10.0.0.2, 10.0.0.1"}) == 429 for _ in range(200))
    assert knock(endpoint, **{"X-Forwarded-For": "10.0.0.1, 10.0.0.2"}) == 403
    plain = start()  # nobody said that there is a proxy: its header is the caller's own word
    assert any(knock(plain, **{"X-Forwarded-For": f"10.0.0.{number}"}) == 429 for number in range(200))


def test_a_frame_that_runs_wild_is_slowed_down(start: Callable[..., Endpoint]) -> None:
    endpoint = start(requests_per_second=0.5)
    person, other = endpoint.person(), endpoint.person()
    hit_id = endpoint.hit()
    lease, calm = person.take(hit_id), other.take(hit_id)
    draft = f"{endpoint.url}/draft/{lease['assignment_id']}"
    assert 429 in [endpoint.http.put(draft, json=number).status_code for number in range(40)]
    assert person.submit(lease["assignment_id"], a="1").status_code in (200, 429)
    assert other.submit(calm["assignment_id"], a="1").status_code == 200


# -- what other sites may not do --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({}, True),
        ({"Origin": "{own}"}, True),
        ({"Origin": "null"}, True),  # plain HTTP: our own pages send no referrer
        ({"Origin": "{own}", "Sec-Fetch-Site": "same-origin"}, True),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "null", "Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
    ],
)
def test_pages_of_other_sites_are_refused(endpoint: Endpoint, headers: dict[str, str], passes: bool) -> None:
    person, hit_id = endpoint.person(), endpoint.hit()
    sent = {name: value.replace("{own}", endpoint.url) for name, value in headers.items()}
    home = f"{endpoint.url}/w/{person.token}"
    lease = person.take(hit_id)
    for path in (f"/accept/{hit_id}", f"/return/{lease['assignment_id']}", f"/accept/{hit_id}", "/leave"):
        assert (endpoint.http.post(home + path, headers=sent).status_code == 303) == passes
    assert (
        sign_in(endpoint, "nobody", "x", **sent, **JSON)
        .json()["error"]
        .startswith("This name" if passes else "This was sent by another site")
    )


# -- what the pages tell ----------------------------------------------------------------------------------------


def seen(page: httpx.Response) -> str:
    """The text of a page as somebody reads it."""
    body = page.text.partition("<body>")[2]
    return " ".join(re.sub(r"<script.*?</script>|<[^>]*>", " ", body, flags=re.S).split())


def test_home_and_preview_tell_what_a_task_is_worth(endpoint: Endpoint) -> None:
    person = endpoint.person()
    hit_id = endpoint.hit(Question=kloc_question())
    endpoint.hit(Question=kloc_question(duration=30.0), RequesterAnnotation="another")
    endpoint.hit(Question=kloc_question(classes=[{"name": "Long jump"}]), RequesterAnnotation="a third")
    home = seen(endpoint.http.get(f"{endpoint.url}/w/{person.token}"))
    assert home.count("Takes about 3 min Per hour $5.00 Time limit 10 min") == 2
    assert "High jump Find every high jump Pay $0.25" in home
    assert "Video 0:30 to 1:15 Open for you 2 tasks" in home
    assert "Video 1:15 Open for you 1 task" in home
    assert home.count("annotation@example.org") == 1
    preview = seen(endpoint.http.get(f"{endpoint.url}/w/{person.token}/preview/{hit_id}"))
    assert "Pay $0.25 Takes about 3 min Per hour $5.00 Time limit 10 min Video 1:15" in preview
    assert "annotation@example.org" in preview
    assert "Guideline g-7 What you are asked to do Watch it all. Then mark &lt;every&gt; jump." in preview
    told = {task["hit_id"]: task for task in person.home()["open"]}[hit_id]
    assert (told["classes"], told["duration"], told["expected_minutes"]) == (["High jump"], 75.0, 3.0)


def test_who_holds_tasks_is_led_back_to_the_most_urgent_one(endpoint: Endpoint) -> None:
    person = endpoint.person()
    first = person.take(endpoint.hit(Question=kloc_question()))["assignment_id"]
    endpoint.clock.ahead += 60
    person.take(endpoint.hit(Question=kloc_question(duration=30.0), RequesterAnnotation="another"))
    endpoint.hit(Question=kloc_question(), RequesterAnnotation="a third")
    home = f"{endpoint.url}/w/{person.token}"
    page = endpoint.http.get(home)
    text = seen(page)
    assert f'<a class="button big" href="{home}/task/{first}">Go on with your open task</a>' in page.text
    assert "Start the next task" not in text
    # What is held differs in what the cards say.
    assert re.findall(r"video of (\S+) · taken .*? · (\d+ min) left", text) == [("1:15", "9 min"), ("0:30", "10 min")]
    back = endpoint.http.post(f"{home}/next", follow_redirects=False)
    assert (back.status_code, back.headers["location"]) == (303, f"{home}/task/{first}")
    assert len(person.home()["in_progress"]) == 2
    # A program is given another one.
    assert endpoint.http.post(f"{home}/next", headers=JSON).json()["assignment_id"] != first


def test_the_books_add_up(endpoint: Endpoint) -> None:
    person = endpoint.person()
    works = [person.work(endpoint.hit(AutoApprovalDelayInSeconds=10**6, RequesterAnnotation=str(n))) for n in range(4)]
    endpoint.mturk.approve_assignment(AssignmentId=works[0])
    endpoint.mturk.reject_assignment(AssignmentId=works[1], RequesterFeedback="Nothing was marked, and there are two.")
    endpoint.mturk.send_bonus(
        WorkerId=person.id, BonusAmount="1.10", AssignmentId=works[0], Reason="Thanks", UniqueRequestToken="b"
    )
    page = endpoint.http.get(f"{endpoint.url}/w/{person.token}")
    text = seen(page)
    assert "Today $1.35 4 handed in" in text
    assert "Waiting for review $0.50 2 tasks" in text
    assert "Earned in all $1.35 $1.10 of it bonuses" in text
    assert "Judged so far 1 approved, 1 rejected" in text
    assert "Reason: Nothing was marked, and there are two. $0.25 rejected" in text
    assert "$0.25 + $1.10 bonus approved, paid" in text
    endpoint.clock.ahead += 86_400
    later = seen(endpoint.http.get(f"{endpoint.url}/w/{person.token}"))
    assert "Today $0.00 0 handed in" in later
    assert "Earned in all $1.35" in later


def test_the_history_has_pages(endpoint: Endpoint) -> None:
    person = endpoint.person()
    done = [
        person.work(endpoint.hit(Title=f"Task {number:02d}", RequesterAnnotation=str(number))) for number in range(27)
    ]
    assert len(done) == 27
    home = f"{endpoint.url}/w/{person.token}"
    assert "All 27 handed-in tasks" in endpoint.http.get(home).text
    pages = [seen(endpoint.http.get(f"{home}/history?page={number}")) for number in (1, 2)]
    titles = [re.findall(r"Task \d\d", page) for page in pages]
    assert [len(page) for page in titles] == [25, 2]
    assert sorted(titles[0] + titles[1]) == [f"Task {number:02d}" for number in range(27)]
    for odd in ("0", "-1", "99999999999999999999", "x", "٣"):
        assert endpoint.http.get(f"{home}/history", params={"page": odd}).status_code == 200


def test_who_is_blocked_sees_what_they_did_and_no_more_tasks(endpoint: Endpoint) -> None:
    person = endpoint.person()
    person.work(endpoint.hit())
    endpoint.hit(RequesterAnnotation="another")
    with sqlite3.connect(endpoint.settings.database_url.removeprefix("sqlite:///")) as connection:
        connection.execute("insert into worker_blocks values (?, 'spam', 0)", [person.id])
    connection.close()
    page = seen(endpoint.http.get(f"{endpoint.url}/w/{person.token}"))
    assert "You get no more tasks here" in page
    assert "waiting for review" in page
    assert "Start the next task" not in page
    assert person.home()["open"] == []


def test_example_clips_come_by_signed_links_that_end_with_the_lease(endpoint: Endpoint) -> None:
    folder = Path(endpoint.settings.media_folder)
    for key in ("v", "clip"):
        (folder / f"{key}.mp4").write_bytes(key.encode())
    person, hit_id = endpoint.person(), endpoint.hit(Question=kloc_question())
    preview = endpoint.http.get(f"{endpoint.url}/w/{person.token}/preview/{hit_id}", headers=JSON).json()
    lease = person.take(hit_id)
    for address in (preview["frame_url"], lease["frame_url"]):
        values = parse_qs(urlsplit(address).query)
        assert endpoint.http.get(values["mediaUrl"][0]).content == b"v"
        assert endpoint.http.get(values["media:clip"][0]).content == b"clip"
    person.submit(lease["assignment_id"], a="1")
    assert endpoint.http.get(values["media:clip"][0]).status_code == 403


# -- problem reports --------------------------------------------------------------------------------------------


def tell(person: Person, assignment_id: str, **report: Any) -> httpx.Response:
    return person.http.post(f"{person.url}/report/{assignment_id}", json=report, headers={**JSON, "Origin": "null"})


def test_a_report_gives_the_task_back_without_penalty(endpoint: Endpoint) -> None:
    person, other, hit_id = endpoint.person(), endpoint.person(), endpoint.hit(MaxAssignments=1)
    lease = person.take(hit_id)
    assert f"reportUrl={endpoint.url.replace(':', '%3A').replace('/', '%2F')}%2Freport%2F" in lease["frame_url"]
    answer = tell(person, lease["assignment_id"], kind="disturbing", text="<b>no</b>")
    assert (answer.status_code, answer.json()) == (200, {"status": "returned"})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert tell(person, lease["assignment_id"], kind="disturbing", text="<b>no</b>").status_code == 200
    home = f"{endpoint.url}/w/{person.token}"
    assert person.home()["open"] == person.home()["in_progress"] == []
    assert endpoint.http.post(f"{home}/next", headers=JSON).status_code == 404
    assert "reported a problem" in person.accept(hit_id).json()["error"]
    assert "&lt;b&gt;no&lt;/b&gt;" in endpoint.http.get(home).text
    assert "Thank you for your report." in endpoint.http.get(lease["task_url"]).text
    assert other.home()["open"][0]["hit_id"] == hit_id
    other.work(hit_id)
    client = make_client(endpoint.url, ACCESS, SECRET)
    (report,) = problem_reports(client)
    assert report.pop("Time") == pytest.approx(endpoint.clock(), abs=60)
    number = report.pop("Id")
    assert report == {
        "HITId": hit_id,
        "AssignmentId": lease["assignment_id"],
        "WorkerId": person.id,
        "Kind": "disturbing",
        "Text": "<b>no</b>",
    }
    assert problem_reports(client, after=number) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b"[" * 9000,
        b'{"kind": "nice", "text": ""}',
        b'{"kind": ["other"]}',
        b'{"kind": "other", "text": 7}',
        json.dumps({"kind": "other", "text": "x" * 2001}).encode(),
    ],
)
def test_what_is_no_report(endpoint: Endpoint, content: bytes) -> None:
    person = endpoint.person()
    lease = person.take(endpoint.hit())
    url = f"{endpoint.url}/report/{lease['assignment_id']}"
    assert endpoint.http.post(url, content=content).status_code == 400
    assert len(person.home()["in_progress"]) == 1


def test_reports_of_what_cannot_be_reported(endpoint: Endpoint) -> None:
    person = endpoint.person()
    done = person.work(endpoint.hit())
    assert tell(person, done, kind="other", text="late").status_code == 409
    assert tell(person, "3NOTTHERE", kind="other", text="?").status_code == 404
    assert tell(person, done, kind="other", text="x" * 20_000).status_code == 413
    assert problem_reports(make_client(endpoint.url, ACCESS, SECRET)) == []


@pytest.mark.parametrize("what", ["report", "draft"])
def test_whoever_makes_ids_up_is_slowed_down_and_nobody_else(endpoint: Endpoint, what: str) -> None:
    person = endpoint.person()
    lease = person.take(endpoint.hit())
    body = {"kind": "other", "text": ""}
    made_up = (endpoint.http.post(f"{endpoint.url}/{what}/3MADEUP{number}", json=body) for number in range(200))
    assert any(answer.status_code == 429 for answer in made_up)
    own = endpoint.http.post(f"{endpoint.url}/{what}/{lease['assignment_id']}", json=body)
    assert own.status_code in (200, 204)


def test_reports_are_the_requesters_alone(endpoint: Endpoint) -> None:
    person = endpoint.person()
    tell(person, person.take(endpoint.hit())["assignment_id"], kind="other", text="private")
    assert endpoint.http.get(f"{endpoint.url}/reports").status_code == 403
    assert problem_reports(make_client(endpoint.url, ACCESS, "another secret key")) == []
    for odd in ("after=x", "after=1&more=2", "other=1", "after=-1", "after=" + "9" * 30):
        assert endpoint.http.get(f"{endpoint.url}/reports?{odd}").status_code in (400, 403)


def test_many_reports_come_in_their_order(endpoint: Endpoint) -> None:
    person, hit_id = endpoint.person(), endpoint.hit()
    lease = person.take(hit_id)
    with sqlite3.connect(endpoint.settings.database_url.removeprefix("sqlite:///")) as connection:
        connection.executemany(
            "insert into reports (assignment_id, hit_id, worker_id, kind, text, created) values (?, ?, ?, ?, ?, 0)",
            [(lease["assignment_id"], hit_id, person.id, "other", str(number)) for number in range(1203)],
        )
    connection.close()
    found = problem_reports(make_client(endpoint.url, ACCESS, SECRET))
    assert [int(report["Text"]) for report in found] == list(range(1203))


# -- standard forms ---------------------------------------------------------------------------------------------


def form(questions_xml: str) -> str:
    return f'<QuestionForm xmlns="{FORM}">{questions_xml}</QuestionForm>'


def asked(identifier: str, specification: str, content: str = "<Text>What?</Text>") -> str:
    return (
        f"<Question><QuestionIdentifier>{identifier}</QuestionIdentifier><IsRequired>true</IsRequired>"
        f"<QuestionContent>{content}</QuestionContent><AnswerSpecification>{specification}</AnswerSpecification></Question>"
    )


def selection(style: str = "radiobutton", more: str = "", most: int = 1) -> str:
    choices = "".join(
        f"<Selection><SelectionIdentifier>{key}</SelectionIdentifier><Text>{key.upper()}</Text></Selection>"
        for key in "abc"
    )
    return (
        f"<SelectionAnswer><MaxSelectionCount>{most}</MaxSelectionCount><StyleSuggestion>{style}</StyleSuggestion>"
        f"<Selections>{choices}{more}</Selections></SelectionAnswer>"
    )


WHOLE = form(
    "<Overview><Title>Before you begin</Title><List><ListItem>Read</ListItem></List><FormattedContent><![CDATA["
    '<p onclick="alert(1)">Be <b>kind</b><script>alert(2)</script><a href="javascript:alert(3)">x</a>'
    '<a href="https://a.example">y</a></p><img src="x">]]></FormattedContent></Overview>'
    + asked("one", selection())
    + asked("many", selection("checkbox", "<OtherSelection/>", most=2))
    + asked(
        "free",
        '<FreeTextAnswer><Constraints><IsNumeric minValue="1" maxValue="9"/></Constraints></FreeTextAnswer>',
        "<Text>&lt;script&gt;</Text>",
    )
)


def test_a_form_is_shown_without_scripts_and_answered_by_its_own_questions(endpoint: Endpoint) -> None:
    person, hit_id = endpoint.person(), endpoint.hit(Question=WHOLE)
    preview = endpoint.http.get(f"{endpoint.url}/w/{person.token}/preview/{hit_id}", headers=JSON).json()
    assert "disabled" in endpoint.http.get(preview["frame_url"]).text
    lease = person.take(hit_id)
    page = endpoint.http.get(lease["frame_url"])
    body = page.text.partition("<main>")[2]
    assert "<script" not in body
    assert "onclick" not in body
    assert "javascript:" not in body
    assert "<img" not in body
    assert 'Be <b>kind</b><a>x</a><a href="https://a.example"' in body
    assert "&lt;script&gt;" in body
    assert body.count('type="radio"') == body.count('type="checkbox"') == 3
    assert 'type="number" step="any" name="free"' in body
    assert 'min="1" max="9"' in body
    fields: dict[str, Any] = {"one": "b", "many": ["a", "c", "b"], "many.other": "d", "free": "5", "more": "no"}
    answer = endpoint.http.post(
        f"{endpoint.url}/mturk/externalSubmit", data={"assignmentId": lease["assignment_id"], **fields}
    )
    assert answer.status_code == 200
    (found,) = endpoint.mturk.list_assignments_for_hit(HITId=hit_id)["Assignments"]
    assert re.findall(r"<(\w+)>([^<]*)</\1>", found["Answer"]) == [
        ("QuestionIdentifier", "one"),
        ("SelectionIdentifier", "b"),
        ("QuestionIdentifier", "many"),
        ("SelectionIdentifier", "a"),
        ("SelectionIdentifier", "c"),
        ("OtherSelectionText", "d"),
        ("QuestionIdentifier", "free"),
        ("FreeText", "5"),
    ]


@pytest.mark.parametrize(
    ("xml", "words"),
    [
        (form(""), "needs questions"),
        (form(asked("a", selection()) * 2), "different identifiers"),
        (form(asked("assignmentId", selection())), "different identifiers"),
        (form(asked("a", "<FileUploadAnswer/>")), "FileUploadAnswer"),
        (form(asked("a", "")), "nothing"),
        (form(asked("a", "<SelectionAnswer><Selections/></SelectionAnswer>")), "no Selection"),
        (form(asked("a", selection(), "<Binary/>")), "Binary"),
        (form("<Question/>"), "QuestionIdentifier"),
        (form("<Other/>"), "not 'Other'"),
    ],
)
def test_forms_that_cannot_be(xml: str, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        questions.parse(xml)


# -- the other database -----------------------------------------------------------------------------------------


@pytest.mark.postgres
def test_the_pages_on_postgresql(start: Callable[..., Endpoint], postgres: Callable[[], str]) -> None:
    endpoint = start(database_url=postgres())
    person, hit_id = endpoint.person(), endpoint.hit(Question=kloc_question())
    done = person.work(hit_id)
    endpoint.mturk.approve_assignment(AssignmentId=done)
    endpoint.mturk.send_bonus(
        WorkerId=person.id, BonusAmount="1.00", AssignmentId=done, Reason="Thanks", UniqueRequestToken="b"
    )
    lease = person.take(endpoint.hit(RequesterAnnotation="another"))
    with ThreadPoolExecutor(8) as pool:  # a click that was repeated is one report
        told = list(pool.map(lambda _: tell(person, lease["assignment_id"], kind="other", text="\x00?"), range(8)))
    assert {answer.status_code for answer in told} == {200}
    assert [report["Text"] for report in problem_reports(make_client(endpoint.url, ACCESS, SECRET))] == ["?"]
    home = f"{endpoint.url}/w/{person.token}"
    text = seen(endpoint.http.get(home))
    assert "Today $1.25 1 handed in" in text
    assert "$0.25 + $1.00 bonus approved, paid" in text
    assert "Problems you reported" in text
    assert "1 in all" in seen(endpoint.http.get(f"{home}/history"))
    password = admin.give_password(endpoint.settings.database_url, "worker 1")
    assert sign_in(endpoint, "worker 1", password).status_code == 303
    (worker,) = admin.list_workers(endpoint.settings.database_url)
    assert (worker.answers, worker.approved) == (1, 1)
    assert worker.last_seen == pytest.approx(endpoint.clock(), abs=60)
