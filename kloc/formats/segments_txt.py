"""Lists of segments without a header: ``id start end class`` in each row, e.g. AherNet's of Kinetics-600.

Only read: what such a list leaves open (durations, subsets, what was searched) every other format holds.
"""

from __future__ import annotations

from pathlib import Path

from kloc.errors import FormatError
from kloc.formats.common import Problems, Reading, number, read_text, subset_of, text
from kloc.formats.drafts import Draft, assemble
from kloc.records import Instance, Subset


def fits(path: Path) -> bool:
    """Whether the file's first row looks like one of such a list."""
    if path.suffix != ".txt" or not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as stream:
        cells = _cells(stream.readline())
    try:
        float(cells[1]), float(cells[2])
    except (IndexError, ValueError):
        return False
    return len(cells) == 4


def read(path: Path, *, name: str | None = None, classes: Path | None = None) -> Reading:
    """Read a list; columns are parted by tabs or spaces. All videos are of the subset that the file's name says.

    classes: the names of classes that are given as numbers from 0, one a line. Instances stay as they are written.
    A row that cannot be read is left out and counted. Raises FormatError for a file that cannot be read at all.
    """
    problems = Problems()
    names = [] if classes is None else [line.strip() for line in read_text(classes).splitlines() if line.strip()]
    subset: Subset = subset_of("val" if "val" in path.stem else "test" if "test" in path.stem else "train", str(path))
    drafts: dict[str, Draft] = {}
    for i, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path.name}: line {i}"
        with problems.counting("row that cannot be read, left out"):
            cells = _cells(line)
            if len(cells) != 4:
                raise FormatError(f"{where}: expected id, start, end and class, found {len(cells)} columns")
            start, end = number(cells[1], where), number(cells[2], where)
            label = cells[3]
            if names:
                if not label.isdecimal() or int(label) >= len(names):
                    raise FormatError(f"{where}: {label!r} is no number of the {len(names)} classes")
                label = names[int(label)]
            drafts.setdefault(text(cells[0], where), Draft(subset)).found.append(Instance(start, end, label))
    if not drafts:
        raise FormatError(f"{path}: no row holds id, start, end and class")
    found = assemble(drafts, names, name or path.stem, problems, taken="coverage is left out", clean=False)
    return Reading(found.dataset, found.problems)


def _cells(line: str) -> list[str]:
    """A row's columns: by tabs where there are any, so that a class may hold spaces."""
    return [cell.strip() for cell in line.split("\t")] if "\t" in line else line.split()
