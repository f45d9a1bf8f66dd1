"""Links that carry their own permission: an HMAC over the path and every parameter, with an end."""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Mapping
from urllib.parse import urlencode


class LinkSigner:
    """Signs and checks links with one key that stays in the database, so that links outlive a restart."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def sign(self, path: str, parameters: Mapping[str, str], until: float) -> str:
        """``path?parameters&exp=..&sig=..``, good until the epoch second ``until``."""
        full = {**parameters, "exp": str(math.ceil(until))}
        return f"{path}?{urlencode({**full, 'sig': self._signature(path, full)})}"

    def holds(self, path: str, parameters: Mapping[str, str], now: float) -> bool:
        """Whether the link is one of ours, unchanged, and its time is not over."""
        given = dict(parameters)
        signature = given.pop("sig", "")
        if not hmac.compare_digest(self._signature(path, given).encode(), signature.encode("utf-8", "replace")):
            return False
        return now <= float(given["exp"])

    def _signature(self, path: str, parameters: Mapping[str, str]) -> str:
        text = f"{path}\n{urlencode(sorted(parameters.items()))}"
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()
