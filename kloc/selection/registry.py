"""Names for interchangeable parts: ours by a decorator, other people's by a Python entry point."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from types import NoneType, UnionType
from typing import Any, Generic, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from kloc.errors import KlocError, UsageError

T = TypeVar("T")
C = TypeVar("C", bound=type)


class Registry(Generic[T]):
    """All known kinds of one part, by name.

    Args:
        kind: what the parts are, for messages ("strategy").
        members: what a class must have to be one.
        group: the entry-point group plug-ins come by; ``None`` where there is none.
    """

    def __init__(self, kind: str, members: tuple[str, ...], group: str | None = None) -> None:
        self.kind = kind
        self.group = group
        self._members = members
        self._own: dict[str, type[T]] = {}

    def register(self, name: str) -> Callable[[C], C]:
        """Class decorator: makes the class known as ``name`` and sets its attribute ``name``."""

        def add(cls: C) -> C:
            if name in self._own:
                raise UsageError(f"two classes want to be the {self.kind} {name!r}; rename one")
            cls.name = name  # type: ignore[attr-defined]
            self._own[name] = cls
            return cls

        return add

    def names(self) -> tuple[str, ...]:
        """All names, sorted; plug-ins are listed without being loaded, so a broken one cannot spoil the list."""
        return tuple(sorted({*self._own, *self._plugins()}))

    def _plugins(self) -> dict[str, EntryPoint]:
        if self.group is None:
            return {}
        # Our own names cannot be taken over: what a round's record calls "us" is always ours.
        found = {point.name: point for point in entry_points(group=self.group)}
        return {name: point for name, point in found.items() if name not in self._own}

    def get(self, name: str) -> type[T]:
        """The class behind a name.

        Raises:
            UsageError: nobody has that name.
            KlocError: a plug-in cannot be loaded or lacks something.
        """
        if name in self._own:
            return self._own[name]
        point = self._plugins().get(name)
        if point is None:
            close = difflib.get_close_matches(name, self.names(), n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise UsageError(f"unknown {self.kind} {name!r}; {hint}known: {', '.join(self.names())}")
        return self._load(point)

    def _load(self, point: EntryPoint) -> type[T]:
        package = point.dist.name if point.dist is not None else "its package"
        who = f"the {self.kind} plug-in {point.name!r} ({point.value}, from {package})"
        try:
            found: Any = point.load()
        except Exception as error:  # foreign code: whatever it throws must end as one line
            reason = str(error).strip().splitlines()
            raise KlocError(
                f"{who} cannot be loaded: {type(error).__name__}: {reason[0] if reason else 'no reason given'}; "
                f"fix or uninstall {package}"
            ) from error
        missing = [member for member in self._members if not hasattr(found, member)]
        if not inspect.isclass(found) or missing:
            what = f"lacks {', '.join(missing)}" if missing else "is not a class"
            raise KlocError(f"{who} {what}; fix or uninstall {package}")
        return cast(type[T], found)

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
