"""AWS Signature Version 4, the verifying side, written from the published algorithm.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
import re
from calendar import timegm
from collections.abc import Iterable, Mapping
from time import strptime

from kloc.crowd.endpoint.faults import SignatureError

REGION, SERVICE = "us-east-1", "mturk-requester"
#: How far the clocks of the two ends may be apart, seconds.
CLOCK_SKEW = 15 * 60
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256\s+Credential=([^/,\s]+)/(\d{8})/([^/,\s]+)/([^/,\s]+)/aws4_request,"
    r"\s*SignedHeaders=([a-z0-9;_-]+),\s*Signature=([0-9a-f]{64})",
    re.ASCII,
)
_MUST_BE_SIGNED = {"POST": {"host", "x-amz-date", "x-amz-target"}, "GET": {"host", "x-amz-date"}}


def verify(
    headers: Mapping[str, str],
    body: bytes,
    *,
    access_key: str,
    secret_key: str,
    now: float,
    places: Iterable[tuple[str, str]],
    method: str = "POST",
    query: str = "",
) -> None:
    """Raise :class:`SignatureError` unless the request with ``body`` is signed with the account's key.

    headers: names in lower case. query: in its canonical form. places: the (host, path) pairs under which the client
    may know this endpoint; a proxy in front may have rewritten what arrived.
    """
    authorization = headers.get("authorization", "")
    if not authorization:
        raise SignatureError("MissingAuthenticationTokenException", "Request is missing Authentication Token")
    match = _AUTHORIZATION.fullmatch(authorization.strip())
    if match is None:
        raise SignatureError(
            "IncompleteSignatureException", "the Authorization header is not AWS4-HMAC-SHA256 as kloc reads it"
        )
    key, day, region, service, signed_text, signature = match.groups()
    if not hmac.compare_digest(key.encode(), access_key.encode()):
        raise SignatureError("UnrecognizedClientException", "The security token included in the request is invalid.")
    if (region, service) != (REGION, SERVICE):
        raise SignatureError(
            "InvalidSignatureException", f"Credential should be scoped to {REGION}/{SERVICE}, not {region}/{service}."
        )
    signed = signed_text.split(";")
    needed = _MUST_BE_SIGNED[method]
    if not needed.issubset(signed):
        raise SignatureError("InvalidSignatureException", f"{', '.join(sorted(needed))} must be signed headers.")
    moment = headers.get("x-amz-date", "")
    if not moment.startswith(day) or abs(_seconds(moment) - now) > CLOCK_SKEW:
        raise SignatureError(
            "InvalidSignatureException",
            "Signature expired or not yet valid: set this machine's clock (15 minutes are allowed).",
        )
    scope = f"{day}/{region}/{service}/aws4_request"
    signing_key = _signing_key(secret_key, day)
    for host, path in places:
        canonical = _canonical(f"{method}\n{path}\n{query}", {**headers, "host": host}, signed, body)
        to_sign = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(canonical).hexdigest()}"
        expected = hmac.new(signing_key, to_sign.encode(), hashlib.sha256).hexdigest()
        if hmac.compare_digest(expected, signature):
            return
    raise SignatureError(
        "InvalidSignatureException",
        "The request signature we calculated does not match the signature you provided. Check your secret key.",
    )


def _signing_key(secret_key: str, day: str) -> bytes:
    key = f"AWS4{secret_key}".encode()
    for part in (day, REGION, SERVICE, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def _canonical(target: str, headers: Mapping[str, str], signed: list[str], body: bytes) -> bytes:
    lines = [f"{name}:{' '.join(headers.get(name, '').split())}\n" for name in signed]
    text = f"{target}\n{''.join(lines)}\n{';'.join(signed)}\n{hashlib.sha256(body).hexdigest()}"
    return text.encode("utf-8", "surrogateescape")


def _seconds(moment: str) -> float:
    try:
        return float(timegm(strptime(moment, "%Y%m%dT%H%M%SZ")))
    except ValueError:
        return float("-inf")
