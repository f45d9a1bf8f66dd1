"""MaxResults and NextToken: pages by key, so that what is created meanwhile shifts nothing."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from typing import Any, TypeVar

from sqlalchemy import Select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from kloc.crowd.endpoint.faults import invalid
from kloc.crowd.endpoint.operations.registry import Parameters

Row = TypeVar("Row")


def page(
    session: Session,
    query: Select[Row],
    keys: tuple[InstrumentedAttribute[Any], InstrumentedAttribute[Any]],
    parameters: Parameters,
    listing: str,
    *,
    newest_first: bool = False,
) -> tuple[Sequence[Row], dict[str, Any]]:
    """One page of ``query`` in the order of ``keys`` (a moment or number, then an id), and its part of the answer.

    listing: what is listed, with its filters: a token of one listing is refused by another.
    """
    size = parameters.integer("MaxResults", 1, 100, default=10)
    if newest_first:
        query = query.order_by(*(key.desc() for key in keys))
    else:
        query = query.order_by(*keys)
    if parameters.has("NextToken"):
        kinds = tuple(key.type.python_type for key in keys)
        after = tuple_(*_decode(parameters.text("NextToken", 255), listing, kinds))
        position = tuple_(*keys)
        query = query.where(position < after if newest_first else position > after)
    rows = session.scalars(query.limit(size + 1)).all()
    answer: dict[str, Any] = {"NumResults": min(len(rows), size)}
    if len(rows) > size:
        rows = rows[:size]
        answer["NextToken"] = _encode([getattr(rows[-1], key.key) for key in keys], listing)
    return rows, answer


def chosen(
    keys: Sequence[tuple[float, str]], parameters: Parameters, listing: str
) -> tuple[Sequence[tuple[float, str]], dict[str, Any]]:
    """:func:`page` for a listing that no one query gives: of all its keys, in order, those of the page."""
    size = parameters.integer("MaxResults", 1, 100, default=10)
    if parameters.has("NextToken"):
        after = tuple(_decode(parameters.text("NextToken", 255), listing, (float, str)))
        keys = [key for key in keys if key > after]
    answer: dict[str, Any] = {"NumResults": min(len(keys), size)}
    if len(keys) > size:
        keys = keys[:size]
        answer["NextToken"] = _encode(list(keys[-1]), listing)
    return keys, answer


def _encode(position: list[Any], listing: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([_mark(listing), *position]).encode()).decode().rstrip("=")


def _decode(token: str, listing: str, kinds: tuple[type, ...]) -> list[Any]:
    try:
        mark, *position = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, ValueError, TypeError, RecursionError):
        raise invalid("the NextToken is not one this endpoint gave out") from None
    if mark != _mark(listing) or tuple(map(type, position)) != kinds:
        raise invalid("the NextToken belongs to another listing; start again without it")
    return list(position)


def _mark(listing: str) -> str:
    return hashlib.sha256(listing.encode()).hexdigest()[:8]
