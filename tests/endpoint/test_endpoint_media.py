"""Videos: signed links that end with the lease, Range answers that a browser can seek by."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from endpoint_kit import Endpoint, html_question

CONTENT = bytes(range(256)) * 1000


def leased(endpoint: Endpoint, key: str = "v_1.proxy") -> str:
    (Path(endpoint.settings.media_folder) / f"{key}.mp4").write_bytes(CONTENT)
    hit_id = endpoint.hit(Question=html_question(media_key=key))
    return str(endpoint.person().take(hit_id)["media_url"])


@pytest.mark.parametrize(
    ("asked", "status", "first", "end"),
    [
        (None, 200, 0, len(CONTENT)),
        ("bytes=0-", 206, 0, len(CONTENT)),
        ("bytes=100-199", 206, 100, 200),
        ("bytes=255990-", 206, 255_990, 256_000),
        ("bytes=-10", 206, 255_990, 256_000),
        ("bytes=255000-999999", 206, 255_000, 256_000),
        ("bytes=70000-200000", 206, 70_000, 200_001),
    ],
)
def test_ranges(endpoint: Endpoint, asked: str | None, status: int, first: int, end: int) -> None:
    url = leased(endpoint)
    headers = {} if asked is None else {"Range": asked}
    response = endpoint.http.get(url, headers={**headers, "Origin": "null"})
    assert response.status_code == status
    assert response.content == CONTENT[first:end]
    assert response.headers["content-type"] == "video/mp4"
    assert response.headers["accept-ranges"] == "bytes"
    assert response.headers["access-control-allow-origin"] == "*"
    assert int(response.headers["content-length"]) == end - first
    if status == 206:
        assert response.headers["content-range"] == f"bytes {first}-{end - 1}/{len(CONTENT)}"
    head = endpoint.http.head(url, headers=headers)
    assert head.status_code == status
    assert head.content == b""
    assert int(head.headers["content-length"]) == end - first


def test_a_range_past_the_end(endpoint: Endpoint) -> None:
    response = endpoint.http.get(leased(endpoint), headers={"Range": f"bytes={len(CONTENT)}-", "Origin": "null"})
    assert response.status_code == 416
    assert response.headers["content-range"] == f"bytes */{len(CONTENT)}"
    assert response.headers["access-control-allow-origin"] == "*"


def test_if_range_never_mixes_two_files(endpoint: Endpoint) -> None:
    url = leased(endpoint)
    etag = endpoint.http.head(url).headers["etag"]
    part = {"Range": "bytes=10-19", "If-Range": etag}
    assert endpoint.http.get(url, headers=part).content == CONTENT[10:20]
    path = Path(endpoint.settings.media_folder) / "v_1.proxy.mp4"
    path.write_bytes(CONTENT[::-1])
    os.utime(path, (1, 1))
    whole = endpoint.http.get(url, headers=part)
    assert whole.status_code == 200
    assert whole.content == CONTENT[::-1]


def test_links_end_with_the_lease(endpoint: Endpoint) -> None:
    url = leased(endpoint)
    endpoint.clock.ahead += 599
    assert endpoint.http.get(url).status_code == 200
    endpoint.clock.ahead += 3
    assert endpoint.http.get(url).status_code == 403


@pytest.mark.parametrize("how", ["return", "submit"])
def test_links_end_when_the_task_does(endpoint: Endpoint, how: str) -> None:
    (Path(endpoint.settings.media_folder) / "v.mp4").write_bytes(CONTENT)
    person = endpoint.person()
    lease = person.take(endpoint.hit(Question=html_question(media_key="v")))
    assert endpoint.http.get(lease["media_url"]).status_code == 200
    if how == "return":
        person.give_back(lease["assignment_id"])
    else:
        person.submit(lease["assignment_id"], a="1")
    assert endpoint.http.get(lease["media_url"]).status_code == 403


def test_a_link_is_for_one_video(endpoint: Endpoint) -> None:
    url = leased(endpoint)
    (Path(endpoint.settings.media_folder) / "other.mp4").write_bytes(CONTENT)
    for changed in (
        url.replace("v_1.proxy", "other"),
        url.replace("exp=", "exp=9"),
        url.replace("a=3", "a=4"),
        url.replace("?a=", "?a=PREVIEW&b="),
        url[:-1] + ("0" if url[-1] != "0" else "1"),
        url.split("&sig=")[0],
        url + "&more=1",
    ):
        assert changed != url
        assert endpoint.http.get(changed).status_code == 403


@pytest.mark.parametrize("key", ["../secret", "..%2fsecret", "%2e%2e/secret", ".hidden", "a%00b", "a/b", "é"])
def test_no_way_out_of_the_folder(endpoint: Endpoint, key: str) -> None:
    folder = Path(endpoint.settings.media_folder)
    (folder.parent / "secret.mp4").write_bytes(b"secret")
    (folder / ".hidden.mp4").write_bytes(b"secret")
    response = endpoint.http.get(f"{endpoint.url}/media/{key}?a=PREVIEW&exp=9999999999&sig=0")
    assert response.status_code in (400, 403, 404)
    assert b"secret" not in response.content


@pytest.mark.parametrize(
    "task", ['{"media_key": "../x"}', '{"media_key": 7}', "[1]", "{", '{"media_key": ".."}', "[" * 50_000]
)
def test_a_task_without_a_usable_key_has_no_media(endpoint: Endpoint, task: str) -> None:
    script = f'<script type="application/json" id="kloc-task">{task}</script>'
    hit_id = endpoint.hit(Question=html_question(script))
    assert endpoint.person().take(hit_id)["media_url"] is None


def test_a_preview_shows_the_video_for_a_while(endpoint: Endpoint) -> None:
    (Path(endpoint.settings.media_folder) / "v.mp4").write_bytes(CONTENT)
    hit_id, person = endpoint.hit(Question=html_question(media_key="v")), endpoint.person()
    answer = endpoint.http.get(
        f"{endpoint.url}/w/{person.token}/preview/{hit_id}", headers={"Accept": "application/json"}
    ).json()
    (media,) = parse_qs(urlsplit(answer["frame_url"]).query)["mediaUrl"]
    assert endpoint.http.get(media).content == CONTENT
    endpoint.clock.ahead += 1900
    assert endpoint.http.get(media).status_code == 403


def test_a_missing_video_is_reported(endpoint: Endpoint, capfd: pytest.CaptureFixture[str]) -> None:
    url = leased(endpoint)
    (Path(endpoint.settings.media_folder) / "v_1.proxy.mp4").unlink()
    assert endpoint.http.get(url).status_code == 404
    assert '"media missing"' in capfd.readouterr().err
