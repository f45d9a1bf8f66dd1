"""Ranked lists of search results in a CSV file: ``class,rank,video``.

What a search for the name of a class found, best first: rank 1 is the first result.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from kloc.errors import FormatError
from kloc.formats.common import read_text

COLUMNS = ("class", "rank", "video")
#: No search has more results than this many digits count; Python reads no number of thousands of digits.
MAX_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Result:
    """One result of one search. ``line``: where in the file it stands."""

    label: str
    rank: int
    video: str
    line: int


def read(path: Path) -> list[Result]:
    """All results, in the file's order.

    The header names the columns, in any order; others are passed over. Comma, tab and semicolon divide.

    Raises FormatError naming the file and the line: a missing column or cell, a rank that is no whole number from 1 on,
    a video or a rank that stands twice in the list of one class.
    """
    content = read_text(path)
    head = content.split("\n", 1)[0]
    delimiter = max(",\t;", key=head.count)
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
    results: list[Result] = []
    seen: dict[tuple[str, str | int], int] = {}
    places: tuple[int, ...] | None = None
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if places is None:
                places = _places(path, cells)
                continue
            result = _result(path, reader.line_num, cells, places)
            for what, value in (("video", result.video), ("rank", result.rank)):
                before = seen.setdefault((result.label, value), result.line)
                if before != result.line:
                    raise FormatError(
                        f"{path}: line {result.line}: {what} {value!r} stands on line {before} too, in the list of "
                        f"{result.label!r}; keep one"
                    )
            results.append(result)
    except csv.Error as error:
        raise FormatError(f"{path}: broken CSV at line {reader.line_num}: {error}") from error
    if not results:
        raise FormatError(f"{path}: no search results; expected a header 'class,rank,video' and one row per result")
    return results


def _places(path: Path, header: list[str]) -> tuple[int, ...]:
    names = [name.lower() for name in header]
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise FormatError(
            f"{path}: the first line has no column {missing[0]!r}; begin the file with 'class,rank,video'"
        )
    return tuple(names.index(name) for name in COLUMNS)


def _result(path: Path, line: int, cells: list[str], places: tuple[int, ...]) -> Result:
    if len(cells) <= max(places):
        raise FormatError(f"{path}: line {line} has {len(cells)} columns, too few; expected class, rank and video")
    label, rank, video = (cells[place] for place in places)
    for name, value in (("class", label), ("video", video)):
        if not value:
            raise FormatError(f"{path}: line {line} names no {name}")
    if not rank.isascii() or not rank.isdigit() or len(rank) > MAX_DIGITS or int(rank) < 1:
        shown = rank if len(rank) <= 20 else f"{rank[:20]}..."
        raise FormatError(f"{path}: line {line}: rank {shown!r} is no whole number; the first result has rank 1")
    return Result(label, int(rank), video, line)
