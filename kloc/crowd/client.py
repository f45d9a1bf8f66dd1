"""The one way kloc talks to a crowd: boto3's ``mturk`` client, whoever answers at the other end of the wire.

Amazon's own service is gone; ``kloc crowd serve`` and other compatible endpoints speak the same protocol.
"""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast
from urllib.parse import urlsplit

import boto3
import botocore.session
import httpx
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectionClosedError, HTTPClientError, NoCredentialsError
from botocore.exceptions import ConnectionError as BotoConnectionError

from kloc.errors import CrowdError, UsageError

if TYPE_CHECKING:
    from mypy_boto3_mturk import MTurkClient

P = ParamSpec("P")
R = TypeVar("R")

#: Folder at the end of botocore's search path: used where botocore itself no longer knows ``mturk``.
SERVICE_MODEL = Path(__file__).parent / "service_model"

CLOSED = (
    "Amazon Mechanical Turk closed on 2026-09-30 and no work can be done there: start your own endpoint with "
    "`kloc crowd serve` or name another compatible one (crowd.endpoint in kloc.toml); --i-know-mturk-is-closed insists"
)

_STRANGE = (
    "the endpoint does not know kloc's keys; is another server listening at this address? "
    "(crowd.endpoint in kloc.toml, kloc crowd serve --port)"
)
_ADVICE = {
    "UnrecognizedClientException": _STRANGE,
    "InvalidSignatureException": _STRANGE,
    "InsufficientFunds": "the account's balance is too low; add money or publish fewer tasks",
    "HITDoesNotExist": "the endpoint does not know this HIT; was it deleted, or is this another endpoint?",
    "AssignmentDoesNotExist": "the endpoint does not know this assignment; is this another endpoint?",
    "InvalidAssignmentState": "the assignment is in another state by now; run `kloc ingest` again",
    "InvalidHITState": "the HIT is in another state by now; run `kloc ingest` again",
    "XMLParseError": "the endpoint cannot read the question's XML; this is a defect of kloc, please report it",
    "HITTooOldForExtension": "the HIT is too old to be extended; publish the item anew",
    "InvalidMaximumAssignmentsIncrease": "a HIT below 10 assignments cannot grow to 10 or more; publish it anew",
}

#: How often a request is sent at most: to an endpoint that asks for patience, to one that fails or does not answer.
_THROTTLED, _FAILED = 12, 8
#: Waits double from the first to the slowest; a third of all requests throttled still costs a campaign seconds only.
_FIRST_WAIT_S, _SLOWEST_WAIT_S = 0.05, 8.0


class RefusedError(CrowdError):
    """The endpoint understood the request and said no. ``code`` is the last part of its TurkErrorCode."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class UnreachableError(CrowdError):
    """No answer came: whether the endpoint acted on the request is unknown."""


def make_client(
    endpoint_url: str | None,
    access_key: str | None = None,
    secret_key: str | None = None,
    *,
    i_know_mturk_is_closed: bool = False,
    region: str = "us-east-1",
    read_timeout_s: float = 60.0,
) -> MTurkClient:
    """A boto3 ``mturk`` client for ``endpoint_url``; makes no call yet.

    Without keys the default boto3 chain finds them (environment, profile, ...); without ``endpoint_url`` boto3's
    own settings decide (``AWS_ENDPOINT_URL_MTURK``, then Amazon). Raises :class:`UsageError` for an endpoint at
    Amazon, unless overridden, and for keys that come one without the other.
    """
    if (access_key is None) != (secret_key is None):
        raise UsageError("an access key and its secret key belong together: give both or neither")
    if endpoint_url is not None and urlsplit(endpoint_url).scheme not in ("http", "https"):
        raise UsageError(f"crowd endpoint {endpoint_url!r}: not an http(s) URL, e.g. http://127.0.0.1:8765")
    config = Config(
        # :func:`call` repeats, and knows what throttling looks like here. boto3 would wait a second and more each time.
        retries={"mode": "standard", "total_max_attempts": 1},
        connect_timeout=10,
        read_timeout=read_timeout_s,
        user_agent_extra="kloc",
    )
    try:
        client = boto3.Session(botocore_session=_session()).client(
            "mturk",
            region_name=region,
            endpoint_url=endpoint_url,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            config=config,
        )
    except (BotoCoreError, ValueError) as error:
        raise UsageError(f"crowd endpoint {endpoint_url!r}: {_one_line(error)}") from None
    if not i_know_mturk_is_closed and _is_amazon(client.meta.endpoint_url):
        raise UsageError(CLOSED)
    client.meta.events.register("before-parse.mturk", partial(_refuse_torn, client.meta.endpoint_url))
    return client


def _refuse_torn(endpoint_url: str, response_dict: dict[str, Any], **_: Any) -> None:
    """Take no answer that broke off on its way: botocore reads one as an empty one, a list of nothing."""
    body, length = response_dict["body"], response_dict["headers"].get("content-length")
    try:
        whole = json.loads(body) is not None if length is None else int(length) == len(body)
    except ValueError:
        whole = False
    if not whole:
        raise ConnectionClosedError(endpoint_url=endpoint_url)


def _session() -> botocore.session.Session:
    session = botocore.session.get_session()
    # Last in the line: botocore's own model comes first for as long as it has one. (Asking it for its services
    # beforehand would make the loader remember an answer without ours.)
    session.get_component("data_loader").search_paths.append(str(SERVICE_MODEL))
    return session


def _is_amazon(url: str) -> bool:
    host = (urlsplit(url).hostname or "").rstrip(".").lower()
    return any(host == name or host.endswith(f".{name}") for name in ("amazonaws.com", "amazonaws.com.cn"))


def call(about: str, operation: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Call one operation of a client; ``about`` names in errors what it was for, e.g. ``"video v1"``.

    What was throttled, failed at the endpoint or was lost on the way is sent again after a jittered wait: every
    operation either carries a token or does no harm twice. Raises :class:`RefusedError` where the endpoint says no and
    :class:`UnreachableError` where no answer came.
    """
    jitter = random.SystemRandom()
    throttled = failed = 0
    for attempt in itertools.count():
        try:
            return operation(*args, **kwargs)
        except NoCredentialsError:
            raise UsageError(
                "no keys for the crowd endpoint: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to those that "
                "`kloc crowd serve` shows, or use a profile (AWS_PROFILE)"
            ) from None
        except (ClientError, BotoCoreError) as error:
            if _is_throttling(error):
                throttled += 1
            elif _is_failure(error):
                failed += 1
            else:
                raise _translate(about, error) from None
            if throttled == _THROTTLED or failed == _FAILED:
                raise _translate(about, error) from None
        time.sleep(jitter.uniform(0.0, min(_FIRST_WAIT_S * 2**attempt, _SLOWEST_WAIT_S)))
    raise AssertionError("unreachable: the loop ends by an answer or an error")


def pages(about: str, client: MTurkClient, operation: str, key: str, **arguments: Any) -> Iterator[Any]:
    """Every entry of a list operation, page by page, e.g. ``pages("...", client, "list_hits", "HITs")``.

    Raises :class:`CrowdError` also where the endpoint hands out the same page token twice.
    """
    method: Callable[..., dict[str, Any]] = getattr(client, operation)
    token: str | None = None
    seen: set[str] = set()
    while True:
        extra = {"NextToken": token} if token else {}
        page = call(about, method, MaxResults=100, **arguments, **extra)
        yield from page.get(key, [])
        token = page.get("NextToken")
        if not token:
            return
        if token in seen:
            raise CrowdError(
                f"{about}: the endpoint repeats the page token {token[:40]!r}; its listing cannot be trusted"
            )
        seen.add(token)


def problem_reports(client: MTurkClient, after: int = 0) -> list[dict[str, Any]]:
    """What workers reported since the report with the id ``after``, oldest first.

    Each has Id, HITId, AssignmentId, WorkerId, Kind, Text and Time (epoch s). This call is kloc's own, signed like
    the others; an endpoint that does not know it has no reports. Raises :class:`UnreachableError` where none answers.
    """
    found: list[dict[str, Any]] = []
    while True:
        last = found[-1]["Id"] if found else after
        url = f"{client.meta.endpoint_url.rstrip('/')}/reports?after={last}"
        request = AWSRequest("GET", url)
        credentials = cast(Any, client)._get_credentials()
        if credentials is None:
            raise UsageError("no keys for the crowd endpoint: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        SigV4Auth(credentials, "mturk-requester", client.meta.region_name).add_auth(request)
        reply = call("problem reports", _get, url, dict(request.headers.items()))
        page = [report for report in _reports_in(reply) if report["Id"] > last]
        found += page
        if not page:
            return found


def _get(url: str, headers: dict[str, str]) -> httpx.Response:
    """A request beside the protocol that fails in botocore's words, so that :func:`call` repeats it like the others."""
    try:
        reply = httpx.get(url, headers=headers, timeout=30.0)
    except httpx.HTTPError as error:
        raise HTTPClientError(error=error) from None
    if reply.status_code == 429 or reply.status_code >= 500:
        said: Any = {"Error": {"Code": reply.reason_phrase}, "ResponseMetadata": {"HTTPStatusCode": reply.status_code}}
        raise ClientError(said, "GET")
    return reply


def _reports_in(reply: httpx.Response) -> list[dict[str, Any]]:
    """The reports in an answer; none in one that is not ours."""
    try:
        body: Any = reply.json() if reply.status_code == 200 else None
    except ValueError:
        return []
    listed = body.get("Reports") if isinstance(body, dict) else None
    return [one for one in listed if isinstance(one, dict) and type(one.get("Id")) is int] if listed else []


def _is_throttling(error: ClientError | BotoCoreError) -> bool:
    if not isinstance(error, ClientError):
        return False
    body: dict[str, Any] = dict(error.response)
    code, message = error.response["Error"]["Code"], body.get("Error", {}).get("Message", "")
    said = f"{code} {body.get('TurkErrorCode', '')} {message}".lower()
    return _status(error) in (429, 503) or any(word in said for word in ("throttl", "rate exceeded", "toomanyrequests"))


def _is_failure(error: ClientError | BotoCoreError) -> bool:
    """Whether nobody knows if the endpoint has acted."""
    if isinstance(error, ClientError):
        return _status(error) >= 500
    return isinstance(error, BotoConnectionError | HTTPClientError)


def _status(error: ClientError) -> int:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status if isinstance(status, int) else 0


def _translate(about: str, error: ClientError | BotoCoreError) -> CrowdError:
    if not isinstance(error, ClientError):
        if _is_failure(error):
            return UnreachableError(f"{about}: {_one_line(error)}; is the endpoint running?")
        return CrowdError(f"{about}: {_one_line(error)}")
    body: dict[str, Any] = dict(error.response)
    code = str(body.get("TurkErrorCode") or body.get("Error", {}).get("Code", "unknown")).rsplit(".", 1)[-1]
    advice = next((text for name, text in _ADVICE.items() if name.lower() == code.lower()), None)
    message = body.get("Error", {}).get("Message") or body.get("Message") or "no reason given"
    if _status(error) >= 500:
        return UnreachableError(f"{about}: the endpoint failed ({code}): {_one_line(message)}; try again later")
    return RefusedError(f"{about}: {code}: {advice or _one_line(message)}", code)


def _one_line(reason: object) -> str:
    return " ".join(str(reason).split())[:300]
