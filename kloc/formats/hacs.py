"""HACS: ``HACS_segments.json`` (ActivityNet's schema), and its lists of two-second clips as CSV.

The list has ``classname,youtube_id,subset,start,end,label``, where label 1 says that the class occurs in the clip and
-1 that it does not.
"""

from __future__ import annotations

from pathlib import Path

from kloc.formats import activitynet
from kloc.formats.common import Extra, Problems, Reading, number, subset_or
from kloc.formats.drafts import Draft, assemble
from kloc.formats.losses import Aspect
from kloc.formats.tables import rows
from kloc.records import Dataset, Instance

LOST: frozenset[Aspect] = activitynet.LOST


def read(path: Path, *, name: str | None = None) -> Reading:
    """Read segments, or a list of clips (``.csv``): a clip says what occurs in it and nothing of the rest.

    Raises FormatError as `activitynet.read`; for a list where a column is missing.
    """
    if path.suffix.lower() != ".csv":
        return activitynet.read(path, name=name)
    problems = Problems()
    drafts: dict[str, Draft] = {}
    for row in rows(path, ("classname", "youtube_id", "start", "end", "label"), problems):
        with problems.counting("clip that cannot be read, left out"):
            subset = subset_or(row.get("subset") or "training", "training", f"{row.where}, subset", problems)
            start, end = number(row["start"], f"{row.where}, start"), number(row["end"], f"{row.where}, end")
            draft = drafts.setdefault(row["youtube_id"], Draft(subset, annotated=False, exhaustive=frozenset()))
            if number(row["label"], f"{row.where}, label") <= 0:
                problems.add("clip in which its class does not occur, passed over", row["youtube_id"])
                continue
            draft.annotated = True
            draft.found.append(Instance(start, end, row["classname"]))
    found = assemble(drafts, (), name or path.stem, problems)
    return Reading(found.dataset, found.problems)


def write(path: Path, dataset: Dataset, extra: Extra) -> list[str]:
    """Write segments; nothing is lost."""
    return activitynet.write(path, dataset, extra)
