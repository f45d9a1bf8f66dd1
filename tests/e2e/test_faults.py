"""Publishing and ingesting through a proxy that fails and under kill -9; and that the proxy fails as it says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse
from starlette.routing import Route

from benchmarks import flaky_proxy
from benchmarks.flaky_proxy import Faults, FlakyProxy, Plan
from benchmarks.measures.faults import Size, run_trial
from kloc.crowd.client import RefusedError, UnreachableError, call, make_client
from kloc.crowd.endpoint.listening import in_thread, listen

SOUND = Faults(0, 0, 0, 0, 0)


def test_a_campaign_under_faults_and_kills_comes_out_exactly_once(tmp_path: Path) -> None:
    figures = run_trial(tmp_path / "campaign", Size(6, 1, 3, extra=75), seed=3)
    assert {figure.name: figure.met for figure in figures if not figure.met} == {}
    assert figures[0].detail["requests"].keys() >= {"throttle", "fault_before", "fault_after", "lost", "passed"}


@contextmanager
def failing(**faults: float) -> Iterator[tuple[FlakyProxy, list[str]]]:
    """A proxy with some faults only, before a server that keeps what it was sent."""
    seen: list[str] = []

    async def keep(request: Request) -> JSONResponse:
        seen.append(f"{request.method} {request.url.path} {(await request.body()).decode()}")
        return JSONResponse({"seen": len(seen)})

    listening = listen("127.0.0.1", 0)
    app = Starlette(routes=[Route("/{rest:path}", keep, methods=["GET", "POST"])])
    with in_thread(app, listening):
        choose = Faults(**{**asdict(SOUND), **faults}).by_chance(0)
        with flaky_proxy.running(listening.getsockname()[:2], choose) as proxy:
            yield proxy, seen


def test_what_is_sound_passes_unchanged() -> None:
    with failing() as (proxy, seen), httpx.Client() as http:
        for number in range(3):
            assert http.post(f"{proxy.url}/a", content=f"body {number}").json() == {"seen": number + 1}
        assert http.get(f"{proxy.url}/b?c=d").status_code == 200
    assert seen == ["POST /a body 0", "POST /a body 1", "POST /a body 2", "GET /b "]
    assert proxy.counts == {"passed": 4}


@pytest.mark.parametrize(
    ("fate", "status", "acted"),
    [("throttle", 429, False), ("fault_before", 500, False), ("fault_after", 500, True)],
)
def test_a_fault_is_before_or_after_the_server_has_acted(fate: str, status: int, acted: bool) -> None:
    with failing(**{fate: 1.0}) as (proxy, seen):
        assert httpx.post(proxy.url, content="x").status_code == status
    assert len(seen) == acted
    assert proxy.counts == {fate: 1}


@pytest.mark.parametrize("fate", ["lost", "torn"])
def test_a_lost_answer_was_acted_on(fate: str) -> None:
    with failing(**{fate: 1.0}) as (proxy, seen), pytest.raises(httpx.TransportError):
        httpx.post(proxy.url, content="x")
    assert len(seen) == 1


def test_a_server_that_is_away_gives_no_answer() -> None:
    listening = listen("127.0.0.1", 0)
    place = listening.getsockname()[:2]
    listening.close()
    with flaky_proxy.running(place, SOUND.by_chance(0)) as proxy, pytest.raises(httpx.TransportError):
        httpx.get(proxy.url)
    assert proxy.counts == {"server away": 1}


def test_what_is_planned_goes_wrong_so_often_and_no_oftener(tmp_path: Path) -> None:
    (tmp_path / "video").write_bytes(bytes(range(200)))
    app = Starlette(routes=[Route("/video", lambda _: FileResponse(tmp_path / "video"), methods=["GET", "OPTIONS"])])
    listening = listen("127.0.0.1", 0)
    plan = Plan([("/vid", "unheard", 1), ("/video", "no_range", None)])
    asked = {"Range": "bytes=10-19"}
    with in_thread(app, listening), flaky_proxy.running(listening.getsockname()[:2], plan) as proxy:
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{proxy.url}/video", headers=asked)
        whole = httpx.get(f"{proxy.url}/video", headers=asked)
        assert (whole.status_code, len(whole.content), "accept-ranges" in whole.headers) == (200, 200, False)
        plan.faults.clear()
        part = httpx.get(f"{proxy.url}/video", headers=asked)
        assert (part.status_code, part.content) == (206, bytes(range(10, 20)))
    assert proxy.counts == {"unheard": 1, "no_range": 1, "passed": 1}


@pytest.mark.parametrize(
    ("fate", "error", "times"),
    [("throttle", RefusedError, 12), ("fault_before", UnreachableError, 8), ("lost", UnreachableError, 8)],
)
def test_boto3_understands_what_the_proxy_says(
    fate: str, error: type[Exception], times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kloc.crowd.client.time.sleep", lambda _: None)
    with failing(**{fate: 1.0}) as (proxy, _):
        client: Any = make_client(proxy.url, "a", "b")
        with pytest.raises(error):
            call("x", client.get_account_balance)
    assert proxy.counts == {fate: times}
