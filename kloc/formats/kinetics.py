"""Kinetics lists: ``label,youtube_id,time_start,time_end,split``, one labelled clip in each row.

As a format of annotations (`read`, `write`) a row is an instance; a clip says what occurs in it and nothing of the
rest of its video. Whoever takes clips for what they are (ten seconds around something, labels of the video) uses
`read_clips`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from kloc.files import write_text
from kloc.formats.common import Extra, Problems, Reading, number, rebased, subset_or
from kloc.formats.drafts import Draft, assemble
from kloc.formats.losses import Aspect, forget, sentences
from kloc.formats.tables import SHORT, rows, seconds, table
from kloc.records import Dataset, Instance, Subset

LOST: frozenset[Aspect] = frozenset(
    ["start", "end", "url", "labels", "confidence", "searched", "stretch", "empty", "unannotated", "classes", "origin"]
)
COLUMNS = ("label", "youtube_id", "time_start", "time_end", "split")


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


def read_clips(path: Path) -> ClipReading:
    """Read a list; columns are found by the header's names (``split`` and ``label`` may be missing).

    Reversed and repeated clips and rows that cannot be read are left out and counted.
    Raises FormatError naming the file: a missing column, broken CSV or UTF-8.
    """
    problems = Problems()
    clips: dict[Clip, None] = {}
    for row in rows(path, COLUMNS[1:4], problems):
        with problems.counting("clip that cannot be read, left out"):
            video_id = row["youtube_id"]
            start, end = number(row["time_start"], row.where), number(row["time_end"], row.where)
            subset = subset_or(row.get("split").strip() or "training", "training", row.where, problems)
            if end <= start or start < 0:
                problems.add("clip that ends before it starts or starts before 0, dropped", video_id)
                continue
            clip = Clip(video_id, start, end, row.get("label"), subset)
            if clip in clips:
                problems.add("clip given twice, counted once", video_id)
            clips[clip] = None
    return ClipReading(list(clips), problems.sentences())


def write_clips(path: Path, clips: Sequence[Clip]) -> None:
    """Write a list in the order given; whole seconds are written as whole numbers."""
    body = [[c.label, c.video_id, seconds(c.start), seconds(c.end), SHORT[c.subset]] for c in clips]
    write_text(path, table(COLUMNS, body))


def read(path: Path, *, name: str | None = None) -> Reading:
    """Read a list as annotations: each clip is an instance, and its video was searched for nothing else.

    Raises FormatError as `read_clips`.
    """
    clips, said = read_clips(path)
    problems = Problems()
    drafts: dict[str, Draft] = {}
    for clip in clips:
        draft = drafts.setdefault(clip.video_id, Draft(clip.subset, annotated=False, exhaustive=frozenset()))
        if draft.subset != clip.subset:
            problems.add(f"video in several subsets, the first one holds ({draft.subset})", clip.video_id)
        if clip.label:
            draft.annotated = True
            draft.found.append(Instance(clip.start, clip.end, clip.label))
    found = assemble(drafts, (), name or path.stem, problems)
    return Reading(found.dataset, [*said, *found.problems])


def write(path: Path, dataset: Dataset, extra: Extra) -> list[str]:
    """Write one row for each instance, by video and time."""
    dataset = rebased(dataset, extra.origin)
    held = forget(dataset, LOST)
    write_clips(
        path,
        [
            Clip(video_id, one.start, one.end, one.label, held.videos[video_id].subset)
            for video_id, annotation in sorted(held.annotations.items())
            for one in annotation.instances
        ],
    )
    return sentences(dataset, LOST, extra)


def labels_of(clips: Iterable[Clip]) -> dict[str, tuple[str, ...]]:
    """Video-level labels by video id, in the clips' order."""
    found: dict[str, dict[str, None]] = {}
    for clip in clips:
        mine = found.setdefault(clip.video_id, {})
        if clip.label:
            mine[clip.label] = None
    return {video_id: tuple(labels) for video_id, labels in found.items()}
