"""What every stage shares: how it is held, and how it finds what is up to date."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from kloc.files import sweep
from kloc.pipeline.telling import Reporter
from kloc.store import artefacts
from kloc.store.tables import ArtefactRow
from kloc.workspace import Workspace

P = ParamSpec("P")
R = TypeVar("R")
Stage = Callable[Concatenate[Workspace, P], R]

#: The meta key that is set once simulated workers have answered.
SIMULATED = "simulated_answers"

#: The folders that one stage alone writes to.
_OWNED = {
    "extract": "features",
    "propose": "proposals",
    "train": "models",
    "predict": "predictions",
    "lal bootstrap": "models",
    "prior": "predictions",
    "publish-hits": "crowd",
    "export": "dataset",
}


def stage(name: str) -> Callable[[Stage[P, R]], Stage[P, R]]:
    """Decorator: hold the stage while the function runs, and first sweep up what a killed run of it left behind."""

    def hold(function: Stage[P, R]) -> Stage[P, R]:
        @functools.wraps(function)
        def held(workspace: Workspace, /, *args: P.args, **kwargs: P.kwargs) -> R:
            with workspace.stage(name):
                if name in _OWNED:
                    sweep(workspace.root / _OWNED[name])
                return function(workspace, *args, **kwargs)

        return held

    return hold


def track(reporter: Reporter, what: str, things: Iterable[Any], total: int) -> Iterator[Any]:
    """Iterate with a progress bar."""
    reporter.start(what, total)
    try:
        for thing in things:
            yield thing
            reporter.advance()
    finally:
        reporter.finish()


def manifest(workspace: Workspace, stage: str) -> dict[str, ArtefactRow]:
    """A stage's artefacts whose files are still there, by key."""
    with workspace.store.transaction() as session:
        rows = artefacts.of_stage(session, stage)
    return {key: row for key, row in rows.items() if row.path is None or (workspace.root / row.path).exists()}


def file_size(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
