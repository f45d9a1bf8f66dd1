"""stats of a file: other people's annotations, without a workspace and without all that a campaign needs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kloc.errors import UsageError
from kloc.formats import activitynet, segments_txt
from kloc.formats.common import Reading
from kloc.formats.guessing import guess, load
from kloc.pipeline.pictures import write_drawings, write_page
from kloc.pipeline.telling import Summary
from kloc.report.statistics import Statistics, compute
from kloc.report.statistics_page import panels, render_statistics


def file_stats(
    path: Path,
    *,
    format_name: str = "",
    classes: Path | None = None,
    bins: str = "paper",
    html: Path | None = None,
    plots: Path | None = None,
) -> tuple[Statistics, Summary]:
    """Statistics of a file or folder, of the named format or of the one that it looks like.

    classes: names of classes that a list of segments gives as numbers. html, plots: as in `stats`.
    """
    dataset, problems = _read(path, format_name, classes)
    statistics = compute(dataset, bins, reading=problems)
    return statistics, Summary(
        "stats", write_out(statistics, [html] if html else [], plots), problems, data=statistics.to_json()
    )


def _read(path: Path, format_name: str, classes: Path | None) -> Reading:
    """What the file says; an ActivityNet JSON as it is written, so that what is wrong with its rows is counted."""
    if not format_name and segments_txt.fits(path):
        return segments_txt.read(path, classes=classes)
    if classes is not None:
        raise UsageError("--classes names the classes of a list of segments (.txt); other formats name their own")
    if (format_name or _seems(path)) == "activitynet" and path.is_file():
        found = activitynet.read_with_ends(path, taken="coverage is left out", clean=False)
        return Reading(found.dataset, found.problems)
    return load(path, format_name)


def _seems(path: Path) -> str:
    """The format that the path looks like; a JSON that looks like none is left to ActivityNet's reader to refuse."""
    try:
        return guess(path).name
    except UsageError:
        if path.is_file() and path.suffix.lower() == ".json":
            return "activitynet"
        raise


def write_out(statistics: Statistics, pages: Sequence[Path], plots: Path | None) -> dict[str, str]:
    """Write the page and the pictures; where they are."""
    facts: dict[str, str] = {}
    for path in pages:
        write_page(path, render_statistics(statistics))
        facts["page"] = str(path)
    if plots is not None:
        drawings = panels(statistics)
        write_drawings(plots, drawings)
        facts["pictures"] = f"{plots}: {', '.join(drawings)} as PNG and SVG"
    return facts
