"""Finding the videos a user names: files, folders, globs."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kloc.errors import UsageError

#: What counts as a video inside a folder. A file named outright is tried whatever it is called.
VIDEO_SUFFIXES = frozenset(
    [
        ".mp4",
        ".m4v",
        ".mov",
        ".mkv",
        ".webm",
        ".avi",
        ".mpg",
        ".mpeg",
        ".ts",
        ".mts",
        ".m2ts",
        ".flv",
        ".wmv",
        ".3gp",
        ".ogv",
        ".mxf",
        ".y4m",
        ".ivf",
    ]
)


@dataclass
class Found:
    """Video files by the id they get, annotation files, and what was left out with its reason."""

    videos: dict[str, Path] = field(default_factory=dict)
    tables: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    #: Files in folders that are no videos.
    ignored: int = 0


def find(sources: Sequence[str], *, ids: str = "stem", follow_symlinks: bool = False) -> Found:
    """Sort what the user named into videos and annotation files (.csv, .json, .txt are annotations).

    ``ids``: "stem" names a video after its file without suffix, "path" after its path below the folder named.
    A symbolic link that leads out of its folder is left out unless ``follow_symlinks``.

    Raises :class:`UsageError` for a source that does not exist.
    """
    found = Found()
    for source in sources:
        path = Path(source).expanduser()
        if path.is_dir():
            for file in _walk(path, found, follow_symlinks):
                _take(found, file, path, ids)
        elif path.exists() or path.is_symlink():
            _take(found, path, path.parent, ids, named=True)
        else:
            matches = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 - the pattern may be absolute
            if not matches:
                raise UsageError(f"{source}: no such file, folder or pattern")
            for match in matches:
                below = find([match], ids=ids, follow_symlinks=follow_symlinks)
                for video_id, file in below.videos.items():
                    _keep(found, video_id, file)
                found.tables += below.tables
                found.problems += below.problems
                found.ignored += below.ignored
    return found


def _walk(folder: Path, found: Found, follow_symlinks: bool) -> list[Path]:
    inside = folder.resolve()
    files = []
    for root, folders, names in os.walk(folder, followlinks=follow_symlinks):
        folders.sort()
        for name in sorted(names):
            path = Path(root) / name
            if path.suffix.lower() not in VIDEO_SUFFIXES:
                found.ignored += 1
            elif path.is_symlink() and not follow_symlinks and not path.resolve().is_relative_to(inside):
                found.problems.append(
                    f"{path}: a symbolic link that leads out of {folder}; left out (--follow-symlinks takes such files)"
                )
            else:
                files.append(path)
    return files


def _take(found: Found, path: Path, base: Path, ids: str, *, named: bool = False) -> None:
    if named and path.suffix.lower() in (".csv", ".json", ".txt"):
        found.tables.append(path)
        return
    video_id = path.stem if ids == "stem" else path.relative_to(base).with_suffix("").as_posix()
    _keep(found, video_id, path)


def _keep(found: Found, video_id: str, path: Path) -> None:
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:  # neither JSON nor a database could hold such a name
        shown = str(path).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        found.problems.append(f"{shown}: its name is no valid UTF-8; left out (rename it)")
        return
    known = found.videos.setdefault(video_id, path.absolute())
    if known != path.absolute():
        found.problems.append(
            f"{path}: {known} already has the id {video_id!r}; left out (rename it, or use --ids path)"
        )
