"""Two walls against too much: requests per second, and bytes per request."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from http import HTTPStatus

from starlette.requests import Request

from kloc.crowd.endpoint.faults import Refusal

#: How much of a body that is too large is read on, so that the sender gets to read why.
_DRAIN = 16 * 2**20


class RateLimiter:
    """Token buckets: ``rate`` per second in the long run, ``burst`` at once. Holds the latest 10,000 callers."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, caller: str) -> None:
        """Raise :class:`Refusal` (429) where ``caller`` has used up its share."""
        with self._lock:
            now = self._clock()
            level, then = self._buckets.pop(caller, (self._burst, now))
            level = min(level + (now - then) * self._rate, self._burst)
            passed = level >= 1
            self._buckets[caller] = (level - 1 if passed else level, now)
            while len(self._buckets) > 10_000:
                self._buckets.popitem(last=False)
        if not passed:
            raise Refusal(HTTPStatus.TOO_MANY_REQUESTS, "Too many requests at once; please wait a moment.")

    def forgive(self, caller: str) -> None:
        """Give ``caller`` a full share again."""
        with self._lock:
            self._buckets.pop(caller, None)


async def body_of(request: Request, limit: int) -> bytes:
    """The request's body. Raises :class:`Refusal` (413) when it has more than ``limit`` bytes."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size <= limit:
            parts.append(part)
        elif size > limit + _DRAIN:
            break
    if size > limit:
        raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"That is too large: at most {limit:,} bytes are taken.")
    return b"".join(parts)
