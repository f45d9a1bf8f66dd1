"""diff: what changed between two versions of a dataset, wherever they lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kloc.errors import UsageError
from kloc.formats.difference import Difference, compare
from kloc.formats.drafts import DECIMALS
from kloc.formats.guessing import load
from kloc.pipeline import carding, versions
from kloc.pipeline.telling import Summary
from kloc.records import Dataset, Instance
from kloc.workspace import SETTINGS_FILE, Workspace

#: So many examples of each kind are named in a terminal; ``--json`` names all.
_SHOWN = 3


def diff(before: Path, after: Path | None, workspace: Path | None, format: str = "") -> tuple[Difference, Summary]:
    """Compare two datasets: files or folders of any format, exports, workspaces; ``after`` may be the workspace.

    Raises UsageError and FormatError for what cannot be read.
    """
    old, problems = _open(before, format)
    if after is not None:
        new, more = _open(after, format)
        named = (str(before), str(after))
    else:
        opened = Workspace.open(workspace)
        new, more = carding.published(opened), []
        named = (str(before), f"the workspace {opened.root}")
    found = compare(old, new)
    facts = {"before": named[0], "after": named[1]} | ({"difference": "none"} if found.same else {}) | facts_of(found)
    said = [f"before: {line}" for line in problems] + [f"after: {line}" for line in more]
    return found, Summary("diff", facts, said, data={"difference": found.to_json()})


def _open(path: Path, format: str) -> tuple[Dataset, list[str]]:
    if (path / SETTINGS_FILE).is_file():
        return carding.published(Workspace.open(path)), []
    if not format and (path / versions.FILE).is_file():
        return versions.dataset_of(path), []
    if path.is_dir() and not any(path.iterdir()):
        raise UsageError(f"{path}: an empty folder")
    return load(path, format)


def facts_of(found: Difference) -> dict[str, Any]:
    """One line for each kind of difference, with a few examples."""
    old, new = found.totals
    facts: dict[str, Any] = {what: _from_to(old[what], new[what]) for what in old}
    for kind, ids in found.videos.items():
        facts[f"videos {kind}"] = _some(len(ids), ids)
    subsets = [f"{video}: {a} -> {b}" for video, a, b in found.subsets[:_SHOWN]]
    lists = {
        "in another subset": (len(found.subsets), subsets),
        "classes added": (len(found.classes_added), found.classes_added),
        "classes removed": (len(found.classes_removed), found.classes_removed),
        "classes renamed": (len(found.classes_renamed), [f"{a} -> {b}" for a, b in found.classes_renamed]),
        "instances added": (len(found.added), [_one(v, i) for v, i in found.added[:_SHOWN]]),
        "instances removed": (len(found.removed), [_one(v, i) for v, i in found.removed[:_SHOWN]]),
        "instances relabelled": (
            len(found.relabelled),
            [f"{_one(v, i)} -> {label}" for v, i, label in found.relabelled[:_SHOWN]],
        ),
    }
    facts |= {what: _some(count, examples) for what, (count, examples) in lists.items() if count}
    if found.classes_reordered:
        facts["order of the classes"] = "another"
    if found.moved:
        shifts = [one.shift for one in found.moved]
        mean = sum(shifts) / len(shifts)
        most = max(found.moved, key=lambda one: one.shift)
        digits = _decimals(most.shift, 2)
        facts["instances moved"] = (
            f"{len(found.moved):,}, their boundaries by {mean:.{_decimals(mean, 3)}f} s on average; most: "
            f"{_one(most.video_id, most.before, digits)} -> {_span(most.after, digits)}"
        )
    if found.confidences:
        facts["confidences changed"] = found.confidences
    if found.origins[0] != found.origins[1]:
        facts["where annotations come from"] = f"{found.origins[0] or 'not said'} -> {found.origins[1] or 'not said'}"
    elif found.origins[0]:
        facts["where annotations come from"] = found.origins[0]
    facts["instances as they were"] = found.kept
    return facts


def _from_to(old: int, new: int) -> str:
    return f"{old:,}" if old == new else f"{old:,} -> {new:,} ({new - old:+,})"


def _some(count: int, examples: Any) -> str:
    shown = ", ".join(examples[:_SHOWN])
    return f"{count:,} ({shown}{', ...' if count > _SHOWN else ''})"


def _one(video_id: str, one: Instance, digits: int = 2) -> str:
    return f"{video_id} {one.label} {_span(one, digits)}"


def _span(one: Instance, digits: int) -> str:
    return f"{one.start:.{digits}f}-{one.end:.{digits}f}"


def _decimals(seconds: float, usual: int) -> int:
    """So many decimals that ``seconds`` are seen, at most the microseconds that files hold."""
    return next((n for n in range(usual, DECIMALS) if seconds * 10**n >= 1), DECIMALS)
