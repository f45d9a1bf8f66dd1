"""Annotation and prediction files with known faults in known numbers: what the measure ``damaged`` feeds to kloc."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

CLASSES = ("Dive", "Jump", "Long jump", "Käse ✓")
Content = dict[str, Any]
#: Puts the fault into one row (an annotation or a detection) of a video; ``None`` takes the row away.
Damage = Callable[[dict[str, Any], dict[str, Any]], None]


@dataclass(frozen=True)
class Fault:
    """One kind of fault: what it does to a row of a video, words of what is said of it, and whether the row is lost.

    Readers and statistics say it in different words; either will do.
    """

    name: str
    damage: Damage
    said: tuple[str, ...]
    lost: bool = True


def annotations(rng: np.random.Generator, n_videos: int, n_rows: int) -> Content:
    """An ActivityNet file without a fault: ``n_rows`` instances in each video, none overlapping another."""
    database = {}
    for index in range(n_videos):
        edges = np.sort(rng.choice(np.arange(1, 10 * n_rows), 2 * n_rows, replace=False)).reshape(-1, 2)
        rows = [{"label": str(rng.choice(CLASSES)), "segment": [float(a), float(b)]} for a, b in edges]
        subset = ("training", "validation")[index % 2]
        database[f"video {index}"] = {"subset": subset, "duration": 10.0 * n_rows, "key": index, "annotations": rows}
    taxonomy = [{"nodeId": i, "nodeName": name, "parentId": None} for i, name in enumerate(CLASSES)]
    return {"version": "1.0", "taxonomy": taxonomy, "database": database}


def predictions(rng: np.random.Generator, truth: Content) -> Content:
    """One detection, a little off, for each instance of ``truth``."""
    results = {}
    for video_id, entry in truth["database"].items():
        rows = []
        for row in entry["annotations"]:
            start, end = row["segment"]
            segment = [max(0.0, start + float(rng.normal(0, 0.2))), end + float(rng.uniform(0.1, 0.4))]
            rows.append({"label": row["label"], "score": float(rng.uniform(0.1, 1)), "segment": segment})
        results[video_id] = rows
    return {"version": "1.0", "results": results, "external_data": {}}


def _with(key: str, value: Any) -> Damage:
    def damage(row: dict[str, Any], _video: dict[str, Any]) -> None:
        row[key] = copy.deepcopy(value)

    return damage


def _without(key: str) -> Damage:
    def damage(row: dict[str, Any], _video: dict[str, Any]) -> None:
        del row[key]

    return damage


def _renamed(row: dict[str, Any], _video: dict[str, Any]) -> None:
    # Readers count such labels, not their rows: each gets one of its own.
    row["label"] = f"never heard of {row['label']} {row['segment']} {row.get('score', _video.get('key'))}"


def _turned(row: dict[str, Any], _video: dict[str, Any]) -> None:
    row["segment"] = row["segment"][::-1]


def _flat(row: dict[str, Any], _video: dict[str, Any]) -> None:
    row["segment"] = [row["segment"][0]] * 2


def _one_end(row: dict[str, Any], _video: dict[str, Any]) -> None:
    row["segment"] = row["segment"][:1]


def _nan(row: dict[str, Any], _video: dict[str, Any]) -> None:
    row["segment"] = [row["segment"][0], float("nan")]


def _infinite(row: dict[str, Any], _video: dict[str, Any]) -> None:
    row["segment"] = [float("-inf"), row["segment"][1]]


def _words(row: dict[str, Any], _video: dict[str, Any]) -> None:
    row["segment"] = [row["segment"][0], "about a minute"]


def _spelt(row: dict[str, Any], _video: dict[str, Any]) -> None:
    row["segment"] = [str(x) for x in row["segment"]]


def _beyond(row: dict[str, Any], video: dict[str, Any]) -> None:
    row["segment"] = [row["segment"][0], video["duration"] + 5]


def _outside(row: dict[str, Any], video: dict[str, Any]) -> None:
    row["segment"] = [video["duration"] + 5, video["duration"] + 9]


def _before(row: dict[str, Any], _video: dict[str, Any]) -> None:
    row["segment"] = [-3.0, row["segment"][1]]


_UNREAD = ("annotation that cannot be read",)
ANNOTATION_FAULTS = (
    Fault("reversed", _turned, ("reversed segment", "ends before or where it starts")),
    Fault("zero length", _flat, ("zero-length segment", "ends before or where it starts")),
    Fault("one end", _one_end, _UNREAD),
    Fault("NaN", _nan, _UNREAD),
    Fault("infinite", _infinite, _UNREAD),
    Fault("words for numbers", _words, _UNREAD),
    Fault("numbers spelt out", _spelt, (), lost=False),
    Fault("label is a number", _with("label", 7), _UNREAD),
    Fault("label is empty", _with("label", ""), _UNREAD),
    Fault("no label", _without("label"), _UNREAD),
    Fault("segment is an object", _with("segment", {"start": 1}), _UNREAD),
    Fault("huge number", _with("segment", [0, 10**400]), _UNREAD),
    Fault("unknown class", _renamed, ("label that the list of classes lacks",), lost=False),
    Fault("end beyond", _beyond, ("end beyond the video's duration", "reaches beyond its video"), lost=False),
    Fault(("wholly outside", "outside its video"), _outside, ("wholly outside", "outside its video")),
    Fault("start before", _before, ("start before the video's first frame", "reaches beyond its video"), lost=False),
)
_NO_NUMBER = ("no number",)
PREDICTION_FAULTS = (
    Fault("reversed", _turned, ("reversed",)),
    Fault("NaN", _nan, _NO_NUMBER),
    Fault("infinite", _infinite, _NO_NUMBER),
    Fault("words for numbers", _words, _NO_NUMBER),
    Fault("score is NaN", _with("score", float("nan")), _NO_NUMBER),
    Fault("score is a word", _with("score", "high"), _NO_NUMBER),
    Fault("no score", _without("score"), ("detection",)),
    Fault("no segment", _without("segment"), ("detection",)),
    Fault("label is a list", _with("label", ["Dive"]), ("detection",)),
    Fault("numbers spelt out", _spelt, (), lost=False),
    Fault("unknown class", _renamed, ("class",)),
)


def damaged(
    content: Content, faults: tuple[Fault, ...], each: int, rng: np.random.Generator
) -> tuple[Content, dict[str, int]]:
    """The content with ``each`` rows of every fault, no row twice; and how many rows each fault has."""
    content = copy.deepcopy(content)
    if "database" in content:
        videos = list(content["database"].values())
        rows = [(row, video) for video in videos for row in video["annotations"]]
    else:
        rows = [(row, {}) for found in content["results"].values() for row in found]
    order = rng.permutation(len(rows))[: each * len(faults)]
    assert len(order) == each * len(faults), "more faults than rows"
    for number, index in enumerate(order):
        faults[number // each].damage(*rows[int(index)])
    return content, {fault.name: each for fault in faults}


def torn(text: bytes, rng: np.random.Generator) -> list[tuple[str, bytes]]:
    """What transfers, editors and disks do to a whole file, by name."""
    cut = int(rng.integers(1, len(text)))
    place = int(rng.integers(len(text)))
    flipped = bytearray(text)
    flipped[place] ^= 1 << int(rng.integers(8))
    return [
        ("cut off", text[:cut]),
        ("a bit flipped", bytes(flipped)),
        ("a byte that is no UTF-8", text[:place] + b"\xff" + text[place:]),
        ("zeros in the middle", text[:place] + bytes(64) + text[place:]),
        ("twice in one file", text + text),
        ("UTF-16", text.decode().encode("utf-16")),
    ]


#: Whole files that are nothing one could use, by name.
HOPELESS: dict[str, bytes] = {
    "empty": b"",
    "only spaces": b"  \n",
    "a list": b"[]",
    "a number": b"3",
    "null": b"null",
    "an object without anything": b"{}",
    "database is a list": b'{"database": []}',
    "database is a word": b'{"database": "all of it"}',
    "results is a number": b'{"results": 3}',
    "a page of HTML": b"<!doctype html><title>404</title>",
    "a pickle": b"\x80\x04\x95\x00",
    "nested too deep": b'{"database": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a zip": b"PK\x03\x04" + bytes(60),
}


def as_bytes(content: Content) -> bytes:
    """The file as tools write it: JSON with Python's NaN and Infinity, UTF-8."""
    return json.dumps(content, ensure_ascii=False).encode()
