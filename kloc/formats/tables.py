"""What formats made of lines share: CSV with a header, cells that hold lists, names that no line can hold."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

from kloc.errors import FormatError
from kloc.formats.common import Problems, read_text, text
from kloc.records import Annotation, Dataset

#: Names of subsets in file names and columns of other people.
SHORT = {"training": "train", "validation": "val", "testing": "test"}


@dataclass(frozen=True, slots=True)
class Row:
    """One row below the header, by column, and where it stands."""

    cells: Mapping[str, str]
    where: str

    def __getitem__(self, column: str) -> str:
        """The cell's text. Raises FormatError where the row has no such cell or nothing in it."""
        return text(self.cells.get(column, ""), f"{self.where}, {column}")

    def get(self, column: str) -> str:
        """The cell's text, empty where there is none."""
        return self.cells.get(column, "")


def rows(path: Path, needed: Sequence[str], problems: Problems) -> Iterator[Row]:
    """The rows of a CSV file whose header has the columns ``needed``; cells beyond the header are counted.

    Raises FormatError naming the file: a missing column, broken CSV, broken UTF-8.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        missing = [name for name in needed if name not in header]
        if missing:
            raise FormatError(f"{path}: no column {', '.join(missing)}; expected a header with {','.join(needed)}")
        for cells in reader:
            where = f"{path.name}: line {reader.line_num}"
            if len(cells) > len(header):
                problems.add("row with more cells than the header has, the rest is passed over", where)
            if any(cells):
                yield Row(dict(zip(header, cells, strict=False)), where)
    except csv.Error as error:
        raise FormatError(f"{path}: broken CSV at line {reader.line_num}: {error}") from error


def table(header: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """CSV text, one line feed after each row; whatever a cell holds is read again as it was."""
    stream = io.StringIO()
    # A writer quotes a lone carriage return only where it ends lines with one itself.
    writer = csv.writer(stream, lineterminator="\r\n")
    lines: list[str] = []
    for row in (header, *body):
        writer.writerow(row)
        lines.append(stream.getvalue()[:-2] + "\n")
        stream.seek(0)
        stream.truncate()
    return "".join(lines)


def seconds(value: float, least: int = 0) -> str:
    """Seconds to the microsecond, with at least ``least`` digits after the point."""
    whole, _, fraction = f"{value:.6f}".partition(".")
    fraction = fraction.rstrip("0").ljust(least, "0")
    return f"{whole}.{fraction}" if fraction else whole


def joined(names: Iterable[str]) -> str:
    """Names in one cell, divided by ``;``; a ``;`` or backslash inside a name has a backslash before it."""
    return ";".join(name.replace("\\", "\\\\").replace(";", "\\;") for name in names)


def divided(cell: str) -> list[str]:
    """What `joined` put into a cell."""
    names: list[str] = []
    name, escaped = "", False
    for character in cell:
        if escaped or character not in ";\\":
            name, escaped = name + character, False
        elif character == "\\":
            escaped = True
        else:
            names.append(name)
            name = ""
    names.append(name)
    return [name for name in names if name.strip()]


def on_lines(dataset: Dataset) -> tuple[Dataset, list[str]]:
    """The part of a dataset whose names fit on a line, and a sentence about each kind of name that does not."""
    videos = {k: v for k, v in dataset.videos.items() if _fits(k)}
    classes = tuple(label for label in dataset.classes if _fits(label))
    said = []
    if len(videos) < len(dataset.videos):
        bad = next(k for k in dataset.videos if k not in videos)
        count = len(dataset.videos) - len(videos)
        said.append(f"left out: {count:,} videos whose ids hold line breaks or begin or end with a space ({bad!r})")
    if len(classes) < len(dataset.classes):
        bad = next(label for label in dataset.classes if label not in classes)
        count = len(dataset.classes) - len(classes)
        said.append(f"left out: {count:,} classes whose names hold line breaks or begin or end with a space ({bad!r})")
    if not said:
        return dataset, said
    kept = set(classes)
    videos = {k: replace(v, labels=tuple(x for x in v.labels if x in kept)) for k, v in videos.items()}
    annotations = {k: _within(a, kept) for k, a in dataset.annotations.items() if k in videos}
    return replace(dataset, classes=classes, videos=videos, annotations=annotations), said


def _within(annotation: Annotation, classes: Set[str]) -> Annotation:
    instances = tuple(one for one in annotation.instances if one.label in classes)
    asked = annotation.exhaustive_for
    return replace(annotation, instances=instances, exhaustive_for=None if asked is None else asked & classes)


def _fits(name: str) -> bool:
    return name == name.strip() and not set(name) & set("\r\n")
