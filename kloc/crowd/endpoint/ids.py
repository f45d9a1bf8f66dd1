"""Ids, worker tokens and the hashes under which tokens are stored."""

from __future__ import annotations

import hashlib
import re
import secrets

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"

#: What an id looks like on the wire and in addresses.
ENTITY = re.compile(r"[A-Z0-9]{1,64}", re.ASCII)
WORKER = re.compile(r"A[A-Z0-9]{1,63}", re.ASCII)
#: What a media key may be: one path component, never hidden, never a way up.
MEDIA_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}")


def new_id(first: str = "3", length: int = 30) -> str:
    """An id of capitals and digits. 29 random characters carry 149 bits: an assignment id is a capability."""
    return first + "".join(secrets.choice(_ALPHABET) for _ in range(length - 1))


def worker_id(seed: int | None = None, name: str = "") -> str:
    """A worker id ``^A[A-Z0-9]+$``; with a seed it depends on seed and name alone (demos repeat bit for bit)."""
    if seed is None:
        return new_id("A", 14)
    number = int.from_bytes(hashlib.sha256(f"{seed}\x1f{name}".encode("utf-8", "surrogatepass")).digest(), "big")
    characters = []
    for _ in range(13):
        number, digit = divmod(number, len(_ALPHABET))
        characters.append(_ALPHABET[digit])
    return "A" + "".join(characters)


def new_token() -> str:
    """An unguessable worker token, 256 bits, safe inside a URL."""
    return secrets.token_urlsafe(32)


def token_hash(token: str) -> str:
    """What the database keeps of a token. Tokens are random, so a plain hash cannot be searched."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
