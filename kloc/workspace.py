"""A dataset project on disk: ``kloc.toml``, the campaign store, and the folders that stages fill."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from kloc import config
from kloc.config import Settings
from kloc.errors import KlocError, UsageError
from kloc.files import write_text
from kloc.store import meta
from kloc.store.database import Store, sqlite_url

SETTINGS_FILE = "kloc.toml"


@dataclass(frozen=True)
class Workspace:
    """One workspace. Open it with :meth:`create` or :meth:`open`."""

    root: Path
    settings: Settings

    # -- opening ------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, root: Path, **changes: Any) -> tuple[Workspace, bool]:
        """Make a workspace in ``root``, or open the one that is there (``changes`` must then agree with it).

        Returns the workspace and whether it is new. ``changes`` are settings such as ``{"general.name": ...}``.
        """
        path = root / SETTINGS_FILE
        fresh = not path.exists()
        try:
            root.mkdir(parents=True, exist_ok=True)
            if fresh:
                changes = {"general.name": root.resolve().name or "my-dataset", **changes}
                write_text(
                    path, config.template(**changes), private="general.store" in changes
                )  # it may hold a password
        except OSError as error:
            raise KlocError(f"{root}: cannot make a workspace here: {error.strerror}; choose another folder") from None
        workspace = cls.open(root)
        if not fresh:
            for name, value in changes.items():
                section, key = name.split(".")
                if getattr(getattr(workspace.settings, section), key) != value:
                    raise UsageError(f"{path} already exists with another {name}; edit that file instead")
        return workspace, fresh

    @classmethod
    def open(cls, root: Path | None = None) -> Workspace:
        """Open the workspace ``root``, or the one around the current folder. Migrates its store if needed."""
        folder = root if root is not None else _enclosing(Path.cwd())
        if not (folder / SETTINGS_FILE).exists():
            raise UsageError(
                f"{folder} is no kloc workspace (it has no {SETTINGS_FILE}); make one with `kloc init {folder}`"
            )
        workspace = cls(folder.resolve(), config.load_settings(folder / SETTINGS_FILE))
        store = workspace.store
        store.migrate()
        with store.transaction() as session:
            meta.get_or_set(session, "workspace_id", secrets.token_hex(8))
            meta.get_or_set(session, "worker_salt", secrets.token_hex(16))
        return workspace

    # -- places -------------------------------------------------------------------------------------------

    @cached_property
    def store(self) -> Store:
        """The campaign store: SQLite in the workspace, or where ``general.store`` points."""
        return Store(self.settings.general.store or sqlite_url(self.root / "store.sqlite"))

    @property
    def features(self) -> Path:
        return self.root / "features"

    @property
    def proposals(self) -> Path:
        return self.root / "proposals"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def predictions(self) -> Path:
        return self.root / "predictions"

    @property
    def crowd(self) -> Path:
        """The crowd endpoint's own database, its media and the key pair that talks to it."""
        return self.root / "crowd"

    @property
    def media(self) -> Path:
        return self.crowd / "media"

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def dataset(self) -> Path:
        """Exports: what is published."""
        return self.root / "dataset"

    @property
    def workers(self) -> int:
        """Worker processes to use."""
        return self.settings.general.workers or os.cpu_count() or 1

    def relative(self, path: Path) -> str:
        """``path`` as the store keeps it: relative to the workspace, so that the workspace can move."""
        return path.relative_to(self.root).as_posix()  # unresolved: features/ may be a link to a larger disk

    def close(self) -> None:
        """Let go of the store (needed before the folder is moved or deleted)."""
        self.store.close()

    # -- one at a time ------------------------------------------------------------------------------------

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Hold stage ``name``: a second run of the same stage is refused, different stages run side by side.

        The lock goes with the process, also after ``kill -9``.
        """
        folder = self.root / ".kloc"
        file = name.replace(" ", "-")
        note = folder / f"{file}.pid"
        try:
            folder.mkdir(exist_ok=True)
            lock = FileLock(folder / f"{file}.lock")
            lock.acquire(timeout=0)
        except Timeout:
            holder = note.read_text().strip() if note.exists() else "unknown"
            raise KlocError(
                f"`kloc {name}` is already running in {self.root} (pid {holder}); wait for it or stop that process"
            ) from None
        except OSError as error:
            raise KlocError(f"{self.root}: cannot write to the workspace: {error.strerror}; make it writable") from None
        try:
            note.write_text(f"{os.getpid()}\n")
            yield
        finally:
            note.unlink(missing_ok=True)
            lock.release()


def _enclosing(start: Path) -> Path:
    for folder in (start, *start.parents):
        if (folder / SETTINGS_FILE).exists():
            return folder
    raise UsageError(
        f"{start} lies in no kloc workspace; make one with `kloc init DIR`, or name one with --workspace DIR"
    )
