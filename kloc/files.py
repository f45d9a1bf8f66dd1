"""Files that are written whole or not at all, names that are safe, hashes that are stable."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


@contextmanager
def atomic_write(path: Path, mode: str = "wb", *, private: bool = False) -> Iterator[IO[Any]]:
    """Open a temporary file beside ``path`` that takes its name only once it is whole and on the disk.

    A process killed at any moment leaves either the old file or the new one, never half of one. ``private``: only
    its owner may read it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The pid tells `sweep` whose it is: what a living process is writing is no leftover.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.{os.getpid()}.", suffix=".part")
    try:
        with os.fdopen(descriptor, mode, encoding=None if "b" in mode else "utf-8") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        if not private:
            os.chmod(name, 0o644)  # noqa: PTH101 - mkstemp gives 0600
        os.replace(name, path)  # noqa: PTH105
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Fill a temporary folder that takes the name ``path`` only once it is whole; a folder already there gives way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        dir=path.parent, prefix=f".{path.name[:40]}.{os.getpid()}.", suffix=".part"
    ) as scratch:
        fresh, old = Path(scratch) / "new", Path(scratch) / "old"
        fresh.mkdir()
        yield fresh
        for file in fresh.rglob("*"):
            if file.is_file():
                with file.open("rb") as stream:
                    os.fsync(stream.fileno())
        if path.exists():
            path.rename(old)
        fresh.rename(path)
    sync_folder(path.parent)


def sweep(folder: Path) -> int:
    """Delete what killed processes left half-written below ``folder``; what living ones are writing stays."""
    leftovers = [path for path in sorted(folder.rglob(".*.part")) if not _is_alive(path)]
    for path in leftovers:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(leftovers)


def _is_alive(path: Path) -> bool:
    found = re.search(r"\.(\d+)\.[^.]+\.part$", path.name)
    if found is None or int(found[1]) == os.getpid():
        return False
    try:
        os.kill(int(found[1]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` survive a power cut (where the system can)."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        return  # some network file systems cannot sync folders
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str, *, private: bool = False) -> None:
    """Write UTF-8 text whole or not at all; ``private``: only its owner may read it."""
    with atomic_write(path, "wb", private=private) as stream:
        stream.write(text.encode("utf-8"))


def write_json(path: Path, value: Any, *, indent: int | None = 1) -> None:
    """Write JSON whole or not at all, keys in the order given, NaN refused."""
    write_text(path, json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False) + "\n")


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fingerprint(value: Any) -> str:
    """A short stable hash of a JSON-able value: equal values, equal fingerprints, on every machine."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def safe_name(identifier: str) -> str:
    """A file name for an id that may hold anything (spaces, slashes, unicode, ``..``).

    Plain ids stay readable as they are; others become a slug plus a hash of the whole id, so that two
    different ids never meet in one file, on case-insensitive file systems neither.
    """
    if _SAFE.fullmatch(identifier) and identifier == identifier.lower():
        return identifier
    slug = re.sub(r"[^A-Za-z0-9_-]+", "_", identifier).strip("_.")[:60] or "id"
    return f"{slug}-{hashlib.sha256(identifier.encode('utf-8', 'surrogatepass')).hexdigest()[:10]}"
