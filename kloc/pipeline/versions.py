"""The versions of an export: a number that rises only when the content changes, and files that change all at once.

``VERSION.json`` in the export's folder says which version the files are of, the hash of its content, the formats, and
of every version so far how large it was and what had changed, in figures. No clock and no name of a video stands in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kloc.errors import FormatError, KlocError, UsageError
from kloc.files import sweep, sync_folder, write_json
from kloc.formats.common import Extra, Origin, origin_of, read_json
from kloc.formats.difference import compare, totals
from kloc.formats.registry import FORMATS, Format, named
from kloc.records import Dataset

FILE = "VERSION.json"


@dataclass(frozen=True, slots=True)
class Version:
    """What ``VERSION.json`` says; ``history``: number, content, totals and changes of each version, the newest last.

    time_origin: where time 0 lies in the files; the next export keeps it unless told otherwise.
    """

    version: int
    content: str
    formats: tuple[str, ...]
    answers: bool
    history: tuple[dict[str, Any], ...]
    time_origin: Origin = "stream"
    #: Where the annotations come from, where that must be said: formats may have no place for it.
    origin: str = ""

    @property
    def changes(self) -> dict[str, Any]:
        """What changed with the newest version, in figures."""
        found: dict[str, Any] = self.history[-1].get("changes", {})
        return found


def read(folder: Path) -> Version | None:
    """The version of an export, ``None`` where the folder holds none. Raises FormatError for a broken file."""
    path = folder / FILE
    if not path.exists():
        return None
    content = read_json(path)
    try:
        known = Version(
            int(content["version"]),
            str(content["content"]),
            tuple(map(str, content["formats"])),
            bool(content["answers"]),
            tuple(dict(entry) for entry in content["history"]),
            origin_of(str(content.get("time_origin", "stream"))),
            origin=str(content.get("origin", "")),
        )
        if not known.history:
            raise ValueError
    except (KeyError, TypeError, ValueError, UsageError):
        raise FormatError(f"{path}: no version of an export; restore it, or export to another folder") from None
    return known


def dataset_of(folder: Path) -> Dataset:
    """The dataset of an export, from its format that loses least."""
    known = read(folder)
    formats = [named(name) for name in known.formats] if known is not None else []
    if not formats:
        raise UsageError(f"{folder}: holds no format of annotations; export with --format")
    best = min(formats, key=lambda one: len(one.module.LOST))
    return best.module.read(folder / best.file).dataset


def content_hash(dataset: Dataset, extra: Extra, answers: Sequence[str] | None) -> str:
    """A hash of all that an export holds beside its version; equal content, equal hash."""
    digest = hashlib.sha256()

    def add(*values: Any) -> None:
        digest.update(json.dumps(values, ensure_ascii=True, allow_nan=False, sort_keys=True).encode())

    add(dataset.name, dataset.classes, extra.origin, dict(extra.header))
    for video_id in sorted(dataset.videos):
        video, annotation = dataset.videos[video_id], dataset.annotations.get(video_id)
        media = extra.media.get(video_id)
        add(video_id, video.start, video.end, video.labels, video.subset, video.url, dataset.is_timed(video_id))
        add(None if media is None else asdict(media))
        if annotation is not None:
            asked = annotation.exhaustive_for
            add(annotation.item.start, annotation.item.end, None if asked is None else sorted(asked))
            add([(i.start, i.end, i.label, i.confidence) for i in sorted(annotation.instances)])
    add(answers)
    return digest.hexdigest()


def publish(
    folder: Path,
    dataset: Dataset,
    extra: Callable[[int], Extra],
    formats: Sequence[Format],
    answers: Sequence[str] | None,
    own: bool,
    write: Callable[[Path, Format, Extra], list[str]],
) -> tuple[Version, dict[str, list[str]]]:
    """Write an export whole or not at all; its version, and what each format could not hold.

    extra: what writers are told, by the number of the version. answers: lines of ``answers.jsonl``. own: whether the
    folder is kloc's alone; elsewhere nothing is replaced that no export wrote. write: one format into a folder.

    Raises UsageError for a folder that holds something else, KlocError where it cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file; name a folder")
    old = read(folder)
    content = content_hash(dataset, extra(0), answers)
    number = 1 if old is None else old.version + (old.content != content)
    said: dict[str, list[str]] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        with tempfile.TemporaryDirectory(dir=folder, prefix=f".export.{os.getpid()}.", suffix=".part") as scratch:
            fresh = Path(scratch) / "new"
            fresh.mkdir()
            for format in formats:
                said[format.name] = write(fresh, format, extra(number))
            if answers is not None:
                (fresh / "answers.jsonl").write_text("".join(f"{line}\n" for line in answers), encoding="utf-8")
            version = _next(old, number, content, dataset, formats, answers is not None, extra(0).origin, folder, fresh)
            version = replace(version, origin=extra(number).header.get("origin", ""))
            keep(fresh, version)
            _swap(fresh, folder, Path(scratch) / "old", allowed=own or old is not None)
    except OSError as error:
        words = error.strerror or str(error)
        raise KlocError(f"{folder}: cannot be written ({words}); the export that was there is as it was") from None
    return version, said


def keep(folder: Path, version: Version) -> None:
    """Write ``VERSION.json`` into the folder."""
    write_json(folder / FILE, {key: value for key, value in asdict(version).items() if key != "origin" or value})


def _next(
    old: Version | None,
    number: int,
    content: str,
    dataset: Dataset,
    formats: Sequence[Format],
    answers: bool,
    origin: Origin,
    folder: Path,
    fresh: Path,
) -> Version:
    history = () if old is None else old.history
    if old is None or old.version != number:
        entry: dict[str, Any] = {"version": number, "content": content, **totals(dataset)}
        if old is not None:
            moved = {} if old.time_origin == origin else {f"time 0 ({old.time_origin} -> {origin})": 1}
            entry["changes"] = moved or _changes(old, folder, fresh)
        history = (*history, entry)
    return Version(number, content, tuple(one.name for one in formats), answers, history, origin)


def _changes(old: Version, folder: Path, fresh: Path) -> dict[str, Any]:
    """What differs between the old files and the new ones, in figures, read from the same format of both."""
    both = [FORMATS[name] for name in old.formats if name in FORMATS]
    for format in sorted(both, key=lambda one: len(one.module.LOST)):
        try:
            before, after = (format.module.read(where / format.file, name="").dataset for where in (folder, fresh))
        except KlocError:
            continue  # somebody took the old files away
        return compare(before, after).counts() or {"something beside the annotations": 1}
    return {"unknown, the earlier files cannot be read": 1}


def _swap(fresh: Path, folder: Path, old: Path, *, allowed: bool) -> None:
    """Put every entry of ``fresh`` into ``folder``; if one cannot be, all that were replaced come back."""
    names = sorted((p.name for p in fresh.iterdir()), key=lambda name: (name == FILE, name))
    there = [name for name in names if (folder / name).exists()]
    if there and not allowed:
        raise UsageError(f"{folder}: already holds {there[0]}, which no export wrote; name another folder with --out")
    old.mkdir()
    done: list[str] = []
    try:
        for name in names:
            done.append(name)
            if (folder / name).exists():
                (folder / name).rename(old / name)
            (fresh / name).rename(folder / name)
    except OSError:
        for name in done:
            if (old / name).exists():
                _remove(folder / name)
                (old / name).rename(folder / name)
        raise
    sync_folder(folder)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
