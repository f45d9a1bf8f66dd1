"""Running experiments: what fails costs its own arm and is told; folders hold one experiment."""

from __future__ import annotations

from dataclasses import replace

import pytest
from experiment_helpers import (
    CLASSES,
    EXPERIMENT,
    LAL,
    LOUD,
    SETTINGS,
    small_dataset,
    small_set,
    told,
    tree,
)

from kloc.errors import UsageError
from kloc.experiments.arm import Pace, read_lines
from kloc.experiments.curves import Arm
from kloc.experiments.lab import Lab
from kloc.experiments.lal_bootstrap import LalSettings
from kloc.experiments.runner import Experiment, arm_file, collect, full_file, gain_folder, run
from kloc.experiments.simulated_features import SimulatedFeatures
from kloc.experiments.source import SimulatedSet


def test_a_batch_larger_than_the_pool_takes_it_all_and_is_told(source, tmp_path) -> None:
    lab = Lab.prepare(tmp_path, source, SETTINGS)
    outcome = run(Experiment((Arm(0, "us", "top", 1000, 0.0),)), source, lab, tmp_path)
    assert "batch 1000: only 43 videos are left" in outcome.problems[0]
    assert "takes them all" in outcome.problems[0]
    assert outcome.curves[0].x.tolist() == [5 / 48, 1.0]
    with pytest.raises(UsageError, match="at least 1"):
        run(Experiment((Arm(0, "us", "top", 0, 0.0),)), source, lab, tmp_path)


# -- what goes wrong --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (replace(EXPERIMENT, pace=Pace(until=0.5)), "pace"),
        (replace(EXPERIMENT, lal=LalSettings()), "lal"),
        (replace(EXPERIMENT, knowledge_share=0.5), "knowledge_share"),
        (replace(EXPERIMENT, initial_share=0.2), "initial_share"),
    ],
)
def test_another_experiment_in_the_same_folder_is_refused(played, source, other, what) -> None:
    out, lab, _ = played
    before = tree(out)
    with pytest.raises(UsageError, match=f"another {what};"):
        run(other, source, lab, out)
    assert tree(out) == before


def test_another_set_in_the_same_folder_is_refused(played, tmp_path) -> None:
    out, _, _ = played
    other = small_set(80)
    with pytest.raises(UsageError, match="another lab;"):
        run(EXPERIMENT, other, Lab.prepare(tmp_path, other, SETTINGS), out)


def test_an_arm_that_fails_costs_itself_only_and_is_told(source, tmp_path) -> None:
    lab = Lab.prepare(tmp_path, source, SETTINGS)
    good = Arm(0, "us", "top", 20, 0.0)
    arms = (Arm(0, "mcle,top=0", "top", 20, 0.0), Arm(0, "us", "nope", 20, 0.0), good, Arm(0, "random", "top", 20, 0.0))
    outcome = run(Experiment(arms), source, lab, tmp_path)
    # Judged once before it had to choose, so its one point is shown.
    assert [c.arm for c in outcome.curves if len(c.points) > 1] == [Arm(0, "random", "top", 20, 0.0), good]
    assert len(told(outcome)) == 2
    assert "top must be at least 1" in told(outcome)[0]
    assert told(outcome)[1].startswith(f"{arms[1].name}: ")
    assert "nope" in told(outcome)[1]


def test_a_damaged_journal_costs_its_arm_only_and_is_told_once(source, tmp_path) -> None:
    lab = Lab.prepare(tmp_path, source, SETTINGS)
    bad, good = Arm(0, "random", "top", 20, 0.0), Arm(0, "us", "top", 20, 0.0)
    experiment = Experiment((bad, good))
    whole = run(experiment, source, lab, tmp_path)
    arm_file(tmp_path, bad).write_bytes(b"rubbish\n")
    arm_file(tmp_path, good).unlink()
    outcome = run(experiment, source, lab, tmp_path)
    assert [c for c in outcome.curves if c.arm == good] == [c for c in whole.curves if c.arm == good]
    assert len(outcome.curves) == 1
    assert len(told(outcome)) == 1
    assert "delete it" in told(outcome)[0]
    arm_file(tmp_path, bad).unlink()
    assert run(experiment, source, lab, tmp_path) == whole


def test_a_source_too_small_for_lal_costs_lal_only(tmp_path) -> None:
    # Two classes of 8 are the Knowledge-Source: six videos, enough for a split, too few to teach.
    source = small_set(30, empty=False)
    lab = Lab.prepare(tmp_path, source, SETTINGS)
    experiment = Experiment((Arm(0, "lal", "top", 5, 0.0), Arm(0, "us", "top", 5, 0.0)), lal=LAL)
    assert len(experiment.split(lab, 0).knowledge) < 8
    outcome = run(experiment, source, lab, tmp_path)
    assert len(next(c for c in outcome.curves if c.arm.strategy == "us").points) > 2
    assert "seed 0: LAL could not be taught" in told(outcome)[0]
    assert "lal bootstrap" in told(outcome)[1]
    assert len(told(outcome)) == 2


def test_a_pool_without_any_action_is_told_in_plain_words(tmp_path) -> None:
    known = small_dataset(96)
    bare = {
        v: replace(a, instances=()) if known.videos[v].subset == "training" else a for v, a in known.annotations.items()
    }
    source = SimulatedSet(replace(known, annotations=bare), SimulatedFeatures(CLASSES, appearance=LOUD), 20)
    lab = Lab.prepare(tmp_path, source, SETTINGS)
    outcome = run(Experiment((Arm(0, "us", "top", 20, 0.0), Arm(0, "random", "top", 20, 0.0))), source, lab, tmp_path)
    assert outcome.curves == []
    assert len(told(outcome)) == 3
    assert all("none of" in problem and "holds an instance" in problem for problem in told(outcome))


def test_the_same_arm_twice_is_one(source, tmp_path) -> None:
    lab = Lab.prepare(tmp_path, source, SETTINGS)
    arm = Arm(0, "random", "top", 20, 0.0)
    outcome = run(Experiment((arm, arm)), source, lab, tmp_path)
    assert [c.arm for c in outcome.curves] == [arm]
    assert [line["step"] for line in read_lines(arm_file(tmp_path, arm))] == [0, 1, 2, 3]


def test_what_a_killed_run_left_half_written_is_swept(played, source, tmp_path) -> None:
    lab = Lab.prepare(tmp_path, source, SETTINGS)
    experiment = Experiment((Arm(0, "random", "top", 20, 0.0),))
    run(experiment, source, lab, tmp_path)
    left = tmp_path / "arms" / ".a.state.npz.999999999.abc.part"
    left.write_bytes(b"half")
    run(experiment, source, lab, tmp_path)
    assert not left.exists()


def test_collecting_half_a_run_shows_what_there_is(played, source, tmp_path) -> None:
    out, _, outcome = played
    arm = EXPERIMENT.arms[0]
    experiment = Experiment((arm,), lal=LAL)
    assert collect(experiment, tmp_path).curves == []
    arm_file(tmp_path, arm).parent.mkdir()
    lines = arm_file(out, arm).read_bytes().splitlines(keepends=True)
    arm_file(tmp_path, arm).write_bytes(b"".join(lines[:2]) + lines[2][:10])
    assert collect(experiment, tmp_path).curves == []  # nobody knows yet what all labels give
    full_file(tmp_path, arm.seed).parent.mkdir()
    full_file(tmp_path, arm.seed).write_bytes(full_file(out, arm.seed).read_bytes())
    (half,) = collect(experiment, tmp_path).curves
    whole = next(c for c in outcome.curves if c.arm == arm)
    assert half.points == whole.points[:2]
    assert not gain_folder(tmp_path, arm.seed).exists()
