"""stats, and the dataset as it stands in the store."""

from __future__ import annotations

from pathlib import Path

from kloc.errors import UsageError
from kloc.files import write_json
from kloc.formats import activitynet
from kloc.pipeline import quality
from kloc.pipeline.common import SIMULATED, stage
from kloc.pipeline.telling import Summary
from kloc.records import Dataset
from kloc.report.statistics import Statistics, compute
from kloc.store import meta, revisions, videos
from kloc.workspace import Workspace


def current_dataset(workspace: Workspace) -> Dataset:
    """Videos and newest annotations as they stand in the store."""
    with workspace.store.transaction() as session:
        usable = videos.usable(session)
        known = revisions.current(session)
        classes = tuple(videos.classes(session))
    there = {v: a for v, a in known.items() if v in usable}
    return Dataset(classes, usable, there, workspace.settings.general.name)


@stage("stats")
def stats(workspace: Workspace) -> tuple[Statistics, Summary]:
    """Statistics of the workspace; also written to ``reports/statistics.json``."""
    dataset = current_dataset(workspace)
    if not dataset.videos:
        raise UsageError("there are no videos yet; add some with `kloc add`")
    statistics = compute(dataset)
    path = workspace.reports / "statistics.json"
    figures = quality.figures(workspace)
    data = statistics.to_json() | simulated_origin(workspace) | ({} if figures is None else {"crowd": figures})
    write_json(path, data)
    return statistics, Summary(
        "stats",
        quality.lines(figures) | {"written": str(path)},
        hint="kloc split" if dataset.annotations else "kloc select",
        data=data,
    )


def simulated_origin(workspace: Workspace) -> dict[str, str]:
    """Where answers come from, for what is published, unless they come from people."""
    with workspace.store.transaction() as session:
        return {} if meta.get(session, SIMULATED) is None else {"origin": "simulated workers"}


def file_stats(path: Path) -> tuple[Statistics, Summary]:
    """Statistics of an ActivityNet-style file."""
    dataset, problems = activitynet.read(path)
    statistics = compute(dataset)
    return statistics, Summary("stats", {}, problems, data=statistics.to_json())
