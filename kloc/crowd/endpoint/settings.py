"""Everything the endpoint can be told, and reading it from a JSON file."""

from __future__ import annotations

import ipaddress
import json
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kloc.crowd.endpoint.money import to_cents
from kloc.errors import UsageError

#: Below this a secret key could be searched; loopback may use a short one.
MINIMUM_SECRET = 16


@dataclass(frozen=True)
class EndpointSettings:
    """Settings of one endpoint.

    database_url: ``sqlite:///file`` or ``postgresql://...``; the endpoint's own, never the campaign store.
    media_folder: where ``<media key>.mp4`` lie.
    access_key, secret_key: what the requester's boto3 client signs with.
    host, port: where to listen; loopback unless told otherwise, port 0 picks a free one.
    public_url: how workers reach the endpoint when that differs (a proxy in front), e.g. ``https://lab.example``.
    behind_proxy: whether everybody comes through a proxy that says in X-Forwarded-For who asks.
    balance: the account's money in dollars; on one's own endpoint a figure to keep spending in check.
    log_file: where the JSON lines of the access log go; ``-`` is standard error; none by default.
    requests_per_second: what one worker may ask for in the long run; bursts of ten times that pass.
    """

    database_url: str
    media_folder: str | Path
    access_key: str
    secret_key: str
    host: str = "127.0.0.1"
    port: int = 8765
    public_url: str | None = None
    behind_proxy: bool = False
    balance: str = "1000000.00"
    log_file: str | None = None
    requests_per_second: float = 30.0

    def __post_init__(self) -> None:
        for key in ("database_url", "access_key", "secret_key", "host"):
            if not isinstance(getattr(self, key), str) or not getattr(self, key):
                raise UsageError(f"the endpoint's setting {key!r} must be a non-empty text; set it and start again")
        if not isinstance(self.port, int) or not 0 <= self.port <= 65535:
            raise UsageError(f"the endpoint's port {self.port!r} is not a number from 0 to 65535")
        if len(self.secret_key) < MINIMUM_SECRET and not is_loopback(self.host):
            raise UsageError(
                f"the endpoint listens on {self.host}, which others can reach: "
                f"give it a secret_key of at least {MINIMUM_SECRET} characters"
            )
        if self.public_url is not None:
            parts = urlsplit(self.public_url)
            if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
                raise UsageError(
                    f"the endpoint's public_url {self.public_url!r} is not like https://host or https://host/path"
                )
            object.__setattr__(self, "public_url", self.public_url.rstrip("/"))
        if to_cents(self.balance) is None:
            raise UsageError(f"the endpoint's balance {self.balance!r} is not an amount like 100.00")
        if not self.requests_per_second > 0:
            raise UsageError("the endpoint's requests_per_second must be above 0")

    @classmethod
    def load(cls, path: Path) -> EndpointSettings:
        """Read settings from a JSON file. Raises :class:`UsageError` for an unknown or missing key."""
        try:
            values: Any = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"cannot read the endpoint's settings {os.fspath(path)}: {error}") from error
        if not isinstance(values, dict):
            raise UsageError(f"the endpoint's settings {os.fspath(path)} must be a JSON object")
        known = {field.name for field in fields(cls)}
        for key in values:
            if key not in known:
                raise UsageError(f"{os.fspath(path)}: unknown setting {key!r}; known are {', '.join(sorted(known))}")
        try:
            return cls(**values)
        except TypeError as error:
            raise UsageError(f"{os.fspath(path)}: {str(error).split('__init__() ')[-1]}") from error


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
