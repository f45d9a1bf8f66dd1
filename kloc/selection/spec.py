"""``NAME`` or ``NAME,key=value,key=value``: how a strategy or policy is written on a command line and in kloc.toml."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kloc.errors import UsageError
from kloc.selection.base import Strategy, make_strategy
from kloc.selection.policies import Policy, make_policy

_WORDS = {"true": True, "false": False, "none": None}


@dataclass(frozen=True, slots=True)
class Spec:
    """A name with parameters; `str` writes it as `parse` reads it, parameters sorted."""

    name: str
    params: dict[str, Any]

    def __str__(self) -> str:
        words = {value: word for word, value in _WORDS.items()}
        pairs = [f"{k}={words[v] if isinstance(v, bool) or v is None else v}" for k, v in sorted(self.params.items())]
        return ",".join([self.name, *pairs])


def parse(text: str, kind: str = "strategy") -> Spec:
    """Read ``us``, ``us,mode=binary,k=5``...; values are whole numbers, numbers, true, false, none, else text.

    Args:
        text: what the user wrote.
        kind: what it names, for messages.

    Raises:
        UsageError: no name, a parameter without ``=``, without a name, without a value, or given twice.
    """
    name, *pairs = (part.strip() for part in text.split(","))
    if not name or "=" in name:
        raise UsageError(f"{kind} {text!r}: begin with a name, e.g. NAME or NAME,key=value")
    params: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not key.isidentifier() or not value:
            raise UsageError(f"{kind} {text!r}: {pair!r} is not key=value; write {name},key=value,key=value")
        if key in params:
            raise UsageError(f"{kind} {text!r}: {key} is given twice; give it once")
        params[key] = _value(value)
    return Spec(name, params)


def _value(text: str) -> bool | int | float | str | None:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def strategy_from(text: str) -> Strategy:
    """The strategy that ``text`` describes.

    Raises:
        UsageError: see `parse` and `make_strategy`.
        KlocError: a plug-in that cannot be loaded.
    """
    spec = parse(text, "strategy")
    return make_strategy(spec.name, **spec.params)


def policy_from(text: str) -> Policy:
    """The policy that ``text`` describes.

    Raises:
        UsageError: see `parse` and `make_policy`.
    """
    spec = parse(text, "policy")
    return make_policy(spec.name, **spec.params)
