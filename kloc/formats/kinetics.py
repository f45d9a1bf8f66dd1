"""Kinetics lists: ``label,youtube_id,time_start,time_end,split``, one labelled clip in each row."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from kloc.errors import FormatError
from kloc.files import write_text
from kloc.formats.common import Problems, number, read_text, subset_of
from kloc.records import Subset

COLUMNS = ("label", "youtube_id", "time_start", "time_end", "split")
_SHORT: dict[Subset, str] = {"training": "train", "validation": "val", "testing": "test"}


@dataclass(frozen=True, slots=True, order=True)
class Clip:
    """A labelled stretch of a video, seconds in the original video. ``label`` is empty where it is withheld."""

    video_id: str
    start: float
    end: float
    label: str
    subset: Subset


class ClipReading(NamedTuple):
    """The clips in the file's order, and what was wrong in plain sentences."""

    clips: list[Clip]
    problems: list[str]


def read(path: Path) -> ClipReading:
    """Read a list; columns are found by the header's names (``split`` and ``label`` may be missing).

    Reversed and repeated clips are dropped and counted. Raises FormatError naming the file and the line.
    """
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True)
    problems = Problems()
    clips: dict[Clip, None] = {}
    try:
        names = reader.fieldnames or []
        missing = [c for c in COLUMNS[1:4] if c not in names]
        if missing:
            raise FormatError(f"{path}: no column {', '.join(missing)}; expected the header {','.join(COLUMNS)}")
        for row in reader:
            where = f"{path}: line {reader.line_num}"
            video_id = (row["youtube_id"] or "").strip()
            if not video_id:
                raise FormatError(f"{where} names no video")
            start, end = number(row["time_start"], where), number(row["time_end"], where)
            subset = subset_of(row.get("split") or "train", where)
            if end <= start or start < 0:
                problems.add("clip that ends before it starts or starts before 0, dropped", video_id)
                continue
            clip = Clip(video_id, start, end, (row.get("label") or "").strip(), subset)
            if clip in clips:
                problems.add("clip given twice, counted once", video_id)
            clips[clip] = None
    except csv.Error as error:
        raise FormatError(f"{path}: broken CSV at line {reader.line_num}: {error}") from error
    return ClipReading(list(clips), problems.sentences())


def write(path: Path, clips: Sequence[Clip]) -> None:
    """Write a list in the order given; whole seconds are written as whole numbers."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for clip in clips:
        times = [f"{t:.6f}".rstrip("0").rstrip(".") for t in (clip.start, clip.end)]
        writer.writerow([clip.label, clip.video_id, *times, _SHORT[clip.subset]])
    write_text(path, stream.getvalue())


def labels_of(clips: Iterable[Clip]) -> dict[str, tuple[str, ...]]:
    """Video-level labels by video id, in the clips' order."""
    found: dict[str, dict[str, None]] = {}
    for clip in clips:
        mine = found.setdefault(clip.video_id, {})
        if clip.label:
            mine[clip.label] = None
    return {video_id: tuple(labels) for video_id, labels in found.items()}
