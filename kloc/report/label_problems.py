"""What is wrong with a dataset's labels, and what its subsets share that they must not: counted, with examples."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import floor

from kloc.records import Dataset, Instance, Video
from kloc.report.groups import join, same_channel, same_source
from kloc.report.splits import leaks

SHORT = 0.5  # seconds; shorter instances are suspicious
NEAR = 1e-3  # seconds; two instances of a class that differ by no more are one given twice
_EXAMPLES = 5
_SUFFIX = re.compile(r"\.(mp4|mkv|webm|avi|mov|m4v|mpe?g)$")


@dataclass(frozen=True)
class LabelProblem:
    """One kind of problem, how often it occurs, and where (first few)."""

    kind: str
    count: int
    examples: tuple[str, ...]


def label_problems(dataset: Dataset) -> tuple[LabelProblem, ...]:
    """Problems of instances, videos and class names, by kind. Says of each whether the instance counts all the same."""
    found: dict[str, list[str]] = defaultdict(list)
    classes = set(dataset.classes)
    for video_id in sorted(dataset.annotations):
        instances = dataset.annotations[video_id].instances
        if video_id not in dataset.videos:
            found["annotation of a video that the dataset lacks"].append(video_id)
            continue
        timed = dataset.is_timed(video_id)
        if instances and not timed:
            found["video without a duration: no coverage"].append(video_id)
        for one, kind in _problems(dataset.videos[video_id] if timed else None, instances):
            found[kind].append(f"{video_id} {one.start:.2f}–{one.end:.2f} {one.label}")
        unknown = sorted({i.label for i in instances} - classes)
        found["label that is no class of the dataset"] += [f"{video_id} {label}" for label in unknown]
    used = {i.label for a in dataset.annotations.values() for i in a.instances} | classes
    alike = defaultdict(list)
    for label in sorted(used):
        alike[re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", label).casefold()) or label].append(label)
    found["classes that differ only in case, spaces or signs"] = [
        " / ".join(repr(label) for label in labels) for labels in alike.values() if len(labels) > 1
    ]
    return tuple(_problem(kind, examples) for kind, examples in sorted(found.items()) if examples)


def _problem(kind: str, examples: Sequence[str]) -> LabelProblem:
    return LabelProblem(kind, len(examples), tuple(dict.fromkeys(examples))[:_EXAMPLES])


def _problems(video: Video | None, instances: Iterable[Instance]) -> Iterable[tuple[Instance, str]]:
    """Each problem of each instance of one video; ``None``: its duration is not known."""
    seen: set[tuple[float, float, str]] = set()
    places: dict[tuple[str, int, int], list[Instance]] = defaultdict(list)
    reach: dict[str, float] = {}
    for one in sorted(instances):
        if not one.end > one.start:
            yield one, "ends before or where it starts (left out)"
            continue
        if (one.start, one.end, one.label) in seen:
            yield one, "given twice (counted once)"
            continue
        seen.add((one.start, one.end, one.label))
        if _is_near(one, places):
            yield one, "within 1 ms of another of its class (counted)"
        elif one.start < reach.get(one.label, float("-inf")):
            yield one, "overlaps another instance of its class"
        reach[one.label] = max(one.end, reach.get(one.label, one.end))
        if one.duration < SHORT:
            yield one, f"shorter than {SHORT} s"
        if video is None:
            continue
        if not (one.start < video.end and one.end > video.start):
            yield one, "outside its video (left out)"
        elif one.start < video.start - 1e-6 or one.end > video.end + 1e-6:
            yield one, "reaches beyond its video (cut)"


def _is_near(one: Instance, places: dict[tuple[str, int, int], list[Instance]]) -> bool:
    """Whether an earlier instance lies within `NEAR`; remembers this one by the millisecond of its start and end."""
    width = NEAR + 1e-9
    start, end = floor(one.start / width), floor(one.end / width)
    near = any(
        abs(one.start - other.start) <= width and abs(one.end - other.end) <= width
        for s in (start, start - 1, start + 1)
        for e in (end, end - 1, end + 1)
        for other in places.get((one.label, s, e), ())
    )
    places[(one.label, start, end)].append(one)
    return near


# -- leakage -----------------------------------------------------------------------------------------------------


def leakage(videos: Iterable[Video], ties: Mapping[str, Mapping[str, str]]) -> tuple[LabelProblem, ...]:
    """What lies in more than one subset: a source, an uploader's channel, an id in another spelling, and ``ties``.

    ties: what is shared ("same file") -> its key for each video that has one. Empty where there is one subset only.
    """
    known = {video.id: video for video in videos}
    subsets = {video_id: video.subset for video_id, video in known.items()}
    if len(set(subsets.values())) < 2:
        return ()
    urls = {video_id: video.url for video_id, video in known.items()}
    shared: dict[str, Mapping[str, str]] = {
        "same source": same_source(urls),
        "same channel": same_channel(urls),
        "same id in another spelling": {v: spelling(v) for v in known},
        **ties,
    }
    found = [(kind, leaks(subsets, join({kind: keys}))) for kind, keys in shared.items()]
    return tuple(_problem(f"{kind} in more than one subset", told) for kind, told in found if told)


def spelling(video_id: str) -> str:
    """An id without case, file suffix, ActivityNet's ``v_`` and the kind of its dashes and spaces."""
    bare = _SUFFIX.sub("", unicodedata.normalize("NFKC", video_id).casefold().strip())
    return re.sub(r"[\s_-]+", "_", bare.removeprefix("v_"))
