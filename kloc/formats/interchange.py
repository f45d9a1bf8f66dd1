"""What the formats of other people's tools share: facts kept beside their own data, frames, names of files, folders.

No tool has a place for all that kloc knows of a video. What it has no word for (subset, bounds, silent labels, what an
annotation is exhaustive for) travels as a small JSON object, the *facts*, where the tool keeps foreign data untouched.
Where each video has a file of its own, what is said of the whole dataset stands in ``kloc.json`` beside them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element, ParseError

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from kloc.errors import FormatError, UsageError
from kloc.files import atomic_folder, safe_name, write_json
from kloc.formats.common import Extra, Problems, Reading, clean_instances, listing, number, read_json, subset_or, text
from kloc.records import Annotation, Dataset, Exhaustive, Instance, Item, Subset, Video

#: Under this name the facts stand in foreign files.
KEY = "kloc"
_ABOUT = f"{KEY}.json"
#: Frames per second of a video whose own are not known.
NOMINAL_FPS = 25.0
DECIMALS = 6
#: What is lost of times in a format that counts milliseconds.
MILLISECONDS = "times between whole milliseconds"

_PLAIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")
#: Times beyond it (seconds, milliseconds or frames) are no times of a video.
_FAR = 1e12
#: Characters that XML and subtitles cannot hold, or hand back as something else.
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")


# -- what is written --------------------------------------------------------------------------------------


def header_of(dataset: Dataset, extra: Extra) -> dict[str, Any]:
    """What every file says: where the annotations come from, if that must be said."""
    return ({"origin": dataset.origin} if dataset.origin else {}) | dict(extra.header)


def dataset_facts(dataset: Dataset, extra: Extra) -> dict[str, Any]:
    """What is said of the whole dataset; the header first, so that nobody overlooks it."""
    own = {"version": extra.version, "time_origin": extra.origin, "classes": list(dataset.classes)}
    return header_of(dataset, extra) | own


def video_facts(dataset: Dataset, video_id: str) -> dict[str, Any]:
    """What is said of one video: seconds to the microsecond, keys only where there is something to say."""
    video, annotation = dataset.videos[video_id], dataset.annotations.get(video_id)
    facts: dict[str, Any] = {"id": video_id, "subset": video.subset, "start": round(video.start, DECIMALS)}
    if dataset.is_timed(video_id):
        facts["end"] = round(video.end, DECIMALS)
    if video.labels:
        facts["labels"] = list(video.labels)
    if video.url is not None:
        facts["url"] = video.url
    if annotation is None:
        facts["annotated"] = False
        return facts
    if annotation.exhaustive_for is not None:
        facts["exhaustive_for"] = sorted(annotation.exhaustive_for)
    if annotation.item != video.item:
        facts["searched"] = [round(t, DECIMALS) for t in (annotation.item.start, annotation.item.end)]
    return facts


def one_line(facts: Mapping[str, Any]) -> str:
    """Facts as one line of ASCII that neither XML nor a subtitle's comment can misread."""
    return json.dumps(facts, ensure_ascii=True, allow_nan=False).replace(">", "\\u003e").replace("<", "\\u003c")


def instances_of(dataset: Dataset, video_id: str) -> Sequence[Instance]:
    """The instances of a video in their order; none where it is not annotated."""
    annotation = dataset.annotations.get(video_id)
    return () if annotation is None else sorted(annotation.instances)


def rounded_to_milliseconds(dataset: Dataset) -> list[str]:
    """What is said of times that whole milliseconds from 0 on cannot hold."""
    found = [i for a in dataset.annotations.values() for i in a.instances]
    moved = [abs(t - ms / 1000) for i in found for t, ms in zip((i.start, i.end), whole_milliseconds(i), strict=True)]
    near, far = sum(1e-6 < m <= 5.01e-4 for m in moved), sum(m > 5.01e-4 for m in moved)
    said = [f"times are whole milliseconds: {near:,} of {len(moved):,} boundaries move by half a one or less"]
    more = [f"{far:,} boundaries lie before 0 or closer together than a millisecond: they are moved"]
    return (said if near else []) + (more if far else [])


def all_classes(dataset: Dataset) -> list[str]:
    """The classes in their order, then those that instances have beyond them, by name."""
    used = {i.label for a in dataset.annotations.values() for i in a.instances}
    return [*dataset.classes, *sorted(used - set(dataset.classes))]


def check_labels(dataset: Dataset, tool: str) -> None:
    """Raises FormatError for a class whose name a text format cannot hold."""
    for label in all_classes(dataset):
        if _UNFIT.search(label) or label != label.strip() or not label:
            raise FormatError(
                f"{tool} cannot hold the class name {label!r}: rename the class (no line breaks, no spaces at the ends)"
            )


def whole_milliseconds(one: Instance) -> tuple[int, int]:
    """Start and end as whole milliseconds from 0 on, at least one apart."""
    start, end = (max(_nearest(t * 1000), 0) for t in (one.start, one.end))
    return start, max(end, start + 1)


def _nearest(value: float) -> int:
    return math.floor(min(max(value, -_FAR), _FAR) + 0.5)


def media_paths(dataset: Dataset, extra: Extra) -> tuple[dict[str, str], list[str]]:
    """Where each video's file lies for the tool, and a sentence about those whose file nobody named."""
    paths: dict[str, str] = {}
    guessed = 0
    for video_id in sorted(dataset.videos):
        media = extra.media.get(video_id)
        if media is None or media.path is None:
            guessed += 1
        plain = video_id if _PLAIN.fullmatch(video_id) else safe_name(video_id)
        paths[video_id] = f"{plain}.mp4" if media is None or media.path is None else _UNFIT.sub("_", media.path)
    return paths, [f"the files of {guessed:,} videos are not known: they are named ID.mp4"] if guessed else []


# -- frames -----------------------------------------------------------------------------------------------


class Frames(NamedTuple):
    """Frames ``first`` to ``stop`` (half-open), counted from 0."""

    first: int
    stop: int


def to_frames(start: float, end: float, fps: float, zero: float = 0.0) -> Frames:
    """The frames nearest to a segment, at least one; ``zero``: the time of frame 0."""
    first, stop = (_nearest((t - zero) * fps) for t in (start, end))
    return Frames(max(first, 0), max(stop, first + 1, 1))


def from_frames(
    frames: Frames, fps: float, zero: float = 0.0, exact: Sequence[float] | None = None
) -> tuple[float, float]:
    """Seconds of frames. ``exact`` seconds, noted when they were written, hold unless the frames were moved since."""
    if exact is not None and exact[1] > exact[0] and to_frames(exact[0], exact[1], fps, zero) == frames:
        return exact[0], exact[1]
    return zero + frames.first / fps, zero + frames.stop / fps


def frame_rates(dataset: Dataset, extra: Extra) -> tuple[dict[str, float], list[str]]:
    """Frames per second of each video, and a sentence about those whose own are not known."""
    rates = {v: media.fps for v, media in extra.media.items() if media.fps}
    unknown = sum(video_id not in rates for video_id in dataset.videos)
    said = (
        f"the frame rates of {unknown:,} videos are not known: their frames are counted at {NOMINAL_FPS:g} a second, "
        "which is wrong for a video that has another rate"
    )
    return {v: rates.get(v, NOMINAL_FPS) for v in dataset.videos}, [said] if unknown else []


# -- names and folders ------------------------------------------------------------------------------------


def file_names(ids: Iterable[str]) -> dict[str, str]:
    """A safe name for each id, without ending; no two alike, not even where upper and lower case are one."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for one in sorted(ids):
        name, count = safe_name(one), 1
        while name.lower() in taken:
            count += 1
            name = f"{safe_name(one)}-{count}"
        taken.add(name.lower())
        names[one] = name
    return names


def write_folder(path: Path, files: Mapping[str, bytes], ending: str, about: Mapping[str, Any]) -> None:
    """Write a folder of ``ending`` files and ``kloc.json`` whole or not at all; an earlier export there gives way.

    Raises UsageError where the folder holds anything else.
    """
    if path.exists():
        there = list(path.iterdir()) if path.is_dir() else [path]
        other = sorted(p.name for p in there if not p.name.startswith(".") and p.name != _ABOUT and p.suffix != ending)
        if other:
            raise UsageError(f"{path}: holds {other[0]!r}, which is no {ending} file; name an empty folder")
    with atomic_folder(path) as fresh:
        for name, content in files.items():
            (fresh / f"{name}{ending}").write_bytes(content)
        write_json(fresh / _ABOUT, about)


def files_of(path: Path, ending: str, collector: Collector) -> list[Path]:
    """The file itself, or the ``ending`` files of a folder in the order of their names, and what is said beside them.

    Raises FormatError for a folder without such a file.
    """
    if not path.is_dir():
        return [path]
    found = sorted(p for p in path.iterdir() if p.suffix.lower() == ending and p.is_file())
    if not found:
        raise FormatError(f"{path}: holds no {ending} file")
    if (path / _ABOUT).is_file():
        collector.facts(read_json(path / _ABOUT, collector.problems))
    return found


def read_xml(path: Path, root: str) -> Element:
    """The root of an XML file. Raises FormatError: broken, another kind of document, or one that defines entities."""
    try:
        found = ElementTree.fromstring(path.read_bytes(), forbid_dtd=True)
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror or error})") from error
    except DefusedXmlException as error:
        raise FormatError(f"{path}: defines entities or a document type, which no such file needs") from error
    except (ParseError, ValueError, LookupError) as error:
        raise FormatError(f"{path}: broken XML: {error}") from error
    if found.tag != root:
        raise FormatError(f"{path}: the document is {str(found.tag)[:40]!r}, expected {root!r}")
    return found


# -- what is read -----------------------------------------------------------------------------------------


def as_object(value: Any) -> dict[str, Any]:
    """``value`` if it is a JSON object, else an empty one: for what may be there or not."""
    return value if isinstance(value, dict) else {}


def positive(value: Any) -> float | None:
    """A number above 0, or None: for what may be there or not."""
    try:
        found = number(value, "")
    except FormatError:
        return None
    return found if found > 0 else None


def pair(*values: Any) -> tuple[float, float] | None:
    """Two finite numbers, or None: for what may be there or not."""
    try:
        first, second = (number(value, "") for value in values)
    except (FormatError, ValueError):
        return None
    return first, second


class Collector:
    """Puts a dataset together from foreign videos and segments; what is wrong is counted, the rest is used."""

    def __init__(self, path: Path, name: str | None) -> None:
        self.problems = Problems()
        self._path = path
        self._name = name
        self._videos: dict[str, Video] = {}
        self._annotations: dict[str, Annotation] = {}
        self._open_ended: set[str] = set()
        self._classes: dict[str, None] = {}
        self._origin = ""

    def facts(self, value: Any) -> None:
        """Take what was said of the whole dataset, where it was."""
        said = as_object(value)
        if isinstance(said.get("origin"), str):
            self._origin = self._origin or said["origin"]
        if isinstance(said.get("classes"), list):
            self.classes(said["classes"])

    def classes(self, labels: Iterable[Any]) -> None:
        """Take classes in their order."""
        self._classes.update(dict.fromkeys(x for x in labels if isinstance(x, str) and x))

    def instance(self, video_id: str, start: Any, end: Any, label: Any, confidence: Any = None) -> list[Instance]:
        """One instance, or none where it cannot be read, which is counted."""
        try:
            times = number(start, "start"), number(end, "end")
            sure = 1.0 if confidence is None else number(confidence, "confidence")
            return [Instance(*times, text(label, "label"), sure)]
        except FormatError as error:
            self.problems.add("segment that cannot be read, left out", f"{video_id}: {error}")
            return []

    def video(self, facts: Any, video_id: str, found: Iterable[Instance], *, annotated: bool = True) -> None:
        """Add a video with what was found in it. ``facts`` may be of any kind: what does not fit is passed over.

        ``video_id`` and ``annotated`` hold where the facts say nothing.
        """
        known = as_object(facts)
        if isinstance(known.get("id"), str) and known["id"]:
            video_id = known["id"]
        if video_id in self._videos:
            self.problems.add("video given twice, the first one holds", video_id)
            return
        start = self._number(known, "start", video_id) or 0.0
        end = self._number(known, "end", video_id)
        end = None if end is None or end <= start else end
        instances = clean_instances(found, start, end, video_id, self.problems)
        if end is None:
            self._open_ended.add(video_id)
            self.problems.add("video without a duration (the last annotated end is taken; probe the video)", video_id)
            end = max((x.end for x in instances), default=start)
        silent = self._labels(known, "labels", video_id) or []
        labels = tuple(sorted({*silent, *(x.label for x in instances)}))
        url = known["url"] if isinstance(known.get("url"), str) else None
        video = Video(video_id, start, end, labels=labels, subset=self._subset(known, video_id), url=url)
        self._videos[video_id] = video
        if known.get("annotated", annotated) is not False or instances:
            asked = self._labels(known, "exhaustive_for", video_id)
            exhaustive: Exhaustive = None if asked is None else frozenset(asked)
            self._annotations[video_id] = Annotation(self._searched(known, video), instances, exhaustive)

    def reading(self) -> Reading:
        """The dataset: classes as they were named, then those that were only used, by name."""
        used = {label for video in self._videos.values() for label in video.labels}
        used |= {x for a in self._annotations.values() for x in a.exhaustive_for or ()}
        classes = (*self._classes, *sorted(used - set(self._classes)))
        name, ends = self._name or self._path.stem, frozenset(self._open_ended)
        dataset = Dataset(classes, self._videos, self._annotations, name, self._origin, ends)
        return Reading(dataset, self.problems.sentences())

    def _number(self, known: Mapping[str, Any], key: str, video_id: str) -> float | None:
        if known.get(key) is None:
            return None
        try:
            return number(known[key], key)
        except FormatError as error:
            self.problems.add("bound of a video that cannot be read, taken as unknown", f"{video_id}: {error}")
            return None

    def _labels(self, known: Mapping[str, Any], key: str, video_id: str) -> list[str] | None:
        if known.get(key) is None:
            return None
        try:
            return [text(x, key) for x in listing(known[key], key)]
        except FormatError as error:
            self.problems.add("list of labels that cannot be read, left out", f"{video_id}: {error}")
            return None

    def _searched(self, known: Mapping[str, Any], video: Video) -> Item:
        """The part of the video that was searched: all of it, unless the facts say which."""
        if known.get("searched") is None:
            return video.item
        try:
            start, end = (number(t, "searched") for t in listing(known["searched"], "searched"))
            return Item(video.id, start, end)
        except (FormatError, ValueError) as error:
            self.problems.add("searched part that cannot be read, taken as the whole video", f"{video.id}: {error}")
            return video.item

    def _subset(self, known: Mapping[str, Any], video_id: str) -> Subset:
        return subset_or(known.get("subset", "training"), "training", f"{video_id}: subset", self.problems)


def parse_facts(line: str | None) -> Any:
    """Facts from one line of JSON; None where it is no JSON."""
    try:
        return json.loads(line or "null", parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None
