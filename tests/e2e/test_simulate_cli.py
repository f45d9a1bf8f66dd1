"""`kloc simulate` as a user runs it: features in files and simulated ones, twice, planned, and wrongly."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from typer.testing import CliRunner

from kloc.cli import app
from kloc.errors import UsageError
from kloc.experiments.simulated_features import Appearance, SimulatedFeatures
from kloc.formats import activitynet
from kloc.records import Annotation, Dataset, Instance, Video
from kloc.seeds import generator

CLASSES = tuple(f"class {i}" for i in range(6))
QUICK = ("--batch", "10", "--until", "0.5", "--cap", "15", "--workers", "1")


class Files(NamedTuple):
    truth: Path
    features: Path


def run(*arguments: str | Path, code: int = 0) -> str:
    command = [sys.executable, "-m", "kloc", "simulate", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, f"{arguments}: {done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Sixty invented videos: an annotation file, and a feature file for each but two."""
    folder = tmp_path_factory.mktemp("annotated")
    (folder / "features").mkdir()
    videos, annotations = {}, {}
    world = SimulatedFeatures(CLASSES, appearance=Appearance(dim=24, noise=1.2))
    for number in range(60):
        rng = generator(0, "simulate cli", number)
        label, duration = CLASSES[number % 6], float(rng.integers(30, 70))
        subset = "validation" if number % 3 == 2 else "training"
        video = Video(f"v{number:02d}", 0.0, duration, labels=(label,), subset=subset)
        start = float(rng.uniform(0, duration / 2))
        annotation = Annotation(video.item, (Instance(start, start + duration / 3, label),))
        videos[video.id], annotations[video.id] = video, annotation
        rows = world.features(video, annotation).features
        if number == 5:
            rows[:] = np.nan
        if number != 7:
            np.save(folder / "features" / f"{video.id}.npy", rows)
    activitynet.write(folder / "truth.json", Dataset(CLASSES, videos, annotations, "sixty"))
    return Files(folder / "truth.json", folder / "features")


def journals(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "arms").glob("*.jsonl"))}


def test_features_in_files_run_again_and_with_more(files: Files, tmp_path: Path) -> None:
    out = tmp_path / "out"
    known = (files.truth, "--features", files.features, "--fps", "1", "--stride", "1", *QUICK, "--out", out)
    said = run(*known, "-s", "random", "-s", "us")
    assert "random" in said
    assert "us" in said
    assert "v05" in said  # its features are not numbers
    page = (out / "report.html").read_text()
    assert "simulated features" not in page.lower()
    first = journals(out)
    assert len(first) == 2
    lines = [json.loads(line) for line in first[sorted(first)[0]].splitlines()]
    assert lines[0]["labelled"] < lines[-1]["labelled"]
    assert lines[-1]["ratio"] >= 0.5
    assert all(0 <= line["value"] <= 1 for line in lines)
    # Again: nothing is done anew. With another strategy: only that one is.
    run(*known, "-s", "random", "-s", "us")
    assert journals(out) == first
    report = (out / "report.html").read_bytes()
    run(*known, "-s", "random", "-s", "us", "-s", "us-binary")
    more = journals(out)
    assert len(more) == 3
    assert {name: more[name] for name in first} == first
    assert (out / "report.html").read_bytes() != report
    # The first labels are the same for every strategy.
    starts = {json.loads(content.splitlines()[0])["value"] for content in more.values()}
    assert len(starts) == 1


def test_simulated_features_are_called_so(files: Files, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = run(files.truth, "--features", "simulated", *QUICK, "-s", "random", "--out", out)
    assert "simulated" in said
    page = (out / "report.html").read_text()
    title = page[page.index("<title>") : page.index("</title>")]
    assert "simulated features" in title.lower()
    assert json.loads((out / "report.json").read_text())


def test_the_plan_tells_every_part_and_runs_none(files: Files, tmp_path: Path) -> None:
    out = tmp_path / "out"
    told = run(files.truth, "--features", "simulated", *QUICK, "-s", "random", "-s", "mcle", "--plan", "--out", out)
    for part in ("all labels", "MCLE's prior", "arms", "in all"):
        assert part in told
    assert not (out / "arms").exists()


def test_a_batch_larger_than_the_pool_is_told(files: Files, tmp_path: Path) -> None:
    said = run(files.truth, "--features", "simulated", "--batch", "500", "--cap", "15", "--workers", "1",
               "-s", "random", "--out", tmp_path / "out")  # fmt: skip
    assert "batch 500: only" in " ".join(said.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say where the features"),
        (["--features", "simulated", "-s", "uss"], "did you mean 'us'"),
        (["--features", "simulated", "-s", "us,foo=1"], "foo"),
        (["--features", "simulated", "--policy", "tops"], "did you mean 'top'"),
        (["--features", "simulated", "--classes", "2"], "cannot be split"),
        (["--features", "simulated", "--fps", "3"], "simulated ones need none"),
        (["--features", "FEATURES", "--fps", "1", "--stride", "1", "--classes", "3"], "with simulated features only"),
        (["--features", "simulated", "--noise", "1.5"], "noise between 0 and 0.9"),
        (["--features", "simulated", "--lal-splits", "2"], "at least 4 splits"),
    ],
)
def test_wrong_use_is_told_before_anything_is_done(
    files: Files, tmp_path: Path, arguments: list[str], message: str
) -> None:
    given = [str(files.features) if word == "FEATURES" else word for word in arguments]
    with pytest.raises(UsageError) as caught:
        CliRunner().invoke(
            app, ["simulate", str(files.truth), *given, "--out", str(tmp_path / "out")], catch_exceptions=False
        )
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "arms").exists()


@pytest.mark.parametrize("option", ["--classes", "--videos"])
def test_a_part_of_a_set_is_never_negative(files: Files, tmp_path: Path, option: str) -> None:
    done = CliRunner().invoke(
        app, ["simulate", str(files.truth), "--features", "simulated", option, "-1", "--out", str(tmp_path / "out")]
    )
    assert done.exit_code == 2
    assert option in done.output
    assert not (tmp_path / "out").exists()


def test_another_experiment_in_the_same_folder_is_refused(files: Files, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(files.truth, "--features", "simulated", *QUICK, "-s", "random", "--out", out)
    before = journals(out)
    told = run(
        files.truth, "--features", "simulated", *QUICK, "-s", "random", "--knowledge", "0.5", "--out", out, code=2
    )
    assert "holds an experiment with another knowledge_share" in told
    assert journals(out) == before
