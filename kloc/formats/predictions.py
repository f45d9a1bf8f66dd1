"""ActivityNet JSON predictions: ``{version, results: {id: [{label, score, segment: [s, e]}]}, external_data}``.

A million of them never become a million objects: a file is decoded one video at a time into a `PredictionTable`.
"""

from __future__ import annotations

import json
import math
from array import array
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kloc.errors import FormatError
from kloc.files import write_json
from kloc.formats.common import Problems, read_text
from kloc.records import Detection

_DECIMALS = 6
_BLANK = " \t\n\r"


@dataclass(frozen=True, slots=True)
class PredictionTable:
    """Scored segments as columns, in any order.

    videos: ids of all videos that were predicted for, also those without a detection; ``video`` int64 ``(D,)``
    indexes them. classes: all names; ``label`` int64 ``(D,)`` indexes them. start, end: float64 ``(D,)``, seconds.
    score: float64 ``(D,)``.
    """

    videos: tuple[str, ...]
    classes: tuple[str, ...]
    video: NDArray[np.int64]
    label: NDArray[np.int64]
    start: NDArray[np.float64]
    end: NDArray[np.float64]
    score: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.video)

    @classmethod
    def of(cls, detections: Mapping[str, Sequence[Detection]]) -> PredictionTable:
        """The same detections as columns."""
        flat = list(chain.from_iterable(detections.values()))
        codes = _codes()
        return cls(
            tuple(detections),
            label=np.fromiter((codes[d.label] for d in flat), np.int64, len(flat)),
            classes=tuple(codes),
            video=np.repeat(np.arange(len(detections)), [len(rows) for rows in detections.values()]),
            start=np.fromiter((d.start for d in flat), np.float64, len(flat)),
            end=np.fromiter((d.end for d in flat), np.float64, len(flat)),
            score=np.fromiter((d.score for d in flat), np.float64, len(flat)),
        )

    def detections(self) -> dict[str, tuple[Detection, ...]]:
        """One object for each detection, by video, best first."""
        order = np.lexsort((-self.score, self.video))
        columns = (self.start, self.end, self.label, self.score)
        rows = [
            Detection(start, end, self.classes[label], score)
            for start, end, label, score in zip(*(column[order].tolist() for column in columns), strict=True)
        ]
        bounds = np.searchsorted(self.video[order], np.arange(len(self.videos) + 1)).tolist()
        return {name: tuple(rows[bounds[i] : bounds[i + 1]]) for i, name in enumerate(self.videos)}


class TableReading(NamedTuple):
    """What a file predicts, and what was wrong with it in plain sentences."""

    table: PredictionTable
    problems: list[str]


class PredictionReading(NamedTuple):
    """Detections of each video, best first, and what was wrong with the file."""

    detections: dict[str, tuple[Detection, ...]]
    problems: list[str]


def read_predictions(path: Path) -> PredictionReading:
    """As `read_table`, one object for each detection."""
    found = read_table(path)
    return PredictionReading(found.table.detections(), found.problems)


def read_table(path: Path) -> TableReading:
    """Read predictions into columns; numbers may be strings.

    A detection that is wrong (a key missing, a type nobody knows, not finite, reversed or without length) is left
    out and counted in ``problems``; of a video given twice the last list holds.

    Raises FormatError naming the file and the position: broken UTF-8 or JSON, or no ``results``.
    """
    text = read_text(path)
    problems = Problems()
    cursor = _Cursor(text)
    rows: _Rows | None = None
    try:
        for key in cursor.members("a predictions file"):
            if key != "results":
                cursor.value()
                continue
            if rows is not None:
                problems.add("key given twice in one JSON object, the last one holds", key)
            rows = _Rows(problems)
            for video_id in cursor.members("'results', which lists detections by video id,"):
                rows.add(video_id, cursor.value())
        cursor.end()
    except json.JSONDecodeError as error:
        raise FormatError(f"{path}: broken JSON at line {error.lineno}, column {error.colno}: {error.msg}") from error
    except (RecursionError, ValueError) as error:
        raise FormatError(f"{path}: not a JSON file that can be read: {error}") from error
    if rows is None:
        raise FormatError(f"{path}: no 'results'; is this an ActivityNet predictions file?")
    return TableReading(rows.table(), problems.sentences())


class _Cursor:
    """Walks through JSON without decoding more of it than one value at a time."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self._decode = json.JSONDecoder().raw_decode

    def members(self, what: str) -> Iterator[str]:
        """The keys of the object that begins here; each one's value must be read before the next key."""
        self._take("{", f"{what} must be an object")
        if self._peek() == "}":
            self._at += 1
            return
        while True:
            if self._peek() != '"':
                raise json.JSONDecodeError("Expecting property name enclosed in double quotes", self._text, self._at)
            key = str(self.value())
            self._take(":", "Expecting ':' delimiter")
            yield key
            if self._take(",}", "Expecting ',' delimiter") == "}":
                return

    def value(self) -> Any:
        """Decode the value that begins here."""
        self._peek()
        value, self._at = self._decode(self._text, self._at)
        return value

    def end(self) -> None:
        """Nothing but blanks may follow."""
        if self._peek():
            raise json.JSONDecodeError("Extra data", self._text, self._at)

    def _peek(self) -> str:
        """The next character that is no blank, empty at the end."""
        while (here := self._text[self._at : self._at + 1]) and here in _BLANK:
            self._at += 1
        return here

    def _take(self, one_of: str, otherwise: str) -> str:
        here = self._peek()
        if not here or here not in one_of:
            raise json.JSONDecodeError(otherwise, self._text, self._at)
        self._at += 1
        return here


class _Rows:
    """Grows the columns, video by video."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._places: dict[str, int] = {}
        self._codes = _codes()
        self._sizes: list[int] = []
        self._label = array("q")
        self._numbers = (array("d"), array("d"), array("d"))

    def add(self, video_id: str, rows: Any) -> None:
        """Take what the file says of one video; the last word holds."""
        if video_id in self._places:
            self._problems.add("video given twice, the last list holds", video_id)
        self._places[video_id] = len(self._sizes)
        if not isinstance(rows, list):
            self._problems.add("video whose detections are no list, taken as none", video_id)
            rows = []
        columns = _plain_columns(rows) or _careful_columns(rows, video_id, self._problems)
        labels, *numbers = columns
        self._sizes.append(len(labels))
        self._label.extend([self._codes[name] for name in labels])
        for column, values in zip(self._numbers, numbers, strict=True):
            column.extend(values)

    def table(self) -> PredictionTable:
        """All that was added, without what cannot be used."""
        start, end, score = (np.asarray(column, np.float64) for column in self._numbers)
        label = np.asarray(self._label, np.int64)
        videos = tuple(self._places)
        number_of = np.full(len(self._sizes), -1)
        number_of[list(self._places.values())] = np.arange(len(videos))
        video = np.repeat(number_of, self._sizes)
        finite = np.isfinite(start) & np.isfinite(end) & np.isfinite(score)
        ordered = end > start
        known = video >= 0
        for row in video[known & ~finite].tolist():
            self._problems.add("detection with a time or score that is not finite, dropped", videos[row])
        for row in video[known & finite & ~ordered].tolist():
            self._problems.add("zero-length or reversed detection, dropped", videos[row])
        keep = known & finite & ordered
        return PredictionTable(
            videos, tuple(self._codes), video[keep], label[keep], start[keep], end[keep], score[keep]
        )


Columns = tuple[Sequence[str], Sequence[float], Sequence[float], Sequence[float]]


def _plain_columns(rows: list[Any]) -> Columns | None:
    """Labels, starts, ends and scores of rows that are all as they should be, else ``None``: no loop over rows."""
    try:
        start, end = zip(*[row["segment"] for row in rows], strict=True) if rows else ((), ())
        score = [row["score"] for row in rows]
        labels = [row["label"] for row in rows]
        right = {*map(type, start), *map(type, end), *map(type, score)} <= {int, float} and {*map(type, labels)} <= {
            str
        }
        return (
            (labels, array("d", start), array("d", end), array("d", score))
            if right and all(map(str.strip, labels))
            else None
        )
    except (KeyError, IndexError, TypeError, ValueError, OverflowError):
        return None


def _careful_columns(rows: list[Any], video_id: str, problems: Problems) -> Columns:
    """As `_plain_columns`, row by row; what is wrong is left out and counted."""
    good: list[tuple[str, float, float, float]] = []
    for row in rows:
        try:
            good.append(_one(row))
        except FormatError as error:
            problems.add(f"{error}, dropped", video_id)
    labels, start, end, score = zip(*good, strict=True) if good else ((), (), (), ())
    return labels, start, end, score


def _one(row: Any) -> tuple[str, float, float, float]:
    if not isinstance(row, dict):
        raise FormatError("detection that is no object")
    for key in ("label", "score", "segment"):
        if key not in row:
            raise FormatError(f"detection without {key!r}")
    label, segment = row["label"], row["segment"]
    if not isinstance(label, str) or not label.strip():
        raise FormatError("detection whose label is no name")
    if not isinstance(segment, list) or len(segment) != 2:
        raise FormatError("detection whose segment is not a start and an end")
    return label, _number(segment[0]), _number(segment[1]), _number(row["score"])


def _number(value: Any) -> float:
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return math.inf
        except ValueError:
            pass
    raise FormatError("detection with a time or score that is no number")


def _codes() -> defaultdict[str, int]:
    """Numbers names in the order in which they are asked for."""
    codes: defaultdict[str, int] = defaultdict()
    codes.default_factory = codes.__len__
    return codes


def write_predictions(
    path: Path,
    detections: Mapping[str, Sequence[Detection]],
    *,
    version: str = "1.0",
    external_data: Mapping[str, Any] | None = None,
) -> None:
    """Write detections in the official schema, best first; equal input gives equal bytes."""
    results = {
        video_id: [
            {
                "label": d.label,
                "score": round(float(d.score), 8),
                "segment": [round(float(d.start), _DECIMALS), round(float(d.end), _DECIMALS)],
            }
            for d in sorted(detections[video_id], key=lambda d: (-d.score, d.start, d.end, d.label))
        ]
        for video_id in sorted(detections)
    }
    write_json(path, {"version": version, "results": results, "external_data": dict(external_data or {})})
