"""The walls around the review page, and what its desk does where two people or two processes meet."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.small_campaign import Review, answer, make_workspace
from kloc.errors import CrowdError, UsageError
from kloc.pipeline import crowd
from kloc.pipeline.reviewing import Desk, OutdatedError
from kloc.pipeline.telling import Silent
from kloc.records import Item
from kloc.store import reviewing, revisions
from kloc.workspace import Workspace


@pytest.fixture
def address(campaign: Review, page_of: Callable[..., str]) -> str:
    return page_of(campaign)


def keys(review: Review, desk: Desk | None = None) -> dict[str, str]:
    desk = desk or Desk(review.workspace, url=review.url)
    return {line["video_id"]: line["key"] for line in desk.overview()["items"]}


def test_only_this_page_on_this_host_is_let_in(campaign: Review, address: str) -> None:
    body = {"base": 0, "segments": [], "none": True}
    key = keys(campaign)["waiting"]
    origin = "/".join(address.split("/")[:3])
    assert httpx.get(address).status_code == 200
    assert httpx.get(f"{origin}/items").status_code == 404
    assert httpx.get(f"{origin}/another-token/items").status_code == 404
    assert httpx.get(f"{address}items", headers={"Host": "evil.example"}).status_code == 421
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        assert httpx.post(f"{address}save/{key}", json=body, headers=headers).status_code == 403
    assert httpx.post(f"{address}save/{key}", data={"base": "0"}).status_code == 400
    assert httpx.get(f"{address}page/../server.py").status_code == 404
    assert httpx.get(f"{address}page/%2e%2e/server.py").status_code == 404
    with campaign.workspace.store.transaction() as session:
        assert reviewing.history(session, Item("waiting", 0, 99)) == []


def test_every_answer_carries_the_policy_and_no_cookie(campaign: Review, address: str) -> None:
    key = keys(campaign)["broken"]
    unread = [a["id"] for a in httpx.get(f"{address}items/{key}").json()["answers"] if a["problem"]]
    for path in ("", "page/main.js", "page/review.css", "items", f"film/{key}", f"raw/{unread[0]}", "raw/none", "x"):
        response = httpx.get(f"{address}{path}")
        policy = response.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert response.headers["cache-control"] == "no-store"
        assert "set-cookie" not in response.headers
    assert httpx.get(f"{address}raw/{unread[0]}").headers["content-type"].startswith("text/plain")
    part = httpx.get(f"{address}film/{key}", headers={"Range": "bytes=100-199"})
    assert (part.status_code, len(part.content)) == (206, 100)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"base": 0}, "must say"),
        ({"base": True, "segments": [], "none": True}, "must say"),
        ({"base": 0, "segments": [], "none": False}, "one of the two"),
        ({"base": 0, "segments": [{"label": "jump", "start": 1, "end": 2}], "none": True}, "one of the two"),
        ({"base": 0, "segments": [{"label": "fly", "start": 1, "end": 2}], "none": False}, "does not know"),
        ({"base": 0, "segments": [{"label": ["jump"], "start": 1, "end": 2}], "none": False}, "does not know"),
        ({"base": 0, "segments": [{"label": "jump", "start": 2, "end": 1}], "none": False}, "no length"),
        ({"base": 0, "segments": [{"label": "jump", "start": 50, "end": 60}], "none": False}, "no length"),
        ({"base": 0, "segments": [{"label": "jump", "start": "1", "end": 2}], "none": False}, "no start and end"),
        ({"base": 0, "segments": [{"label": "jump", "start": 10**400, "end": 2}], "none": False}, "no start and end"),
        ({"base": 0, "segments": [3], "none": False}, "no start and end"),
        ({"base": 0, "segments": [{}] * 1001, "none": False}, "at most 1000"),
    ],
)
def test_what_cannot_be_saved_is_refused_in_words(
    campaign: Review, address: str, body: dict[str, Any], words: str
) -> None:
    key = keys(campaign)["waiting"]
    response = httpx.post(f"{address}save/{key}", json=body)
    assert response.status_code == 400
    assert words in response.json()["error"]
    with campaign.workspace.store.transaction() as session:
        assert reviewing.history(session, Item("waiting", 0, 99)) == []


@pytest.fixture(params=["sqlite", "postgresql"])
def unpublished(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workspace]:
    """One video that nobody was asked about, in a store of either kind."""
    changes = {"general.store": request.getfixturevalue("postgres")()} if request.param == "postgresql" else {}
    workspace = make_workspace(tmp_path / "w", ["alone"], **changes)
    yield workspace
    workspace.close()


def test_two_people_at_once_cannot_both_be_first(unpublished: Workspace) -> None:
    desks = [Desk(unpublished, video="alone") for _ in range(4)]
    (key,) = (line["key"] for line in desks[0].overview()["items"])
    said: list[str] = []
    ready = threading.Barrier(len(desks))

    def save(index: int, desk: Desk) -> None:
        ready.wait()
        try:
            desk.save(key, 0, [{"label": "jump", "start": index, "end": index + 1}], none=False)
            said.append("saved")
        except OutdatedError:
            said.append("outdated")

    threads = [threading.Thread(target=save, args=pair) for pair in enumerate(desks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == ["outdated"] * 3 + ["saved"]
    detail = desks[0].detail(key)
    assert (detail["source"], len(detail["segments"])) == ("review", 1)
    assert desks[0].film(key).is_file()  # the copy is made when somebody wants to see it
    assert desks[0].detail(key)["frame_period"] == pytest.approx(0.1)
    # A second opinion is a revision of its own; taken back where nothing was known before it says so.
    desks[1].save(key, detail["revision"], [], none=True)
    with pytest.raises(UsageError, match="nothing was known before"):
        desks[2].take_back(key, desks[2].detail(key)["revision"])


def test_a_review_stands_above_the_crowd_until_it_is_taken_back(campaign: Review) -> None:
    """While the round closes over it; afterwards the crowd's consensus counts, with the answers behind it."""
    desk = Desk(campaign.workspace, url=campaign.url)
    key = keys(campaign, desk)["agreed"]
    first = desk.save(key, 0, [{"label": "run", "start": 1.25, "end": 2.5}], none=False)
    for name in ("dora", "emil", "fay"):
        campaign.hand_in(name, "waiting", answer((3.0, 4.0)))
    campaign.ingest()  # they are known now, and asked in place of those whose answers cannot be read
    for name in ("dora", "emil"):
        campaign.hand_in(name, "broken", answer((3.0, 4.0)))
    crowd.ingest(campaign.workspace, url=campaign.url, reporter=Silent())
    with campaign.workspace.store.transaction() as session:
        rows = {row.video_id: row for row in revisions.current_rows(session)}
    assert rows["agreed"].source == "review"
    assert [(i["label"], i["start"], i["end"]) for i in rows["agreed"].instances] == [("run", 1.25, 2.5)]
    with pytest.raises(OutdatedError):
        desk.take_back(key, first - 1)
    desk.take_back(key, first)
    with pytest.raises(UsageError, match="no review stands"):
        desk.take_back(key, desk.detail(key)["revision"])
    with campaign.workspace.store.transaction() as session:
        row = next(row for row in revisions.current_rows(session, "agreed"))
    assert (row.source, len(row.instances), len(row.assignments)) == ("crowd", 2, 3)
    assert row.exhaustive_for is not None
    assert {i["label"] for i in row.instances} == {"jump"}


def test_nobody_is_written_to_or_judged_by_a_wrong_id(campaign: Review) -> None:
    desk = Desk(campaign.workspace, url=campaign.url)
    with pytest.raises(UsageError, match="there is no answer NONE"):
        desk.write("NONE", "Hello", "You")
    with pytest.raises(CrowdError, match="not known"):
        desk.decide("NONE", "approve", "")
    with pytest.raises(UsageError, match="a subject and a text"):
        desk.write("NONE", " ", "You")
    with pytest.raises(UsageError, match="there is no video 'nowhere'"):
        Desk(campaign.workspace, video="nowhere")
    assert list(keys(campaign, Desk(campaign.workspace, video="agreed"))) == ["agreed"]
    assert keys(campaign, Desk(campaign.workspace, round_=7)) == {}


def test_the_command_serves_until_it_is_told_to_stop(campaign: Review, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "kloc",
        "review",
        "--no-open",
        "--video",
        "agreed",
        "-w",
        str(campaign.workspace.root),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(r"review at (http://127\.0\.0\.1:\d+/[\w-]{30,}/)\n", line)
        assert found, line
        assert [item["video_id"] for item in httpx.get(f"{found[1]}items").json()["items"]] == ["agreed"]
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
