"""Video-level labels in a CSV file: ``video,label[,subset]``."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from kloc.errors import FormatError
from kloc.files import write_text
from kloc.formats.common import Problems, read_text, subset_of
from kloc.records import Subset

_VIDEO = ("video", "video_id", "videoid", "id", "name", "file", "filename", "path", "youtube_id")
_LABEL = ("label", "labels", "class", "classes", "category", "action")
_SUBSET = ("subset", "split")


@dataclass(frozen=True)
class Labels:
    """Labels by video id in the file's order, subsets where given, and what was wrong in plain sentences."""

    labels: dict[str, tuple[str, ...]]
    subsets: dict[str, Subset] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def classes(self) -> tuple[str, ...]:
        """All labels by name."""
        return tuple(sorted({label for labels in self.labels.values() for label in labels}))


def read(path: Path, known_videos: Collection[str] | None = None) -> Labels:
    """Read labels; a video's several labels stand in several rows, or in one cell divided by ``;``.

    The header names the columns (``video``, ``label`` and perhaps ``subset``, in any order, others are passed
    over); comma, tab and semicolon divide. Without a header the file is taken as ``video,label[,subset]`` only
    if the first column of its first row names one of ``known_videos``. A video may be given with its file
    name's ending or folder; with ``known_videos`` given, rows about other videos are left out and counted.

    Raises FormatError naming the file and the line.
    """
    rows = _rows(path)
    if not rows:
        raise FormatError(f"{path}: empty; expected a header 'video,label' and one row for each video")
    known = set(known_videos) if known_videos is not None else None
    columns = _columns(path, rows[0][1], known)
    body = rows if columns is None else rows[1:]
    video_at, label_at, subset_at = columns or (0, 1, 2 if len(rows[0][1]) > 2 else None)
    problems = Problems()
    labels: dict[str, list[str]] = {}
    subsets: dict[str, Subset] = {}
    for line, row in body:
        if len(row) <= max(video_at, label_at):
            raise FormatError(f"{path}: line {line} has {len(row)} columns, too few; expected video and label")
        video_id = _match(row[video_at].strip(), known)
        if not video_id:
            raise FormatError(f"{path}: line {line} names no video")
        if known is not None and video_id not in known:
            problems.add("row about a video that is not in the project, left out", video_id)
            continue
        names = [part.strip() for part in row[label_at].split(";") if part.strip()]
        if not names:
            problems.add("row without a label", video_id)
        mine = labels.setdefault(video_id, [])
        for label in names:
            if label in mine:
                problems.add("label given twice, counted once", video_id)
            else:
                mine.append(label)
        if subset_at is not None and subset_at < len(row) and row[subset_at].strip():
            subset = subset_of(row[subset_at], f"{path}: line {line}")
            if subsets.setdefault(video_id, subset) != subset:
                raise FormatError(
                    f"{path}: line {line} puts {video_id} into {subset}, an earlier line into {subsets[video_id]}"
                )
    return Labels({k: tuple(v) for k, v in labels.items()}, subsets, problems.sentences())


def write(path: Path, labels: Mapping[str, Collection[str]], subsets: Mapping[str, Subset] | None = None) -> None:
    """Write one row for each video, by id; several labels divided by ``;``.

    Raises FormatError for a label that holds a ``;``.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["video", "label", "subset"] if subsets else ["video", "label"])
    for video_id in sorted(labels):
        for label in labels[video_id]:
            if ";" in label:
                raise FormatError(f"{path}: the label {label!r} of {video_id} holds a ';', which divides labels")
        row = [video_id, ";".join(labels[video_id])]
        writer.writerow([*row, subsets.get(video_id, "")] if subsets else row)
    write_text(path, stream.getvalue())


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Rows that hold something, with their line numbers."""
    content = read_text(path)
    first = content.split("\n", 1)[0]
    delimiter = "," if "," in first else "\t" if "\t" in first else ";" if ";" in first else ","
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
    rows: list[tuple[int, list[str]]] = []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append((reader.line_num, row))
    except csv.Error as error:
        raise FormatError(f"{path}: broken CSV at line {reader.line_num}: {error}") from error
    return rows


def _columns(path: Path, header: list[str], known: set[str] | None) -> tuple[int, int, int | None] | None:
    """Where the header puts video, label and subset; ``None`` if the first row already is data."""
    names = [cell.strip().lower().replace(" ", "_") for cell in header]

    def find(wanted: tuple[str, ...]) -> int | None:
        return next((names.index(w) for w in wanted if w in names), None)

    video, label = find(_VIDEO), find(_LABEL)
    if video is not None and label is not None:
        return video, label, find(_SUBSET)
    if known is not None and len(header) in (2, 3) and _match(header[0].strip(), known) in known:
        return None
    raise FormatError(
        f"{path}: the first line {','.join(header)[:60]!r} is no header; "
        "add 'video,label' (or 'video,label,subset') as first line"
    )


def _match(name: str, known: set[str] | None) -> str:
    """The id that ``name`` means: itself, or without its folder and its file ending."""
    if known is None or name in known:
        return name
    plain = PurePosixPath(name.replace("\\", "/"))
    return next((c for c in (plain.name, plain.stem) if c in known), name)
