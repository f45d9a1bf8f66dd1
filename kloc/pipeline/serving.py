"""The crowd of one's own: keys, invitations, and the endpoint as a process beside the pipeline."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

from kloc.crowd.client import make_client
from kloc.crowd.endpoint.settings import EndpointSettings, is_loopback
from kloc.errors import CrowdError
from kloc.pipeline.telling import Summary
from kloc.store.database import sqlite_url
from kloc.workspace import Workspace

if TYPE_CHECKING:
    from mypy_boto3_mturk import MTurkClient


def credentials(workspace: Workspace) -> tuple[str, str]:
    """The key pair between kloc and its own endpoint; made on first use, readable by its owner only."""
    path = workspace.crowd / "credentials.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        pair = {"access_key": f"KLOC{secrets.token_hex(8).upper()}", "secret_key": secrets.token_urlsafe(32)}
        scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            json.dump(pair, stream)
        try:
            os.link(scratch, path)  # unlike a rename this never replaces the pair that somebody else just made
        except FileExistsError:
            pass
        finally:
            scratch.unlink()
    pair = json.loads(path.read_text())
    return pair["access_key"], pair["secret_key"]


def endpoint_settings(workspace: Workspace, *, host: str | None = None, port: int | None = None) -> EndpointSettings:
    """Settings of the workspace's own endpoint: its own database, its media, its keys."""
    access_key, secret_key = credentials(workspace)
    configured = urlsplit(workspace.settings.crowd.endpoint)
    workspace.media.mkdir(parents=True, exist_ok=True)
    return EndpointSettings(
        database_url=database_url(workspace),
        media_folder=str(workspace.media),
        access_key=access_key,
        secret_key=secret_key,
        host=host or "127.0.0.1",
        port=port if port is not None else configured.port or 8765,
        log_file=str(workspace.crowd / "access.log"),
    )


def database_url(workspace: Workspace) -> str:
    """The endpoint's own database, apart from the campaign store."""
    return sqlite_url(workspace.crowd / "endpoint.sqlite")


def serve(workspace: Workspace, *, host: str | None, port: int | None, say: Callable[[str], None]) -> None:
    """Serve until Ctrl-C."""
    from kloc.crowd.endpoint import server

    settings = endpoint_settings(workspace, host=host, port=port)

    def ready(url: str) -> None:
        say(f"serving tasks and the requester API at {url}")
        if port_of(url) != port_of(workspace.settings.crowd.endpoint):
            say(f'kloc.toml names another endpoint: set crowd.endpoint = "{url}" for invite and publish-hits')
        say("invite annotators:  kloc crowd invite NAME...   publish tasks:  kloc publish-hits   stop:  Ctrl-C")
        if not is_loopback(settings.host):
            say("this address can be reached from other machines: keep the invitation links private")

    server.serve(settings, ready=ready)


def invite(workspace: Workspace, names: Sequence[str]) -> Summary:
    """A personal link per annotator; inviting a name again replaces its link."""
    from kloc.crowd.endpoint import admin

    workspace.crowd.mkdir(parents=True, exist_ok=True)
    links = {}
    for name in names:
        token = secrets.token_urlsafe(24)
        admin.ensure_worker(database_url(workspace), name, token, replace=True)
        links[name] = f"{workspace.settings.crowd.endpoint.rstrip('/')}/w/{token}"
    return Summary("invite", links, hint="kloc crowd serve (send each link to its person; it is shown only now)")


def client(workspace: Workspace, url: str | None = None, *, allow_amazon: bool = False) -> MTurkClient:
    """boto3's client for the workspace's endpoint: own keys on this machine, boto3's chain elsewhere."""
    endpoint = url or workspace.settings.crowd.endpoint
    if is_loopback(urlsplit(endpoint).hostname or ""):
        access_key, secret_key = credentials(workspace)
        return make_client(endpoint, access_key, secret_key)
    return make_client(endpoint, i_know_mturk_is_closed=allow_amazon)


def answers(url: str) -> bool:
    """Whether an endpoint is up at ``url``."""
    try:
        return httpx.get(f"{url.rstrip('/')}/healthz", timeout=2.0).status_code == 200
    except httpx.HTTPError:
        return False


@contextmanager
def endpoint_process(workspace: Workspace, *, port: int | None = None) -> Iterator[str]:
    """Run the workspace's endpoint as a child process; yields its URL.

    The child ends when its standard input closes: it cannot outlive this process, however that ends.
    """
    settings = replace(endpoint_settings(workspace), port=port if port is not None else 0)
    config = workspace.crowd / "endpoint.json"
    scratch = config.with_name(f".endpoint.{os.getpid()}.part")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        json.dump(asdict(settings), stream, default=str)
    scratch.replace(config)
    command = [sys.executable, "-m", "kloc.crowd.endpoint", "--config", str(config), "--until-stdin-closes"]
    with (workspace.crowd / "endpoint.err").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise CrowdError(f"the crowd endpoint did not start: {_last_line(workspace.crowd / 'endpoint.err')}")
        first: dict[str, Any] = json.loads(line)
        yield first["url"]
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def is_own(url: str) -> bool:
    """Whether an endpoint at ``url`` would be on this machine, and kloc may start it."""
    return is_loopback(urlsplit(url).hostname or "")


def port_of(url: str) -> int:
    """The port in ``url``."""
    return urlsplit(url).port or 8765
