"""`kloc benchmark`: three regimes on one split, kept cell by cell, told in one line where it cannot be."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from typer.testing import CliRunner

from kloc.cli import app
from kloc.errors import KlocError, UsageError
from kloc.experiments.benchmark import N_GUESSES
from kloc.formats import activitynet
from kloc.localizers.base import LOCALIZERS, TrainingSet, register_localizer
from kloc.localizers.stagewise import StageWise, StageWiseSettings
from kloc.pipeline import benchmarking, pool
from kloc.pipeline.telling import Silent
from kloc.records import Annotation, Dataset, Subset
from kloc.report.benchmark import CLIP, FULL, REGIMES, SHUFFLED, BenchmarkTable
from kloc.store import artefacts
from kloc.store.tables import VideoRow
from kloc.workspace import Workspace
from tests.pipeline.knowledge_helpers import make_truth, make_workspace, write_features

CLASSES = ("dive", "jump", "run", "swim")


def world(root: Path, classes: tuple[str, ...] = CLASSES, **subsets: int) -> Workspace:
    """A workspace with so many annotated videos in each subset."""
    parts = [make_truth(classes, n, s[:2], subset=s, seed=i) for i, (s, n) in enumerate(subsets.items())]  # type: ignore[arg-type]
    videos = {k: v for part in parts for k, v in part.videos.items()}
    truth = Dataset(classes, videos, {k: a for part in parts for k, a in part.annotations.items()})
    return make_workspace(root / "w", truth, write_features(root / "features", truth), annotated=sorted(videos))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace that was benchmarked with two seeds."""
    workspace = world(tmp_path_factory.mktemp("benchmark"), training=24, validation=8, testing=16)
    benchmarking.benchmark(workspace, seeds=2, reporter=Silent())
    workspace.close()
    return workspace.root


@pytest.fixture
def copy(measured: Path, tmp_path: Path) -> Workspace:
    shutil.copytree(measured, tmp_path / "w")
    return Workspace.open(tmp_path / "w")


def report_of(root: Path) -> bytes:
    return (root / "reports" / "benchmark.json").read_bytes()


def test_three_regimes_on_testing_videos_only(measured: Path) -> None:
    table = benchmarking.current(Workspace.open(measured))
    assert table is not None
    assert [(row.model, row.regime) for row in table.rows] == [("stagewise", regime) for regime in REGIMES]
    assert (table.subset, table.n_training, table.n_testing, table.n_classes) == ("testing", 24, 16, 4)
    assert table.problems == ()
    full, clip, shuffled = (table.row("stagewise", regime) for regime in REGIMES)
    assert full is not None
    assert clip is not None
    assert shuffled is not None
    assert full.average > 0.2
    assert full.average > clip.average
    assert table.chance_most is not None
    assert shuffled.average <= table.chance_most < full.average
    for row in (full, clip, shuffled):
        assert len(row.mean) == len(table.thresholds) == 9
        assert row.seeds == table.seeds
        assert row.average == pytest.approx(sum(row.per_seed) / 2)
        assert row.low is not None
        assert row.high is not None
        assert row.low <= row.average <= row.high
    assert table.gains[0].mean == pytest.approx(full.average - clip.average)
    assert BenchmarkTable.from_json(json.loads(report_of(measured))) == table


def test_it_prints_within_80_columns_and_does_nothing_twice(copy: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    before = report_of(copy.root)
    done = CliRunner().invoke(app, ["benchmark", "--seeds", "2", "-w", str(copy.root)])
    assert done.exit_code == 0, done.output
    assert "0 done now, 6 before" in done.output
    assert max(map(len, done.output.splitlines())) <= 80
    assert "Kinetics-Localization" in done.output
    assert report_of(copy.root) == before


def test_one_seed_more_costs_one_seed(copy: Workspace) -> None:
    table, summary = benchmarking.benchmark(copy, seeds=3, reporter=Silent())
    assert summary.facts["trainings"] == "3 done now, 6 before"
    assert len(table.rows[0].per_seed) == 3


def test_killed_and_run_again_it_ends_with_the_same_figures(measured: Path, tmp_path: Path) -> None:
    after = 4
    shutil.copytree(measured, tmp_path / "w")
    workspace = Workspace.open(tmp_path / "w")
    with workspace.store.transaction() as session:
        artefacts.drop(session, "benchmark:cells")
        artefacts.drop(session, "benchmark")
    (workspace.reports / "benchmark.json").unlink()
    script = Path(__file__).with_name("benchmark_until.py")
    killed = subprocess.run(
        [sys.executable, str(script), str(workspace.root), str(after)], capture_output=True, text=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert benchmarking.current(workspace) is None
    _, summary = benchmarking.benchmark(workspace, seeds=2, reporter=Silent())
    assert summary.facts["trainings"] == f"{6 - after} done now, {after} before"
    assert report_of(workspace.root) == report_of(measured)


def test_what_changed_is_trained_again_and_an_old_table_says_so(copy: Workspace, tmp_path: Path) -> None:
    truth = make_truth(CLASSES, 24, "tr", subset="training")
    first = truth.annotations["tr000"]
    changed = Annotation(first.item, tuple(replace(i, end=i.end - 1) for i in first.instances))
    path = tmp_path / "changed.json"
    activitynet.write(path, Dataset(CLASSES, {"tr000": truth.videos["tr000"]}, {"tr000": changed}))
    pool.add(copy, [str(path)], reporter=Silent())
    old = benchmarking.current(copy)
    assert old is not None
    assert "changed since" in old.problems[-1]
    table, summary = benchmarking.benchmark(copy, seeds=2, reporter=Silent())
    assert summary.facts["trainings"] == "6 done now, 0 before"
    assert table.problems == ()
    assert benchmarking.current(copy) == table


@pytest.fixture
def parrot() -> Iterator[type]:
    """A second localizer; it cannot learn from shuffled labels."""

    @register_localizer("parrot")
    class Parrot(StageWise):
        Settings: ClassVar[Any] = StageWiseSettings
        seen: ClassVar[list[list[Annotation]]] = []

        def fit(self, training: TrainingSet) -> None:
            said = [video.annotation for video in training.videos]
            self.seen.append(said)
            if len(self.seen) % 3 == 0:
                raise KlocError("no such thing")
            super().fit(training)

    yield Parrot
    del LOCALIZERS.own["parrot"]


def test_every_localizer_there_is_takes_part_and_a_failure_costs_its_own_cell(copy: Workspace, parrot: Any) -> None:
    # Trained in the order of the table: the third of each seed is the shuffled one.
    table, summary = benchmarking.benchmark(copy, seeds=2, reporter=Silent())
    assert table.models == ("parrot", "stagewise")
    assert [row.regime for row in table.rows if row.model == "parrot"] == [FULL, CLIP]
    assert summary.problems == [f"parrot, {SHUFFLED}, seed {seed}: no such thing" for seed in table.seeds]
    assert summary.facts["trainings"] == "4 done now, 6 before"
    # Nothing but training videos reaches a localizer, in whatever regime.
    assert {a.item.video_id[:2] for said in parrot.seen for a in said} == {"tr"}
    assert all(len(a.instances) == 1 and a.instances[0].duration < 10.001 for a in parrot.seen[1])
    only, _ = benchmarking.benchmark(copy, seeds=2, models=["stagewise"], reporter=Silent())
    assert only.models == ("stagewise",)


def test_the_plan_counts_what_is_left(copy: Workspace) -> None:
    summary = benchmarking.plan(copy, seeds=4, reporter=Silent())
    assert summary.facts["trainings"] == "6 to do, 6 done"
    assert summary.data["seconds"] > 0
    with copy.store.transaction() as session:
        assert len(artefacts.of_stage(session, "benchmark:cells")) == 6 + 2 * N_GUESSES


def put(workspace: Workspace, subset: Subset, *ids: str) -> None:
    with workspace.store.transaction() as session:
        for video_id in ids:
            session.get_one(VideoRow, video_id).subset = subset


def test_without_testing_it_is_validation(tmp_path: Path) -> None:
    workspace = world(tmp_path, training=12, validation=8)
    table, _ = benchmarking.benchmark(workspace, seeds=1, reporter=Silent())
    assert (table.subset, table.n_testing) == ("validation", 8)
    assert table.rows[0].high is None
    with pytest.raises(UsageError, match="did you mean 'stagewise'"):
        benchmarking.benchmark(workspace, models=["stagewize"], reporter=Silent())
    put(workspace, "training", *(f"va{i:03d}" for i in range(8)))
    with pytest.raises(UsageError, match=r"there is no split: .*; run `kloc split`"):
        benchmarking.benchmark(workspace, reporter=Silent())
    put(workspace, "validation", *(f"tr{i:03d}" for i in range(12)), *(f"va{i:03d}" for i in range(8)))
    with pytest.raises(UsageError, match="no training video has an annotated instance"):
        benchmarking.benchmark(workspace, reporter=Silent())


def test_one_class_no_features_no_annotation(tmp_path: Path) -> None:
    alone = world(tmp_path / "a", ("dive",), training=6, testing=4)
    with pytest.raises(UsageError, match=r"one class only \(dive\)"):
        benchmarking.benchmark(alone, reporter=Silent())
    pool.init(tmp_path / "b")
    empty = Workspace.open(tmp_path / "b")
    with pytest.raises(UsageError, match="no features yet"):
        benchmarking.benchmark(empty, reporter=Silent())


def test_a_class_that_nobody_trained_is_told(tmp_path: Path) -> None:
    workspace = world(tmp_path, training=16, testing=16)
    put(workspace, "testing", *(f"tr{i:03d}" for i in range(0, 16, 4)))
    table, _ = benchmarking.benchmark(workspace, seeds=1, reporter=Silent())
    assert table.problems == ("1 classes of testing have no training video, their AP is 0: dive",)
