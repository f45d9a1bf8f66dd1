"""The crowd of one's own: keys, invitations, and the endpoint as a process beside the pipeline."""

from __future__ import annotations

import io
import json
import os
import secrets
import socket
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
from kloc.errors import CrowdError, UsageError
from kloc.pipeline.telling import Summary
from kloc.store.database import sqlite_url
from kloc.workspace import Workspace

if TYPE_CHECKING:
    from mypy_boto3_mturk import MTurkClient

    from kloc.crowd.endpoint.admin import WorkerInfo


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
    host = host or "127.0.0.1"
    public_url = workspace.settings.crowd.public_url or None
    workspace.media.mkdir(parents=True, exist_ok=True)
    return EndpointSettings(
        database_url=database_url(workspace),
        media_folder=str(workspace.media),
        access_key=access_key,
        secret_key=secret_key,
        host=host,
        port=port if port is not None else configured.port or 8765,
        public_url=public_url,
        # Only a proxy on this machine can reach it then: what that says about its callers may be believed.
        behind_proxy=public_url is not None and is_loopback(host),
        log_file=str(workspace.crowd / "access.log"),
    )


def database_url(workspace: Workspace) -> str:
    """The endpoint's own database, apart from the campaign store."""
    return sqlite_url(workspace.crowd / "endpoint.sqlite")


def serve(
    workspace: Workspace, *, host: str | None, port: int | None, lan: bool = False, say: Callable[[str], None]
) -> None:
    """Serve until Ctrl-C. ``lan``: at this machine's address in the local network, on plain HTTP."""
    from kloc.crowd.endpoint import server

    if lan and host:
        raise UsageError("--lan finds the address by itself: give --lan or --host, not both")
    settings = endpoint_settings(workspace, host=lan_address() if lan else host, port=port)

    def ready(url: str) -> None:
        people = settings.public_url or url
        say(f"serving tasks and the requester API at {people}")
        _address_file(workspace).write_text(people)
        if port_of(url) != port_of(workspace.settings.crowd.endpoint):
            own = f"http://127.0.0.1:{port_of(url)}"
            say(f'kloc.toml names another endpoint: set crowd.endpoint = "{own}" for publish-hits and ingest')
        if lan:
            say(f"annotators in this network sign in at {people}/login\n{qr_code(f'{people}/login')}")
        say("invite annotators:  kloc crowd invite NAME...   publish tasks:  kloc publish-hits   stop:  Ctrl-C")
        if not is_loopback(settings.host):
            say("this address can be reached from other machines: keep the invitation links private")

    try:
        server.serve(settings, ready=ready)
    finally:
        _address_file(workspace).unlink(missing_ok=True)


def lan_address() -> str:
    """This machine's address in the network it is in. Raises :class:`CrowdError` where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: it only asks which of our addresses would be used
        except OSError:
            raise CrowdError("this machine is in no network: join one, or name an address with --host") from None
        found: str = probe.getsockname()[0]
    return found


def qr_code(text: str) -> str:
    """``text`` as a QR code of half blocks, to be read off a terminal."""
    import segno

    drawn = io.StringIO()
    segno.make_qr(text, error="l").terminal(out=drawn, border=2, compact=True)
    return drawn.getvalue()


def people_url(workspace: Workspace) -> str:
    """Where workers find the endpoint: the public address, the one it serves at now, or the configured one."""
    configured = workspace.settings.crowd.endpoint.rstrip("/")
    if workspace.settings.crowd.public_url:
        return workspace.settings.crowd.public_url.rstrip("/")
    try:
        serving = _address_file(workspace).read_text()
    except OSError:
        return configured
    return serving if answers(serving) else configured  # the file of a killed endpoint says nothing


def _address_file(workspace: Workspace) -> Path:
    return workspace.crowd / "address"


def invite(workspace: Workspace, names: Sequence[str], *, password: bool = False) -> Summary:
    """A personal link per annotator, or a password; inviting a name again replaces what was given before."""
    from kloc.crowd.endpoint import admin

    workspace.crowd.mkdir(parents=True, exist_ok=True)
    base = people_url(workspace)
    if password:
        secret = {name: admin.give_password(database_url(workspace), name) for name in names}
        hint = f"they sign in at {base}/login; each password is shown only now"
        return Summary("invite", secret, hint=hint, data={"login": f"{base}/login"})
    links = {}
    for name in names:
        token = secrets.token_urlsafe(24)
        admin.ensure_worker(database_url(workspace), name, token, replace=True)
        links[name] = f"{base}/w/{token}"
    local = is_loopback(urlsplit(base).hostname or "")
    where = "; for other machines start `kloc crowd serve --lan` first and invite again" if local else ""
    return Summary(
        "invite", links, hint=f"kloc crowd serve (send each link to its person; it is shown only now{where})"
    )


def workers(workspace: Workspace) -> list[WorkerInfo]:
    """Everybody who was invited, oldest first."""
    from kloc.crowd.endpoint import admin

    return admin.list_workers(database_url(workspace))


def revoke(workspace: Workspace, names: Sequence[str]) -> Summary:
    """Withdraw access at once; answers and what is owed for them stay."""
    from kloc.crowd.endpoint import admin

    for name in names:
        admin.revoke(database_url(workspace), name)
    hint = "kloc crowd workers (an invitation gives access back)"
    return Summary("revoke", dict.fromkeys(names, "has no access any more; answers stay"), hint=hint)


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
