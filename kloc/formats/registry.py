"""All formats of annotations by name. A format is one module with `read` and `write`, listed here.

``read(path: Path, *, name: str | None = None) -> Reading`` and
``write(path: Path, dataset: Dataset, extra: Extra) -> list[str]``, which says in plain sentences what of *this*
dataset the format could not hold. Equal input gives equal bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal, Protocol, cast

from kloc.errors import UsageError
from kloc.formats.common import Extra, Reading
from kloc.records import Dataset


class FormatModule(Protocol):
    """What a module of a format offers."""

    def read(self, path: Path, *, name: str | None = None) -> Reading:
        """Read a file or folder. Raises FormatError naming the file and the place."""

    def write(self, path: Path, dataset: Dataset, extra: Extra) -> list[str]:
        """Write a file or folder; what the format cannot hold comes back in plain sentences."""


@dataclass(frozen=True, slots=True)
class Format:
    """A format: its name on the command line, its title, whether it is a file or a folder, and its usual file name.

    loss: what no file of this format can hold, as one sentence; empty where writing and reading lose nothing.
    """

    name: str
    title: str
    kind: Literal["file", "folder"]
    file: str
    loss: str = ""

    @property
    def module(self) -> FormatModule:
        """The module that reads and writes; imported when asked for."""
        return cast(FormatModule, import_module(f"kloc.formats.{self.name.replace('-', '_')}"))


FORMATS: dict[str, Format] = {}


def named(name: str) -> Format:
    """The format called ``name``. Raises UsageError that lists all names."""
    if name not in FORMATS:
        raise UsageError(f"unknown format {name!r}; there are: {', '.join(sorted(FORMATS))}")
    return FORMATS[name]
