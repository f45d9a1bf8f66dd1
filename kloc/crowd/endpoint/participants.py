"""Who somebody is: an identity comes from a participant source, and a token opens that worker's page.

The source ``local`` is here: an invitation's link, or a name with a password. A recruiting service sends its people
with parameters in the address instead; its source finds or makes the ``Worker`` (``source``, ``external_id``) those
name and calls :func:`open_session`. Nothing behind that line knows where somebody came from.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from kloc.crowd.endpoint.ids import new_token, token_hash
from kloc.crowd.endpoint.tables import Worker, WorkerToken

#: How long a password opens the door, seconds: a working day and the evening.
SESSION_SECONDS = 24 * 3600
#: scrypt's n, r, p: 16 MiB of memory, about a fifth of a second of one core.
_COST = (2**14, 8, 5)
#: Without letters and digits that are taken for one another.
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"


def by_token(session: Session, token: str, now: float) -> tuple[Worker, WorkerToken] | None:
    """Whose page ``token`` opens, while it does."""
    query = select(Worker, WorkerToken).join(WorkerToken).where(WorkerToken.hash == token_hash(token))
    row = session.execute(query.where(Worker.revoked.is_(None))).one_or_none()
    if row is None or (row[1].expires is not None and row[1].expires <= now):
        return None
    return row[0], row[1]


def by_name(session: Session, name: str) -> Worker | None:
    """The local worker of that name whose access stands."""
    query = select(Worker).where(Worker.source == "local", Worker.name == name, Worker.revoked.is_(None))
    return session.scalar(query)


def open_session(session: Session, worker_id: str, now: float) -> str:
    """A fresh token for a worker whose identity is known; it ends by itself."""
    session.execute(delete(WorkerToken).where(WorkerToken.worker_id == worker_id, WorkerToken.expires <= now))
    token = new_token()
    session.add(WorkerToken(hash=token_hash(token), worker_id=worker_id, created=now, expires=now + SESSION_SECONDS))
    return token


def close_session(session: Session, token: str) -> None:
    """End what a password opened. An invitation stays: its link is all its owner has."""
    session.execute(delete(WorkerToken).where(WorkerToken.hash == token_hash(token), WorkerToken.expires.is_not(None)))


def new_password() -> str:
    """Sixteen characters that can be read out and typed, 79 bits."""
    return "-".join("".join(secrets.choice(_LETTERS) for _ in range(4)) for _ in range(4))


def hashed(password: str) -> str:
    """``scrypt$n$r$p$salt$hash``, what the database keeps of a password."""
    salt = secrets.token_bytes(16)
    return "$".join(("scrypt", *map(str, _COST), salt.hex(), _scrypt(password, salt, *_COST).hex()))


def matches(password: str, stored: str | None) -> bool:
    """Whether ``password`` is the stored one. Takes as long where there is none: nobody learns which names exist."""
    if stored is None:
        _scrypt(password, bytes(16), *_COST)
        return False
    _, n, r, p, salt, expected = stored.split("$")
    found = _scrypt(password, bytes.fromhex(salt), int(n), int(r), int(p))
    return hmac.compare_digest(found, bytes.fromhex(expected))


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    secret = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(secret, salt=salt, n=n, r=r, p=p, maxmem=256 * n * r, dklen=32)
