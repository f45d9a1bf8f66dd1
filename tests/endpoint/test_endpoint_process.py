"""The endpoint as a process of its own: it starts light, says when it is ready, stops in order, and forgets nothing."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.exceptions import BotoCoreError
from endpoint_kit import JSON, client, hit_values

from kloc.crowd.endpoint import admin
from kloc.crowd.endpoint.settings import EndpointSettings
from kloc.errors import CrowdError
from kloc.pipeline.serving import lan_address

Begin = Callable[..., tuple[subprocess.Popen[str], str]]


@pytest.fixture
def config(make_settings: Callable[..., EndpointSettings], tmp_path: Path) -> Callable[..., Path]:
    def write(**changes: Any) -> Path:
        path = tmp_path / "endpoint.json"
        path.write_text(json.dumps({**asdict(make_settings()), **changes}))
        return path

    return write


@pytest.fixture
def begin(config: Callable[..., Path]) -> Iterator[Begin]:
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **changes: Any) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "kloc.crowd.endpoint", "--config", str(config(**changes)), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        return process, json.loads(line)["url"] if line else ""

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            assert stream is not None
            stream.close()


def test_killed_at_any_moment_it_has_what_it_acknowledged(begin: Begin, config: Callable[..., Path]) -> None:
    process, url = begin()
    database = json.loads(config().read_text())["database_url"]
    worker_id, token = admin.create_worker(database, "Ada")
    mturk, http = client(url), httpx.Client(headers=JSON)
    hit_id = mturk.create_hit(**hit_values())["HIT"]["HITId"]
    lease = http.post(f"{url}/w/{token}/accept/{hit_id}").json()
    assert http.put(f"{url}/draft/{lease['assignment_id']}", json={"a": 1}).status_code == 204
    process.kill()
    process.wait()

    process, url = begin(port=int(url.rsplit(":", 1)[1]))
    assert http.get(f"{url}/draft/{lease['assignment_id']}").json() == {"a": 1}
    assert http.get(lease["frame_url"]).status_code == 200  # links outlive a restart
    answer = {"assignmentId": lease["assignment_id"], "a": "kept"}
    assert http.post(f"{url}/mturk/externalSubmit", data=answer).status_code == 200
    process.kill()
    process.wait()

    process, url = begin()
    mturk = client(url)
    (found,) = mturk.list_assignments_for_hit(HITId=hit_id)["Assignments"]
    assert found["WorkerId"] == worker_id
    assert "kept" in found["Answer"]
    assert http.get(f"{url}/healthz").json() == {"status": "ok"}
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate()
    assert (process.returncode, out, err) == (0, "", "")


def test_killed_under_load_it_has_every_hit_and_answer_it_acknowledged(
    begin: Begin, config: Callable[..., Path]
) -> None:
    process, url = begin()
    database = json.loads(config().read_text())["database_url"]
    tokens = [admin.create_worker(database, f"worker {number}")[1] for number in range(4)]
    acknowledged: list[tuple[str, str]] = []

    def work(token: str) -> None:
        mturk, http = client(url), httpx.Client(headers=JSON)
        try:
            while True:
                hit_id = mturk.create_hit(**hit_values())["HIT"]["HITId"]
                lease = http.post(f"{url}/w/{token}/accept/{hit_id}").raise_for_status().json()
                answer = {"assignmentId": lease["assignment_id"], "a": hit_id}
                http.post(f"{url}/mturk/externalSubmit", data=answer).raise_for_status()
                acknowledged.append((hit_id, lease["assignment_id"]))
                if len(acknowledged) == 12:
                    process.kill()
        except (httpx.TransportError, BotoCoreError):
            return

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, tokens))
    process.wait()
    assert len(acknowledged) >= 12
    _, url = begin()
    mturk = client(url)
    for hit_id, assignment_id in acknowledged:
        found = mturk.get_assignment(AssignmentId=assignment_id)
        assert found["HIT"]["HITId"] == hit_id
        assert hit_id in found["Assignment"]["Answer"]


def test_told_to_stop_it_takes_in_what_is_on_its_way(begin: Begin, config: Callable[..., Path]) -> None:
    process, url = begin()
    database = json.loads(config().read_text())["database_url"]
    _, token = admin.create_worker(database, "Ada")
    http = httpx.Client(headers=JSON)
    hit_id = client(url).create_hit(**hit_values())["HIT"]["HITId"]
    lease = http.post(f"{url}/w/{token}/accept/{hit_id}").json()
    http.close()
    body = f"assignmentId={lease['assignment_id']}&a={'x' * 5000}".encode()
    host, port = url.removeprefix("http://").split(":")
    head = (
        f"POST /mturk/externalSubmit HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {len(body)}\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\nAccept: application/json\r\n\r\n"
    ).encode()
    with socket.create_connection((host, int(port))) as half:
        half.sendall(head + body[:2000])
        process.send_signal(signal.SIGTERM)
        for _ in range(10_000):  # until nobody new is let in: it has begun to stop
            try:
                httpx.get(f"{url}/healthz")
            except httpx.TransportError:
                break
        half.sendall(body[2000:])
        answer = half.recv(4096)
    assert answer.startswith(b"HTTP/1.1 200")
    out, err = process.communicate()
    assert (process.returncode, out, err) == (0, "", "")
    _, url = begin()
    (found,) = client(url).list_assignments_for_hit(HITId=hit_id)["Assignments"]
    assert "x" * 5000 in found["Answer"]


def test_at_an_outer_address_it_answers_this_machine_as_well(begin: Begin) -> None:
    try:
        outer = lan_address()
    except CrowdError as error:
        pytest.skip(str(error))
    _, url = begin(host=outer)
    port = url.rsplit(":", 1)[1]
    assert url == f"http://{outer}:{port}"
    for host in (outer, "127.0.0.1"):
        assert httpx.get(f"http://{host}:{port}/healthz").json() == {"status": "ok"}


def test_it_ends_with_its_parent_and_leaves_the_port_free(begin: Begin) -> None:
    process, url = begin("--until-stdin-closes")
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait() == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/healthz")


def test_a_port_in_use_is_one_line(begin: Begin) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process, url = begin(port=port)
        _, err = process.communicate()
    assert url == ""
    assert process.returncode == 1
    assert err.count("\n") == 1
    assert f"port {port} on 127.0.0.1 is in use" in err


def test_a_misspelt_setting_is_one_line(begin: Begin) -> None:
    process, _ = begin(prot=1)
    _, err = process.communicate()
    assert process.returncode == 2
    assert "unknown setting 'prot'" in err
    assert err.count("\n") == 1


def test_it_starts_without_the_heavy_libraries() -> None:
    code = (
        "import sys, kloc.crowd.endpoint.server, kloc.crowd.endpoint.admin;"
        "print([m for m in ('torch', 'pandas', 'numpy', 'sklearn', 'boto3', 'botocore', 'av') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
