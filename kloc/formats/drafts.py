"""From what a file says of its videos, row by row, to a clean dataset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kloc.formats.common import Problems, clean_instances, listing, number, segment, text
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


#: Digits after the point of seconds and confidences in files: microseconds.
DECIMALS = 6


def facts(dataset: Dataset, video_id: str) -> dict[str, Any]:
    """What JSON says of a video beside its instances; keys only where there is something to say."""
    video, annotation = dataset.videos[video_id], dataset.annotations.get(video_id)
    said: dict[str, Any] = {"subset": video.subset}
    if dataset.is_timed(video_id):
        said["duration"] = round(video.duration, DECIMALS)
    if video.start:
        said["start"] = round(video.start, DECIMALS)
    if video.url is not None:
        said["url"] = video.url
    occurring = {one.label for one in annotation.instances} if annotation is not None else set()
    silent = [label for label in video.labels if label not in occurring]
    if silent:
        said["labels"] = silent
    if annotation is None:
        said["annotated"] = False
        return said
    if annotation.item != video.item:
        said["annotated"] = [round(annotation.item.start, DECIMALS), round(annotation.item.end, DECIMALS)]
    elif not annotation.instances and video.subset == "testing":
        said["annotated"] = True  # else it would read as withheld
    if annotation.exhaustive_for is not None:
        said["exhaustive_for"] = sorted(annotation.exhaustive_for)
    return said


def row(one: Instance) -> dict[str, Any]:
    """What JSON says of an instance beside its class."""
    said: dict[str, Any] = {"segment": [round(one.start, DECIMALS), round(one.end, DECIMALS)]}
    if one.confidence != 1.0:
        said["confidence"] = round(one.confidence, DECIMALS)
    return said


def draft_of(entry: Mapping[str, Any], subset: Subset, where: str, problems: Problems) -> Draft:
    """What `facts` wrote, or somebody else; a field that cannot be read is counted and taken as not given."""
    draft = Draft(subset)
    if "start" in entry:
        with problems.counting("start of a video that cannot be read, taken as 0"):
            draft.start = number(entry["start"], f"{where}, start")
    with problems.counting("duration that cannot be read, taken as unknown"):
        draft.duration = _duration(entry, where)
    if entry.get("url"):
        with problems.counting("url that cannot be read, left out"):
            draft.url = text(entry["url"], f"{where}, url")
    if "labels" in entry:
        with problems.counting("labels that cannot be read, left out"):
            draft.labels = {text(x, f"{where}, labels") for x in listing(entry["labels"], f"{where}, labels")}
    if entry.get("exhaustive_for", "all") != "all":
        draft.exhaustive = frozenset()  # where it cannot be read, nothing is known to be absent
        with problems.counting("exhaustive_for that cannot be read, taken as no class"):
            names = listing(entry["exhaustive_for"], f"{where}, exhaustive_for")
            draft.exhaustive = frozenset(text(x, f"{where}, exhaustive_for") for x in names)
    if not isinstance(entry.get("annotated", True), bool):
        with problems.counting("searched stretch that cannot be read, taken as the whole video"):
            draft.stretch = segment(entry["annotated"], f"{where}, annotated")
    return draft


def _duration(entry: Mapping[str, Any], where: str) -> float | None:
    """Seconds, by their own name or as frames of which so many make a second; ``None`` where it is not said."""
    for key in ("duration", "duration_second"):
        if entry.get(key) is not None:
            return number(entry[key], f"{where}, {key}")
    frames = entry.get("frame", entry.get("duration_frame"))
    if frames is None or entry.get("fps") is None:
        return None
    rate = number(entry["fps"], f"{where}, fps")
    return number(frames, f"{where}, frame") / rate if rate > 0 else None


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
    clean: bool = True,
) -> EndsReading:
    """The dataset of all drafts: instances clipped, sorted, each once; labels that ``classes`` lacks follow by name.

    clean: if not, instances are only sorted: for who wants to see what is wrong with them.
    """
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
        instances = tuple(sorted(draft.found))
        if clean:
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
