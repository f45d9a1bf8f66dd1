"""stats, and the dataset as it stands in the store."""

from __future__ import annotations

from pathlib import Path

from kloc.errors import UsageError
from kloc.files import write_json
from kloc.pipeline import quality, spending
from kloc.pipeline.common import SIMULATED, stage
from kloc.pipeline.file_statistics import write_out
from kloc.pipeline.telling import Summary
from kloc.records import SIMULATED_WORKERS, Dataset
from kloc.report.statistics import Statistics, compute
from kloc.store import artefacts, meta, revisions, videos
from kloc.workspace import Workspace


def current_dataset(workspace: Workspace) -> Dataset:
    """Videos and newest annotations as they stand in the store."""
    with workspace.store.transaction() as session:
        usable = videos.usable(session)
        known = revisions.current(session)
        classes = tuple(videos.classes(session))
    there = {v: a for v, a in known.items() if v in usable}
    origin = simulated_origin(workspace).get("origin", "")
    return Dataset(classes, usable, there, workspace.settings.general.name, origin)


@stage("stats")
def stats(
    workspace: Workspace, *, bins: str = "paper", html: Path | None = None, plots: Path | None = None
) -> tuple[Statistics, Summary]:
    """Statistics of the workspace; also written to ``reports/statistics.json`` and ``reports/statistics.html``.

    html: one more file for the page. plots: a folder for PNG and SVG of each panel.
    Raises UsageError while there are no videos, KlocError where something cannot be written.
    """
    dataset = current_dataset(workspace)
    if not dataset.videos:
        raise UsageError("there are no videos yet; add some with `kloc add`")
    with workspace.store.transaction() as session:
        files = {row.id: row.sha256 for row in videos.rows(session, "ok") if row.sha256}
        split = artefacts.get(session, "split", "current")
    # What the split found to belong together: groups of a CSV, near-duplicates.
    found = {} if split is None else {v: g["videos"][0] for g in split.info.get("groups", ()) for v in g["videos"]}
    ties = {"same file": files, "same group of the last split": found}
    figures = quality.figures(workspace)
    campaign = spending.campaign(workspace, figures)
    statistics = compute(dataset, bins, ties=ties, campaign=campaign)
    path = workspace.reports / "statistics.json"
    data = statistics.to_json() | ({} if figures is None else {"crowd": figures})
    write_json(path, data)
    facts = quality.lines(figures) | {"written": str(path)}
    facts |= write_out(statistics, [workspace.reports / "statistics.html", *([html] if html else [])], plots)
    return statistics, Summary("stats", facts, hint="kloc split" if dataset.annotations else "kloc select", data=data)


def simulated_origin(workspace: Workspace) -> dict[str, str]:
    """Where answers come from, for what is published, unless they come from people."""
    with workspace.store.transaction() as session:
        return {} if meta.get(session, SIMULATED) is None else {"origin": SIMULATED_WORKERS}
