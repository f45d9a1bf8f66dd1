"""Charades: one CSV for each subset with ``id, ..., actions, length``, and a list of classes.

``actions`` is ``c092 11.90 21.20;c147 0.00 12.60`` (class, start, end in seconds), ``length`` the duration;
``Charades_v1_classes.txt`` has ``c092 Name`` on each line. What Charades tells beside that (subject, script, ...) is
left empty.
"""

from __future__ import annotations

from pathlib import Path

from kloc.errors import FormatError
from kloc.files import write_text
from kloc.formats.common import Extra, Problems, Reading, number, read_text, rebased, subset_named, text
from kloc.formats.drafts import Draft, assemble
from kloc.formats.losses import Aspect, forget, sentences
from kloc.formats.tables import Row, on_lines, rows, seconds, table
from kloc.records import Dataset, Instance, Subset

LOST: frozenset[Aspect] = frozenset(
    ["start", "url", "labels", "confidence", "exhaustive", "stretch", "unannotated", "origin"]
)
_BEFORE = ("id", "subject", "scene", "quality", "relevance", "verified", "script", "objects", "descriptions")
_COLUMNS = (*_BEFORE, "actions", "length")
_FILES: dict[Subset, str] = {
    "training": "Charades_v1_train.csv",
    "validation": "Charades_v1_validation.csv",
    "testing": "Charades_v1_test.csv",
}
_CLASSES = "Charades_v1_classes.txt"


def read(path: Path, *, name: str | None = None) -> Reading:
    """Read a folder or one CSV, with the list of classes beside it; without one the codes are the classes.

    The file's name says the subset. Raises FormatError: no table, a missing column, broken CSV or UTF-8.
    """
    folder = path if path.is_dir() else path.parent
    files = sorted(path.glob("*.csv")) if path.is_dir() else [path]
    if not files:
        raise FormatError(f"{path}: holds no Charades_v1_train.csv or other CSV")
    problems = Problems()
    codes = _class_list(folder, problems)
    drafts: dict[str, Draft] = {}
    for file in files:
        subset = subset_named(file)
        if subset is None:
            problems.add("table whose name says no subset, taken as training", file.name)
            subset = "training"
        for row in rows(file, ("id", "actions"), problems):
            with problems.counting("video that cannot be read, left out"):
                video_id = row["id"]
                if video_id in drafts:
                    problems.add("video given twice, the first one holds", video_id)
                else:
                    drafts[video_id] = _draft(row, subset, codes, problems)
    found = assemble(drafts, codes.values(), name or path.stem, problems)
    return Reading(found.dataset, found.problems)


def _draft(row: Row, subset: Subset, codes: dict[str, str], problems: Problems) -> Draft:
    draft = Draft(subset)
    if row.get("length"):
        with problems.counting("length that cannot be read, taken as unknown"):
            draft.duration = number(row.get("length"), f"{row.where}, length")
    for action in row.get("actions").split(";"):
        if not action.strip():
            continue
        with problems.counting("action that cannot be read, left out"):
            cells = action.split()
            if len(cells) != 3:
                raise FormatError(f"{row.where}: {action[:40]!r} is no 'class start end'")
            start, end = number(cells[1], row.where), number(cells[2], row.where)
            draft.found.append(Instance(start, end, codes.get(cells[0], text(cells[0], row.where))))
    return draft


def _class_list(folder: Path, problems: Problems) -> dict[str, str]:
    """Names of classes by their codes, in the list's order; empty where there is no list."""
    source = next((p for p in sorted(folder.glob("*classes*.txt"))), None)
    codes: dict[str, str] = {}
    for i, line in enumerate(read_text(source).split("\n") if source else (), start=1):
        code, _, label = line.strip().partition(" ")
        if code:
            with problems.counting("class that cannot be read, left out"):
                codes[code] = text(label.strip(), f"{source.name if source else ''}: line {i}")
    return codes


def write(path: Path, dataset: Dataset, extra: Extra) -> list[str]:
    """Write the folder: a table for each subset that has videos, and the list of classes."""
    dataset, said = on_lines(rebased(dataset, extra.origin))
    said = [*said, *sentences(dataset, LOST, extra)]
    held = forget(dataset, LOST)
    codes = {label: f"c{i:03d}" for i, label in enumerate(held.classes)}
    write_text(path / _CLASSES, "".join(f"{code} {label}\n" for label, code in codes.items()))
    for subset, file in _FILES.items():
        body = []
        for video_id, annotation in sorted(held.annotations.items()):
            video = held.videos[video_id]
            if video.subset == subset:
                found = annotation.instances
                actions = ";".join(f"{codes[i.label]} {seconds(i.start, 2)} {seconds(i.end, 2)}" for i in found)
                length = seconds(video.end, 2) if held.is_timed(video_id) else ""
                body.append([video_id, *[""] * (len(_BEFORE) - 1), actions, length])
        if body:
            write_text(path / file, table(_COLUMNS, body))
    return said
