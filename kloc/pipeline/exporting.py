"""export: the dataset as other people's tools read it, in versions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kloc.errors import UsageError
from kloc.formats.common import Extra, Media, Origin, origin_of
from kloc.formats.guessing import load
from kloc.formats.registry import FORMATS, Format, named
from kloc.pipeline import carding, versions
from kloc.pipeline.common import stage
from kloc.pipeline.publication import simulated_origin
from kloc.pipeline.quality import hashed
from kloc.pipeline.telling import Summary
from kloc.pipeline.versions import Version
from kloc.records import Dataset
from kloc.report.card import Card
from kloc.store import crowd, meta, videos
from kloc.workspace import Workspace

#: What is written where nobody says otherwise.
DEFAULT = ("activitynet", "csv")
#: What times count from where the origin is the first frame, for the card.
_REBASED = "counted from each video's first frame"
#: Characters of a hashed worker id: so many that no two workers of any campaign meet in one.
_ID_DIGITS = 16


@stage("export")
def export(
    workspace: Workspace,
    *,
    out: Path | None = None,
    origin: str | None = None,
    formats: Sequence[str] = (),
    answers: bool = False,
) -> Summary:
    """Write the annotated videos into ``dataset/`` or ``out``, in ``formats`` and those that are there already.

    Equal content gives equal bytes and the same version; other content gives the next one. ``answers``: also what each
    worker said, with hashed ids. ``origin``: where time 0 lies; by default where it lies in the files that are there.
    Raises UsageError while nothing is annotated, or for an unknown format or origin.
    """
    dataset = carding.published(workspace)
    folder = out or workspace.dataset
    known = versions.read(folder)
    clock = _clock(origin, known)
    starts = {v: one.start for v, one in dataset.videos.items()} if clock == "first-frame" else {}
    lines = _answers(workspace, starts) if answers or (known is not None and known.answers) else None
    extra = Extra(clock, media=_media(workspace), header=simulated_origin(workspace))
    return _export(dataset, folder, extra, formats, lines, lambda: carding.of_workspace(workspace), own=out is None)


def export_file(
    source: Path, *, out: Path | None, origin: str | None = None, formats: Sequence[str] = (), source_format: str = ""
) -> Summary:
    """Write what a file or folder of any format holds into ``out``, in ``formats``. No workspace is needed."""
    if out is None:
        raise UsageError(f"--source {source}: say where to with --out FOLDER")
    dataset, problems = load(source, source_format)
    if not dataset.videos:
        raise UsageError(f"{source}: holds no video that could be exported")
    extra = Extra(_clock(origin, versions.read(out)), header={"origin": dataset.origin} if dataset.origin else {})
    done = _export(dataset, out, extra, formats, None, lambda: carding.of_dataset(dataset, problems), own=False)
    return replace(done, problems=done.problems + [f"{source.name}: {line}" for line in problems])


def _export(
    dataset: Dataset,
    folder: Path,
    extra: Extra,
    formats: Sequence[str],
    answers: Sequence[str] | None,
    card: Callable[[], Card],
    *,
    own: bool,
) -> Summary:
    known = versions.read(folder)
    there = () if known is None else known.formats
    names = {*there, *(formats or (() if there else DEFAULT))}
    ours = [name for name in FORMATS if name in names]
    chosen = [named(name) for name in (*ours, *sorted(names - set(ours)))]

    def write(into: Path, format: Format, told: Extra) -> list[str]:
        losses = format.module.write(into / format.file, dataset, told)
        if format.name == "huggingface":
            facts = replace(card(), version=told.version)
            carding.write(into, facts if told.origin == "stream" else replace(facts, clock=_REBASED))
        return losses

    version, said = versions.publish(
        folder, dataset, lambda n: replace(extra, version=str(n)), chosen, answers, own=own, write=write
    )
    facts: dict[str, Any] = {"folder": str(folder), "version": _told(version, known)}
    if extra.header:
        facts |= extra.header
    facts |= {"videos": len(dataset.videos), "instances": sum(len(a.instances) for a in dataset.annotations.values())}
    for format in chosen:
        facts[format.name] = f"{format.title}, {'in the folder itself' if format.file == '.' else format.file}"
    if answers is not None:
        facts["answers"] = f"answers.jsonl ({len(answers):,} answers, worker ids hashed)"
    problems = [f"{name}: {line}" for name, lines in said.items() for line in lines]
    # Files hold six decimals.
    short = sum(round(i.end, 6) <= round(i.start, 6) for a in dataset.annotations.values() for i in a.instances)
    if short:
        which = "1 instance is" if short == 1 else f"{short:,} instances are"
        problems.insert(0, f"{which} shorter than a microsecond, which no file can hold: read back, it is gone")
    data = {"version number": version.version, "changes": version.changes, "formats": list(version.formats)}
    return Summary("export", facts, problems, hint="kloc report" if own else "", data=data)


def _told(version: Version, known: Version | None) -> str:
    if known is None:
        return f"{version.version}"
    if known.version == version.version:
        return f"{version.version} (nothing changed)"
    changes = ", ".join(f"{kind} {count:,}" for kind, count in version.changes.items())
    return f"{version.version} (since {known.version}: {changes})"


def _clock(origin: str | None, known: Version | None) -> Origin:
    if origin is None:
        return "stream" if known is None else known.time_origin
    return origin_of(origin)


def _media(workspace: Workspace) -> dict[str, Media]:
    """What probing found, by video id; a file's name only where no other video's file has the same."""
    with workspace.store.transaction() as session:
        rows = [row for row in videos.rows(session, "ok") if row.probe]
        names = Counter(Path(row.path).name for row in rows if row.path)
        media: dict[str, Media] = {}
        for row in rows:
            probe = row.probe or {}
            name = Path(row.path).name if row.path else None
            media[row.id] = Media(
                name if name is not None and names[name] == 1 else None,
                probe.get("fps"),
                probe.get("n_frames"),
                probe.get("width"),
                probe.get("height"),
            )
    return media


def _answers(workspace: Workspace, starts: Mapping[str, float]) -> list[str]:
    """Every answer that could be parsed as one line of JSON: times in video seconds less ``starts``, workers as hashes.

    The hash is salted with the workspace's own secret: whoever knows all worker ids cannot tell whose it is. Comments,
    assignment ids and clocks stay in the workspace.
    """
    with workspace.store.transaction() as session:
        salt = meta.get(session, "worker_salt") or ""
        found = crowd.answers(session, rejected=True)
    said = simulated_origin(workspace)
    lines = []
    for one in found:
        by = starts.get(one.item.video_id, 0.0)
        segments = [
            {**marked, "start": round(marked["start"] - by, 6), "end": round(marked["end"] - by, 6)}
            for marked in one.answer.get("segments") or ()
        ]
        row = {
            "video": one.item.video_id,
            "stretch": [round(t - by, 6) for t in (one.item.start, one.item.end)],
            "classes": list(one.classes),
            "worker": hashed(salt, one.worker_id, _ID_DIGITS),
            "round": one.round,
            "purpose": one.purpose,
            "status": one.status.lower(),
            "guideline": one.guideline,
            "segments": segments,
            **{key: one.answer.get(key) for key in ("none", "seconds_spent")},
            **said,
        }
        lines.append(json.dumps(row, ensure_ascii=False, allow_nan=False))
    return sorted(lines)
