"""All formats of annotations by name. A format is one module with `read` and `write`, listed here.

``read(path: Path, *, name: str | None = None) -> Reading`` and
``write(path: Path, dataset: Dataset, extra: Extra) -> list[str]``, which says in plain sentences what of *this*
dataset the format could not hold. Equal input gives equal bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol, cast

from kloc.errors import KlocError
from kloc.formats.common import Extra, Reading
from kloc.formats.losses import ASPECTS, Aspect
from kloc.records import Dataset
from kloc.registry import Registry


class FormatModule(Protocol):
    """What a module of a format offers.

    LOST: what no file of this format can hold; reading what was written gives ``losses.forget(dataset, LOST)``
    wherever `write` said nothing more than ``losses.sentences(dataset, LOST, extra)``.
    """

    LOST: frozenset[Aspect]

    def read(self, path: Path, *, name: str | None = None) -> Reading:
        """Read a file or folder. Raises FormatError naming the file and the place."""

    def write(self, path: Path, dataset: Dataset, extra: Extra) -> list[str]:
        """Write a file or folder; what the format cannot hold comes back in plain sentences."""


@dataclass(frozen=True, slots=True)
class Format:
    """A format: its name on the command line, its title, whether it is a file or a folder, and its usual name.

    file: in an export's folder; ``.`` where the files lie in that folder itself.
    source: the plug-in's module that reads and writes it; empty for ours.
    """

    name: str
    title: str
    kind: Literal["file", "folder"]
    file: str
    source: str = ""

    @property
    def loss(self) -> str:
        """What no file of this format can hold, as one sentence; empty where writing and reading lose nothing."""
        return f"It has no place for {'; '.join(self.lost)}." if self.lost else ""

    @property
    def lost(self) -> tuple[str, ...]:
        """What no file of this format can hold, each in words; a module says as ``ROUNDED`` how it rounds times."""
        aspects = [words for aspect, words in ASPECTS.items() if aspect in self.module.LOST]
        rounded = getattr(self.module, "ROUNDED", "")
        return (*aspects, *([rounded] if rounded else []))

    @property
    def module(self) -> FormatModule:
        """The module that reads and writes; imported when asked for."""
        return cast(FormatModule, import_module(self.module_name))

    @property
    def module_name(self) -> str:
        """The module's full name."""
        return self.source or f"kloc.formats.{self.name.replace('-', '_')}"


_ALL = (
    Format("activitynet", "ActivityNet JSON", "file", "annotations.json"),
    Format("csv", "CSV tables", "folder", "."),
    Format("hacs", "HACS segments JSON", "file", "HACS_segments.json"),
    Format("coco", "COCO-like JSON of videos", "file", "coco.json"),
    Format("thumos", "THUMOS'14 text files", "folder", "thumos"),
    Format("kinetics", "Kinetics CSV of clips", "file", "kinetics.csv"),
    Format("charades", "Charades CSV and class list", "folder", "charades"),
    Format("huggingface", "Hugging Face datasets", "folder", "."),
    Format("fiftyone", "FiftyOne temporal detections", "folder", "fiftyone"),
    Format("cvat", "CVAT for video XML", "folder", "cvat"),
    Format("label-studio", "Label Studio tasks and setup", "folder", "label-studio"),
    Format("elan", "ELAN documents (.eaf)", "folder", "elan"),
    Format("via", "VIA 3 project JSON", "file", "via.json"),
    Format("webvtt", "WebVTT captions", "folder", "webvtt"),
)
FORMATS: dict[str, Format] = {format.name: format for format in _ALL}


#: Other people's: modules by the entry-point group ``kloc.formats`` that have ``FORMAT``, a `Format`, beside the rest.
PLUGINS: Registry[Any] = Registry(
    "format",
    ("FORMAT", "LOST", "read", "write"),
    "kloc.formats",
    {name: format.module_name for name, format in FORMATS.items()},
)


def named(name: str) -> Format:
    """The format called ``name``, ours or a plug-in's.

    Raises UsageError that lists all names, KlocError for a plug-in that cannot be used.
    """
    if name in FORMATS:
        return FORMATS[name]
    found = PLUGINS.get(name)
    if not isinstance(found, ModuleType) or not isinstance(found.FORMAT, Format):
        raise KlocError(f"the format plug-in {name!r} is no module with FORMAT = Format(...); fix or uninstall it")
    return replace(found.FORMAT, name=name, source=found.__name__)
