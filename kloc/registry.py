"""Names for interchangeable parts: ours by a decorator, other people's by a Python entry point."""

from __future__ import annotations

import difflib
import inspect
import traceback
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar, cast

from kloc.errors import KlocError, UsageError

P = TypeVar("P")
A = TypeVar("A")

#: Who plugged in which top-level package: what an error in its code is put down to.
_GUESTS: dict[str, str] = {}


class Registry(Generic[P]):
    """All known parts of one kind, by name.

    Args:
        kind: what the parts are, for messages ("strategy").
        members: what a part must have to be one.
        group: the entry-point group plug-ins come by; ``None`` where there is none.
        built_in: ours that are slow to import: by name, the module that registers them once somebody asks.
    """

    def __init__(
        self,
        kind: str,
        members: tuple[str, ...],
        group: str | None = None,
        built_in: Mapping[str, str] | None = None,
    ) -> None:
        self.kind = kind
        self.group = group
        self.own: dict[str, P] = {}
        self._members = members
        self._built_in = dict(built_in or {})

    def register(self, name: str) -> Callable[[A], A]:
        """Decorator: makes the part known as ``name``; a class gets it as its attribute ``name``."""

        def add(part: A) -> A:
            if name in self.own:
                raise UsageError(f"two parts want to be the {self.kind} {name!r}; rename one")
            self.own[name] = cast(P, part)
            return _called(part, name)

        return add

    def names(self) -> tuple[str, ...]:
        """All names, sorted; nothing is imported for it, so a broken plug-in cannot spoil the list."""
        return tuple(sorted({*self.own, *self._built_in, *self.plugins()}))

    def plugins(self) -> dict[str, EntryPoint]:
        """Other people's parts by name, not loaded yet."""
        if self.group is None:
            return {}
        # Our own names cannot be taken over: what a round's record calls "us" is always ours.
        found = {point.name: point for point in entry_points(group=self.group)}
        return {name: point for name, point in found.items() if name not in self.own and name not in self._built_in}

    def get(self, name: str) -> P:
        """The part behind a name.

        Raises:
            UsageError: nobody has that name.
            KlocError: a plug-in cannot be loaded or lacks something.
        """
        if name not in self.own and name in self._built_in:
            import_module(self._built_in[name])
        if name in self.own:
            return self.own[name]
        point = self.plugins().get(name)
        if point is None:
            close = difflib.get_close_matches(name, self.names(), n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise UsageError(f"unknown {self.kind} {name!r}; {hint}known: {', '.join(self.names())}")
        return self._load(point)

    def _load(self, point: EntryPoint) -> P:
        package = point.dist.name if point.dist is not None else "its package"
        who = f"the {self.kind} plug-in {point.name!r} ({point.value}, from {package})"
        try:
            found: Any = point.load()
        except Exception as error:  # foreign code: whatever it throws must end as one line
            raise KlocError(f"{who} cannot be loaded: {_in_short(error)}; fix or uninstall {package}") from error
        missing = [member for member in self._members if not hasattr(found, member)]
        if missing or not (callable(found) or isinstance(found, ModuleType)):
            what = f"lacks {', '.join(missing)}" if missing else "cannot be called"
            raise KlocError(f"{who} {what}; fix or uninstall {package}")
        _GUESTS[point.module.partition(".")[0]] = who
        return cast(P, _called(found, point.name))


def _called(part: A, name: str) -> A:
    if inspect.isclass(part):
        part.name = name  # type: ignore[attr-defined]
    return part


def blamed(error: BaseException) -> str | None:
    """One line that puts an error down to the plug-in in whose code it arose; ``None`` if no plug-in had a part in it.

    Foreign code fails in every way there is; that must not look like a fault of kloc's.
    """
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        guest = _GUESTS.get(str(frame.f_globals.get("__name__", "")).partition(".")[0])
        if guest is not None:
            place = f"{Path(frame.f_code.co_filename).name}, line {line}"
            return f"{guest} failed: {_in_short(error)} ({place}); `kloc --debug ...` shows where, for its authors"
    return None


def _in_short(error: BaseException) -> str:
    reason = str(error).strip().splitlines()
    return f"{type(error).__name__}: {reason[0] if reason else 'no reason given'}"
