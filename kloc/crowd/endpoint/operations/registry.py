"""The table of operations, what each is called with, and the checks their parameters share.

boto3 checks types, required members and minimum lengths only, and other clients nothing: everything is checked here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from kloc.crowd.endpoint.answers import clean
from kloc.crowd.endpoint.faults import RequestError, invalid
from kloc.crowd.endpoint.ids import ENTITY
from kloc.crowd.endpoint.money import to_cents
from kloc.crowd.endpoint.tables import RequestToken


class Parameters:
    """The members of one request, read by type. Every reader raises :class:`RequestError` for what cannot be."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def has(self, name: str) -> bool:
        return self._values.get(name) is not None

    def text(self, name: str, maximum: int, *, minimum: int = 1) -> str:
        value = self._required(name)
        if not isinstance(value, str):
            raise invalid(f"{name} must be a string")
        if not minimum <= len(value) <= maximum:
            raise invalid(f"{name} has {len(value)} characters, {minimum} to {maximum} are allowed")
        if clean(value) != value:
            raise invalid(f"{name} holds a control character, which XML and databases cannot keep")
        return value

    def optional_text(self, name: str, maximum: int) -> str | None:
        return self.text(name, maximum, minimum=0) if self.has(name) else None

    def entity(self, name: str, pattern: re.Pattern[str] = ENTITY) -> str:
        value = self._required(name)
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise invalid(f'The value "{str(value)[:80]}" is not valid for the parameter {name}.')
        return value

    def integer(self, name: str, minimum: int, maximum: int, default: int | None = None) -> int:
        if default is not None and not self.has(name):
            return default
        value = self._required(name)
        if type(value) is not int:
            raise invalid(f"{name} must be an integer")
        if not minimum <= value <= maximum:
            raise invalid(f"{name} is {value}, {minimum} to {maximum} are allowed")
        return value

    def cents(self, name: str) -> int:
        value = self._required(name)
        cents = to_cents(value)
        if cents is None:
            raise invalid(f"{name} {str(value)[:40]!r} is not an amount in dollars like 0.25")
        return cents

    def moment(self, name: str) -> float:
        value = self._required(name)
        if type(value) not in (int, float) or not -1e11 < value < 1e11:
            raise invalid(f"{name} must be a number of seconds since 1970")
        return float(value)

    def flag(self, name: str) -> bool:
        value = self._values.get(name, False)
        if value is None or type(value) is bool:
            return bool(value)
        raise invalid(f"{name} must be true or false")

    def items(self, name: str) -> list[Any]:
        value = self._values.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise invalid(f"{name} must be a list")
        return value

    def choice(self, name: str, allowed: tuple[str, ...], default: str) -> str:
        value = self._values.get(name)
        if value is None:
            return default
        if value not in allowed:
            raise invalid(f"{name} {str(value)[:40]!r} is none of {', '.join(allowed)}")
        return str(value)

    def refuse(self, *names: str) -> None:
        """Say plainly that a member is not supported, rather than ignore what the requester counts on."""
        for name in names:
            if self._values.get(name):
                raise RequestError("UnsupportedParameter", f"{name} is not supported by this endpoint; leave it out")

    def _required(self, name: str) -> Any:
        value = self._values.get(name)
        if value is None:
            raise invalid(f"the parameter {name} is required")
        return value


@dataclass(frozen=True)
class Call:
    """One request: its parameters, the transaction it runs in, the time it came, the account's money in cents."""

    session: Session
    parameters: Parameters
    now: float
    balance: int

    def token_result(self, operation: str) -> str | None:
        """What a request with this UniqueRequestToken made earlier."""
        token = self._token()
        used = self.session.get(RequestToken, (operation, token)) if token else None
        return used.result if used else None

    def remember_token(self, operation: str, result: str) -> None:
        token = self._token()
        if token:
            self.session.add(RequestToken(operation=operation, token=token, result=result, created=self.now))

    def _token(self) -> str | None:
        return self.parameters.text("UniqueRequestToken", 64) if self.parameters.has("UniqueRequestToken") else None


Operation = Callable[[Call], dict[str, Any]]
#: name -> (function, whether it writes)
OPERATIONS: dict[str, tuple[Operation, bool]] = {}


def operation(name: str, *, writes: bool) -> Callable[[Operation], Operation]:
    """Enter a function into the table."""

    def enter(function: Operation) -> Operation:
        OPERATIONS[name] = (function, writes)
        return function

    return enter
