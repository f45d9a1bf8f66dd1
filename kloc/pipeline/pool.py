"""The pool: make a workspace, add videos and labels, take videos down."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from sqlalchemy.orm import Session

from kloc.engine import map_videos
from kloc.errors import FormatError, KlocError, UsageError
from kloc.files import sha256_file
from kloc.formats import activitynet, kinetics, labels_csv, segments_txt
from kloc.formats.guessing import guess, load
from kloc.formats.registry import named
from kloc.pipeline.common import stage
from kloc.pipeline.sources import VIDEO_SUFFIXES, Found, find
from kloc.pipeline.telling import Reporter, Summary
from kloc.records import Annotation, Dataset, Instance, Item, Subset, Video
from kloc.store import revisions, videos
from kloc.store.tables import VideoRow
from kloc.video.probe import Probe, probe
from kloc.workspace import Workspace


def init(root: Path, **changes: Any) -> Summary:
    """Make a workspace (or say that it is there already)."""
    workspace, fresh = Workspace.create(root, **changes)
    facts = {
        "workspace": str(workspace.root),
        "settings": f"kloc.toml ({'new' if fresh else 'already there, unchanged'})",
        "store": workspace.store.shown if workspace.settings.general.store else "store.sqlite",
    }
    workspace.close()
    return Summary("init", facts, hint=f"kloc add -w {root} VIDEOS... (files, folders, labels.csv, annotations.json)")


# -- adding ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ProbeTask:
    """One file to look at."""

    video_id: str
    path: Path


@dataclass(frozen=True)
class ProbeResult:
    sha256: str
    size_bytes: int
    mtime_ns: int
    probe: Probe


class Prober:
    """Worker: probe and hash one file."""

    def process(self, task: ProbeTask) -> ProbeResult:
        found = probe(task.path)  # first: it has the better words for what is no video
        stat = task.path.stat()
        return ProbeResult(sha256_file(task.path), stat.st_size, stat.st_mtime_ns, found)


@stage("add")
def add(
    workspace: Workspace,
    sources: Sequence[str],
    *,
    subset: Subset | None = None,
    ids: str = "stem",
    follow_symlinks: bool = False,
    reporter: Reporter,
) -> Summary:
    """Add videos (files, folders, globs) and annotation files (labels CSV, Kinetics CSV, ActivityNet JSON).

    Probes each video once. What cannot be read is quarantined with its reason; a file that changed since is
    looked at again. Running it twice changes nothing.
    """
    found = find(sources, ids=ids, follow_symlinks=follow_symlinks)
    problems = list(found.problems)
    with workspace.store.transaction() as session:
        known = {row.id for row in videos.rows(session)} | set(found.videos)
    tables = [_read_table(path, known) for path in found.tables]  # before any work: a broken table stops here
    tasks = _new_files(workspace, found, problems)
    counts = {"added": 0, "quarantined": 0}

    def keep(task: ProbeTask, result: ProbeResult) -> None:
        with workspace.store.transaction() as session:
            _store_probe(session, task, result, subset, problems)
        counts["added"] += 1
        if result.probe.warning:
            problems.append(f"{task.video_id}: {result.probe.warning}")
        reporter.advance()

    def refuse(task: ProbeTask, reason: str) -> None:
        with workspace.store.transaction() as session:
            row = _row(session, task.video_id)
            row.path, row.state, row.reason, row.probe = str(task.path), "quarantined", reason, None
            row.size_bytes, row.mtime_ns = _stat(task.path)
        counts["quarantined"] += 1
        problems.append(f"quarantined: {reason}")
        reporter.advance()

    reporter.start("looking at videos", len(tasks))
    map_videos(
        Prober,
        tasks,
        workers=min(workspace.workers, max(1, len(tasks) // 4)),
        time_limit_s=workspace.settings.video.time_limit_s,
        on_result=keep,
        on_error=refuse,
    )
    reporter.finish()
    facts: dict[str, Any] = {"videos looked at": len(tasks), "usable": counts["added"]}
    if counts["quarantined"]:
        facts["quarantined"] = counts["quarantined"]
    facts["unchanged"] = len(found.videos) - len(tasks)
    if found.ignored:
        facts["other files"] = found.ignored
    for path, table in zip(found.tables, tables, strict=True):
        facts[f"from {path.name}"] = _attach(workspace, table, subset, problems)
    facts |= _pool_facts(workspace)
    hint = "kloc extract" if facts["pool"] else "kloc add VIDEOS..."
    return Summary("add", facts, problems, hint)


def _new_files(workspace: Workspace, found: Found, problems: list[str]) -> list[ProbeTask]:
    with workspace.store.transaction() as session:
        known = {row.id: row for row in videos.rows(session)}
    of_path = {row.path: row.id for row in known.values() if row.path}
    missing = {row.id for row in known.values() if row.state == "missing"}
    tasks = []
    for stem, path in found.videos.items():
        # A file that a table named before it came (ActivityNet's "v_ID.mp4" is its ID) takes that name.
        video_id = stem if stem in known else of_path.get(str(path)) or known_id(stem, missing) or stem
        row = known.get(video_id)
        if row is not None and row.path not in (None, str(path)) and Path(row.path or "").exists():
            problems.append(f"{path}: {row.path} already has the id {video_id!r}; left out (rename it, or --ids path)")
        elif row is None or row.state != "ok" or (row.path, row.size_bytes, row.mtime_ns) != (str(path), *_stat(path)):
            tasks.append(ProbeTask(video_id, path))
    return tasks


def _stat(path: Path) -> tuple[int | None, int | None]:
    try:
        stat = path.stat()
    except OSError:  # a dangling link: the probe says so
        return None, None
    return stat.st_size, stat.st_mtime_ns


def _row(session: Session, video_id: str) -> VideoRow:
    row = session.get(VideoRow, video_id)
    if row is None:
        row = VideoRow(id=video_id, subset="training", labels=[], state="ok")
        session.add(row)
    return row


def _store_probe(
    session: Session, task: ProbeTask, result: ProbeResult, subset: Subset | None, problems: list[str]
) -> None:
    row = _row(session, task.video_id)
    row.path, row.sha256 = str(task.path), result.sha256
    row.size_bytes, row.mtime_ns = result.size_bytes, result.mtime_ns
    row.probe = result.probe.to_json()
    row.start, row.end = result.probe.start, result.probe.end
    row.state, row.reason = "ok", None
    if subset is not None:
        row.subset = subset
    _fit_annotations(session, row, problems)


def _fit_annotations(session: Session, row: VideoRow, problems: list[str]) -> None:
    """Cut what was imported before the file came, as it would have been cut after; tell of other people's work."""
    for known in revisions.current_rows(session, row.id):
        if (known.start, known.end) == (row.start, row.end):
            continue
        if known.source == "import":
            _import_annotation(session, row, revisions.to_annotation(known), problems)
        elif row.end is not None and known.end - row.end > 0.5:
            problems.append(
                f"{row.id}: its annotation reaches to {known.end:g} s, the video to {row.end:g} s; is it another file?"
            )


@stage("add")
def import_annotations(
    workspace: Workspace, source: Path, *, format_name: str = "", subset: Subset | None = None
) -> Summary:
    """Take annotations of any format: of the named one, or of the one that the file looks like.

    A Kinetics list gives labels of videos: its clips are ten seconds around something, not where it begins and ends.
    Running it twice changes nothing. Raises FormatError and UsageError for what cannot be read.
    """
    found = named(format_name) if format_name else None
    if found is None and not segments_txt.fits(source):
        found = guess(source)
    if found is not None and found.name == "kinetics":
        table = _kinetics_table(source)
    else:
        dataset, said = load(source, format_name)
        title = "list of segments" if found is None else found.title
        table = Table(source, title, dataset, said, {v.id: v.subset for v in dataset.videos.values()})
    if not table.dataset.videos:
        raise UsageError(f"{source}: names no video ({'; '.join(table.problems) or table.kind})")
    problems: list[str] = []
    facts: dict[str, Any] = {"from": source.name, "read": _attach(workspace, table, subset, problems)}
    facts |= _pool_facts(workspace)
    if table.dataset.origin:
        facts["origin"] = table.dataset.origin
    return Summary("import annotations", facts, problems, "kloc extract" if facts["pool"] else "kloc add VIDEOS...")


# -- annotation files -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Table:
    """What an annotation file says, by the file's own ids; ``subsets`` holds the videos it puts into one."""

    path: Path
    kind: str
    dataset: Dataset
    problems: list[str]
    subsets: Mapping[str, Subset]


def _read_table(path: Path, known: set[str]) -> Table:
    if path.suffix.lower() == ".json":
        dataset, problems = activitynet.read(path)
        return Table(path, "ActivityNet JSON", dataset, problems, {v.id: v.subset for v in dataset.videos.values()})
    if "youtube_id" in path.open(encoding="utf-8", errors="replace").readline():
        return _kinetics_table(path)
    read = _read_labels(path, known)
    return _label_table(path, "labels CSV", read.labels, read.subsets, read.problems)


def _kinetics_table(path: Path) -> Table:
    clips, problems = kinetics.read_clips(path)
    return _label_table(
        path, "Kinetics CSV", kinetics.labels_of(clips), {c.video_id: c.subset for c in clips}, problems
    )


def _label_table(
    path: Path, kind: str, labels: Mapping[str, tuple[str, ...]], subsets: Mapping[str, Subset], problems: list[str]
) -> Table:
    there = {v: Video(v, 0.0, 0.0, labels=names, subset=subsets.get(v, "training")) for v, names in labels.items()}
    classes = tuple(sorted({name for names in labels.values() for name in names}))
    return Table(path, kind, Dataset(classes, there, {}), problems, subsets)


def _read_labels(path: Path, known: set[str]) -> labels_csv.Labels:
    try:
        return labels_csv.read(path)
    except FormatError:
        # Without a header only the names of known videos tell which column is which.
        return labels_csv.read(path, known)


def _attach(workspace: Workspace, table: Table, subset: Subset | None, problems: list[str]) -> str:
    problems += [f"{table.path.name}: {line}" for line in table.problems]
    labelled = annotated = 0
    missing: list[str] = []
    with workspace.store.transaction() as session:
        videos.add_classes(session, table.dataset.classes)
        states = {row.id: row.state for row in videos.rows(session)}
        there = {video_id for video_id, state in states.items() if state != "missing"}
        for name, video in table.dataset.videos.items():
            video_id = known_id(name, there) or known_id(name, states)
            if video_id is None:
                plain = PurePosixPath(name)
                # Tables often name files: the id is what the file will get when it comes.
                video_id = plain.stem if plain.suffix.lower() in VIDEO_SUFFIXES else name
                missing.append(video_id)
                row = _row(session, video_id)
                row.state, row.reason = "missing", f"named in {table.path.name}, but no file and no features of it"
                row.start, row.end = (video.start, video.end) if video.end > video.start else (None, None)
            row = session.get_one(VideoRow, video_id)
            row.url = row.url or video.url
            if subset is not None or name in table.subsets:
                row.subset = subset or video.subset
            labelled += videos.add_labels(session, video_id, video.labels)
            annotation = table.dataset.annotations.get(name)
            if annotation is not None:
                if annotation.exhaustive_for is None:
                    # Of the file's classes, not of classes that somebody adds to the workspace later.
                    annotation = replace(annotation, exhaustive_for=frozenset(table.dataset.classes))
                annotated += _import_annotation(session, row, annotation, problems)
    if missing:
        some = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        problems.append(
            f"{table.path.name}: {len(missing)} of its videos are known by name only ({some}): "
            "add their files, or import their features"
        )
    return f"{table.kind}: {len(table.dataset.videos):,} videos, {labelled:,} newly labelled, {annotated:,} annotations"


def known_id(name: str, known: Container[str]) -> str | None:
    """The id under which a workspace knows a video that somebody's file calls ``name``.

    ActivityNet names its files ``v_ID``, tables often name videos by file.
    """
    stem = PurePosixPath(name).stem
    return next((c for c in (name, f"v_{name}", name.removeprefix("v_"), stem, f"v_{stem}") if c in known), None)


def _import_annotation(session: Session, row: VideoRow, annotation: Annotation, problems: list[str]) -> bool:
    if row.start is None or row.end is None:
        start, end = annotation.item.start, annotation.item.end
    else:
        start, end = row.start, row.end
    kept = []
    for instance in annotation.instances:
        clipped = Instance(max(instance.start, start), min(instance.end, end), instance.label, instance.confidence)
        if clipped.end - clipped.start <= 1e-3:
            problems.append(
                f"{row.id}: {instance.label!r} {instance.start:g}-{instance.end:g} s lies outside the video"
            )
            continue
        if instance.end - end > 0.5:
            problems.append(
                f"{row.id}: {instance.label!r} ends at {instance.end:g} s, the video at {end:g} s; cut there"
            )
        kept.append(clipped)
    whole = Annotation(Item(row.id, start, end), tuple(kept), annotation.exhaustive_for)
    return revisions.append(session, whole, "import")


def _pool_facts(workspace: Workspace) -> dict[str, Any]:
    with workspace.store.transaction() as session:
        rows = videos.rows(session)
        names = videos.classes(session)
        annotated = revisions.current(session)
    usable = [row for row in rows if row.state == "ok"]
    seconds = sum((row.end or 0.0) - (row.start or 0.0) for row in usable)
    return {
        "pool": len(usable),
        "duration": f"{seconds / 3600:.1f} h" if seconds > 5400 else f"{seconds / 60:.1f} min",
        "classes": len(names),
        "labelled": sum(bool(row.labels) for row in usable),
        "annotated": sum(row.id in annotated for row in usable),
    }


# -- taking down ----------------------------------------------------------------------------------------------


@stage("remove")
def remove(workspace: Workspace, video_ids: Sequence[str], *, reporter: Reporter) -> Summary:
    """Take videos down everywhere: store, features, proposals, predictions, media, open HITs, exports.

    The user's own video files are not touched.
    """
    from kloc.pipeline import removal

    removed: Mapping[str, Any] = removal.remove(workspace, video_ids, reporter)
    return Summary("remove", dict(removed), hint="kloc export (published files still name the video until then)")


def require_video(workspace: Workspace, video_id: str) -> Video:
    """The usable video of that id, or a :class:`KlocError` that says where it went."""
    with workspace.store.transaction() as session:
        row = session.get(VideoRow, video_id)
        if row is None:
            raise KlocError(f"no video {video_id!r} in {workspace.root}; `kloc status` lists what is there")
        if row.state != "ok":
            raise KlocError(f"video {video_id!r} is {row.state}: {row.reason}")
        return videos.to_video(row)
