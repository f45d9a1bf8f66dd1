"""benchmark: what full temporal annotation of this dataset is worth, as in the paper's table 1."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kloc import __version__
from kloc.engine import map_videos
from kloc.errors import KlocError, UsageError
from kloc.experiments.benchmark import (
    GUESSING,
    PRESET,
    Cell,
    Exam,
    Examiner,
    Found,
    Probe,
    Settings,
    Taken,
    cells_of,
    classes_of,
    gains_of,
    rows_of,
)
from kloc.experiments.source import fingerprint_of
from kloc.files import fingerprint, write_json
from kloc.localizers.base import LOCALIZERS, localizer_names
from kloc.pipeline.annotated import open_annotated
from kloc.pipeline.common import SIMULATED, stage
from kloc.pipeline.data import active_bank
from kloc.pipeline.simulating import clock
from kloc.pipeline.telling import Reporter, Summary
from kloc.report.benchmark import BenchmarkTable
from kloc.store import artefacts, meta
from kloc.workspace import Workspace

STAGE, CELLS = "benchmark", "benchmark:cells"
#: Training on so many videos, and on all or three times as many, tells how long it takes on all of them.
_TRIED = 24


def make_examiner(root: Path, settings: Settings) -> Examiner:
    """What works off cells in a process of its own."""
    return Examiner(Exam.of(open_annotated(root)), settings)


@dataclass(frozen=True)
class _Job:
    """What there is to do. marks: of every cell, changes whenever its figures may."""

    exam: Exam
    settings: Settings
    seeds: tuple[int, ...]
    marks: dict[Cell, str]
    problems: list[str]

    @property
    def cells(self) -> list[Cell]:
        return list(self.marks)


@stage("benchmark")
def benchmark(
    workspace: Workspace, *, seeds: int = 3, models: Sequence[str] = (), reporter: Reporter
) -> tuple[BenchmarkTable, Summary]:
    """Train every localizer in every regime with every seed, judge all of them on the same unseen videos.

    What is done is kept: killed and run again it goes on, with the same figures. Written to
    ``reports/benchmark.json``.

    Args:
        seeds: how many; the first is the workspace's.
        models: localizers to train; none: all that there are.

    Raises:
        UsageError: nothing to learn from, nothing to be tested on, an unknown localizer.
        KlocError: every training failed.
    """
    job = _job(workspace, seeds, models)
    found = _kept(workspace, job)
    failed: dict[Cell, str] = {}
    left = [cell for cell in job.cells if cell not in found]

    def keep(cell: Cell, result: Found) -> None:
        found[cell] = result
        with workspace.store.transaction() as session:
            artefacts.put(session, CELLS, cell.name, job.marks[cell], info=result._asdict())

    reporter.start("training and testing", len(left))
    map_videos(
        partial(make_examiner, workspace.root, job.settings), left, workers=workspace.workers, on_result=keep,
        on_error=failed.__setitem__, progress=lambda *_: reporter.advance(),
    )  # fmt: skip
    reporter.finish()
    problems = [*job.problems, *(f"{cell.name}: {failed[cell]}" for cell in job.cells if cell in failed)]
    table = _table(workspace, job, found, problems)
    if not table.rows:
        raise KlocError(f"every training failed; the first: {problems[-len(failed)]}")
    path = workspace.reports / "benchmark.json"
    write_json(path, table.to_json())
    with workspace.store.transaction() as session:
        artefacts.put(session, STAGE, "current", _mark(job.exam), workspace.relative(path), {"table": table.to_json()})
    now = _trainings(cell for cell in left if cell not in failed)
    facts: dict[str, Any] = {"trainings": f"{now} done now, {_trainings(found) - now} before"}
    facts["written"] = str(path)
    return table, Summary("benchmark", facts, problems, "kloc card", data=table.to_json(), idle=not left)


def plan(workspace: Workspace, *, seeds: int = 3, models: Sequence[str] = (), reporter: Reporter) -> Summary:
    """How long `benchmark` would take from here: each localizer is tried on some videos, on all workers at once.

    Raises as `benchmark`, and KlocError where a localizer fails on the videos it is tried on.
    """
    job = _job(workspace, seeds, models)
    done, workers = _kept(workspace, job), workspace.workers
    left = [cell for cell in job.cells if cell not in done]
    n, tested = len(job.exam.training), len(job.exam.testing)
    sizes = {model: sorted({min(n, _TRIED), min(n, 3 * _TRIED)}) for model in dict.fromkeys(c.model for c in left)}
    sizes |= {GUESSING: [n]} if GUESSING in sizes else {}
    probes = [Probe(model, size, min(tested, _TRIED)) for model, own in sizes.items() for size in own]
    reporter.start("trying", len(probes) * workers)
    times: dict[Probe, list[Taken]] = {}
    failed: dict[Probe, str] = {}
    began = time.perf_counter()
    map_videos(
        partial(make_examiner, workspace.root, job.settings), [p for p in probes for _ in range(workers)],
        workers=workers, on_result=lambda probe, taken: times.setdefault(probe, []).append(taken),
        on_error=failed.__setitem__, progress=lambda *_: reporter.advance(),
    )  # fmt: skip
    elapsed = time.perf_counter() - began
    reporter.finish()
    if failed:
        probe, why = next(iter(failed.items()))
        raise KlocError(f"{probe.model} fails on {probe.n_training} videos, the plan cannot be made: {why}")
    busy = sum(taken.training + taken.testing for every in times.values() for taken in every) / workers
    seconds = {m: _seconds([p for p in probes if p.model == m], times, n, tested) for m in sizes}
    # Processes start and read what they work on, as they did here; then all are busy to the end, but for the last cell.
    whole = max(0.0, elapsed - busy) + max(
        sum(seconds[cell.model] for cell in left) / workers, max((seconds[cell.model] for cell in left), default=0.0)
    )
    facts: dict[str, Any] = {
        "trainings": f"{_trainings(left)} to do, {_trainings(done)} done",
        "videos": f"{n} training, {tested} {job.exam.subset}",
        "workers": workers,
    }
    facts |= {f"{m}, one training": clock(seconds[m]) for m in sorted(seconds) if m != GUESSING}
    facts["in all"] = clock(whole)
    return Summary("benchmark --plan", facts, job.problems, "kloc benchmark", data={"seconds": whole})


def _trainings(cells: Iterable[Cell]) -> int:
    return sum(cell.model != GUESSING for cell in cells)


def _seconds(probes: Sequence[Probe], times: dict[Probe, list[Taken]], n: int, tested: int) -> float:
    """Training and testing on all videos: a straight line through the sizes that were tried."""
    training = [float(np.median([t.training for t in times[probe]])) for probe in probes]
    testing = float(np.median([t.testing / probe.n_testing for probe in probes for t in times[probe]]))
    slope = 0.0
    if len(probes) > 1:
        slope = max(0.0, (training[-1] - training[0]) / (probes[-1].n_training - probes[0].n_training))
    return training[-1] + slope * (n - probes[-1].n_training) + testing * tested


def current(workspace: Workspace) -> BenchmarkTable | None:
    """The newest table; ``None`` before the first. It says so itself where the dataset has changed since."""
    with workspace.store.transaction() as session:
        row = artefacts.get(session, STAGE, "current")
    if row is None:
        return None
    table = BenchmarkTable.from_json(row.info["table"])
    try:
        fresh = _mark(Exam.of(open_annotated(workspace.root))) == row.fingerprint
    except KlocError:
        fresh = False
    told = "the dataset has changed since this was measured; run `kloc benchmark` again"
    return table if fresh else replace(table, problems=(*table.problems, told))


def _job(workspace: Workspace, seeds: int, models: Sequence[str]) -> _Job:
    exam = Exam.of(open_annotated(workspace.root))
    usable, problems = _usable(models)
    chosen = workspace.settings.localizer
    first = workspace.settings.general.seed
    numbers = tuple(range(first, first + seeds))
    settings: Settings = {chosen.model: chosen.settings}
    mark = _mark(exam)
    marks = {c: fingerprint([mark, c, dict(settings.get(c.model, {})), __version__]) for c in cells_of(usable, numbers)}
    return _Job(exam, settings, numbers, marks, [*exam.source.problems, *exam.problems, *problems])


def _usable(models: Sequence[str]) -> tuple[list[str], list[str]]:
    """The localizers to train, and what is wrong with others. One that was asked for by name must be there."""
    names, problems = [], []
    for name in dict.fromkeys(models or localizer_names()):
        try:
            LOCALIZERS.get(name)
            names.append(name)
        except KlocError as error:
            if models:
                raise
            problems.append(str(error))
    if not names:
        raise UsageError(f"no localizer can be loaded; the first problem: {problems[0]}")
    return names, problems


def _mark(exam: Exam) -> str:
    """Changes whenever what is learned from or tested on does."""
    return fingerprint([fingerprint_of(exam.source), exam.subset])


def _kept(workspace: Workspace, job: _Job) -> dict[Cell, Found]:
    """The cells that were done before, on the same data with the same settings."""
    with workspace.store.transaction() as session:
        rows = artefacts.of_stage(session, CELLS)
    known = {cell: rows[cell.name] for cell in job.cells if cell.name in rows}
    return {
        cell: Found(tuple(row.info["values"]), row.info["average"])
        for cell, row in known.items()
        if row.fingerprint == job.marks[cell]
    }


def _table(workspace: Workspace, job: _Job, found: dict[Cell, Found], problems: Sequence[str]) -> BenchmarkTable:
    exam = job.exam
    with workspace.store.transaction() as session:
        simulated = meta.get(session, SIMULATED) is not None
    rows = rows_of(job.cells, found)
    guessed = [found[cell].average for cell in job.cells if cell.model == GUESSING and cell in found]
    return BenchmarkTable(
        exam.source.name,
        rows,
        PRESET.thresholds,
        job.seeds,
        exam.subset,
        len(exam.training),
        len(exam.testing),
        len(classes_of(exam.truth.annotations.values())),
        active_bank(workspace),
        gains_of(rows),
        round(float(np.mean(guessed)), 9) if guessed else None,
        max(guessed, default=None),
        simulated,
        tuple(problems),
    )
