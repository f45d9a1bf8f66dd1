from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import botocore.loaders
import botocore.session
import pytest

from kloc.crowd.client import SERVICE_MODEL, RefusedError, UnreachableError, call, make_client, pages
from kloc.errors import CrowdError, UsageError

KEYS = {"access_key": "a", "secret_key": "b"}


@pytest.fixture(autouse=True)
def _no_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL_MTURK", "AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "none")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "none")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


class Script(BaseHTTPRequestHandler):
    """Answers each request with the next (status, body) of the server's script, the last one for ever."""

    server: Any

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.headers["X-Amz-Target"].split(".")[1], json.loads(body)))
        status, answer = self.server.script.pop(0) if len(self.server.script) > 1 else self.server.script[0]
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Stay quiet."""


@pytest.fixture
def scripted() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Script)
    server.seen = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def refusal(code: str, message: str = "No. (123)") -> tuple[int, dict[str, str]]:
    return 400, {"__type": "RequestError", "Message": message, "TurkErrorCode": f"AWS.MechanicalTurk.{code}"}


@pytest.mark.parametrize(
    "url",
    [
        None,
        "https://mturk-requester.us-east-1.amazonaws.com",
        "https://mturk-requester-sandbox.us-east-1.amazonaws.com",
        "https://MTURK-requester.us-east-1.AMAZONAWS.com./",
    ],
)
def test_amazon_is_refused_in_one_sentence_unless_overridden(url: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        make_client(url, **KEYS)
    assert "closed on 2026-09-30" in str(caught.value)
    assert "kloc crowd serve" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert make_client(url, **KEYS, i_know_mturk_is_closed=True).meta.service_model.service_name == "mturk"


def test_another_endpoint_passes_even_where_only_the_environment_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert make_client("http://amazonaws.com.example:1/", **KEYS)
    monkeypatch.setenv("AWS_ENDPOINT_URL_MTURK", "http://127.0.0.1:1")
    assert make_client(None, **KEYS).meta.endpoint_url == "http://127.0.0.1:1"


@pytest.mark.parametrize("url", ["127.0.0.1:8765", "ftp://x", "", "http://"])
def test_bad_urls_and_half_keys_are_wrong_use(url: str) -> None:
    with pytest.raises(UsageError, match="crowd endpoint"):
        make_client(url, **KEYS)
    with pytest.raises(UsageError, match="belong together"):
        make_client("http://127.0.0.1:1", "a")


def test_missing_keys_are_explained() -> None:
    client = make_client("http://127.0.0.1:1")
    with pytest.raises(UsageError, match="AWS_ACCESS_KEY_ID"):
        call("x", client.get_account_balance)


def test_an_endpoint_that_is_not_there() -> None:
    client = make_client("http://127.0.0.1:1", **KEYS)
    with pytest.raises(UnreachableError, match=r"video 'v': .*is the endpoint running\?"):
        call("video 'v'", client.get_account_balance)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("InsufficientFunds", "balance is too low"),
        ("HITDoesNotExist", "does not know this HIT"),
        ("HitdoesNOTexist", "does not know this HIT"),
        ("SomethingNew", r"SomethingNew: No\. \(123\)"),
    ],
)
def test_refusals_become_one_line(scripted: Any, code: str, words: str) -> None:
    scripted.script = [refusal(code)]
    client = make_client(scripted.url, **KEYS)
    with pytest.raises(RefusedError, match=f"HIT 7: .*{words}") as caught:
        call("HIT 7", client.get_hit, HITId="7")
    assert caught.value.code == code
    assert len(scripted.seen) == 1


def test_throttling_and_faults_are_waited_out(scripted: Any) -> None:
    slow = refusal("ServiceFault", "ThrottlingException: Rate exceeded")
    plain = (400, {"__type": "ThrottlingException", "message": "Rate exceeded"})
    fault = (500, {"__type": "ServiceFault", "Message": "oh"})
    scripted.script = [slow, plain, fault, slow, (200, {"AvailableBalance": "1.00"})]
    client = make_client(scripted.url, **KEYS)
    assert call("x", client.get_account_balance)["AvailableBalance"] == "1.00"
    assert len(scripted.seen) == 5


def test_a_failing_endpoint_leaves_open_whether_it_acted(scripted: Any) -> None:
    scripted.script = [(500, {"__type": "ServiceFault", "Message": "oh", "TurkErrorCode": "AWS.ServiceFault"})]
    client = make_client(scripted.url, **KEYS)
    with pytest.raises(UnreachableError, match=r"the endpoint failed \(ServiceFault\): oh; try again later"):
        call("x", client.get_account_balance)
    assert len(scripted.seen) == 8


@pytest.mark.parametrize("length", [len("HTTP/1.1 200 OK\r\n"), -20])
def test_an_answer_that_breaks_off_is_no_empty_list(length: int) -> None:
    body = '{"HITs": [{"HITId": "A"}], "NumResults": 1}'
    whole = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
    answers = [whole[:length], whole]
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for answer in answers:
                connection, _ = listening.accept()
                with connection, connection.makefile("rb") as stream:
                    lines = list(iter(stream.readline, b"\r\n"))
                    stream.read(
                        next(int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-l"))
                    )
                    connection.sendall(answer.encode())

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        client = make_client("http://{}:{}".format(*listening.getsockname()), **KEYS)
        assert [hit["HITId"] for hit in pages("x", client, "list_hits", "HITs")] == ["A"]
        thread.join()


def test_all_pages_are_read_and_a_repeated_token_is_noticed(scripted: Any) -> None:
    scripted.script = [
        (200, {"HITs": [{"HITId": "A"}, {"HITId": "B"}], "NextToken": "t1"}),
        (200, {"HITs": [], "NextToken": "t2"}),
        (200, {"HITs": [{"HITId": "C"}]}),
    ]
    client = make_client(scripted.url, **KEYS)
    assert [hit["HITId"] for hit in pages("x", client, "list_hits", "HITs")] == ["A", "B", "C"]
    assert [request.get("NextToken") for _, request in scripted.seen] == [None, "t1", "t2"]
    scripted.script = [(200, {"HITs": [], "NextToken": "again"})]
    with pytest.raises(CrowdError, match="repeats the page token"):
        list(pages("x", client, "list_hits", "HITs"))


@pytest.fixture
def _without_botocores_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a botocore that has dropped the service."""
    load, exists = botocore.loaders.JSONFileLoader.load_file, botocore.loaders.JSONFileLoader.exists

    def ours(path: str) -> bool:
        return "mturk" not in path or path.startswith(str(SERVICE_MODEL))

    monkeypatch.setattr(
        botocore.loaders.JSONFileLoader, "load_file", lambda self, path: load(self, path) if ours(path) else None
    )
    monkeypatch.setattr(botocore.loaders.JSONFileLoader, "exists", lambda self, path: ours(path) and exists(self, path))


@pytest.mark.usefixtures("_without_botocores_model")
def test_our_own_service_model_speaks_the_protocol(scripted: Any) -> None:
    client = make_client(scripted.url, **KEYS)
    assert len(client.meta.service_model.operation_names) == 17
    scripted.script = [(200, {"HIT": {"HITId": "A", "Expiration": 1000.5, "MaxAssignments": 3}})]
    hit = call("x", client.get_hit, HITId="A")["HIT"]
    assert (hit["Expiration"], hit["MaxAssignments"]) == (datetime.fromtimestamp(1000.5, UTC), 3)
    scripted.script = [refusal("HITDoesNotExist")]
    with pytest.raises(RefusedError, match="does not know this HIT"):
        call("x", client.get_hit, HITId="A")
    scripted.script = [(200, {})]
    call("x", client.update_expiration_for_hit, HITId="A", ExpireAt=datetime.fromtimestamp(5, UTC))
    assert scripted.seen[-1] == ("UpdateExpirationForHIT", {"HITId": "A", "ExpireAt": 5})
    assert client.can_paginate("list_hits")


def test_our_own_service_model_agrees_with_botocores() -> None:
    theirs = botocore.session.get_session()
    if "mturk" not in theirs.get_available_services():
        pytest.skip("this botocore has no mturk to compare with")
    ours = botocore.session.Session()
    ours.get_component("data_loader").search_paths[:] = [str(SERVICE_MODEL)]
    mine, reference = ours.get_service_model("mturk"), theirs.get_service_model("mturk")
    assert mine.metadata["targetPrefix"] == reference.metadata["targetPrefix"]
    assert mine.signing_name == "mturk-requester"

    def compare(a: Any, b: Any, where: str) -> None:
        assert a.type_name == b.type_name, where
        if a.type_name == "list":
            compare(a.member, b.member, where)
        if a.type_name == "structure":
            assert set(a.required_members) == set(b.required_members), where
            for name, member in a.members.items():
                compare(member, b.members[name], f"{where}.{name}")

    for name in mine.operation_names:
        for part in ("input_shape", "output_shape"):
            compare(
                getattr(mine.operation_model(name), part),
                getattr(reference.operation_model(name), part),
                f"{name}.{part}",
            )
