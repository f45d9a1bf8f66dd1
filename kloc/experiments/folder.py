"""The folder of an experiment: one run at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from kloc.errors import KlocError

LOCK_FILE = ".simulate.lock"


@contextmanager
def held(out: Path) -> Iterator[None]:
    """Hold an experiment's folder: two runs in it would tear each other's journals.

    The lock goes with the process, also after ``kill -9``.

    Raises KlocError where another run holds it, or the folder cannot be written to.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / LOCK_FILE)
        lock.acquire(timeout=0)
    except Timeout:
        raise KlocError(
            f"{out}: another kloc simulate is running in this folder; wait for it, or take another --out"
        ) from None
    except OSError as error:
        raise KlocError(f"{out}: cannot write there: {error.strerror}; take another --out") from None
    try:
        yield
    finally:
        lock.release()
