"""A real endpoint over real HTTP, with a real boto3 client."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from kloc.crowd.endpoint.server import running
from kloc.crowd.endpoint.settings import EndpointSettings
from kloc.video.write import write_video

# Test folders are no packages: this is how the tests here find what they share.
sys.path.insert(0, str(Path(__file__).parent))

from endpoint_kit import ACCESS, SECRET, Clock, Endpoint, client


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., EndpointSettings]:
    def make(**changes: Any) -> EndpointSettings:
        media = tmp_path / "media"
        media.mkdir(exist_ok=True)
        values = {
            "database_url": f"sqlite:///{tmp_path / 'endpoint.db'}",
            "media_folder": str(media),
            "access_key": ACCESS,
            "secret_key": SECRET,
            "port": 0,
            **changes,
        }
        return EndpointSettings(**values)

    return make


@pytest.fixture
def start(make_settings: Callable[..., EndpointSettings]) -> Iterator[Callable[..., Endpoint]]:
    """Start endpoints with changed settings; they stop with the test."""
    stack: list[Any] = []

    def begin(**changes: Any) -> Endpoint:
        settings, clock = make_settings(**changes), Clock()
        context = running(settings, clock=clock)
        url = context.__enter__()
        http = httpx.Client(timeout=60, verify=False, limits=httpx.Limits(max_connections=64))
        stack.append((context, http))
        return Endpoint(url, settings, clock, client(url), http)

    yield begin
    for context, http in reversed(stack):
        http.close()
        context.__exit__(None, None, None)


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve seconds at ten frames a second, every frame of its own grey."""
    path = tmp_path_factory.mktemp("browser") / "v.mp4"
    write_video(path, (np.full((90, 160, 3), 40 + k, dtype=np.uint8) for k in range(120)), 10)
    return path


@pytest.fixture
def endpoint(start: Callable[..., Endpoint]) -> Endpoint:
    return start()
