"""Running experiments: what fails costs its own arm and is told; folders hold one experiment."""

from __future__ import annotations

import subprocess
import sys
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

from kloc.errors import KlocError, UsageError
from kloc.experiments.arm import Pace, read_lines
from kloc.experiments.curves import Arm
from kloc.experiments.folder import held
from kloc.experiments.lab import Lab, lab_fingerprint
from kloc.experiments.lal_bootstrap import LalSettings
from kloc.experiments.runner import Experiment, _coarse, arm_file, collect, full_file, gain_folder, refuse_other, run
from kloc.experiments.simulated_features import SimulatedFeatures
from kloc.experiments.source import SimulatedSet
from kloc.selection.cost import CostModel


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
        (replace(EXPERIMENT, cost=CostModel(1.0, 2.0, 3.0)), "cost model"),
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
    with pytest.raises(UsageError, match="another set or encoder;"):
        run(EXPERIMENT, other, Lab.prepare(tmp_path, other, SETTINGS), out)


def test_another_set_is_known_before_it_is_encoded(played, source) -> None:
    out, lab, _ = played
    assert refuse_other(out, EXPERIMENT, lab_fingerprint(source, SETTINGS))["lab"] == lab.fingerprint
    for other in (lab_fingerprint(small_set(80), SETTINGS), lab_fingerprint(source, replace(SETTINGS, top_k=3))):
        with pytest.raises(UsageError, match="another set or encoder;"):
            refuse_other(out, EXPERIMENT, other)


def test_learning_the_cost_model_anew_from_the_same_times_is_no_other_experiment(played, source) -> None:
    out, lab, _ = played
    same = replace(EXPERIMENT, cost=replace(EXPERIMENT.cost, recordings=40))
    refuse_other(out, same, lab.fingerprint)


def test_minutes_of_a_run_are_those_of_its_cost_model(source, tmp_path) -> None:
    lab = Lab.prepare(tmp_path, source, SETTINGS)
    arm = Arm(0, "random", "top", 30, 0.0)
    run(Experiment((arm,), cost=CostModel(2.0, 0.0, 0.0)), source, lab, tmp_path)
    lines = read_lines(arm_file(tmp_path, arm))
    assert [line["minutes"] for line in lines] == [2.0 * line["labelled"] for line in lines]


def test_a_second_run_in_the_same_folder_is_refused_and_changes_nothing(played, source) -> None:
    out, lab, _ = played
    before, begun = tree(out), []

    def stage(what: str, total: int):
        begun.append(what)
        with pytest.raises(KlocError, match=r"another kloc simulate is running in this folder"):
            run(EXPERIMENT, source, lab, out)
        return lambda: None

    run(EXPERIMENT, source, lab, out, stage=stage)
    assert begun == ["all labels", "arms"]
    assert tree(out) == before
    run(EXPERIMENT, source, lab, out)  # the first one is over


def test_the_lock_of_a_run_that_failed_is_free_again(tmp_path) -> None:
    with pytest.raises(ValueError, match="broken"), held(tmp_path / "out"):
        raise ValueError("broken")
    with held(tmp_path / "out"), pytest.raises(KlocError, match="another kloc simulate"), held(tmp_path / "out"):
        pass


def test_a_killed_run_leaves_the_folder_free(tmp_path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from kloc.experiments.folder import held\n"
        "with held(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        with pytest.raises(KlocError, match="another kloc simulate"), held(tmp_path):
            pass
        child.kill()
    with held(tmp_path):
        pass


def test_an_oracle_tells_how_far_it_is(source, tmp_path) -> None:
    lab, told = Lab.prepare(tmp_path, source, SETTINGS), {}

    def stage(what: str, total: int):
        told[what] = [total, 0]

        def tick() -> None:
            told[what][1] += 1

        return tick

    arms = (Arm(0, "random", "top", 30, 0.2), Arm(0, "random", "top", 30, 0.0))
    run(Experiment(arms, Pace(0.2)), source, lab, tmp_path, stage=stage)
    assert told["noisy labels"] == [96, 96]
    told.clear()
    run(Experiment(arms, Pace(0.2)), source, lab, tmp_path, stage=stage)
    assert "noisy labels" not in told


@pytest.mark.parametrize(("batch", "every", "coarse"), [(10, 1, False), (11, 1, True), (5, 2, False), (5, 3, True)])
def test_few_measured_rounds_are_told(source, lab, batch, every, coarse) -> None:
    experiment = Experiment((Arm(0, "random", "top", batch, 0.0),), Pace(eval_every=every))
    split = experiment.split(lab, 0)
    assert len(split.pool) - len(split.initial) == 43
    found = _coarse(experiment, {0: split})
    assert [f"batch {batch}: fewer than 4 measured rounds" in sentence for sentence in found] == [True] * coarse


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


def test_a_run_with_other_arms_shows_those_of_earlier_runs_too(source, tmp_path) -> None:
    lab = Lab.prepare(tmp_path, source, SETTINGS)
    pace = Pace(0.3)
    first, second, bad = (Arm(0, name, "top", 12, 0.0) for name in ("random", "us", "mcle,top=0"))
    assert run(Experiment((bad, first), pace), source, lab, tmp_path).arms == (bad, first)
    outcome = run(Experiment((second,), pace), source, lab, tmp_path)
    assert outcome.arms == (bad, first, second)
    assert [(c.arm, c.finished) for c in outcome.curves] == [(first, True), (second, True)]
    before = tree(tmp_path)
    assert run(Experiment((first,), pace), source, lab, tmp_path).curves == outcome.curves
    assert tree(tmp_path) == before
    # What cannot be asked for at all is not remembered.
    with pytest.raises(UsageError, match="another pace"):
        run(Experiment((Arm(1, "us", "top", 12, 0.0),), Pace(0.4)), source, lab, tmp_path)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("content", ["{", "[]", '{"arms": [{"seed": 0}]}', '{"arms": [1]}'])
def test_a_damaged_experiment_is_told_in_one_line(tmp_path, content) -> None:
    (tmp_path / "experiment.json").write_text(content)
    with pytest.raises(KlocError, match=r"experiment\.json: damaged") as caught:
        collect(EXPERIMENT, tmp_path)
    assert "\n" not in str(caught.value)


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
    assert (half.finished, whole.finished) == (False, True)
    assert not gain_folder(tmp_path, arm.seed).exists()
