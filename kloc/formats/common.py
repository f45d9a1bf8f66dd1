"""What all readers share: errors that say where, numbers that may be strings, problems that are counted."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from kloc.errors import FormatError, UsageError
from kloc.records import Annotation, Dataset, Instance, Item, Subset

_SUBSETS: dict[str, Subset] = {"train": "training", "val": "validation", "test": "testing"}


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


def rebased(dataset: Dataset, origin: Origin) -> Dataset:
    """The dataset as it is written: as it is, or with every video's first frame at 0 (to the microsecond)."""
    if origin == "stream":
        return dataset
    if origin != "first-frame":
        raise UsageError(f"unknown time origin {origin!r}; use stream or first-frame")

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

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}

    def add(self, sentence: str, example: str) -> None:
        """Count one case of ``sentence``; ``example`` names it (a video id, a line)."""
        self._found.setdefault(sentence, []).append(example)

    def sentences(self) -> list[str]:
        """One sentence for each kind of problem, in the order of their first appearance."""
        return [f"{len(names):,} x {sentence} ({_some(names)})" for sentence, names in self._found.items()]


def _some(names: list[str], limit: int = 3) -> str:
    distinct = list(dict.fromkeys(names))
    return ", ".join(distinct[:limit]) + (", ..." if len(distinct) > limit else "")


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
    """Parse a JSON file. NaN and Infinity are refused, repeated keys counted (the last one holds).

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

    def constant(name: str) -> Any:
        raise FormatError(f"{path}: holds the number {name}, which is no time; remove or correct it")

    text = read_text(path)
    try:
        return json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except json.JSONDecodeError as error:
        raise FormatError(f"{path}: broken JSON at line {error.lineno}, column {error.colno}: {error.msg}") from error
    except (RecursionError, ValueError) as error:
        raise FormatError(f"{path}: not a JSON file that can be read: {error}") from error


def number(value: Any, where: str) -> float:
    """A finite float from a JSON number or a string that spells one. Raises FormatError naming ``where``."""
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


def text(value: Any, where: str) -> str:
    """``value`` if it is a non-empty string. Raises FormatError naming ``where``."""
    if not isinstance(value, str) or not value.strip():
        raise FormatError(f"{where}: expected a name, found {_short(value)}")
    return value


def subset_of(value: Any, where: str) -> Subset:
    """``train...``, ``val...`` or ``test...`` in any case, as kloc names it. Raises FormatError for others."""
    name = text(value, where).strip().lower()
    for prefix, subset in _SUBSETS.items():
        if name.startswith(prefix):
            return subset
    raise FormatError(f"{where}: unknown subset {_short(value)}; use training, validation or testing")


def clean_instances(
    found: Iterable[Instance], start: float, end: float | None, video_id: str, problems: Problems
) -> tuple[Instance, ...]:
    """Instances inside ``[start, end)``, each once, sorted; what was clipped or dropped is counted.

    ``end`` is ``None`` where the video's duration is not known: nothing is clipped at the end then.
    """
    kept: list[Instance] = []
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
        if low > one.start:
            problems.add("start before the video's first frame, clipped", video_id)
        if high < one.end:
            problems.add("end beyond the video's duration, clipped", video_id)
        clipped = Instance(low, high, one.label, one.confidence)
        if any((k.start, k.end, k.label) == (low, high, one.label) for k in kept):
            problems.add("segment given twice, counted once", video_id)
            continue
        kept.append(clipped)
    return tuple(sorted(kept))


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
