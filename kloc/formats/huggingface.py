"""Hugging Face ``datasets``: a folder with ``data/train.parquet``, ``data/validation.parquet``, ``data/test.parquet``.

One row for each video, its instances as a list (`COLUMNS`). The schema carries the features as ``datasets`` stores
them, so that ``load_dataset`` gives the same ones for every split, ``label_id`` as a ``ClassLabel`` of all classes.
A split without videos has no file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kloc.errors import FormatError, UsageError
from kloc.files import atomic_folder
from kloc.formats.common import Extra, Reading, rebased
from kloc.formats.interchange import (
    KEY,
    Collector,
    all_classes,
    as_object,
    dataset_facts,
    instances_of,
    parse_facts,
    video_facts,
)
from kloc.formats.losses import Aspect
from kloc.records import SUBSETS, Dataset, Subset

LOST: frozenset[Aspect] = frozenset()

FOLDER = "data"
#: Splits as `datasets` calls them.
SPLITS: dict[Subset, str] = {"training": "train", "validation": "validation", "testing": "test"}


@dataclass(frozen=True, slots=True)
class Column:
    """dtype: as `datasets` calls it; ``class`` is a ClassLabel. many: a list of it. fields: of a struct."""

    dtype: str
    what: str
    many: bool = False
    fields: Mapping[str, Column] = field(default_factory=dict)


COLUMNS: dict[str, Column] = {
    "video": Column("string", "id of the video"),
    "path": Column("string", "where the video's file lies, if anybody said"),
    "url": Column("string", "where the video comes from, if known"),
    "start": Column("float64", "time of the first frame, seconds"),
    "end": Column("float64", "time of the last frame and its duration, seconds"),
    "labels": Column("string", "classes of the whole video", many=True),
    "annotated": Column("bool", "whether the instances are known (none, if the list is empty)"),
    "exhaustive_for": Column("string", "classes that were searched for; null: all of them", many=True),
    "searched": Column("float64", "start and end of the part that was searched; null: the whole video", many=True),
    "instances": Column(
        "struct",
        "where the classes occur",
        many=True,
        fields={
            "label": Column("string", "class"),
            "label_id": Column("class", "class, as its place among all classes"),
            "start": Column("float64", "seconds, on the clock of the video"),
            "end": Column("float64", "seconds, exclusive"),
            "confidence": Column("float64", "probability that it is real, 1 where people have said so"),
        },
    ),
}
_ARROW = {"string": pa.string(), "float64": pa.float64(), "bool": pa.bool_(), "class": pa.int64()}
_NEEDED = ("video", "instances")


def features(classes: Sequence[str], columns: Mapping[str, Column] = COLUMNS) -> dict[str, Any]:
    """The features as `datasets` writes them down (a list of one stands for a list, which all its versions read)."""
    found: dict[str, Any] = {}
    for name, column in columns.items():
        one: dict[str, Any] = {"dtype": column.dtype, "_type": "Value"}
        if column.dtype == "class":
            one = {"names": list(classes), "_type": "ClassLabel"}
        elif column.fields:
            one = features(classes, column.fields)
        found[name] = [one] if column.many else one
    return found


def _arrow(columns: Mapping[str, Column]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, column in columns.items():
        one = pa.struct(_arrow(column.fields)) if column.fields else _ARROW[column.dtype]
        found.append((name, pa.list_(one) if column.many else one))
    return found


def write(path: Path, dataset: Dataset, extra: Extra) -> list[str]:
    """Write ``data/`` in the folder. Raises UsageError where ``data/`` holds what no export has written."""
    dataset = rebased(dataset, extra.origin)
    folder = path / FOLDER
    there = [p.name for p in folder.iterdir()] if folder.is_dir() else []
    other = sorted(name for name in there if not name.startswith(".") and not name.endswith(".parquet"))
    if other:
        raise UsageError(f"{folder}: holds {other[0]!r}, which is no parquet file; name another folder")
    classes = all_classes(dataset)
    about = {
        "huggingface": json.dumps({"info": {"features": features(classes)}}),
        KEY: json.dumps(dataset_facts(dataset, extra)),
    }
    schema = pa.schema(_arrow(COLUMNS), metadata=about)
    index = {label: n for n, label in enumerate(classes)}
    with atomic_folder(folder) as fresh:
        for subset in SUBSETS:
            ids = sorted(v for v, video in dataset.videos.items() if video.subset == subset)
            if ids:
                rows = [_row(dataset, video_id, extra, index) for video_id in ids]
                table = pa.Table.from_pylist(rows, schema)
                pq.write_table(table, fresh / f"{SPLITS[subset]}.parquet", compression="zstd")
    return []


def _row(dataset: Dataset, video_id: str, extra: Extra, index: Mapping[str, int]) -> dict[str, Any]:
    facts = video_facts(dataset, video_id)
    media = extra.media.get(video_id)
    found = [
        {
            "label": i.label,
            "label_id": index[i.label],
            "start": round(i.start, 6),
            "end": round(i.end, 6),
            "confidence": round(i.confidence, 6),
        }
        for i in instances_of(dataset, video_id)
    ]
    own = {"video": video_id, "path": media.path if media else None, "labels": facts.get("labels", [])}
    return {**facts, **own, "annotated": facts.get("annotated", True), "instances": found}


def read(path: Path, *, name: str | None = None) -> Reading:
    """Read the folder, its ``data/``, or one parquet file with these columns (others are passed over).

    The subset is the name of the file. Raises FormatError for a file that is no parquet or lacks video or instances.
    """
    collector = Collector(path, name)
    for file in _files(path):
        try:
            table = pq.read_table(file)
            rows = table.to_pylist()
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            raise FormatError(f"{file}: cannot be read as parquet: {str(error).splitlines()[0][:200]}") from error
        missing = [column for column in _NEEDED if column not in table.column_names]
        if missing:
            raise FormatError(f"{file}: no column {' or '.join(missing)}; expected {', '.join(COLUMNS)}")
        collector.facts(
            parse_facts(((table.schema.metadata or {}).get(KEY.encode()) or b"").decode("utf-8", "replace"))
        )
        split = file.stem.split("-")[0]
        for n, row in enumerate(rows):
            _take(row, f"{file.name}, row {n}", split, collector)
    return collector.reading()


def _files(path: Path) -> list[Path]:
    """The parquet files; also the parts into which the hub divides large splits (``train-00000-of-00002``)."""
    if not path.is_dir():
        return [path]
    folder = path / FOLDER if (path / FOLDER).is_dir() else path
    found = sorted(folder.glob("*.parquet"))
    if not found:
        raise FormatError(f"{path}: holds no parquet file")
    return found


def _take(row: dict[str, Any], where: str, split: str, collector: Collector) -> None:
    video_id = row.get("video")
    if not isinstance(video_id, str) or not video_id:
        collector.problems.add("row that names no video, left out", where)
        return
    instances = row.get("instances")
    found = []
    if not isinstance(instances, list | None):
        collector.problems.add("row whose instances are no list, left out", where)
        return
    for one in instances or []:
        fields = as_object(one)
        found += collector.instance(
            video_id, fields.get("start"), fields.get("end"), fields.get("label"), fields.get("confidence")
        )
    facts = {"subset": split, **{k: row.get(k) for k in row if k != "instances" and row[k] is not None}, "id": video_id}
    collector.video(facts, video_id, found, annotated=instances is not None)
