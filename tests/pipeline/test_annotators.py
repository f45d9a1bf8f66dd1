"""The people of a workspace on the command line: invited, listed, revoked; served to the network they are in."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

from kloc.cli import app
from kloc.crowd.endpoint import server
from kloc.errors import CrowdError, UsageError
from kloc.pipeline import serving
from kloc.workspace import Workspace


@pytest.fixture
def root(tmp_path: Path) -> Path:
    workspace, _ = Workspace.create(tmp_path / "ws")
    workspace.close()
    return workspace.root


def crowd(root: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["crowd", *arguments, "--workspace", str(root)], env={"COLUMNS": "80"})


def told(root: Path, *arguments: str) -> str:
    result = crowd(root, *arguments)
    assert result.exit_code == 0, result.output
    assert "--json" in arguments or max(map(len, result.output.splitlines())) <= 80
    return result.output


def test_invited_listed_and_revoked(root: Path) -> None:
    assert "nobody is invited yet" in told(root, "workers")
    links = json.loads(told(root, "invite", "Ada", "Grace Hopper", "--json"))
    assert links["Ada"].startswith("http://127.0.0.1:8765/w/")
    passwords = json.loads(told(root, "invite", "Ada", "--password", "--json"))
    assert re.fullmatch(r"([a-z2-9]{4}-){3}[a-z2-9]{4}", passwords["Ada"])
    assert passwords["login"] == "http://127.0.0.1:8765/login"
    workspace = Workspace.open(root)
    with server.running(serving.endpoint_settings(workspace, port=0)) as url:
        token = links["Ada"].rpartition("/")[2]
        assert httpx.get(f"{url}/w/{token}").status_code == 403  # the password has taken the link's place
        secret = {"name": "Ada", "password": passwords["Ada"]}
        opened = httpx.post(f"{url}/login", data=secret)
        assert opened.status_code == 303
        session = opened.headers["location"]
        assert httpx.get(httpx.URL(url).join(session)).status_code == 200
        assert "no access any more" in told(root, "revoke", "Ada")
        assert httpx.get(httpx.URL(url).join(session)).status_code == 403
        assert httpx.post(f"{url}/login", data=secret).status_code == 403
    workspace.close()
    listed = told(root, "workers")
    assert re.search(r"Ada +no access +0 +0 +never", listed)
    assert re.search(r"Grace Hopper +invited +0 +0 +never", listed)
    assert [worker["name"] for worker in json.loads(told(root, "workers", "--json"))] == ["Ada", "Grace Hopper"]
    unknown = crowd(root, "revoke", "Linus")
    assert isinstance(unknown.exception, CrowdError)
    assert "kloc crowd workers" in str(unknown.exception)


def test_a_qr_code_for_each_link(root: Path) -> None:
    output = told(root, "invite", "Ada", "Grace", "--qr")
    codes = re.findall(r"(?:^[█▀▄ ]+$\n){10,}", output, re.M)
    assert len(codes) == 2
    assert (
        len(re.findall(r"(?:^[█▀▄ ]+$\n){10,}", told(root, "invite", "Ada", "Grace", "--qr", "--password"), re.M)) == 1
    )
    assert "█" not in told(root, "invite", "Ada", "--qr", "--json")


def test_links_carry_the_address_that_workers_see(tmp_path: Path) -> None:
    workspace, _ = Workspace.create(tmp_path / "ws", **{"crowd.public_url": "https://lab.example/kloc/"})
    root = workspace.root
    assert json.loads(told(root, "invite", "Ada", "--json"))["Ada"].startswith("https://lab.example/kloc/w/")
    settings = serving.endpoint_settings(workspace)
    assert (settings.public_url, settings.behind_proxy) == ("https://lab.example/kloc", True)
    assert not serving.endpoint_settings(workspace, host="0.0.0.0").behind_proxy  # others reach it past the proxy
    workspace.close()


def test_lan_finds_its_own_address(root: Path) -> None:
    refused = crowd(root, "serve", "--lan", "--host", "10.0.0.1")
    assert isinstance(refused.exception, UsageError)


def test_serving_the_network(root: Path) -> None:
    try:
        outer = serving.lan_address()
    except CrowdError as error:
        pytest.skip(str(error))
    with socket.socket() as free:
        free.bind((outer, 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "kloc", "crowd", "serve", "--lan", "--port", port, "--workspace", str(root)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "keep the invitation links private" in line:
            break
    assert lines[0] == f"serving tasks and the requester API at http://{outer}:{port}\n"
    assert sum("█" in line for line in lines) > 10
    links = json.loads(told(root, "invite", "Ada", "--json"))
    assert links["Ada"].startswith(f"http://{outer}:{port}/w/")
    assert httpx.get(links["Ada"]).status_code == 200
    assert httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 0
    assert not (root / "crowd" / "address").exists()
    (root / "crowd" / "address").write_text(f"http://{outer}:{port}")  # as after kill -9: nobody answers there
    assert f"{outer}:{port}" not in told(root, "invite", "Ada")
