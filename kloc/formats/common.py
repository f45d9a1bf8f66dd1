"""What all readers share: errors that say where, numbers that may be strings, problems that are counted."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from kloc.errors import FormatError, UsageError
from kloc.records import Annotation, Dataset, Instance, Item, Subset

_SUBSETS: dict[str, Subset] = {"train": "training", "val": "validation", "test": "testing"}


#: Files hold microseconds: a time beyond a video by no more than this (seconds) is rounding, not a mistake.
_ROUNDING = 1.5e-6

#: Where time 0 lies: ``stream`` keeps kloc's seconds (what a browser shows), ``first-frame`` makes every video start
#: at 0, for tools that rebase.
Origin = Literal["stream", "first-frame"]


class Reading(NamedTuple):
    """What a file says, and what was wrong with it in plain sentences."""

    dataset: Dataset
    problems: list[str]


@dataclass(frozen=True, slots=True)
class Media:
    """What is known of a video's file; ``path`` as it shall stand in the export."""

    path: str | None = None
    fps: float | None = None
    frames: int | None = None
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True, slots=True)
class Extra:
    """What a writer may need beside the dataset.

    version: of the dataset. media: by video id. header: more to say about the whole file, e.g. that the answers come
    from simulated workers; a format that has no place for it says so among its losses.
    """

    origin: Origin = "stream"
    version: str = "1.0"
    media: Mapping[str, Media] = field(default_factory=dict)
    header: Mapping[str, str] = field(default_factory=dict)


def origin_of(name: str) -> Origin:
    """The time origin of that name. Raises UsageError for others."""
    if name not in ("stream", "first-frame"):
        raise UsageError(f"unknown time origin {name!r}; it is 'stream' or 'first-frame'")
    return cast(Origin, name)


def rebased(dataset: Dataset, origin: Origin) -> Dataset:
    """The dataset as it is written: as it is, or with every video's first frame at 0 (to the microsecond)."""
    if origin_of(origin) == "stream":
        return dataset

    def moved(time: float, by: float) -> float:
        return round(time - by, 6)

    videos = {k: replace(v, start=0.0, end=moved(v.end, v.start)) for k, v in dataset.videos.items()}
    annotations: dict[str, Annotation] = {}
    for video_id, old in dataset.annotations.items():
        by = dataset.videos[video_id].start
        instances = tuple(replace(i, start=moved(i.start, by), end=moved(i.end, by)) for i in old.instances)
        item = Item(video_id, moved(old.item.start, by), moved(old.item.end, by))
        annotations[video_id] = Annotation(item, instances, old.exhaustive_for)
    return replace(dataset, videos=videos, annotations=annotations)


class Problems:
    """Counts what was wrong with a file, with the first few examples, and tells it in plain sentences."""

    _LIMIT = 3

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._examples: dict[str, dict[str, None]] = {}

    def add(self, sentence: str, example: str) -> None:
        """Count one case of ``sentence``; ``example`` names it (a video id, a line)."""
        self._counts[sentence] = self._counts.get(sentence, 0) + 1
        some = self._examples.setdefault(sentence, {})
        if len(some) <= self._LIMIT:
            some[example] = None

    @contextmanager
    def counting(self, sentence: str) -> Iterator[None]:
        """What raises FormatError inside is passed over and counted as a case of ``sentence``."""
        try:
            yield
        except FormatError as error:
            self.add(sentence, str(error))

    def sentences(self) -> list[str]:
        """One sentence for each kind of problem, in the order of their first appearance."""
        return [f"{count:,} x {sentence} ({self._some(sentence)})" for sentence, count in self._counts.items()]

    def _some(self, sentence: str) -> str:
        shown = [one if one.strip() and one.isprintable() else repr(one) for one in self._examples[sentence]]
        return ", ".join(shown[: self._LIMIT]) + (", ..." if len(shown) > self._LIMIT else "")


def read_text(path: Path) -> str:
    """A file's UTF-8 text, without a byte order mark. Raises FormatError naming file and position."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror or error})") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FormatError(f"{path}: not UTF-8 at byte {error.start} (line {line}); save the file as UTF-8") from error


def read_json(path: Path, problems: Problems | None = None) -> Any:
    """Parse a JSON file. Repeated keys are counted (the last one holds); `number` refuses NaN and Infinity later.

    Raises FormatError naming the file, the line and the column.
    """

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(found)
        if len(value) != len(found) and problems is not None:
            seen: set[str] = set()
            for key, _ in found:
                if key in seen:
                    problems.add("key given twice in one JSON object, the last one holds", key)
                seen.add(key)
        return value

    content = read_text(path)
    try:
        return json.loads(content, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        raise FormatError(f"{path}: broken JSON at line {error.lineno}, column {error.colno}: {error.msg}") from error
    except (RecursionError, ValueError) as error:
        raise FormatError(f"{path}: not a JSON file that can be read: {error}") from error


def number(value: Any, where: str) -> float:
    """A finite float from a JSON number or a string that spells one. Raises FormatError naming ``where``."""
    if type(value) is float and math.isfinite(value):  # nearly all of them
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise FormatError(f"{where}: {_short(value)} is not a number")
    try:
        result = float(value)
    except (ValueError, OverflowError) as error:
        raise FormatError(f"{where}: {_short(value)} is not a number") from error
    if not math.isfinite(result):
        raise FormatError(f"{where}: {_short(value)} is not a finite number")
    return result


def mapping(value: Any, where: str) -> dict[str, Any]:
    """``value`` if it is a JSON object. Raises FormatError naming ``where``."""
    if not isinstance(value, dict):
        raise FormatError(f"{where}: expected an object, found {_short(value)}")
    return value


def listing(value: Any, where: str) -> list[Any]:
    """``value`` if it is a JSON list. Raises FormatError naming ``where``."""
    if not isinstance(value, list):
        raise FormatError(f"{where}: expected a list, found {_short(value)}")
    return value


def segment(value: Any, where: str) -> tuple[float, float]:
    """Start and end from a JSON list of two numbers. Raises FormatError naming ``where``."""
    ends = listing(value, where)
    if len(ends) != 2:
        raise FormatError(f"{where}: a segment has a start and an end, this one has {len(ends)} numbers")
    return number(ends[0], where), number(ends[1], where)


def text(value: Any, where: str) -> str:
    """``value`` if it is a non-empty string that UTF-8 can hold. Raises FormatError naming ``where``."""
    if not isinstance(value, str) or not value.strip():
        raise FormatError(f"{where}: expected a name, found {_short(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise FormatError(f"{where}: {_short(value)} holds half of a surrogate pair, which is no text") from None
    return value


def subset_of(value: Any, where: str) -> Subset:
    """``train...``, ``val...`` or ``test...`` in any case, as kloc names it. Raises FormatError for others."""
    name = text(value, where).strip().lower()
    for prefix, subset in _SUBSETS.items():
        if name.startswith(prefix):
            return subset
    raise FormatError(f"{where}: unknown subset {_short(value)}; use training, validation or testing")


def subset_or(value: Any, usual: Subset, where: str, problems: Problems) -> Subset:
    """As `subset_of`; a subset that is not known is counted and taken as ``usual``."""
    try:
        return subset_of(value, where)
    except FormatError as error:
        problems.add(f"subset that is not known, taken as {usual}", str(error))
        return usual


def subset_named(path: Path) -> Subset | None:
    """The subset that a word of the file's name says (``anet_anno_val.json``), ``None`` where none does."""
    for word in re.split(r"[^a-z]+", path.stem.lower()):
        if word in ("train", "training", "val", "validation", "test", "testing"):
            return subset_of(word, str(path))
    return None


def clean_instances(
    found: Iterable[Instance], start: float, end: float | None, video_id: str, problems: Problems
) -> tuple[Instance, ...]:
    """Instances inside ``[start, end)``, each once, sorted; what was clipped or dropped is counted.

    ``end`` is ``None`` where the video's duration is not known: nothing is clipped at the end then.
    """
    kept: list[Instance] = []
    seen: set[tuple[float, float, str]] = set()
    for one in found:
        if one.end <= one.start:
            kind = "zero-length" if one.end == one.start else "reversed"
            problems.add(f"{kind} segment, dropped", video_id)
            continue
        low = max(one.start, start)
        high = one.end if end is None else min(one.end, end)
        if high <= low:
            problems.add("segment wholly outside its video, dropped", video_id)
            continue
        if low > one.start + _ROUNDING:
            problems.add("start before the video's first frame, clipped", video_id)
        if high < one.end - _ROUNDING:
            problems.add("end beyond the video's duration, clipped", video_id)
        if (low, high, one.label) in seen:
            problems.add("segment given twice, counted once", video_id)
            continue
        seen.add((low, high, one.label))
        kept.append(one if (low, high) == (one.start, one.end) else Instance(low, high, one.label, one.confidence))
    return tuple(sorted(kept, key=lambda one: (one.start, one.end, one.label, one.confidence)))


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
