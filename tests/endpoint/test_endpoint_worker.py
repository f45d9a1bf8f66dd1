"""The worker app: leases, their end, submit, drafts; exactly as many answers as were asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs, urlsplit

import defusedxml.ElementTree
import httpx
import pytest
from endpoint_kit import EXTERNAL, JSON, Endpoint, html_question

from kloc.crowd.endpoint import admin
from kloc.crowd.endpoint.answers import NAMESPACE

HOSTILE = "<script>alert(1)</script>\"'&{{7*7}}"


def answer_of(endpoint: Endpoint, assignment_id: str) -> dict[str, str]:
    """The stored answer, read back by namespace."""
    xml = endpoint.mturk.get_assignment(AssignmentId=assignment_id)["Assignment"]["Answer"]
    root = defusedxml.ElementTree.fromstring(xml)
    assert root.tag == f"{{{NAMESPACE}}}QuestionFormAnswers"
    return {
        one.findtext(f"{{{NAMESPACE}}}QuestionIdentifier"): one.findtext(f"{{{NAMESPACE}}}FreeText") or ""
        for one in root.findall(f"{{{NAMESPACE}}}Answer")
    }


def test_from_open_to_approved(endpoint: Endpoint) -> None:
    person, hit_id = endpoint.person(), endpoint.hit()
    assert person.home() == {
        "worker_id": person.id,
        "open": [
            {
                "hit_id": hit_id,
                "title": "Mark the high jumps",
                "reward": "0.25",
                "available": 3,
                "classes": [],
                "duration": None,
                "expected_minutes": None,
                "seconds": 600,
                "contact": "",
            }
        ],
        "in_progress": [],
        "submitted": [],
        "earned": "0.00",
        "qualifications": [],
    }
    lease = person.take(hit_id)
    assert person.take(hit_id)["assignment_id"] == lease["assignment_id"]
    home = person.home()
    assert home["open"] == []
    assert home["in_progress"] == [
        {
            "assignment_id": lease["assignment_id"],
            "hit_id": hit_id,
            "task_url": lease["task_url"],
            "expires_at": lease["expires_at"],
        }
    ]
    assert endpoint.mturk.get_hit(HITId=hit_id)["HIT"]["NumberOfAssignmentsPending"] == 1
    assert person.submit(lease["assignment_id"], segments="[]", hitId=hit_id).json()["status"] == "Submitted"
    assert answer_of(endpoint, lease["assignment_id"]) == {"segments": "[]", "hitId": hit_id}
    endpoint.mturk.approve_assignment(AssignmentId=lease["assignment_id"])
    home = person.home()
    assert [one["status"] for one in home["submitted"]] == ["Approved"]
    assert home["earned"] == "0.25"
    again = person.accept(hit_id)
    assert again.status_code == 409
    assert again.json() == {"error": "You have already handed in this task."}


def test_the_frame_gets_its_parameters_and_only_signed_ones(endpoint: Endpoint) -> None:
    person, hit_id = endpoint.person(), endpoint.hit(Question=html_question("<p>Look</p>", media_key="v1"))
    lease = person.take(hit_id)
    parts = urlsplit(lease["frame_url"])
    values = {name: only for name, (only,) in parse_qs(parts.query).items()}
    assert parts.path == f"/frame/{lease['assignment_id']}"
    assert values["assignmentId"] == lease["assignment_id"]
    assert (values["hitId"], values["workerId"], values["turkSubmitTo"]) == (hit_id, person.id, endpoint.url)
    assert values["mediaUrl"] == lease["media_url"]
    assert values["draftUrl"] == f"{endpoint.url}/draft/{lease['assignment_id']}"
    page = endpoint.http.get(lease["frame_url"])
    assert "<p>Look</p>" in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert f"connect-src {endpoint.url};" in policy
    assert "sandbox allow-scripts allow-forms" in policy
    assert "allow-same-origin" not in policy
    changed = lease["frame_url"].replace("turkSubmitTo=http", "turkSubmitTo=https")
    assert changed != lease["frame_url"]
    assert endpoint.http.get(changed).status_code == 403
    assert endpoint.http.get(lease["frame_url"].split("?")[0]).status_code == 403
    endpoint.clock.ahead += 700
    assert endpoint.http.get(lease["frame_url"]).status_code == 403


def test_a_lease_that_ran_out_is_handed_out_again(endpoint: Endpoint) -> None:
    first, second, hit_id = endpoint.person(), endpoint.person(), endpoint.hit(MaxAssignments=1)
    lease = first.take(hit_id)
    assert second.home()["open"] == []
    assert second.accept(hit_id).status_code == 409
    endpoint.clock.ahead += 601
    assert first.home()["in_progress"] == []
    second_id = second.take(hit_id)["assignment_id"]
    draft = f"{endpoint.url}/draft/{lease['assignment_id']}"
    assert endpoint.http.put(draft, json={"segments": [1]}).status_code == 204
    late = first.submit(lease["assignment_id"], segments="mine")
    assert late.status_code == 409
    assert "kept" in late.json()["error"]
    assert endpoint.http.get(draft).json() == {"segments": [1]}
    assert second.submit(second_id, segments="theirs").status_code == 200
    found = endpoint.mturk.list_assignments_for_hit(HITId=hit_id)["Assignments"]
    assert [one["AssignmentId"] for one in found] == [second_id]


def test_a_late_answer_counts_while_its_place_is_free(endpoint: Endpoint) -> None:
    person, hit_id = endpoint.person(), endpoint.hit(MaxAssignments=1)
    lease = person.take(hit_id)
    endpoint.clock.ahead += 601
    assert person.submit(lease["assignment_id"], segments="late").status_code == 200
    assert answer_of(endpoint, lease["assignment_id"]) == {"segments": "late"}


def test_a_reviewable_hit_takes_no_more_answers(endpoint: Endpoint) -> None:
    person, hit_id = endpoint.person(), endpoint.hit(MaxAssignments=1, LifetimeInSeconds=300)
    lease = person.take(hit_id)
    endpoint.clock.ahead += 301
    assert endpoint.mturk.get_hit(HITId=hit_id)["HIT"]["HITStatus"] == "Unassignable"
    endpoint.clock.ahead += 300
    assert endpoint.mturk.get_hit(HITId=hit_id)["HIT"]["HITStatus"] == "Reviewable"
    late = person.submit(lease["assignment_id"], segments="late")
    assert late.status_code == 409
    assert "does not count and is not paid" in late.json()["error"]
    assert endpoint.mturk.list_assignments_for_hit(HITId=hit_id)["Assignments"] == []


def test_returning_frees_the_place_and_keeps_the_draft(endpoint: Endpoint) -> None:
    first, second, hit_id = endpoint.person(), endpoint.person(), endpoint.hit(MaxAssignments=1)
    lease = first.take(hit_id)
    endpoint.http.put(f"{endpoint.url}/draft/{lease['assignment_id']}", json=[1])
    assert second.give_back(lease["assignment_id"]).status_code == 404
    assert first.give_back(lease["assignment_id"]).json()["status"] == "Returned"
    assert first.give_back(lease["assignment_id"]).status_code == 200
    taken = second.take(hit_id)
    assert first.accept(hit_id).status_code == 409
    second.give_back(taken["assignment_id"])
    assert first.take(hit_id)["assignment_id"] == lease["assignment_id"]
    assert endpoint.http.get(f"{endpoint.url}/draft/{lease['assignment_id']}").json() == [1]
    first.submit(lease["assignment_id"], a="1")
    assert first.give_back(lease["assignment_id"]).status_code == 409


def test_the_first_answer_stays(endpoint: Endpoint) -> None:
    person, hit_id = endpoint.person(), endpoint.hit()
    assignment_id = person.take(hit_id)["assignment_id"]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda number: person.submit(assignment_id, a=str(number)), range(16)))
    assert {answer.status_code for answer in answers} == {200}
    first = answer_of(endpoint, assignment_id)
    assert person.submit(assignment_id, a="afterwards").status_code == 200
    assert answer_of(endpoint, assignment_id) == first


def test_forty_people_three_places(endpoint: Endpoint) -> None:
    hit_id = endpoint.hit(MaxAssignments=3)
    people = [endpoint.person() for _ in range(40)]
    with ThreadPoolExecutor(40) as pool:
        statuses = list(pool.map(lambda person: person.accept(hit_id).status_code, people))
    assert sorted(statuses) == [200] * 3 + [409] * 37
    hit = endpoint.mturk.get_hit(HITId=hit_id)["HIT"]
    assert (hit["NumberOfAssignmentsPending"], hit["NumberOfAssignmentsAvailable"]) == (3, 0)


def test_one_person_in_forty_tabs_gets_one_assignment(endpoint: Endpoint) -> None:
    person, hit_id = endpoint.person(), endpoint.hit(MaxAssignments=9)
    with ThreadPoolExecutor(40) as pool:
        leases = list(pool.map(lambda _: person.take(hit_id)["assignment_id"], range(40)))
    assert len(set(leases)) == 1
    assert endpoint.mturk.get_hit(HITId=hit_id)["HIT"]["NumberOfAssignmentsAvailable"] == 8


def test_next_gives_every_task_once(endpoint: Endpoint) -> None:
    person = endpoint.person()
    made = [endpoint.hit(RequesterAnnotation=str(number)) for number in range(3)]
    found = []
    for _ in made:
        lease = endpoint.http.post(f"{endpoint.url}/w/{person.token}/next", headers=JSON).json()
        person.submit(lease["assignment_id"], a="1")
        found.append(lease["hit_id"])
    assert found == made
    assert endpoint.http.post(f"{endpoint.url}/w/{person.token}/next", headers=JSON).status_code == 404


def test_hostile_answers_are_stored_and_read_back(endpoint: Endpoint) -> None:
    person, hit_id = endpoint.person(), endpoint.hit()
    assignment_id = person.take(hit_id)["assignment_id"]
    text = "]]></FreeText><x> & \x00\x08\x0b\ufffe line\r\nnext\rlast 𝄞 \t" + HOSTILE
    person.submit(assignment_id, **{"segments": text, "<b>&": "named", "empty": ""})
    stored = answer_of(endpoint, assignment_id)
    assert stored["segments"] == "]]></FreeText><x> &  line\r\nnext\rlast 𝄞 \t" + HOSTILE
    assert stored["<b>&"] == "named"
    assert stored["empty"] == ""


@pytest.mark.parametrize("kind", ["multipart", "json", "boxes"])
def test_every_encoding_of_a_form(endpoint: Endpoint, kind: str) -> None:
    person, hit_id = endpoint.person(), endpoint.hit()
    assignment_id = person.take(hit_id)["assignment_id"]
    url, values = f"{endpoint.url}/mturk/externalSubmit", {"assignmentId": assignment_id, "a": "é ]]>"}
    if kind == "multipart":
        parts: Any = {name: (None, value) for name, value in values.items()}
        response = endpoint.http.post(url, files={**parts, "file": ("x.bin", b"\xff\x00")})
        expected = {"a": "é ]]>"}
    elif kind == "json":
        body = json.dumps({**values, "list": [1, "\ud800"], "half": "\ud800"})
        response = endpoint.http.post(url, content=body, headers={"Content-Type": "application/json; charset=utf-8"})
        expected = {"a": "é ]]>", "list": '[1, "\\ud800"]', "half": ""}
    else:
        response = endpoint.http.post(url, data={"assignmentId": assignment_id, "a": ["x", "y"]})
        expected = {"a": "x|y"}
    assert response.status_code == 200
    assert "kloc-submitted" in response.text
    assert answer_of(endpoint, assignment_id) == expected


def test_sizes(endpoint: Endpoint) -> None:
    person, hit_id = endpoint.person(), endpoint.hit()
    assignment_id = person.take(hit_id)["assignment_id"]
    assert person.submit(assignment_id, a="x" * 2**20).status_code == 413
    draft = f"{endpoint.url}/draft/{assignment_id}"
    assert endpoint.http.put(draft, content=json.dumps("x" * 300_000)).status_code == 413
    assert endpoint.http.get(draft).status_code == 404
    assert person.submit(assignment_id, a="x" * 900_000).status_code == 200


@pytest.mark.parametrize("content", [b"{", b"NaN", b"\xff", b"[" * 100_000, b""])
def test_a_draft_is_json(endpoint: Endpoint, content: bytes) -> None:
    lease = endpoint.person().take(endpoint.hit())
    assert endpoint.http.put(f"{endpoint.url}/draft/{lease['assignment_id']}", content=content).status_code == 400


def test_a_draft_ends_with_the_answer(endpoint: Endpoint) -> None:
    person = endpoint.person()
    assignment_id = person.take(endpoint.hit())["assignment_id"]
    draft = f"{endpoint.url}/draft/{assignment_id}"
    assert endpoint.http.post(draft, content=b'{"a": "\\u0000"}').status_code == 204
    assert endpoint.http.get(draft).json() == {"a": "\x00"}
    person.submit(assignment_id, a="1")
    assert endpoint.http.get(draft).status_code == 404
    assert endpoint.http.put(draft, json=1).status_code == 409
    assert endpoint.http.put(f"{endpoint.url}/draft/3NOTTHERE", json=1).status_code == 404


def test_a_sandboxed_frame_may_submit_and_save(endpoint: Endpoint) -> None:
    """An opaque origin sends ``Origin: null``; answers and refusals must be readable to it."""
    lease = endpoint.person().take(endpoint.hit())
    draft = f"{endpoint.url}/draft/{lease['assignment_id']}"
    asked = {
        "Origin": "null",
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "content-type",
    }
    allowed = endpoint.http.options(draft, headers=asked)
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "*"
    assert "PUT" in allowed.headers["access-control-allow-methods"]
    for response in (
        endpoint.http.put(draft, json={}, headers={"Origin": "null"}),
        endpoint.http.get(f"{endpoint.url}/draft/3NOTTHERE", headers={"Origin": "null"}),
        endpoint.http.post(f"{endpoint.url}/mturk/externalSubmit", data={"a": "1"}, headers={"Origin": "null"}),
    ):
        assert response.headers["access-control-allow-origin"] == "*"


def test_submitting_nonsense(endpoint: Endpoint) -> None:
    url = f"{endpoint.url}/mturk/externalSubmit"
    preview = {"assignmentId": "ASSIGNMENT_ID_NOT_AVAILABLE", "a": "1"}
    assert endpoint.http.post(url, data=preview).status_code == 400
    assert endpoint.http.post(url, data={"assignmentId": "3NOTTHERE"}).status_code == 404
    assert endpoint.http.post(url, data={"assignmentId": "\x00'; drop table hits"}).status_code == 404
    assert endpoint.http.post(url, content=b"x", headers={"Content-Type": "text/plain"}).status_code == 415
    assert endpoint.http.post(url, json=[1]).status_code == 400
    broken = {"Content-Type": "multipart/form-data; boundary=x"}
    assert endpoint.http.post(url, content=b"--y\r\n", headers=broken).status_code == 400


def test_hostile_titles_are_text(endpoint: Endpoint) -> None:
    person = endpoint.person()
    hit_id = endpoint.hit(Title=HOSTILE, Description=HOSTILE)
    lease = person.take(hit_id)
    other = endpoint.person()
    assignment_id = other.work(hit_id)
    endpoint.mturk.reject_assignment(AssignmentId=assignment_id, RequesterFeedback=HOSTILE)
    endpoint.mturk.notify_workers(Subject=HOSTILE, MessageText=HOSTILE, WorkerIds=[person.id])
    pages = [
        f"/w/{person.token}",
        f"/w/{person.token}/task/{lease['assignment_id']}",
        f"/w/{other.token}",
        f"/w/{person.token}/preview/{hit_id}",
    ]
    for path in pages:
        page = endpoint.http.get(endpoint.url + path)
        assert page.status_code == 200
        assert "<script>alert" not in page.text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
        assert "{{7*7}}" in page.text
        policy = page.headers["content-security-policy"]
        assert "unsafe-inline" not in policy
        assert "frame-ancestors 'none'" in policy
        assert page.headers["referrer-policy"] == "no-referrer"
    shell = endpoint.http.get(endpoint.url + pages[1]).text
    assert 'sandbox="allow-scripts allow-forms"' in shell


def test_preview(endpoint: Endpoint) -> None:
    person = endpoint.person()
    hit_id = endpoint.hit(Question=html_question("<p>Look</p>", media_key="v1"))
    url = f"{endpoint.url}/w/{person.token}/preview/{hit_id}"
    answer = endpoint.http.get(url, headers=JSON).json()
    assert "<p>Look</p>" in answer["question_html"]
    assert "assignmentId=ASSIGNMENT_ID_NOT_AVAILABLE" in answer["frame_url"]
    assert "<p>Look</p>" in endpoint.http.get(answer["frame_url"]).text
    assert endpoint.http.get(answer["frame_url"].replace("/preview", "")).status_code == 403
    assert endpoint.mturk.get_hit(HITId=hit_id)["HIT"]["NumberOfAssignmentsPending"] == 0


def test_external_question(endpoint: Endpoint) -> None:
    xml = (
        f'<ExternalQuestion xmlns="{EXTERNAL}"><ExternalURL>https://example.org/t?x=1&amp;y=2</ExternalURL>'
        "<FrameHeight>600</FrameHeight></ExternalQuestion>"
    )
    person, hit_id = endpoint.person(), endpoint.hit(Question=xml)
    lease = person.take(hit_id)
    assert lease["frame_url"].startswith("https://example.org/t?x=1&y=2&assignmentId=")
    assert lease["media_url"] is None
    shell = endpoint.http.get(lease["task_url"])
    assert "frame-src https://example.org;" in shell.headers["content-security-policy"]
    bare = person.take(endpoint.hit(Question=xml.replace("example.org/t", "example.org")))
    policy = endpoint.http.get(bare["task_url"]).headers["content-security-policy"]
    assert "frame-src https://example.org;" in policy
    for bad in ("javascript:alert(1)", "https://example.org/;script-src *", "file:///etc/passwd", "https://a@b/"):
        with pytest.raises(endpoint.mturk.exceptions.RequestError):
            endpoint.hit(Question=xml.replace("https://example.org/t?x=1&amp;y=2", bad))


def test_the_token_is_the_login(endpoint: Endpoint) -> None:
    person, other, hit_id = endpoint.person(), endpoint.person(), endpoint.hit()
    lease = person.take(hit_id)
    foreign = lease["task_url"].replace(person.token, other.token)
    assert endpoint.http.get(foreign).status_code == 404
    assert endpoint.http.get(f"{endpoint.url}/w/{person.token[:-1]}", headers=JSON).status_code == 403
    admin.revoke(endpoint.settings.database_url, "worker 1")
    assert endpoint.http.get(f"{endpoint.url}/w/{person.token}").status_code == 403
    assert person.submit(lease["assignment_id"], a="1").status_code == 403
    assert endpoint.mturk.get_hit(HITId=hit_id)["HIT"]["NumberOfAssignmentsAvailable"] == 3
    workers = {worker.name: worker.revoked for worker in admin.list_workers(endpoint.settings.database_url)}
    assert workers == {"worker 1": True, "worker 2": False}


def test_a_new_link_can_replace_the_old_ones(endpoint: Endpoint) -> None:
    person, other = endpoint.person(), endpoint.person()
    fresh = "a fresh token of good length"
    assert admin.ensure_worker(endpoint.settings.database_url, "worker 1", fresh) == person.id
    assert person.home()["worker_id"] == person.id
    assert admin.ensure_worker(endpoint.settings.database_url, "worker 1", fresh, replace=True) == person.id
    assert endpoint.http.get(f"{endpoint.url}/w/{person.token}").status_code == 403
    assert endpoint.http.get(f"{endpoint.url}/w/{fresh}").status_code == 200
    assert other.home()["worker_id"] == other.id


def test_a_busy_worker_is_slowed_down_and_others_are_not(start: Callable[..., Endpoint]) -> None:
    endpoint = start(requests_per_second=0.5)
    person, other = endpoint.person(), endpoint.person()
    answers = [endpoint.http.get(f"{endpoint.url}/w/{person.token}", headers=JSON) for _ in range(12)]
    assert [answer.status_code for answer in answers][:5] == [200] * 5
    assert answers[-1].status_code == 429
    assert answers[-1].headers["retry-after"] == "2"
    assert other.home()["worker_id"] == other.id


def test_pages_for_people(endpoint: Endpoint) -> None:
    """The whole way by the forms of the pages, without JSON."""
    person, hit_id = endpoint.person(), endpoint.hit()
    browser = httpx.Client(follow_redirects=True)
    home = f"{endpoint.url}/w/{person.token}"
    assert f'action="{home}/accept/{hit_id}"' in browser.get(home).text
    shell = browser.post(f"{home}/accept/{hit_id}")
    assert shell.url.path.startswith(f"/w/{person.token}/task/")
    assignment_id = shell.url.path.rsplit("/", 1)[1]
    assert "<iframe" in shell.text
    assert "Go on" in browser.get(home).text
    back = browser.post(f"{home}/return/{assignment_id}")
    assert str(back.url) == home
    assert "You returned this task." in browser.get(f"{home}/task/{assignment_id}").text
    browser.post(f"{home}/accept/{hit_id}")
    endpoint.clock.ahead += 601
    assert "has run out" in browser.get(f"{home}/task/{assignment_id}").text
    person.submit(assignment_id, a="1")
    done = browser.get(f"{home}/task/{assignment_id}").text
    assert "your answer is in" in done
    assert "<iframe" not in done
    assert "waiting for review" in browser.get(home).text
    assert "no open task" in browser.post(f"{home}/next").text
    browser.close()
