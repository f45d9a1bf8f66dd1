"""THUMOS'14 text files: a folder with one ``CLASS_SUBSET.txt`` for each class and subset, rows ``video start end``.

``Ambiguous_SUBSET.txt`` holds stretches of which nobody could say, ``detclasslist.txt`` the classes in their order
(``number name``, without Ambiguous). In the names of files ``_`` stands for what is no letter or digit; the class
list has the whole name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from kloc.errors import FormatError
from kloc.files import write_text
from kloc.formats.common import Extra, Problems, Reading, number, read_text, rebased, subset_of, text
from kloc.formats.drafts import Draft, assemble
from kloc.formats.losses import Aspect, forget, sentences
from kloc.formats.tables import SHORT, on_lines, seconds
from kloc.records import SUBSETS, Dataset, Instance

LOST: frozenset[Aspect] = frozenset(
    ["start", "end", "url", "labels", "confidence", "exhaustive", "stretch", "empty", "unannotated", "origin"]
)
_CLASSES = "detclasslist.txt"
_FILE = re.compile(r"(.+)_(train|training|val|validation|test|testing)", re.IGNORECASE)
_AMBIGUOUS = "ambiguous"


def read(path: Path, *, name: str | None = None) -> Reading:
    """Read a folder (or the folder ``annotation`` in it, or one file of one class).

    Raises FormatError where there is no ``CLASS_SUBSET.txt``, and for broken UTF-8; bad rows are counted.
    """
    folder = path if path.is_dir() else path.parent
    if not any(_FILE.fullmatch(p.stem) for p in folder.glob("*.txt")) and (folder / "annotation").is_dir():
        folder = folder / "annotation"
    files = [p for p in sorted(folder.glob("*.txt")) if _FILE.fullmatch(p.stem) and (path.is_dir() or p == path)]
    if not files and not (folder / _CLASSES).exists():
        raise FormatError(f"{path}: holds no CLASS_val.txt or CLASS_test.txt; is this a THUMOS folder?")
    problems = Problems()
    classes = _class_list(folder, problems)
    labels = {file_name: label for label, file_name in _file_names(classes).items()}
    drafts: dict[str, Draft] = {}
    listed = list(classes)
    for file in files:
        found = _FILE.fullmatch(file.stem)
        stem, subset = (found[1], subset_of(found[2], str(file))) if found else ("", "training")
        label = labels.get(stem, stem)
        if label.lower() == _AMBIGUOUS and label not in listed:
            listed.append(label)
        for i, line in enumerate(read_text(file).split("\n"), start=1):
            if not line.strip():
                continue
            where = f"{file.name}: line {i}"
            with problems.counting("row that cannot be read, left out"):
                cells = line.rsplit(None, 2)
                if len(cells) < 3:
                    raise FormatError(f"{where}: {len(cells)} cells; a row is 'video start end'")
                one = Instance(number(cells[1], where), number(cells[2], where), label)
                draft = drafts.setdefault(text(cells[0].strip(), where), Draft(subset))
                if draft.subset != subset:
                    problems.add(f"video in several subsets, the first one holds ({draft.subset})", cells[0])
                draft.found.append(one)
    done = assemble(drafts, listed if classes else (), name or path.stem, problems)
    return Reading(done.dataset, done.problems)


def _class_list(folder: Path, problems: Problems) -> list[str]:
    """The names of the class list, in its order; none where there is no list."""
    source = next((p for p in (folder / _CLASSES, folder.parent / _CLASSES) if p.exists()), None)
    classes: list[str] = []
    for i, line in enumerate(read_text(source).split("\n") if source else (), start=1):
        if line.strip():
            _, _, label = line.strip().partition(" ")
            with problems.counting("class that cannot be read, left out"):
                classes.append(text(label.strip(), f"{_CLASSES}: line {i}"))
    return classes


def _file_names(classes: Iterable[str]) -> dict[str, str]:
    """For each class what stands for it in the names of files; no two alike where upper and lower case are one."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for label in classes:
        name = re.sub(r"[^A-Za-z0-9_-]+", "_", label)
        if not name.strip("_") or len(name) > 80 or name.lower() in taken:
            name = f"{name[:60]}-{hashlib.sha256(label.encode()).hexdigest()[:10]}"
        taken.add(name.lower())
        names[label] = name
    return names


def write(path: Path, dataset: Dataset, extra: Extra) -> list[str]:
    """Write the folder; rows are sorted by video and time."""
    dataset, said = on_lines(rebased(dataset, extra.origin))
    said = [*said, *sentences(dataset, LOST, extra)]
    held = forget(dataset, LOST)
    names = _file_names(held.classes)
    scored = [label for label in held.classes if names[label].lower() != _AMBIGUOUS]
    if held.classes[: len(scored)] != tuple(scored):
        said.append("not held: the place of the class Ambiguous among the others (it comes last)")
    lines = [f"{i} {label}\n" for i, label in enumerate(scored, start=1)]
    write_text(path / _CLASSES, "".join(lines))
    rows: dict[tuple[str, str], list[str]] = {}
    for video_id, annotation in sorted(held.annotations.items()):
        subset = held.videos[video_id].subset
        for one in annotation.instances:
            row = f"{video_id} {seconds(one.start, 1)} {seconds(one.end, 1)}\n"
            rows.setdefault((one.label, subset), []).append(row)
    used = {subset for _, subset in rows}
    for subset in SUBSETS:
        for label in held.classes:
            if subset in used and (names[label].lower() != _AMBIGUOUS or (label, subset) in rows):
                file = path / f"{names[label]}_{SHORT[subset]}.txt"
                write_text(file, "".join(rows.get((label, subset), ())))
    return said
