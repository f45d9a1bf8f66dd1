"""From what a file says of its videos, row by row, to a clean dataset."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from kloc.formats.common import Problems, clean_instances
from kloc.records import Annotation, Dataset, Exhaustive, Instance, Item, Subset, Video


@dataclass(slots=True)
class Draft:
    """One video as a file describes it; times in seconds.

    duration: ``None`` where the file does not say. annotated: whether it says which instances occur, be it none.
    stretch: the part that was searched, ``None`` for the whole video.
    """

    subset: Subset = "training"
    start: float = 0.0
    duration: float | None = None
    url: str | None = None
    labels: set[str] = field(default_factory=set)
    found: list[Instance] = field(default_factory=list)
    annotated: bool = True
    exhaustive: Exhaustive = None
    stretch: tuple[float, float] | None = None


class EndsReading(NamedTuple):
    """As `common.Reading`, and the ids of videos whose end is not known: it stands where the last instance ends."""

    dataset: Dataset
    problems: list[str]
    open_ended: frozenset[str]


#: What is done about a video whose file does not say how long it is.
TAKEN = "the last annotated end is taken; probe the video"


def assemble(
    drafts: dict[str, Draft],
    classes: Iterable[str],
    name: str,
    problems: Problems,
    *,
    taken: str = TAKEN,
    origin: str = "",
) -> EndsReading:
    """The dataset of all drafts: instances clipped, sorted, each once; labels that ``classes`` lacks follow by name."""
    videos: dict[str, Video] = {}
    annotations: dict[str, Annotation] = {}
    open_ended: set[str] = set()
    for video_id, draft in drafts.items():
        if draft.duration is not None and draft.duration <= 0:
            problems.add("duration of 0 or less, taken as unknown", video_id)
            draft.duration = None
        end: float | None = None
        if draft.duration is None:
            problems.add(f"video without a duration ({taken})", video_id)
            open_ended.add(video_id)
        else:
            # A sum of two decimal fractions is no decimal fraction; to the microsecond it is again.
            end = draft.duration if draft.start == 0 else round(draft.start + draft.duration, 6)
        instances = clean_instances(draft.found, draft.start, end, video_id, problems)
        if end is None:
            end = max((one.end for one in instances), default=draft.start)
        labels = tuple(sorted(draft.labels | {one.label for one in draft.found}))
        videos[video_id] = Video(video_id, draft.start, end, None, labels, draft.subset, draft.url)
        if draft.annotated:
            item = Item(video_id, *(draft.stretch or (draft.start, end)))
            annotations[video_id] = Annotation(item, instances, draft.exhaustive)
    known = list(dict.fromkeys(classes))
    used = {label for video in videos.values() for label in video.labels}
    used |= {label for a in annotations.values() for label in a.exhaustive_for or ()}
    more = sorted(used - set(known))
    if known:
        for label in more:
            problems.add("label that the list of classes lacks, added to it", label)
    dataset = Dataset((*known, *more), videos, annotations, name, origin, frozenset(open_ended))
    return EndsReading(dataset, problems.sentences(), dataset.open_ended)
