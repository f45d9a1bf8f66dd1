"""Names for interchangeable parts: ours by a decorator, other people's by a Python entry point."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar, cast

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
            UsageError: an unknown name, or a parameter the constructor does not take.
            KlocError: a plug-in cannot be loaded.
        """
        cls = self.get(name)
        signature = inspect.signature(cls)
        try:
            signature.bind(**params)
        except TypeError as error:
            known = ", ".join(signature.parameters) or "none"
            raise UsageError(f"{self.kind} {name!r}: {error}; its parameters: {known}") from None
        return cls(**params)
