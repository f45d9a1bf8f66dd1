"""What the review page is told, as plain JSON: lines of its list, lanes of its timeline; and what it says back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from kloc.crowd.answers import is_report
from kloc.crowd.consolidate import Consolidated, ConsolidatedItem
from kloc.crowd.policy import GoldRecord
from kloc.errors import UsageError
from kloc.files import fingerprint
from kloc.records import Instance, Item
from kloc.store.reviewing import AnswerLine
from kloc.store.tables import AnnotationRow, HitRow

#: Pairs of answers that agree less than this (F1 at tIoU 0.5, mean over the pairs of an item) are a doubt.
LOW_AGREEMENT = 0.5
#: More segments than this is no annotation a person made.
_MAX_SEGMENTS = 1000


@dataclass(frozen=True)
class Consensus:
    """What all answers so far come to, how well the answers to each item agree (``None``: nothing to compare), and
    how every worker did on gold."""

    of: Consolidated
    agreement: Mapping[Item, float | None]
    gold: Mapping[str, GoldRecord]


@dataclass
class Entry:
    """One line of the list: an item with its HITs, what counts for it now, and what workers handed in."""

    item: Item
    hits: list[HitRow] = field(default_factory=list)
    rows: list[AnnotationRow] = field(default_factory=list)
    lines: list[AnswerLine] = field(default_factory=list)
    reports: int = 0


def key_of(item: Item) -> str:
    """How the page names an item."""
    return fingerprint([item.video_id, item.start, item.end])


def overlapping(rows: Iterable[AnnotationRow], item: Item) -> list[AnnotationRow]:
    """Those of ``rows`` that say something about ``item``."""
    return [row for row in rows if row.start < item.end and row.end > item.start]


def source_of(rows: Sequence[AnnotationRow]) -> str | None:
    """Where the newest of them comes from: import, crowd or review; ``None`` without any."""
    return max(rows, key=lambda row: row.revision).source if rows else None


def entry_line(entry: Entry, consensus: Consensus) -> dict[str, Any]:
    """One line of the list; ``doubts`` in words."""
    found, agreed = consensus.of.items.get(entry.item), consensus.agreement.get(entry.item)
    reported = entry.reports  # a report inside an answer is among them
    unreadable = sum(line.problem is not None and not is_report(line.problem) for line in entry.lines)
    signs = sum(bool(line.answer and line.answer.get("signs")) for line in entry.lines)
    doubts = [
        *([f"{reported} reported"] if reported else []),
        *([f"{unreadable} unreadable"] if unreadable else []),
        *(["provisional"] if found is not None and found.provisional else []),
        *(["low agreement"] if agreed is not None and agreed < LOW_AGREEMENT else []),
        *([f"{signs} with signs"] if signs else []),
    ]
    return {
        "key": key_of(entry.item),
        "video_id": entry.item.video_id,
        "start": entry.item.start,
        "end": entry.item.end,
        "rounds": sorted({hit.round for hit in entry.hits if hit.round is not None}),
        "answers": len(entry.lines),
        "agreement": agreed,
        "source": source_of(entry.rows),
        "revision": max((row.revision for row in entry.rows), default=0),
        "doubts": doubts,
    }


def by_doubt(line: Mapping[str, Any]) -> tuple[bool, int, float, str, float]:
    """The order of the list: the most doubts first, of equally many the least agreement; what is reviewed last."""
    agreed = 1.0 if line["agreement"] is None else line["agreement"]
    return line["source"] == "review", -len(line["doubts"]), agreed, line["video_id"], line["start"]


def consensus_lane(found: ConsolidatedItem) -> dict[str, Any]:
    """What the crowd's answers come to, with confidence and spread, and what was turned down."""
    return {
        "provisional": found.provisional,
        "instances": [asdict(instance) for instance in found.instances],
        "rejected": [asdict(instance) for instance in found.rejected],
    }


def prefill_lane(hits: Iterable[HitRow]) -> list[dict[str, Any]]:
    """What workers were shown as proposals, in video seconds."""
    return [
        {**segment, "start": segment["start"] + hit.media_start, "end": segment["end"] + hit.media_start}
        for hit in hits
        for segment in hit.prefill or ()
    ]


def answer_lane(line: AnswerLine, purpose: str, worker: str, consensus: Consensus) -> dict[str, Any]:
    """One worker's answer, readable or not. The raw text is asked for when somebody wants to see it."""
    answer = line.answer or {}
    quality, gold = consensus.of.workers.get(line.worker_id), consensus.gold.get(line.worker_id)
    return {
        "id": line.assignment_id,
        "worker": worker,
        "quality": None if quality is None else asdict(quality),
        "gold": None if gold is None else asdict(gold),
        "purpose": purpose,
        "status": line.status,
        "verdict": line.verdict,
        "submitted_at": line.submitted_at,
        "problem": line.problem,
        "report": is_report(line.problem),
        "segments": answer.get("segments", []),
        "none": answer.get("none", False),
        "signs": answer.get("signs", []),
        "seconds_spent": answer.get("seconds_spent"),
        "watched": answer.get("watched", []),
        "prefilled": answer.get("prefilled", False),
        "discarded": answer.get("discarded"),
    }


def plain(instances: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Stored instances in the order of time."""
    found = [
        {"label": i["label"], "start": i["start"], "end": i["end"], "confidence": i.get("confidence", 1.0)}
        for i in instances
    ]
    return sorted(found, key=lambda i: (i["start"], i["end"], i["label"]))


def read_instances(segments: Any, item: Item, classes: Sequence[str]) -> tuple[Instance, ...]:
    """The page's segments as instances. Raises :class:`UsageError` for anything else."""
    if not isinstance(segments, list) or len(segments) > _MAX_SEGMENTS:
        raise UsageError(f"'segments' is no list of at most {_MAX_SEGMENTS} segments")
    found = set()
    for index, entry in enumerate(segments, 1):
        times: list[Any] = [entry.get(key) for key in ("start", "end")] if isinstance(entry, dict) else []
        if not times or not all(type(t) in (int, float) and abs(t) < 1e9 for t in times):
            raise UsageError(f"segment {index} has no start and end in seconds")
        start, end = (min(max(float(t), item.start), item.end) for t in times)
        if not start < end:
            raise UsageError(f"segment {index} [{times[0]:g}, {times[1]:g}) has no length within the video")
        if entry.get("label") not in classes:
            raise UsageError(f"segment {index} has a class that the dataset does not know")
        found.add(Instance(start, end, entry["label"]))
    return tuple(sorted(found))
