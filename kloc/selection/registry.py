"""Parts whose parameters come from a command line: checked against their constructor before they are made."""

from __future__ import annotations

import inspect
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from kloc.errors import UsageError
from kloc.registry import Registry

T = TypeVar("T")


class Constructors(Registry[type[T]]):
    """A registry of classes that are made from parameters by name."""

    def make(self, name: str, **params: Any) -> T:
        """An instance, its parameters checked against the constructor.

        Raises:
            UsageError: an unknown name, a parameter the constructor does not take, or a value of another type than
                the constructor says.
            KlocError: a plug-in cannot be loaded.
        """
        cls = self.get(name)
        signature = inspect.signature(cls)
        try:
            signature.bind(**params)
        except TypeError as error:
            known = ", ".join(signature.parameters) or "none"
            raise UsageError(f"{self.kind} {name!r}: {error}; its parameters: {known}") from None
        hints = _hints(cls)
        for key, value in params.items():
            if key in hints and not _fits(value, hints[key]):
                raise UsageError(f"{self.kind} {name!r}: {key} is {_said(hints[key])}, not {value!r}")
        return cls(**params)


def _hints(cls: type) -> dict[str, Any]:
    try:
        return get_type_hints(cls.__init__)  # type: ignore[misc]
    except Exception:  # a plug-in's hints may name what only its type checker knows; they are no must
        return {}


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value from a command line may go where ``hint`` stands; hints beyond simple values always fit."""
    origin = get_origin(hint)
    if origin is Literal:
        return value in get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint) if hint in (bool, str, NoneType) else True


def _said(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(map(repr, get_args(hint)))
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(map(_said, get_args(hint)))
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", NoneType: "none"}
    return names.get(hint, str(hint))
