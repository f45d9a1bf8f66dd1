"""A publisher as a process of its own that kills itself, as hard as can be, where it is told to.

``python crash_publisher.py STORE_URL ENDPOINT_URL COUNT CAP WHEN``; WHEN is ``never``, ``type`` (after the HIT type is
registered), ``before:N`` or ``after:N`` (the endpoint has acted, its answer is lost) of the N-th CreateHIT.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from crowd_helpers import KEYS, open_store, publish_settings, videos

from kloc.crowd.client import make_client
from kloc.crowd.publish import publish


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Killing:
    def __init__(self, client: Any, when: str) -> None:
        self._client = client
        self._when = when
        self._count = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def create_hit_type(self, **arguments: Any) -> Any:
        answer = self._client.create_hit_type(**arguments)
        if self._when == "type":
            die()
        return answer

    def create_hit_with_hit_type(self, **arguments: Any) -> Any:
        self._count += 1
        if self._when == f"before:{self._count}":
            die()
        answer = self._client.create_hit_with_hit_type(**arguments)
        if self._when == f"after:{self._count}":
            die()
        return answer


def main(store_url: str, endpoint_url: str, count: str, cap: str, when: str) -> None:
    items, _, _ = videos(int(count))
    store = open_store(store_url, items)
    client: Any = Killing(make_client(endpoint_url, **KEYS), when)
    print(publish(store, client, items, publish_settings(), max_spend_mills=int(cap)))


if __name__ == "__main__":
    main(*sys.argv[1:])
