"""What every stage shares: the pool it works on, and how it finds what is stale."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from kloc.files import sweep
from kloc.pipeline.telling import Reporter
from kloc.records import Video
from kloc.store import artefacts, videos
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


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums in one order, whatever the machine: training and prediction give the same bits everywhere."""
    import torch  # slow to import: only the stages that compute pay for it
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class Pool:
    """The videos that stages work on, and what is known of each by one stage."""

    videos: dict[str, Video]
    classes: tuple[str, ...]


def load_pool(workspace: Workspace) -> Pool:
    """Usable videos and classes."""
    with workspace.store.transaction() as session:
        return Pool(videos.usable(session), tuple(videos.classes(session)))


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
