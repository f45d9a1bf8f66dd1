"""Backup and restore: a workspace as one file, independent of the database behind it and of where it lies."""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Table, func, insert, select, text

from kloc.errors import KlocError, UsageError
from kloc.files import atomic_write
from kloc.pipeline.common import stage
from kloc.pipeline.telling import Reporter, Summary
from kloc.store.database import Store
from kloc.store.tables import Base, VideoRow
from kloc.workspace import SETTINGS_FILE, Workspace

#: First member of an archive; its version changes when the layout does.
_HEAD = "kloc-backup.json"
_VERSION = 1
#: Not packed: locks, live database files (dumped or copied properly instead).
_LEFT_OUT = {".kloc"}


@stage("backup")
def backup(workspace: Workspace, archive: Path, *, reporter: Reporter) -> Summary:
    """Pack settings, store, features, models, predictions, crowd and reports; not the user's video files."""
    archive = archive.resolve()  # `../all.tar` is outside
    if archive.is_relative_to(workspace.root.resolve()):
        raise UsageError(f"{archive} lies inside the workspace; name a file outside of it")
    files = [
        path
        for path in sorted(workspace.root.rglob("*"))
        if path.is_file() and not _is_live(path) and path.relative_to(workspace.root).parts[0] not in _LEFT_OUT
    ]
    databases = sorted(p for p in workspace.crowd.glob("*.sqlite") if p.is_file())
    reporter.start("packing", len(files))
    with atomic_write(archive, private=True) as stream, tarfile.open(fileobj=stream, mode="w") as tar:
        _add_bytes(tar, _HEAD, json.dumps({"version": _VERSION, "name": workspace.settings.general.name}).encode())
        rows = _dump(workspace.store, tar)
        for database in databases:
            _add_sqlite(tar, database, workspace.root)
        for path in files:
            tar.add(path, path.relative_to(workspace.root).as_posix(), recursive=False)
            reporter.advance()
    reporter.finish()
    facts = {
        "archive": str(archive),
        "files": len(files),
        "rows": rows,
        "size": f"{archive.stat().st_size / 1e6:.1f} MB",
    }
    return Summary("backup", facts, hint=f"kloc restore {archive.name} DIR (video files are not in it: keep them)")


def restore(archive: Path, folder: Path, *, videos: Path | None = None) -> Summary:
    """Unpack into an empty or new folder. The store becomes SQLite unless ``kloc.toml`` names another.

    ``videos``: where the video files lie now; each is found there by its name.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty; restore into a new folder")
    try:
        with tarfile.open(archive) as tar:
            head = tar.next()
            if head is None or head.name != _HEAD:
                raise KlocError(f"{archive} is no kloc backup")
            stream = tar.extractfile(head)
            assert stream is not None
            if json.loads(stream.read())["version"] != _VERSION:
                raise KlocError(f"{archive} was written by a newer kloc; update kloc to restore it")
            # Whole or not at all: half a workspace would open as an empty one.
            scratch = folder.with_name(f".{folder.name}.restoring")
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(parents=True)
            tar.extractall(scratch, filter="data")
    except tarfile.ReadError:
        raise KlocError(f"{archive} is no kloc backup, or is damaged; give a file that `kloc backup` wrote") from None
    except (tarfile.TarError, OSError, ValueError) as error:
        raise KlocError(f"{archive}: cannot be unpacked: {' '.join(str(error).split())}") from None
    (scratch / _HEAD).unlink()
    workspace = _fill(scratch)
    moved, lost = _relocate(workspace, videos)
    workspace.close()
    if folder.exists():
        folder.rmdir()
    scratch.rename(folder)
    workspace = Workspace.open(folder)
    facts: dict[str, Any] = {"workspace": str(workspace.root), "videos found": moved, "videos not found": lost}
    problems = [f"{lost} video files are not where they were; run again with --videos FOLDER"] if lost else []
    workspace.close()
    return Summary("restore", facts, problems, hint=f"kloc status -w {folder}")


def discard(folder: Path) -> None:
    """Delete a workspace that was restored only half."""
    shutil.rmtree(folder)


def _is_live(path: Path) -> bool:
    return path.name.endswith((".sqlite", ".sqlite-wal", ".sqlite-shm", ".part"))


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _dump(store: Store, tar: tarfile.TarFile) -> int:
    """Every table as JSON lines: the same for SQLite and PostgreSQL, in one transaction."""
    count = 0
    with store.transaction() as session:
        for table in Base.metadata.sorted_tables:
            with tempfile.TemporaryFile() as lines:
                for row in session.execute(select(table)):
                    lines.write(json.dumps(dict(row._mapping), ensure_ascii=False).encode() + b"\n")
                    count += 1
                member = tarfile.TarInfo(f"store/{table.name}.jsonl")
                member.size = lines.tell()
                lines.seek(0)
                tar.addfile(member, lines)
    return count


def _add_sqlite(tar: tarfile.TarFile, database: Path, root: Path) -> None:
    """A consistent copy of a database that may be in use."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / database.name
        source, target = sqlite3.connect(database), sqlite3.connect(copy)
        with source, target:
            source.backup(target)
        source.close()
        target.close()
        copy.chmod(0o600)
        tar.add(copy, database.relative_to(root).as_posix())


def _fill(folder: Path) -> Workspace:
    if not (folder / SETTINGS_FILE).exists():
        raise KlocError(f"{folder}: the archive holds no {SETTINGS_FILE}")
    workspace = Workspace.open(folder)
    with workspace.store.transaction() as session:
        if session.scalar(select(func.count()).select_from(VideoRow)):
            raise KlocError(f"the store {workspace.store.shown} is not empty; change general.store in {SETTINGS_FILE}")
        for table in reversed(Base.metadata.sorted_tables):
            session.execute(table.delete())
        for table in Base.metadata.sorted_tables:
            for rows in _batches(folder / "store" / f"{table.name}.jsonl", table):
                session.execute(insert(table), rows)
        if session.get_bind().dialect.name == "postgresql":  # its counter knows nothing of rows that came with a number
            session.execute(
                text(
                    "SELECT setval(pg_get_serial_sequence('annotations', 'revision'), "
                    "(SELECT COALESCE(MAX(revision), 0) + 1 FROM annotations), false)"
                )
            )
    for path in (folder / "store").glob("*.jsonl"):
        path.unlink()
    (folder / "store").rmdir()
    return workspace


def _batches(path: Path, table: Table) -> Iterator[list[dict[str, Any]]]:
    names = {column.name for column in table.columns}
    batch: list[dict[str, Any]] = []
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            batch.append({k: v for k, v in json.loads(line).items() if k in names})
            if len(batch) == 1000:
                yield batch
                batch = []
    if batch:
        yield batch


def _relocate(workspace: Workspace, videos: Path | None) -> tuple[int, int]:
    names = {p.name: p.absolute() for p in sorted(videos.rglob("*")) if p.is_file()} if videos else {}
    found = lost = 0
    with workspace.store.transaction() as session:
        for row in session.scalars(select(VideoRow).where(VideoRow.path.is_not(None))):
            assert row.path is not None
            here = names.get(Path(row.path).name)
            if here is not None:
                row.path = str(here)
            if Path(row.path).exists():
                found += 1
                row.mtime_ns = Path(row.path).stat().st_mtime_ns
            else:
                lost += 1
    return found, lost
