"""A real store, a real endpoint and a real boto3 client for the crowd's tests."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from crowd_helpers import KEYS, Campaign, open_store, videos

from kloc.crowd.client import make_client
from kloc.crowd.endpoint.server import running
from kloc.crowd.endpoint.settings import EndpointSettings


@pytest.fixture
def make_campaign(tmp_path: Path) -> Iterator[Callable[..., Campaign]]:
    """``make_campaign(n_videos, **endpoint_settings)``: a running endpoint beside a fresh store."""
    closing: list[Any] = []

    def make(count: int = 3, **changes: Any) -> Campaign:
        items, truth, starts = videos(count)
        media = tmp_path / "media"
        media.mkdir()
        for entry in items:
            (media / f"{entry.media_key}.mp4").write_bytes(bytes(range(256)) * 40)
        values = {"database_url": f"sqlite:///{tmp_path / 'endpoint.sqlite'}", "media_folder": media, "port": 0}
        endpoint = EndpointSettings(**(values | KEYS | changes))
        server = running(endpoint)
        url = server.__enter__()
        closing.append(lambda: server.__exit__(None, None, None))
        store = open_store(f"sqlite:///{tmp_path / 'store.sqlite'}", items)
        closing.append(store.close)
        client = make_client(url, **KEYS)
        closing.append(client.close)
        return Campaign(store, client, url, endpoint, items, truth, starts)

    yield make
    for close in reversed(closing):
        close()
